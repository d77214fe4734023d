// One matrix of a matrix-vector launch: rows of weights are streamed, each lane
// loading ahead, and multiplied by an input row that several rows share.
//
// A simdgroup has ROWS rows at a time. `split` simdgroups share these rows, each
// taking its part of the columns; a threadgroup so has SIMDGROUPS / split sets of
// rows, and goes on to the sets `threadgroups` further until there are none. The
// order in which a row is summed depends on nothing but its type, its length,
// `split` and SIMDGROUPS.
//
// Options: NORM, GLU (1: two matrices give two sums per row), INPUTS (0 f32, 1
// rounded to 8 bits where weights are packed), ROWS, SIMDGROUPS, SKIP_ZEROS (1: weights
// that meet only zeros are not loaded), MAXCOLS (columns of a rounded piece of the
// input row, a multiple of 1024).
#pragma once
#include "linear_dot.h"
#include "linear_options.h"

#ifndef INPUTS
#define INPUTS 0
#endif
#ifndef ROWS
#define ROWS 2
#endif
#ifndef SIMDGROUPS
#define SIMDGROUPS 8
#endif
#ifndef MAXCOLS
#define MAXCOLS 1024
#endif

// Threadgroups on a core at a time, for NVIDIA's compiler: what leaves each thread the
// registers it needs. The twin is `resident` in launches/linear_vec.rs.
#define INGOT_GROUPS (GLU || ROWS > 2 ? 2 : 3)

/// Sums of two sets of rows, so that one is written while the other is still read:
/// [2][SIMDGROUPS][2 * ROWS + 1], the last of the inner ones for the sum of squares.
#define SUMS (2 * ROWS + 1)
/// Sizes of the threadgroup arrays of linear kernels.
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
    uint rows, cols;
    uint split;
};

/// Where a simdgroup stands.
struct Place {
    uint sg, lane;
};

/// ROWS rows as they come.
template <class D> struct Stream {
    device const uchar* row[ROWS];
    typename D::Chunk next[D::AHEAD][ROWS];
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

/// Loads the first units from column `first` on.
template <class D>
inline void stream_begin(thread Stream<D>& s, thread const Matrix& m, uint row, uint first, uint end,
                         thread const Place& at) {
#pragma unroll
    for (uint r = 0; r < ROWS; r++) s.row[r] = m.weights + ulong(min(row + r, m.rows - 1)) * D::Bytes::of(m.cols);
#if !SKIP_ZEROS
    const uint from = D::units(first), to = D::units(end);
#pragma unroll
    for (uint a = 0; a < D::AHEAD; a++) {
        const uint u = from + (a * m.split + at.sg % m.split) * 32 + at.lane;
#pragma unroll
        for (uint r = 0; r < ROWS; r++) D::load(u < to, s.row[r], u, m.cols, at.lane, s.next[a][r]);
    }
#endif
}

/// Adds the products with columns `first` to `end` to acc.
template <class D>
inline void stream_run(thread Stream<D>& s, thread const Matrix& m, uint first, uint end, thread const InputRow& x,
                       thread float* acc, thread float& sumsq, thread const Place& at) {
    const uint from = D::units(first), to = D::units(end), stride = 32 * m.split;
    // The same for all lanes of a simdgroup. Not unrolled: that costs registers, and
    // what is loaded ahead is enough.
#pragma unroll 1
    for (uint base = from + at.sg % m.split * 32; base < to; base += stride * D::AHEAD) {
        typename D::Input in[SKIP_ZEROS ? D::AHEAD : 1];
#if SKIP_ZEROS
#pragma unroll
        for (uint a = 0; a < D::AHEAD; a++) {
            const uint u = base + a * stride + at.lane;
            D::input(u < to, u, m.cols, x, in[a], sumsq);
            const bool ok = u < to && !D::is_zero(in[a]);
#pragma unroll
            for (uint r = 0; r < ROWS; r++) D::load(ok, s.row[r], u, m.cols, at.lane, s.next[a][r]);
        }
#endif
        // Used, then loaded again: meanwhile the other units are on their way.
#pragma unroll
        for (uint a = 0; a < D::AHEAD; a++) {
            const uint u = base + a * stride + at.lane, i = SKIP_ZEROS ? a : 0;
#if !SKIP_ZEROS
            D::input(u < to, u, m.cols, x, in[i], sumsq);
#endif
#pragma unroll
            for (uint r = 0; r < ROWS; r++) {
                const float v = D::dot(s.next[a][r], in[i], u, at.lane);
                acc[r] += u < to ? v : 0.0f;
            }
#if !SKIP_ZEROS
            const uint later = u + D::AHEAD * stride;
#pragma unroll
            for (uint r = 0; r < ROWS; r++) D::load(later < to, s.row[r], later, m.cols, at.lane, s.next[a][r]);
#endif
        }
    }
}

/// Writes the sums over a simdgroup's lanes.
inline void put_sums(thread const float* acc, float sumsq, threadgroup float* sums, thread const Place& at) {
#pragma unroll
    for (uint r = 0; r < (GLU ? 2 : 1) * ROWS; r++) {
        const float v = simd_sum(acc[r]);
        if (at.lane == 0) sums[at.sg * SUMS + r] = v;
    }
    sumsq = simd_sum(sumsq);
    if (at.lane == 0) sums[at.sg * SUMS + 2 * ROWS] = sumsq;
}

/// Sum r of simdgroups `first` to `first + count - 1`.
inline float get_sum(threadgroup const float* sums, uint first, uint count, uint r) {
    float v = 0.0f;
    for (uint i = first; i < first + count; i++) v += sums[i * SUMS + r];
    return v;
}

/// A function of a product: 0 none, 1 tanh, 2 sigmoid, 3 squared ReLU.
inline float activated(float v, uint activation) {
    if (activation == 1) return tanh(v);
    if (activation == 2) return 1.0f / (1.0f + exp(-v));
    if (activation == 3) return max(v, 0.0f) * max(v, 0.0f);
    return v;
}
