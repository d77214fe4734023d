// One tile of a product on Hopper's matrix units: TILE_T tokens by 128 rows of weights (with
// GLU 64 rows of each of two matrices, gated(first) * second).
//
// Weights go from device memory to the registers of the lanes that multiply them, which unpack
// them while the units work on the step before. Tokens come through threadgroup memory in
// bulk, a tile of a step in one copy, begun by four simdgroups that do nothing else.
//
// SPLIT threadgroups (1 or 2) share the columns of a tile where there would else be too few
// tiles for all cores; each then adds up half of the tokens.
#pragma once
#include "tile_part.h"
#include "tile_weights.h"
#include "wide.h"

#ifndef SPLIT
#define SPLIT 1
#endif
#ifndef GLU
#define GLU 0
#endif

// Bytes of threadgroup memory that the launch gives for tiles on their way.
#ifndef INGOT_SHARED
#define INGOT_SHARED 0
#endif
#if SPLIT > 1
#define INGOT_CLUSTER SPLIT
#endif
#define MULTIPLIERS 8 // simdgroups
#define INGOT_THREADS (32 * (MULTIPLIERS + 4))
#define INGOT_GROUPS 1
#define STAGE_BYTES (TILE_T * WIDE_BYTES)
#if defined(INGOT_CUDA)
#define TILES_SIZE 1 // tiles are in what stages_begin() gives
#else
#define TILES_SIZE (STAGE_BYTES / 16)
#endif
#define SUMS (TILE_T / 2) // of a lane
#if GLU
#define ROWS_OF_TILE 64
#define ROWS_OF_SIMDGROUP 8
#else
#define ROWS_OF_TILE 128
#define ROWS_OF_SIMDGROUP 16
#endif

/// A lane's rows and columns: which of the four that share rows it is.
struct Place {
    uint row, simdgroup, lane, quarter, token;
};

/// Steps of 64 columns, from `first` to `end`.
struct Steps {
    uint first, end;
};

/// This threadgroup's steps.
inline Steps steps_of(uint cols, uint rank) {
    const uint all = (cols + WIDE_STEP - 1) / WIDE_STEP;
    Steps s;
    s.first = all * rank / SPLIT;
    s.end = all * (rank + 1) / SPLIT;
    return s;
}

/// Where a lane's two rows begin. Behind the last there is that one once more.
struct RowPair {
    device const uchar* low;
    device const uchar* high;
};

inline RowPair rows_find(thread const Part& part, thread const Place& at, uint bytes) {
    RowPair rows;
    const uint last = part.rows - 1;
    rows.low = part.w + ulong(min(at.row, last)) * bytes;
#if GLU
    rows.high = part.second + ulong(min(at.row, last)) * bytes;
#else
    rows.high = part.w + ulong(min(at.row + 8, last)) * bytes;
#endif
    return rows;
}

/// 16 columns of these rows, as they are stored.
template <class U> struct Rows {
    enum : uint { PIECES = 16 / U::VALUES };
    U low[PIECES], high[PIECES];
};

template <class U>
inline void rows_load(thread Rows<U>& w, thread const RowPair& from, uint cols, uint k, uint quarter) {
#pragma unroll
    for (uint p = 0; p < Rows<U>::PIECES; p++) {
        const uint i = (4 * k + quarter) * Rows<U>::PIECES + p;
        if (cols % WIDE_STEP == 0 || i * U::VALUES < cols) {
            U::load(from.low, i, cols, w.low[p]);
            U::load(from.high, i, cols, w.high[p]);
        }
    }
}
/// Unpacks what was loaded for step k.
template <class U> inline void rows_unpack(thread const Rows<U>& w, uint cols, uint k, uint quarter, thread uint* a) {
    uint words[2][8];
#pragma unroll
    for (uint p = 0; p < Rows<U>::PIECES; p++) {
        const uint i = (4 * k + quarter) * Rows<U>::PIECES + p;
        const uint at = p * U::VALUES / 2;
        if (cols % WIDE_STEP == 0 || i * U::VALUES < cols) {
            U::unpack(w.low[p], i, words[0] + at);
            U::unpack(w.high[p], i, words[1] + at);
        } else {
#pragma unroll
            for (uint n = 0; n < U::VALUES / 2; n++) words[0][at + n] = words[1][at + n] = 0;
        }
    }
#pragma unroll
    for (uint n = 0; n < 8; n++) {
        a[2 * n] = words[0][n];
        a[2 * n + 1] = words[1][n];
    }
}

/// Writes sums of COUNT / 2 tokens from `first` on. What is loaded for a few tokens is all loaded before
/// anything is stored: else every load would wait for the store before it, as the memory may be the same.
template <uint COUNT>
inline void put(thread const Part& part, thread const Place& at, uint first, uint tokens, device const float* residual,
                thread const float* sums) {
    const uint batch = 4; // times two tokens
    device const float* factors = (device const float*)part.x;
    const bool have[2] = {at.row < part.rows, !GLU && at.row + 8 < part.rows};
    float bias[2];
#pragma unroll
    for (uint r = 0; r < 2; r++) bias[r] = load_stream_if((part.how & HOW_BIAS) && have[r], part.bias + at.row + 8 * r);
#pragma unroll
    for (uint begin = 0; begin < COUNT / 4; begin += batch) {
        float factor[2 * batch], other[4 * batch];
#pragma unroll
        for (uint i = 0; i < 2 * batch; i++) {
            const uint t = first + 8 * (begin + i / 2) + 2 * at.quarter + i % 2;
            factor[i] = load_stream_if(t < tokens, factors + t);
#pragma unroll
            for (uint r = 0; r < 2; r++) {
                const bool ok = (part.how & HOW_RESIDUAL) && t < tokens && have[r];
                other[2 * i + r] = load_stream_if(ok, residual + ulong(t) * part.rows + at.row + 8 * r);
            }
        }
#pragma unroll
        for (uint i = 0; i < 2 * batch; i++) {
            const uint t = first + 8 * (begin + i / 2) + 2 * at.quarter + i % 2, n = 4 * (begin + i / 2) + i % 2;
            device float* to = part.out + ulong(t) * part.rows + at.row;
            const float low = sums[n] * factor[i], high = sums[n + 2] * factor[i];
#if GLU
            if (t < tokens && have[0]) *to = gated(low) * high;
#else
            const uint f = HOW_ACTIVATION(part.how);
            if (t < tokens && have[0]) to[0] = activated(low + bias[0], f) + other[2 * i];
            if (t < tokens && have[1]) to[8] = activated(high + bias[1], f) + other[2 * i + 1];
#endif
        }
    }
}

#if defined(INGOT_CUDA)
#include "linear_wide_cuda.h"
#else

/// All of a tile, by the first of the threadgroups that share it: for the simulator.
template <uint TYPE, uint ALIGN>
inline void wide(thread const Part& part, thread const Place& at, uint rank, device const uint* step,
                 device const float* residual, threadgroup uint4* tile) {
    typedef Unpacked<TYPE, ALIGN> U;
    const uint tokens = step_rows(step), padded = wide_tokens(tokens), t = 32 * at.simdgroup + at.lane;
    const RowPair rows = rows_find(part, at, RowBytes<TYPE>::of(part.cols));
    float sums[SPLIT][SUMS];
    for (uint i = 0; i < SPLIT * SUMS; i++) sums[i / SUMS][i % SUMS] = 0.0f;
    grid_dependency_wait();
    for (uint half_of = 0; rank == 0 && half_of < SPLIT; half_of++) {
        const Steps steps = steps_of(part.cols, half_of);
        for (uint k = steps.first; k < steps.end; k++) {
            threadgroup_barrier(mem_flags::mem_threadgroup);
            device const uint4* from = (device const uint4*)(part.x + 4 * padded + ulong(k) * padded * WIDE_BYTES);
            for (uint i = t; i < TILE_T * 8; i += INGOT_THREADS)
                tile[i] = at.token + i / 8 < tokens ? from[at.token * 8 + i] : uint4(0);
            threadgroup_barrier(mem_flags::mem_threadgroup);
            if (at.simdgroup < MULTIPLIERS) {
                Rows<U> w;
                uint a[16];
                rows_load(w, rows, part.cols, k, at.quarter);
                rows_unpack(w, part.cols, k, at.quarter, a);
                wide_multiply(sums[half_of], a, (threadgroup const half*)tile, at.lane);
            }
        }
    }
    if (rank > 0 || at.simdgroup >= MULTIPLIERS) return;
    for (uint i = 0; SPLIT > 1 && i < SUMS; i++) sums[0][i] += sums[SPLIT - 1][i];
    put<SUMS>(part, at, at.token, tokens, residual, sums[0]);
}

#endif
