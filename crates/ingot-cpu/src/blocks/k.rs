//! The types with blocks of 256 values, whose scales are themselves quantized.

use super::{
    Affine, AffineHalves, Block, CenteredHalves, Columnar, Group, MapInline, Sink, byte, nibbles,
    signed_byte, unrolled, words8,
};
use crate::simd::{Simd, Tile};

/// `u4 scale, min [16]; u2 q[256]; f16 d, m`: d scale q - m min
pub(crate) struct Q2K;
/// `u1 high[256]; u2 q[256]; u6 scale[16]; f16 d`: d (scale - 32) (q - 4)
pub(crate) struct Q3K;
/// `f16 d, m; u6 scale, min [8]; u4 q[256]`: d scale q - m min
pub(crate) struct Q4K;
/// `f16 d, m; u6 scale, min [8]; u1 high[256]; u4 q[256]`: d scale q - m min
pub(crate) struct Q5K;
/// `u4 q[256]; u2 high[256]; i8 scale[16]; f16 d`: d scale (q - 32)
pub(crate) struct Q6K;

/// The scales and minima of Q4_K and Q5_K, each eight of 6 bits.
struct SixBits<S: Simd> {
    d: S::F,
    m: S::F,
    /// Groups 0..4 and 4..8, a byte each.
    scales: [S::V; 2],
    mins: [S::V; 2],
}

impl<S: Simd> SixBits<S> {
    /// # Safety
    /// The rows have sixteen bytes.
    #[inline(always)]
    unsafe fn read(s: S, tile: impl Tile) -> Self {
        // SAFETY: by the caller's promise.
        let [dm, a, b, c] = unsafe { tile.words(s, 0) };
        // Groups 0..4 lie in the low six bits of `a` and `b`; 4..8 have their low
        // nibbles in `c` and the rest in the top two bits of `a` and `b`.
        let six = s.splat_u8(0x3f);
        let top = |v| s.and(s.shr(v, 2), s.splat_u8(0x30));
        let nibble = |v| s.and(v, s.splat_u8(0x0f));
        Self {
            d: s.low_f16(dm),
            m: s.high_f16(dm),
            scales: [s.and(a, six), s.or(nibble(c), top(a))],
            mins: [s.and(b, six), s.or(nibble(s.shr(c, 4)), top(b))],
        }
    }

    /// Scale and minimum of group `g`.
    #[inline(always)]
    fn group(&self, s: S, g: usize) -> ([S::F; 2], [S::F; 2]) {
        let take = |v: &[S::V; 2]| s.to_f(byte(s, v[g / 4], g as u32 % 4));
        let scale = s.mul(self.d, take(&self.scales));
        let min = s.mul(self.m, take(&self.mins));
        ([scale; 2], [min; 2])
    }
}

/// `q` and some bits of `more` together: those of `mask`, once they have been
/// moved from bit `from` to bit `to` of every byte.
#[inline(always)]
fn with_bits<S: Simd>(s: S, q: [S::V; 8], more: [S::V; 8], (from, to): (u32, u32), mask: u8) -> [S::V; 8] {
    let mask = s.splat_u8(mask);
    let more = more.map_inline(|v| {
        let moved = if from > to { s.shr(v, from - to) } else { s.shl(v, to - from) };
        s.and(moved, mask)
    });
    let mut both = q;
    for i in 0..8 {
        both[i] = s.or(q[i], more[i]);
    }
    both
}

/// Two neighboring bits of every byte, from bit `from` on.
#[inline(always)]
fn two_bits<S: Simd>(s: S, v: [S::V; 8], from: u32) -> [S::V; 8] {
    v.map_inline(|v| s.and(s.shr(v, from), s.splat_u8(3)))
}

// Groups are unpacked in straight code, and what two of them share is read twice:
// in a loop the arrays would end up in memory.

impl Block for Q4K {
    type Kind = Affine;
    const BYTES: usize = 144;
    const GROUPS: usize = 8;

    #[inline(always)]
    unsafe fn unpack<S: Simd>(s: S, tile: impl Tile, sink: &mut impl Sink<S>) {
        // SAFETY: offsets below 144.
        let bits = unsafe { SixBits::read(s, tile) };
        unrolled!(G in [0, 1, 2, 3, 4, 5, 6, 7] {
            // SAFETY: as above.
            let packed = unsafe { words8(s, tile, 16 + 32 * (G / 2)) };
            let (scale, min) = bits.group(s, G);
            sink.put(Group { q: nibbles(s, packed, 4 * (G as u32 % 2)), scale, min });
        });
    }
}

impl Columnar for Q4K {
    const HEADER: usize = 16;
    const APART: usize = 32;

    #[inline(always)]
    unsafe fn scales<S: Simd>(s: S, tile: impl Tile) -> [(S::F, S::F); 8] {
        // SAFETY: offsets below 16.
        let bits = unsafe { SixBits::read(s, tile) };
        let mut scales = [(s.splat_f(0.0), s.splat_f(0.0)); 8];
        unrolled!(G in [0, 1, 2, 3, 4, 5, 6, 7] {
            let (scale, min) = bits.group(s, G);
            scales[G] = (scale[0], min[0]);
        });
        scales
    }
}

impl Block for Q5K {
    type Kind = Affine;
    const BYTES: usize = 176;
    const GROUPS: usize = 8;

    #[inline(always)]
    unsafe fn unpack<S: Simd>(s: S, tile: impl Tile, sink: &mut impl Sink<S>) {
        // SAFETY: offsets below 176.
        let bits = unsafe { SixBits::read(s, tile) };
        unrolled!(G in [0, 1, 2, 3, 4, 5, 6, 7] {
            // SAFETY: as above.
            let (packed, high) = unsafe { (words8(s, tile, 48 + 32 * (G / 2)), words8(s, tile, 16)) };
            let q = with_bits(s, nibbles(s, packed, 4 * (G as u32 % 2)), high, (G as u32, 4), 0x10);
            let (scale, min) = bits.group(s, G);
            sink.put(Group { q, scale, min });
        });
    }
}

impl Block for Q6K {
    type Kind = CenteredHalves;
    const BYTES: usize = 210;
    const GROUPS: usize = 8;
    const OFFSET: i32 = 32;

    #[inline(always)]
    unsafe fn unpack<S: Simd>(s: S, tile: impl Tile, sink: &mut impl Sink<S>) {
        // SAFETY: offsets below 210.
        let (d, scales) = unsafe { (tile.half(s, 208), tile.words(s, 192)) };
        unrolled!(G in [0, 1, 2, 3, 4, 5, 6, 7] {
            const HALF: usize = G / 4;
            const PART: u32 = G as u32 % 4;
            // SAFETY: as above.
            let (low, high) =
                unsafe { (words8(s, tile, 64 * HALF + 32 * (G % 2)), words8(s, tile, 128 + 32 * HALF)) };
            let q = with_bits(s, nibbles(s, low, 4 * (PART / 2)), high, (2 * PART, 4), 0x30);
            let scale = |i| s.mul(d, s.to_f(signed_byte(s, scales[G / 2], 2 * (PART % 2) + i)));
            sink.put(Group { q, scale: [scale(0), scale(1)], min: [s.splat_f(0.0); 2] });
        });
    }
}

impl Block for Q3K {
    type Kind = CenteredHalves;
    const BYTES: usize = 110;
    const GROUPS: usize = 8;
    const OFFSET: i32 = 4;

    #[inline(always)]
    unsafe fn unpack<S: Simd>(s: S, tile: impl Tile, sink: &mut impl Sink<S>) {
        // SAFETY: offsets below 110.
        let d = unsafe { tile.half(s, 108) };
        // SAFETY: as above.
        let (a, b, c) = unsafe { (tile.word(s, 96), tile.word(s, 100), tile.word(s, 104)) };
        // Scales 0..4 and 4..8 in the low nibbles of `a` and `b`, 8..12 and 12..16
        // in the high ones; their top two bits in `c`, in the same order.
        let join = |low, shift| {
            let low = s.and(s.shr(low, 4 * (shift / 4)), s.splat_u8(0x0f));
            let top = s.and(s.shr(c, shift), s.splat_u8(3));
            s.or(low, s.shl(top, 4))
        };
        let scales = [join(a, 0), join(b, 2), join(a, 4), join(b, 6)];
        unrolled!(G in [0, 1, 2, 3, 4, 5, 6, 7] {
            // SAFETY: as above.
            let (packed, high) = unsafe { (words8(s, tile, 32 + 32 * (G / 4)), words8(s, tile, 0)) };
            let q = with_bits(s, two_bits(s, packed, 2 * (G as u32 % 4)), high, (G as u32, 2), 4);
            let scale = |i| {
                let bits = byte(s, scales[G / 2], 2 * (G as u32 % 2) + i);
                s.mul(d, s.to_f(s.add_i32(bits, s.splat(-32))))
            };
            sink.put(Group { q, scale: [scale(0), scale(1)], min: [s.splat_f(0.0); 2] });
        });
    }
}

impl Block for Q2K {
    type Kind = AffineHalves;
    const BYTES: usize = 84;
    const GROUPS: usize = 8;

    #[inline(always)]
    unsafe fn unpack<S: Simd>(s: S, tile: impl Tile, sink: &mut impl Sink<S>) {
        // SAFETY: offsets below 84.
        let (dm, scales) = unsafe { (tile.word(s, 80), tile.words(s, 0)) };
        let (d, m) = (s.low_f16(dm), s.high_f16(dm));
        unrolled!(G in [0, 1, 2, 3, 4, 5, 6, 7] {
            // SAFETY: as above.
            let packed = unsafe { words8(s, tile, 16 + 32 * (G / 4)) };
            let bits = |i, shift| {
                s.and(s.shr(scales[G / 2], 8 * (2 * (G as u32 % 2) + i) + shift), s.splat(15))
            };
            let scale = |i| s.mul(d, s.to_f(bits(i, 0)));
            let min = |i| s.mul(m, s.to_f(bits(i, 4)));
            sink.put(Group {
                q: two_bits(s, packed, 2 * (G as u32 % 4)),
                scale: [scale(0), scale(1)],
                min: [min(0), min(1)],
            });
        });
    }
}
