//! The types whose nibbles are indices of a table of small integers.

use super::{Block, Group, Signed, Sink, join, nibbles, unrolled};
use crate::simd::{Simd, Tile};

/// `f16 d; u4 q[32]`: d TABLE\[q]
pub(crate) struct Iq4Nl;
/// `f16 d; u16 high; u4 low[8]; u4 q[256]`: d (scale - 32) TABLE\[q]
pub(crate) struct Iq4Xs;
/// `u8 e; u4 q[32]`: 2^(e - 128) FP4\[q]
pub(crate) struct Mxfp4;

const NONLINEAR: [u8; 16] = bytes([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113]);
/// Twice the values of a 4-bit float with two exponent bits and one of mantissa.
const FP4: [u8; 16] = bytes([0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12]);

const fn bytes(values: [i8; 16]) -> [u8; 16] {
    let mut bytes = [0; 16];
    let mut i = 0;
    while i < 16 {
        bytes[i] = values[i] as u8;
        i += 1;
    }
    bytes
}

/// Columns 0..16 from the low and 16..32 from the high nibbles at `offset`.
///
/// # Safety
/// Sixteen bytes at `offset` are inside the rows.
#[inline(always)]
unsafe fn look_up<S: Simd>(s: S, tile: impl Tile, offset: usize, table: &[u8; 16]) -> [S::V; 8] {
    // SAFETY: by the caller's promise.
    let packed = unsafe { tile.words(s, offset) };
    let mut q = join(nibbles(s, packed, 0), nibbles(s, packed, 4));
    for q in &mut q {
        *q = s.signed(s.lookup(table, *q));
    }
    q
}

impl Block for Iq4Nl {
    type Kind = Signed;
    const BYTES: usize = 18;
    const HEAD: usize = 2;
    const GROUPS: usize = 1;

    #[inline(always)]
    unsafe fn unpack<S: Simd>(s: S, tile: impl Tile, sink: &mut impl Sink<S>) {
        // SAFETY: offsets below 18.
        let (d, q) = unsafe { (tile.half(s, 0), look_up(s, tile, 2, &NONLINEAR)) };
        sink.put(Group { q, scale: [d; 2], min: [s.splat_f(0.0); 2] });
    }
}

impl Block for Mxfp4 {
    type Kind = Signed;
    const BYTES: usize = 17;
    const HEAD: usize = 1;
    const GROUPS: usize = 1;

    #[inline(always)]
    unsafe fn unpack<S: Simd>(s: S, tile: impl Tile, sink: &mut impl Sink<S>) {
        // SAFETY: offsets below 17.
        let (e, q) = unsafe { (tile.byte(s, 0), look_up(s, tile, 1, &FP4)) };
        // 2^(e - 128) has the exponent field e - 1; the two smallest are subnormal.
        let normal = s.shl(s.add_i32(e, s.splat(-1)), 23);
        let subnormal = s.shl(s.add_i32(s.min_i32(e, s.splat(1)), s.splat(1)), 21);
        let scale = s.as_floats(s.max_i32(normal, subnormal));
        sink.put(Group { q, scale: [scale; 2], min: [s.splat_f(0.0); 2] });
    }
}

impl Block for Iq4Xs {
    type Kind = Signed;
    const BYTES: usize = 136;
    const GROUPS: usize = 8;

    #[inline(always)]
    unsafe fn unpack<S: Simd>(s: S, tile: impl Tile, sink: &mut impl Sink<S>) {
        // SAFETY: offsets below 136.
        let (head, low) = unsafe { (tile.word(s, 0), tile.word(s, 4)) };
        let d = s.low_f16(head);
        unrolled!(G in [0, 1, 2, 3, 4, 5, 6, 7] {
            let (low, high) = (s.shr(low, 4 * G as u32), s.shr(head, 16 + 2 * G as u32));
            let bits = s.or(s.and(low, s.splat(15)), s.shl(s.and(high, s.splat(3)), 4));
            let scale = s.mul(d, s.to_f(s.add_i32(bits, s.splat(-32))));
            // SAFETY: as above.
            let q = unsafe { look_up(s, tile, 8 + 16 * G, &NONLINEAR) };
            sink.put(Group { q, scale: [scale; 2], min: [s.splat_f(0.0); 2] });
        });
    }
}
