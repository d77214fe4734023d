//! `exp` and `ln` from IEEE additions, multiplications and divisions only.
//!
//! The system's versions may differ in the last bit from one platform to the next, which sooner or later
//! moves a draw across the border between two tokens. These give the same bits everywhere.

use std::f64::consts::{LN_2, LOG2_E, SQRT_2};

/// e^x for `x <= 0`, with a relative error below 1e-15 + 1.5e-16 |x|. Zero below -708, where the result would
/// leave the normal numbers.
pub(super) fn exp(x: f64) -> f64 {
    /// Added to a number this rounds it to an integer and leaves that integer in the low bits.
    const SHIFT: f64 = 1.5 * (1u64 << 52) as f64;
    /// 1 / k!
    const TAYLOR: [f64; 13] = {
        let mut terms = [1.0; 13];
        let mut k = 1;
        while k < terms.len() {
            terms[k] = terms[k - 1] / k as f64;
            k += 1;
        }
        terms
    };
    debug_assert!(x <= 0.0, "exp({x}) is outside the range of this version");
    // e^x = 2^n e^r with |r| <= ln(2) / 2. Rounding n ln(2) costs 2^-53 |x| and the constant's own error
    // 2.4e-17 n, far less than the logits' own precision, so ln(2) is not split in two as a libm would.
    let shifted = x * LOG2_E + SHIFT;
    let r = x - (shifted - SHIFT) * LN_2;
    let power = f64::from_bits((shifted.to_bits() << 52).wrapping_add(1f64.to_bits()));
    let result = TAYLOR.iter().rev().fold(0.0, |sum, term| sum * r + term) * power;
    // Selected at the end, not branched on at the start, so that loops over `exp` become vector code.
    if x < -708.0 { 0.0 } else { result }
}

/// The natural logarithm of a positive normal number; error below 1e-15 of the result or 1e-16.
pub(super) fn ln(x: f64) -> f64 {
    const MANTISSA: u64 = (1 << 52) - 1;
    debug_assert!(x.is_normal() && x > 0.0, "ln({x}) is outside the range of this version");
    // x = 2^n m with m in [sqrt(1/2), sqrt(2)); ln(m) = 2 artanh(s), s = (m - 1) / (m + 1), |s| < 0.172.
    let mut n = (x.to_bits() >> 52) as f64 - 1023.0;
    let mut m = f64::from_bits(x.to_bits() & MANTISSA | 1f64.to_bits());
    if m >= SQRT_2 {
        m /= 2.0;
        n += 1.0;
    }
    let s = (m - 1.0) / (m + 1.0);
    let series = (0..11).rev().fold(0.0, |sum, k| sum * (s * s) + 1.0 / f64::from(2 * k + 1));
    n * LN_2 + 2.0 * s * series
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_agrees_with_the_standard_library() {
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(-1e9), 0.0);
        assert_eq!(exp(f64::NEG_INFINITY), 0.0);
        for i in 0..70_000 {
            let x = -f64::from(i) * 0.01;
            let limit = 1e-15 + 1.5e-16 * -x;
            assert!((exp(x) / x.exp() - 1.0).abs() < limit, "exp({x}) = {:e}, not {:e}", exp(x), x.exp());
        }
    }

    #[test]
    fn ln_agrees_with_the_standard_library() {
        assert_eq!(ln(1.0), 0.0);
        assert_eq!(ln(8.0), 3.0 * LN_2);
        let mut x = f64::MIN_POSITIVE;
        while x < 1e300 {
            assert!(
                (ln(x) - x.ln()).abs() <= 1e-15 * x.ln().abs() + 1e-16,
                "ln({x:e}) = {}, not {}",
                ln(x),
                x.ln()
            );
            x *= 1.013;
        }
    }
}
