// A threadgroup's part of a product with few tokens: up to TOKENS of them with
// 16 TALL SIMDGROUPS / split rows of weights. `split` simdgroups share 16 TALL rows; of
// these each takes every split-th chunk of columns. Weights go from device memory to
// registers, AHEAD chunks before they are needed, and become fragments there.
#pragma once
#include "activation.h"
#include "few.h"
#include "packed.h"
#include "step.h"
#include "tile_weights.h"

// For NVIDIA's compiler, which gives each thread as many registers as that leaves.
#define INGOT_THREADS (32 * SIMDGROUPS)
#define INGOT_GROUPS RESIDENT
#define LINES (2 * TALL)          // rows of weights of a lane
#define TILES_T (TOKENS / 16)
#define SUMS (TALL * TILES_T)
#define SUM_STRIDE 20             // values between the rows of sums in threadgroup memory
#define OWN_BYTES (16 * SUM_STRIDE * 4 > 16 * FEW_STRIDE * 2 ? 16 * SUM_STRIDE * 4 : 16 * FEW_STRIDE * 2)
#define MEMORY_SIZE (SIMDGROUPS * OWN_BYTES / 16)

// Bits of Part::how; the twin is crates/ingot-gpu/src/launches/linear_tile.rs.
#define HOW_X 15
#define HOW_SECOND 16
#define HOW_ACTIVATION(how) (((how) >> 5) & 7)
#define HOW_BIAS 256
#define HOW_RESIDUAL 512

struct Part {
    device const uchar* x;    // [T] packed rows
    device const uchar* w;    // [rows, cols]
    device const float* bias; // [rows]
    device float* out;        // [T, rows]
    uint rows, cols, how;
};

/// Which of the rows, tokens and chunks are a simdgroup's.
struct Place {
    uint row, token;   // the first of each
    uint slice, split; // of the chunks
    bool outputs;      // tokens are the step's outputs
    uint simdgroup, lane;
};

inline uint token_count(thread const Place& at, device const uint* step) {
    return at.outputs ? step_outputs(step) : step_rows(step);
}

/// Sixteen weights, from 16 i on; anything finite behind the end of the row.
template <class U> struct Sixteen {
    enum : uint { PIECES = 16 / U::VALUES };
    U pieces[PIECES];
    static inline void load(device const uchar* row, uint i, uint cols, thread Sixteen& w) {
        const uint first = PIECES == 1 ? min(i, cols / 16 - 1) : i;
#pragma unroll
        for (uint p = 0; p < PIECES; p++) U::load(row, first * PIECES + p, cols, w.pieces[p]);
    }
    static inline void unpack(thread const Sixteen& w, uint i, thread uint* words) {
#pragma unroll
        for (uint p = 0; p < PIECES; p++) U::unpack(w.pieces[p], i * PIECES + p, words + 8 / PIECES * p);
    }
};

/// The simdgroup's sums over its chunks. The first weights do not wait for earlier launches.
template <uint TYPE, uint ALIGN>
inline void multiply(thread const Part& part, thread const Place& at, device const uint* step,
                     threadgroup tile_t* own, thread TileC* sums) {
    typedef Sixteen<Unpacked<TYPE, ALIGN>> W;
    const uint chunks = (part.cols + FEW_COLUMNS - 1) / FEW_COLUMNS, c = at.lane % 4;
    device const uchar* row[LINES];
    W weights[AHEAD][LINES];
#pragma unroll
    for (uint l = 0; l < LINES; l++) {
        const uint r = min(at.row + 8 * l + at.lane / 4, part.rows - 1);
        row[l] = part.w + ulong(r) * RowBytes<TYPE>::of(part.cols);
    }
#pragma unroll
    for (uint a = 0; a < AHEAD; a++) {
        const uint k = at.slice + a * at.split;
        if (k < chunks) {
#pragma unroll
            for (uint l = 0; l < LINES; l++) W::load(row[l], 4 * k + c, part.cols, weights[a][l]);
        }
    }
#pragma unroll
    for (uint i = 0; i < SUMS; i++) tile_zero(sums[i]);
    grid_dependency_wait();
    const uint tokens = token_count(at, step), row_bytes = packed_row_bytes(part.cols);
    device const uchar* x[2 * TILES_T];
#pragma unroll
    for (uint t = 0; t < 2 * TILES_T; t++) {
        const uint token = min(at.token + 8 * t + at.lane / 4, tokens - 1);
        x[t] = part.x + PACKED_HEADER + ulong(token) * row_bytes;
    }
    for (uint first = at.slice; first < chunks; first += AHEAD * at.split) {
#pragma unroll
        for (uint a = 0; a < AHEAD; a++) {
            const uint k = first + a * at.split;
            if (k < chunks) {
                const uint value = FEW_COLUMNS * k + 16 * c;
                const bool ok = value < packed_values(part.cols);
                FewRows inputs[TILES_T];
#pragma unroll
                for (uint t = 0; t < TILES_T; t++) {
#pragma unroll
                    for (uint h = 0; h < 2; h++) {
                        device const uint4* from = (device const uint4*)(x[2 * t + h] + TILE_BYTES * value);
                        thread uint* words = h == 0 ? inputs[t].low : inputs[t].high;
                        words_of(ok ? from[0] : uint4(0), words);
                        words_of(ok ? from[1] : uint4(0), words + 4);
                    }
                }
                TileA rows[TALL][4];
#pragma unroll
                for (uint m = 0; m < TALL; m++) {
                    FewRows unpacked;
                    W::unpack(weights[a][2 * m], 4 * k + c, unpacked.low);
                    W::unpack(weights[a][2 * m + 1], 4 * k + c, unpacked.high);
                    few_take_a(rows[m], unpacked, own, at.lane);
                }
                const uint next = k + AHEAD * at.split;
                if (next < chunks) {
#pragma unroll
                    for (uint l = 0; l < LINES; l++) W::load(row[l], 4 * next + c, part.cols, weights[a][l]);
                }
#pragma unroll
                for (uint t = 0; t < TILES_T; t++) {
                    TileB columns[4];
                    few_take_b(columns, inputs[t], own, at.lane);
#pragma unroll
                    for (uint m = 0; m < TALL; m++)
#pragma unroll
                        for (uint s = 0; s < 4; s++)
                            tile_multiply(sums[m * TILES_T + t], rows[m][s], columns[s]);
                }
            }
        }
    }
}

/// Adds up what the simdgroups that share rows have, in their order, and writes the results, 16 rows and
/// 16 tokens at a time.
inline void finish(thread const Part& part, thread const Place& at, uint tokens, device const float* residual,
                   threadgroup float* sums_of_all, thread const TileC* sums) {
    const uint stride = OWN_BYTES / 4, together = at.simdgroup / at.split * at.split;
    const uint threads = 32 * at.split, thread_index = 32 * (at.simdgroup - together) + at.lane;
    for (uint i = 0; i < SUMS; i++) {
        const uint row0 = at.row + 16 * (i / TILES_T), token0 = at.token + 16 * (i % TILES_T);
        threadgroup_barrier(mem_flags::mem_threadgroup);
        tile_store(sums[i], sums_of_all + at.simdgroup * stride, SUM_STRIDE, at.lane);
        threadgroup_barrier(mem_flags::mem_threadgroup);
        for (uint e = thread_index; e < 256; e += threads) {
            const uint row = row0 + e % 16, token = token0 + e / 16;
            threadgroup const float* p = sums_of_all + together * stride + e % 16 * SUM_STRIDE + e / 16;
            float sum = p[0];
            for (uint s = 1; s < at.split; s++) sum += p[s * stride];
            if (row < part.rows && token < tokens) {
                const ulong to = ulong(token) * part.rows + row;
                const float factor = *(device const float*)(part.x + ulong(token) * packed_row_bytes(part.cols));
                const float v = sum * factor + (part.how & HOW_BIAS ? part.bias[row] : 0.0f);
                part.out[to] = activated(v, HOW_ACTIVATION(part.how)) + (part.how & HOW_RESIDUAL ? residual[to] : 0.0f);
            }
        }
    }
}
