// Rows of activations on their way to matrix units, see include/packed.h:
//
//     out_n[t] = packed(norm(x_n[t]))               [T, WIDTH], n < grid.y
//     out_0[t] = packed(gated(x_0[t]) * x_1[t])     with GLU: 1 silu, 2 gelu
//
//     norm(x) = x / sqrt(mean(x^2) + eps) * weight                  NORM 1
//     norm(x) = (x - mean) / sqrt(var + eps) * weight + bias        NORM 2
//
// References: crates/ingot-plan/src/ops/{rms_norm,layer_norm,glu}.rs.
// A threadgroup packs a row; grid (T, inputs). What is not used may be any memory. All in f32
// up to the last rounding.
//
// variants: NORM=1; NORM=2; GLU=1; GLU=2; TILE_F32=1; NORM=1 TILE_F32=1; NORM=2 TILE_F32=1; GLU=1 TILE_F32=1; FEW=1; NORM=1 FEW=1; NORM=2 FEW=1; GLU=1 FEW=1
#include "activation.h"
#include "packed.h"
#include "packed_few.h"
#include "reduce.h"

#ifndef NORM
#define NORM 0
#endif
#ifndef GLU
#define GLU 0
#endif
// For products of few rows: the layout of packed_few.h.
#ifndef FEW
#define FEW 0
#endif
// At most, so that NVIDIA's compiler gives each enough registers. Few rows leave cores to spare: each
// is packed by as many threads as there are.
#if FEW
#define INGOT_THREADS 1024
#else
#define INGOT_THREADS 256
#endif

constant uint WIDTH [[function_constant(0)]];
constant uint THREADS [[function_constant(1)]];
constant float EPS [[function_constant(2)]];

/// Four values from i on; zeros behind the end.
inline float4 load4(device const float* x, uint i) {
    if (WIDTH % 4 == 0) {
        return i < WIDTH ? *(device const float4*)(x + i) : float4(0.0f);
    }
    return float4(i < WIDTH ? x[i] : 0.0f, i + 1 < WIDTH ? x[i + 1] : 0.0f, i + 2 < WIDTH ? x[i + 2] : 0.0f,
                  i + 3 < WIDTH ? x[i + 3] : 0.0f);
}
inline float4 masked(float4 v, uint i) {
    return float4(i < WIDTH ? v.x : 0.0f, i + 1 < WIDTH ? v.y : 0.0f, i + 2 < WIDTH ? v.z : 0.0f,
                  i + 3 < WIDTH ? v.w : 0.0f);
}

/// A row before it is packed.
struct Row {
    device const float* x;      // [WIDTH]
    device const float* up;     // [WIDTH], with GLU
    device const float* weight; // [WIDTH], if there is a norm
    device const float* bias;   // [WIDTH], if it is a layer norm
    float mean, scale;
};

/// Four values of what is packed.
inline float4 values(thread const Row& row, uint i) {
    const float4 v = load4(row.x, i);
#if GLU
    return float4(gated(v.x), gated(v.y), gated(v.z), gated(v.w)) * load4(row.up, i);
#elif NORM == 1
    return v * (float4(row.scale) * load4(row.weight, i));
#elif NORM == 2
    return (v - float4(row.mean)) * float4(row.scale) * load4(row.weight, i) + load4(row.bias, i);
#else
    return v;
#endif
}

kernel void pack(device const float* x0 [[buffer(0)]],     // [T, WIDTH]
                 device const float* x1 [[buffer(1)]],     //
                 device const float* x2 [[buffer(2)]],     //
                 device const float* x3 [[buffer(3)]],     //
                 device const float* x4 [[buffer(4)]],     //
                 device const float* x5 [[buffer(5)]],     //
                 device const float* weight [[buffer(6)]], // [WIDTH]
                 device const float* bias [[buffer(7)]],   // [WIDTH]
                 device uchar* out0 [[buffer(8)]],         // [T] packed rows
                 device uchar* out1 [[buffer(9)]],         //
                 device uchar* out2 [[buffer(10)]],        //
                 device uchar* out3 [[buffer(11)]],        //
                 device uchar* out4 [[buffer(12)]],        //
                 device uchar* out5 [[buffer(13)]],        //
                 uint2 group [[threadgroup_position_in_grid]],
                 uint thread_index [[thread_index_in_threadgroup]],
                 uint lane [[thread_index_in_simdgroup]],
                 uint simdgroup [[simdgroup_index_in_threadgroup]]) {
    threadgroup float shared[REDUCE_MAX];
    grid_dependency_wait();
    const uint n = group.y;
    device const float* x = n == 0 ? x0 : n == 1 ? x1 : n == 2 ? x2 : n == 3 ? x3 : n == 4 ? x4 : x5;
    device uchar* out = n == 0 ? out0 : n == 1 ? out1 : n == 2 ? out2 : n == 3 ? out3 : n == 4 ? out4 : out5;
    const ulong at = ulong(group.x) * WIDTH;
    Row row;
    row.x = x + at;
    row.up = x1 + at;
    row.weight = weight;
    row.bias = bias;
    row.mean = 0.0f;
    row.scale = 1.0f;

    const uint begin = 4 * thread_index, stride = 4 * THREADS, simdgroups = THREADS / 32;
#if NORM == 2
    float sum = 0.0f;
    for (uint i = begin; i < WIDTH; i += stride) sum += dot(load4(row.x, i), float4(1.0f));
    row.mean = threadgroup_sum(sum, shared, simdgroup, lane, simdgroups) / float(WIDTH);
#endif
#if NORM
    float squares = 0.0f;
    for (uint i = begin; i < WIDTH; i += stride) {
        const float4 v = masked(load4(row.x, i) - float4(row.mean), i);
        squares += dot(v, v);
    }
    row.scale = 1.0f / sqrt(threadgroup_sum(squares, shared, simdgroup, lane, simdgroups) / float(WIDTH) + EPS);
#endif

    float largest = 0.0f;
    for (uint i = begin; i < WIDTH; i += stride) {
        const float4 v = values(row, i);
        largest = max(largest, max(max(fabs(v.x), fabs(v.y)), max(fabs(v.z), fabs(v.w))));
    }
    const float scale = pack_scale(threadgroup_max(largest, shared, simdgroup, lane, simdgroups));
#if FEW
    if (thread_index == 0) *(device float*)(out + packed_few_factor(group.x, WIDTH)) = 1.0f / scale;
    for (uint i = begin; i < packed_few_values(WIDTH); i += stride) {
        *(device tile_t4*)(out + packed_few_place(group.x, i, WIDTH)) = tile_values(values(row, i) * float4(scale));
    }
#else
    out += ulong(group.x) * packed_row_bytes(WIDTH);
    if (thread_index < PACKED_HEADER / 16) {
        ((device float4*)out)[thread_index] = float4(thread_index == 0 ? 1.0f / scale : 0.0f, 0.0f, 0.0f, 0.0f);
    }
    for (uint i = begin; i < packed_values(WIDTH); i += stride) {
        ((device tile_t4*)(out + PACKED_HEADER))[i / 4] = tile_values(values(row, i) * float4(scale));
    }
#endif
}
