// Weights of any type on their way to a tile: loaded as they are, unpacked when they
// are stored.
#pragma once
#include "blocks/all.h"
#include "tile.h"

/// Byte k of a word as a float, plus 2^23: the float's low bits.
inline float byte_and_2_23(uint word, uint k) {
#if defined(INGOT_CUDA)
    uint bits;
    asm("prmt.b32 %0, %1, %2, %3;" : "=r"(bits) : "r"(word), "r"(0x4b000000u), "r"(0x7440u + k));
    return as_type<float>(bits);
#else
    return as_type<float>(0x4b000000u | ((word >> (8 * k)) & 255u));
#endif
}

/// Bytes 2 h and 2 h + 1 of a word as halves, plus 1024: the halves' low bits.
inline half2 bytes_and_1024(uint word, uint h) {
#if defined(INGOT_CUDA)
    uint bits;
    asm("prmt.b32 %0, %1, %2, %3;" : "=r"(bits) : "r"(word), "r"(0x64646464u), "r"(h ? 0x4342u : 0x4140u));
#else
    const uint two = word >> (16 * h);
    const uint bits = 0x64006400u | (two & 255u) | ((two & 0xff00u) << 8);
#endif
    return as_type<half2>(bits);
}

/// Four signed bytes times a half.
inline tile_t4 bytes_times(uint bytes, ushort factor) {
    const uint word = bytes ^ 0x80808080u; // plus 128, not signed
#if TILE_F32
    const float4 q =
        float4(byte_and_2_23(word, 0), byte_and_2_23(word, 1), byte_and_2_23(word, 2), byte_and_2_23(word, 3));
    return (q - float4(8388736.0f)) * float4(f16_to_float(factor));
#else
    const half2 offset = half2(half(1152.0f)), scale = half2(as_type<half>(factor));
    const half2 low = (bytes_and_1024(word, 0) - offset) * scale, high = (bytes_and_1024(word, 1) - offset) * scale;
    return as_type<half4>(uint2(as_type<uint>(low), as_type<uint>(high)));
#endif
}

/// Eight values as words of a tile.
inline void tile_words8(thread const float* v, thread uint* words) {
#if TILE_F32
#pragma unroll
    for (uint k = 0; k < 8; k++) words[k] = as_type<uint>(v[k]);
#else
#pragma unroll
    for (uint k = 0; k < 4; k++) words[k] = as_type<uint>(half2(half(v[2 * k]), half(v[2 * k + 1])));
#endif
}

/// Types whose values are a half times a signed byte: their products are the same in half
/// as in float, rounded.
template <uint TYPE> struct HalfScale { enum : bool { YES = false }; };
#if !TILE_F32
template <> struct HalfScale<BLOCK_Q8_0> { enum : bool { YES = true }; };
template <> struct HalfScale<BLOCK_Q8_0_EIGHTS> { enum : bool { YES = true }; };
template <> struct HalfScale<BLOCK_Q4_0> { enum : bool { YES = true }; };
template <> struct HalfScale<BLOCK_Q5_0> { enum : bool { YES = true }; };
template <> struct HalfScale<BLOCK_IQ4_NL> { enum : bool { YES = true }; };
#endif

/// VALUES consecutive weights, from value VALUES * i of a row on.
template <uint TYPE, uint ALIGN> struct Unpacked {
    typedef Block<TYPE, ALIGN> B;
    enum : uint { VALUES = 16 };
    typename B::Chunk chunk;

    /// Whether weights i and j are in what is loaded for either.
    static inline bool same(uint i, uint j) { return B::unit(i) == B::unit(j); }
    static inline void load(device const uchar* row, uint i, uint, thread Unpacked& w) {
        B::load(true, row, B::unit(i), w.chunk);
    }
    static inline void unpack(thread const Unpacked& w, uint i, thread uint* words) {
        Group group;
        B::decode(w.chunk, B::unit(i), B::group(i), group);
#pragma unroll
        for (uint k = 0; k < 4; k++) group.q[k] ^= 0x80808080u; // plus 128, not signed
        if (HalfScale<TYPE>::YES) {
            const half2 scale = half2(half(group.scale));
#pragma unroll
            for (uint k = 0; k < 8; k++) {
                const half2 q = bytes_and_1024(group.q[k / 2], k % 2) - half2(half(1152.0f));
                words[k] = as_type<uint>(q * scale);
            }
            return;
        }
        float v[16];
#pragma unroll
        for (uint k = 0; k < 16; k++) {
            const float q = byte_and_2_23(group.q[k / 4], k % 4) - 8388736.0f;
            v[k] = q * group.scale + group.offset;
        }
        tile_words8(v, words);
        tile_words8(v + 8, words + 2 * TILE_BYTES);
    }
};

/// The same of F32, F16 and BF16, whose rows may end anywhere; zeros follow.
template <uint TYPE, uint ALIGN> struct UnpackedFloats {
    typedef Block<TYPE, ALIGN> B;
    enum : uint { VALUES = 8 };
    typename B::Chunk chunk;

    static inline bool same(uint, uint) { return false; }
    static inline void load(device const uchar* row, uint i, uint cols, thread UnpackedFloats& w) {
        const bool whole = cols % 64 == 0; // tiles have no columns that are not there
        const bool ok = whole || 8 * i < cols;
        const typename B::Chunk zeros = {};
        if (!whole) w.chunk = zeros;
        B::load(ok, row, ok ? i : 0, ok ? min(cols - 8 * i, 8u) : 0, w.chunk);
    }
    static inline void unpack(thread const UnpackedFloats& w, uint, thread uint* words) {
#if !TILE_F32
        if (TYPE == BLOCK_F16) {
#pragma unroll
            for (uint k = 0; k < 4; k++) words[k] = w.chunk.w[k];
            return;
        }
#endif
        float v[8];
        B::unpack8(w.chunk, v);
        tile_words8(v, words);
    }
};
template <uint ALIGN> struct Unpacked<BLOCK_F32, ALIGN> : UnpackedFloats<BLOCK_F32, ALIGN> {};
template <uint ALIGN> struct Unpacked<BLOCK_F16, ALIGN> : UnpackedFloats<BLOCK_F16, ALIGN> {};
template <uint ALIGN> struct Unpacked<BLOCK_BF16, ALIGN> : UnpackedFloats<BLOCK_BF16, ALIGN> {};
