//! The types with blocks of 256 values, whose scales are themselves quantized.

use super::{
    Affine, AffineHalves, Block, CenteredHalves, Group, Sink, bit_field, byte, words8, nibbles, signed_byte,
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

impl Block for Q4K {
    type Kind = Affine;
    const BYTES: usize = 144;
    const GROUPS: usize = 8;

    #[inline(always)]
    unsafe fn unpack<S: Simd>(s: S, tile: impl Tile, sink: &mut impl Sink<S>) {
        // SAFETY: offsets below 144.
        let bits = unsafe { SixBits::read(s, tile) };
        for pair in 0..4 {
            // SAFETY: as above.
            let packed = unsafe { words8(s, tile, 16 + 32 * pair) };
            let (scale, min) = bits.group(s, 2 * pair);
            sink.put(Group { q: nibbles(s, packed, 0), scale, min });
            let (scale, min) = bits.group(s, 2 * pair + 1);
            sink.put(Group { q: nibbles(s, packed, 4), scale, min });
        }
    }
}

impl Block for Q5K {
    type Kind = Affine;
    const BYTES: usize = 176;
    const GROUPS: usize = 8;

    #[inline(always)]
    unsafe fn unpack<S: Simd>(s: S, tile: impl Tile, sink: &mut impl Sink<S>) {
        // SAFETY: offsets below 176.
        let (bits, mut high) = unsafe { (SixBits::read(s, tile), words8(s, tile, 16)) };
        for pair in 0..4 {
            // SAFETY: as above.
            let packed = unsafe { words8(s, tile, 48 + 32 * pair) };
            for half in 0..2 {
                let mut q = nibbles(s, packed, 4 * half as u32);
                for (q, high) in q.iter_mut().zip(&mut high) {
                    *q = s.or(*q, s.shl(s.and(*high, s.splat_u8(1)), 4));
                    *high = s.shr(*high, 1);
                }
                let (scale, min) = bits.group(s, 2 * pair + half);
                sink.put(Group { q, scale, min });
            }
        }
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
        for half in 0..2 {
            // SAFETY: as above.
            let (low, mut high) = unsafe {
                let low = 64 * half;
                ([words8(s, tile, low), words8(s, tile, low + 32)], words8(s, tile, 128 + 32 * half))
            };
            for g in 0..4 {
                let mut q = nibbles(s, low[g % 2], 4 * (g as u32 / 2));
                for (q, high) in q.iter_mut().zip(&mut high) {
                    *q = s.or(*q, s.shl(s.and(*high, s.splat_u8(3)), 4));
                    *high = s.shr(*high, 2);
                }
                let word = scales[2 * half + g / 2];
                let scale = |i| s.mul(d, s.to_f(signed_byte(s, word, 2 * (g as u32 % 2) + i)));
                sink.put(Group { q, scale: [scale(0), scale(1)], min: [s.splat_f(0.0); 2] });
            }
        }
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
        let (d, mut high) = unsafe { (tile.half(s, 108), words8(s, tile, 0)) };
        // SAFETY: as above.
        let (a, b, c) = unsafe { (tile.word(s, 96), tile.word(s, 100), tile.word(s, 104)) };
        // Scales 0..4 and 4..8 in the low nibbles of `a` and `b`, 8..12 and 12..16
        // in the high ones; their top two bits in `c`, in the same order.
        let join = |low, shift| {
            let [low, top] = [bit_field(s, [low], 4 * (shift / 4), 0x0f)[0], bit_field(s, [c], shift, 3)[0]];
            s.or(low, s.shl(top, 4))
        };
        let scales = [join(a, 0), join(b, 2), join(a, 4), join(b, 6)];
        for half in 0..2 {
            // SAFETY: as above.
            let packed = unsafe { words8(s, tile, 32 + 32 * half) };
            for g in 0..4 {
                let mut q = bit_field(s, packed, 2 * g as u32, 3);
                for (q, high) in q.iter_mut().zip(&mut high) {
                    *q = s.or(*q, s.shl(s.and(*high, s.splat_u8(1)), 2));
                    *high = s.shr(*high, 1);
                }
                let word = scales[2 * half + g / 2];
                let scale = |i| {
                    let bits = byte(s, word, 2 * (g as u32 % 2) + i);
                    s.mul(d, s.to_f(s.add_i32(bits, s.splat(-32))))
                };
                sink.put(Group { q, scale: [scale(0), scale(1)], min: [s.splat_f(0.0); 2] });
            }
        }
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
        for half in 0..2 {
            // SAFETY: as above.
            let packed = unsafe { words8(s, tile, 16 + 32 * half) };
            for g in 0..4 {
                let word = scales[2 * half + g / 2];
                let bits = |i, shift| s.and(s.shr(word, 8 * (2 * (g as u32 % 2) + i) + shift), s.splat(15));
                let scale = |i| s.mul(d, s.to_f(bits(i, 0)));
                let min = |i| s.mul(m, s.to_f(bits(i, 4)));
                sink.put(Group {
                    q: bit_field(s, packed, 2 * g as u32, 3),
                    scale: [scale(0), scale(1)],
                    min: [min(0), min(1)],
                });
            }
        }
    }
}
