//! AVX2 with FMA and F16C: two registers a vector.

use super::{LANES, Rows, Simd, shims};
use std::arch::{asm, x86_64::*};

/// Proof of AVX2, FMA and F16C.
#[derive(Clone, Copy)]
pub(crate) struct Avx2(());

impl Avx2 {
    /// # Safety
    /// The machine has the instructions.
    #[inline(always)]
    pub(crate) unsafe fn assume() -> Self {
        Self(())
    }
}

type V = [__m256i; 2];
type F = [__m256; 2];

/// Sum of eight lanes in the order of [`super::fold`].
///
/// # Safety
/// The machine has AVX.
#[inline(always)]
pub(super) unsafe fn sum8(a: __m256) -> f32 {
    // SAFETY: by the caller's promise.
    unsafe {
        let a = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
        let a = _mm_add_ps(a, _mm_movehl_ps(a, a));
        _mm_cvtss_f32(_mm_add_ss(a, _mm_movehdup_ps(a)))
    }
}

macro_rules! each {
    ($op:ident, $a:ident) => {
        [$op($a[0]), $op($a[1])]
    };
    ($op:ident, $a:ident, $b:ident) => {
        [$op($a[0], $b[0]), $op($a[1], $b[1])]
    };
    ($op:ident, $a:ident, $b:ident, $c:ident) => {
        [$op($a[0], $b[0], $c[0]), $op($a[1], $b[1], $c[1])]
    };
}

impl Simd for Avx2 {
    type V = V;
    type F = F;

    const SIGNED_OFFSET: i32 = 0;
    const REGISTERS: usize = 8;

    shims! {
        fn splat(self, x: i32) -> V { [_mm256_set1_epi32(x); 2] }
        fn load(self, bytes: &[u8; 64]) -> V {
            let p = bytes.as_ptr().cast::<__m256i>();
            [_mm256_loadu_si256(p), _mm256_loadu_si256(p.add(1))]
        }
        fn store(self, v: V, bytes: &mut [u8; 64]) {
            let p = bytes.as_mut_ptr().cast::<__m256i>();
            _mm256_storeu_si256(p, v[0]);
            _mm256_storeu_si256(p.add(1), v[1]);
        }
        fn and(self, a: V, b: V) -> V { each!(_mm256_and_si256, a, b) }
        fn or(self, a: V, b: V) -> V { each!(_mm256_or_si256, a, b) }
        fn shl(self, a: V, n: u32) -> V {
            let n = _mm_cvtsi32_si128(n as i32);
            [_mm256_sll_epi32(a[0], n), _mm256_sll_epi32(a[1], n)]
        }
        fn shr(self, a: V, n: u32) -> V {
            let n = _mm_cvtsi32_si128(n as i32);
            [_mm256_srl_epi32(a[0], n), _mm256_srl_epi32(a[1], n)]
        }
        fn sar(self, a: V, n: u32) -> V {
            let n = _mm_cvtsi32_si128(n as i32);
            [_mm256_sra_epi32(a[0], n), _mm256_sra_epi32(a[1], n)]
        }
        fn add_i32(self, a: V, b: V) -> V { each!(_mm256_add_epi32, a, b) }
        fn max_i32(self, a: V, b: V) -> V { each!(_mm256_max_epi32, a, b) }
        fn min_i32(self, a: V, b: V) -> V { each!(_mm256_min_epi32, a, b) }
        fn lookup(self, table: &[u8; 16], index: V) -> V {
            let table = _mm256_broadcastsi128_si256(_mm_loadu_si128(table.as_ptr().cast()));
            [_mm256_shuffle_epi8(table, index[0]), _mm256_shuffle_epi8(table, index[1])]
        }
        fn test(self, a: V, mask: V) -> V {
            [
                _mm256_cmpeq_epi8(_mm256_and_si256(a[0], mask[0]), mask[0]),
                _mm256_cmpeq_epi8(_mm256_and_si256(a[1], mask[1]), mask[1]),
            ]
        }
        fn spread_byte(self, a: V, j: u32) -> V {
            let first = _mm_set_epi32(0x0c0c_0c0c, 0x0808_0808, 0x0404_0404, 0);
            let index = _mm256_broadcastsi128_si256(_mm_add_epi8(first, _mm_set1_epi8(j as i8)));
            [_mm256_shuffle_epi8(a[0], index), _mm256_shuffle_epi8(a[1], index)]
        }
        fn turn_bytes(self, v: [V; 4]) -> [V; 4] {
            let (a, b, c, d) = (v[0], v[1], v[2], v[3]);
            let (ab, cd) = (each!(_mm256_unpacklo_epi8, a, b), each!(_mm256_unpacklo_epi8, c, d));
            let (ef, gh) = (each!(_mm256_unpackhi_epi8, a, b), each!(_mm256_unpackhi_epi8, c, d));
            [
                each!(_mm256_unpacklo_epi16, ab, cd),
                each!(_mm256_unpackhi_epi16, ab, cd),
                each!(_mm256_unpacklo_epi16, ef, gh),
                each!(_mm256_unpackhi_epi16, ef, gh),
            ]
        }
        fn dot(self, acc: V, w: V, x: i32) -> V {
            // Two products of at most 127 * 127 fit the 16-bit sums.
            let (x, one) = (_mm256_set1_epi32(x), _mm256_set1_epi16(1));
            let dot = |acc, w| _mm256_add_epi32(acc, _mm256_madd_epi16(_mm256_maddubs_epi16(w, x), one));
            [dot(acc[0], w[0]), dot(acc[1], w[1])]
        }
        fn signed(self, w: V) -> V { w }
        fn dot_signed(self, acc: V, w: V, x: i32) -> V {
            let (x, one) = (_mm256_set1_epi32(x), _mm256_set1_epi16(1));
            let dot = |acc, w| {
                let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
                _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, one))
            };
            [dot(acc[0], w[0]), dot(acc[1], w[1])]
        }
        fn splat_f(self, x: f32) -> F { [_mm256_set1_ps(x); 2] }
        fn load_f(self, x: &[f32; LANES]) -> F { [_mm256_loadu_ps(x.as_ptr()), _mm256_loadu_ps(x.as_ptr().add(8))] }
        fn store_f(self, v: F, x: &mut [f32; LANES]) {
            _mm256_storeu_ps(x.as_mut_ptr(), v[0]);
            _mm256_storeu_ps(x.as_mut_ptr().add(8), v[1]);
        }
        fn prefetch(self, p: *const u8) { asm!("prefetcht1 [{}]", in(reg) p, options(nostack, preserves_flags)) }
        fn store_f16(self, v: F, x: &mut [u16; LANES]) {
            let p = x.as_mut_ptr().cast::<__m128i>();
            _mm_storeu_si128(p, _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(v[0]));
            _mm_storeu_si128(p.add(1), _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(v[1]));
        }
        fn add(self, a: F, b: F) -> F { each!(_mm256_add_ps, a, b) }
        fn sub(self, a: F, b: F) -> F { each!(_mm256_sub_ps, a, b) }
        fn mul(self, a: F, b: F) -> F { each!(_mm256_mul_ps, a, b) }
        fn div(self, a: F, b: F) -> F { each!(_mm256_div_ps, a, b) }
        fn fma(self, a: F, b: F, c: F) -> F { each!(_mm256_fmadd_ps, a, b, c) }
        fn fnma(self, a: F, b: F, c: F) -> F { each!(_mm256_fnmadd_ps, a, b, c) }
        fn max(self, a: F, b: F) -> F { each!(_mm256_max_ps, a, b) }
        fn min(self, a: F, b: F) -> F { each!(_mm256_min_ps, a, b) }
        fn abs(self, a: F) -> F {
            let sign = _mm256_set1_ps(-0.0);
            [_mm256_andnot_ps(sign, a[0]), _mm256_andnot_ps(sign, a[1])]
        }
        fn to_f(self, a: V) -> F { each!(_mm256_cvtepi32_ps, a) }
        fn to_i32(self, a: F) -> V { each!(_mm256_cvtps_epi32, a) }
        fn bits(self, a: F) -> V { each!(_mm256_castps_si256, a) }
        fn as_floats(self, a: V) -> F { each!(_mm256_castsi256_ps, a) }
        fn low_f16(self, a: V) -> F {
            let low = _mm256_set1_epi32(0xffff);
            let both = _mm256_packus_epi32(_mm256_and_si256(a[0], low), _mm256_and_si256(a[1], low));
            let both = _mm256_permute4x64_epi64::<0b11_01_10_00>(both);
            [
                _mm256_cvtph_ps(_mm256_castsi256_si128(both)),
                _mm256_cvtph_ps(_mm256_extracti128_si256::<1>(both)),
            ]
        }
        fn load_i8(self, x: &[i8; LANES]) -> V {
            let all = _mm_loadu_si128(x.as_ptr().cast());
            [_mm256_cvtepi8_epi32(all), _mm256_cvtepi8_epi32(_mm_unpackhi_epi64(all, all))]
        }
        fn store_low_bytes(self, a: V, bytes: &mut [i8; LANES]) {
            let low = _mm256_set1_epi32(0xff);
            let both = _mm256_packus_epi32(_mm256_and_si256(a[0], low), _mm256_and_si256(a[1], low));
            let both = _mm256_permute4x64_epi64::<0b11_01_10_00>(both);
            let all = _mm_packus_epi16(_mm256_castsi256_si128(both), _mm256_extracti128_si256::<1>(both));
            _mm_storeu_si128(bytes.as_mut_ptr().cast(), all);
        }
        fn sum(self, a: F) -> f32 { sum8(_mm256_add_ps(a[0], a[1])) }
    }

    #[inline(always)]
    unsafe fn read_f16(self, p: *const u8) -> F {
        let p = p.cast::<__m128i>();
        // SAFETY: the caller promises thirty-two bytes.
        unsafe { [_mm256_cvtph_ps(_mm_loadu_si128(p)), _mm256_cvtph_ps(_mm_loadu_si128(p.add(1)))] }
    }

    #[inline(always)]
    unsafe fn read_u16(self, p: *const u8) -> V {
        let p = p.cast::<__m128i>();
        // SAFETY: the caller promises thirty-two bytes.
        unsafe {
            [_mm256_cvtepu16_epi32(_mm_loadu_si128(p)), _mm256_cvtepu16_epi32(_mm_loadu_si128(p.add(1)))]
        }
    }

    #[inline(always)]
    unsafe fn gather(self, rows: Rows, offset: usize) -> V {
        // SAFETY: the caller promises four bytes in each row.
        unsafe {
            let index = _mm256_set_epi32(7, 6, 5, 4, 3, 2, 1, 0);
            let index = _mm256_mullo_epi32(index, _mm256_set1_epi32(rows.stride() as i32));
            let gather = |i| _mm256_i32gather_epi32::<1>(rows.at(i, offset).cast(), index);
            [gather(0), gather(8)]
        }
    }

    #[inline(always)]
    unsafe fn gather4(self, rows: Rows, offset: usize) -> [V; 4] {
        // SAFETY: the caller promises sixteen bytes in each row.
        unsafe {
            let row = |i| _mm_loadu_si128(rows.at(i, offset).cast());
            let two = |i| _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(row(i)), row(i + 4));
            let transpose = |i| {
                let (a, b, c, d) = (two(i), two(i + 1), two(i + 2), two(i + 3));
                let (ab, cd) = (_mm256_unpacklo_epi32(a, b), _mm256_unpacklo_epi32(c, d));
                let (ef, gh) = (_mm256_unpackhi_epi32(a, b), _mm256_unpackhi_epi32(c, d));
                [
                    _mm256_unpacklo_epi64(ab, cd),
                    _mm256_unpackhi_epi64(ab, cd),
                    _mm256_unpacklo_epi64(ef, gh),
                    _mm256_unpackhi_epi64(ef, gh),
                ]
            };
            let (low, high) = (transpose(0), transpose(8));
            [[low[0], high[0]], [low[1], high[1]], [low[2], high[2]], [low[3], high[3]]]
        }
    }
}
