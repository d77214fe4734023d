// Rows of activations as tiles want them: per row 32 bytes, of which the first
// four are a factor, then the values as `tile_t`, with zeros up to a multiple of
// 32. The row is factor * values. The factor is the power of two that brings the
// largest magnitude to between 1024 and 2048: neither huge nor tiny rows leave
// the range of half, and the factor costs no precision. With TILE_F32 it is 1.
// The twin of this layout is crates/ingot-gpu/src/launches/pack.rs.
#pragma once
#include "tile.h"

#define PACKED_HEADER 32
#define PACKED_STEP 32 // values

inline uint packed_values(uint width) { return (width + PACKED_STEP - 1) / PACKED_STEP * PACKED_STEP; }
inline uint packed_row_bytes(uint width) { return PACKED_HEADER + packed_values(width) * TILE_BYTES; }

/// What values of at most this magnitude are multiplied by, a power of two; 1 / x
/// of it is exact.
inline float pack_scale(float largest) {
#if TILE_F32 && !WIDE
    return 1.0f;
#else
    const uint exponent = clamp(as_type<uint>(largest) >> 23, 11u, 254u);
    return largest > 0.0f ? as_type<float>((264 - exponent) << 23) : 1.0f;
#endif
}

// The same for the products of wide.h: first a factor (float) for each token; then come, step after step of
// 64 columns, all tokens in halves. With TILE_F32 each 128 tokens are followed by what halves leave of them,
// which is in halves, too: together 22 bits.
#define WIDE_STEP 64 // columns
#define WIDE_BYTES 128 // of a token in a step

/// Tokens that packed rows have room for: whole tiles. Twin: crates/ingot-gpu/src/launches/pack.rs.
inline uint wide_tokens(uint tokens) {
    const uint tile = tokens > 256 && !TILE_F32 ? 256 : 128;
    return (tokens + tile - 1) / tile * tile;
}

/// Where value `column` of token t is among these, in the order of wide.h; the 16 bytes that are
/// taken of eight neighbouring tokens at a time are in different banks. WIDE_REST behind that is the rest.
inline ulong wide_place(uint t, uint column, uint padded) {
    const uint c = column % WIDE_STEP, part = c % 16 / 2;
    const ulong row = TILE_F32 ? 2 * (ulong(column / WIDE_STEP) * padded + t) - t % 128 : ulong(column / WIDE_STEP) * padded + t;
    return row * WIDE_STEP + (part ^ (t % 8)) * 8 + c / 16 * 2 + c % 2;
}
#define WIDE_REST (128 * WIDE_STEP)
