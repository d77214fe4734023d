//! NEON: four registers a vector, in three levels that differ in how bytes are
//! multiplied. The dot-product, matrix and half-precision instructions are written
//! as assembly, their intrinsics being newer than the compilers we support.

use super::{LANES, Rows, Simd, shims};
use std::arch::{aarch64::*, asm};

/// Level of [`Neon`]: what every aarch64 has.
pub(crate) const BASE: u8 = 0;
/// Level of [`Neon`]: dot products of four bytes.
pub(crate) const DOT: u8 = 1;
/// Level of [`Neon`]: these, and products of 2x8 with 8x2 bytes.
pub(crate) const MATRIX: u8 = 2;

/// Proof of NEON and of the extensions of a level.
#[derive(Clone, Copy)]
pub(crate) struct Neon<const LEVEL: u8>(());

impl<const LEVEL: u8> Neon<LEVEL> {
    /// # Safety
    /// The machine has the instructions.
    #[inline(always)]
    pub(crate) unsafe fn assume() -> Self {
        Self(())
    }
}

type V = [int32x4_t; 4];
type F = [float32x4_t; 4];

macro_rules! each {
    ($op:ident, $a:ident) => {
        [$op($a[0]), $op($a[1]), $op($a[2]), $op($a[3])]
    };
    ($op:ident, $a:ident, $b:ident) => {
        [$op($a[0], $b[0]), $op($a[1], $b[1]), $op($a[2], $b[2]), $op($a[3], $b[3])]
    };
    ($op:ident, $a:ident, $b:ident, $c:ident) => {
        [
            $op($a[0], $b[0], $c[0]),
            $op($a[1], $b[1], $c[1]),
            $op($a[2], $b[2], $c[2]),
            $op($a[3], $b[3], $c[3]),
        ]
    };
}

#[inline(always)]
unsafe fn u8s(a: int32x4_t) -> uint8x16_t {
    // SAFETY: every aarch64 has NEON.
    unsafe { vreinterpretq_u8_s32(a) }
}

#[inline(always)]
unsafe fn s32s(a: uint8x16_t) -> int32x4_t {
    // SAFETY: every aarch64 has NEON.
    unsafe { vreinterpretq_s32_u8(a) }
}

/// Four groups of four products each, added to `acc`.
#[inline(always)]
unsafe fn dot<const LEVEL: u8>(acc: int32x4_t, w: int32x4_t, x: int32x4_t) -> int32x4_t {
    // SAFETY: the caller's vector type proves the level.
    unsafe {
        let (w, x) = (vreinterpretq_s8_s32(w), vreinterpretq_s8_s32(x));
        if LEVEL >= DOT {
            let mut acc = acc;
            asm!(
                ".arch_extension dotprod",
                "sdot {acc:v}.4s, {w:v}.16b, {x:v}.16b",
                acc = inout(vreg) acc, w = in(vreg) w, x = in(vreg) x,
                options(pure, nomem, nostack, preserves_flags),
            );
            acc
        } else {
            let low = vmull_s8(vget_low_s8(w), vget_low_s8(x));
            let high = vmull_s8(vget_high_s8(w), vget_high_s8(x));
            vaddq_s32(acc, vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high)))
        }
    }
}

/// Eight bytes of two tokens with eight bytes of two rows: `acc` gains the first
/// token's two sums, then the second's.
#[inline(always)]
unsafe fn matrix<const LEVEL: u8>(acc: int32x4_t, x: int32x4_t, w: int32x4_t) -> int32x4_t {
    // SAFETY: the caller's vector type proves the level.
    unsafe {
        if LEVEL >= MATRIX {
            let mut acc = acc;
            asm!(
                ".arch_extension i8mm",
                "smmla {acc:v}.4s, {x:v}.16b, {w:v}.16b",
                acc = inout(vreg) acc, x = in(vreg) x, w = in(vreg) w,
                options(pure, nomem, nostack, preserves_flags),
            );
            acc
        } else {
            let (zero, (first, second)) = (vdupq_n_s32(0), zip64(x, x));
            let sums = vpaddq_s32(dot::<LEVEL>(zero, w, first), dot::<LEVEL>(zero, w, second));
            vaddq_s32(acc, sums)
        }
    }
}

/// The low halves of two registers, and the high ones.
#[inline(always)]
unsafe fn zip64(a: int32x4_t, b: int32x4_t) -> (int32x4_t, int32x4_t) {
    // SAFETY: every aarch64 has NEON.
    unsafe {
        let (a, b) = (vreinterpretq_s64_s32(a), vreinterpretq_s64_s32(b));
        (vreinterpretq_s32_s64(vzip1q_s64(a, b)), vreinterpretq_s32_s64(vzip2q_s64(a, b)))
    }
}

/// Four half-precision floats, widened.
#[inline(always)]
unsafe fn widen(h: uint16x4_t) -> float32x4_t {
    let wide: float32x4_t;
    // SAFETY: part of the base instruction set.
    unsafe {
        asm!("fcvtl {wide:v}.4s, {h:v}.4h", wide = out(vreg) wide, h = in(vreg) h,
            options(pure, nomem, nostack, preserves_flags));
    }
    wide
}

/// Four floats, rounded to nearest half precision.
#[inline(always)]
unsafe fn narrow(wide: float32x4_t) -> uint16x4_t {
    let h: uint16x4_t;
    // SAFETY: part of the base instruction set.
    unsafe {
        asm!("fcvtn {h:v}.4h, {wide:v}.4s", wide = in(vreg) wide, h = out(vreg) h,
            options(pure, nomem, nostack, preserves_flags));
    }
    h
}

impl<const LEVEL: u8> Simd for Neon<LEVEL> {
    type V = V;
    type F = F;

    const SIGNED_OFFSET: i32 = 0;
    const REGISTERS: usize = 8;
    const PAIRS: bool = LEVEL >= MATRIX;

    shims! {
        fn splat(self, x: i32) -> V { [vdupq_n_s32(x); 4] }
        fn load(self, bytes: &[u8; 64]) -> V {
            [0, 16, 32, 48].map(|i| s32s(vld1q_u8(bytes.as_ptr().add(i))))
        }
        fn store(self, v: V, bytes: &mut [u8; 64]) {
            let p = bytes.as_mut_ptr();
            vst1q_u8(p, u8s(v[0]));
            vst1q_u8(p.add(16), u8s(v[1]));
            vst1q_u8(p.add(32), u8s(v[2]));
            vst1q_u8(p.add(48), u8s(v[3]));
        }
        fn and(self, a: V, b: V) -> V { each!(vandq_s32, a, b) }
        fn or(self, a: V, b: V) -> V { each!(vorrq_s32, a, b) }
        fn shl(self, a: V, n: u32) -> V {
            let n = [vdupq_n_s32(n as i32); 4];
            each!(vshlq_s32, a, n)
        }
        fn shr(self, a: V, n: u32) -> V {
            let n = vdupq_n_s32(-(n as i32));
            a.map(|a| vreinterpretq_s32_u32(vshlq_u32(vreinterpretq_u32_s32(a), n)))
        }
        fn sar(self, a: V, n: u32) -> V {
            let n = [vdupq_n_s32(-(n as i32)); 4];
            each!(vshlq_s32, a, n)
        }
        fn add_i32(self, a: V, b: V) -> V { each!(vaddq_s32, a, b) }
        fn max_i32(self, a: V, b: V) -> V { each!(vmaxq_s32, a, b) }
        fn min_i32(self, a: V, b: V) -> V { each!(vminq_s32, a, b) }
        fn lookup(self, table: &[u8; 16], index: V) -> V {
            let table = vld1q_u8(table.as_ptr());
            index.map(|i| s32s(vqtbl1q_u8(table, u8s(i))))
        }
        fn test(self, a: V, mask: V) -> V {
            let test = |a, m| s32s(vceqq_u8(vandq_u8(u8s(a), u8s(m)), u8s(m)));
            [test(a[0], mask[0]), test(a[1], mask[1]), test(a[2], mask[2]), test(a[3], mask[3])]
        }
        fn spread_byte(self, a: V, j: u32) -> V {
            const FIRST: [u8; 16] = [0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12];
            let index = vaddq_u8(vld1q_u8(FIRST.as_ptr()), vdupq_n_u8(j as u8));
            a.map(|a| s32s(vqtbl1q_u8(u8s(a), index)))
        }
        fn turn_bytes(self, v: [V; 4]) -> [V; 4] {
            let mut words = v;
            for l in 0..4 {
                let [a, b, c, d] = [u8s(v[0][l]), u8s(v[1][l]), u8s(v[2][l]), u8s(v[3][l])];
                let pairs = |v| vreinterpretq_u16_u8(v);
                let (ab, cd) = (pairs(vzip1q_u8(a, b)), pairs(vzip1q_u8(c, d)));
                let (ef, gh) = (pairs(vzip2q_u8(a, b)), pairs(vzip2q_u8(c, d)));
                words[0][l] = vreinterpretq_s32_u16(vzip1q_u16(ab, cd));
                words[1][l] = vreinterpretq_s32_u16(vzip2q_u16(ab, cd));
                words[2][l] = vreinterpretq_s32_u16(vzip1q_u16(ef, gh));
                words[3][l] = vreinterpretq_s32_u16(vzip2q_u16(ef, gh));
            }
            words
        }
        fn dot(self, acc: V, w: V, x: i32) -> V {
            let x = vdupq_n_s32(x);
            [
                dot::<LEVEL>(acc[0], w[0], x),
                dot::<LEVEL>(acc[1], w[1], x),
                dot::<LEVEL>(acc[2], w[2], x),
                dot::<LEVEL>(acc[3], w[3], x),
            ]
        }
        fn signed(self, w: V) -> V { w }
        fn dot_signed(self, acc: V, w: V, x: i32) -> V { self.dot(acc, w, x) }
        // Of weights as of sums, register i of the first vector has rows 4i and
        // 4i + 1, that of the second one 4i + 2 and 4i + 3.
        fn interleave(self, w: [V; 2]) -> [V; 2] {
            let [a, b] = w;
            [each!(vzip1q_s32, a, b), each!(vzip2q_s32, a, b)]
        }
        fn dot_pair(self, acc: [V; 2], w: [V; 4], x: [&[i32; 4]; 2], _signed: bool) -> [V; 2] {
            let (x0, x1) = zip64(vld1q_s32(x[0].as_ptr()), vld1q_s32(x[1].as_ptr()));
            let mut acc = acc;
            for rows in 0..2 {
                for i in 0..4 {
                    acc[rows][i] = matrix::<LEVEL>(acc[rows][i], x0, w[rows][i]);
                    acc[rows][i] = matrix::<LEVEL>(acc[rows][i], x1, w[2 + rows][i]);
                }
            }
            acc
        }
        fn split_pair(self, acc: [V; 2]) -> [V; 2] {
            let [a, b] = acc;
            let ((x0, y0), (x1, y1)) = (zip64(a[0], b[0]), zip64(a[1], b[1]));
            let ((x2, y2), (x3, y3)) = (zip64(a[2], b[2]), zip64(a[3], b[3]));
            [[x0, x1, x2, x3], [y0, y1, y2, y3]]
        }
        fn splat_f(self, x: f32) -> F { [vdupq_n_f32(x); 4] }
        fn load_f(self, x: &[f32; LANES]) -> F {
            [0, 4, 8, 12].map(|i| vld1q_f32(x.as_ptr().add(i)))
        }
        fn store_f(self, v: F, x: &mut [f32; LANES]) {
            let p = x.as_mut_ptr();
            vst1q_f32(p, v[0]);
            vst1q_f32(p.add(4), v[1]);
            vst1q_f32(p.add(8), v[2]);
            vst1q_f32(p.add(12), v[3]);
        }
        fn prefetch(self, p: *const u8) {
            asm!("prfm pldl2keep, [{p}]", p = in(reg) p, options(nostack, preserves_flags));
        }
        fn store_f16(self, v: F, x: &mut [u16; LANES]) {
            let p = x.as_mut_ptr();
            vst1_u16(p, narrow(v[0]));
            vst1_u16(p.add(4), narrow(v[1]));
            vst1_u16(p.add(8), narrow(v[2]));
            vst1_u16(p.add(12), narrow(v[3]));
        }
        fn add(self, a: F, b: F) -> F { each!(vaddq_f32, a, b) }
        fn sub(self, a: F, b: F) -> F { each!(vsubq_f32, a, b) }
        fn mul(self, a: F, b: F) -> F { each!(vmulq_f32, a, b) }
        fn div(self, a: F, b: F) -> F { each!(vdivq_f32, a, b) }
        fn fma(self, a: F, b: F, c: F) -> F { each!(vfmaq_f32, c, a, b) }
        fn fnma(self, a: F, b: F, c: F) -> F { each!(vfmsq_f32, c, a, b) }
        fn max(self, a: F, b: F) -> F { each!(vmaxq_f32, a, b) }
        fn min(self, a: F, b: F) -> F { each!(vminq_f32, a, b) }
        fn abs(self, a: F) -> F { each!(vabsq_f32, a) }
        fn to_f(self, a: V) -> F { each!(vcvtq_f32_s32, a) }
        fn to_i32(self, a: F) -> V { each!(vcvtnq_s32_f32, a) }
        fn bits(self, a: F) -> V { each!(vreinterpretq_s32_f32, a) }
        fn as_floats(self, a: V) -> F { each!(vreinterpretq_f32_s32, a) }
        fn low_f16(self, a: V) -> F { a.map(|a| widen(vmovn_u32(vreinterpretq_u32_s32(a)))) }
        fn load_i8(self, x: &[i8; LANES]) -> V {
            let all = vld1q_s8(x.as_ptr());
            let (low, high) = (vmovl_s8(vget_low_s8(all)), vmovl_s8(vget_high_s8(all)));
            [
                vmovl_s16(vget_low_s16(low)),
                vmovl_s16(vget_high_s16(low)),
                vmovl_s16(vget_low_s16(high)),
                vmovl_s16(vget_high_s16(high)),
            ]
        }
        fn store_low_bytes(self, a: V, bytes: &mut [i8; LANES]) {
            let low = vcombine_s16(vmovn_s32(a[0]), vmovn_s32(a[1]));
            let high = vcombine_s16(vmovn_s32(a[2]), vmovn_s32(a[3]));
            vst1q_s8(bytes.as_mut_ptr(), vcombine_s8(vmovn_s16(low), vmovn_s16(high)));
        }
    }

    #[inline(always)]
    unsafe fn read_f16(self, p: *const u8) -> F {
        // SAFETY: the caller promises thirty-two bytes; byte loads need no alignment.
        unsafe { [0, 8, 16, 24].map(|i| widen(vreinterpret_u16_u8(vld1_u8(p.add(i))))) }
    }

    #[inline(always)]
    unsafe fn read_u16(self, p: *const u8) -> V {
        // SAFETY: the caller promises thirty-two bytes; byte loads need no alignment.
        unsafe {
            [0, 8, 16, 24].map(|i| vreinterpretq_s32_u32(vmovl_u16(vreinterpret_u16_u8(vld1_u8(p.add(i))))))
        }
    }

    #[inline(always)]
    unsafe fn gather(self, rows: Rows, offset: usize) -> V {
        // SAFETY: the caller promises four bytes in each row.
        unsafe {
            let word = |i| rows.at(i, offset).cast::<i32>().read_unaligned();
            let four = |i| vld1q_s32([word(i), word(i + 1), word(i + 2), word(i + 3)].as_ptr());
            [four(0), four(4), four(8), four(12)]
        }
    }

    #[inline(always)]
    unsafe fn gather4(self, rows: Rows, offset: usize) -> [V; 4] {
        // SAFETY: the caller promises sixteen bytes in each row.
        unsafe {
            let row = |i| s32s(vld1q_u8(rows.at(i, offset)));
            let transpose = |i| {
                let (a, b, c, d) = (row(i), row(i + 1), row(i + 2), row(i + 3));
                let (w0, w1) = zip64(vzip1q_s32(a, b), vzip1q_s32(c, d));
                let (w2, w3) = zip64(vzip2q_s32(a, b), vzip2q_s32(c, d));
                [w0, w1, w2, w3]
            };
            let (a, b, c, d) = (transpose(0), transpose(4), transpose(8), transpose(12));
            [
                [a[0], b[0], c[0], d[0]],
                [a[1], b[1], c[1], d[1]],
                [a[2], b[2], c[2], d[2]],
                [a[3], b[3], c[3], d[3]],
            ]
        }
    }
}
