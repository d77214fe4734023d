// One part of a linear launch from its weights to its output row.
//
// With GLU a second matrix is multiplied by the same input, and the result is
// gated(first) * second, see activation.h. More options: RESIDUAL (1: the result is added to a row),
// SELECT (1: row t of the input is the row of output t).
#pragma once
#include "activation.h"
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

/// The value of a row from the sums of its simdgroups, slot number `slot`.
inline float ended(thread const Ending& e, thread const Matrix& m, threadgroup const float* sums, bool staged,
                   uint slot, uint r, float bias, float residual) {
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
    v = gated(v) * (k * get_sum(sums, first, m.split, ROWS + r));
#else
    if (e.has_bias) v += bias;
    v = activated(v, e.activation);
#endif
#if RESIDUAL
    v += residual;
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
/// the input's first row. B: how m.second is read if it is of another type.
template <class A, class B>
inline void linear_part(thread const Matrix& m, thread InputRow& x, thread const Ending& e, device const uint* step,
                        uint t, uint set, uint stride, threadgroup float* sums, thread const Place& at) {
    const bool staged = A::STAGED || (GLU && B::STAGED);
    const uint piece = staged ? min(uint(MAXCOLS), m.cols) : m.cols;
    const uint me = 32 * at.sg + at.lane, rows = SIMDGROUPS / m.split * ROWS; // of a set
    const Area begin = {first_row(m, set, at), 0, piece};
    Stream<A> a;
    stream_begin(a, m, begin, at);
#if STREAMED == ROWS && GLU
    const Matrix second = {m.second, m.second, m.rows, m.cols, m.split};
    Stream<B> b;
    stream_begin(b, second, begin, at);
#endif
    touch_norm(x.source, m.cols, me, 32 * SIMDGROUPS);
    float bias = e.has_bias ? load_stream_if(me < rows && set * rows + me < m.rows, e.bias + set * rows + me) : 0.0f;

    grid_dependency_wait();
    x.source.x += ulong(input_row(step, t)) * m.cols;
#if NORM == 2
    layer_statistics(x.source, m.cols, e.eps, sums, SIMDGROUPS, at.sg, at.lane);
#endif
    float squares = 0.0f; // of the rounded input
    float sumsq = 0.0f;   // of what this lane sees of another
    bool fresh = true;
    for (uint parity = 0; set < sets(m); set += stride, parity ^= 1) {
        const uint row = set * rows + me;
        const bool mine = me < rows && row < m.rows;
        float residual = 0.0f;
#if RESIDUAL
        residual = load_stream_if(mine, e.residual + row);
#endif
        float acc[2 * ROWS];
#pragma unroll
        for (uint r = 0; r < 2 * ROWS; r++) acc[r] = 0.0f;
        if (!keeps_input<A>(m)) sumsq = 0.0f;
        for (uint first = 0; first < m.cols; first += piece) {
            const Area area = {first_row(m, set, at), first, min(first + piece, m.cols)};
            Area after = {area.row, area.end, min(area.end + piece, m.cols)};
            if (area.end == m.cols) {
                // That there is only one set is often known when this is compiled.
                const bool more = stride < sets(m) && set + stride < sets(m);
                after = {more ? first_row(m, set + stride, at) : 0, 0, more ? piece : 0};
            }
            // A row of one piece is rounded once, others anew for every set.
            if (staged && (fresh || piece < m.cols)) {
                if (first == 0) squares = 0.0f;
                if (!fresh) threadgroup_barrier(mem_flags::mem_threadgroup); // its last readers are done
                x.rounded.first = first;
                round_row(x.source, x.rounded, area.end, A::SPACED != 0, squares, me, 32 * SIMDGROUPS);
                threadgroup_barrier(mem_flags::mem_threadgroup);
            }
            stream_run(a, m, area, after, x, fresh, acc, sumsq, at);
#if STREAMED == ROWS && GLU
            float same = 0.0f;
            stream_run(b, second, area, after, x, fresh, acc + ROWS, same, at);
#endif
            fresh = false;
        }
        threadgroup float* set_sums = sums + parity * (SIMDGROUPS * SUMS);
        put_sums(acc, staged ? squares : sumsq, set_sums, at);
        threadgroup_barrier(mem_flags::mem_threadgroup);
        if (mine) e.out[row] = ended(e, m, set_sums, staged, me / ROWS, me % ROWS, bias, residual);
        const uint next = row + stride * rows;
        if (e.has_bias) bias = load_stream_if(me < rows && next < m.rows, e.bias + next);
    }
}
