// Inner products of superblocks with an input in 8 bits, where less is to be done than
// taking every group apart for itself.
#pragma once
#include "linear_dot.h"

/// Q4_K and Q5_K with scales and minimums of both groups taken apart together, and
/// multiplied while sums are still integers.
template <uint TYPE> struct AffineDot : RoundedDot<TYPE, 16> {
    typedef Affine<TYPE == BLOCK_Q5_K ? 5 : 4> B;
    typedef typename RoundedDot<TYPE, 16>::Input Input;
    static inline float dot(thread const typename B::Chunk& c, thread const Input& in, uint u, uint lane) {
        uint low[4], high[4];
        uint scales, minimums;
        B::words(c, u, 0, low);
        B::words(c, u, 1, high);
        B::scales(c, u, scales, minimums);
        int first = 0, second = 0;
#pragma unroll
        for (uint k = 0; k < 4; k++) {
            first = dot4_i8(low[k], in.x[k], first);
            second = dot4_i8(high[k], in.x[4 + k], second);
        }
        const float a = float(first * int(scales & 255u)), b = float(second * int(scales >> 8));
        const float products = fma(a, in.scale[0], b * in.scale[1]);
        const float sums = fma(float(minimums & 255u), float(in.sum[0]) * in.scale[0],
                               float(minimums >> 8) * (float(in.sum[1]) * in.scale[1]));
        return fma(f16_to_float(ushort(c.head.x & 0xffffu)), products,
                   -(f16_to_float(ushort(c.head.x >> 16)) * sums));
    }
};

/// Q6_K with its codes as they are, from 0 to 63, and what that is too much taken off
/// the sum.
template <uint TYPE, uint ALIGN> struct SixDot : RoundedDot<TYPE, ALIGN> {
    typedef Block<TYPE, ALIGN> B;
    typedef typename RoundedDot<TYPE, ALIGN>::Input Input;
    static inline float dot(thread const typename B::Chunk& c, thread const Input& in, uint u, uint lane) {
        uint low[4], high[4];
        B::codes(c, u, low, high);
        int first = -32 * in.sum[0], second = -32 * in.sum[1];
#pragma unroll
        for (uint k = 0; k < 4; k++) {
            first = dot4_i8(low[k], in.x[k], first);
            second = dot4_i8(high[k], in.x[4 + k], second);
        }
        const float a = float(first * signed_byte(c.scales[0], u & 1));
        const float b = float(second * signed_byte(c.scales[1], u & 1));
        return f16_to_float(c.d) * fma(a, in.scale[0], b * in.scale[1]);
    }
};
