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
// With WIDE packed rows are those for include/wide.h, with FEW those of include/packed_few.h.
//
// variants: WIDE=1 NORM=1; WIDE=1 GLU=1; WIDE=1 TILE_F32=1; FEW=1; NORM=1 FEW=1; NORM=2 FEW=1; GLU=1 FEW=1
// variants: NORM=1; NORM=2; GLU=1; GLU=2; TILE_F32=1; NORM=1 TILE_F32=1; NORM=2 TILE_F32=1; GLU=1 TILE_F32=1
#include "activation.h"
#include "packed.h"
#include "packed_few.h"
#include "reduce.h"

#ifndef NORM
#define NORM 0
#endif
#ifndef WIDE
#define WIDE 0
#endif
#ifndef GLU
#define GLU 0
#endif
#ifndef FEW
#define FEW 0
#endif
#ifndef ITEMS
#define ITEMS 4 // times four values of a thread, enough for the row with the zeros behind it
#endif

constant uint WIDTH [[function_constant(0)]];
constant uint THREADS [[function_constant(1)]];
constant float EPS [[function_constant(2)]];

/// Four values from i on; zeros behind the end.
inline float4 load4(device const float* x, uint i) {
    if (WIDTH % 4 == 0) {
        return load_stream_if(i < WIDTH, (device const float4*)(x + i));
    }
    return float4(i < WIDTH ? x[i] : 0.0f, i + 1 < WIDTH ? x[i + 1] : 0.0f, i + 2 < WIDTH ? x[i + 2] : 0.0f,
                  i + 3 < WIDTH ? x[i + 3] : 0.0f);
}
inline float4 masked(float4 v, uint i) {
    return float4(i < WIDTH ? v.x : 0.0f, i + 1 < WIDTH ? v.y : 0.0f, i + 2 < WIDTH ? v.z : 0.0f,
                  i + 3 < WIDTH ? v.w : 0.0f);
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
                 uint2 groups [[threadgroups_per_grid]],
                 uint thread_index [[thread_index_in_threadgroup]],
                 uint lane [[thread_index_in_simdgroup]],
                 uint simdgroup [[simdgroup_index_in_threadgroup]]) {
    threadgroup float shared[REDUCE_MAX];
#if NORM
    float4 scales[ITEMS], offsets[ITEMS];
#pragma unroll
    for (uint n = 0; n < ITEMS; n++) {
        scales[n] = load4(weight, 4 * (thread_index + n * THREADS));
        if (NORM == 2) offsets[n] = load4(bias, 4 * (thread_index + n * THREADS));
    }
#endif
    grid_dependency_wait();
    const uint n = group.y;
    device const float* from = n == 0 ? x0 : n == 1 ? x1 : n == 2 ? x2 : n == 3 ? x3 : n == 4 ? x4 : x5;
    device uchar* out = n == 0 ? out0 : n == 1 ? out1 : n == 2 ? out2 : n == 3 ? out3 : n == 4 ? out4 : out5;
    const ulong at = ulong(group.x) * WIDTH;
#if WIDE
    const uint t = group.x, padded = wide_tokens(groups.x);
#elif !FEW
    out += ulong(group.x) * packed_row_bytes(WIDTH);
#endif

    // This thread's values: four from 4 (thread + n THREADS) on.
    float4 v[ITEMS];
#pragma unroll
    for (uint n = 0; n < ITEMS; n++) v[n] = load4(from + at, 4 * (thread_index + n * THREADS));
    const uint simdgroups = THREADS / 32;
#if GLU
#pragma unroll
    for (uint n = 0; n < ITEMS; n++) {
        const float4 up = load4(x1 + at, 4 * (thread_index + n * THREADS));
        v[n] = float4(gated(v[n].x), gated(v[n].y), gated(v[n].z), gated(v[n].w)) * up;
    }
#endif
#if NORM == 2
    float sum = 0.0f;
#pragma unroll
    for (uint n = 0; n < ITEMS; n++) sum += dot(v[n], float4(1.0f));
    const float4 mean = float4(threadgroup_sum(sum, shared, simdgroup, lane, simdgroups) / float(WIDTH));
#pragma unroll
    for (uint n = 0; n < ITEMS; n++) v[n] = masked(v[n] - mean, 4 * (thread_index + n * THREADS));
#endif
#if NORM
    float squares = 0.0f;
#pragma unroll
    for (uint n = 0; n < ITEMS; n++) squares += dot(v[n], v[n]);
    const float k = 1.0f / sqrt(threadgroup_sum(squares, shared, simdgroup, lane, simdgroups) / float(WIDTH) + EPS);
#pragma unroll
    for (uint n = 0; n < ITEMS; n++) {
        v[n] = v[n] * (float4(k) * scales[n]);
        if (NORM == 2) v[n] = v[n] + offsets[n];
    }
#endif

    float largest = 0.0f;
#pragma unroll
    for (uint n = 0; n < ITEMS; n++)
        largest = max(largest, max(max(fabs(v[n].x), fabs(v[n].y)), max(fabs(v[n].z), fabs(v[n].w))));
    const float scale = pack_scale(threadgroup_max(largest, shared, simdgroup, lane, simdgroups));
#if WIDE
    if (thread_index == 0) ((device float*)out)[t] = 1.0f / scale;
    device half* to = (device half*)(out + 4 * padded);
#elif FEW
    if (thread_index == 0) *(device float*)(out + packed_few_factor(group.x, WIDTH)) = 1.0f / scale;
#else
    if (thread_index < PACKED_HEADER / 16) {
        ((device float4*)out)[thread_index] = float4(thread_index == 0 ? 1.0f / scale : 0.0f, 0.0f, 0.0f, 0.0f);
    }
#endif
#pragma unroll
    for (uint n = 0; n < ITEMS; n++) {
        const uint i = 4 * (thread_index + n * THREADS);
#if WIDE
        const float4 x = v[n] * float4(scale);
        const half4 values = half4(half(x.x), half(x.y), half(x.z), half(x.w));
        if (i < (WIDTH + WIDE_STEP - 1) / WIDE_STEP * WIDE_STEP) {
            device half* first = to + wide_place(t, i, padded);
            device half* second = to + wide_place(t, i + 2, padded);
            *(device half2*)first = half2(values.x, values.y);
            *(device half2*)second = half2(values.z, values.w);
#if TILE_F32
            *(device half2*)(first + WIDE_REST) = half2(half(x.x - float(values.x)), half(x.y - float(values.y)));
            *(device half2*)(second + WIDE_REST) = half2(half(x.z - float(values.z)), half(x.w - float(values.w)));
#endif
        }
#else
        const tile_t4 values = tile_values(v[n] * float4(scale));
#if FEW
        if (i < packed_few_values(WIDTH)) *(device tile_t4*)(out + packed_few_place(group.x, i, WIDTH)) = values;
#else
        if (i < packed_values(WIDTH)) ((device tile_t4*)(out + PACKED_HEADER))[i / 4] = values;
#endif
#endif
    }
}
