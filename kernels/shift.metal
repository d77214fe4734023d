// Token shift, with NORM the layer norm before it:
//
//   h[t]     = (x[t] - mean) / sqrt(var + eps) * weight + bias     with NORM, else x[t]
//   previous = h[t - 1] of the same sequence, for a sequence's first row the stored row
//   out_i    = h + (previous - h) * mix_i                          i < MIXES
//
// x, out_i: [T, COLS]; weight, bias: [COLS]; mix: [MIXES][COLS]; state: [slots][COLS]; f32.
//
// Grid: rows. Threads: at least COLS / ITEMS. Each row makes the one before it anew,
// so rows wait for nothing. That is also why a sequence's last h cannot go to its
// slot at once: its first row, which runs at the same time, reads it. It goes to
// next [S][COLS], and shift_commit.metal takes it from there at the step's end.
// With DIRECT every sequence has one row, and the thread that read a stored value
// replaces it; `next` is the state.
//
// Reference: crates/ingot-plan/src/ops/{layer_norm,token_shift}.rs
//
// variants: NORM=1 MIXES=6; NORM=1 MIXES=6 DIRECT=1; NORM=1; NORM=1 DIRECT=1; MIXES=3 ITEMS=16
#include "reduce.h"
#include "step.h"

#ifndef NORM
#define NORM 0
#endif
#ifndef MIXES
#define MIXES 1 // to 6
#endif
#ifndef DIRECT
#define DIRECT 0
#endif
#ifndef ITEMS
#define ITEMS 4 // values of a row in each thread
#endif

constant uint COLS [[function_constant(0)]];
constant uint THREADS [[function_constant(1)]];
constant float EPS [[function_constant(2)]];

/// This thread's values of a row: thread, thread + THREADS...
inline void row_load(thread float* x, device const float* row, uint thread_index) {
    for (uint i = 0; i < ITEMS; i++) {
        uint c = thread_index + THREADS * i;
        x[i] = c < COLS ? row[c] : 0.0f;
    }
}

inline void row_store(thread float* x, device float* row, uint thread_index) {
    for (uint i = 0; i < ITEMS; i++) {
        uint c = thread_index + THREADS * i;
        if (c < COLS) {
            row[c] = x[i];
        }
    }
}

/// The mean is that of x - first, a value of the row, so that it is good where values
/// are much larger than their differences.
inline void layer_norm(thread float* x, float first, thread float* weight, thread float* bias,
                       threadgroup float* shared, uint thread_index, uint lane, uint simdgroup) {
    float sum = 0.0f;
    for (uint i = 0; i < ITEMS; i++) {
        x[i] = thread_index + THREADS * i < COLS ? x[i] - first : 0.0f;
        sum += x[i];
    }
    float mean = threadgroup_sum(sum, shared, simdgroup, lane, THREADS / 32) / float(COLS);
    float squares = 0.0f;
    for (uint i = 0; i < ITEMS; i++) {
        x[i] = thread_index + THREADS * i < COLS ? x[i] - mean : 0.0f;
        squares = fma(x[i], x[i], squares);
    }
    float var = threadgroup_sum(squares, shared, simdgroup, lane, THREADS / 32) / float(COLS);
    float scale = 1.0f / sqrt(var + EPS);
    for (uint i = 0; i < ITEMS; i++) {
        x[i] = fma(x[i] * scale, weight[i], bias[i]);
    }
}

/// out_i of this thread's values.
inline void blend_store(thread float* h, thread float* previous, thread float* mix, uint i, device float* out,
                        uint thread_index) {
    float x[ITEMS];
    for (uint j = 0; j < ITEMS; j++) {
        x[j] = fma(previous[j] - h[j], mix[ITEMS * i + j], h[j]);
    }
    row_store(x, out, thread_index);
}

kernel void shift(device const float* x [[buffer(0)]],
                  device const float* mix [[buffer(1)]],
                  device const float* weight [[buffer(2)]],
                  device const float* bias [[buffer(3)]],
                  device const uint* step [[buffer(4)]],
                  device const float* state [[buffer(5)]],
                  device float* next [[buffer(6)]],
                  device float* out0 [[buffer(7)]],
                  device float* out1 [[buffer(8)]],
                  device float* out2 [[buffer(9)]],
                  device float* out3 [[buffer(10)]],
                  device float* out4 [[buffer(11)]],
                  device float* out5 [[buffer(12)]],
                  uint3 group [[threadgroup_position_in_grid]],
                  uint thread_index [[thread_index_in_threadgroup]],
                  uint lane [[thread_index_in_simdgroup]],
                  uint simdgroup [[simdgroup_index_in_threadgroup]]) {
    threadgroup float shared[REDUCE_MAX];
    float mixes[MIXES * ITEMS], scale[ITEMS], offset[ITEMS], h[ITEMS], previous[ITEMS];
    for (uint i = 0; i < MIXES; i++) {
        row_load(mixes + ITEMS * i, mix + i * COLS, thread_index);
    }
#if NORM
    row_load(scale, weight, thread_index);
    row_load(offset, bias, thread_index);
#endif
    uint t = group.x, s = 0;
    SequencePlace place = {0, 0, 0};
    if (STEP_IS_EARLY) {
        s = row_sequence(step, t);
        place = sequence_place(step, s);
        if (t == place.first_row) {
            prefetch_values(state + ulong(place.slot) * COLS, COLS, thread_index, THREADS);
        }
    }
    grid_dependency_wait();
    ulong at = ulong(t) * COLS;
    row_load(h, x + at, thread_index);
    if (!STEP_IS_EARLY) {
        s = row_sequence(step, t);
        place = sequence_place(step, s);
    }
    bool stored = DIRECT || t == place.first_row;
    if (stored) {
        row_load(previous, state + ulong(place.slot) * COLS, thread_index);
    } else {
        row_load(previous, x + at - COLS, thread_index);
    }
#if NORM
    layer_norm(h, x[at], scale, offset, shared, thread_index, lane, simdgroup);
    if (!stored) { // all threads alike
        layer_norm(previous, x[at - COLS], scale, offset, shared, thread_index, lane, simdgroup);
    }
#endif
    if (DIRECT) {
        row_store(h, next + ulong(place.slot) * COLS, thread_index);
    } else if (t + 1 == place.first_row + place.rows) {
        row_store(h, next + ulong(s) * COLS, thread_index);
    }
    blend_store(h, previous, mixes, 0, out0 + at, thread_index);
#if MIXES > 1
    blend_store(h, previous, mixes, 1, out1 + at, thread_index);
#endif
#if MIXES > 2
    blend_store(h, previous, mixes, 2, out2 + at, thread_index);
#endif
#if MIXES > 3
    blend_store(h, previous, mixes, 3, out3 + at, thread_index);
#endif
#if MIXES > 4
    blend_store(h, previous, mixes, 4, out4 + at, thread_index);
#endif
#if MIXES > 5
    blend_store(h, previous, mixes, 5, out5 + at, thread_index);
#endif
}
