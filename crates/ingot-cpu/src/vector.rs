//! Kernels over single rows: norms, gates, exponentials, dot products.

use crate::isa::Enabled;
use crate::simd::{Kernel, LANES, Simd};
use ingot_plan::ops::{GELU_CUBE, GELU_SLOPE};

/// Up to sixteen values, zeros after them.
#[inline(always)]
pub(crate) fn load_part<S: Simd>(s: S, x: &[f32]) -> S::F {
    let mut all = [0.0; LANES];
    all[..x.len()].copy_from_slice(x);
    s.load_f(&all)
}

/// The first lanes, as many as there is room for.
#[inline(always)]
pub(crate) fn store_part<S: Simd>(s: S, v: S::F, out: &mut [f32]) {
    let mut all = [0.0; LANES];
    s.store_f(v, &mut all);
    out.copy_from_slice(&all[..out.len()]);
}

/// `out[i] = value` of the inputs' values at `i`, which are bound as vectors to
/// the inputs' names. A macro since closures are not sure to be inlined into
/// the function that enables the instructions.
macro_rules! map_lanes {
    ($s:ident, [$($x:ident),*] => $out:expr, $value:expr) => {{
        let out: &mut [f32] = $out;
        let n = out.len();
        $(let $x: &[f32] = &$x[..n];)*
        let whole = n - n % LANES;
        for i in (0..whole).step_by(LANES) {
            let v = {
                $(let $x = $s.load_f($x[i..].first_chunk().expect("within the whole part"));)*
                $value
            };
            $s.store_f(v, out[i..].first_chunk_mut().expect("within the whole part"));
        }
        if whole < n {
            let v = {
                $(let $x = load_part($s, &$x[whole..]);)*
                $value
            };
            store_part($s, v, &mut out[whole..]);
        }
    }};
}

/// `out[i] = value` of the output's old value and the inputs' at `i`, bound as in
/// [`map_lanes`].
macro_rules! update_lanes {
    ($s:ident, $old:ident [$($x:ident),*] => $out:expr, $value:expr) => {{
        let out: &mut [f32] = $out;
        let n = out.len();
        $(let $x: &[f32] = &$x[..n];)*
        let whole = n - n % LANES;
        for i in (0..whole).step_by(LANES) {
            let out: &mut [f32; LANES] = out[i..].first_chunk_mut().expect("within the whole part");
            let $old = $s.load_f(out);
            $(let $x = $s.load_f($x[i..].first_chunk().expect("within the whole part"));)*
            $s.store_f($value, out);
        }
        if whole < n {
            let $old = load_part($s, &out[whole..]);
            $(let $x = load_part($s, &$x[whole..]);)*
            store_part($s, $value, &mut out[whole..]);
        }
    }};
}

/// Sum over all lanes of a term of the inputs, which must be zero where the
/// inputs are.
macro_rules! sum_lanes {
    ($s:ident, $sum:ident, [$first:ident $(, $x:ident)*] => $term:expr) => {{
        let n = $first.len();
        $(let $x: &[f32] = &$x[..n];)*
        let whole = n - n % LANES;
        // Four sums at a time: one would wait for itself.
        let mut sums = [$s.splat_f(0.0); 4];
        let fours = n - n % (4 * LANES);
        for i in (0..fours).step_by(4 * LANES) {
            for j in 0..4 {
                let $sum = sums[j];
                let $first = $s.load_f($first[i + j * LANES..].first_chunk().expect("within the whole part"));
                $(let $x = $s.load_f($x[i + j * LANES..].first_chunk().expect("within the whole part"));)*
                sums[j] = $term;
            }
        }
        let mut $sum = $s.add($s.add(sums[0], sums[1]), $s.add(sums[2], sums[3]));
        for i in (fours..whole).step_by(LANES) {
            let $first = $s.load_f($first[i..].first_chunk().expect("within the whole part"));
            $(let $x = $s.load_f($x[i..].first_chunk().expect("within the whole part"));)*
            $sum = $term;
        }
        if whole < n {
            let $first = load_part($s, &$first[whole..]);
            $(let $x = load_part($s, &$x[whole..]);)*
            $sum = $term;
        }
        $s.sum($sum)
    }};
}

/// Functions that run a body with an instruction set.
macro_rules! kernels {
    ($($(#[$meta:meta])* fn $name:ident($s:ident $(, $arg:ident: $ty:ty)*) $body:block)*) => {$(
        $(#[$meta])*
        #[allow(clippy::too_many_arguments)] // those of the op
        pub(crate) fn $name<'a>(isa: Enabled $(, $arg: $ty)*) {
            struct Run<'a>($($ty,)* std::marker::PhantomData<&'a ()>);
            impl<'a> Kernel for Run<'a> {
                type Output = ();
                #[inline(always)]
                fn run<S: Simd>(self, $s: S) {
                    let Self($($arg,)* _) = self;
                    $body
                }
            }
            isa.run(Run::<'a>($($arg,)* std::marker::PhantomData))
        }
    )*};
}
/// `exp(x)`, to about 1e-7 of its value; saturates below 1e-38 and above 1e38.
#[inline(always)]
pub(crate) fn exp<S: Simd>(s: S, x: S::F) -> S::F {
    let x = s.max(s.min(x, s.splat_f(88.0)), s.splat_f(-87.0));
    let n = s.to_i32(s.mul(x, s.splat_f(std::f32::consts::LOG2_E)));
    let k = s.to_f(n);
    // ln 2 in two parts, of which the first times k is exact.
    let r = s.fnma(k, s.splat_f(0.693_359_4), x);
    let r = s.fnma(k, s.splat_f(-2.121_944_4e-4), r);
    // Taylor's series: |r| <= 0.35 leaves 4e-9 after the seventh power.
    let mut p = s.splat_f(1.0 / 5040.0);
    for c in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        p = s.fma(p, r, s.splat_f(c));
    }
    s.as_floats(s.add_i32(s.bits(p), s.shl(n, 23)))
}

/// `1 / (1 + exp(-x))`
#[inline(always)]
pub(crate) fn sigmoid<S: Simd>(s: S, x: S::F) -> S::F {
    let one = s.splat_f(1.0);
    s.div(one, s.add(one, exp(s, s.sub(s.splat_f(0.0), x))))
}

/// `tanh(x)`, to about 2e-7
#[inline(always)]
pub(crate) fn tanh<S: Simd>(s: S, x: S::F) -> S::F {
    let (zero, one, sign) = (s.splat_f(0.0), s.splat_f(1.0), s.splat(i32::MIN));
    let e = exp(s, s.mul(s.abs(x), s.splat_f(-2.0)));
    let size = s.max(s.div(s.sub(one, e), s.add(one, e)), zero);
    s.as_floats(s.or(s.bits(size), s.and(s.bits(x), sign)))
}

/// `cap * tanh(x / cap)`
#[inline(always)]
pub(crate) fn soft_cap<S: Simd>(s: S, x: S::F, cap: f32) -> S::F {
    s.mul(tanh(s, s.mul(x, s.splat_f(1.0 / cap))), s.splat_f(cap))
}

/// GELU in its usual approximation, see [`ingot_plan::ops::Gate::Gelu`].
#[inline(always)]
fn gelu<S: Simd>(s: S, x: S::F) -> S::F {
    let one = s.splat_f(1.0);
    // 1 + c x^2: no cube that could overflow where the value itself does not matter any more.
    let inner = s.fma(s.mul(x, x), s.splat_f(GELU_CUBE), one);
    s.mul(x, sigmoid(s, s.mul(s.mul(x, s.splat_f(GELU_SLOPE)), inner)))
}

/// One group of a norm: `out = (x - mean) / sqrt(var + eps) * weight + bias`.
#[inline(always)]
pub(crate) fn normalize_group<S: Simd>(
    s: S,
    x: &[f32],
    weight: &[f32],
    bias: &[f32],
    eps: f32,
    out: &mut [f32],
) {
    let count = x.len() as f32;
    let mean = sum_lanes!(s, sum, [x] => s.add(sum, x)) / count;
    let mean = s.splat_f(mean);
    map_lanes!(s, [x] => &mut *out, s.sub(x, mean));
    let centered = &*out;
    let var = sum_lanes!(s, sum, [centered] => s.fma(centered, centered, sum)) / count;
    let scale = s.splat_f(1.0 / (var + eps).sqrt());
    update_lanes!(s, x [weight, bias] => out, s.fma(s.mul(x, scale), weight, bias));
}

/// `out = a * b`
#[inline(always)]
pub(crate) fn map_mul<S: Simd>(s: S, a: &[f32], b: &[f32], out: &mut [f32]) {
    map_lanes!(s, [a, b] => out, s.mul(a, b));
}

/// `out = from + (to - from) * by`
#[inline(always)]
pub(crate) fn blend_lanes<S: Simd>(s: S, from: &[f32], to: &[f32], by: &[f32], out: &mut [f32]) {
    map_lanes!(s, [from, to, by] => out, s.fma(s.sub(to, from), by, from));
}

kernels! {
    /// Rounds a row to 8 bits, see [`crate::q8`].
    fn quantize(s, x: &'a [f32], out: &'a mut [crate::q8::Q8]) { crate::q8::quantize(s, x, out) }

    /// `out = a + b`
    fn add(s, a: &'a [f32], b: &'a [f32], out: &'a mut [f32]) { map_lanes!(s, [a, b] => out, s.add(a, b)) }

    /// `out += scale * x`
    fn add_scaled(s, scale: f32, x: &'a [f32], out: &'a mut [f32]) {
        let scale = s.splat_f(scale);
        update_lanes!(s, sum [x] => out, s.fma(scale, x, sum));
    }

    /// `out = from + (to - from) * by`
    fn blend(s, from: &'a [f32], to: &'a [f32], by: &'a [f32], out: &'a mut [f32]) {
        blend_lanes(s, from, to, by, out)
    }

    /// `out = silu(gate) * up`
    fn silu_glu(s, gate: &'a [f32], up: &'a [f32], out: &'a mut [f32]) {
        map_lanes!(s, [gate, up] => out, s.mul(s.mul(gate, sigmoid(s, gate)), up))
    }

    /// `out = gelu(gate) * up`
    fn gelu_glu(s, gate: &'a [f32], up: &'a [f32], out: &'a mut [f32]) {
        map_lanes!(s, [gate, up] => out, s.mul(gelu(s, gate), up))
    }

    /// `out = cap * tanh(x / cap)`
    fn softcap(s, cap: f32, x: &'a [f32], out: &'a mut [f32]) { map_lanes!(s, [x] => out, soft_cap(s, x, cap)) }

    /// `x = scale * x`
    fn scale_in_place(s, scale: f32, x: &'a mut [f32]) {
        let scale = s.splat_f(scale);
        update_lanes!(s, v [] => x, s.mul(v, scale));
    }

    /// `gate = silu(gate) * up`
    fn silu_glu_in_place(s, up: &'a [f32], gate: &'a mut [f32]) {
        update_lanes!(s, g [up] => gate, s.mul(s.mul(g, sigmoid(s, g)), up));
    }

    /// `x = sigmoid(x)`
    fn sigmoid_in_place(s, x: &'a mut [f32]) {
        update_lanes!(s, v [] => x, sigmoid(s, v));
    }

    /// `x = tanh(x)`
    fn tanh_in_place(s, x: &'a mut [f32]) {
        update_lanes!(s, v [] => x, tanh(s, v));
    }

    /// `x = max(x, 0)^2`
    fn squared_relu_in_place(s, x: &'a mut [f32]) {
        let zero = s.splat_f(0.0);
        update_lanes!(s, v [] => x, s.mul(s.max(v, zero), s.max(v, zero)));
    }

    /// Root-mean-square norm over groups as long as the weight.
    fn rms_norm(s, x: &'a [f32], weight: &'a [f32], eps: f32, out: &'a mut [f32]) {
        for (x, out) in x.chunks_exact(weight.len()).zip(out.chunks_exact_mut(weight.len())) {
            let mean_square = sum_lanes!(s, sum, [x] => s.fma(x, x, sum)) / x.len() as f32;
            let scale = s.splat_f(1.0 / (mean_square + eps).sqrt());
            map_lanes!(s, [x, weight] => out, s.mul(x, s.mul(scale, weight)));
        }
    }

    /// Layer norm with bias in groups; weight and bias are as long as the row.
    fn layer_norm(s, x: &'a [f32], weight: &'a [f32], bias: &'a [f32], groups: usize, eps: f32, out: &'a mut [f32]) {
        let n = x.len() / groups;
        for (g, out) in out.chunks_exact_mut(n).enumerate() {
            let at = g * n..(g + 1) * n;
            normalize_group(s, &x[at.clone()], &weight[at.clone()], &bias[at], eps, out);
        }
    }

    /// Rotates the halves of the first `2 * cos.len()` values of heads of `size`.
    fn rotate_halves(s, x: &'a [f32], cos: &'a [f32], sin: &'a [f32], size: usize, out: &'a mut [f32]) {
        let half = cos.len();
        for (x, out) in x.chunks_exact(size).zip(out.chunks_exact_mut(size)) {
            let (a, b) = (&x[..half], &x[half..2 * half]);
            let (low, high) = out.split_at_mut(half);
            map_lanes!(s, [a, b, cos, sin] => low, s.fnma(b, sin, s.mul(a, cos)));
            map_lanes!(s, [a, b, cos, sin] => &mut high[..half], s.fma(a, sin, s.mul(b, cos)));
            high[half..].copy_from_slice(&x[2 * half..]);
        }
    }

    /// Rotates values 2j and 2j + 1 of the first `2 * cos.len()` values of heads of `size`.
    fn rotate_adjacent(s, x: &'a [f32], cos: &'a [f32], sin: &'a [f32], size: usize, out: &'a mut [f32]) {
        let _ = s; // the compiler turns plain pairs into vectors by itself
        for (x, out) in x.chunks_exact(size).zip(out.chunks_exact_mut(size)) {
            let (pairs, rest) = x.split_at(2 * cos.len());
            let (turned, same) = out.split_at_mut(2 * cos.len());
            same.copy_from_slice(rest);
            let (pairs, turned) = (pairs.as_chunks::<2>().0, turned.as_chunks_mut::<2>().0);
            for j in 0..cos.len().min(sin.len()).min(pairs.len()).min(turned.len()) {
                let ([a, b], c, d) = (pairs[j], cos[j], sin[j]);
                turned[j] = [a * c - b * d, a * d + b * c];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Isa;

    kernels! {
        fn exp_of(s, x: &'a [f32], out: &'a mut [f32]) { map_lanes!(s, [x] => out, exp(s, x)) }
    }

    fn isas() -> impl Iterator<Item = Enabled> {
        Isa::available().into_iter().filter_map(Enabled::new)
    }

    #[test]
    fn exponential() {
        let x: Vec<f32> = (-86_999..=87_999).map(|i| i as f32 * 1e-3).collect();
        for isa in isas() {
            let mut out = vec![0.0; x.len()];
            exp_of(isa, &x, &mut out);
            for (&x, &y) in x.iter().zip(&out) {
                let want = f64::from(x).exp();
                assert!((f64::from(y) - want).abs() < 2.5e-7 * want, "{}: exp({x}) = {y}", isa.isa());
            }
            let extremes = [f32::NEG_INFINITY, -1e30, 0.0, 1e30, f32::INFINITY];
            let mut out = [0.0; 5];
            exp_of(isa, &extremes, &mut out);
            assert!(out[0] < 1e-37 && out[1] < 1e-37 && out[2] == 1.0 && out[3] > 1e38 && out[4].is_finite());
        }
    }

    #[test]
    fn hyperbolic_tangent() {
        let x: Vec<f32> = (-4000..=4000)
            .map(|i| i as f32 * 5e-3)
            .chain([-0.0, 1e-9, f32::MAX, f32::NEG_INFINITY])
            .collect();
        for isa in isas() {
            let mut y = x.clone();
            tanh_in_place(isa, &mut y);
            for (x, y) in x.iter().zip(y) {
                assert!((f64::from(*x).tanh() - f64::from(y)).abs() < 2e-7, "{}: tanh({x}) = {y}", isa.isa());
            }
        }
    }

    #[test]
    fn tails_and_gates() {
        for isa in isas() {
            for n in [1, 15, 16, 17, 40] {
                let x: Vec<f32> = (0..n).map(|i| i as f32 * 0.5 - 3.0).collect();
                let up = vec![2.0; n];
                let mut out = vec![0.0; n];
                silu_glu(isa, &x, &up, &mut out);
                for (x, y) in x.iter().zip(&out) {
                    assert!((2.0 * x / (1.0 + (-x).exp()) - y).abs() < 1e-6);
                }
                let mut sum = x.clone();
                add_scaled(isa, 2.0, &x, &mut sum);
                assert!(sum.iter().zip(&x).all(|(s, x)| *s == 3.0 * x));
            }
        }
    }

    #[test]
    fn half_precision_rounds_to_nearest() {
        struct There<'a>(&'a [f32; LANES], &'a mut [u16; LANES]);
        impl Kernel for There<'_> {
            type Output = [f32; LANES];
            #[inline(always)]
            fn run<S: Simd>(self, s: S) -> [f32; LANES] {
                s.store_f16(s.load_f(self.0), self.1);
                let mut back = [0.0; LANES];
                s.store_f(s.load_f16(self.1), &mut back);
                back
            }
        }
        let up = 1.0 + 1.5 / 1024.0; // half way, to even
        let x = [
            0.0,
            -0.0,
            1.0,
            up,
            1.0 + 0.4 / 1024.0,
            65504.0,
            1e6,
            6e-8,
            1e-9,
            -3.3,
            0.1,
            1e-5,
            -1e6,
            2.0,
            3.0,
            4.0,
        ];
        for isa in isas() {
            let mut h = [0; LANES];
            let back = isa.run(There(&x, &mut h));
            for i in 0..LANES {
                let want = half::f16::from_f32(x[i]);
                assert_eq!((h[i], back[i]), (want.to_bits(), want.to_f32()), "{} of {}", isa.isa(), x[i]);
            }
        }
    }
}
