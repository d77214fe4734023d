// Types whose codes name entries of a table:
//     IQ4_NL  d nibbles[16]                                  32 values   x = d T[q]
//     IQ4_XS  d scales_high[2] scales_low[4] nibbles[128]   256 values   x = d (s - 32) T[q]
//     MXFP4   e nibbles[16]                                  32 values   x = 2^(e - 128) M[q]
// IQ4_XS has 8 groups of 32, each packed like a block of 32. A unit is 16 bytes
// of nibbles. The entries are integers; a table is four words of four bytes.
#pragma once
#include "blocks/block.h"

/// Four entries of a table, for the nibbles in the low halves of four bytes.
inline uint look_up4(uint codes, uint t0, uint t1, uint t2, uint t3) {
    uint out = 0;
#pragma unroll
    for (uint k = 0; k < 4; k++) {
        const uint code = codes >> (8 * k);
        const uint low = code & 4u ? t1 : t0, high = code & 4u ? t3 : t2;
        const uint word = code & 8u ? high : low;
        out |= ((word >> (8 * (code & 3u))) & 255u) << (8 * k);
    }
    return out;
}
/// -127 -104 -83 -65, -49 -35 -22 -10, 1 13 25 38, 53 69 89 113
inline uint nonlinear4(uint codes) { return look_up4(codes, 0xbfad9881u, 0xf6eaddcfu, 0x26190d01u, 0x71594535u); }
/// 0 1 2 3, 4 6 8 12, and the same negated
inline uint magnitudes4(uint codes) { return look_up4(codes, 0x03020100u, 0x0c080604u, 0xfdfeff00u, 0xf4f8fafcu); }

template <uint ALIGN> struct Block<BLOCK_IQ4_NL, ALIGN> : Packed<Block<BLOCK_IQ4_NL, ALIGN>> {
    enum : uint { LEN = 32, GROUPS = 2, OFFSET = 0 };
    typedef Even16<(ALIGN >= 4 ? 4 : 1)> Raw;
    struct Chunk {
        Raw low;
        ushort d;
    };
    static inline uint unit(uint i) { return i / 2; }
    static inline uint group(uint i) { return i & 1; }
    static inline uint start(uint u, uint g) { return 32 * u + 16 * g; }

    static inline void load(bool ok, device const uchar* row, uint u, thread Chunk& c) {
        Raw::load(ok, row, 18 * u + 2, c.low);
        c.d = load_ushort(ok, row, 18 * u);
    }
    static inline void decode(thread const Chunk& c, uint u, uint g, thread Group& v) {
        Raw::get(c.low, 18 * u + 2, v.q);
#pragma unroll
        for (uint k = 0; k < 4; k++) v.q[k] = nonlinear4((v.q[k] >> (4 * g)) & 0x0f0f0f0fu);
        v.scale = f16_to_float(c.d);
        v.offset = 0.0f;
    }
};

template <uint ALIGN> struct Block<BLOCK_IQ4_XS, ALIGN> : Packed<Block<BLOCK_IQ4_XS, ALIGN>> {
    enum : uint { LEN = 32, GROUPS = 2, OFFSET = 0 };
    struct Chunk {
        uint low[4];
        uint head, scales;
    };
    static inline uint unit(uint i) { return i / 2; }
    static inline uint group(uint i) { return i & 1; }
    static inline uint start(uint u, uint g) { return 32 * u + 16 * g; }

    static inline void load(bool ok, device const uchar* row, uint u, thread Chunk& c) {
        const uint block = 136 * (u / 8);
#pragma unroll
        for (uint k = 0; k < 4; k++) c.low[k] = load_uint(ok, row, block + 8 + 16 * (u % 8) + 4 * k);
        c.head = load_uint(ok, row, block);
        c.scales = load_uint(ok, row, block + 4);
    }
    static inline void decode(thread const Chunk& c, uint u, uint g, thread Group& v) {
#pragma unroll
        for (uint k = 0; k < 4; k++) v.q[k] = nonlinear4((c.low[k] >> (4 * g)) & 0x0f0f0f0fu);
        const uint s = ((c.scales >> (4 * (u % 8))) & 15u) | (((c.head >> (16 + 2 * (u % 8))) & 3u) << 4);
        v.scale = f16_to_float(ushort(c.head & 0xffffu)) * float(int(s) - 32);
        v.offset = 0.0f;
    }
};

/// Blocks of 17 bytes: nothing is aligned.
template <uint ALIGN> struct Block<BLOCK_MXFP4, ALIGN> : Packed<Block<BLOCK_MXFP4, ALIGN>> {
    enum : uint { LEN = 32, GROUPS = 2, OFFSET = 0 };
    struct Chunk {
        uchar low[16];
        uchar e;
    };
    static inline uint unit(uint i) { return i / 2; }
    static inline uint group(uint i) { return i & 1; }
    static inline uint start(uint u, uint g) { return 32 * u + 16 * g; }

    static inline void load(bool ok, device const uchar* row, uint u, thread Chunk& c) {
        // The row's first block stands in where there is none: it is always there.
        device const uchar* p = row + (ok ? 17 * u : 0);
        c.e = p[0];
#pragma unroll
        for (uint k = 0; k < 16; k++) c.low[k] = p[1 + k];
    }
    static inline void decode(thread const Chunk& c, uint u, uint g, thread Group& v) {
#pragma unroll
        for (uint k = 0; k < 4; k++) {
            const uint word = uint(c.low[4 * k]) | (uint(c.low[4 * k + 1]) << 8) | (uint(c.low[4 * k + 2]) << 16)
                | (uint(c.low[4 * k + 3]) << 24);
            v.q[k] = magnitudes4((word >> (4 * g)) & 0x0f0f0f0fu);
        }
        // Half of what the exponent stands for, as the table is doubled. The lowest two are not normal numbers.
        const uint e = c.e;
        v.scale = as_type<float>(e < 2 ? 0x00200000u << e : (e - 1) << 23);
        v.offset = 0.0f;
    }
};
