// 16 bytes of a row at addresses that are not aligned to 16 bytes.
//
// Loading and putting together are apart: a kernel loads ahead, and what is put
// together at once would be waited for at once. No load is wider than the
// alignment that is known, and no word is loaded that lies beyond the row.
#pragma once
#include "ingot.h"

// How 16 aligned bytes are loaded; a kernel may say something else.
#ifndef LOAD_16_INTO
#define LOAD_16_INTO load_stream_into
#endif

/// The word that begins `bytes` after the first of two.
inline uint word_between(uint first, uint second, uint bytes) {
    return uint(((ulong(second) << 32) | ulong(first)) >> (8 * bytes));
}

/// 16 bytes at an even offset of a row. ALIGN 4 or 8: the row begins at a multiple of
/// that (and so ends at one), and whole words or pairs of words are loaded; else
/// values of two bytes.
template <uint ALIGN> struct Even16 {
    ushort h[8];

    static inline void load(bool ok, device const uchar* row, uint at, thread Even16& c) {
        device const ushort* p = (device const ushort*)(row + at);
#pragma unroll
        for (uint k = 0; k < 8; k++) c.h[k] = load_stream_if(ok, p + k);
    }
    static inline void get(thread const Even16& c, uint at, thread uint* q) {
#pragma unroll
        for (uint k = 0; k < 4; k++) q[k] = uint(c.h[2 * k]) | (uint(c.h[2 * k + 1]) << 16);
    }
};

template <> struct Even16<4> {
    uint w[5]; // the last only if the offset is no multiple of 4

    static inline void load(bool ok, device const uchar* row, uint at, thread Even16& c) {
        device const uint* p = (device const uint*)(row + (at - (at & 2)));
#pragma unroll
        for (uint k = 0; k < 4; k++) c.w[k] = load_stream_if(ok, p + k);
        c.w[4] = load_stream_if(ok && (at & 2) != 0, p + 4);
    }
    static inline void get(thread const Even16& c, uint at, thread uint* q) {
#pragma unroll
        for (uint k = 0; k < 4; k++) q[k] = word_between(c.w[k], c.w[k + 1], at & 2);
    }
};

template <> struct Even16<8> {
    uint2 w[3]; // the last only if the offset is no multiple of 8

    static inline void load(bool ok, device const uchar* row, uint at, thread Even16& c) {
        device const uint2* p = (device const uint2*)(row + (at - (at & 6)));
        c.w[0] = load_stream_if(ok, p);
        c.w[1] = load_stream_if(ok, p + 1);
        c.w[2] = load_stream_if(ok && (at & 6) != 0, p + 2);
    }
    static inline void get(thread const Even16& c, uint at, thread uint* q) {
        const bool odd = (at & 4) != 0; // words
        const uint w[5] = {odd ? c.w[0].y : c.w[0].x, odd ? c.w[1].x : c.w[0].y, odd ? c.w[1].y : c.w[1].x,
                           odd ? c.w[2].x : c.w[1].y, odd ? c.w[2].y : c.w[2].x};
#pragma unroll
        for (uint k = 0; k < 4; k++) q[k] = word_between(w[k], w[k + 1], at & 2);
    }
};

/// 16 bytes at a multiple of 16, into what stays as it is if not ok.
inline void load_uint4(bool ok, device const uchar* row, uint at, thread uint4& v) {
    LOAD_16_INTO(ok, (device const uint4*)(row + at), v);
}

/// 16 bytes at a multiple of 16.
template <> struct Even16<16> {
    uint4 w;

    static inline void load(bool ok, device const uchar* row, uint at, thread Even16& c) {
        load_uint4(ok, row, at, c.w);
    }
    static inline void get(thread const Even16& c, uint at, thread uint* q) {
        q[0] = c.w.x;
        q[1] = c.w.y;
        q[2] = c.w.z;
        q[3] = c.w.w;
    }
};

/// A number of 16 bits at an even offset.
inline ushort load_ushort(bool ok, device const uchar* row, uint at) {
    return load_stream_if(ok, (device const ushort*)(row + at));
}
/// The same into what stays as it is if not ok.
inline void load_ushort(bool ok, device const uchar* row, uint at, thread ushort& v) {
    load_stream_into(ok, (device const ushort*)(row + at), v);
}
/// 32 bits at a multiple of 4.
inline uint load_uint(bool ok, device const uchar* row, uint at) {
    return load_stream_if(ok, (device const uint*)(row + at));
}
inline void words_of(uint4 v, thread uint* q) {
    q[0] = v.x;
    q[1] = v.y;
    q[2] = v.z;
    q[3] = v.w;
}

/// 16 bytes at a multiple of 16, into four words that stay as they are if not ok.
inline void load_words(bool ok, device const uchar* row, uint at, thread uint* q) {
    uint4 v = uint4(q[0], q[1], q[2], q[3]);
    load_uint4(ok, row, at, v);
    words_of(v, q);
}

/// Four bytes below 128, less z each: signed bytes. Nothing is borrowed across
/// bytes, as each has its top bit set meanwhile.
inline uint minus4(uint bytes, uint z) { return ((bytes | 0x80808080u) - z * 0x01010101u) ^ 0x80808080u; }

/// Bits 0 to 3 of v to bit 0 of four bytes.
inline uint spread4(uint v) { return ((v & 15u) * 0x00204081u) & 0x01010101u; }

/// A byte of a word as a signed number.
inline int signed_byte(uint word, uint k) { return int(word << (24 - 8 * k)) >> 24; }
