// One tile of a product: TILE_T tokens by TILE_R rows of weights.
//
// Threadgroup memory holds STAGES pairs of tiles of DEPTH columns: while one pair is
// multiplied the next is on its way, rows of tokens and of weights in half as they are,
// other weights by way of registers, unpacked when they are stored.
#pragma once
#include "activation.h"
#include "packed.h"
#include "step.h"
#include "tile_blocks.h"
#include "tile_weights.h"

#ifndef STAGES
#define STAGES 2
#endif
#ifndef DEPTH
#define DEPTH PACKED_STEP
#endif
// A simdgroup's part of the tile; two of them share the tokens.
#ifndef WARP_R
#define WARP_R 32
#endif
#define WARP_T (TILE_T / 2)
#define SIMDGROUPS (2 * TILE_R / WARP_R)
#define THREADS (32 * SIMDGROUPS)
#define INGOT_THREADS THREADS // so that NVIDIA's compiler gives each enough registers
#ifdef GROUPS_
#define INGOT_GROUPS GROUPS_
#endif
#define COLUMNS (DEPTH / 8) // of a tile, times eight
#define PAIR ((TILE_T + TILE_R) * DEPTH) // values of a pair of tiles
#define TILES_SIZE (STAGES * PAIR * TILE_BYTES / 16)
#define SUMS_T (WARP_T / 16) // matrices of 16 by 16
#define SUMS_R (WARP_R / 16)
#define SUMS (SUMS_T * SUMS_R)

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

/// Where the tile begins, and who looks after which part of it.
struct Place {
    uint token, row;
    uint lane, simdgroup;
};

/// Sixteen bytes of each of a thread's share of ROWS rows that become a tile as they are.
template <uint ROWS> struct Copies {
    enum : uint { VECTORS = DEPTH * TILE_BYTES / 16, LOADS = ROWS * VECTORS / THREADS };
    uint4 v[LOADS];

    static inline threadgroup uint4* to(threadgroup tile_t* tile, uint i) {
        const uint vector = i % VECTORS;
        return (threadgroup uint4*)(tile + tile_place(i / VECTORS, vector / TILE_VECTORS, COLUMNS)) + vector % TILE_VECTORS;
    }
    /// Begins with step k; rows behind `last` are that one once more, and nobody looks at
    /// what they become. Behind `bytes` of a row there are zeros.
    static inline void begin(thread Copies& c, threadgroup tile_t* tile, device const uchar* rows, uint row_bytes,
                             uint first, uint last, uint bytes, uint k, uint t) {
#pragma unroll
        for (uint n = 0; n < LOADS; n++) {
            const uint i = t + n * THREADS, at = 16 * (k * VECTORS + i % VECTORS);
            const bool ok = at < bytes;
            device const uchar* from = rows + ulong(min(first + i / VECTORS, last)) * row_bytes + (ok ? at : 0);
            tile_copy_begin(ok, to(tile, i), (device const uint4*)from, c.v[n]);
        }
    }
    static inline void end(thread Copies& c, threadgroup tile_t* tile, uint t) {
#pragma unroll
        for (uint n = 0; n < LOADS; n++) tile_copy_end(to(tile, t + n * THREADS), c.v[n]);
    }
};

/// Weights on their way to a tile.
template <uint TYPE, uint ALIGN> struct Weights {
    typedef Unpacked<TYPE, ALIGN> U;
    enum : uint { PIECES = DEPTH / U::VALUES, LOADS = TILE_R * PIECES / THREADS }; // of a row, of a thread
    U piece[LOADS];

    static inline void begin(thread Weights& w, threadgroup tile_t*, thread const Part& part, thread const Place& at,
                             uint k, uint t) {
#pragma unroll
        for (uint n = 0; n < LOADS; n++) {
            const uint i = t + n * THREADS, piece = k * PIECES + i % PIECES;
            const uint row = min(at.row + i / PIECES, part.rows - 1);
            if (k == 0 || !U::same(piece, piece - PIECES))
                U::load(part.w + ulong(row) * RowBytes<TYPE>::of(part.cols), piece, part.cols, w.piece[n]);
        }
    }
    static inline void end(thread Weights& w, threadgroup tile_t* tile, uint k, uint t) {
#pragma unroll
        for (uint n = 0; n < LOADS; n++) {
            const uint i = t + n * THREADS, piece = i % PIECES;
            uint words[U::VALUES * TILE_BYTES / 4];
            U::unpack(w.piece[n], k * PIECES + piece, words);
#pragma unroll
            for (uint v = 0; v < U::VALUES / 8; v++) {
                const uint place = tile_place(i / PIECES, piece * (U::VALUES / 8) + v, COLUMNS);
                threadgroup uint4* to = (threadgroup uint4*)(tile + place);
#pragma unroll
                for (uint j = 0; j < TILE_VECTORS; j++) {
                    thread const uint* four = words + 4 * (v * TILE_VECTORS + j);
                    to[j] = uint4(four[0], four[1], four[2], four[3]);
                }
            }
        }
    }
};

#if !TILE_F32
/// Half, aligned, is in a tile what it is in memory.
template <> struct Weights<BLOCK_F16, 16> {
    typedef Copies<TILE_R> C;
    C copies;

    static inline void begin(thread Weights& w, threadgroup tile_t* tile, thread const Part& part,
                             thread const Place& at, uint k, uint t) {
        C::begin(w.copies, tile, part.w, 2 * part.cols, at.row, part.rows - 1, 2 * part.cols, k, t);
    }
    static inline void end(thread Weights& w, threadgroup tile_t* tile, uint, uint t) { C::end(w.copies, tile, t); }
};
#endif

/// Adds the product of a pair of tiles.
inline void multiply_pair(threadgroup const tile_t* pair, thread const Place& at, thread TileC* sums) {
    threadgroup const tile_t* x = pair + at.simdgroup % 2 * WARP_T * DEPTH;
    threadgroup const tile_t* w = pair + (TILE_T + at.simdgroup / 2 * WARP_R) * DEPTH;
#pragma unroll
    for (uint k = 0; k < COLUMNS; k += 2) {
        TileB b[SUMS_R];
#pragma unroll
        for (uint r = 0; r < SUMS_R; r++) tile_take_b(b[r], w, 16 * r, k, COLUMNS, at.lane);
#pragma unroll
        for (uint t = 0; t < SUMS_T; t++) {
            TileA a;
            tile_take_a(a, x, 16 * t, k, COLUMNS, at.lane);
#pragma unroll
            for (uint r = 0; r < SUMS_R; r++) tile_multiply(sums[t * SUMS_R + r], a, b[r]);
        }
    }
}

/// The tile's sums; afterwards nobody touches the tiles. The first weights do not wait
/// for earlier launches.
template <class W>
inline void multiply(thread const Part& part, thread const Place& at, device const uint* step,
                     threadgroup tile_t* tiles, thread TileC* sums) {
    typedef Copies<TILE_T> X;
    const uint steps = (part.cols + DEPTH - 1) / DEPTH;
    const uint t = 32 * at.simdgroup + at.lane, row_bytes = packed_row_bytes(part.cols);
    device const uchar* rows = part.x + PACKED_HEADER;
    W w;
    X x;
    W::begin(w, tiles + TILE_T * DEPTH, part, at, 0, t);
#pragma unroll
    for (uint i = 0; i < SUMS; i++) tile_zero(sums[i]);
    grid_dependency_wait();
    const uint last = step_rows(step) - 1;
#pragma unroll
    for (uint k = 0; k < STAGES - 1; k++) {
        threadgroup tile_t* pair = tiles + k * PAIR;
        if (k < steps) {
            if (k > 0) W::begin(w, pair + TILE_T * DEPTH, part, at, k, t);
            X::begin(x, pair, rows, row_bytes, at.token, last, row_bytes - PACKED_HEADER, k, t);
            X::end(x, pair, t);
            W::end(w, pair + TILE_T * DEPTH, k, t);
        }
        tile_copies_end();
    }
    uint from = 0, to = STAGES - 1;
    for (uint k = 0; k < steps; k++) {
        tile_copies_wait(STAGES - 2);
        threadgroup_barrier(mem_flags::mem_threadgroup);
        // The pair that the next ones take the place of was multiplied before the barrier.
        const uint next = k + STAGES - 1;
        threadgroup tile_t* pair = tiles + to * PAIR;
        if (next < steps) {
            W::begin(w, pair + TILE_T * DEPTH, part, at, next, t);
            X::begin(x, pair, rows, row_bytes, at.token, last, row_bytes - PACKED_HEADER, next, t);
        }
        tile_copies_end();
        multiply_pair(tiles + from * PAIR, at, sums);
        if (next < steps) {
            X::end(x, pair, t);
            W::end(w, pair + TILE_T * DEPTH, next, t);
        }
        from = from + 1 == STAGES ? 0 : from + 1;
        to = to + 1 == STAGES ? 0 : to + 1;
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
}

/// Writes the results: by way of threadgroup memory, 16 tokens at a time.
inline void finish(thread const Part& part, thread const Place& at, uint tokens, device const float* residual,
                   threadgroup float* staging, thread const TileC* sums) {
    const uint stride = WARP_R + 8, lanes = WARP_R / 4; // lanes of a token
    threadgroup float* own = staging + at.simdgroup * 16 * stride;
    const uint column = at.lane % lanes * 4, row = at.row + at.simdgroup / 2 * WARP_R + column;
    const bool whole = part.rows % 4 == 0;
    const uint have = row < part.rows ? min(part.rows - row, 4u) : 0; // rows of this lane
    float bias[4];
#pragma unroll
    for (uint e = 0; e < 4; e++) bias[e] = part.how & HOW_BIAS && e < have ? part.bias[row + e] : 0.0f;
#pragma unroll
    for (uint t = 0; t < SUMS_T; t++) {
#pragma unroll
        for (uint r = 0; r < SUMS_R; r++) tile_store(sums[t * SUMS_R + r], own + 16 * r, stride, at.lane);
        simdgroup_barrier(mem_flags::mem_threadgroup);
#pragma unroll
        for (uint i = at.lane / lanes; i < 16; i += 32 / lanes) {
            const uint token = at.token + at.simdgroup % 2 * WARP_T + 16 * t + i;
            if (token < tokens && have > 0) {
                const float factor = *(device const float*)(part.x + ulong(token) * packed_row_bytes(part.cols));
                const float4 sum = *(threadgroup const float4*)(own + i * stride + column);
                float v[4] = {sum.x, sum.y, sum.z, sum.w};
                const ulong to = ulong(token) * part.rows + row;
#pragma unroll
                for (uint e = 0; e < 4; e++) v[e] = activated(v[e] * factor + bias[e], HOW_ACTIVATION(part.how));
                if (whole) {
                    float4 all = float4(v[0], v[1], v[2], v[3]);
                    if (part.how & HOW_RESIDUAL) all += *(device const float4*)(residual + to);
                    *(device float4*)(part.out + to) = all;
                } else {
#pragma unroll
                    for (uint e = 0; e < 4; e++)
                        if (e < have) part.out[to + e] = part.how & HOW_RESIDUAL ? v[e] + residual[to + e] : v[e];
                }
            }
        }
        simdgroup_barrier(mem_flags::mem_threadgroup);
    }
}
