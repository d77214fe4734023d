//! Products with unquantized weights: sixteen columns at a time, four rows by
//! up to four tokens, one accumulator for each pair.

use super::Matrix;
use crate::isa::Enabled;
use crate::shared::Out;
use crate::simd::{Kernel, LANES, Simd};
use crate::vector::load_part;
use std::marker::PhantomData;
use std::ops::Range;

/// Rows and tokens of a tile.
const TILE: usize = 4;
/// Tokens that are multiplied with all rows before the next.
const TOKENS: usize = 64;

/// An unquantized element type.
pub(crate) trait Float: 'static {
    /// Bytes of a value.
    const BYTES: usize;
    /// Sixteen values at any address.
    ///
    /// # Safety
    /// `16 * BYTES` bytes can be read.
    unsafe fn read<S: Simd>(s: S, p: *const u8) -> S::F;
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
    unsafe fn read<S: Simd>(s: S, p: *const u8) -> S::F {
        // SAFETY: by the caller's promise; bytes need no alignment.
        s.as_floats(s.load(unsafe { &*p.cast() }))
    }
}

impl Float for F16 {
    const BYTES: usize = 2;
    #[inline(always)]
    unsafe fn read<S: Simd>(s: S, p: *const u8) -> S::F {
        // SAFETY: by the caller's promise.
        unsafe { s.read_f16(p) }
    }
}

impl Float for Bf16 {
    const BYTES: usize = 2;
    #[inline(always)]
    unsafe fn read<S: Simd>(s: S, p: *const u8) -> S::F {
        // SAFETY: by the caller's promise.
        s.as_floats(s.shl(unsafe { s.read_u16(p) }, 16))
    }
}

/// `rows` of a matrix times all tokens of `x` `[T, C]`, into the same columns of
/// `out`.
///
/// # Safety
/// Nobody else uses these columns of `out`.
pub(super) unsafe fn dense<W: Float>(isa: Enabled, m: Matrix, rows: Range<usize>, x: &[f32], out: Out) {
    isa.run(Product::<W> { m, rows, x, out, element: PhantomData });
}

/// Whoever makes one promises that nobody else uses the columns of the output.
struct Product<'a, W> {
    m: Matrix<'a>,
    rows: Range<usize>,
    x: &'a [f32],
    out: Out,
    element: PhantomData<W>,
}

impl<W: Float> Kernel for Product<'_, W> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let tokens = self.x.len() / self.m.cols;
        // Some tokens at a time, so that they stay in the second-level cache.
        for first in (0..tokens).step_by(TOKENS) {
            let end = tokens.min(first + TOKENS);
            let mut r = self.rows.start;
            while r < self.rows.end {
                let height = if self.rows.end - r >= TILE { TILE } else { 1 };
                let mut t = first;
                while t < end {
                    let width = if end - t >= TILE { TILE } else { 1 };
                    match (height, width) {
                        (TILE, TILE) => self.tile::<S, TILE, TILE>(s, r, t),
                        (TILE, _) => self.tile::<S, TILE, 1>(s, r, t),
                        (_, TILE) => self.tile::<S, 1, TILE>(s, r, t),
                        _ => self.tile::<S, 1, 1>(s, r, t),
                    }
                    t += width;
                }
                r += height;
            }
        }
    }
}

impl<W: Float> Product<'_, W> {
    #[inline(always)]
    fn tile<S: Simd, const R: usize, const T: usize>(&self, s: S, r: usize, t: usize) {
        let cols = self.m.cols;
        let mut rows = [&self.m.bytes[..0]; R];
        let mut xs = [&self.x[..0]; T];
        for (i, row) in rows.iter_mut().enumerate() {
            *row = &self.m.bytes[(r + i) * cols * W::BYTES..][..cols * W::BYTES];
        }
        for (i, x) in xs.iter_mut().enumerate() {
            *x = &self.x[(t + i) * cols..][..cols];
        }
        let mut sums = [[s.splat_f(0.0); T]; R];
        let whole = cols / LANES;
        for c in 0..whole {
            let mut w = [s.splat_f(0.0); R];
            for (w, row) in w.iter_mut().zip(rows) {
                // SAFETY: column `c * LANES` and the fifteen after it are in the row.
                *w = unsafe { W::read(s, row.as_ptr().add(c * LANES * W::BYTES)) };
            }
            for (j, x) in xs.iter().enumerate() {
                // SAFETY: as above; a float slice is aligned for floats.
                let x = s.load_f(unsafe { &*x.as_ptr().add(c * LANES).cast() });
                for i in 0..R {
                    sums[i][j] = s.fma(w[i], x, sums[i][j]);
                }
            }
        }
        if whole * LANES < cols {
            let mut w = [s.splat_f(0.0); R];
            for (w, row) in w.iter_mut().zip(rows) {
                let mut bytes = [0; 4 * LANES];
                let rest = &row[whole * LANES * W::BYTES..];
                bytes[..rest.len()].copy_from_slice(rest);
                // SAFETY: a full vector of the widest type.
                *w = unsafe { W::read(s, bytes.as_ptr()) };
            }
            for (j, x) in xs.iter().enumerate() {
                let x = load_part(s, &x[whole * LANES..]);
                for i in 0..R {
                    sums[i][j] = s.fma(w[i], x, sums[i][j]);
                }
            }
        }
        for j in 0..T {
            // SAFETY: nobody else uses the columns.
            let out = unsafe { self.out.part(t + j, r, R) };
            for i in 0..R {
                out[i] = s.sum(sums[i][j]);
            }
        }
    }
}
