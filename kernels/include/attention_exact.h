// The pieces of exact tiled attention, see attention_exact.metal.
#pragma once
#define TILE_F32 1
#include "attention_rows.h"
#include "tile.h"

#define KEYS 32 // of a block; divides PAGE
#define THREADS (QUERIES * 4)
#define INGOT_THREADS THREADS // so that NVIDIA's compiler gives each enough registers
#define Q_STRIDE (HEAD + TILE_PAD)
#define B_STRIDE (COLUMNS + TILE_PAD)
#define S_STRIDE (KEYS + 4)
#define PIECES (KEYS * COLUMNS / 8 / THREADS) // of 8 values of a block's columns, of a thread

/// A query's row in the tile, and its position in the sequence.
struct Row {
    uint index, position;
    bool exists;
};

/// Stores this thread's quarter of a query.
inline void load_queries(device const float* q, thread const Work& work, thread const Row& row, uint head, uint part,
                         threadgroup float* queries) {
    device const float4* x = (device const float4*)(q + ulong(work.first + row.index) * (HEADS * N) + head * N);
    for (uint i = part; i < HEAD / 4; i += 4) {
        const float4 v = row.exists && i < N / 4 ? x[i] : float4(0.0f);
        ((threadgroup float4*)(queries + row.index * Q_STRIDE))[i] = v;
    }
}

/// Where keys and values come from: a page of the cache, a head's first column, and
/// the position from which on there is nothing to be seen.
struct Source {
    device const uchar* cache;
    uint page, column, limit;
};

/// A thread's share of COLUMNS columns of a block.
struct Pieces {
    CachePiece piece[PIECES];
};

/// Loads columns `first`... of the block of keys (`which` 0) or values (1) that begins at
/// `position`; zeros where there is none.
inline void load_pieces(thread Pieces& pieces, thread const Source& source, uint which, uint position, uint first,
                        uint thread_index) {
#pragma unroll
    for (uint n = 0; n < PIECES; n++) {
        const uint i = thread_index + n * THREADS;
        const uint key = position + i / (COLUMNS / 8), column = first + i % (COLUMNS / 8) * 8;
        pieces.piece[n] = cache_zero();
        if (key < source.limit && column < N) {
            const ulong row = cache_row(source.page, which, key, KV_HEADS * N);
            pieces.piece[n] = cache_load(source.cache + row, source.column + column);
        }
    }
}

/// Stores them as rows of a tile.
inline void store_pieces(thread const Pieces& pieces, threadgroup float* block, uint thread_index) {
#pragma unroll
    for (uint n = 0; n < PIECES; n++) {
        const uint i = thread_index + n * THREADS;
        threadgroup float* to = block + i / (COLUMNS / 8) * B_STRIDE + i % (COLUMNS / 8) * 8;
        float v[8];
        cache_unpack(pieces.piece[n], v);
        ((threadgroup float4*)to)[0] = float4(v[0], v[1], v[2], v[3]);
        ((threadgroup float4*)to)[1] = float4(v[4], v[5], v[6], v[7]);
    }
}

/// A row's scores of the block become weights exp(score - largest); returns the factor
/// that what was summed before is to be multiplied by.
inline float soften(thread const Row& row, uint position, uint part, threadgroup float* scores, thread float& largest,
                    thread float& total) {
    float v[KEYS / 4];
    float most = largest;
#pragma unroll
    for (uint i = 0; i < KEYS / 4; i++) {
        const uint key = 8 * (i / 2) + 2 * part + i % 2;
        const uint j = position + key;
        v[i] = soft_capped(scores[row.index * S_STRIDE + key] * SCALE, CAP);
        if (j > row.position || j < first_seen(row.position)) v[i] = MINUS_INFINITY;
        most = max(most, v[i]);
    }
    most = max(most, simd_shuffle_xor(most, 1));
    most = max(most, simd_shuffle_xor(most, 2));
    // Equal also where nothing was seen so far.
    const float shrink = largest == most ? 1.0f : exp(largest - most);
    total *= shrink;
    largest = most;
#pragma unroll
    for (uint i = 0; i < KEYS / 4; i++) {
        const uint key = 8 * (i / 2) + 2 * part + i % 2;
        const float w = v[i] == MINUS_INFINITY ? 0.0f : exp(v[i] - most);
        scores[row.index * S_STRIDE + key] = w;
        total += w;
    }
    return shrink;
}

/// sums = shrink * sums + weights * values, for the columns from `first` on.
inline void add_values(thread TileC* sums, uint first, uint strip, uint side, threadgroup const float* weights,
                       threadgroup const float* block, threadgroup const float* diagonal, uint lane) {
    thread TileC* own = sums + first / 32;
#pragma unroll
    for (uint i = 0; i < COLUMNS / 32; i++) tile_scale_rows(own[i], diagonal + 128 * strip, lane);
#pragma unroll
    for (uint k = 0; k < KEYS; k += 16) {
        TileA rows;
        tile_load_a(rows, weights + 16 * strip * S_STRIDE + k, S_STRIDE, lane);
#pragma unroll
        for (uint i = 0; i < COLUMNS / 32; i++) {
            TileB values;
            tile_load_b_plain(values, block + k * B_STRIDE + side * (COLUMNS / 2) + 16 * i, B_STRIDE, lane);
            tile_multiply(own[i], rows, values);
        }
    }
}
