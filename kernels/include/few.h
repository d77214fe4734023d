// Fragments of 16 rows by 64 columns that begin in registers: lane l has of rows l / 4 and
// l / 4 + 8 the sixteen values from 16 (l % 4) on, as halves. Both factors of a product come this
// way, so a fragment may have its columns in any order, as long as it is the same one in both.
// Where a device says which lane holds what, nothing moves; elsewhere they pass by
// threadgroup memory, `few_values` of which are the simdgroup's own.
#pragma once
#include "tile.h"

#define FEW_COLUMNS 64

/// What a lane has: eight words of each of its two rows.
struct FewRows {
    uint low[8], high[8];
};

#if defined(INGOT_CUDA)
#define FEW_STRIDE 0
inline void few_take_a(thread TileA* a, thread const FewRows& rows, threadgroup tile_t*, uint) {
#pragma unroll
    for (uint s = 0; s < 4; s++) {
        a[s].r[0] = rows.low[2 * s];
        a[s].r[1] = rows.high[2 * s];
        a[s].r[2] = rows.low[2 * s + 1];
        a[s].r[3] = rows.high[2 * s + 1];
    }
}
inline void few_take_b(thread TileB* b, thread const FewRows& rows, threadgroup tile_t*, uint) {
#pragma unroll
    for (uint s = 0; s < 4; s++) {
        b[s].r[0] = rows.low[2 * s];
        b[s].r[1] = rows.low[2 * s + 1];
        b[s].r[2] = rows.high[2 * s];
        b[s].r[3] = rows.high[2 * s + 1];
    }
}
#else
#define FEW_STRIDE (FEW_COLUMNS + TILE_PAD)
inline void few_put(thread const FewRows& rows, threadgroup tile_t* own, uint lane) {
    threadgroup uint4* low = (threadgroup uint4*)(own + lane / 4 * FEW_STRIDE + 16 * (lane % 4));
    threadgroup uint4* high = low + FEW_STRIDE;
    simdgroup_barrier(mem_flags::mem_threadgroup);
#pragma unroll
    for (uint i = 0; i < 2; i++) {
        low[i] = uint4(rows.low[4 * i], rows.low[4 * i + 1], rows.low[4 * i + 2], rows.low[4 * i + 3]);
        high[i] = uint4(rows.high[4 * i], rows.high[4 * i + 1], rows.high[4 * i + 2], rows.high[4 * i + 3]);
    }
    simdgroup_barrier(mem_flags::mem_threadgroup);
}
/// The rows of A.
inline void few_take_a(thread TileA* a, thread const FewRows& rows, threadgroup tile_t* own, uint lane) {
    few_put(rows, own, lane);
#pragma unroll
    for (uint s = 0; s < 4; s++) tile_load_a(a[s], own + 16 * s, FEW_STRIDE, lane);
}
/// The columns of B.
inline void few_take_b(thread TileB* b, thread const FewRows& rows, threadgroup tile_t* own, uint lane) {
    few_put(rows, own, lane);
#pragma unroll
    for (uint s = 0; s < 4; s++) tile_load_b(b[s], own + 16 * s, FEW_STRIDE, lane);
}
#endif
