// Tiles as products want them in threadgroup memory. On Metal: in blocks of 8 rows by 8
// columns, whose rows follow each other. Elsewhere: in rows, within which eight values at
// a time change places, so that neither what is stored of a few rows nor what a fragment
// takes of eight rows is twice in the same bank. (Copies that pass by the registers want
// what is together in device memory in one line of 128 bytes: blocks cost them a factor of four.)
//
// Copies from device memory are begun and ended: what happens in between hides how
// long they take. Where there is an instruction for them they pass by the registers.
#pragma once
#include "tile.h"

#define TILE_VECTORS (TILE_BYTES / 2) // of 16 bytes, in eight values

/// Where values 8 v to 8 v + 7 of a row are in a tile with `columns` times eight columns.
inline uint tile_place(uint row, uint v, uint columns) {
#if defined(__METAL_VERSION__)
    return (row / 8 * columns + v) * 64 + row % 8 * 8;
#else
    return 8 * (row * columns + (v ^ (row * columns / 8 % columns)));
#endif
}

// A fragment is taken from 16 rows and columns 8 v to 8 v + 15. Where a tile's first one
// begins for a lane is found once; the others are so many values behind it.
#if defined(__METAL_VERSION__)
typedef threadgroup const tile_t* TileAt;
inline TileAt tile_at_a(threadgroup const tile_t* tile, uint v, uint columns, uint) {
    return tile + tile_place(0, v, columns);
}
inline TileAt tile_at_b(threadgroup const tile_t* tile, uint v, uint columns, uint) {
    return tile + tile_place(0, v, columns);
}
/// A from 16 rows.
inline void tile_take_a(thread TileA& a, TileAt at, uint behind, uint, uint columns, uint) {
#pragma unroll
    for (uint i = 0; i < 4; i++)
        simdgroup_load(a.m[i], at + behind + 64 * (i / 2 * columns + i % 2), 8);
}
/// B from 16 rows, which are its columns.
inline void tile_take_b(thread TileB& b, TileAt at, uint behind, uint, uint columns, uint) {
#pragma unroll
    for (uint i = 0; i < 4; i++)
        simdgroup_load(b.m[i], at + behind + 64 * (i % 2 * columns + i / 2), 8, ulong2(0, 0), true);
}
#elif defined(INGOT_CUDA) && !TILE_F32
typedef uint TileAt; // an address in shared memory
inline uint tile_address(threadgroup const tile_t* p) {
    uint s;
    asm("{.reg .u64 a; cvta.to.shared.u64 a, %1; cvt.u32.u64 %0, a;}" : "=r"(s) : "l"(p));
    return s;
}
#define TILE_TAKE(r, p)                                                                                        \
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"                            \
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])                                              \
                 : "r"(p)                                                                                      \
                 : "memory")
inline TileAt tile_at_a(threadgroup const tile_t* tile, uint v, uint columns, uint lane) {
    return tile_address(tile + tile_place(lane % 16, v + lane / 16, columns));
}
inline TileAt tile_at_b(threadgroup const tile_t* tile, uint v, uint columns, uint lane) {
    return tile_address(tile + tile_place(lane % 8 + lane / 16 * 8, v + lane / 8 % 2, columns));
}
inline void tile_take_a(thread TileA& a, TileAt at, uint behind, uint, uint, uint) {
    TILE_TAKE(a.r, at + behind * TILE_BYTES);
}
inline void tile_take_b(thread TileB& b, TileAt at, uint behind, uint, uint, uint) {
    TILE_TAKE(b.r, at + behind * TILE_BYTES);
}
#else
typedef threadgroup const tile_t* TileAt;
inline TileAt tile_at_a(threadgroup const tile_t* tile, uint, uint, uint) { return tile; }
inline TileAt tile_at_b(threadgroup const tile_t* tile, uint, uint, uint) { return tile; }
#if defined(INGOT_CUDA)
inline Tf32 tile_take_one(threadgroup const tile_t* tile, uint row, uint v, uint k, uint columns) {
    return tf32_split(tile[tile_place(row, v + k / 8, columns) + k % 8]);
}
inline void tile_take_a(thread TileA& a, TileAt at, uint behind, uint v, uint columns, uint lane) {
#pragma unroll
    for (uint i = 0; i < 8; i++)
        a.v[i / 4][i % 4] =
            tile_take_one(at + behind, lane / 4 + i % 2 * 8, v, i / 2 * 4 + lane % 4, columns);
}
inline void tile_take_b(thread TileB& b, TileAt at, uint behind, uint v, uint columns, uint lane) {
#pragma unroll
    for (uint i = 0; i < 8; i++)
        b.v[i / 4][i / 2 % 2][i % 2] = tile_take_one(
            at + behind, lane / 4 + i / 2 % 2 * 8, v, i / 4 * 8 + i % 2 * 4 + lane % 4, columns);
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
inline void tile_take_a(thread TileA& a, TileAt at, uint behind, uint v, uint columns, uint lane) {
#pragma unroll
    for (uint i = 0; i < 2; i++) tile_take_row(a.v[i], at + behind, lane / 4 + 8 * i, v, columns);
}
inline void tile_take_b(thread TileB& b, TileAt at, uint behind, uint v, uint columns, uint lane) {
#pragma unroll
    for (uint i = 0; i < 4; i++)
        tile_take_row(b.v[i], at + behind, 2 * (lane % 4) + i % 2 + 8 * (i / 2), v, columns);
}
#endif
#endif

// Copies of 16 bytes, or of zeros where not `ok`. tile_copies_end() closes a set of them;
// tile_copies_wait() waits for all sets but the last `pending`; a barrier has to follow.
#if defined(INGOT_CUDA)
inline void tile_copy_begin(bool ok, threadgroup uint4* to, device const uint4* from, thread uint4&) {
    asm volatile("{.reg .u64 s; cvta.to.shared.u64 s, %0; cp.async.cg.shared.global.L2::256B [s], [%1], 16, %2;}"
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
