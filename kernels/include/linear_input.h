// The input row of a matrix-vector product: its norm, and its rounding to 8 bits.
//
// Options: NORM (0 none, 1 RMS, 2 layer). Of an RMS norm only the weights are
// applied to the input; its factor is the same for all values and is applied to
// the sums, so that the sum of squares is known early enough.
#pragma once
#include "ingot.h"

#ifndef NORM
#define NORM 0
#endif

/// A row and how it is normed.
struct Source {
    device const float* x;      // [cols]
    device const float* weight; // [cols], if there is a norm
    device const float* bias;   // [cols], if it is a layer norm
    float mean, scale;          // of a layer norm
};

/// Value i, and its square to sumsq.
inline float normed(thread const Source& s, uint i, thread float& sumsq) {
    float x = s.x[i];
#if NORM == 1
    sumsq = fma(x, x, sumsq);
    x *= s.weight[i];
#elif NORM == 2
    x = (x - s.mean) * s.scale * s.weight[i] + s.bias[i];
#endif
    return x;
}

/// Values 4 i to 4 i + 3 of a row whose length is a multiple of 4.
inline void normed4(thread const Source& s, uint i, thread float* out, thread float& sumsq) {
    const float4 x = ((device const float4*)s.x)[i];
    out[0] = x.x;
    out[1] = x.y;
    out[2] = x.z;
    out[3] = x.w;
#if NORM != 0
    const float4 w = ((device const float4*)s.weight)[i];
    const float weight[4] = {w.x, w.y, w.z, w.w};
#if NORM == 2
    const float4 b = ((device const float4*)s.bias)[i];
    const float bias[4] = {b.x, b.y, b.z, b.w};
#endif
#pragma unroll
    for (uint k = 0; k < 4; k++) {
#if NORM == 1
        sumsq = fma(out[k], out[k], sumsq);
        out[k] *= weight[k];
#else
        out[k] = (out[k] - s.mean) * s.scale * weight[k] + bias[k];
#endif
    }
#endif
}

/// The sum over all threads, for every thread. `part` holds a float per simdgroup.
inline float threadgroup_sum(float v, threadgroup float* part, uint simdgroups, uint sg, uint lane) {
    v = simd_sum(v);
    if (lane == 0) part[sg] = v;
    threadgroup_barrier(mem_flags::mem_threadgroup);
    float sum = 0.0f;
    for (uint i = 0; i < simdgroups; i++) sum += part[i];
    threadgroup_barrier(mem_flags::mem_threadgroup);
    return sum;
}

/// Mean and scale of a layer norm, for every thread.
inline void layer_statistics(thread Source& s, uint cols, float eps, threadgroup float* part, uint simdgroups,
                             uint sg, uint lane) {
    const uint t = 32 * sg + lane, threads = 32 * simdgroups;
    float sum = 0.0f, squares = 0.0f;
    for (uint i = t; i < cols; i += threads) sum += s.x[i];
    s.mean = threadgroup_sum(sum, part, simdgroups, sg, lane) / float(cols);
    for (uint i = t; i < cols; i += threads) {
        const float d = s.x[i] - s.mean;
        squares = fma(d, d, squares);
    }
    s.scale = rsqrt(threadgroup_sum(squares, part, simdgroups, sg, lane) / float(cols) + eps);
}

/// A piece of a row in 8 bits: blocks of 32 values with a scale each. The blocks
/// lie side by side, or `spaced`: each after two bytes of zero, where Q8_0's blocks
/// have their own scale.
struct Rounded {
    threadgroup uint* words;   // from the piece's first block on
    threadgroup float* scales; // one per block
    uint first;                // the piece's first column
};

/// The input row: as it is, and rounded where that is wanted.
struct InputRow {
    Source source;
    Rounded rounded;
};

/// Blocks without larger values become zeros: 127 / m would not be finite.
#define SMALLEST 4e-37f

/// Rounds four values of a block of which eight neighbouring lanes have four each;
/// they are those from 4 i on of the piece.
inline void round_four(thread const float* x, bool ok, thread const Rounded& out, uint i, bool spaced) {
    float m = max(max(fabs(x[0]), fabs(x[1])), max(fabs(x[2]), fabs(x[3])));
    m = max(m, simd_shuffle_xor(m, 1));
    m = max(m, simd_shuffle_xor(m, 2));
    m = max(m, simd_shuffle_xor(m, 4));
    // 127 / m and m / 127 as division rounds them, but without its branches for what cannot be here.
    const float root = rsqrt(m), near = root * root, guess = 127.0f * near;
    const float inverse = m > SMALLEST ? fma(fma(-m, guess, 127.0f), near, guess) : 0.0f;
    const float part = 1.0f / 127.0f, scale = m * part;
    uint word = 0;
#pragma unroll
    for (uint k = 0; k < 4; k++) word |= (uint(int(rint(x[k] * inverse))) & 255u) << (8 * k);
    if (!ok) return;
    if (spaced) {
        threadgroup ushort* h = (threadgroup ushort*)out.words + 17 * (i / 8) + 2 * (i & 7);
        if ((i & 7) == 0) h[0] = 0;
        h[1] = ushort(word & 0xffffu);
        h[2] = ushort(word >> 16);
    } else {
        out.words[i] = word;
    }
    if ((i & 7) == 0) out.scales[i / 8] = fma(fma(-127.0f, scale, m), part, scale);
}

/// Loads before `grid_dependency_wait()` what of the norm will be needed after it, so
/// that it is in the cache then; one load per 32 bytes.
inline void touch_norm(thread const Source& s, uint cols, uint t, uint threads) {
#if NORM != 0
    for (uint i = 8 * t; i < cols; i += 8 * threads) {
        load_stream(s.weight + i);
#if NORM == 2
        load_stream(s.bias + i);
#endif
    }
#endif
}

/// Values that a thread rounds at a time, in fours.
#define ROUNDED_FOURS 4

/// Rounds columns `first` to `end`, both multiples of 32, by the whole threadgroup:
/// q = round(x * 127 / max|x|) half to even, as ingot_plan::ops::round_to_q8.
inline void round_row(thread const Source& s, thread const Rounded& out, uint end, bool spaced, thread float& sumsq,
                      uint t, uint threads) {
    const uint count = (end - out.first) / 4;
    // The same for all lanes, as they exchange values.
    for (uint base = 0; base < count; base += ROUNDED_FOURS * threads) {
        float x[ROUNDED_FOURS][4];
#pragma unroll
        for (uint n = 0; n < ROUNDED_FOURS; n++) {
            const uint i = base + n * threads + t;
            float squares = 0.0f;
            normed4(s, out.first / 4 + min(i, count - 1), x[n], squares);
            sumsq += i < count ? squares : 0.0f;
        }
#pragma unroll
        for (uint n = 0; n < ROUNDED_FOURS; n++) {
            const uint i = base + n * threads + t;
            if (base + n * threads < count) round_four(x[n], i < count, out, i, spaced);
        }
    }
}
