//! Superblocks of 256 in groups with a scale and a minimum: Q2_K, Q4_K, Q5_K.
//!
//! ```text
//! Q2_K  scales[16] low[64] d dmin              16 groups of 16
//! Q4_K  d dmin scales[12] low[128]              8 groups of 32
//! Q5_K  d dmin scales[12] high[32] low[128]     8 groups of 32
//! ```
//! A value is `(d s) q - (dmin m)`, where `s` and `m` are the group's scale and
//! minimum: 4 bits each in Q2_K, 6 bits each in the others.

use super::{Block, f16_at, put_f16, search};

/// A superblock as the best integers.
struct Quantized<const GROUPS: usize> {
    scales: [u8; GROUPS],
    mins: [u8; GROUPS],
    codes: [u8; 256],
}

/// Quantizes with codes up to `max` and scales up to `max_scale`. `store` rounds
/// the superblock's scale and minimum to what the file will hold.
fn quantize<const GROUPS: usize, const LEN: usize>(
    src: &[f32; 256],
    importance: Option<&[f32; 256]>,
    max: f32,
    max_scale: f32,
    mut store: impl FnMut(f32, f32) -> (f32, f32),
) -> Quantized<GROUPS> {
    let groups = src.as_chunks::<LEN>().0;
    let exact: [(f32, f32); GROUPS] = std::array::from_fn(|g| {
        search::affine(&groups[g], importance.map(|i| &i.as_chunks().0[g]), max, 0.0)
    });
    let largest = exact.iter().fold((0.0f32, 0.0f32), |(d, m), e| (d.max(e.0), m.max(-e.1)));
    let (d, dmin) = store(largest.0 / max_scale, largest.1 / max_scale);
    let code = |value, scale| search::nearest(search::ratio(value, scale), 0.0, max_scale) as u8;
    let scales = exact.map(|e| code(e.0, d));
    let mins = exact.map(|e| code(-e.1, dmin));
    let codes = |d: f32, dmin: f32| -> [f32; 256] {
        std::array::from_fn(|i| {
            let (scale, min) = (d * f32::from(scales[i / LEN]), dmin * f32::from(mins[i / LEN]));
            search::nearest(search::ratio(src[i] + min, scale), 0.0, max)
        })
    };
    // Once more the superblock's two numbers, now that all others are integers.
    let first = codes(d, dmin);
    let mut sums = search::Plane::default();
    for g in 0..GROUPS {
        let (x, q): (&[f32; LEN], &[f32; LEN]) = (&groups[g], &first.as_chunks().0[g]);
        let importance = importance.map(|i| &i.as_chunks().0[g]);
        sums.add(x, q, importance, [f32::from(scales[g]), -f32::from(mins[g])]);
    }
    let (d, dmin) = match sums.solve() {
        Some((better, offset)) if better > 0.0 && offset >= 0.0 => store(better, offset),
        _ => (d, dmin),
    };
    Quantized { scales, mins, codes: codes(d, dmin).map(|q| q as u8) }
}

#[allow(non_camel_case_types)] // the format's own name
pub(super) struct Q2_K;

impl Block<256, 84> for Q2_K {
    fn decode(src: &[u8; 84], dst: &mut [f32; 256]) {
        let (scales, low) = (&src[..16], &src[16..80]);
        let (d, dmin) = (f16_at(src, 80), f16_at(src, 82));
        for (i, x) in dst.iter_mut().enumerate() {
            let (at, shift) = q2_place(i);
            let (s, m) = (scales[i / 16] & 15, scales[i / 16] >> 4);
            *x = d * f32::from(s) * f32::from(low[at] >> shift & 3) - dmin * f32::from(m);
        }
    }

    fn encode(src: &[f32; 256], importance: Option<&[f32; 256]>, dst: &mut [u8; 84]) {
        let Quantized { scales, mins, codes } = quantize::<16, 16>(src, importance, 3.0, 15.0, |d, dmin| {
            (put_f16(dst, 80, d), put_f16(dst, 82, dmin))
        });
        dst[..80].fill(0);
        for g in 0..16 {
            dst[g] = scales[g] | mins[g] << 4;
        }
        for (i, q) in codes.into_iter().enumerate() {
            let (at, shift) = q2_place(i);
            dst[16 + at] |= q << shift;
        }
    }
}

/// Byte and shift of code `i`: each half of 128 has 32 bytes, values 32 apart share one.
fn q2_place(i: usize) -> (usize, usize) {
    (32 * (i / 128) + i % 32, 2 * (i % 128 / 32))
}

/// Scales and minimums of 8 groups in 12 bytes: the first 4 of each as the low 6
/// bits of 8 bytes, whose top 2 bits complete the nibbles of the last 4 bytes.
fn unpack_scales(packed: &[u8]) -> ([u8; 8], [u8; 8]) {
    let part = |g: usize, first: usize, nibble: usize| match g {
        0..4 => packed[first + g] & 63,
        _ => packed[4 + g] >> nibble & 15 | packed[first + g - 4] >> 6 << 4,
    };
    (std::array::from_fn(|g| part(g, 0, 0)), std::array::from_fn(|g| part(g, 4, 4)))
}

fn pack_scales(scales: &[u8; 8], mins: &[u8; 8], packed: &mut [u8]) {
    for g in 0..4 {
        packed[g] = scales[g] | scales[g + 4] >> 4 << 6;
        packed[4 + g] = mins[g] | mins[g + 4] >> 4 << 6;
        packed[8 + g] = scales[g + 4] & 15 | mins[g + 4] << 4;
    }
}

/// Q4_K, and Q5_K with one more bit: bit `g` of `high[i % 32]` belongs to value
/// `i` of group `g`.
struct Affine<const BITS: usize>;

impl<const BITS: usize> Affine<BITS> {
    /// Where the nibbles start.
    const LOW: usize = if BITS == 5 { 48 } else { 16 };

    fn decode(src: &[u8], dst: &mut [f32; 256]) {
        let (d, dmin) = (f16_at(src, 0), f16_at(src, 2));
        let (scales, mins) = unpack_scales(&src[4..16]);
        for (g, dst) in dst.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            let (scale, min) = (d * f32::from(scales[g]), dmin * f32::from(mins[g]));
            for (l, x) in dst.iter_mut().enumerate() {
                let (at, shift) = (Self::LOW + 32 * (g / 2) + l, 4 * (g % 2));
                let high = if BITS == 5 { (src[16 + l] >> g & 1) << 4 } else { 0 };
                *x = scale * f32::from(src[at] >> shift & 15 | high) - min;
            }
        }
    }

    fn encode(src: &[f32; 256], importance: Option<&[f32; 256]>, dst: &mut [u8]) {
        let max = ((1 << BITS) - 1) as f32;
        let Quantized { scales, mins, codes } = quantize::<8, 32>(src, importance, max, 63.0, |d, dmin| {
            (put_f16(dst, 0, d), put_f16(dst, 2, dmin))
        });
        dst[4..].fill(0);
        pack_scales(&scales, &mins, &mut dst[4..16]);
        for (i, q) in codes.into_iter().enumerate() {
            let (g, l) = (i / 32, i % 32);
            dst[Self::LOW + 32 * (g / 2) + l] |= (q & 15) << (4 * (g % 2));
            if BITS == 5 {
                dst[16 + l] |= (q >> 4) << g;
            }
        }
    }
}

macro_rules! blocks {
    ($($name:ident: $layout:ty, $bytes:literal;)*) => {$(
        #[allow(non_camel_case_types)] // the format's own name
        pub(super) struct $name;

        impl Block<256, $bytes> for $name {
            fn decode(src: &[u8; $bytes], dst: &mut [f32; 256]) {
                <$layout>::decode(src, dst);
            }
            fn encode(src: &[f32; 256], importance: Option<&[f32; 256]>, dst: &mut [u8; $bytes]) {
                <$layout>::encode(src, importance, dst);
            }
        }
    )*};
}
blocks! {
    Q4_K: Affine<4>, 144;
    Q5_K: Affine<5>, 176;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_survive_packing() {
        let scales = [1, 2, 3, 63, 48, 15, 33, 62];
        let mins = [63, 0, 17, 31, 5, 16, 47, 63];
        let mut packed = [0; 12];
        pack_scales(&scales, &mins, &mut packed);
        assert_eq!(unpack_scales(&packed), (scales, mins));
    }

    #[test]
    fn exact_blocks_survive() {
        // Every group uses its lowest and highest code; one group has the largest
        // scale and minimum, so that the superblock's are exact.
        fn grid<const GROUPS: usize>(max: usize, max_scale: usize) -> [f32; 256] {
            std::array::from_fn(|i| {
                let s = max_scale - i / (256 / GROUPS);
                let q = if i % 16 == 3 { max } else { (i % 16) * 5 % 16 * max / 15 };
                (0.125 * s as f32) * q as f32 - 0.25 * s as f32
            })
        }
        let x = grid::<16>(3, 15);
        let (mut block, mut y) = ([0; 84], [0.0; 256]);
        Q2_K::encode(&x, None, &mut block);
        Q2_K::decode(&block, &mut y);
        // Group 15 has scale 0: all its values are the offset, which is 0.
        assert_eq!(x, y);

        let x = grid::<8>(15, 63);
        let (mut block, mut y) = ([0; 144], [0.0; 256]);
        Q4_K::encode(&x, None, &mut block);
        Q4_K::decode(&block, &mut y);
        assert_eq!(x, y);

        let x = grid::<8>(31, 63);
        let (mut block, mut y) = ([0; 176], [0.0; 256]);
        Q5_K::encode(&x, None, &mut block);
        Q5_K::decode(&block, &mut y);
        assert_eq!(x, y);
    }
}
