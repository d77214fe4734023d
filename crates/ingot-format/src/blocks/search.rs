//! Finding the scale (and the offset) that a group of values is best stored with.
//!
//! Taking the scale from the largest value alone wastes precision on one number.
//! Instead a few scales around it are tried: each fixes the integer codes, and
//! for given codes the best scale is a weighted least-squares problem with a
//! closed solution. The best of these solutions wins.
//!
//! With an offset as well, the best line through the codes has better codes, which
//! have a better line, and so on; that is worth a few rounds.
//!
//! Large weights matter more to a model than small ones, so an error counts with
//! the size of the value, plus the typical size in the group, so that no error
//! counts nothing.

/// Groups whose values are all smaller than this are stored as zeros: they
/// underflow the half-precision scale anyway.
const NEGLIGIBLE: f32 = 1e-12;

/// How far, in codes, the largest value is moved from the end of the range.
fn shifts() -> impl Iterator<Item = f32> {
    (-5..=5).map(|step| 0.2 * step as f32)
}

/// How often codes and scale are fitted to each other after the search.
const ROUNDS: usize = 3;

/// `value` as the nearest integer code in `lo..=hi`. Adding and subtracting
/// 1.5 * 2^23 rounds; it is several times faster than `round` on baseline x86.
#[inline(always)]
pub(super) fn nearest(value: f32, lo: f32, hi: f32) -> f32 {
    const MAGIC: f32 = 12_582_912.0;
    (value.clamp(lo, hi) + MAGIC) - MAGIC
}

/// `value / scale`, and 0 if the scale is 0.
pub(super) fn ratio(value: f32, scale: f32) -> f32 {
    // A tiny scale makes this infinite, which the range of the codes bounds.
    if scale == 0.0 { 0.0 } else { value / scale }
}

/// The value of the largest magnitude, with its sign.
pub(super) fn largest(x: &[f32]) -> f32 {
    x.iter().fold(0.0, |max: f32, &v| if v.abs() > max.abs() { v } else { max })
}

/// The scalar product, summed in 8 lanes so that it compiles to vector code.
#[inline(always)]
fn dot<const N: usize>(a: &[f32; N], b: &[f32; N]) -> f32 {
    let mut lanes = [0.0; 8];
    for (a, b) in a.as_chunks::<8>().0.iter().zip(b.as_chunks::<8>().0) {
        for i in 0..8 {
            lanes[i] += a[i] * b[i];
        }
    }
    lanes.iter().sum()
}

fn product<const N: usize>(a: &[f32; N], b: &[f32; N]) -> [f32; N] {
    let mut product = [0.0; N];
    for i in 0..N {
        product[i] = a[i] * b[i];
    }
    product
}

/// `array::map` is left as calls for each value.
#[inline(always)]
fn map<const N: usize>(x: &[f32; N], f: impl Fn(f32) -> f32) -> [f32; N] {
    let mut mapped = [0.0; N];
    for i in 0..N {
        mapped[i] = f(x[i]);
    }
    mapped
}

/// How much an error in each value counts. `importance` is what the values are
/// multiplied with in the model, squared, as far as somebody has measured it.
fn weights<const N: usize>(x: &[f32; N], importance: Option<&[f32; N]>) -> [f32; N] {
    let rms = (dot(x, x) / N as f32).sqrt();
    let weights = map(x, |v| rms + v.abs());
    importance.map_or(weights, |importance| product(&weights, importance))
}

/// The best `d` for `x ≈ d * snap(x / d)`. `snap` gives the nearest number that a
/// code can stand for, and `end` is the one that the largest value is moved
/// around, by up to `width`.
pub(super) fn scale<const N: usize>(
    x: &[f32; N],
    importance: Option<&[f32; N]>,
    end: f32,
    width: f32,
    snap: impl Fn(f32) -> f32,
) -> f32 {
    let largest = largest(x);
    if largest.abs() < NEGLIGIBLE {
        return 0.0;
    }
    let y = map(x, |v| v / largest); // so that no sum overflows
    let w = weights(&y, importance);
    let (mut best, mut best_gain) = (0.0, 0.0);
    for shift in shifts() {
        let inverse = end + shift * width;
        let q = map(&y, |v| snap(v * inverse));
        let wq = product(&w, &q);
        let (yq, qq) = (dot(&wq, &y), dot(&wq, &q));
        // The squared error is sum(w y²) - yq² / qq at d = yq / qq.
        if qq > 0.0 && yq * yq > best_gain * qq {
            best_gain = yq * yq / qq;
            best = yq / qq;
        }
    }
    best * largest
}

/// The best scale for codes that are the integers `lo..=-lo - 1`.
pub(super) fn symmetric<const N: usize>(x: &[f32; N], importance: Option<&[f32; N]>, lo: f32) -> f32 {
    scale(x, importance, lo, 1.0, |v| nearest(v, lo, -lo - 1.0))
}

/// The best `(d, m)` for `x ≈ d * q + m` with integer codes `q` in `0..=max`, where
/// `d >= 0` and `m <= ceiling`.
pub(super) fn affine<const N: usize>(
    x: &[f32; N],
    importance: Option<&[f32; N]>,
    max: f32,
    ceiling: f32,
) -> (f32, f32) {
    let lo = x.iter().copied().fold(ceiling, f32::min);
    let span = x.iter().copied().fold(lo, f32::max) - lo;
    if span < NEGLIGIBLE {
        return (0.0, lo);
    }
    // Measured from `lo`, so that a large common offset costs no precision.
    let y = map(x, |v| (v - lo) / span);
    let w = weights(&map(x, |v| v / span), importance);
    let wy = product(&w, &y);
    let (sum_w, sum_y, sum_yy) = (sum(&w), sum(&wy), f64::from(dot(&wy, &y)));
    let ceiling = f64::from((ceiling - lo) / span);
    let mut best = Line { d: 1.0 / f64::from(max), m: 0.0, error: f64::INFINITY };
    // The best line through the codes that a line gives.
    let fit = |inverse: f32, offset: f32| {
        let q = map(&y, |v| nearest((v - offset) * inverse, 0.0, max));
        let wq = product(&w, &q);
        let (sum_q, sum_yq, sum_qq) = (sum(&wq), f64::from(dot(&wq, &y)), f64::from(dot(&wq, &q)));

        // The normal equations of least squares, first without the bound on `m`.
        let determinant = sum_w * sum_qq - sum_q * sum_q;
        let mut d = (sum_w * sum_yq - sum_y * sum_q) / determinant;
        let mut m = (sum_qq * sum_y - sum_q * sum_yq) / determinant;
        if m > ceiling {
            (d, m) = ((sum_yq - ceiling * sum_q) / sum_qq, ceiling);
        }
        let error =
            sum_yy + d * (d * sum_qq - 2.0 * sum_yq) + m * (m * sum_w - 2.0 * sum_y + 2.0 * d * sum_q);
        Line { d, m, error }
    };
    for shift in shifts() {
        best.replace(fit(max + shift, 0.0));
    }
    for _ in 0..ROUNDS {
        best.replace(fit((1.0 / best.d) as f32, best.m as f32));
    }
    ((best.d * f64::from(span)) as f32, lo + (best.m * f64::from(span)) as f32)
}

/// A line through the values of a group, and the weighted square of its error.
#[derive(Clone, Copy)]
struct Line {
    d: f64,
    m: f64,
    error: f64,
}

impl Line {
    fn replace(&mut self, other: Self) {
        if other.d > 0.0 && other.error < self.error {
            *self = other;
        }
    }
}

/// The least-squares problem `x ≈ d (s q) + m t` for the `d` and `m` of a whole
/// superblock: `q` are codes, `s` and `t` the integers of a group.
#[derive(Default)]
pub(super) struct Plane {
    /// Of the products of `s q`, `t` and `x`, weighted.
    uu: f64,
    ut: f64,
    tt: f64,
    ux: f64,
    tx: f64,
}

impl Plane {
    /// Adds a group. Its values are below 1e9, so that no sum overflows.
    pub(super) fn add<const N: usize>(
        &mut self,
        x: &[f32; N],
        q: &[f32; N],
        importance: Option<&[f32; N]>,
        [s, t]: [f32; 2],
    ) {
        let w = weights(x, importance);
        let (wq, wx) = (product(&w, q), product(&w, x));
        let (s, t) = (f64::from(s), f64::from(t));
        self.uu += s * s * f64::from(dot(&wq, q));
        self.ut += s * t * sum(&wq);
        self.tt += t * t * sum(&w);
        self.ux += s * f64::from(dot(&wq, x));
        self.tx += t * sum(&wx);
    }

    /// `d` and `m`, if the groups determine both.
    pub(super) fn solve(&self) -> Option<(f32, f32)> {
        let determinant = self.uu * self.tt - self.ut * self.ut;
        // Codes that are all alike leave it open which of the two they are to come from.
        (determinant > 1e-6 * self.uu * self.tt).then(|| {
            let d = (self.ux * self.tt - self.tx * self.ut) / determinant;
            let m = (self.tx * self.uu - self.ux * self.ut) / determinant;
            (d as f32, m as f32)
        })
    }
}

fn sum<const N: usize>(x: &[f32; N]) -> f64 {
    f64::from(dot(x, &[1.0; N]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_grids_are_found() {
        let near = |got: (f32, f32), wanted: (f32, f32)| {
            let close = |a: f32, b: f32| (a - b).abs() <= 1e-6 * b.abs();
            assert!(close(got.0, wanted.0) && close(got.1, wanted.1), "{got:?}, not {wanted:?}");
        };
        let codes: [f32; 32] = std::array::from_fn(|i| (i % 16) as f32);
        let x = codes.map(|q| 0.25 * (q - 8.0));
        near((symmetric(&x, None, -8.0), 0.0), (0.25, 0.0));
        near(affine(&x, None, 15.0, 0.0), (0.25, -2.0));
        // All values positive: an offset that must not be above 0 stays there.
        let x = codes.map(|q| 0.25 * q + 1000.0);
        near(affine(&x, None, 15.0, f32::INFINITY), (0.25, 1000.0));
        assert_eq!(affine(&x, None, 15.0, 0.0).1, 0.0);
    }

    #[test]
    fn planes_are_found() {
        let (d, m) = (0.25f32, -3.0f32);
        let mut sums = Plane::default();
        for (s, t) in [(3.0, 1.0), (7.0, 5.0)] {
            let q: [f32; 16] = std::array::from_fn(|i| (i * 5 % 8) as f32);
            sums.add(&q.map(|q| d * s * q + m * t), &q, None, [s, t]);
        }
        let (found, offset) = sums.solve().unwrap();
        assert!((found - d).abs() < 1e-5 && (offset - m).abs() < 1e-5, "{found} {offset}");
        assert_eq!(Plane::default().solve(), None);
    }

    #[test]
    fn better_than_the_largest_value_alone() {
        let x: [f32; 32] = std::array::from_fn(|i| (i as f32 * 1.7).sin() * (1.0 + (i % 5) as f32));
        let error = |d: f32| -> f32 {
            x.iter().map(|v| (d * nearest(v / d, -8.0, 7.0) - v).powi(2) * (1.0 + v.abs())).sum()
        };
        assert!(error(symmetric(&x, None, -8.0)) < error(largest(&x) / -8.0));
    }

    #[test]
    fn nearest_rounds_and_clamps() {
        assert_eq!([0.4, 0.6, -0.6, 99.0, -99.0].map(|v| nearest(v, -8.0, 7.0)), [0.0, 1.0, -1.0, 7.0, -8.0]);
    }
}
