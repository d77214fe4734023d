// Keys and values in pages: how a row of `width` = kv heads x head size values
// is stored and loaded. A state is one buffer of pages `k[PAGE][width] v[PAGE][width]`.
// Twins: crates/ingot-plan/src/plan.rs (the layout), crates/ingot-format/src/blocks/legacy.rs (Q8_0).
//
// Option CACHE: 0 F16, 1 F32, 2 Q8_0 (blocks of 32 along the row: scale
// max|x| / 127 as half, then 32 signed bytes, 34 bytes).
//
// Kernels see the state as `device uchar*`. They load pieces of eight values:
// `CachePiece p = cache_load(row, column)` only moves bytes, so that many pieces
// can be on their way at once; `cache_unpack(p, x)` makes floats of them.
#pragma once
#include "ingot.h"
#include "step.h"

#ifndef CACHE
#define CACHE 0
#endif

/// Bytes of a row of keys or values.
inline uint cache_row_bytes(uint width) {
#if CACHE == 0
    return 2 * width;
#elif CACHE == 1
    return 4 * width;
#else
    return width / 32 * 34;
#endif
}

/// Where the row of a position begins: `which` is 0 for keys and 1 for values.
inline ulong cache_row(uint page, uint which, uint position, uint width) {
    return (ulong(2 * page + which) * PAGE + position % PAGE) * cache_row_bytes(width);
}

/// Eight values as they are stored.
#if CACHE == 0
typedef uint4 CachePiece;
#elif CACHE == 1
struct CachePiece {
    float4 low, high;
};
#else
struct CachePiece {
    uint2 quants;
    ushort scale;
};
#endif

/// Eight zeros.
inline CachePiece cache_zero() {
#if CACHE == 0
    return uint4(0);
#else
    CachePiece piece;
#if CACHE == 1
    piece.low = float4(0.0f);
    piece.high = float4(0.0f);
#else
    piece.quants = uint2(0);
    piece.scale = 0;
#endif
    return piece;
#endif
}

/// The values from `column`, a multiple of 8, of a row, or zeros; all such loads of an unrolled loop are
/// issued together.
inline CachePiece cache_load_if(bool ok, device const uchar* row, uint column) {
#if CACHE == 0
    return load_stream_if(ok, (device const uint4*)(row + 2 * column));
#elif CACHE == 1
    CachePiece piece;
    piece.low = load_stream_if(ok, (device const float4*)(row + 4 * column));
    piece.high = load_stream_if(ok, (device const float4*)(row + 4 * column + 16));
    return piece;
#else
    // Blocks are aligned to two bytes.
    device const ushort* block = (device const ushort*)(row + column / 32 * 34);
    device const ushort* quants = block + 1 + column % 32 / 2;
    CachePiece piece;
    piece.scale = load_stream_if(ok, block);
    const uint a = load_stream_if(ok, quants), b = load_stream_if(ok, quants + 1);
    const uint c = load_stream_if(ok, quants + 2), d = load_stream_if(ok, quants + 3);
    piece.quants = uint2(a | b << 16, c | d << 16);
    return piece;
#endif
}

/// The values from `column`, a multiple of 8, of a row.
inline CachePiece cache_load(device const uchar* row, uint column) { return cache_load_if(true, row, column); }

/// The piece's eight values.
inline void cache_unpack(CachePiece piece, thread float* x) {
#if CACHE == 0
    half2 a = as_type<half2>(piece.x), b = as_type<half2>(piece.y);
    half2 c = as_type<half2>(piece.z), d = as_type<half2>(piece.w);
    x[0] = float(a.x);
    x[1] = float(a.y);
    x[2] = float(b.x);
    x[3] = float(b.y);
    x[4] = float(c.x);
    x[5] = float(c.y);
    x[6] = float(d.x);
    x[7] = float(d.y);
#elif CACHE == 1
    x[0] = piece.low.x;
    x[1] = piece.low.y;
    x[2] = piece.low.z;
    x[3] = piece.low.w;
    x[4] = piece.high.x;
    x[5] = piece.high.y;
    x[6] = piece.high.z;
    x[7] = piece.high.w;
#else
    float scale = f16_to_float(piece.scale);
    char4 a = as_type<char4>(piece.quants.x), b = as_type<char4>(piece.quants.y);
    x[0] = scale * float(a.x);
    x[1] = scale * float(a.y);
    x[2] = scale * float(a.z);
    x[3] = scale * float(a.w);
    x[4] = scale * float(b.x);
    x[5] = scale * float(b.y);
    x[6] = scale * float(b.z);
    x[7] = scale * float(b.w);
#endif
}

/// Stores 32 consecutive values of a row, one from each lane, from `column` on.
/// Lanes where `ok` is false have none; with Q8_0, `column` is a multiple of 32
/// and `ok` the same in all lanes. Every lane of the simdgroup calls it.
inline void cache_store(device uchar* row, uint column, uint lane, float x, bool ok) {
#if CACHE == 0
    if (ok) {
        ((device half*)row)[column + lane] = half(x);
    }
#elif CACHE == 1
    if (ok) {
        ((device float*)row)[column + lane] = x;
    }
#else
    // The quotient is by the scale as it is stored, which halves what its rounding costs.
    half scale = half(min(simd_max(fabs(x)) / 127.0f, 65504.0f));
    float d = float(scale);
    float quant = d > 0.0f ? clamp(rint(x / d), -127.0f, 127.0f) : 0.0f;
    device uchar* block = row + column / 32 * 34;
    if (ok && lane == 0) {
        ((device half*)block)[0] = scale;
    }
    if (ok) {
        block[2 + lane] = uchar(int(quant));
    }
#endif
}
