// Inner products of a row of weights with the input row, a unit per lane. Every
// one of the structs has
//     Chunk                          a unit of weights, as loaded
//     Input                          the values that meet it
//     Bytes                          RowBytes of the type
//     STAGED, SPACED                 the input is rounded to threadgroup memory, and how
//     units(cols)                    units in a row
//     load(ok, row, u, cols, lane, c)   loads unit u; if not ok, c has something finite, or what it had
//     input(ok, u, cols, x, in, sumsq)  zeros if not ok
//     is_zero(in)
//     dot(c, in, u, lane)            reached by all lanes of a simdgroup; 0 with an input that is not ok
#pragma once
#include "blocks/all.h"
#include "linear_input.h"
#include "linear_q8.h"

/// F32, F16, BF16: a unit is 8 values; the last one of a row may be shorter.
template <uint TYPE, uint ALIGN> struct FloatDot {
    typedef Block<TYPE, ALIGN> B;
    typedef typename B::Chunk Chunk;
    typedef RowBytes<TYPE> Bytes;
    struct Input {
        float x[8];
    };
    enum : uint { STAGED = 0, SPACED = 0 };
    static inline uint units(uint cols) { return (cols + 7) / 8; }

    static inline void load(bool ok, device const uchar* row, uint u, uint cols, uint lane, thread Chunk& c) {
        B::load(ok, row, u, ok ? cols - 8 * u : 0, c);
    }
    static inline void input(bool ok, uint u, uint cols, thread const InputRow& x, thread Input& in,
                             thread float& sumsq) {
        if (cols % 8 == 0) {
            // Without a branch, so that the loads of all units are issued together.
            float squares = 0.0f;
            normed4(x.source, ok ? 2 * u : 0, in.x, squares);
            normed4(x.source, ok ? 2 * u + 1 : 0, in.x + 4, squares);
            sumsq += ok ? squares : 0.0f;
#pragma unroll
            for (uint k = 0; k < 8; k++) in.x[k] = ok ? in.x[k] : 0.0f;
        } else {
#pragma unroll
            for (uint k = 0; k < 8; k++)
                in.x[k] = ok && 8 * u + k < cols ? normed(x.source, 8 * u + k, sumsq) : 0.0f;
        }
    }
    static inline bool is_zero(thread const Input& in) {
        bool zero = true;
#pragma unroll
        for (uint k = 0; k < 8; k++) zero = zero && in.x[k] == 0.0f;
        return zero;
    }
    static inline float dot(thread const Chunk& c, thread const Input& in, uint u, uint lane) {
        float w[8], sum = 0.0f;
        B::unpack8(c, w);
#pragma unroll
        for (uint k = 0; k < 8; k++) sum = fma(w[k], in.x[k], sum);
        return sum;
    }
};

/// Packed weights with an input in f32.
template <uint TYPE, uint ALIGN> struct UnpackedDot {
    typedef Block<TYPE, ALIGN> B;
    typedef typename B::Chunk Chunk;
    typedef RowBytes<TYPE> Bytes;
    struct Input {
        float x[B::LEN];
        float sum[B::GROUPS];
    };
    enum : uint { STAGED = 0, SPACED = 0 };
    static inline uint units(uint cols) { return cols / B::LEN; }

    static inline void load(bool ok, device const uchar* row, uint u, uint cols, uint lane, thread Chunk& c) {
        B::load(ok, row, u, c);
    }
    static inline void input(bool ok, uint u, uint cols, thread const InputRow& x, thread Input& in,
                             thread float& sumsq) {
#pragma unroll
        for (uint g = 0; g < B::GROUPS; g++) {
            in.sum[g] = 0.0f;
#pragma unroll
            for (uint k = 0; k < 16; k++) in.x[16 * g + k] = 0.0f;
            if (ok) {
#pragma unroll
                for (uint k = 0; k < 4; k++)
                    normed4(x.source, B::start(u, g) / 4 + k, in.x + 16 * g + 4 * k, sumsq);
            }
#pragma unroll
            for (uint k = 0; k < 16; k++) in.sum[g] += in.x[16 * g + k];
        }
    }
    static inline bool is_zero(thread const Input& in) {
        bool zero = true;
#pragma unroll
        for (uint k = 0; k < B::LEN; k++) zero = zero && in.x[k] == 0.0f;
        return zero;
    }
    static inline float dot(thread const Chunk& c, thread const Input& in, uint u, uint lane) {
        float sum = 0.0f;
#pragma unroll
        for (uint g = 0; g < B::GROUPS; g++) {
            Group v;
            B::decode(c, u, g, v);
            float s = 0.0f;
#pragma unroll
            for (uint k = 0; k < 16; k++) s = fma(float(signed_byte(v.q[k / 4], k % 4)), in.x[16 * g + k], s);
            sum = fma(v.scale, s, sum);
            if (B::OFFSET) sum = fma(v.offset, in.sum[g], sum);
        }
        return sum;
    }
};

/// Packed weights with an input in 8 bits.
template <uint TYPE, uint ALIGN> struct RoundedDot {
    typedef Block<TYPE, ALIGN> B;
    typedef typename B::Chunk Chunk;
    typedef RowBytes<TYPE> Bytes;
    struct Input {
        uint x[4 * B::GROUPS];
        float scale[B::GROUPS];
        int sum[B::GROUPS]; // of the words' bytes
    };
    enum : uint { STAGED = 1, SPACED = 0 };
    static inline uint units(uint cols) { return cols / B::LEN; }

    static inline void load(bool ok, device const uchar* row, uint u, uint cols, uint lane, thread Chunk& c) {
        B::load(ok, row, u, c);
    }
    static inline void input(bool ok, uint u, uint cols, thread const InputRow& x, thread Input& in,
                             thread float& sumsq) {
#pragma unroll
        for (uint g = 0; g < B::GROUPS; g++) {
            const uint at = ok ? B::start(u, g) - x.rounded.first : 0;
            words_of(((threadgroup const uint4*)x.rounded.words)[at / 16], in.x + 4 * g);
            in.scale[g] = ok ? x.rounded.scales[at / 32] : 0.0f;
            int sum = 0;
#pragma unroll
            for (uint k = 0; k < 4; k++) {
                if (!ok) in.x[4 * g + k] = 0;
                sum = dot4_i8(in.x[4 * g + k], 0x01010101u, sum);
            }
            in.sum[g] = sum;
        }
    }
    static inline bool is_zero(thread const Input& in) {
        uint any = 0;
#pragma unroll
        for (uint k = 0; k < 4 * B::GROUPS; k++) any |= in.x[k];
        return any == 0;
    }
    static inline float dot(thread const Chunk& c, thread const Input& in, uint u, uint lane) {
        float sum = 0.0f;
#pragma unroll
        for (uint g = 0; g < B::GROUPS; g++) {
            Group v;
            B::decode(c, u, g, v);
            int s = 0;
#pragma unroll
            for (uint k = 0; k < 4; k++) s = dot4_i8(v.q[k], in.x[4 * g + k], s);
            sum = fma(float(s) * in.scale[g], v.scale, sum);
            if (B::OFFSET) sum = fma(v.offset, float(in.sum[g]) * in.scale[g], sum);
        }
        return sum;
    }
};

#include "linear_k.h"

/// The inner product for a type. ROUND: 0 with the input in f32, 1 rounded to 8 bits
/// where the weights are packed.
template <uint TYPE, uint ALIGN, uint ROUND> struct DotOf { typedef UnpackedDot<TYPE, ALIGN> D; };
template <uint TYPE, uint ALIGN> struct DotOf<TYPE, ALIGN, 1> { typedef RoundedDot<TYPE, ALIGN> D; };
#define FLOAT_DOT(TYPE)                                                                                        \
    template <uint ALIGN> struct DotOf<TYPE, ALIGN, 0> { typedef FloatDot<TYPE, ALIGN> D; };                   \
    template <uint ALIGN> struct DotOf<TYPE, ALIGN, 1> { typedef FloatDot<TYPE, ALIGN> D; };
FLOAT_DOT(BLOCK_F32)
FLOAT_DOT(BLOCK_F16)
FLOAT_DOT(BLOCK_BF16)
#undef FLOAT_DOT
template <> struct DotOf<BLOCK_Q8_0, 4, 1> { typedef SpacedDot<1> D; };
template <> struct DotOf<BLOCK_Q8_0, 8, 1> { typedef SpacedDot<2> D; };
template <> struct DotOf<BLOCK_Q8_0, 16, 1> { typedef SpacedDot<4> D; };
template <uint ALIGN> struct DotOf<BLOCK_Q4_K, ALIGN, 1> { typedef AffineDot<BLOCK_Q4_K> D; };
template <uint ALIGN> struct DotOf<BLOCK_Q5_K, ALIGN, 1> { typedef AffineDot<BLOCK_Q5_K> D; };
template <uint ALIGN> struct DotOf<BLOCK_Q6_K, ALIGN, 1> { typedef SixDot<BLOCK_Q6_K, ALIGN> D; };
template <uint ALIGN> struct DotOf<BLOCK_Q6_K_EIGHTS, ALIGN, 1> { typedef SixDot<BLOCK_Q6_K_EIGHTS, ALIGN> D; };
