// A threadgroup's part of a product with few tokens: up to TOKENS of them with
// 16 TALL SIMDGROUPS / split rows of weights. `split` simdgroups share 16 TALL rows; of
// these each takes every split-th chunk of columns. Weights go from device memory to
// registers, AHEAD chunks before they are needed, and become fragments there.
#pragma once
#define LOAD_16_INTO load_lines_into
#include "activation.h"
#include "few.h"
#include "step.h"
#include "tile_part.h"
#include "tile_weights.h"

// For NVIDIA's compiler, which gives each thread as many registers as that leaves.
#define INGOT_THREADS (32 * SIMDGROUPS)
#define INGOT_GROUPS RESIDENT
#define LINES (2 * TALL)          // rows of weights of a lane
#define TILES_T (TOKENS / 16)
#define TOGETHER (TILES_T > 2 ? 2 : TILES_T) // of these, inputs that are loaded together
#define SETS (TILES_T / TOGETHER)
#define SUMS (TALL * TILES_T)
#define SUM_STRIDE 20             // values between the rows of sums in threadgroup memory
#define OWN_BYTES (16 * SUM_STRIDE * 4 > 16 * FEW_STRIDE * 2 ? 16 * SUM_STRIDE * 4 : 16 * FEW_STRIDE * 2)
#define MEMORY_SIZE (SIMDGROUPS * OWN_BYTES / 16)

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

/// Weights of a row and a chunk, which is HALVES times 64 columns: of each half the lane's sixteen, or
/// anything finite behind the end of the row.
template <uint TYPE, uint ALIGN, uint N> struct Halves {
    typedef Unpacked<TYPE, ALIGN> U;
    enum : uint { HALVES = N, PIECES = 16 / U::VALUES };
    U pieces[N][PIECES];

    /// Loads half h of chunk k.
    static inline void load(device const uchar* row, uint k, uint h, uint c, uint cols, thread Halves& w) {
        const uint i = 4 * (k * N + h) + c, first = PIECES == 1 ? min(i, cols / 16 - 1) : i;
#pragma unroll
        for (uint p = 0; p < PIECES; p++) U::load(row, first * PIECES + p, cols, w.pieces[h][p]);
    }
    /// Eight values of half h: the lower or the upper ones.
    static inline void unpack(thread const Halves& w, uint k, uint h, uint upper, uint c, thread uint* words) {
        const uint i = 4 * (k * N + h) + c;
        if (PIECES == 2) {
            U::unpack(w.pieces[h][upper % PIECES], 2 * i + upper, words);
            return;
        }
        uint all[8];
        U::unpack(w.pieces[h][0], i, all);
#pragma unroll
        for (uint n = 0; n < 4; n++) words[n] = all[4 * upper + n];
    }
};

template <uint TYPE, uint ALIGN> struct Weights : Halves<TYPE, ALIGN, 1> {};
template <uint ALIGN> struct Weights<BLOCK_Q8_0, ALIGN> : Halves<BLOCK_Q8_0, ALIGN, 2> {};

/// Q8_0 in eights: the scales of a chunk are loaded at once.
template <uint ALIGN> struct Weights<BLOCK_Q8_0_EIGHTS, ALIGN> {
    enum : uint { HALVES = 2 };
    typedef Eights<32> At;
    uint4 q[HALVES];
    uint2 scales;

    static inline void load(device const uchar* row, uint k, uint h, uint c, uint cols, thread Weights& w) {
        const uint i = min(8 * k + 4 * h + c, cols / 16 - 1);
        load_uint4(true, row, At::body(i / 2) + 16 * (i % 2), w.q[h]);
        if (h == 1) w.scales = load_stream_if(true, (device const uint2*)(row + At::scale(4 * k)));
    }
    static inline void unpack(thread const Weights& w, uint, uint h, uint upper, uint c, thread uint* words) {
        const uint two = h == 0 ? w.scales.x : w.scales.y;
        const ushort scale = ushort(c / 2 == 0 ? two & 0xffffu : two >> 16);
#pragma unroll
        for (uint n = 0; n < 2; n++) {
            const uint q = upper ? (n ? w.q[h].w : w.q[h].z) : (n ? w.q[h].y : w.q[h].x);
            const uint2 four = as_type<uint2>(bytes_times(q, scale));
            words[2 * n] = four.x;
            words[2 * n + 1] = four.y;
        }
    }
};

/// Inputs of a fragment's columns and TOGETHER times 16 tokens.
struct Inputs {
    FewRows rows[TOGETHER];

    static inline void load(device const uchar* x, thread const uint* token_at, thread Inputs& inputs) {
#pragma unroll
        for (uint t = 0; t < TOGETHER; t++) {
            words_of(*(device const uint4*)(x + token_at[2 * t]), inputs.rows[t].low);
            words_of(*(device const uint4*)(x + token_at[2 * t + 1]), inputs.rows[t].high);
        }
    }
};

/// The simdgroup's sums over its chunks. The first weights do not wait for earlier launches.
template <uint TYPE, uint ALIGN>
inline void multiply(thread const Part& part, thread const Place& at, device const uint* step,
                     threadgroup tile_t* own, thread TileC* sums) {
    typedef Weights<TYPE, ALIGN> W;
    const uint columns = 64 * W::HALVES, fragments = columns / FEW_COLUMNS; // of a chunk
    const uint chunks = (part.cols + columns - 1) / columns, c = at.lane % 4;
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
            for (uint e = 0; e < W::HALVES * LINES; e++) W::load(row[e % LINES], k, e / LINES, c, part.cols, weights[a][e % LINES]);
        }
    }
#pragma unroll
    for (uint i = 0; i < SUMS; i++) tile_zero(sums[i]);
    grid_dependency_wait();
    const uint last = token_count(at, step) - 1;
    device const uchar* x = part.x + packed_few_place(at.token, 0, part.cols);
    // Behind `x`; tokens that are not there are like the last one, and nobody looks at what they become.
    uint token_at[2 * TILES_T];
#pragma unroll
    for (uint t = 0; t < 2 * TILES_T; t++) {
        const uint token = min(at.token + 8 * t + at.lane / 4, last);
        token_at[t] = uint(packed_few_place(token - at.token, 16 * c, part.cols)) - PACKED_FEW_FACTORS;
    }
    // Fragment by fragment; of each, one set of tokens after the other. The next inputs are on their way.
    Inputs inputs[2];
    Inputs::load(x + fragments * min(at.slice, chunks - 1) * PACKED_FEW_BYTES, token_at, inputs[0]);
    for (uint first = at.slice; first < chunks; first += AHEAD * at.split) {
#pragma unroll
        for (uint a = 0; a < AHEAD; a++) {
            const uint k = first + a * at.split, next = k + AHEAD * at.split;
            if (k < chunks) {
#pragma unroll
                for (uint f = 0; f < fragments; f++) {
                    TileA rows[TALL][2];
#pragma unroll
                    for (uint m = 0; m < TALL; m++) {
                        FewRows unpacked;
                        W::unpack(weights[a][2 * m], k, f / 2, f % 2, c, unpacked.low);
                        W::unpack(weights[a][2 * m + 1], k, f / 2, f % 2, c, unpacked.high);
                        few_take_a(rows[m], unpacked, own, at.lane);
                    }
                    if (f % 2 == 1 && next < chunks) {
#pragma unroll
                        for (uint l = 0; l < LINES; l++) W::load(row[l], next, f / 2, c, part.cols, weights[a][l]);
                    }
#pragma unroll
                    for (uint set = 0; set < SETS; set++) {
                        const uint turn = f * SETS + set;
                        const bool end = turn == fragments * SETS - 1;
                        // Behind the last chunk, the first one once more.
                        const uint k1 = !end ? k : k + at.split < chunks ? k + at.split : at.slice;
                        const uint f1 = (turn + 1) / SETS % fragments, set1 = (turn + 1) % SETS;
                        Inputs::load(x + (fragments * k1 + f1) * PACKED_FEW_BYTES, token_at + 2 * TOGETHER * set1,
                                     inputs[(turn + 1) % 2]);
#pragma unroll
                        for (uint t = 0; t < TOGETHER; t++) {
                            TileB tokens_of[2];
                            few_take_b(tokens_of, inputs[turn % 2].rows[t], own, at.lane);
#pragma unroll
                            for (uint m = 0; m < TALL; m++)
#pragma unroll
                                for (uint s = 0; s < 2; s++)
                                    tile_multiply(sums[m * TILES_T + set * TOGETHER + t], rows[m][s], tokens_of[s]);
                        }
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
