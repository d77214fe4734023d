//! Activations rounded to 8 bits, as the byte dot products take them.
//!
//! One format serves every quantized weight type: groups of 32 with an f32
//! scale, and the sums by which offsets and minima of the weights are taken
//! out.

use crate::simd::{LANES, Simd};

/// Thirty-two values of a row: `x = scale * q`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C, align(16))]
pub(crate) struct Q8 {
    /// Four signed bytes a word, in the order of memory; none is -128.
    pub(crate) q: [i32; 8],
    /// What one step is worth.
    pub(crate) scale: f32,
    /// Sums of the first and the last sixteen q.
    pub(crate) half_sums: [i32; 2],
    /// Sum of all values: `scale` times all q.
    pub(crate) total: f32,
}

impl Q8 {
    /// The first and the last sixteen values. Put together from single bytes, the
    /// words would cost more than the rounding.
    #[inline(always)]
    fn bytes(&mut self) -> [&mut [i8; LANES]; 2] {
        // SAFETY: eight words are thirty-two bytes, and any bytes are valid words.
        let bytes = unsafe { &mut *(&raw mut self.q).cast::<[[i8; LANES]; 2]>() };
        let [first, last] = bytes;
        [first, last]
    }
}

/// Below this the largest value's inverse overflows; such a group is zero.
const SMALLEST: f32 = 64.0 * f32::MIN_POSITIVE;

/// Rounds a row, half to even; `x` is 32 values for each group.
#[inline(always)]
pub(crate) fn quantize<S: Simd>(s: S, x: &[f32], out: &mut [Q8]) {
    let (halves, rest) = x.as_chunks::<LANES>();
    assert!(rest.is_empty() && halves.len() == 2 * out.len(), "a row of whole groups");
    for (x, out) in halves.as_chunks::<2>().0.iter().zip(out) {
        let [a, b] = [s.load_f(&x[0]), s.load_f(&x[1])];
        let max = s.largest(s.max(s.abs(a), s.abs(b)));
        let (scale, inverse) = if max < SMALLEST { (0.0, 0.0) } else { (max / 127.0, 127.0 / max) };
        let [a, b] = [s.to_i32(s.mul(a, s.splat_f(inverse))), s.to_i32(s.mul(b, s.splat_f(inverse)))];
        let [first, last] = out.bytes();
        s.store_low_bytes(a, first);
        s.store_low_bytes(b, last);
        // Exact: integers far below 2^24.
        let (a, b) = (s.sum(s.to_f(a)), s.sum(s.to_f(b)));
        (out.scale, out.half_sums, out.total) = (scale, [a as i32, b as i32], scale * (a + b));
    }
}
