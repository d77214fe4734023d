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
        let (a, sum_a) = round(s, a, inverse);
        let (b, sum_b) = round(s, b, inverse);
        let (words_a, words_b) = (a.as_chunks::<4>().0, b.as_chunks::<4>().0);
        for i in 0..4 {
            out.q[i] = i32::from_le_bytes(words_a[i].map(|b| b as u8));
            out.q[i + 4] = i32::from_le_bytes(words_b[i].map(|b| b as u8));
        }
        (out.scale, out.half_sums, out.total) = (scale, [sum_a, sum_b], scale * (sum_a + sum_b) as f32);
    }
}

#[inline(always)]
fn round<S: Simd>(s: S, x: S::F, inverse: f32) -> ([i8; LANES], i32) {
    let q = s.to_i32(s.mul(x, s.splat_f(inverse)));
    let mut bytes = [0; LANES];
    s.store_low_bytes(q, &mut bytes);
    // Exact: integers far below 2^24.
    (bytes, s.sum(s.to_f(q)) as i32)
}
