//! AVX-512 (F, BW, DQ, VL) with VNNI: one register a vector.

use super::{LANES, Rows, Simd, shims};
use std::arch::{asm, x86_64::*};

/// Proof of AVX-512 F, BW, DQ, VL and VNNI, AVX2, FMA and F16C.
#[derive(Clone, Copy)]
pub(crate) struct Avx512(());

impl Avx512 {
    /// # Safety
    /// The machine has the instructions.
    #[inline(always)]
    pub(crate) unsafe fn assume() -> Self {
        Self(())
    }
}

impl Simd for Avx512 {
    type V = __m512i;
    type F = __m512;

    // VNNI multiplies unsigned by signed bytes.
    const SIGNED_OFFSET: i32 = 128;
    const REGISTERS: usize = 32;

    shims! {
        fn splat(self, x: i32) -> __m512i { _mm512_set1_epi32(x) }
        fn load(self, bytes: &[u8; 64]) -> __m512i { _mm512_loadu_si512(bytes.as_ptr().cast()) }
        fn store(self, v: __m512i, bytes: &mut [u8; 64]) { _mm512_storeu_si512(bytes.as_mut_ptr().cast(), v) }
        fn and(self, a: __m512i, b: __m512i) -> __m512i { _mm512_and_si512(a, b) }
        fn or(self, a: __m512i, b: __m512i) -> __m512i { _mm512_or_si512(a, b) }
        fn shl(self, a: __m512i, n: u32) -> __m512i { _mm512_sll_epi32(a, _mm_cvtsi32_si128(n as i32)) }
        fn shr(self, a: __m512i, n: u32) -> __m512i { _mm512_srl_epi32(a, _mm_cvtsi32_si128(n as i32)) }
        fn sar(self, a: __m512i, n: u32) -> __m512i { _mm512_sra_epi32(a, _mm_cvtsi32_si128(n as i32)) }
        fn add_i32(self, a: __m512i, b: __m512i) -> __m512i { _mm512_add_epi32(a, b) }
        fn max_i32(self, a: __m512i, b: __m512i) -> __m512i { _mm512_max_epi32(a, b) }
        fn min_i32(self, a: __m512i, b: __m512i) -> __m512i { _mm512_min_epi32(a, b) }
        fn lookup(self, table: &[u8; 16], index: __m512i) -> __m512i {
            _mm512_shuffle_epi8(_mm512_broadcast_i32x4(_mm_loadu_si128(table.as_ptr().cast())), index)
        }
        fn test(self, a: __m512i, mask: __m512i) -> __m512i {
            _mm512_movm_epi8(_mm512_cmpeq_epi8_mask(_mm512_and_si512(a, mask), mask))
        }
        fn add_where(self, q: __m512i, a: __m512i, mask: __m512i, bit: u8) -> __m512i {
            _mm512_mask_add_epi8(q, _mm512_test_epi8_mask(a, mask), q, _mm512_set1_epi8(bit as i8))
        }
        fn spread_byte(self, a: __m512i, j: u32) -> __m512i {
            let first = _mm_set_epi32(0x0c0c_0c0c, 0x0808_0808, 0x0404_0404, 0);
            let index = _mm_add_epi8(first, _mm_set1_epi8(j as i8));
            _mm512_shuffle_epi8(a, _mm512_broadcast_i32x4(index))
        }
        fn turn_bytes(self, v: [__m512i; 4]) -> [__m512i; 4] {
            let (ab, cd) = (_mm512_unpacklo_epi8(v[0], v[1]), _mm512_unpacklo_epi8(v[2], v[3]));
            let (ef, gh) = (_mm512_unpackhi_epi8(v[0], v[1]), _mm512_unpackhi_epi8(v[2], v[3]));
            [
                _mm512_unpacklo_epi16(ab, cd),
                _mm512_unpackhi_epi16(ab, cd),
                _mm512_unpacklo_epi16(ef, gh),
                _mm512_unpackhi_epi16(ef, gh),
            ]
        }
        fn dot(self, acc: __m512i, w: __m512i, x: i32) -> __m512i {
            _mm512_dpbusd_epi32(acc, w, _mm512_set1_epi32(x))
        }
        fn signed(self, w: __m512i) -> __m512i { _mm512_xor_si512(w, _mm512_set1_epi8(-128)) }
        fn dot_signed(self, acc: __m512i, w: __m512i, x: i32) -> __m512i {
            _mm512_dpbusd_epi32(acc, w, _mm512_set1_epi32(x))
        }
        fn splat_f(self, x: f32) -> __m512 { _mm512_set1_ps(x) }
        fn load_f(self, x: &[f32; LANES]) -> __m512 { _mm512_loadu_ps(x.as_ptr()) }
        fn store_f(self, v: __m512, x: &mut [f32; LANES]) { _mm512_storeu_ps(x.as_mut_ptr(), v) }
        fn store_f16(self, v: __m512, x: &mut [u16; LANES]) {
            _mm256_storeu_si256(x.as_mut_ptr().cast(), _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(v))
        }
        fn add(self, a: __m512, b: __m512) -> __m512 { _mm512_add_ps(a, b) }
        fn sub(self, a: __m512, b: __m512) -> __m512 { _mm512_sub_ps(a, b) }
        fn mul(self, a: __m512, b: __m512) -> __m512 { _mm512_mul_ps(a, b) }
        fn div(self, a: __m512, b: __m512) -> __m512 { _mm512_div_ps(a, b) }
        fn fma(self, a: __m512, b: __m512, c: __m512) -> __m512 { _mm512_fmadd_ps(a, b, c) }
        fn fnma(self, a: __m512, b: __m512, c: __m512) -> __m512 { _mm512_fnmadd_ps(a, b, c) }
        fn max(self, a: __m512, b: __m512) -> __m512 { _mm512_max_ps(a, b) }
        fn min(self, a: __m512, b: __m512) -> __m512 { _mm512_min_ps(a, b) }
        fn abs(self, a: __m512) -> __m512 { _mm512_abs_ps(a) }
        fn to_f(self, a: __m512i) -> __m512 { _mm512_cvtepi32_ps(a) }
        fn to_i32(self, a: __m512) -> __m512i { _mm512_cvtps_epi32(a) }
        fn bits(self, a: __m512) -> __m512i { _mm512_castps_si512(a) }
        fn as_floats(self, a: __m512i) -> __m512 { _mm512_castsi512_ps(a) }
        fn low_f16(self, a: __m512i) -> __m512 { _mm512_cvtph_ps(_mm512_cvtepi32_epi16(a)) }
        fn load_i8(self, x: &[i8; LANES]) -> __m512i {
            _mm512_cvtepi8_epi32(_mm_loadu_si128(x.as_ptr().cast()))
        }
        fn store_low_bytes(self, a: __m512i, bytes: &mut [i8; LANES]) {
            _mm_storeu_si128(bytes.as_mut_ptr().cast(), _mm512_cvtepi32_epi8(a))
        }
        fn sum(self, a: __m512) -> f32 {
            let half = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps::<1>(a));
            super::avx2::sum8(half)
        }
        fn prefetch(self, p: *const u8) { asm!("prefetcht0 [{}]", in(reg) p, options(nostack, preserves_flags)) }
        fn largest(self, a: __m512) -> f32 { _mm512_reduce_max_ps(a) }
    }

    #[inline(always)]
    unsafe fn read_f16(self, p: *const u8) -> __m512 {
        // SAFETY: the caller promises thirty-two bytes.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(p.cast())) }
    }

    #[inline(always)]
    unsafe fn read_u16(self, p: *const u8) -> __m512i {
        // SAFETY: the caller promises thirty-two bytes.
        unsafe { _mm512_cvtepu16_epi32(_mm256_loadu_si256(p.cast())) }
    }

    #[inline(always)]
    unsafe fn gather(self, rows: Rows, offset: usize) -> __m512i {
        // SAFETY: the caller promises four bytes in each row.
        unsafe {
            let index = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
            let index = _mm512_mullo_epi32(index, _mm512_set1_epi32(rows.stride() as i32));
            _mm512_i32gather_epi32::<1>(index, rows.at(0, offset).cast())
        }
    }

    #[inline(always)]
    unsafe fn gather4(self, rows: Rows, offset: usize) -> [__m512i; 4] {
        // SAFETY: the caller promises sixteen bytes in each row.
        unsafe {
            let row = |i| _mm_loadu_si128(rows.at(i, offset).cast());
            let every_fourth = |i| {
                let v = _mm512_castsi128_si512(row(i));
                let v = _mm512_inserti32x4::<1>(v, row(i + 4));
                let v = _mm512_inserti32x4::<2>(v, row(i + 8));
                _mm512_inserti32x4::<3>(v, row(i + 12))
            };
            let (a, b, c, d) = (every_fourth(0), every_fourth(1), every_fourth(2), every_fourth(3));
            let (ab, cd) = (_mm512_unpacklo_epi32(a, b), _mm512_unpacklo_epi32(c, d));
            let (ef, gh) = (_mm512_unpackhi_epi32(a, b), _mm512_unpackhi_epi32(c, d));
            [
                _mm512_unpacklo_epi64(ab, cd),
                _mm512_unpackhi_epi64(ab, cd),
                _mm512_unpacklo_epi64(ef, gh),
                _mm512_unpackhi_epi64(ef, gh),
            ]
        }
    }
}
