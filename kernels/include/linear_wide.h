// One tile of a product on Hopper's matrix units: TILE_T tokens by 128 rows of weights (with
// GLU 64 rows of each of two matrices, gated(first) * second).
//
// Weights go from device memory to the registers of the lanes that multiply them, which unpack
// them while the units work on the step before. Tokens come through threadgroup memory in
// bulk, a tile of a step in one copy, begun by four simdgroups that do nothing else.
//
// With TILE_F32 both come as two halves, of 22 bits together, of whose products the smallest is left out;
// sums of more than 64 columns are added outside of the units, which cut off what they cannot hold.
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
#if SPLIT > 1 && defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define INGOT_CLUSTER SPLIT
#endif
#define MULTIPLIERS 8 // simdgroups
#define INGOT_THREADS (32 * (MULTIPLIERS + 4))
#define INGOT_GROUPS 1
#define STAGE_BYTES (TILE_T * WIDE_BYTES * (TILE_F32 ? 2 : 1))
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
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

#if TILE_F32
/// Two floats times WEIGHT_SCALE as halves, and what these leave, which would else be below the range of half.
/// Weights beyond 4094 in magnitude become infinite.
#define WEIGHT_SCALE 16.0f
inline void halves_of(thread const uint* two, thread uint& near, thread uint& rest) {
    const float x = WEIGHT_SCALE * as_type<float>(two[0]), y = WEIGHT_SCALE * as_type<float>(two[1]);
    const half2 h = half2(half(x), half(y));
    near = as_type<uint>(h);
    rest = as_type<uint>(half2(half(x - float(h.x)), half(y - float(h.y))));
}
#else
#define WEIGHT_SCALE 1.0f
#endif

/// Unpacks what was loaded for step k; with TILE_F32 `rest` is what halves leave.
template <class U>
inline void rows_unpack(thread const Rows<U>& w, uint cols, uint k, uint quarter, thread uint* a, thread uint* rest) {
    uint words[2][4 * TILE_BYTES];
#pragma unroll
    for (uint p = 0; p < Rows<U>::PIECES; p++) {
        const uint i = (4 * k + quarter) * Rows<U>::PIECES + p, count = U::VALUES * TILE_BYTES / 4;
        if (cols % WIDE_STEP == 0 || i * U::VALUES < cols) {
            U::unpack(w.low[p], i, words[0] + p * count);
            U::unpack(w.high[p], i, words[1] + p * count);
        } else {
#pragma unroll
            for (uint n = 0; n < count; n++) words[0][p * count + n] = words[1][p * count + n] = 0;
        }
    }
#pragma unroll
    for (uint n = 0; n < 16; n++) {
#if TILE_F32
        halves_of(words[n % 2] + n / 2 * 2, a[n], rest[n]);
#else
        a[n] = words[n % 2][n / 2];
#endif
    }
}

/// What the sums of a token are to be multiplied by.
inline float token_factor(thread const Part& part, uint t, uint tokens) {
    return load_stream_if(t < tokens, (device const float*)part.x + t) * (1.0f / WEIGHT_SCALE);
}

/// Writes sums of COUNT / 2 tokens from `first` on. What is loaded for a few tokens is all loaded before
/// anything is stored: else every load would wait for the store before it, as the memory may be the same.
template <uint COUNT>
inline void put(thread const Part& part, thread const Place& at, uint first, uint tokens, device const float* residual,
                thread const float* sums, threadgroup const float* factors) {
    const uint batch = 4; // times two tokens
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
            factor[i] = factors[t - at.token];
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

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
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
            const ulong first = (ulong(k) * padded + at.token) * (STAGE_BYTES / TILE_T);
            device const uint4* from = (device const uint4*)(part.x + 4 * padded + first);
            for (uint i = t; i < STAGE_BYTES / 16; i += INGOT_THREADS)
                tile[i] = at.token + i / 8 % TILE_T < tokens ? from[i] : uint4(0);
            threadgroup_barrier(mem_flags::mem_threadgroup);
            if (at.simdgroup < MULTIPLIERS) {
                Rows<U> w;
                uint a[16], rest[16];
                rows_load(w, rows, part.cols, k, at.quarter);
                rows_unpack(w, part.cols, k, at.quarter, a, rest);
                threadgroup const half* b = (threadgroup const half*)tile;
                wide_multiply(sums[half_of], a, b, at.lane);
                if (TILE_F32) wide_multiply(sums[half_of], a, b + TILE_T * WIDE_STEP, at.lane);
                if (TILE_F32) wide_multiply(sums[half_of], rest, b, at.lane);
            }
        }
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    threadgroup float* factors = (threadgroup float*)tile;
    for (uint i = t; i < TILE_T; i += INGOT_THREADS) factors[i] = token_factor(part, at.token + i, tokens);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (rank > 0 || at.simdgroup >= MULTIPLIERS) return;
    for (uint i = 0; SPLIT > 1 && i < SUMS; i++) sums[0][i] += sums[SPLIT - 1][i];
    put<SUMS>(part, at, at.token, tokens, residual, sums[0], factors);
}

#endif
