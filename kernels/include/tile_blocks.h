// Tiles as products want them in threadgroup memory: in blocks of 8 rows by 8
// columns, block after block of 8 rows. Where the device loads fragments row by row,
// the rows of a block change places, so that 16 bytes of a few rows by a few
// columns, as they are stored, are in different banks.
//
// Copies from device memory are begun and ended: what happens in between hides how
// long they take. Where there is an instruction for them they pass by the registers.
#pragma once
#include "tile.h"

#define TILE_VECTORS (TILE_BYTES / 2) // of 16 bytes, in eight values

/// Where row r of a block begins, in columns 8 v to 8 v + 7 of a tile with `columns` of eight.
#if defined(__METAL_VERSION__)
inline uint tile_row(uint r, uint, uint) { return 8 * r; }
#else
inline uint tile_row(uint r, uint v, uint columns) { return 8 * (r ^ (v * (8 / columns) % 8)); }
#endif

/// Where values 8 v to 8 v + 7 of a row are in a tile with `columns` times eight columns.
inline uint tile_place(uint row, uint v, uint columns) {
    return (row / 8 * columns + v) * 64 + tile_row(row % 8, v, columns);
}

#if defined(__METAL_VERSION__)
/// A from 16 rows and columns 8 v to 8 v + 15 of a tile.
inline void tile_take_a(thread TileA& a, threadgroup const tile_t* tile, uint row, uint v, uint columns, uint) {
#pragma unroll
    for (uint i = 0; i < 4; i++)
        simdgroup_load(a.m[i], tile + tile_place(row + 8 * (i / 2), v + i % 2, columns), 8);
}
/// B from 16 rows, which are its columns.
inline void tile_take_b(thread TileB& b, threadgroup const tile_t* tile, uint row, uint v, uint columns, uint) {
#pragma unroll
    for (uint i = 0; i < 4; i++)
        simdgroup_load(b.m[i], tile + tile_place(row + 8 * (i % 2), v + i / 2, columns), 8, ulong2(0, 0), true);
}
#elif defined(INGOT_CUDA) && !TILE_F32
inline void tile_take_a(thread TileA& a, threadgroup const tile_t* tile, uint row, uint v, uint columns, uint lane) {
    TILE_LDMATRIX("", a.r, tile + tile_place(row + lane % 16, v + lane / 16, columns));
}
inline void tile_take_b(thread TileB& b, threadgroup const tile_t* tile, uint row, uint v, uint columns, uint lane) {
    TILE_LDMATRIX("", b.r, tile + tile_place(row + lane % 8 + lane / 16 * 8, v + lane / 8 % 2, columns));
}
#else
inline void tile_take_row(thread float* to, threadgroup const tile_t* tile, uint row, uint v, uint columns) {
#pragma unroll
    for (uint k = 0; k < 4; k++) {
        const tile_t4 four = ((threadgroup const tile_t4*)(tile + tile_place(row, v + k / 2, columns)))[k % 2];
        to[4 * k] = four.x;
        to[4 * k + 1] = four.y;
        to[4 * k + 2] = four.z;
        to[4 * k + 3] = four.w;
    }
}
inline void tile_take_a(thread TileA& a, threadgroup const tile_t* tile, uint row, uint v, uint columns, uint lane) {
#pragma unroll
    for (uint i = 0; i < 2; i++) tile_take_row(a.v[i], tile, row + lane / 4 + 8 * i, v, columns);
}
inline void tile_take_b(thread TileB& b, threadgroup const tile_t* tile, uint row, uint v, uint columns, uint lane) {
#pragma unroll
    for (uint i = 0; i < 4; i++)
        tile_take_row(b.v[i], tile, row + 2 * (lane % 4) + i % 2 + 8 * (i / 2), v, columns);
}
#endif

// Copies of 16 bytes, or of zeros where not `ok`. tile_copies_end() closes a set of them;
// tile_copies_wait() waits for all sets but the last `pending`; a barrier has to follow.
#if defined(INGOT_CUDA)
inline void tile_copy_begin(bool ok, threadgroup uint4* to, device const uint4* from, thread uint4&) {
    asm volatile("{.reg .u64 s; cvta.to.shared.u64 s, %0; cp.async.cg.shared.global [s], [%1], 16, %2;}"
                 :: "l"(to), "l"(from), "r"(ok ? 16u : 0u)
                 : "memory");
}
inline void tile_copy_end(threadgroup uint4*, thread const uint4&) {}
inline void tile_copies_end() { asm volatile("cp.async.commit_group;" ::: "memory"); }
#define tile_copies_wait(pending) asm volatile("cp.async.wait_group %0;" :: "n"(pending) : "memory")
#else
inline void tile_copy_begin(bool ok, threadgroup uint4*, device const uint4* from, thread uint4& v) {
    v = load_stream_if(ok, from);
}
inline void tile_copy_end(threadgroup uint4* to, thread const uint4& v) { *to = v; }
inline void tile_copies_end() {}
#define tile_copies_wait(pending)
#endif
