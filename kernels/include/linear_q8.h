// Inner product for rows of Q8_0 with an input in 8 bits, by loads as wide as the
// row's alignment W words allow, although blocks of 34 bytes are only aligned to 2.
//
// A lane takes 4 W bytes of the row, wherever blocks begin in them. The input lies in
// threadgroup memory just like the row, in blocks of 34 bytes with zeros in place of
// the scales. So words meet words, and scales do not count. A word never has values
// of two blocks: one block begins at its first byte, or its last two are the scale of
// the next. At most one block begins in a unit, so a unit has values of at most two.
// The scale of the first is in this or an earlier unit: another lane has it.
#pragma once
#include "blocks/block.h"
#include "linear_input.h"

#ifndef SKIP_ZEROS
#define SKIP_ZEROS 0
#endif

/// W words: how to load them, how to get them from the input, and the one at a byte.
/// The last is written so that no array is indexed by a variable.
template <uint W> struct Q8Words;
template <> struct Q8Words<4> {
    static inline void load(bool ok, device const uchar* p, thread uint* q) {
        words_of(load_stream_if(ok, (device const uint4*)p), q);
    }
    static inline void get(threadgroup const uint* p, thread uint* x) { words_of(*(threadgroup const uint4*)p, x); }
    static inline uint at(thread const uint* q, uint byte) {
        const uint low = (byte & 4) != 0 ? q[1] : q[0], high = (byte & 4) != 0 ? q[3] : q[2];
        return (byte & 8) != 0 ? high : low;
    }
};
template <> struct Q8Words<2> {
    static inline void load(bool ok, device const uchar* p, thread uint* q) {
        const uint2 v = load_stream_if(ok, (device const uint2*)p);
        q[0] = v.x;
        q[1] = v.y;
    }
    static inline void get(threadgroup const uint* p, thread uint* x) {
        const uint2 v = *(threadgroup const uint2*)p;
        x[0] = v.x;
        x[1] = v.y;
    }
    static inline uint at(thread const uint* q, uint byte) { return (byte & 4) != 0 ? q[1] : q[0]; }
};
template <> struct Q8Words<1> {
    static inline void load(bool ok, device const uchar* p, thread uint* q) {
        q[0] = load_stream_if(ok, (device const uint*)p);
    }
    static inline void get(threadgroup const uint* p, thread uint* x) { x[0] = *p; }
    static inline uint at(thread const uint* q, uint byte) { return q[0]; }
};

/// Where unit u of 4 W bytes is.
template <uint W> struct Q8Place {
    uint block;  // that its first byte belongs to
    uint before; // bytes of this block before the unit

    static inline Q8Place of(uint u) {
        Q8Place p;
        p.block = 4 * W * u / 34;
        p.before = 4 * W * u - 34 * p.block;
        return p;
    }
    /// Words of the first block.
    static inline uint words(thread const Q8Place& p) { return min((36 - p.before) / 4, W); }
    /// How many units ago the first block's scale was.
    static inline uint ago(thread const Q8Place& p, uint u) { return u - 34 * p.block / (4 * W); }
    /// The bits of the scale that is in the unit, or 0.
    static inline uint scale(thread const Q8Place& p, thread const uint* q) {
        const uint at = p.before == 0 ? 0 : 34 - p.before;
        return at < 4 * W ? (Q8Words<W>::at(q, at) >> (8 * (at & 2))) & 0xffffu : 0;
    }
};

template <uint W> struct SpacedDot {
    typedef RowBytes<BLOCK_Q8_0> Bytes;
    typedef Q8Place<W> Where;
    struct Chunk {
        uint q[W];
        ushort earlier; // the first block's scale, if no lane has it
    };
    struct Input {
        uint x[W];
        float first_scale, second_scale; // of values that meet the first block, and the next
    };
    enum : uint { STAGED = 1, SPACED = 1 };
    static inline uint units(uint cols) { return cols / 32 * 34 / (4 * W); }

    static inline void load(bool ok, device const uchar* row, uint u, uint cols, uint lane, thread Chunk& c) {
        const Where p = Where::of(u);
        Q8Words<W>::load(ok, row + 4 * W * u, c.q);
        c.earlier = load_ushort(ok && earlier(p, u, lane), row, 34 * p.block);
    }
    /// True if the lane that has the scale is none of this simdgroup now, or may not
    /// have loaded it.
    static inline bool earlier(thread const Where& p, uint u, uint lane) {
        return SKIP_ZEROS ? Where::ago(p, u) > 0 : Where::ago(p, u) > lane;
    }
    static inline void input(bool ok, uint u, uint cols, thread const InputRow& x, thread Input& in,
                             thread float& sumsq) {
        // The piece may begin before this row's first column. A lane without a unit takes the piece's first.
        const int skipped = int(x.rounded.first) / 32;
        const Where p = Where::of(ok ? u : 0);
        const int word = ok ? int(W * u) - skipped * 34 / 4 : 0;
        const int block = ok ? int(p.block) - skipped : 0;
        Q8Words<W>::get(x.rounded.words + word, in.x);
#pragma unroll
        for (uint k = 0; k < W; k++) in.x[k] = ok ? in.x[k] : 0;
        in.first_scale = x.rounded.scales[block];
        in.second_scale = Where::words(p) < W ? x.rounded.scales[block + 1] : 0.0f;
    }
    static inline bool is_zero(thread const Input& in) {
        uint any = 0;
#pragma unroll
        for (uint k = 0; k < W; k++) any |= in.x[k];
        return any == 0;
    }
    static inline float dot(thread const Chunk& c, thread const Input& in, uint u, uint lane) {
        const Where p = Where::of(u);
        const uint mine = Where::scale(p, c.q);
        const uint theirs = simd_shuffle(mine, lane - min(Where::ago(p, u), lane));
        const uint scale = earlier(p, u, lane) ? uint(c.earlier) : theirs;
        // Sums of values: all, and those that meet the first block.
        const uint words = Where::words(p);
        int sum = 0, first = 0;
#pragma unroll
        for (uint k = 0; k < W; k++) {
            sum = dot4_i8(c.q[k], in.x[k], sum);
            first = k < words ? sum : first;
        }
        return fma(float(first) * in.first_scale, f16_to_float(ushort(scale)),
                   float(sum - first) * in.second_scale * f16_to_float(ushort(mine)));
    }
};
