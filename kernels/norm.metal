// Norms over groups of N values of a row, of which there are GROUPS:
//
//   KIND 0: out = x / sqrt(mean(x^2) + EPS) * weight                    weight [N], shared by the groups
//   KIND 1: out = (x - mean) / sqrt(var + EPS) * weight + bias         weight, bias [GROUPS * N]
//
// With RESIDUAL the result is added to a row.
//
// References: crates/ingot-plan/src/ops/{rms_norm,layer_norm,add}.rs. Plain sums of squares in f32
// overflow where the reference's f32 result does. The mean is that of x - x[0], added to x[0], so
// that it is as good as the reference's where the values are much larger than their differences.
//
// WIDE 0: a simdgroup takes a group, SIMDGROUPS of them a threadgroup. Grid: T * GROUPS / SIMDGROUPS.
// WIDE 1: a threadgroup takes a group. Grid: T * GROUPS.
#include "ingot.h"
#include "reduce.h"
#include "step.h"

// variants: WIDE=1; KIND=1; KIND=1 WIDE=1; RESIDUAL=1; RESIDUAL=1 WIDE=1
#ifndef KIND
#define KIND 0
#endif
#ifndef WIDE
#define WIDE 0
#endif
#ifndef RESIDUAL
#define RESIDUAL 0
#endif

constant uint N [[function_constant(0)]];
constant uint GROUPS [[function_constant(1)]];
constant float EPS [[function_constant(2)]];
constant uint SIMDGROUPS [[function_constant(3)]]; // of a threadgroup
constant uint OF_OUTPUTS [[function_constant(4)]]; // 1: rows are outputs, 0: tokens

#if WIDE
#define SUM(x) threadgroup_sum(x, shared, simdgroup, lane, SIMDGROUPS)
#else
#define SUM(x) simd_sum(x)
#endif

kernel void norm(device const float* x [[buffer(0)]], // [T, GROUPS * N]
                 device const float* weight [[buffer(1)]],
                 device const float* bias [[buffer(2)]], // unused for KIND 0
                 device const uint* step [[buffer(3)]],
                 device float* out [[buffer(4)]], // [T, GROUPS * N]
                 device const float* residual [[buffer(5)]], // [T, GROUPS * N] with RESIDUAL, else unused
                 uint group [[threadgroup_position_in_grid]],
                 uint thread_index [[thread_index_in_threadgroup]],
                 uint simdgroup [[simdgroup_index_in_threadgroup]],
                 uint lane [[thread_index_in_simdgroup]]) {
#if WIDE
    threadgroup float shared[REDUCE_MAX];
    const uint item = group, begin = thread_index, stride = 32 * SIMDGROUPS;
#else
    const uint item = group * SIMDGROUPS + simdgroup, begin = lane, stride = 32;
#endif
    grid_dependency_wait();
    const uint rows = OF_OUTPUTS != 0 ? step_outputs(step) : step_rows(step);
    if (item >= rows * GROUPS) {
        return; // the whole threadgroup if WIDE, the whole simdgroup if not
    }
    device const float* from = x + ulong(item) * N;
    device float* to = out + ulong(item) * N;
#if RESIDUAL
    device const float* other = residual + ulong(item) * N;
#define PLUS_RESIDUAL(y, i) (other[i] + (y))
#else
#define PLUS_RESIDUAL(y, i) (y)
#endif
#if KIND == 0
    float squares = 0.0f;
    for (uint i = begin; i < N; i += stride) {
        const float value = from[i];
        squares = fma(value, value, squares);
    }
    const float scale = 1.0f / sqrt(SUM(squares) / float(N) + EPS);
    for (uint i = begin; i < N; i += stride) {
        to[i] = PLUS_RESIDUAL(from[i] * (scale * weight[i]), i);
    }
#else
    const float first = from[0];
    float total = 0.0f;
    for (uint i = begin; i < N; i += stride) {
        total += from[i] - first;
    }
    const float mean = first + SUM(total) / float(N);
    float squares = 0.0f;
    for (uint i = begin; i < N; i += stride) {
        const float value = from[i] - mean;
        squares = fma(value, value, squares);
    }
    const float scale = 1.0f / sqrt(SUM(squares) / float(N) + EPS);
    const uint at = item % GROUPS * N;
    for (uint i = begin; i < N; i += stride) {
        to[i] = PLUS_RESIDUAL((from[i] - mean) * scale * weight[at + i] + bias[at + i], i);
    }
#endif
}
