// A block of KEYS keys or values of a head in threadgroup memory, in half: how it gets there
// from the cache, and how matrix units take it. In columns of SPAN values, and in these in rows,
// within which eight values at a time change places, so that what is taken of eight rows is never
// twice in the same bank; on Metal in blocks of 8 by 8.
#pragma once
#include "attention_rows.h"
#include "packed.h"
#include "tile_blocks.h"

#define VECTORS (HEAD / 8) // of 8 values, of a row
#define PIECES (KEYS * VECTORS / THREADS) // of 8 values, of a thread
#define SPAN (HEAD % 64 == 0 ? 64 : HEAD)
#define HALF_MAX 65504.0f

/// Where values 8 v to 8 v + 7 of a row are.
inline uint block_place(uint row, uint v) {
#if defined(__METAL_VERSION__)
    return (row / 8 * VECTORS + v) * 64 + row % 8 * 8;
#else
    const uint vectors = SPAN / 8, other = SPAN == 64 ? row % 8 : row / 2 % 4;
    return v / vectors * (KEYS * SPAN) + 8 * (row * vectors + (v % vectors ^ other));
#endif
}

// A B of rows `row`... and values 8 v...: its columns are rows (keys, in q k^T), or its rows
// are (values, in p v).
#if defined(__METAL_VERSION__)
typedef threadgroup const tile_t* BlockAt;
inline BlockAt block_at_keys(threadgroup const tile_t* block, uint) { return block; }
inline BlockAt block_at_values(threadgroup const tile_t* block, uint) { return block; }
inline void block_take_keys(thread TileB& b, BlockAt at, uint row, uint v, uint) {
#pragma unroll
    for (uint i = 0; i < 4; i++)
        simdgroup_load(b.m[i], at + block_place(row + i % 2 * 8, v + i / 2), 8, ulong2(0, 0), true);
}
inline void block_take_values(thread TileB& b, BlockAt at, uint row, uint v, uint) {
#pragma unroll
    for (uint i = 0; i < 4; i++) simdgroup_load(b.m[i], at + block_place(row + i / 2 * 8, v + i % 2), 8);
}
#elif defined(INGOT_CUDA)
typedef uint BlockAt; // of the lane's row, in shared memory
#define BLOCK_TAKE(kind, r, p)                                                                                 \
    asm volatile("ldmatrix.sync.aligned.m8n8.x4" kind ".shared.b16 {%0, %1, %2, %3}, [%4];"                    \
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])                                              \
                 : "r"(p)                                                                                      \
                 : "memory")
inline uint block_key_row(uint lane) { return lane % 8 + lane / 16 * 8; }
inline BlockAt block_at_keys(threadgroup const tile_t* block, uint lane) {
    return tile_address(block + block_key_row(lane) * SPAN);
}
inline BlockAt block_at_values(threadgroup const tile_t* block, uint lane) {
    return tile_address(block + lane % 16 * SPAN);
}
inline void block_take_keys(thread TileB& b, BlockAt at, uint row, uint v, uint lane) {
    const uint of = block_key_row(lane);
    BLOCK_TAKE("", b.r, at + 2 * (row * SPAN + block_place(of, v + lane / 8 % 2) - of * SPAN));
}
inline void block_take_values(thread TileB& b, BlockAt at, uint row, uint v, uint lane) {
    const uint of = lane % 16;
    BLOCK_TAKE(".trans", b.r, at + 2 * (row * SPAN + block_place(of, v + lane / 16) - of * SPAN));
}
#else
typedef threadgroup const tile_t* BlockAt;
inline BlockAt block_at_keys(threadgroup const tile_t* block, uint) { return block; }
inline BlockAt block_at_values(threadgroup const tile_t* block, uint) { return block; }
inline void block_take_keys(thread TileB& b, BlockAt at, uint row, uint v, uint lane) {
#pragma unroll
    for (uint k = 0; k < 16; k++)
#pragma unroll
        for (uint i = 0; i < 4; i++)
            b.v[i][k] = at[block_place(row + 2 * (lane % 4) + i % 2 + 8 * (i / 2), v + k / 8) + k % 8];
}
inline void block_take_values(thread TileB& b, BlockAt at, uint row, uint v, uint lane) {
#pragma unroll
    for (uint k = 0; k < 16; k++)
#pragma unroll
        for (uint i = 0; i < 4; i++)
            b.v[i][k] = at[block_place(row + k, v + i / 2) + 2 * (lane % 4) + i % 2];
}
#endif

/// Where keys and values come from: a page of the cache, a head's first column, and
/// the position from which on there is nothing to be seen.
struct Source {
    device const uchar* cache;
    uint page, column, limit;
};

/// A thread's share of a block on its way.
struct Pieces {
    CachePiece piece[PIECES];
};

/// Sends for the keys (`which` 0) or values (1) from `position` on; zeros where there are none.
inline void block_begin(thread Pieces& pieces, threadgroup tile_t* block, thread const Source& source, uint which,
                        uint position, uint thread_index) {
    device const uchar* rows = source.cache + cache_row(source.page, which, position, KV_HEADS * N);
#pragma unroll
    for (uint n = 0; n < PIECES; n++) {
        const uint i = thread_index + n * THREADS, row = i / VECTORS, column = i % VECTORS * 8;
        const bool ok = position + row < source.limit && (HEAD == N || column < N);
        device const uchar* from = rows + (ok ? row * cache_row_bytes(KV_HEADS * N) : 0);
#if CACHE == 0
        threadgroup tile_t* to = block + block_place(row, column / 8);
        from += 2 * (source.column + (HEAD == N || ok ? column : 0));
        tile_copy_begin(ok, (threadgroup uint4*)to, (device const uint4*)from, pieces.piece[n]);
#else
        pieces.piece[n] = cache_load_if(ok, from, source.column + (ok ? column : 0));
#endif
    }
    tile_copies_end();
}

/// What was sent for becomes the block, keys times their factors.
inline void block_end(thread Pieces& pieces, threadgroup tile_t* block, threadgroup const float* key_scales, bool keys,
                      uint thread_index) {
#pragma unroll
    for (uint n = 0; n < PIECES; n++) {
        const uint i = thread_index + n * THREADS, row = i / VECTORS;
        threadgroup tile_t* to = block + block_place(row, i % VECTORS);
#if CACHE == 0
        tile_copy_end((threadgroup uint4*)to, pieces.piece[n]);
#else
        float v[8];
        cache_unpack(pieces.piece[n], v);
        const float scale = keys ? 1.0f / key_scales[row] : 1.0f;
#pragma unroll
        for (uint k = 0; k < 8; k++) v[k] = clamp(v[k] * scale, -HALF_MAX, HALF_MAX);
        ((threadgroup tile_t4*)to)[0] = tile_values(float4(v[0], v[1], v[2], v[3]));
        ((threadgroup tile_t4*)to)[1] = tile_values(float4(v[4], v[5], v[6], v[7]));
#endif
    }
}

/// What a score is to be multiplied by on account of its key, for each key of a block that is
/// not stored as half; THREADS / KEYS neighbouring threads look after a key.
inline void load_scales(thread const Source& source, uint position, uint thread_index, threadgroup float* key_scales) {
#if CACHE != 0
    const uint parts = THREADS / KEYS, key = thread_index / parts, part = thread_index % parts;
    float largest = 0.0f;
    if (position + key < source.limit) {
        const ulong row = cache_row(source.page, 0, position + key, KV_HEADS * N);
        for (uint column = 8 * part; column < N; column += 8 * parts) {
            float v[8];
            cache_unpack(cache_load(source.cache + row, source.column + column), v);
#pragma unroll
            for (uint k = 0; k < 8; k++) largest = max(largest, fabs(v[k]));
        }
    }
#pragma unroll
    for (uint other = 1; other < parts; other *= 2) largest = max(largest, simd_shuffle_xor(largest, other));
    if (part == 0) key_scales[key] = 1.0f / pack_scale(largest);
#endif
}
