// One tile of a product: TILE_T tokens by TILE_R rows of weights.
//
// Threadgroup memory holds STAGES pairs of tiles of DEPTH columns: while one pair is
// multiplied the next is on its way, rows of tokens and of weights in half as they are,
// other weights by way of registers, unpacked when they are stored.
#pragma once
#include "packed.h"
#include "tile_blocks.h"
#include "tile_weights.h"

// Pairs of tiles. With three, products with F16 are up to a third faster on an H200, but
// the largest tiles take 48 KiB of threadgroup memory, which other GPUs do not have.
#if defined(INGOT_CUDA) && !TILE_F32
#define STAGES 3
#else
#define STAGES 2
#endif
#define DEPTH PACKED_STEP
// A simdgroup's part of the tile; two of them share the tokens.
#define SIMDGROUP_R 32
#define SIMDGROUP_T (TILE_T / 2)
#define SIMDGROUPS (2 * TILE_R / SIMDGROUP_R)
#define THREADS (32 * SIMDGROUPS)
// For NVIDIA's compiler, which gives each thread as many registers as that leaves.
#define INGOT_THREADS THREADS
#define INGOT_GROUPS RESIDENT
#define COLUMNS (DEPTH / 8) // of a tile, times eight
#define PAIR ((TILE_T + TILE_R) * DEPTH) // values of a pair of tiles
#define TILES_SIZE (STAGES * PAIR * TILE_BYTES / 16)
#define SUMS_T (SIMDGROUP_T / 16) // matrices of 16 by 16
#define SUMS_R (SIMDGROUP_R / 16)
#define SUMS (SUMS_T * SUMS_R)
#define ROWS_OF_TILE TILE_R

/// Where the tile begins, and who looks after which part of it.
struct Place {
    uint token, row;
    uint lane, simdgroup;
};

/// A thread's share of ROWS rows that become a tile as they are, 16 bytes at a time.
template <uint ROWS> struct Copies {
    enum : uint { VECTORS = DEPTH * TILE_BYTES / 16, LOADS = ROWS * VECTORS / THREADS };
    device const uchar* from[LOADS];
    uint4 v[LOADS];

    static inline threadgroup uint4* to(threadgroup tile_t* tile, uint i) {
        const uint vector = i % VECTORS;
        const uint place = tile_place(i / VECTORS, vector / TILE_VECTORS, COLUMNS);
        return (threadgroup uint4*)(tile + place) + vector % TILE_VECTORS;
    }
    /// Rows behind `last` are that one once more; nobody looks at what they become.
    static inline void find(thread Copies& c, device const uchar* rows, uint row_bytes, uint first, uint last, uint t) {
#pragma unroll
        for (uint n = 0; n < LOADS; n++) {
            const uint i = t + n * THREADS;
            c.from[n] = rows + ulong(min(first + i / VECTORS, last)) * row_bytes + 16 * (i % VECTORS);
        }
    }
    /// Begins with step k; behind the first `bytes` of a row, a multiple of 16, there are zeros.
    static inline void begin(thread Copies& c, threadgroup tile_t* tile, uint bytes, uint k, uint t) {
        const uint at = 16 * VECTORS * k;
#pragma unroll
        for (uint n = 0; n < LOADS; n++) {
            const uint i = t + n * THREADS;
            const bool ok = bytes % (16 * VECTORS) == 0 || at + 16 * (i % VECTORS) < bytes;
            tile_copy_begin(ok, to(tile, i), (device const uint4*)(c.from[n] + (ok ? at : 0)), c.v[n]);
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
    device const uchar* row[LOADS];
    U piece[LOADS];

    static inline void find(thread Weights& w, thread const Part& part, thread const Place& at, uint t) {
#pragma unroll
        for (uint n = 0; n < LOADS; n++) {
            const uint row = min(at.row + (t + n * THREADS) / PIECES, part.rows - 1);
            w.row[n] = part.w + ulong(row) * RowBytes<TYPE>::of(part.cols);
        }
    }
    static inline void begin(thread Weights&, threadgroup tile_t*, uint, uint, uint) {}
    static inline void load(thread Weights& w, uint cols, uint k, uint t) {
#pragma unroll
        for (uint n = 0; n < LOADS; n++) {
            const uint i = k * PIECES + (t + n * THREADS) % PIECES;
            if (k == 0 || !U::same(i, i - PIECES)) U::load(w.row[n], i, cols, w.piece[n]);
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

/// Q8_0 in rows that begin at multiples of 4: eight neighbouring lanes load a block of a row,
/// a word each, so that a load is in few lines of the cache. Every second block begins in
/// the middle of a word: then a lane's values are half in the word of the lane before it.
struct WeightsQ8 {
    enum : uint { LOADS = TILE_R * 8 / THREADS, BYTES = 34 };
    device const uchar* row[LOADS];
    uint head[LOADS], word[LOADS];

    static inline void find(thread WeightsQ8& w, thread const Part& part, thread const Place& at, uint t) {
#pragma unroll
        for (uint n = 0; n < LOADS; n++) {
            const uint row = min(at.row + (t + n * THREADS) / 8, part.rows - 1);
            w.row[n] = part.w + ulong(row) * RowBytes<BLOCK_Q8_0>::of(part.cols);
        }
    }
    static inline void load(thread WeightsQ8& w, uint, uint k, uint t) {
        const uint first = BYTES * k / 4 * 4;
#pragma unroll
        for (uint n = 0; n < LOADS; n++) {
            w.head[n] = load_uint(true, w.row[n], first);
            w.word[n] = load_uint(true, w.row[n], first + 4 + 4 * (t % 8));
        }
    }
    static inline void begin(thread WeightsQ8&, threadgroup tile_t*, uint, uint, uint) {}
    static inline void end(thread WeightsQ8& w, threadgroup tile_t* tile, uint k, uint t) {
        const bool shifted = k % 2 == 0;
        const uint lane = t % 32;
#pragma unroll
        for (uint n = 0; n < LOADS; n++) {
            const uint other = simd_shuffle(w.word[n], lane > 0 ? lane - 1 : 0);
            const uint before = t % 8 == 0 ? w.head[n] : other;
            const uint q = shifted ? (before >> 16) | (w.word[n] << 16) : w.word[n];
            const ushort d = ushort(shifted ? w.head[n] & 0xffffu : w.head[n] >> 16);
            const uint place = tile_place((t + n * THREADS) / 8, t % 8 / 2, COLUMNS) + t % 2 * 4;
            *(threadgroup tile_t4*)(tile + place) = bytes_times(q, d);
        }
    }
};
template <> struct Weights<BLOCK_Q8_0, 4> : WeightsQ8 {};
template <> struct Weights<BLOCK_Q8_0, 8> : WeightsQ8 {};
template <> struct Weights<BLOCK_Q8_0, 16> : WeightsQ8 {};

/// The same of blocks in eights.
template <uint ALIGN> struct Weights<BLOCK_Q8_0_EIGHTS, ALIGN> {
    enum : uint { LOADS = TILE_R * 8 / THREADS };
    typedef Eights<32> At;
    device const uchar* row[LOADS];
    uint word[LOADS];
    ushort scale[LOADS];

    static inline void find(thread Weights& w, thread const Part& part, thread const Place& at, uint t) {
#pragma unroll
        for (uint n = 0; n < LOADS; n++) {
            const uint row = min(at.row + (t + n * THREADS) / 8, part.rows - 1);
            w.row[n] = part.w + ulong(row) * RowBytes<BLOCK_Q8_0_EIGHTS>::of(part.cols);
        }
    }
    static inline void load(thread Weights& w, uint, uint k, uint t) {
#pragma unroll
        for (uint n = 0; n < LOADS; n++) {
            w.word[n] = load_uint(true, w.row[n], At::body(k) + 4 * (t % 8));
            w.scale[n] = load_ushort(true, w.row[n], At::scale(k));
        }
    }
    static inline void begin(thread Weights&, threadgroup tile_t*, uint, uint, uint) {}
    static inline void end(thread Weights& w, threadgroup tile_t* tile, uint, uint t) {
#pragma unroll
        for (uint n = 0; n < LOADS; n++) {
            const uint place = tile_place((t + n * THREADS) / 8, t % 8 / 2, COLUMNS) + t % 2 * 4;
            *(threadgroup tile_t4*)(tile + place) = bytes_times(w.word[n], w.scale[n]);
        }
    }
};

#if !TILE_F32
/// Half, aligned, is in a tile what it is in memory.
template <> struct Weights<BLOCK_F16, 16> {
    typedef Copies<TILE_R> C;
    C copies;

    static inline void find(thread Weights& w, thread const Part& part, thread const Place& at, uint t) {
        C::find(w.copies, part.w, 2 * part.cols, at.row, part.rows - 1, t);
    }
    static inline void load(thread Weights&, uint, uint, uint) {}
    static inline void begin(thread Weights& w, threadgroup tile_t* tile, uint cols, uint k, uint t) {
        C::begin(w.copies, tile, 2 * cols, k, t);
    }
    static inline void end(thread Weights& w, threadgroup tile_t* tile, uint, uint t) { C::end(w.copies, tile, t); }
};
#endif

/// Where a simdgroup's fragments begin in the first pair of tiles.
struct Fragments {
    TileAt x[COLUMNS / 2], w[COLUMNS / 2];
};

inline void find_fragments(thread Fragments& f, threadgroup const tile_t* tiles, thread const Place& at) {
#pragma unroll
    for (uint k = 0; k < COLUMNS / 2; k++) {
        f.x[k] = tile_at_a(tiles + at.simdgroup % 2 * SIMDGROUP_T * DEPTH, 2 * k, COLUMNS, at.lane);
        f.w[k] = tile_at_b(tiles + (TILE_T + at.simdgroup / 2 * SIMDGROUP_R) * DEPTH, 2 * k, COLUMNS, at.lane);
    }
}

/// A simdgroup's fragments of 16 columns.
struct Set {
    TileA x[SUMS_T];
    TileB w[SUMS_R];
};

/// Takes set k of the pair of tiles that is so many values behind the first.
inline void take(thread Set& set, thread const Fragments& f, uint behind, uint k, uint lane) {
#pragma unroll
    for (uint r = 0; r < SUMS_R; r++) tile_take_b(set.w[r], f.w[k], behind + 16 * r * DEPTH, 2 * k, COLUMNS, lane);
#pragma unroll
    for (uint t = 0; t < SUMS_T; t++) tile_take_a(set.x[t], f.x[k], behind + 16 * t * DEPTH, 2 * k, COLUMNS, lane);
}

/// The tile's sums; afterwards nobody touches the tiles. The first weights do not wait
/// for earlier launches.
template <class W>
inline void multiply(thread const Part& part, thread const Place& at, device const uint* step,
                     threadgroup tile_t* tiles, thread TileC* sums) {
    typedef Copies<TILE_T> X;
    const uint steps = (part.cols + DEPTH - 1) / DEPTH;
    const uint t = 32 * at.simdgroup + at.lane, row_bytes = packed_row_bytes(part.cols);
    const uint x_bytes = row_bytes - PACKED_HEADER;
    threadgroup tile_t* w_tiles = tiles + TILE_T * DEPTH;
    W w;
    X x;
    W::find(w, part, at, t);
    W::load(w, part.cols, 0, t);
    W::begin(w, w_tiles, part.cols, 0, t);
#pragma unroll
    for (uint i = 0; i < SUMS; i++) tile_zero(sums[i]);
    Fragments fragments;
    find_fragments(fragments, tiles, at);
    grid_dependency_wait();
    X::find(x, part.x + PACKED_HEADER, row_bytes, at.token, step_rows(step) - 1, t);
#pragma unroll
    for (uint k = 0; k < STAGES - 1; k++) {
        if (k < steps) {
            if (k > 0) W::begin(w, w_tiles + k * PAIR, part.cols, k, t);
            X::begin(x, tiles + k * PAIR, x_bytes, k, t);
            X::end(x, tiles + k * PAIR, t);
            W::end(w, w_tiles + k * PAIR, k, t);
            if (k + 1 < steps) W::load(w, part.cols, k + 1, t);
        }
        tile_copies_end();
    }
    uint from = 0, to = (STAGES - 1) * PAIR;
    for (uint k = 0; k < steps; k++) {
        tile_copies_wait(STAGES - 2);
        threadgroup_barrier(mem_flags::mem_threadgroup);
        // The pair that the next ones take the place of was multiplied before the barrier.
        const uint next = k + STAGES - 1;
        if (next < steps) {
            W::begin(w, w_tiles + to, part.cols, next, t);
            X::begin(x, tiles + to, x_bytes, next, t);
        }
        tile_copies_end();
        Set set[COLUMNS / 2];
        take(set[0], fragments, from, 0, at.lane);
#pragma unroll
        for (uint c = 0; c < COLUMNS / 2; c++) {
            if (c + 1 < COLUMNS / 2) take(set[c + 1], fragments, from, c + 1, at.lane);
#pragma unroll
            for (uint i = 0; i < SUMS; i++) tile_multiply(sums[i], set[c].x[i / SUMS_R], set[c].w[i % SUMS_R]);
        }
        if (next < steps) {
            X::end(x, tiles + to, t);
            W::end(w, w_tiles + to, next, t);
            if (next + 1 < steps) W::load(w, part.cols, next + 1, t);
        }
        from = from == (STAGES - 1) * PAIR ? 0 : from + PAIR;
        to = to == (STAGES - 1) * PAIR ? 0 : to + PAIR;
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
}

/// What the rows of 16 tokens are to be multiplied by: lane i has token i's, if there is one.
inline float token_factor(thread const Part& part, uint token, uint tokens) {
    const ulong at = ulong(min(token, tokens - 1)) * packed_row_bytes(part.cols);
    return *(device const float*)(part.x + at);
}

/// Four values of a row behind `at`, of which there are `have`, or zeros.
inline float4 load_some(device const float* p, ulong at, uint have, bool aligned) {
    if (aligned && have == 4) return *(device const float4*)(p + at);
    float v[4];
#pragma unroll
    for (uint e = 0; e < 4; e++) v[e] = e < have ? p[at + e] : 0.0f;
    return float4(v[0], v[1], v[2], v[3]);
}

/// Writes the results: by way of threadgroup memory, 16 tokens at a time. All loads of
/// these come before the first store, which they might otherwise have to wait for.
inline void finish(thread const Part& part, thread const Place& at, uint tokens, device const float* residual,
                   threadgroup float* staging, thread const TileC* sums) {
    const uint stride = SIMDGROUP_R + 8, lanes = SIMDGROUP_R / 4, each = 32 / lanes; // lanes of a token, tokens at a time
    threadgroup float* own = staging + at.simdgroup * 16 * stride;
    const uint column = at.lane % lanes * 4, row = at.row + at.simdgroup / 2 * SIMDGROUP_R + column;
    const uint first = at.token + at.simdgroup % 2 * SIMDGROUP_T;
    const bool aligned = part.rows % 4 == 0;
    const uint have = row < part.rows ? min(part.rows - row, 4u) : 0; // rows of this lane
    const bool adds = (part.how & HOW_RESIDUAL) != 0;
    const float4 bias = load_some(part.bias, row, part.how & HOW_BIAS ? have : 0, true);
    float factors[(SIMDGROUP_T + 31) / 32];
#pragma unroll
    for (uint i = 0; i < (SIMDGROUP_T + 31) / 32; i++) factors[i] = token_factor(part, first + 32 * i + at.lane, tokens);
#pragma unroll
    for (uint t = 0; t < SUMS_T; t++) {
        float4 other[16 / each];
#pragma unroll
        for (uint i = 0; i < 16 / each; i++) {
            const uint token = first + 16 * t + i * each + at.lane / lanes;
            const ulong from = ulong(token) * part.rows + row;
            other[i] = load_some(residual, from, adds && token < tokens ? have : 0, aligned);
        }
#pragma unroll
        for (uint r = 0; r < SUMS_R; r++) tile_store(sums[t * SUMS_R + r], own + 16 * r, stride, at.lane);
        simdgroup_barrier(mem_flags::mem_threadgroup);
#pragma unroll
        for (uint i = 0; i < 16 / each; i++) {
            const uint place = i * each + at.lane / lanes, token = first + 16 * t + place;
            const float factor = simd_shuffle(factors[t / 2], t % 2 * 16 + place);
            const float4 sum = *(threadgroup const float4*)(own + place * stride + column);
            const float4 v = sum * float4(factor) + bias;
            const uint f = HOW_ACTIVATION(part.how);
            const float4 all =
                float4(activated(v.x, f), activated(v.y, f), activated(v.z, f), activated(v.w, f)) + other[i];
            device float* to = part.out + ulong(token) * part.rows + row;
            if (token < tokens && aligned && have == 4) {
                *(device float4*)to = all;
            } else if (token < tokens) {
                const float values[4] = {all.x, all.y, all.z, all.w};
#pragma unroll
                for (uint e = 0; e < 4; e++)
                    if (e < have) to[e] = values[e];
            }
        }
        simdgroup_barrier(mem_flags::mem_threadgroup);
    }
}
