//! Matrix products `y[t, r] = sum_c w[r, c] x[t, c]` with stored weights.
//!
//! A value depends only on its row of weights and its row of activations: all
//! shapes of tiles add the same products in the same order, so it makes no
//! difference to the bits how many tokens come together.

mod dense;
mod quantized;

pub(crate) use quantized::TILE;

use crate::blocks::{Iq4Nl, Iq4Xs, Mxfp4, Q2K, Q3K, Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0};
use crate::isa::Enabled;
use crate::q8::Q8;
use crate::shared::Out;
use ingot_format::DType;
use std::ops::Range;

/// A stored matrix `[R, C]`.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    /// How it is stored.
    pub(crate) dtype: DType,
    /// C
    pub(crate) cols: usize,
    /// All rows.
    pub(crate) bytes: &'a [u8],
}

/// Activations `[T, C]` in one of the forms that products take.
#[derive(Clone, Copy)]
pub(crate) enum Input<'a> {
    /// As they are; any weights.
    Floats(&'a [f32]),
    /// Rounded; quantized weights only.
    Q8(&'a [Q8]),
}

/// Evaluates an expression with a name for the type's [`crate::blocks::Block`];
/// other arms for the rest.
macro_rules! with_block {
    ($dtype:expr, $block:ident => $body:expr, $(else $other:pat => $rest:expr),*) => {
        with_block!(@ $dtype, $block, $body, [$($other => $rest),*];
            Q8_0 Q8_0, Q4_0 Q4_0, Q4_1 Q4_1, Q5_0 Q5_0, Q5_1 Q5_1, Q2_K Q2K, Q3_K Q3K, Q4_K Q4K, Q5_K Q5K,
            Q6_K Q6K, IQ4_NL Iq4Nl, IQ4_XS Iq4Xs, MXFP4 Mxfp4)
    };
    (@ $dtype:expr, $block:ident, $body:expr, [$($other:pat => $rest:expr),*]; $($name:ident $type:ident),*) => {
        match $dtype {
            $(DType::$name => { type $block = $type; $body })*
            $($other => $rest,)*
        }
    };
}

impl Matrix<'_> {
    /// `rows` of the matrix times `x`, into the same columns of `out`.
    ///
    /// # Safety
    /// Nobody else uses these columns of `out` meanwhile.
    pub(crate) unsafe fn multiply(self, isa: Enabled, rows: Range<usize>, x: Input, out: Out) {
        // SAFETY: by the caller's promise.
        unsafe {
            match x {
                Input::Q8(x) => with_block!(self.dtype,
                    B => quantized::integer::<B>(isa, self, rows, x, out),
                    else float => unreachable!("{float} weights take float activations")),
                Input::Floats(x) => with_block!(self.dtype,
                    B => quantized::float::<B>(isa, self, rows, x, out),
                    else DType::F32 => dense::dense::<dense::F32>(isa, self, rows, x, out),
                    else DType::F16 => dense::dense::<dense::F16>(isa, self, rows, x, out),
                    else _ => dense::dense::<dense::Bf16>(isa, self, rows, x, out)),
            }
        }
    }
}

#[cfg(test)]
mod tests;
