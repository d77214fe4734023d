// The pieces of tiled attention, see attention_tile.metal.
#pragma once
#include "activation.h"
#include "cache.h"
#include "packed.h"
#include "step.h"

#define KEYS 32 // of a block; divides PAGE
#define THREADS (QUERIES * 4)
#define INGOT_THREADS THREADS // so that NVIDIA's compiler gives each enough registers
#define Q_STRIDE (HEAD + TILE_PAD)
#define B_STRIDE (COLUMNS + TILE_PAD)
#define S_STRIDE (KEYS + 4)
#define W_STRIDE (S_STRIDE * 4 / TILE_BYTES) // of weights, which lie in the scores' memory
#define PIECES (KEYS * COLUMNS / 8 / THREADS) // of 8 values of a block's columns, of a thread
#define MINUS_INFINITY as_type<float>(0xff800000u)
#define HALF_MAX 65504.0f
#define SCALED_KEYS (CACHE != 0 && !TILE_F32)

constant uint N [[function_constant(0)]];
constant uint HEADS [[function_constant(1)]];
constant uint KV_HEADS [[function_constant(2)]];
constant uint WINDOW [[function_constant(3)]];
constant float SCALE [[function_constant(4)]];
constant float CAP [[function_constant(5)]];

/// Consecutive rows of one sequence; none of them for tiles to spare.
struct Work {
    uint sequence, first, rows, position;
};

inline Work find_work(device const uint* step, uint tile) {
    Work work;
    work.sequence = 0;
    work.first = 0;
    work.rows = 0;
    work.position = 0;
    const uint sequences = step_sequences(step);
    for (uint s = 0; s < sequences; s++) {
        const uint rows = sequence_rows(step, s), tiles = (rows + QUERIES - 1) / QUERIES;
        if (tile < tiles) {
            work.sequence = s;
            work.first = sequence_first_row(step, s) + tile * QUERIES;
            work.rows = min(rows - tile * QUERIES, uint(QUERIES));
            work.position = sequence_past(step, s) + tile * QUERIES;
            break;
        }
        tile -= tiles;
    }
    return work;
}

/// First position that a query at `position` sees.
inline uint first_seen(uint position) { return WINDOW > 0 && position >= WINDOW ? position - WINDOW + 1 : 0; }

/// A query's row in the tile, and its position in the sequence.
struct Row {
    uint index, position;
    bool exists;
};

/// Stores this thread's quarter of a query; returns what its scores are to be multiplied by.
inline float load_queries(device const float* q, thread const Work& work, thread const Row& row, uint head, uint part,
                          threadgroup tile_t* queries) {
    device const float4* x = (device const float4*)(q + ulong(work.first + row.index) * (HEADS * N) + head * N);
    float scale = 1.0f;
#if !TILE_F32
    float largest = 0.0f;
    for (uint i = part; i < N / 4; i += 4) {
        const float4 v = row.exists ? x[i] : float4(0.0f);
        largest = max(largest, max(max(fabs(v.x), fabs(v.y)), max(fabs(v.z), fabs(v.w))));
    }
    largest = max(largest, simd_shuffle_xor(largest, 1));
    largest = max(largest, simd_shuffle_xor(largest, 2));
    scale = pack_scale(largest);
#endif
    for (uint i = part; i < HEAD / 4; i += 4) {
        const float4 v = row.exists && i < N / 4 ? x[i] : float4(0.0f);
        ((threadgroup tile_t4*)(queries + row.index * Q_STRIDE))[i] = tile_values(v * float4(scale));
    }
    return 1.0f / scale;
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

/// Stores them as rows of a tile, keys times their factors.
inline void store_pieces(thread const Pieces& pieces, threadgroup tile_t* block, threadgroup const float* key_scales,
                         bool keys, uint thread_index) {
#pragma unroll
    for (uint n = 0; n < PIECES; n++) {
        const uint i = thread_index + n * THREADS;
        const uint key = i / (COLUMNS / 8), column = i % (COLUMNS / 8) * 8;
        threadgroup tile_t* to = block + key * B_STRIDE + column;
#if CACHE == 0 && !TILE_F32
        *(threadgroup uint4*)to = pieces.piece[n];
#else
        float v[8];
        cache_unpack(pieces.piece[n], v);
#if !TILE_F32
        const float scale = keys ? 1.0f / key_scales[key] : 1.0f;
#pragma unroll
        for (uint k = 0; k < 8; k++) v[k] = clamp(v[k] * scale, -HALF_MAX, HALF_MAX);
#endif
        ((threadgroup tile_t4*)to)[0] = tile_values(float4(v[0], v[1], v[2], v[3]));
        ((threadgroup tile_t4*)to)[1] = tile_values(float4(v[4], v[5], v[6], v[7]));
#endif
    }
}

/// What a score is to be multiplied by on account of its key, for each key of a block;
/// four threads look after a key.
inline void load_scales(thread const Source& source, uint position, uint thread_index, threadgroup float* key_scales) {
#if SCALED_KEYS
    const uint key = thread_index / 4, part = thread_index % 4;
    float largest = 0.0f;
    if (key < KEYS && position + key < source.limit) {
        const ulong row = cache_row(source.page, 0, position + key, KV_HEADS * N);
        for (uint column = 8 * part; column < N; column += 32) {
            float v[8];
            cache_unpack(cache_load(source.cache + row, source.column + column), v);
#pragma unroll
            for (uint k = 0; k < 8; k++) largest = max(largest, fabs(v[k]));
        }
    }
    largest = max(largest, simd_shuffle_xor(largest, 1));
    largest = max(largest, simd_shuffle_xor(largest, 2));
    if (key < KEYS && part == 0) key_scales[key] = 1.0f / pack_scale(largest);
#endif
}

/// A row's scores of the block become weights exp(score - largest); returns the factor
/// that what was summed before is to be multiplied by.
inline float soften(thread const Row& row, uint position, uint part, float score_scale, threadgroup const float* scores,
                    threadgroup const float* key_scales, threadgroup tile_t* weights, thread float& largest,
                    thread float& total) {
    float v[KEYS / 4];
    float most = largest;
#pragma unroll
    for (uint i = 0; i < KEYS / 4; i++) {
        const uint key = 8 * (i / 2) + 2 * part + i % 2;
        const uint j = position + key;
        v[i] = scores[row.index * S_STRIDE + key] * score_scale;
#if SCALED_KEYS
        v[i] *= key_scales[key];
#endif
        v[i] = soft_capped(v[i], CAP);
        if (j > row.position || j < first_seen(row.position)) v[i] = MINUS_INFINITY;
        most = max(most, v[i]);
    }
    most = max(most, simd_shuffle_xor(most, 1));
    most = max(most, simd_shuffle_xor(most, 2)); // and so the row's scores are read
    simdgroup_barrier(mem_flags::mem_threadgroup);
    // Equal also where nothing was seen so far.
    const float shrink = largest == most ? 1.0f : exp(largest - most);
    total *= shrink;
    largest = most;
#pragma unroll
    for (uint i = 0; i < KEYS / 4; i++) {
        const uint key = 8 * (i / 2) + 2 * part + i % 2;
        const tile_t w = tile_t(v[i] == MINUS_INFINITY ? 0.0f : exp(v[i] - most));
        weights[row.index * W_STRIDE + key] = w;
        total += float(w);
    }
    return shrink;
}

/// sums = shrink * sums + weights * values, for the columns from `first` on.
inline void add_values(thread TileC* sums, uint first, uint strip, uint side, threadgroup const tile_t* weights,
                       threadgroup const tile_t* block, threadgroup const float* diagonal, uint lane) {
    thread TileC* own = sums + first / 32;
#pragma unroll
    for (uint i = 0; i < COLUMNS / 32; i++) tile_scale_rows(own[i], diagonal + 128 * strip, lane);
#pragma unroll
    for (uint k = 0; k < KEYS; k += 16) {
        TileA rows;
        tile_load_a(rows, weights + 16 * strip * W_STRIDE + k, W_STRIDE, lane);
#pragma unroll
        for (uint i = 0; i < COLUMNS / 32; i++) {
            TileB values;
            tile_load_b_plain(values, block + k * B_STRIDE + side * (COLUMNS / 2) + 16 * i, B_STRIDE, lane);
            tile_multiply(own[i], rows, values);
        }
    }
}
