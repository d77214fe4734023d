//! Superblocks of 256 in 16 groups of 16, each with a signed scale: Q3_K, Q6_K.
//!
//! ```text
//! Q3_K  high[32] low[64] scales[12] d     x = d (s - 32) (q - 4)
//! Q6_K  low[128] high[64] scales[16] d    x = d s (q - 32)
//! ```
//! The codes are scattered so that a vector register holds the same bits of
//! values that lie 32 apart; the loops below are that map.

use super::{Block, f16_at, put_f16, search};

/// A superblock as the best integers.
struct Quantized {
    scales: [i8; 16],
    codes: [i8; 256],
}

/// Quantizes with codes in `lo..=-lo - 1` and scales in `scale_lo..=-scale_lo - 1`.
/// `store` rounds the superblock's scale to what the file will hold.
fn quantize(
    src: &[f32; 256],
    importance: Option<&[f32; 256]>,
    lo: f32,
    scale_lo: f32,
    store: impl FnOnce(f32) -> f32,
) -> Quantized {
    let groups = src.as_chunks::<16>().0;
    let exact: [f32; 16] =
        std::array::from_fn(|g| search::symmetric(&groups[g], importance.map(|i| &i.as_chunks().0[g]), lo));
    let largest = search::largest(&exact);
    let d = store(largest / scale_lo);
    let scales = exact.map(|s| search::nearest(search::ratio(s, d), scale_lo, -scale_lo - 1.0) as i8);
    let codes = std::array::from_fn(|i| {
        let scale = d * f32::from(scales[i / 16]);
        search::nearest(search::ratio(src[i], scale), lo, -lo - 1.0) as i8
    });
    Quantized { scales, codes }
}

#[allow(non_camel_case_types)] // the format's own name
pub(super) struct Q6_K;

impl Block<256, 210> for Q6_K {
    fn decode(src: &[u8; 210], dst: &mut [f32; 256]) {
        let (low, high, scales) = (&src[..128], &src[128..192], &src[192..208]);
        let d = f16_at(src, 208);
        for (i, x) in dst.iter_mut().enumerate() {
            let (low_at, low_shift, high_at, high_shift) = q6_place(i);
            let q = low[low_at] >> low_shift & 15 | (high[high_at] >> high_shift & 3) << 4;
            *x = d * f32::from(scales[i / 16] as i8) * (f32::from(q) - 32.0);
        }
    }

    fn encode(src: &[f32; 256], importance: Option<&[f32; 256]>, dst: &mut [u8; 210]) {
        let Quantized { scales, codes } = quantize(src, importance, -32.0, -128.0, |d| put_f16(dst, 208, d));
        dst[..192].fill(0);
        for (i, q) in codes.iter().map(|&q| (q + 32) as u8).enumerate() {
            let (low_at, low_shift, high_at, high_shift) = q6_place(i);
            dst[low_at] |= (q & 15) << low_shift;
            dst[128 + high_at] |= (q >> 4) << high_shift;
        }
        dst[192..208].copy_from_slice(&scales.map(|s| s as u8));
    }
}

/// Byte and shift of the low 4 bits, byte and shift of the high 2 bits of value
/// `i`: each half of 128 has 64 bytes for the former, 32 for the latter.
fn q6_place(i: usize) -> (usize, usize, usize, usize) {
    let (half, i) = (i / 128, i % 128);
    (64 * half + i % 64, 4 * (i / 64), 32 * half + i % 32, 2 * (i / 32))
}

#[allow(non_camel_case_types)] // the format's own name
pub(super) struct Q3_K;

impl Block<256, 110> for Q3_K {
    fn decode(src: &[u8; 110], dst: &mut [f32; 256]) {
        let (high, low) = (&src[..32], &src[32..96]);
        let scales = q3_scales(src[96..108].try_into().expect("twelve bytes"));
        let d = f16_at(src, 108);
        for (i, x) in dst.iter_mut().enumerate() {
            let (low_at, low_shift, bit) = q3_place(i);
            let q = low[low_at] >> low_shift & 3 | (high[i % 32] >> bit & 1) << 2;
            *x = d * f32::from(scales[i / 16]) * (f32::from(q) - 4.0);
        }
    }

    fn encode(src: &[f32; 256], importance: Option<&[f32; 256]>, dst: &mut [u8; 110]) {
        let Quantized { scales, codes } = quantize(src, importance, -4.0, -32.0, |d| put_f16(dst, 108, d));
        dst[..108].fill(0);
        for (i, q) in codes.iter().map(|&q| (q + 4) as u8).enumerate() {
            let (low_at, low_shift, bit) = q3_place(i);
            dst[i % 32] |= (q >> 2) << bit;
            dst[32 + low_at] |= (q & 3) << low_shift;
        }
        for (g, s) in scales.iter().map(|&s| (s + 32) as u8).enumerate() {
            dst[96 + g % 8] |= (s & 15) << (4 * (g / 8));
            dst[104 + g % 4] |= (s >> 4) << (2 * (g / 4));
        }
    }
}

/// Byte and shift of the low 2 bits, and which bit of byte `i % 32` is the high one.
fn q3_place(i: usize) -> (usize, usize, usize) {
    (32 * (i / 128) + i % 32, 2 * (i % 128 / 32), i / 32)
}

/// 16 scales of 6 bits: the low nibbles of 8 bytes, their high nibbles, and the
/// upper 2 bits in the last 4 bytes.
fn q3_scales(packed: &[u8; 12]) -> [i8; 16] {
    std::array::from_fn(|g| {
        let low = packed[g % 8] >> (4 * (g / 8)) & 15;
        let high = packed[8 + g % 4] >> (2 * (g / 4)) & 3;
        (low | high << 4) as i8 - 32
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 16 groups of different scales, each an exact grid with its lowest code used.
    fn grid(lo: i32, scales: impl Fn(usize) -> i32) -> [f32; 256] {
        std::array::from_fn(|i| (0.25 * scales(i / 16) as f32) * ((i * 7 % 16) as i32 % -lo + lo) as f32)
    }

    #[test]
    fn exact_blocks_survive() {
        let x = grid(-4, |g| if g == 0 { -32 } else { 2 * g as i32 });
        let (mut block, mut y) = ([0; 110], [0.0; 256]);
        Q3_K::encode(&x, None, &mut block);
        Q3_K::decode(&block, &mut y);
        assert_eq!(x, y);

        let x = grid(-32, |g| if g == 0 { -128 } else { 8 * g as i32 });
        let (mut block, mut y) = ([0; 210], [0.0; 256]);
        Q6_K::encode(&x, None, &mut block);
        Q6_K::decode(&block, &mut y);
        assert_eq!(x, y);
    }
}
