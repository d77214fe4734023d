// out[t] = SCALE * table[token[t]], straight from the stored rows; with LAYER_NORM, without the scale,
// out[t] = (x - mean(x)) / sqrt(var(x) + eps) * weight + bias of that row.
//
// Reference: crates/ingot-plan/src/ops/embed.rs and layer_norm.rs.
//
// table [vocab, COLS], weight and bias [COLS] (empty without LAYER_NORM), out [T, COLS].
// Grid: x = row t. Threads: 32 SIMDGROUPS, each takes 16 values at a time of packed
// types, one value of others. Precision: f32.
//
// variants: BLOCK=3; BLOCK=1 LAYER_NORM=1
#include "blocks/all.h"
#include "linear_input.h"
#include "step.h"

#ifndef BLOCK
#define BLOCK BLOCK_Q4_K
#endif
#ifndef LAYER_NORM
#define LAYER_NORM 0
#endif
#ifndef SIMDGROUPS
#define SIMDGROUPS 8
#endif

constant uint COLS [[function_constant(0)]];
constant float EPS [[function_constant(1)]];
constant float SCALE [[function_constant(2)]];

#if BLOCK <= BLOCK_BF16
#define VALUES 1
inline void values_of(device const uchar* row, uint i, thread float* v) { v[0] = Block<BLOCK>::unpack1(row, i); }
#else
#define VALUES 16
inline void values_of(device const uchar* row, uint i, thread float* v) { Block<BLOCK>::unpack16(row, i, v); }
#endif

kernel void embed(device const uchar* table [[buffer(0)]], device const float* weight [[buffer(1)]],
                  device const float* bias [[buffer(2)]], device float* out [[buffer(3)]],
                  device const uint* step [[buffer(4)]], uint t [[threadgroup_position_in_grid]],
                  uint thread_index [[thread_index_in_threadgroup]],
                  uint sg [[simdgroup_index_in_threadgroup]], uint lane [[thread_index_in_simdgroup]]) {
    threadgroup float part[SIMDGROUPS];
    grid_dependency_wait();
    device const uchar* row = table + ulong(row_token(step, t)) * RowBytes<BLOCK>::of(COLS);
    device float* to = out + ulong(t) * COLS;
    const uint threads = 32 * SIMDGROUPS;
    float v[VALUES], mean = 0.0f, scale = 1.0f;
#if LAYER_NORM
    float sum = 0.0f, squares = 0.0f;
    for (uint i = thread_index; i < COLS / VALUES; i += threads) {
        values_of(row, i, v);
#pragma unroll
        for (uint k = 0; k < VALUES; k++) sum += v[k];
    }
    mean = threadgroup_sum(sum, part, SIMDGROUPS, sg, lane) / float(COLS);
    for (uint i = thread_index; i < COLS / VALUES; i += threads) {
        values_of(row, i, v);
#pragma unroll
        for (uint k = 0; k < VALUES; k++) squares = fma(v[k] - mean, v[k] - mean, squares);
    }
    scale = rsqrt(threadgroup_sum(squares, part, SIMDGROUPS, sg, lane) / float(COLS) + EPS);
#endif
    for (uint i = thread_index; i < COLS / VALUES; i += threads) {
        values_of(row, i, v);
#pragma unroll
        for (uint k = 0; k < VALUES; k++) {
            const uint j = VALUES * i + k;
#if LAYER_NORM
            to[j] = (v[k] - mean) * scale * weight[j] + bias[j];
#else
            to[j] = SCALE * v[k];
#endif
        }
    }
}
