//! How far apart two lists of numbers are.

/// How far two buffers are apart.
pub struct Difference {
    pub max_abs: f32,
    /// Root mean square of the difference over that of `a`.
    pub rel_rms: f64,
    pub first_bad: Option<Bad>,
}

/// Why a buffer is wrong.
#[derive(Debug, PartialEq)]
pub enum Bad {
    /// It has another length.
    Length { a: usize, b: usize },
    /// The first value that is off by more than the buffer may be as a whole.
    Value { index: usize, a: f32, b: f32 },
}

impl Difference {
    /// Of values that are right and values that are looked at. A buffer is right if the
    /// differences have at most `limit` times its root mean square.
    pub fn new(a: &[f32], b: &[f32], limit: f64) -> Self {
        if a.len() != b.len() {
            let first_bad = Some(Bad::Length { a: a.len(), b: b.len() });
            return Self { max_abs: f32::NAN, rel_rms: f64::NAN, first_bad };
        }
        let rms = |values: &mut dyn Iterator<Item = f32>| {
            (values.map(|x| f64::from(x).powi(2)).sum::<f64>() / a.len().max(1) as f64).sqrt()
        };
        let differences = || a.iter().zip(b).map(|(a, b)| (a - b).abs());
        let (scale, off) = (rms(&mut a.iter().copied()), rms(&mut differences()));
        let max_abs = differences().fold(0.0, |most: f32, d| if d > most || d.is_nan() { d } else { most });
        let is_right = off <= limit * scale && scale.is_finite(); // false for what is no number
        // Not all differences are smaller than their root mean square.
        let first = || differences().position(|d| f64::from(d) >= off * (1.0 - 1e-6) || !d.is_finite());
        let index = if is_right { None } else { first() };
        Self {
            max_abs,
            rel_rms: if off == 0.0 { 0.0 } else { off / scale },
            first_bad: index.map(|index| Bad::Value { index, a: a[index], b: b[index] }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first_bad(a: &[f32], b: &[f32], limit: f64) -> Option<usize> {
        match Difference::new(a, b, limit).first_bad {
            Some(Bad::Value { index, .. }) => Some(index),
            Some(other) => panic!("{other:?}"),
            None => None,
        }
    }

    #[test]
    fn errors_count_against_the_whole_buffer() {
        let a = [3.0, -4.0, 0.0, 5.0]; // root mean square 3.54
        assert_eq!(first_bad(&a, &a, 0.0), None);
        assert_eq!(first_bad(&[0.0; 2], &[0.0; 2], 0.0), None);
        assert_eq!(first_bad(&[0.0; 2], &[0.0, 1e-9], 0.1), Some(1));
        let b = [3.0, -4.0, 0.5, 5.0];
        let d = Difference::new(&a, &b, 0.1);
        assert_eq!((d.max_abs, d.first_bad), (0.5, None));
        assert!((d.rel_rms - 0.25 / 12.5f64.sqrt()).abs() < 1e-9, "{}", d.rel_rms);
        assert_eq!(first_bad(&a, &b, 0.07), Some(2));
        assert_eq!(first_bad(&a, &[3.1, -4.0, 0.4, 5.55], 0.01), Some(2));
        // All equally far off: the first.
        assert_eq!(first_bad(&a, &a.map(|x| x + 1.0), 0.1), Some(0));
    }

    #[test]
    fn what_is_not_a_number_is_wrong() {
        assert_eq!(first_bad(&[1.0, 2.0], &[1.0, f32::NAN], 0.1), Some(1));
        assert_eq!(first_bad(&[f32::NAN], &[f32::NAN], 0.1), Some(0));
        assert_eq!(first_bad(&[1.0, f32::INFINITY], &[1.0, 1.0], 0.1), Some(1));
        assert_eq!(first_bad(&[1.0, f32::INFINITY], &[1.0, f32::INFINITY], 0.1), Some(1));
        assert!(Difference::new(&[1.0, 2.0], &[1.0, f32::NAN], 0.1).max_abs.is_nan());
        assert_eq!(Difference::new(&[1.0], &[], 0.1).first_bad, Some(Bad::Length { a: 1, b: 0 }));
    }
}
