//! Types whose codes name entries of a table: IQ4_NL, IQ4_XS, MXFP4.
//!
//! ```text
//! IQ4_NL  d nibbles[16]                                  32 values   x = d T[q]
//! IQ4_XS  d scales_high[2] scales_low[4] nibbles[128]   256 values   x = d (s - 32) T[q]
//! MXFP4   e nibbles[16]                                  32 values   x = 2^(e - 128) M[q]
//! ```
//! IQ4_XS has 8 groups of 32, each packed like a block of 32.

use super::{Block, f16_at, pack_nibbles, put_f16, search, unpack_nibbles};

/// Denser around zero than at the ends, as weights are.
const NONLINEAR: [f32; 16] = [
    -127.0, -104.0, -83.0, -65.0, -49.0, -35.0, -22.0, -10.0, 1.0, 13.0, 25.0, 38.0, 53.0, 69.0, 89.0, 113.0,
];

/// Twice the magnitudes of 4-bit floats (sign, 2 bits of exponent, 1 of mantissa).
const MAGNITUDES: [f32; 8] = [0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0];

/// The index of the entry of an ascending table that is nearest to `value`.
fn nearest_entry(table: &[f32], value: f32) -> usize {
    table.windows(2).filter(|pair| value > 0.5 * (pair[0] + pair[1])).count()
}

/// The best scale for a group of IQ4 values.
fn nonlinear_scale(x: &[f32; 32], importance: Option<&[f32; 32]>) -> f32 {
    let last_step = NONLINEAR[1] - NONLINEAR[0];
    search::scale(x, importance, NONLINEAR[0], last_step, |value| {
        // Climbs the table step by step: without a lookup this compiles to vector code.
        NONLINEAR.windows(2).fold(NONLINEAR[0], |at, pair| {
            at + if value > 0.5 * (pair[0] + pair[1]) { pair[1] - pair[0] } else { 0.0 }
        })
    })
}

fn encode_nonlinear(x: &[f32; 32], scale: f32, dst: &mut [u8]) {
    pack_nibbles(&x.map(|x| nearest_entry(&NONLINEAR, search::ratio(x, scale)) as u8), dst);
}

fn decode_nonlinear(src: &[u8], scale: f32, dst: &mut [f32]) {
    for (x, q) in dst.iter_mut().zip(unpack_nibbles(src)) {
        *x = scale * NONLINEAR[usize::from(q)];
    }
}

#[allow(non_camel_case_types)] // the format's own name
pub(super) struct IQ4_NL;

impl Block<32, 18> for IQ4_NL {
    fn decode(src: &[u8; 18], dst: &mut [f32; 32]) {
        decode_nonlinear(&src[2..], f16_at(src, 0), dst);
    }

    fn encode(src: &[f32; 32], importance: Option<&[f32; 32]>, dst: &mut [u8; 18]) {
        let d = put_f16(dst, 0, nonlinear_scale(src, importance));
        encode_nonlinear(src, d, &mut dst[2..]);
    }
}

#[allow(non_camel_case_types)] // the format's own name
pub(super) struct IQ4_XS;

impl Block<256, 136> for IQ4_XS {
    fn decode(src: &[u8; 136], dst: &mut [f32; 256]) {
        let d = f16_at(src, 0);
        let high = u16::from_le_bytes([src[2], src[3]]);
        for (g, dst) in dst.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            let low = src[4 + g / 2] >> (4 * (g % 2)) & 15;
            let s = low | ((high >> (2 * g) & 3) << 4) as u8;
            decode_nonlinear(&src[8 + 16 * g..24 + 16 * g], d * (f32::from(s) - 32.0), dst);
        }
    }

    fn encode(src: &[f32; 256], importance: Option<&[f32; 256]>, dst: &mut [u8; 136]) {
        let groups = src.as_chunks::<32>().0;
        let exact: [f32; 8] =
            std::array::from_fn(|g| nonlinear_scale(&groups[g], importance.map(|i| &i.as_chunks().0[g])));
        let largest = search::largest(&exact);
        let d = put_f16(dst, 0, largest / -32.0);
        dst[2..8].fill(0);
        let mut high = 0u16;
        for (g, group) in groups.iter().enumerate() {
            let s = search::nearest(search::ratio(exact[g], d), -32.0, 31.0);
            encode_nonlinear(group, d * s, &mut dst[8 + 16 * g..24 + 16 * g]);
            let stored = (s + 32.0) as u8;
            dst[4 + g / 2] |= (stored & 15) << (4 * (g % 2));
            high |= u16::from(stored >> 4) << (2 * g);
        }
        dst[2..4].copy_from_slice(&high.to_le_bytes());
    }
}

pub(super) struct MXFP4;

impl Block<32, 17> for MXFP4 {
    fn decode(src: &[u8; 17], dst: &mut [f32; 32]) {
        let d = exponent_value(src[0]);
        for (x, q) in dst.iter_mut().zip(unpack_nibbles(&src[1..])) {
            *x = mx_value(q) * d;
        }
    }

    /// Tries the exponents around the one of the largest value.
    fn encode(src: &[f32; 32], importance: Option<&[f32; 32]>, dst: &mut [u8; 17]) {
        let largest = src.iter().fold(0.0, |max: f32, v| max.max(v.abs()));
        // The exponent field of the largest value, less the 2 of the largest code (6 = 1.5 * 2^2).
        let near = (largest.to_bits() >> 23).saturating_sub(2) as u8;
        let quantized = |e: u8| {
            let d = exponent_value(e);
            let codes = src.map(|x| mx_code(x, d));
            let weight = |i: usize| importance.map_or(1.0, |importance| f64::from(importance[i]));
            let error =
                |i: usize| weight(i) * (f64::from(src[i]) - f64::from(mx_value(codes[i]) * d)).powi(2);
            let error: f64 = (0..32).map(error).sum();
            (error, e, codes)
        };
        let candidates = [near, near.saturating_sub(1), near.saturating_add(1)].map(quantized);
        let [first, rest @ ..] = candidates;
        let (_, e, codes) = rest.into_iter().fold(first, |best, c| if c.0 < best.0 { c } else { best });
        dst[0] = e;
        pack_nibbles(&codes, &mut dst[1..]);
    }
}

/// `2^(e - 128)`, half of what the exponent stands for, as the table is doubled.
/// The lowest two are not normal numbers.
fn exponent_value(e: u8) -> f32 {
    f32::from_bits(if e < 2 { 0x0020_0000 << e } else { u32::from(e - 1) << 23 })
}

fn mx_value(code: u8) -> f32 {
    let magnitude = MAGNITUDES[usize::from(code & 7)];
    if code & 8 != 0 { -magnitude } else { magnitude }
}

fn mx_code(x: f32, d: f32) -> u8 {
    let code = nearest_entry(&MAGNITUDES, (x / d).abs()) as u8;
    if x < 0.0 && code > 0 { code | 8 } else { code }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mxfp4_by_hand() {
        let mut x = [0.0; 32];
        (x[0], x[1], x[16], x[31]) = (6.0, -0.5, 3.0, 1.4);
        let mut block = [0; 17];
        MXFP4::encode(&x, None, &mut block);
        assert_eq!(block[0], 127); // 2^0
        assert_eq!((block[1], block[2], block[16]), (0x57, 0x09, 0x30));
    }

    #[test]
    fn nearest_entries() {
        assert_eq!(nearest_entry(&NONLINEAR, f32::NEG_INFINITY), 0);
        assert_eq!(nearest_entry(&NONLINEAR, 0.0), 8);
        assert_eq!(nearest_entry(&NONLINEAR, -6.0), 7);
        assert_eq!(nearest_entry(&NONLINEAR, 1e9), 15);
    }

    #[test]
    fn exact_blocks_survive() {
        let x: [f32; 256] = std::array::from_fn(|i| {
            let s = if i < 32 { -32.0 } else { (i / 32) as f32 * 4.0 };
            (0.5 * s) * NONLINEAR[i * 3 % 16]
        });
        let (mut block, mut y) = ([0; 136], [0.0; 256]);
        IQ4_XS::encode(&x, None, &mut block);
        IQ4_XS::decode(&block, &mut y);
        assert_eq!(x, y);
    }
}
