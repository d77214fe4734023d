// How rows of weights are packed, one specialisation of Block per type. The
// layouts and values are those of crates/ingot-format/src/blocks.
//
// A row is a list of units; a unit is what one lane loads in one go. It has one
// or two groups of 16 consecutive values
//     x = scale * q + offset,  q: signed bytes, four in a word.
// Every packed type has
//     LEN, GROUPS          values in a unit, groups in a unit
//     Chunk                a unit as loaded
//     load(ok, row, u, c)  loads unit u; if not ok, c has anything finite, or what it had
//     decode(c, u, g, v)   its group g
//     start(u, g)          the group's first value's place in the row
//     unit(i), group(i)    where values 16 i to 16 i + 15 are
//     OFFSET               false if offset is always 0
// and unpack16 below. ALIGN is the alignment in bytes that every row is known
// to have, 1 if nothing is known.
#pragma once
#include "blocks/words.h"

// The twin of these numbers is crates/ingot-gpu/src/launches/block_types.rs.
#define BLOCK_F32 0
#define BLOCK_F16 1
#define BLOCK_BF16 2
#define BLOCK_Q8_0 3
#define BLOCK_Q4_0 4
#define BLOCK_Q4_1 5
#define BLOCK_Q5_0 6
#define BLOCK_Q5_1 7
#define BLOCK_Q2_K 8
#define BLOCK_Q3_K 9
#define BLOCK_Q4_K 10
#define BLOCK_Q5_K 11
#define BLOCK_Q6_K 12
#define BLOCK_IQ4_NL 13
#define BLOCK_IQ4_XS 14
#define BLOCK_MXFP4 15
// Types that are arranged in eights, see blocks/eights.h.
#define BLOCK_Q8_0_EIGHTS 16
#define BLOCK_Q6_K_EIGHTS 17

/// Bytes of a row of so many values.
template <uint TYPE> struct RowBytes;
#define ROW_BYTES(TYPE, LEN, BYTES)                                                                            \
    template <> struct RowBytes<TYPE> {                                                                        \
        static inline ulong of(uint cols) { return ulong(cols / LEN) * BYTES; }                                \
    };
ROW_BYTES(BLOCK_F32, 1, 4)
ROW_BYTES(BLOCK_F16, 1, 2)
ROW_BYTES(BLOCK_BF16, 1, 2)
ROW_BYTES(BLOCK_Q8_0, 32, 34)
ROW_BYTES(BLOCK_Q4_0, 32, 18)
ROW_BYTES(BLOCK_Q4_1, 32, 20)
ROW_BYTES(BLOCK_Q5_0, 32, 22)
ROW_BYTES(BLOCK_Q5_1, 32, 24)
ROW_BYTES(BLOCK_Q2_K, 256, 84)
ROW_BYTES(BLOCK_Q3_K, 256, 110)
ROW_BYTES(BLOCK_Q4_K, 256, 144)
ROW_BYTES(BLOCK_Q5_K, 256, 176)
ROW_BYTES(BLOCK_Q6_K, 256, 210)
ROW_BYTES(BLOCK_IQ4_NL, 32, 18)
ROW_BYTES(BLOCK_IQ4_XS, 256, 136)
ROW_BYTES(BLOCK_MXFP4, 32, 17)
#undef ROW_BYTES

/// The same where a block is eight scales and the bodies of eight blocks, or of fewer at the end.
#define EIGHTS_ROW_BYTES(TYPE, LEN, BODY)                                                                      \
    template <> struct RowBytes<TYPE> {                                                                        \
        static inline ulong of(uint cols) { return ulong(cols / LEN) * BODY + (cols / LEN + 7) / 8 * 16; }     \
    };
EIGHTS_ROW_BYTES(BLOCK_Q8_0_EIGHTS, 32, 32)
EIGHTS_ROW_BYTES(BLOCK_Q6_K_EIGHTS, 256, 208)
#undef EIGHTS_ROW_BYTES

template <uint TYPE, uint ALIGN = 1> struct Block;

/// 16 values.
struct Group {
    uint q[4];
    float scale, offset;
};

/// What every packed type can do with its own load and decode.
template <class B> struct Packed {
    /// Values 16 i to 16 i + 15 of a row.
    static inline void unpack16(device const uchar* row, uint i, thread float* out) {
        typename B::Chunk c = {};
        Group v;
        const uint u = B::unit(i);
        B::load(true, row, u, c);
        B::decode(c, u, B::group(i), v);
#pragma unroll
        for (uint k = 0; k < 16; k++) out[k] = float(signed_byte(v.q[k / 4], k % 4)) * v.scale + v.offset;
    }
};
