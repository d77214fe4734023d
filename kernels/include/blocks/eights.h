// Blocks in eights, as devices have them that copy weights to memory of their own: eight scales, then the
// eight blocks without them, so that every piece of 16 bytes is aligned. The last of a row may be
// fewer than eight. The layout is that of crates/ingot-gpu/src/eights.rs.
#pragma once
#include "blocks/block.h"

/// Where blocks of BODY bytes and their scales are in a row.
template <uint BODY> struct Eights {
    enum : uint { HEAD = 16, BYTES = HEAD + 8 * BODY };
    static inline uint body(uint block) { return block / 8 * BYTES + HEAD + block % 8 * BODY; }
    static inline uint scale(uint block) { return block / 8 * BYTES + block % 8 * 2; }
};

template <uint ALIGN> struct Block<BLOCK_Q8_0_EIGHTS, ALIGN> : Packed<Block<BLOCK_Q8_0_EIGHTS, ALIGN>> {
    enum : uint { LEN = 16, GROUPS = 1, OFFSET = 0 };
    typedef Eights<32> At;
    struct Chunk {
        uint4 q;
        ushort d;
    };
    static inline uint unit(uint i) { return i; }
    static inline uint group(uint i) { return 0; }
    static inline uint start(uint u, uint g) { return 16 * u; }

    static inline void load(bool ok, device const uchar* row, uint u, thread Chunk& c) {
        load_uint4(ok, row, At::body(u / 2) + 16 * (u & 1), c.q);
        load_ushort(ok, row, At::scale(u / 2), c.d);
    }
    static inline void decode(thread const Chunk& c, uint u, uint g, thread Group& v) {
        words_of(c.q, v.q);
        v.scale = f16_to_float(c.d);
        v.offset = 0.0f;
    }
};

template <uint ALIGN> struct Block<BLOCK_Q6_K_EIGHTS, ALIGN> : SixBits<Eights<208>, 16> {};
