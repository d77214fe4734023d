// A threadgroup's part of a product with few tokens: up to TOKENS of them with
// 16 TALL SIMDGROUPS / split rows of weights. `split` simdgroups share 16 TALL rows; of
// these each takes every split-th chunk of 128 columns. Weights go from device memory to
// registers, AHEAD chunks before they are needed, and become fragments there.
#pragma once
#include "activation.h"
#include "packed_few.h"
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
    device const uchar* x;    // [T], packed_few.h
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

/// Sixteen values of a row of inputs, or zeros.
inline void take_input(bool ok, device const uchar* x, thread uint* words) {
    words_of(ok ? *(device const uint4*)x : uint4(0), words);
    words_of(ok ? *(device const uint4*)(x + PACKED_FEW_BYTES / 4) : uint4(0), words + 4);
}

/// Weights of a row and a chunk: of each half of it the lane's sixteen; anything finite behind the
/// end of the row.
template <uint TYPE, uint ALIGN> struct Weights {
    typedef Unpacked<TYPE, ALIGN> U;
    enum : uint { PIECES = 16 / U::VALUES };
    U pieces[2][PIECES];

    static inline void load(device const uchar* row, uint k, uint c, uint cols, thread Weights& w) {
#pragma unroll
        for (uint h = 0; h < 2; h++) {
            const uint i = 8 * k + 4 * h + c, first = PIECES == 1 ? min(i, cols / 16 - 1) : i;
#pragma unroll
            for (uint p = 0; p < PIECES; p++) U::load(row, first * PIECES + p, cols, w.pieces[h][p]);
        }
    }
    static inline void unpack(thread const Weights& w, uint h, uint k, uint c, thread uint* words) {
        const uint i = 8 * k + 4 * h + c;
#pragma unroll
        for (uint p = 0; p < PIECES; p++) U::unpack(w.pieces[h][p], i * PIECES + p, words + 8 / PIECES * p);
    }
};

/// Q8_0 in eights: the scales of a chunk are loaded at once.
template <uint ALIGN> struct Weights<BLOCK_Q8_0_EIGHTS, ALIGN> {
    typedef Eights<32> At;
    uint4 q[2];
    uint2 scales;

    static inline void load(device const uchar* row, uint k, uint c, uint cols, thread Weights& w) {
#pragma unroll
        for (uint h = 0; h < 2; h++) {
            const uint i = min(8 * k + 4 * h + c, cols / 16 - 1);
            w.q[h] = load_uint4(true, row, At::body(i / 2) + 16 * (i % 2));
        }
        w.scales = load_stream_if(true, (device const uint2*)(row + At::scale(4 * k)));
    }
    static inline void unpack(thread const Weights& w, uint h, uint, uint c, thread uint* words) {
        const uint two = h == 0 ? w.scales.x : w.scales.y;
        const ushort scale = ushort(c / 2 == 0 ? two & 0xffffu : two >> 16);
        uint q[4];
        words_of(w.q[h], q);
#pragma unroll
        for (uint n = 0; n < 4; n++) {
            const uint2 four = as_type<uint2>(bytes_times(q[n], scale));
            words[2 * n] = four.x;
            words[2 * n + 1] = four.y;
        }
    }
};

/// The simdgroup's sums over its chunks. The first weights do not wait for earlier launches.
template <uint TYPE, uint ALIGN>
inline void multiply(thread const Part& part, thread const Place& at, device const uint* step,
                     threadgroup tile_t* own, thread TileC* sums) {
    typedef Weights<TYPE, ALIGN> W;
    const uint chunks = (part.cols + PACKED_FEW_STEP - 1) / PACKED_FEW_STEP, c = at.lane % 4;
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
            for (uint l = 0; l < LINES; l++) W::load(row[l], k, c, part.cols, weights[a][l]);
        }
    }
#pragma unroll
    for (uint i = 0; i < SUMS; i++) tile_zero(sums[i]);
    grid_dependency_wait();
    const uint tokens = token_count(at, step);
    device const uchar* x = part.x + ulong(at.token / 16) * packed_few_group(part.cols) + PACKED_FEW_FACTORS + 16 * at.lane;
    const uint own_token = at.token + at.lane / 4;
    for (uint first = at.slice; first < chunks; first += AHEAD * at.split) {
#pragma unroll
        for (uint a = 0; a < AHEAD; a++) {
            const uint k = first + a * at.split;
            if (k < chunks) {
#pragma unroll
                for (uint h = 0; h < 2; h++) {
                    FewRows inputs[TILES_T];
#pragma unroll
                    for (uint t = 0; t < TILES_T; t++) {
                        const uint from = t * packed_few_group(part.cols) + (2 * k + h) * PACKED_FEW_BYTES;
                        take_input(own_token + 16 * t < tokens, x + from, inputs[t].low);
                        take_input(own_token + 16 * t + 8 < tokens, x + from + PACKED_FEW_BYTES / 2, inputs[t].high);
                    }
                    TileA rows[TALL][4];
#pragma unroll
                    for (uint m = 0; m < TALL; m++) {
                        FewRows unpacked;
                        W::unpack(weights[a][2 * m], h, k, c, unpacked.low);
                        W::unpack(weights[a][2 * m + 1], h, k, c, unpacked.high);
                        few_take_a(rows[m], unpacked, own, at.lane);
                    }
                    const uint next = k + AHEAD * at.split;
                    if (h == 1 && next < chunks) {
#pragma unroll
                        for (uint l = 0; l < LINES; l++) W::load(row[l], next, c, part.cols, weights[a][l]);
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
                const float factor = *(device const float*)(part.x + packed_few_factor(token, part.cols));
                const float v = sum * factor + (part.how & HOW_BIAS ? part.bias[row] : 0.0f);
                part.out[to] = activated(v, HOW_ACTIVATION(part.how)) + (part.how & HOW_RESIDUAL ? residual[to] : 0.0f);
            }
        }
    }
}
