// Superblocks of 256 in groups with a scale and a minimum, x = (d s) q - (dmin m):
//     Q2_K  scales[16] low[64] d dmin              16 groups of 16
//     Q4_K  d dmin scales[12] low[128]              8 groups of 32
//     Q5_K  d dmin scales[12] high[32] low[128]     8 groups of 32
// A unit has 16 bytes of Q4_K's and Q5_K's low: half of two groups. In Q2_K it
// has the same 16 bytes as three other units, and is one group.
#pragma once
#include "blocks/block.h"

/// Q4_K and Q5_K. The head is d, dmin and the scales: four words.
template <uint BITS> struct Affine : Packed<Affine<BITS>> {
    enum : uint { LEN = 32, GROUPS = 2, OFFSET = 1, LOW = BITS == 5 ? 48 : 16, BYTES = LOW + 128 };
    struct Chunk {
        uint4 head, low, high;
    };
    static inline uint unit(uint i) { return i / 16 * 8 + i % 16 / 4 * 2 + (i & 1); }
    static inline uint group(uint i) { return i / 2 & 1; }
    static inline uint start(uint u, uint g) { return 256 * (u / 8) + 64 * (u % 8 / 2) + 32 * g + 16 * (u & 1); }

    static inline void load(bool ok, device const uchar* row, uint u, thread Chunk& c) {
        const uint block = BYTES * (u / 8);
        load_uint4(ok, row, block, c.head);
        load_uint4(ok, row, block + LOW + 16 * (u % 8), c.low);
        if (BITS == 5) load_uint4(ok, row, block + 16 + 16 * (u & 1), c.high);
    }
    /// The codes of group g.
    static inline void words(thread const Chunk& c, uint u, uint g, thread uint* q) {
        words_of(c.low, q);
        uint high[4];
        if (BITS == 5) words_of(c.high, high);
#pragma unroll
        for (uint k = 0; k < 4; k++) {
            q[k] = (q[k] >> (4 * g)) & 0x0f0f0f0fu;
            if (BITS == 5) q[k] |= ((high[k] >> (u % 8 / 2 * 2 + g)) & 0x01010101u) << 4;
        }
    }
    /// Scales and minimums, of group 0 in the low bytes, of group 1 in the next.
    static inline void scales(thread const Chunk& c, uint u, thread uint& s, thread uint& m) {
        // 6 bits each: the first four pairs of groups whole, those of the others in pieces
        const uint pair = u % 8 / 2, shift = 16 * (pair & 1);
        const uint first = c.head.y >> shift, second = c.head.z >> shift, last = c.head.w >> shift;
        s = pair < 2 ? first & 0x3f3fu : (last & 0x0f0fu) | ((first & 0xc0c0u) >> 2);
        m = pair < 2 ? second & 0x3f3fu : ((last >> 4) & 0x0f0fu) | ((second & 0xc0c0u) >> 2);
    }
    static inline void decode(thread const Chunk& c, uint u, uint g, thread Group& v) {
        uint s, m;
        words(c, u, g, v.q);
        scales(c, u, s, m);
        v.scale = f16_to_float(ushort(c.head.x & 0xffffu)) * float((s >> (8 * g)) & 255u);
        v.offset = -(f16_to_float(ushort(c.head.x >> 16)) * float((m >> (8 * g)) & 255u));
    }
};

template <uint ALIGN> struct Block<BLOCK_Q4_K, ALIGN> : Affine<4> {};
template <uint ALIGN> struct Block<BLOCK_Q5_K, ALIGN> : Affine<5> {};

template <uint ALIGN> struct Block<BLOCK_Q2_K, ALIGN> : Packed<Block<BLOCK_Q2_K, ALIGN>> {
    enum : uint { LEN = 16, GROUPS = 1, OFFSET = 1 };
    struct Chunk {
        uint low[4];
        uint d;
        ushort scales;
    };
    static inline uint unit(uint i) { return i; }
    static inline uint group(uint i) { return 0; }
    static inline uint start(uint u, uint g) { return 16 * u; }

    static inline void load(bool ok, device const uchar* row, uint u, thread Chunk& c) {
        const uint block = 84 * (u / 16);
        const uint at = block + 16 + 32 * (u % 16 / 8) + 16 * (u & 1);
#pragma unroll
        for (uint k = 0; k < 4; k++) c.low[k] = load_uint(ok, row, at + 4 * k);
        c.scales = load_ushort(ok, row, block + (u % 16 & 14));
        c.d = load_uint(ok, row, block + 80);
    }
    static inline void decode(thread const Chunk& c, uint u, uint g, thread Group& v) {
#pragma unroll
        for (uint k = 0; k < 4; k++) v.q[k] = (c.low[k] >> (u % 8 / 2 * 2)) & 0x03030303u;
        const uint scale = uint(c.scales) >> (8 * (u & 1));
        v.scale = f16_to_float(ushort(c.d & 0xffffu)) * float(scale & 15u);
        v.offset = -(f16_to_float(ushort(c.d >> 16)) * float((scale >> 4) & 15u));
    }
};
