// The rows of a C of tile.h where each value has to be looked at: lane l looks after rows
// l / 4 and l / 4 + 8, of each the columns 2 (l % 4) and 2 (l % 4) + 1 of both halves. Value
// 4 * half + 2 * (row / 8) + column % 2 of a lane is that of its C, where a C is in registers
// in this order. On Metal values change places by way of `own`, 256 floats that the simdgroup
// has to itself.
//
// Every lane of the simdgroup calls these functions.
#pragma once
#include "tile.h"

#define TILE_ROWS_OWN 256

/// Where value i of a lane is in a matrix whose rows are so long.
inline uint tile_row_at(uint i, uint stride, uint lane) {
    return (lane / 4 + i / 2 % 2 * 8) * stride + 2 * (lane % 4) + i % 2 + i / 4 * 8;
}

#if defined(__METAL_VERSION__)
inline void tile_rows(thread const TileC& c, thread float* v, threadgroup float* own, uint lane) {
    simdgroup_barrier(mem_flags::mem_threadgroup);
    tile_store(c, own, 16, lane);
    simdgroup_barrier(mem_flags::mem_threadgroup);
#pragma unroll
    for (uint i = 0; i < 8; i++) v[i] = own[tile_row_at(i, 16, lane)];
}
inline void tile_rows_a(thread TileA& a, thread const float* v, threadgroup float* own, uint lane) {
    threadgroup tile_t* to = (threadgroup tile_t*)own;
    simdgroup_barrier(mem_flags::mem_threadgroup);
#pragma unroll
    for (uint i = 0; i < 8; i++) to[tile_row_at(i, 16, lane)] = tile_t(v[i]);
    simdgroup_barrier(mem_flags::mem_threadgroup);
    tile_load_a(a, to, 16, lane);
}
inline void tile_rows_scaled(thread TileC* c, uint count, float low, float high, threadgroup float* own, uint lane) {
    simdgroup_barrier(mem_flags::mem_threadgroup);
#pragma unroll
    for (uint i = 0; i < 4; i++) own[32 * i + lane] = 0.0f;
    simdgroup_barrier(mem_flags::mem_threadgroup);
    if (lane % 4 == 0) {
        own[9 * (lane / 4)] = low;
        own[64 + 9 * (lane / 4)] = high;
    }
    simdgroup_barrier(mem_flags::mem_threadgroup);
#pragma unroll
    for (uint i = 0; i < count; i++) tile_scale_rows(c[i], own, lane);
}
#else
/// A lane's eight values of c.
inline void tile_rows(thread const TileC& c, thread float* v, threadgroup float*, uint) {
#pragma unroll
    for (uint i = 0; i < 8; i++) v[i] = c.v[i];
}
/// The lanes' values, rounded, as an A.
inline void tile_rows_a(thread TileA& a, thread const float* v, threadgroup float*, uint lane) {
#if defined(INGOT_CUDA) && !TILE_F32
#pragma unroll
    for (uint i = 0; i < 4; i++)
        asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(a.r[i]) : "f"(v[2 * i + 1]), "f"(v[2 * i]));
#else
#pragma unroll
    for (uint k = 0; k < 16; k++)
#pragma unroll
        for (uint i = 0; i < 2; i++)
            a.v[i][k] = tile_t(simd_shuffle(v[k / 8 * 4 + 2 * i + k % 2], lane / 4 * 4 + k % 8 / 2));
#endif
}
/// The rows of `count` C's times factors: a lane's first row times `low`, its second times `high`.
inline void tile_rows_scaled(thread TileC* c, uint count, float low, float high, threadgroup float*, uint) {
#pragma unroll
    for (uint n = 0; n < count; n++)
#pragma unroll
        for (uint i = 0; i < 8; i++) c[n].v[i] *= i & 2 ? high : low;
}
#endif
