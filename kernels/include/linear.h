// One matrix of a matrix-vector launch: rows of weights are streamed, each lane
// loading ahead, and multiplied by an input row that several rows share.
//
// A simdgroup has ROWS rows at a time. `split` simdgroups share these rows, each
// taking its part of the columns; a threadgroup so has SIMDGROUPS / split sets of
// rows, and goes on to the sets `threadgroups` further until there are none. What
// was used is loaded again at once, at the end of a set from the next one: loads
// are in flight all the time, also while sums are added up. The order in which a
// row is summed depends on nothing but its type, its length, `split` and SIMDGROUPS.
//
// Options: NORM, GLU (not 0: two matrices give two sums per row), INPUTS (0 f32, 1
// rounded to 8 bits where weights are packed), ROWS, AHEAD (units in flight per lane
// and row), SIMDGROUPS, SKIP_ZEROS (1: weights that meet only zeros are not loaded),
// MAXCOLS (columns of a rounded piece of the input row, a multiple of 1024), RESIDENT
// (threadgroups on a core at a time, for NVIDIA's compiler: what leaves each thread the
// registers it needs).
#pragma once
#include "linear_dot.h"
#include "linear_options.h"

#ifndef INPUTS
#define INPUTS 0
#endif
#ifndef ROWS
#define ROWS 2
#endif
#ifndef AHEAD
#define AHEAD 2
#endif
#ifndef SIMDGROUPS
#define SIMDGROUPS 8
#endif
#ifndef MAXCOLS
#define MAXCOLS 1024
#endif
#ifndef RESIDENT
#define RESIDENT 2
#endif
#define INGOT_GROUPS RESIDENT

/// Two matrices of one type are read together, others one after the other.
#if GLU && P0_BLOCK == P1_BLOCK
#define STREAMED (2 * ROWS)
#else
#define STREAMED ROWS
#endif

/// Sums of two sets of rows, so that one is written while the other is still read:
/// [2][SIMDGROUPS][2 * ROWS + 1], the last of the inner ones for the sum of squares.
#define SUMS (2 * ROWS + 1)
#define SUMS_SIZE (2 * SIMDGROUPS * SUMS)
#if INPUTS == 1
#define WORDS_SIZE (MAXCOLS / 64 * 17)
#define SCALES_SIZE (MAXCOLS / 32)
#else
#define WORDS_SIZE 4
#define SCALES_SIZE 1
#endif

/// A matrix and how it is split.
struct Matrix {
    device const uchar* weights; // [rows, cols]
    device const uchar* second;  // the same of a second one
    uint rows, cols;
    uint split;
};

/// Where a simdgroup stands.
struct Place {
    uint sg, lane;
};

/// Columns of some rows, from the first of ROWS. No columns if end is 0.
struct Area {
    uint row, first, end;
};

/// STREAMED rows as they come: ROWS of the first matrix, and as many of the second.
template <class D> struct Stream {
    device const uchar* row[STREAMED];
    typename D::Chunk next[AHEAD][STREAMED];
    typename D::Input in[SKIP_ZEROS || !D::STAGED ? AHEAD : 1];
};

/// The first row of a simdgroup in the threadgroup's set number `set`.
inline uint first_row(thread const Matrix& m, uint set, thread const Place& at) {
    return (set * (SIMDGROUPS / m.split) + at.sg / m.split) * ROWS;
}
/// Number of sets.
inline uint sets(thread const Matrix& m) {
    const uint rows = SIMDGROUPS / m.split * ROWS;
    return (m.rows + rows - 1) / rows;
}

template <class D> inline void stream_rows(thread Stream<D>& s, thread const Matrix& m, uint row) {
#pragma unroll
    for (uint r = 0; r < STREAMED; r++) {
        s.row[r] = (r < ROWS ? m.weights : m.second) + ulong(min(row + r % ROWS, m.rows - 1)) * D::Bytes::of(m.cols);
    }
}

/// The simdgroup's first unit from column `first` on.
template <class D> inline uint first_unit(thread const Matrix& m, uint first, thread const Place& at) {
    return D::units(first) + at.sg % m.split * 32;
}

/// Loads the first units. (What is not loaded has to be something.)
template <class D>
inline void stream_begin(thread Stream<D>& s, thread const Matrix& m, Area area, thread const Place& at) {
    stream_rows(s, m, area.row);
    const typename D::Chunk none = {};
#pragma unroll
    for (uint a = 0; a < AHEAD; a++) {
#pragma unroll
        for (uint r = 0; r < STREAMED; r++) s.next[a][r] = none;
    }
#if !SKIP_ZEROS
#pragma unroll
    for (uint a = 0; a < AHEAD; a++) {
        const uint u = first_unit<D>(m, area.first, at) + a * 32 * m.split + at.lane;
#pragma unroll
        for (uint r = 0; r < STREAMED; r++)
            D::load(u < D::units(area.end), s.row[r], u, m.cols, at.lane, s.next[a][r]);
    }
#endif
}

/// True if a row is so short that a lane has no more than AHEAD units of it. An
/// input in f32 is then kept in registers from set to set.
template <class D> inline bool keeps_input(thread const Matrix& m) {
    return !D::STAGED && D::units(m.cols) <= 32 * m.split * AHEAD;
}

/// Adds the products with columns of `area`, which were begun, to acc and begins
/// those of `after`. fresh: the input is not in registers yet.
template <class D>
inline void stream_run(thread Stream<D>& s, thread const Matrix& m, Area area, Area after, thread const InputRow& x,
                       bool fresh, thread float* acc, thread float& sumsq, thread const Place& at) {
    const uint to = D::units(area.end), stride = 32 * m.split, step = stride * AHEAD;
    uint base = first_unit<D>(m, area.first, at);
    // The same for all lanes of a simdgroup, and once where it has nothing to do.
#pragma unroll 1
    do {
#if SKIP_ZEROS
#pragma unroll
        for (uint a = 0; a < AHEAD; a++) {
            const uint u = base + a * stride + at.lane;
            D::input(u < to, u, m.cols, x, s.in[a], sumsq);
            const bool ok = u < to && !D::is_zero(s.in[a]);
#pragma unroll
            for (uint r = 0; r < STREAMED; r++) D::load(ok, s.row[r], u, m.cols, at.lane, s.next[a][r]);
        }
#else
        if (!D::STAGED && (fresh || !keeps_input<D>(m))) {
#pragma unroll
            for (uint a = 0; a < AHEAD; a++) {
                const uint u = base + a * stride + at.lane;
                D::input(u < to, u, m.cols, x, s.in[D::STAGED ? 0 : a], sumsq);
            }
        }
#endif
        uint next = base + step, limit = to;
        if (next >= to) {
            next = first_unit<D>(m, after.first, at);
            limit = D::units(after.end);
            stream_rows(s, m, after.row);
        }
        // Used, then loaded again: meanwhile the other units are on their way.
#pragma unroll
        for (uint a = 0; a < AHEAD; a++) {
            const uint u = base + a * stride + at.lane, i = SKIP_ZEROS || !D::STAGED ? a : 0;
            // Nothing is left for any lane, often in the last round. (What is not staged is kept short.)
            if (!D::STAGED || base + a * stride < to) {
                if (!SKIP_ZEROS && D::STAGED) D::input(u < to, u, m.cols, x, s.in[i], sumsq);
#pragma unroll
                for (uint r = 0; r < STREAMED; r++) acc[r] += D::dot(s.next[a][r], s.in[i], u, at.lane);
            }
#if !SKIP_ZEROS
            const uint later = next + a * stride + at.lane;
#pragma unroll
            for (uint r = 0; r < STREAMED; r++)
                D::load(later < limit, s.row[r], later, m.cols, at.lane, s.next[a][r]);
#endif
        }
        base += step;
    } while (base < to);
}

/// Sums over a simdgroup's lanes of COUNT values, a power of two, of which every lane has a share: lane
/// 32 / COUNT * i has sum i. With each step lanes hand over half of the values they still have, so
/// that all together take little more than one alone would. (With ?: instead of select an address would
/// be chosen, and the values live in memory for that.)
template <uint COUNT, uint BIT> struct SumEach {
    static inline float of(thread float* v, uint lane) {
        const bool upper = (lane & BIT) != 0;
#pragma unroll
        for (uint i = 0; i < COUNT / 2; i++) {
            const float low = v[i], high = v[i + COUNT / 2];
            v[i] = select(low, high, upper) + simd_shuffle_xor(select(high, low, upper), BIT);
        }
        return SumEach<COUNT / 2, BIT / 2>::of(v, lane);
    }
};
template <uint BIT> struct SumEach<1, BIT> {
    static inline float of(thread float* v, uint) {
        float sum = v[0];
#pragma unroll
        for (uint bit = BIT; bit > 0; bit /= 2) sum += simd_shuffle_xor(sum, bit);
        return sum;
    }
};

/// Writes the sums over a simdgroup's lanes; acc is used up.
inline void put_sums(thread float* acc, float sumsq, threadgroup float* sums, thread const Place& at) {
    const uint count = (GLU ? 2 : 1) * ROWS, lanes = 32 / count;
    const float sum = SumEach<count, 16>::of(acc, at.lane);
    if (at.lane % lanes == 0) sums[at.sg * SUMS + at.lane / lanes] = sum;
#if NORM == 1
    sumsq = simd_sum(sumsq);
    if (at.lane == 0) sums[at.sg * SUMS + 2 * ROWS] = sumsq;
#endif
}

/// Sum r of simdgroups `first` to `first + count - 1`.
inline float get_sum(threadgroup const float* sums, uint first, uint count, uint r) {
    float v = 0.0f;
    for (uint i = first; i < first + count; i++) v += sums[i * SUMS + r];
    return v;
}
