//! The types with one scale for 32 values.

use super::{Affine, Block, Centered, Columnar, Group, Kind, Signed, Sink, join, nibbles, words8};
use crate::simd::{Simd, Tile};

/// `f16 d; i8 q[32]`: d q
pub(crate) struct Q8_0;
/// `f16 d; u4 q[32]`: d (q - 8)
pub(crate) struct Q4_0;
/// `f16 d, m; u4 q[32]`: d q + m
pub(crate) struct Q4_1;
/// `f16 d; u1 high[32]; u4 q[32]`: d (q - 16)
pub(crate) struct Q5_0;
/// `f16 d, m; u1 high[32]; u4 q[32]`: d q + m
pub(crate) struct Q5_1;

impl Block for Q8_0 {
    type Kind = Signed;
    const BYTES: usize = 34;
    const HEAD: usize = 2;
    const GROUPS: usize = 1;

    #[inline(always)]
    unsafe fn unpack<S: Simd>(s: S, tile: impl Tile, sink: &mut impl Sink<S>) {
        // SAFETY: offsets below 34.
        let (d, mut q) = unsafe { (tile.half(s, 0), words8(s, tile, 2)) };
        for q in &mut q {
            *q = s.signed(*q);
        }
        let zero = s.splat_f(0.0);
        sink.put(Group { q, scale: [d; 2], min: [zero; 2] });
    }
}

macro_rules! one_scale {
    ($($name:ident: apart $apart:literal;)*) => {$(
        impl Columnar for $name {
            const HEADER: usize = 2;
            const APART: usize = $apart;

            #[inline(always)]
            unsafe fn scales<S: Simd>(s: S, tile: impl Tile) -> [(S::F, S::F); 8] {
                // SAFETY: offset 0 of 2.
                [(unsafe { tile.half(s, 0) }, s.splat_f(0.0)); 8]
            }
        }
    )*};
}

one_scale! {
    Q8_0: apart 0;
    Q4_0: apart 16;
}

/// The four types with nibbles: columns 0..16 in the low ones, 16..32 in the
/// high ones, a fifth bit apart.
macro_rules! nibble_blocks {
    ($($name:ident: $kind:ident, bytes $bytes:literal, head $head:literal, offset $offset:literal, bits $bits:expr, nibbles $q:literal;)*) => {$(
        impl Block for $name {
            type Kind = $kind;
            const BYTES: usize = $bytes;
            const GROUPS: usize = 1;
            const HEAD: usize = $head;
            const OFFSET: i32 = $offset;

            #[inline(always)]
            unsafe fn unpack<S: Simd>(s: S, tile: impl Tile, sink: &mut impl Sink<S>) {
                // SAFETY: offsets below `BYTES`.
                let packed = unsafe { tile.words(s, $q) };
                let mut q = join(nibbles(s, packed, 0), nibbles(s, packed, 4));
                let bits: Option<usize> = $bits;
                if let Some(at) = bits {
                    // SAFETY: as above.
                    add_fifth_bit(s, &mut q, unsafe { tile.word(s, at) });
                }
                let zero = s.splat_f(0.0);
                let (scale, min) = if $kind::MIN {
                    // SAFETY: as above.
                    let both = unsafe { tile.word(s, 0) };
                    (s.low_f16(both), s.sub(zero, s.high_f16(both)))
                } else {
                    // SAFETY: as above.
                    (unsafe { tile.half(s, 0) }, zero)
                };
                sink.put(Group { q, scale: [scale; 2], min: [min; 2] });
            }
        }
    )*};
}

nibble_blocks! {
    Q4_0: Centered, bytes 18, head 2, offset 8, bits None, nibbles 2;
    Q4_1: Affine, bytes 20, head 0, offset 0, bits None, nibbles 4;
    Q5_0: Centered, bytes 22, head 2, offset 16, bits Some(2), nibbles 6;
    Q5_1: Affine, bytes 24, head 0, offset 0, bits Some(4), nibbles 8;
}

/// Adds 16 to the bytes of the columns whose bit of `bits` is set.
#[inline(always)]
fn add_fifth_bit<S: Simd>(s: S, q: &mut [S::V; 8], bits: S::V) {
    let masks = [s.splat(0x0804_0201), s.splat(0x8040_2010u32 as i32)];
    for j in 0..8 {
        q[j] = s.add_where(q[j], s.spread_byte(bits, j as u32 / 2), masks[j % 2], 16);
    }
}
