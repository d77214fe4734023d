// The parts of attention over a chunk of positions: scores, softmax, weighted sum.
// Used by attention_vec, which says how the threads are arranged.
#pragma once
#include "activation.h"
#include "cache.h"

#define CHUNK 256    // positions
#define SIMDGROUPS 8 // of a threadgroup
#define PIECES 8     // of 8 values that a lane has of a key, at most
#if CACHE == 1 || RESIDENT > 2
#define BATCH 4 // values on their way at once, per lane
#else
#define BATCH 8
#endif
// Values are on their way while scores are found, where there are registers for both.
#define EARLY (CACHE == 0)
#define OUTPUTS (HEADS * 8) // sums of a lane
#define NOTHING as_type<float>(0xff800000u) // -infinity, the score of what is not seen

/// What a threadgroup looks at.
struct Chunk {
    uint from, end;     // positions, counted from the beginning of the chunk
    uint width, column; // of a row of the cache, and where the head begins in it
    uint n;             // values of a head
};

/// Scores of the chunk's positions, of pages that have any: [HEADS][CHUNK] from queries [HEADS][n]. Four
/// lanes share a position, each with every fourth piece of the key; a lane has two positions at a time.
inline void attend_scores(device const uchar* cache, threadgroup const uint* pages, Chunk chunk, float scale, float cap,
                          threadgroup const float* queries, threadgroup float* scores, uint simdgroup, uint lane) {
    const uint part = lane % 4, at = simdgroup * 8 + lane / 4; // piece of a key, position in a page
    for (uint pair = 0; pair * PAGE < chunk.end; pair += 2) {
        CachePiece pieces[2 * PIECES];
        bool seen[2];
#pragma unroll
        for (uint b = 0; b < 2; b++) {
            const uint j = (pair + b) * PAGE + at;
            seen[b] = j >= chunk.from && j < chunk.end;
            device const uchar* row = cache;
            if (seen[b]) {
                row = cache + cache_row(pages[pair + b], 0, at, chunk.width);
            }
#pragma unroll
            for (uint e = 0; e < PIECES; e++) {
                const uint i = 32 * e + 8 * part;
                pieces[b * PIECES + e] = cache_load_if(seen[b] && i < chunk.n, row, chunk.column + i);
            }
        }
        float score[2 * HEADS];
#pragma unroll
        for (uint h = 0; h < 2 * HEADS; h++) {
            score[h] = 0.0f;
        }
#pragma unroll
        for (uint e = 0; e < PIECES; e++) {
            const uint i = 32 * e + 8 * part;
            if (32 * e < chunk.n) {
                float x[8], y[8];
                cache_unpack(pieces[e], x);
                cache_unpack(pieces[PIECES + e], y);
#pragma unroll
                for (uint h = 0; h < HEADS; h++) {
                    threadgroup const float4* query = (threadgroup const float4*)(queries + h * chunk.n + (i < chunk.n ? i : 0));
                    const float4 a = query[0], b = query[1];
                    score[h] += dot(a, float4(x[0], x[1], x[2], x[3])) + dot(b, float4(x[4], x[5], x[6], x[7]));
                    score[HEADS + h] +=
                        dot(a, float4(y[0], y[1], y[2], y[3])) + dot(b, float4(y[4], y[5], y[6], y[7]));
                }
            }
        }
#pragma unroll
        for (uint h = 0; h < 2 * HEADS; h++) {
            float sum = score[h] + simd_shuffle_xor(score[h], 1);
            sum += simd_shuffle_xor(sum, 2);
            if (part == h % 4) {
                scores[h % HEADS * CHUNK + (pair + h / HEADS) * PAGE + at] =
                    seen[h / HEADS] ? soft_capped(sum * scale, cap) : NOTHING;
            }
        }
    }
}

/// One head's scores become weights relative to the highest score; a simdgroup does it.
inline void attend_softmax(threadgroup float* scores, uint end, threadgroup float* maximum, threadgroup float* total,
                           uint lane) {
    float x[CHUNK / 32], top = NOTHING, sum = 0.0f;
#pragma unroll
    for (uint e = 0; e < CHUNK / 32; e++) {
        x[e] = 32 * e + lane < end ? scores[32 * e + lane] : NOTHING;
        top = max(top, x[e]);
    }
    top = simd_max(top);
#pragma unroll
    for (uint e = 0; e < CHUNK / 32; e++) {
        x[e] = exp(x[e] - top);
        scores[32 * e + lane] = x[e];
        sum += x[e];
    }
    sum = simd_sum(sum);
    if (lane == 0) {
        *maximum = top;
        *total = sum;
    }
}

/// Where a lane finds values: of its positions, the (lane % lanes)th piece.
struct Column {
    uint mine;          // value of the row
    uint first, stride; // positions
};

/// `lanes` share a row.
inline Column attend_column(uint lanes, uint simdgroup, uint lane) {
    const uint rows = 32 / lanes; // of a simdgroup
    const Column column = {lane % lanes * 8, simdgroup * rows + lane / lanes, SIMDGROUPS * rows};
    return column;
}

/// BATCH values of a lane on their way, from position j0 on.
struct Values {
    CachePiece pieces[BATCH];
};

inline void attend_values_load(device const uchar* cache, threadgroup const uint* pages, Chunk chunk, Column column,
                               uint j0, thread Values& values) {
#pragma unroll
    for (uint b = 0; b < BATCH; b++) {
        const uint j = j0 + b * column.stride;
        const bool seen = j >= chunk.from && j < chunk.end && column.mine < chunk.n;
        device const uchar* row = cache;
        if (seen) {
            row = cache + cache_row(pages[j / PAGE], 1, j, chunk.width);
        }
        values.pieces[b] = cache_load_if(seen, row, chunk.column + column.mine);
    }
}

/// The sum of this lane's values of the positions it looks at: of every head, eight values. The first
/// batch is on its way already.
inline void attend_values(device const uchar* cache, threadgroup const uint* pages, Chunk chunk, Column column,
                          thread Values& values, threadgroup const float* scores, thread float* sum) {
#pragma unroll
    for (uint i = 0; i < OUTPUTS; i++) {
        sum[i] = 0.0f;
    }
    for (uint j0 = column.first; j0 < chunk.end; j0 += BATCH * column.stride) {
        if (!EARLY || j0 != column.first) {
            attend_values_load(cache, pages, chunk, column, j0, values);
        }
#pragma unroll
        for (uint b = 0; b < BATCH; b++) {
            const uint j = j0 + b * column.stride;
            if (j < chunk.end) {
                float v[8];
                cache_unpack(values.pieces[b], v);
#pragma unroll
                for (uint h = 0; h < HEADS; h++) {
                    const float weight = scores[h * CHUNK + j];
#pragma unroll
                    for (uint i = 0; i < 8; i++) {
                        sum[8 * h + i] = fma(weight, v[i], sum[8 * h + i]);
                    }
                }
            }
        }
    }
}
