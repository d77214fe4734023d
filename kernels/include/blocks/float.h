// F32, F16 and BF16: a unit is 8 values, a row is values one after the other and
// may end within a unit.
#pragma once
#include "blocks/block.h"

template <uint BYTES, uint ALIGN> struct FloatWords;

/// 8 values of 2 bytes. Rows of full units are aligned to 16, others may only be
/// aligned to 2; the rest of a row is loaded value by value.
template <uint ALIGN> struct FloatWords<2, ALIGN> {
    uint w[4];
    static inline void load(bool ok, device const uchar* row, uint u, uint count, thread FloatWords& c) {
        if (ALIGN >= 16) {
            load_words(ok, row, 16 * u, c.w);
        } else {
#pragma unroll
            for (uint k = 0; k < 4; k++) {
                const uint low = load_ushort(ok && 2 * k < count, row, 16 * u + 4 * k);
                c.w[k] = low | (uint(load_ushort(ok && 2 * k + 1 < count, row, 16 * u + 4 * k + 2)) << 16);
            }
        }
    }
};

/// 8 values of 4 bytes.
template <uint ALIGN> struct FloatWords<4, ALIGN> {
    uint w[8];
    static inline void load(bool ok, device const uchar* row, uint u, uint count, thread FloatWords& c) {
        if (ALIGN >= 16) {
            // Past the last full vector there is at most a half unit.
            load_words(ok, row, 32 * u, c.w);
            load_words(ok && count > 4, row, 32 * u + 16, c.w + 4);
        } else {
#pragma unroll
            for (uint k = 0; k < 8; k++) c.w[k] = load_uint(ok && k < count, row, 32 * u + 4 * k);
        }
    }
};

/// What the types differ in: the element, its value, and the value of element k of
/// the word that it is in.
template <uint TYPE> struct FloatType;
template <> struct FloatType<BLOCK_F32> {
    enum : uint { BYTES = 4 };
    typedef float Element;
    static inline float value(float v) { return v; }
    static inline float from_word(uint w, uint k) { return as_type<float>(w); }
};
template <> struct FloatType<BLOCK_F16> {
    enum : uint { BYTES = 2 };
    typedef ushort Element;
    static inline float value(ushort v) { return f16_to_float(v); }
    static inline float from_word(uint w, uint k) { return f16_to_float(ushort(k & 1 ? w >> 16 : w & 0xffffu)); }
};
template <> struct FloatType<BLOCK_BF16> {
    enum : uint { BYTES = 2 };
    typedef ushort Element;
    static inline float value(ushort v) { return bf16_to_float(v); }
    static inline float from_word(uint w, uint k) { return as_type<float>(k & 1 ? w & 0xffff0000u : w << 16); }
};

template <uint TYPE, uint ALIGN> struct Floats {
    typedef FloatType<TYPE> F;
    typedef FloatWords<F::BYTES, ALIGN> Chunk;

    /// Value j of a row.
    static inline float unpack1(device const uchar* row, uint j) {
        return F::value(((device const typename F::Element*)row)[j]);
    }
    /// Values 16 i to 16 i + 15 of a row that has them.
    static inline void unpack16(device const uchar* row, uint i, thread float* out) {
        Chunk c = {};
        load(true, row, 2 * i, 8, c);
        unpack8(c, out);
        load(true, row, 2 * i + 1, 8, c);
        unpack8(c, out + 8);
    }
    /// Loads unit u, which has `count` values or more; zeros if not ok.
    static inline void load(bool ok, device const uchar* row, uint u, uint count, thread Chunk& c) {
        Chunk::load(ok, row, u, count, c);
    }
    static inline void unpack8(thread const Chunk& c, thread float* out) {
#pragma unroll
        for (uint k = 0; k < 8; k++) out[k] = F::from_word(c.w[k * F::BYTES / 4], k);
    }
};

template <uint ALIGN> struct Block<BLOCK_F32, ALIGN> : Floats<BLOCK_F32, ALIGN> {};
template <uint ALIGN> struct Block<BLOCK_F16, ALIGN> : Floats<BLOCK_F16, ALIGN> {};
template <uint ALIGN> struct Block<BLOCK_BF16, ALIGN> : Floats<BLOCK_BF16, ALIGN> {};
