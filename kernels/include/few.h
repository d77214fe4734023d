// Fragments of 16 rows by 32 columns that begin in registers: lane l has of rows l / 4 and
// l / 4 + 8 the eight values from 8 (l % 4) on, as halves. Both factors of a product come this
// way, so a fragment may have its columns in any order, as long as it is the same one in both.
// Where a device says which lane holds what, nothing moves; elsewhere they pass by
// threadgroup memory of the simdgroup's own, 16 rows of FEW_STRIDE values.
#pragma once
#include "packed_few.h"

/// What a lane has: four words of each of its two rows.
struct FewRows {
    uint low[4], high[4];
};

#if defined(INGOT_CUDA)
#define FEW_STRIDE 0
/// The rows of A, in two steps of 16 columns.
inline void few_take_a(thread TileA* a, thread const FewRows& rows, threadgroup tile_t*, uint) {
#pragma unroll
    for (uint s = 0; s < 2; s++) {
        a[s].r[0] = rows.low[2 * s];
        a[s].r[1] = rows.high[2 * s];
        a[s].r[2] = rows.low[2 * s + 1];
        a[s].r[3] = rows.high[2 * s + 1];
    }
}
/// The columns of B.
inline void few_take_b(thread TileB* b, thread const FewRows& rows, threadgroup tile_t*, uint) {
#pragma unroll
    for (uint s = 0; s < 2; s++) {
        b[s].r[0] = rows.low[2 * s];
        b[s].r[1] = rows.low[2 * s + 1];
        b[s].r[2] = rows.high[2 * s];
        b[s].r[3] = rows.high[2 * s + 1];
    }
}
#else
#define FEW_STRIDE (FEW_COLUMNS + TILE_PAD)
inline void few_put(thread const FewRows& rows, threadgroup tile_t* own, uint lane) {
    threadgroup tile_t* low = own + lane / 4 * FEW_STRIDE + 8 * (lane % 4);
    simdgroup_barrier(mem_flags::mem_threadgroup);
    *(threadgroup uint4*)low = uint4(rows.low[0], rows.low[1], rows.low[2], rows.low[3]);
    *(threadgroup uint4*)(low + 8 * FEW_STRIDE) = uint4(rows.high[0], rows.high[1], rows.high[2], rows.high[3]);
    simdgroup_barrier(mem_flags::mem_threadgroup);
}
inline void few_take_a(thread TileA* a, thread const FewRows& rows, threadgroup tile_t* own, uint lane) {
    few_put(rows, own, lane);
#pragma unroll
    for (uint s = 0; s < 2; s++) tile_load_a(a[s], own + 16 * s, FEW_STRIDE, lane);
}
inline void few_take_b(thread TileB* b, thread const FewRows& rows, threadgroup tile_t* own, uint lane) {
    few_put(rows, own, lane);
#pragma unroll
    for (uint s = 0; s < 2; s++) tile_load_b(b[s], own + 16 * s, FEW_STRIDE, lane);
}
#endif
