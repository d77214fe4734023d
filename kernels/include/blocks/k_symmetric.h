// Superblocks of 256 in 16 groups of 16, each with a signed scale:
//     Q3_K  high[32] low[64] scales[12] d     x = d (s - 32) (q - 4)
//     Q6_K  low[128] high[64] scales[16] d    x = d s (q - 32)
// A block's bytes are only aligned to 2.
#pragma once
#include "blocks/block.h"

/// A unit is 16 bytes of low: the low bits of a group and, in their upper halves,
/// of the one 64 values on. Each half of a block has four units, and 32 bytes of
/// high bits, of which the units in turn use 16. AT says where a block's body and scale are.
template <class AT, uint ALIGN> struct SixBits : Packed<SixBits<AT, ALIGN>> {
    enum : uint { LEN = 32, GROUPS = 2, OFFSET = 0 };
    typedef Even16<ALIGN> Raw;
    struct Chunk {
        Raw low, high;
        ushort d, scales[2];
    };
    static inline uint unit(uint i) { return i / 16 * 8 + i % 16 / 8 * 4 + (i & 3); }
    static inline uint group(uint i) { return i / 4 & 1; }
    static inline uint start(uint u, uint g) { return 128 * (u / 4) + 64 * g + 16 * (u & 3); }
    static inline uint low_at(uint u) { return AT::body(u / 8) + 16 * (u % 8); }
    static inline uint high_at(uint u) { return AT::body(u / 8) + 128 + 32 * (u / 4 & 1) + 16 * (u & 1); }

    static inline void load(bool ok, device const uchar* row, uint u, thread Chunk& c) {
        Raw::load(ok, row, low_at(u), c.low);
        Raw::load(ok, row, high_at(u), c.high);
        const uint scales = AT::body(u / 8) + 192 + 8 * (u / 4 & 1) + (u & 2);
        load_ushort(ok, row, scales, c.scales[0]);
        load_ushort(ok, row, scales + 4, c.scales[1]);
        load_ushort(ok, row, AT::scale(u / 8), c.d);
    }
    /// The codes of both groups, 0 to 63.
    static inline void codes(thread const Chunk& c, uint u, thread uint* first, thread uint* second) {
        uint low[4], high[4];
        Raw::get(c.low, low_at(u), low);
        Raw::get(c.high, high_at(u), high);
#pragma unroll
        for (uint k = 0; k < 4; k++) {
            first[k] = (low[k] & 0x0f0f0f0fu) | ((high[k] << (4 - (u & 2))) & 0x30303030u);
            second[k] = ((low[k] >> 4) & 0x0f0f0f0fu) | ((high[k] >> (u & 2)) & 0x30303030u);
        }
    }
    static inline void decode(thread const Chunk& c, uint u, uint g, thread Group& v) {
        uint first[4], second[4];
        codes(c, u, first, second);
#pragma unroll
        for (uint k = 0; k < 4; k++) v.q[k] = minus4(g == 0 ? first[k] : second[k], 32);
        v.scale = f16_to_float(c.d) * float(signed_byte(g == 0 ? c.scales[0] : c.scales[1], u & 1));
        v.offset = 0.0f;
    }
};

/// Blocks as they are in files.
struct SixBitsInFiles {
    static inline uint body(uint block) { return 210 * block; }
    static inline uint scale(uint block) { return 210 * block + 208; }
};
template <uint ALIGN> struct Block<BLOCK_Q6_K, ALIGN> : SixBits<SixBitsInFiles, (ALIGN >= 8 ? 8 : ALIGN)> {};

/// A unit is one group; the bytes it needs serve others too.
template <uint ALIGN> struct Block<BLOCK_Q3_K, ALIGN> : Packed<Block<BLOCK_Q3_K, ALIGN>> {
    enum : uint { LEN = 16, GROUPS = 1, OFFSET = 0 };
    typedef Even16<(ALIGN >= 4 ? 4 : 1)> Raw;
    struct Chunk {
        Raw low, high;
        ushort d, scale_low, scale_high;
    };
    static inline uint unit(uint i) { return i; }
    static inline uint group(uint i) { return 0; }
    static inline uint start(uint u, uint g) { return 16 * u; }
    static inline uint low_at(uint u) { return 110 * (u / 16) + 32 + 32 * (u % 16 / 8) + 16 * (u & 1); }
    static inline uint high_at(uint u) { return 110 * (u / 16) + 16 * (u & 1); }

    static inline void load(bool ok, device const uchar* row, uint u, thread Chunk& c) {
        const uint block = 110 * (u / 16);
        Raw::load(ok, row, low_at(u), c.low);
        Raw::load(ok, row, high_at(u), c.high);
        c.scale_low = load_ushort(ok, row, block + 96 + (u & 6));
        c.scale_high = load_ushort(ok, row, block + 104 + (u & 2));
        c.d = load_ushort(ok, row, block + 108);
    }
    static inline void decode(thread const Chunk& c, uint u, uint g, thread Group& v) {
        uint high[4];
        Raw::get(c.low, low_at(u), v.q);
        Raw::get(c.high, high_at(u), high);
        const uint i = u % 16;
#pragma unroll
        for (uint k = 0; k < 4; k++) {
            const uint top = ((high[k] >> (i / 2)) & 0x01010101u) << 2;
            v.q[k] = minus4(((v.q[k] >> (i % 8 / 2 * 2)) & 0x03030303u) | top, 4);
        }
        const uint byte = 8 * (i & 1);
        const uint s = ((uint(c.scale_low) >> (byte + 4 * (i / 8))) & 15u)
            | (((uint(c.scale_high) >> (byte + i / 4 * 2)) & 3u) << 4);
        v.scale = f16_to_float(c.d) * float(int(s) - 32);
        v.offset = 0.0f;
    }
};
