//! The vector trait without vector instructions: what every machine can run
//! and what the others are compared with.

use super::{LANES, Rows, Simd};
use half::f16;
use std::array::from_fn;

/// Plain loops over sixteen lanes.
#[derive(Clone, Copy)]
pub(crate) struct Scalar;

type V = [i32; LANES];
type F = [f32; LANES];

#[inline(always)]
fn bytes(v: i32) -> [u8; 4] {
    v.to_le_bytes()
}

impl Scalar {
    #[inline(always)]
    fn map_bytes(a: V, f: impl Fn(u8, usize) -> u8) -> V {
        from_fn(|i| i32::from_le_bytes(from_fn(|j| f(bytes(a[i])[j], j))))
    }
}

impl Simd for Scalar {
    type V = V;
    type F = F;

    const SIGNED_OFFSET: i32 = 0;
    const REGISTERS: usize = 8;

    #[inline(always)]
    fn splat(self, x: i32) -> V {
        [x; LANES]
    }
    #[inline(always)]
    fn load(self, bytes: &[u8; 64]) -> V {
        let (words, _) = bytes.as_chunks::<4>();
        from_fn(|i| i32::from_le_bytes(words[i]))
    }
    #[inline(always)]
    fn store(self, v: V, bytes: &mut [u8; 64]) {
        for (word, x) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(v) {
            *word = x.to_le_bytes();
        }
    }
    #[inline(always)]
    fn and(self, a: V, b: V) -> V {
        from_fn(|i| a[i] & b[i])
    }
    #[inline(always)]
    fn or(self, a: V, b: V) -> V {
        from_fn(|i| a[i] | b[i])
    }
    #[inline(always)]
    fn shl(self, a: V, n: u32) -> V {
        a.map(|x| x << n)
    }
    #[inline(always)]
    fn shr(self, a: V, n: u32) -> V {
        a.map(|x| ((x as u32) >> n) as i32)
    }
    #[inline(always)]
    fn sar(self, a: V, n: u32) -> V {
        a.map(|x| x >> n)
    }
    #[inline(always)]
    fn add_i32(self, a: V, b: V) -> V {
        from_fn(|i| a[i].wrapping_add(b[i]))
    }
    #[inline(always)]
    fn max_i32(self, a: V, b: V) -> V {
        from_fn(|i| a[i].max(b[i]))
    }
    #[inline(always)]
    fn min_i32(self, a: V, b: V) -> V {
        from_fn(|i| a[i].min(b[i]))
    }
    #[inline(always)]
    fn lookup(self, table: &[u8; 16], index: V) -> V {
        Self::map_bytes(index, |b, _| table[usize::from(b & 15)])
    }
    #[inline(always)]
    fn test(self, a: V, mask: V) -> V {
        from_fn(|i| {
            let (a, m) = (bytes(a[i]), bytes(mask[i]));
            i32::from_le_bytes(from_fn(|j| if a[j] & m[j] == m[j] { 255 } else { 0 }))
        })
    }
    #[inline(always)]
    fn spread_byte(self, a: V, j: u32) -> V {
        a.map(|x| i32::from_le_bytes([bytes(x)[j as usize]; 4]))
    }
    #[inline(always)]
    fn turn_bytes(self, v: [V; 4]) -> [V; 4] {
        let lane = |k, i| i32::from_le_bytes(from_fn(|c| bytes(v[c][i / 4 * 4 + k])[i % 4]));
        from_fn(|k| from_fn(|i| lane(k, i)))
    }
    #[inline(always)]
    unsafe fn gather(self, rows: Rows, offset: usize) -> V {
        // SAFETY: the caller promises four bytes; they may be unaligned.
        from_fn(|i| i32::from_le(unsafe { rows.at(i, offset).cast::<i32>().read_unaligned() }))
    }
    #[inline(always)]
    unsafe fn gather4(self, rows: Rows, offset: usize) -> [V; 4] {
        // SAFETY: the caller promises sixteen bytes.
        from_fn(|j| unsafe { self.gather(rows, offset + 4 * j) })
    }
    #[inline(always)]
    fn dot(self, acc: V, w: V, x: i32) -> V {
        self.dot_signed(acc, w, x)
    }
    #[inline(always)]
    fn signed(self, w: V) -> V {
        w
    }
    #[inline(always)]
    fn dot_signed(self, acc: V, w: V, x: i32) -> V {
        let x = bytes(x).map(|b| i32::from(b as i8));
        from_fn(|i| {
            let w = bytes(w[i]);
            (0..4).fold(acc[i], |sum, j| sum + i32::from(w[j] as i8) * x[j])
        })
    }
    #[inline(always)]
    fn splat_f(self, x: f32) -> F {
        [x; LANES]
    }
    #[inline(always)]
    fn load_f(self, x: &[f32; LANES]) -> F {
        *x
    }
    #[inline(always)]
    fn store_f(self, v: F, x: &mut [f32; LANES]) {
        *x = v;
    }
    #[inline(always)]
    unsafe fn read_f16(self, p: *const u8) -> F {
        // SAFETY: the caller promises sixteen values; they may be unaligned.
        from_fn(|i| unsafe { p.cast::<f16>().add(i).read_unaligned().to_f32() })
    }
    #[inline(always)]
    unsafe fn read_u16(self, p: *const u8) -> V {
        // SAFETY: the caller promises sixteen values; they may be unaligned.
        from_fn(|i| i32::from(unsafe { p.cast::<u16>().add(i).read_unaligned() }))
    }
    #[inline(always)]
    fn store_f16(self, v: F, x: &mut [u16; LANES]) {
        *x = v.map(|f| f16::from_f32(f).to_bits());
    }
    #[inline(always)]
    fn add(self, a: F, b: F) -> F {
        from_fn(|i| a[i] + b[i])
    }
    #[inline(always)]
    fn sub(self, a: F, b: F) -> F {
        from_fn(|i| a[i] - b[i])
    }
    #[inline(always)]
    fn mul(self, a: F, b: F) -> F {
        from_fn(|i| a[i] * b[i])
    }
    #[inline(always)]
    fn div(self, a: F, b: F) -> F {
        from_fn(|i| a[i] / b[i])
    }
    #[inline(always)]
    fn fma(self, a: F, b: F, c: F) -> F {
        from_fn(|i| a[i].mul_add(b[i], c[i]))
    }
    #[inline(always)]
    fn fnma(self, a: F, b: F, c: F) -> F {
        from_fn(|i| (-a[i]).mul_add(b[i], c[i]))
    }
    #[inline(always)]
    fn max(self, a: F, b: F) -> F {
        from_fn(|i| a[i].max(b[i]))
    }
    #[inline(always)]
    fn min(self, a: F, b: F) -> F {
        from_fn(|i| a[i].min(b[i]))
    }
    #[inline(always)]
    fn abs(self, a: F) -> F {
        a.map(f32::abs)
    }
    #[inline(always)]
    fn to_f(self, a: V) -> F {
        a.map(|x| x as f32)
    }
    #[inline(always)]
    fn to_i32(self, a: F) -> V {
        a.map(|x| x.round_ties_even() as i32)
    }
    #[inline(always)]
    fn bits(self, a: F) -> V {
        a.map(|x| x.to_bits() as i32)
    }
    #[inline(always)]
    fn as_floats(self, a: V) -> F {
        a.map(|x| f32::from_bits(x as u32))
    }
    #[inline(always)]
    fn low_f16(self, a: V) -> F {
        a.map(|x| f16::from_bits(x as u16).to_f32())
    }
    #[inline(always)]
    fn load_i8(self, x: &[i8; LANES]) -> V {
        x.map(i32::from)
    }
    #[inline(always)]
    fn store_low_bytes(self, a: V, bytes: &mut [i8; LANES]) {
        *bytes = a.map(|x| x as i8);
    }
}
