//! How far two lists of logits are apart.

/// The difference of two lists of values.
#[derive(Clone, Copy, Debug)]
pub struct Difference {
    /// Largest absolute difference.
    pub max_abs: f32,
    /// Root mean square of the difference over the standard deviation of what
    /// is expected.
    pub rel_rms: f64,
}

/// Compares `got` with `expected`.
///
/// # Panics
/// If the lengths differ or a value is not finite.
pub fn compare(got: &[f32], expected: &[f32]) -> Difference {
    assert_eq!(got.len(), expected.len(), "number of values");
    assert!(got.iter().all(|x| x.is_finite()), "a value is not finite");
    let n = expected.len() as f64;
    let mean = expected.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
    let var = expected.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / n;
    let differences = || got.iter().zip(expected).map(|(a, b)| a - b);
    let square = differences().map(|d| f64::from(d).powi(2)).sum::<f64>() / n;
    Difference { max_abs: differences().fold(0.0, |m, d| m.max(d.abs())), rel_rms: (square / var).sqrt() }
}
