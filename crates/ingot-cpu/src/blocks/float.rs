//! The types without blocks.

use crate::simd::{Packed, Simd, Tile};

/// An unquantized type.
pub(crate) trait Float: 'static {
    /// Bytes of a value.
    const BYTES: usize;
    /// The first value of each row.
    ///
    /// # Safety
    /// The rows are not at their end.
    unsafe fn read<S: Simd>(s: S, tile: Packed) -> S::F;
    /// The values in a word, as many as `4 / BYTES`, then zeros.
    fn of_word<S: Simd>(s: S, word: S::V) -> [S::F; 2];
}

/// `f32`
pub(crate) struct F32;
/// IEEE half precision
pub(crate) struct F16;
/// The upper half of `f32`
pub(crate) struct Bf16;

impl Float for F32 {
    const BYTES: usize = 4;
    #[inline(always)]
    unsafe fn read<S: Simd>(s: S, tile: Packed) -> S::F {
        // SAFETY: by the caller's promise.
        unsafe { s.as_floats(tile.word(s, 0)) }
    }
    #[inline(always)]
    fn of_word<S: Simd>(s: S, word: S::V) -> [S::F; 2] {
        [s.as_floats(word), s.splat_f(0.0)]
    }
}

impl Float for F16 {
    const BYTES: usize = 2;
    #[inline(always)]
    unsafe fn read<S: Simd>(s: S, tile: Packed) -> S::F {
        // SAFETY: by the caller's promise.
        unsafe { s.read_f16(tile.first()) }
    }
    #[inline(always)]
    fn of_word<S: Simd>(s: S, word: S::V) -> [S::F; 2] {
        [s.low_f16(word), s.high_f16(word)]
    }
}

impl Float for Bf16 {
    const BYTES: usize = 2;
    #[inline(always)]
    unsafe fn read<S: Simd>(s: S, tile: Packed) -> S::F {
        // SAFETY: by the caller's promise; sixteen values.
        let bits = unsafe { s.read_u16(tile.first()) };
        s.as_floats(s.shl(bits, 16))
    }
    #[inline(always)]
    fn of_word<S: Simd>(s: S, word: S::V) -> [S::F; 2] {
        [s.as_floats(s.shl(word, 16)), s.as_floats(s.shl(s.shr(word, 16), 16))]
    }
}
