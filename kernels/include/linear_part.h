// One part of a linear launch from its weights to its output row.
//
// With GLU a second matrix is multiplied by the same input, and the result is
// silu(first) * second. More options: RESIDUAL (1: the result is added to a row),
// SELECT (1: row t of the input is the row of output t).
#pragma once
#include "linear.h"
#include "step.h"

#ifndef RESIDUAL
#define RESIDUAL 0
#endif
#ifndef SELECT
#define SELECT 0
#endif

/// What becomes of a sum.
struct Ending {
    float eps;
    uint activation, has_bias;
    device const float* bias;     // [rows]
    device const float* residual; // [rows]
    device float* out;            // [rows]
};

/// The value of row `row` from the sums of its simdgroups, slot number `slot`.
inline float ended(thread const Ending& e, thread const Matrix& m, threadgroup const float* sums, bool staged,
                   uint slot, uint r, uint row) {
    const uint first = slot * m.split;
    float k = 1.0f;
#if NORM == 1
    // A rounded input was squared by all simdgroups together, another by each set for itself.
    const float squares =
        staged ? get_sum(sums, 0, SIMDGROUPS, 2 * ROWS) : get_sum(sums, first, m.split, 2 * ROWS);
    k = rsqrt(squares / float(m.cols) + e.eps);
#endif
    float v = k * get_sum(sums, first, m.split, r);
#if GLU
    v = v / (1.0f + exp(-v)) * (k * get_sum(sums, first, m.split, ROWS + r));
#else
    if (e.has_bias) v += e.bias[row];
    v = activated(v, e.activation);
#endif
#if RESIDUAL
    v += e.residual[row];
#endif
    return v;
}

/// The row of the input for row t of the output.
inline uint input_row(device const uint* step, uint t) {
#if SELECT
    return output_row(step, t);
#else
    return t;
#endif
}

/// Sets of rows number `set`, `set + stride`, ... of a matrix, by one threadgroup.
/// `set` is a set that there is; every thread of the threadgroup comes here. x has
/// the input's first row.
template <class A, class B>
inline void linear_part(thread const Matrix& m, thread const Matrix& second, thread InputRow& x,
                        thread const Ending& e, device const uint* step, uint t, uint set, uint stride,
                        threadgroup float* sums, thread const Place& at) {
    const bool staged = A::STAGED || (GLU && B::STAGED);
    const uint piece = staged ? min(uint(MAXCOLS), m.cols) : m.cols;
    const uint me = 32 * at.sg + at.lane;
    Stream<A> a;
    stream_begin(a, m, first_row(m, set, at), 0, piece, at);
#if GLU
    Stream<B> b;
    stream_begin(b, second, first_row(m, set, at), 0, piece, at);
#endif

    grid_dependency_wait();
    x.source.x += ulong(input_row(step, t)) * m.cols;
#if NORM == 2
    layer_statistics(x.source, m.cols, e.eps, sums, SIMDGROUPS, at.sg, at.lane);
#endif
    float squares = 0.0f; // of the rounded input
    bool rounded = false;
    for (uint parity = 0; set < sets(m); set += stride, parity ^= 1) {
        float acc[2 * ROWS], sumsq = 0.0f;
#pragma unroll
        for (uint r = 0; r < 2 * ROWS; r++) acc[r] = 0.0f;
        for (uint first = 0; first < m.cols; first += piece) {
            const uint end = min(first + piece, m.cols);
            if (first > 0) {
                stream_begin(a, m, first_row(m, set, at), first, end, at);
#if GLU
                stream_begin(b, second, first_row(m, set, at), first, end, at);
#endif
            }
            // A row of one piece is rounded once, others anew for every set.
            if (staged && (!rounded || piece < m.cols)) {
                if (first == 0) squares = 0.0f;
                if (rounded) threadgroup_barrier(mem_flags::mem_threadgroup); // its last readers are done
                x.rounded.first = first;
                round_row(x.source, x.rounded, end, A::SPACED != 0, squares, me, 32 * SIMDGROUPS);
                threadgroup_barrier(mem_flags::mem_threadgroup);
                rounded = true;
            }
            stream_run(a, m, first, end, x, acc, sumsq, at);
#if GLU
            float same = 0.0f;
            stream_run(b, second, first, end, x, acc + ROWS, same, at);
#endif
        }
        if (set + stride < sets(m)) {
            stream_begin(a, m, first_row(m, set + stride, at), 0, piece, at);
#if GLU
            stream_begin(b, second, first_row(m, set + stride, at), 0, piece, at);
#endif
        }
        threadgroup float* mine = sums + parity * (SIMDGROUPS * SUMS);
        put_sums(acc, staged ? squares : sumsq, mine, at);
        threadgroup_barrier(mem_flags::mem_threadgroup);
        const uint slots = SIMDGROUPS / m.split, row = set * slots * ROWS + me;
        if (me < slots * ROWS && row < m.rows) e.out[row] = ended(e, m, mine, staged, me / ROWS, me % ROWS, row);
    }
}
