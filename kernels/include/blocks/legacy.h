// Blocks of 32 with one half-precision scale, and with an offset the _1 types:
//     Q4_0  d          nibbles[16]    x = d (q - 8)
//     Q4_1  d m        nibbles[16]    x = d q + m
//     Q5_0  d   high4  nibbles[16]    x = d (q - 16)
//     Q5_1  d m high4  nibbles[16]    x = d q + m
//     Q8_0  d   q[32]                 x = d q
// Byte j of the nibbles has value j below and value j + 16 above; bit j of the
// four bytes high4 is the fifth bit of value j.
#pragma once
#include "blocks/block.h"

template <uint ALIGN> struct Block<BLOCK_Q8_0, ALIGN> : Packed<Block<BLOCK_Q8_0, ALIGN>> {
    enum : uint { LEN = 16, GROUPS = 1, OFFSET = 0 };
    typedef Even16<(ALIGN >= 4 ? 4 : 1)> Raw;
    struct Chunk {
        Raw q;
        ushort d;
    };
    static inline uint unit(uint i) { return i; }
    static inline uint group(uint i) { return 0; }
    static inline uint start(uint u, uint g) { return 16 * u; }
    static inline uint at(uint u) { return 34 * (u / 2) + 2 + 16 * (u & 1); }

    static inline void load(bool ok, device const uchar* row, uint u, thread Chunk& c) {
        Raw::load(ok, row, at(u), c.q);
        c.d = load_ushort(ok, row, 34 * (u / 2));
    }
    static inline void decode(thread const Chunk& c, uint u, uint g, thread Group& v) {
        Raw::get(c.q, at(u), v.q);
        v.scale = f16_to_float(c.d);
        v.offset = 0.0f;
    }
};

/// The four types with nibbles. PARAMS: bytes before the nibbles or high4.
template <uint BITS, uint PARAMS, uint ALIGN> struct Nibbles : Packed<Nibbles<BITS, PARAMS, ALIGN>> {
    enum : uint {
        LEN = 32,
        GROUPS = 2,
        OFFSET = PARAMS == 4,
        LOW = PARAMS + (BITS == 5 ? 4 : 0), // where the nibbles begin
        BYTES = LOW + 16
    };
    typedef Even16<(ALIGN >= 4 ? 4 : 1)> Raw;
    struct Chunk {
        Raw low;
        ushort d, m, high[2];
    };
    static inline uint unit(uint i) { return i / 2; }
    static inline uint group(uint i) { return i & 1; }
    static inline uint start(uint u, uint g) { return 32 * u + 16 * g; }

    static inline void load(bool ok, device const uchar* row, uint u, thread Chunk& c) {
        Raw::load(ok, row, BYTES * u + LOW, c.low);
        if (BITS == 5) {
            c.high[0] = load_ushort(ok, row, BYTES * u + PARAMS);
            c.high[1] = load_ushort(ok, row, BYTES * u + PARAMS + 2);
        }
        c.d = load_ushort(ok, row, BYTES * u);
        c.m = PARAMS == 4 ? load_ushort(ok, row, BYTES * u + 2) : ushort(0);
    }
    static inline void decode(thread const Chunk& c, uint u, uint g, thread Group& v) {
        Raw::get(c.low, BYTES * u + LOW, v.q);
#pragma unroll
        for (uint k = 0; k < 4; k++) {
            v.q[k] = (v.q[k] >> (4 * g)) & 0x0f0f0f0fu;
            if (BITS == 5) v.q[k] |= spread4(uint(g == 0 ? c.high[0] : c.high[1]) >> (4 * k)) << 4;
            if (PARAMS == 2) v.q[k] = minus4(v.q[k], BITS == 5 ? 16 : 8);
        }
        v.scale = f16_to_float(c.d);
        v.offset = PARAMS == 4 ? f16_to_float(c.m) : 0.0f;
    }
};

template <uint ALIGN> struct Block<BLOCK_Q4_0, ALIGN> : Nibbles<4, 2, ALIGN> {};
template <uint ALIGN> struct Block<BLOCK_Q4_1, ALIGN> : Nibbles<4, 4, ALIGN> {};
template <uint ALIGN> struct Block<BLOCK_Q5_0, ALIGN> : Nibbles<5, 2, ALIGN> {};
template <uint ALIGN> struct Block<BLOCK_Q5_1, ALIGN> : Nibbles<5, 4, ALIGN> {};
