//! Block types: how rows of numbers are packed, one file per group of types.
//!
//! The layouts are ggml's, to the byte, because files are full of them, and
//! unpacking gives the same bits: every value is computed by the same float
//! operations in the same order. Packing is our own, and only has to produce
//! blocks that unpack to something near the input.
//!
//! These are the plain versions, for conversion, tests and rarely used types;
//! the executors have their own kernels that compute on packed blocks.

mod codebook;
mod float;
mod k_affine;
mod k_symmetric;
mod legacy;
mod search;

use half::f16;

use crate::DType;

/// A block of `LEN` values in `BYTES` bytes.
trait Block<const LEN: usize, const BYTES: usize> {
    fn decode(src: &[u8; BYTES], dst: &mut [f32; LEN]);

    /// The values are finite and below [`LARGEST`]. An error in a value counts with
    /// its importance, where that is known; then it is positive.
    fn encode(src: &[f32; LEN], importance: Option<&[f32; LEN]>, dst: &mut [u8; BYTES]);
}

impl DType {
    /// Unpacks blocks to floats.
    ///
    /// # Panics
    /// If `src` is not whole blocks or `dst` is not as long as their contents.
    pub fn dequantize(self, src: &[u8], dst: &mut [f32]) {
        self.check_lengths(src.len(), dst.len());
        match self {
            Self::F32 => float::decode(src, dst, f32::from_le_bytes),
            Self::F16 => float::decode_f16(src, dst),
            Self::BF16 => float::decode(src, dst, |b| half::bf16::from_le_bytes(b).to_f32()),
            Self::Q8_0 => decode(legacy::Q8_0, src, dst),
            Self::Q4_0 => decode(legacy::Q4_0, src, dst),
            Self::Q4_1 => decode(legacy::Q4_1, src, dst),
            Self::Q5_0 => decode(legacy::Q5_0, src, dst),
            Self::Q5_1 => decode(legacy::Q5_1, src, dst),
            Self::Q2_K => decode(k_affine::Q2_K, src, dst),
            Self::Q3_K => decode(k_symmetric::Q3_K, src, dst),
            Self::Q4_K => decode(k_affine::Q4_K, src, dst),
            Self::Q5_K => decode(k_affine::Q5_K, src, dst),
            Self::Q6_K => decode(k_symmetric::Q6_K, src, dst),
            Self::IQ4_NL => decode(codebook::IQ4_NL, src, dst),
            Self::IQ4_XS => decode(codebook::IQ4_XS, src, dst),
            Self::MXFP4 => decode(codebook::MXFP4, src, dst),
        }
    }

    /// Packs floats into blocks. The float types round to nearest, ties to even,
    /// and keep infinities and NaN; in the block types, which have neither, NaN
    /// becomes 0 and what is too large for the scale the largest value possible.
    ///
    /// # Panics
    /// If `src` is not whole blocks or `dst` is not as long as their packed form.
    pub fn quantize(self, src: &[f32], dst: &mut [u8]) {
        self.pack(src, None, dst);
    }

    /// As [`DType::quantize`] for rows whose columns matter more or less: an error
    /// counts with the `importance` of its column, which is the mean square of what
    /// a model multiplies that column with. Types that round each value by itself
    /// have no choice to make and ignore it.
    ///
    /// # Panics
    /// If `src` is not rows of as many values as there are importances, or as
    /// [`DType::quantize`] does.
    pub fn quantize_weighted(self, src: &[f32], importance: &[f32], dst: &mut [u8]) {
        assert!(src.len().is_multiple_of(importance.len().max(1)), "rows of {} values", importance.len());
        self.pack(src, relative(importance).as_deref(), dst);
    }

    fn pack(self, src: &[f32], importance: Option<&[f32]>, dst: &mut [u8]) {
        self.check_lengths(dst.len(), src.len());
        match self {
            Self::F32 => float::encode(src, dst, f32::to_le_bytes),
            Self::F16 => float::encode(src, dst, |v| f16::from_f32(v).to_le_bytes()),
            Self::BF16 => float::encode(src, dst, |v| half::bf16::from_f32(v).to_le_bytes()),
            Self::Q8_0 => encode(legacy::Q8_0, src, importance, dst),
            Self::Q4_0 => encode(legacy::Q4_0, src, importance, dst),
            Self::Q4_1 => encode(legacy::Q4_1, src, importance, dst),
            Self::Q5_0 => encode(legacy::Q5_0, src, importance, dst),
            Self::Q5_1 => encode(legacy::Q5_1, src, importance, dst),
            Self::Q2_K => encode(k_affine::Q2_K, src, importance, dst),
            Self::Q3_K => encode(k_symmetric::Q3_K, src, importance, dst),
            Self::Q4_K => encode(k_affine::Q4_K, src, importance, dst),
            Self::Q5_K => encode(k_affine::Q5_K, src, importance, dst),
            Self::Q6_K => encode(k_symmetric::Q6_K, src, importance, dst),
            Self::IQ4_NL => encode(codebook::IQ4_NL, src, importance, dst),
            Self::IQ4_XS => encode(codebook::IQ4_XS, src, importance, dst),
            Self::MXFP4 => encode(codebook::MXFP4, src, importance, dst),
        }
    }

    fn check_lengths(self, bytes: usize, values: usize) {
        assert!(self.row_bytes(values) == Some(bytes), "{bytes} bytes of {self} do not hold {values} values");
    }
}

fn decode<B, const LEN: usize, const BYTES: usize>(_: B, src: &[u8], dst: &mut [f32])
where
    B: Block<LEN, BYTES>,
{
    for (src, dst) in src.as_chunks().0.iter().zip(dst.as_chunks_mut().0) {
        B::decode(src, dst);
    }
}

fn encode<B, const LEN: usize, const BYTES: usize>(
    _: B,
    src: &[f32],
    importance: Option<&[f32]>,
    dst: &mut [u8],
) where
    B: Block<LEN, BYTES>,
{
    let blocks = src.as_chunks::<LEN>().0.iter().zip(dst.as_chunks_mut().0);
    let mut importance = importance.map(|row| row.as_chunks().0.iter().cycle());
    for (src, dst) in blocks {
        B::encode(&src.map(tame), importance.as_mut().and_then(Iterator::next), dst);
    }
}

/// Importances around 1 and never 0, so that a group of which nothing is needed
/// still has a best scale; `None` if they say nothing.
fn relative(importance: &[f32]) -> Option<Vec<f32>> {
    const LEAST: f32 = 1e-6;
    let mean = importance.iter().map(|&v| f64::from(v)).sum::<f64>() / importance.len() as f64;
    let usable = mean.is_finite() && mean > 0.0;
    usable.then(|| importance.iter().map(|&v| ((f64::from(v) / mean) as f32).max(LEAST)).collect())
}

/// Above what any block can hold (65504 * 127 * 32), and small enough that sums
/// of squares stay finite.
const LARGEST: f32 = 1e9;

fn tame(value: f32) -> f32 {
    if value.is_nan() { 0.0 } else { value.clamp(-LARGEST, LARGEST) }
}

/// The half-precision number at `at`.
fn f16_at(src: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([src[at], src[at + 1]]).to_f32()
}

/// Stores a scale at `at` and returns what it was rounded to. Scales are finite:
/// an infinite one would make NaN out of every zero.
fn put_f16(dst: &mut [u8], at: usize, value: f32) -> f32 {
    let rounded = f16::from_f32(value.clamp(f16::MIN.to_f32(), f16::MAX.to_f32()));
    dst[at..at + 2].copy_from_slice(&rounded.to_le_bytes());
    rounded.to_f32()
}

/// 32 codes of 4 bits: byte `j` holds value `j` below and value `j + 16` above.
fn unpack_nibbles(src: &[u8]) -> [u8; 32] {
    std::array::from_fn(|j| if j < 16 { src[j] & 15 } else { src[j - 16] >> 4 })
}

/// The lowest 4 bits of 32 codes, as [`unpack_nibbles`] reads them.
fn pack_nibbles(codes: &[u8; 32], dst: &mut [u8]) {
    for (j, byte) in dst.iter_mut().enumerate() {
        *byte = codes[j] & 15 | codes[j + 16] << 4;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(dtype: DType, values: &[f32]) -> Vec<f32> {
        let mut packed = vec![0; dtype.row_bytes(values.len()).unwrap()];
        dtype.quantize(values, &mut packed);
        let mut unpacked = vec![0.0; values.len()];
        dtype.dequantize(&packed, &mut unpacked);
        unpacked
    }

    #[test]
    fn zeros_stay_zeros() {
        for dtype in DType::ALL {
            assert!(round_trip(dtype, &[0.0; 512]).iter().all(|&v| v == 0.0), "{dtype}");
            assert!(round_trip(dtype, &[1e-40; 256]).iter().all(|&v| v.abs() < 1e-39), "{dtype}");
        }
    }

    #[test]
    fn extreme_values_give_finite_blocks() {
        let extremes =
            [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN_POSITIVE, -1e-45, 3e4, -0.0];
        for dtype in DType::ALL.into_iter().filter(|t| t.block_len() > 1) {
            for (i, &extreme) in extremes.iter().enumerate() {
                let mut values = [0.5; 256];
                values[17 * i] = extreme;
                let out = round_trip(dtype, &values);
                assert!(out.iter().all(|v| v.is_finite()), "{dtype} {extreme}");
                let out = round_trip(dtype, &[extreme; 256]);
                assert!(out.iter().all(|v| v.is_finite()), "{dtype} {extreme}");
            }
        }
    }

    #[test]
    fn floats_round_to_nearest() {
        let third = 1.0f32 / 3.0;
        assert_eq!(round_trip(DType::F32, &[third, f32::INFINITY]), [third, f32::INFINITY]);
        // 2049 lies between the halves 2048 and 2050, 2051 between 2050 and 2052: ties to even.
        assert_eq!(round_trip(DType::F16, &[2049.0, 2051.0, 1e6]), [2048.0, 2052.0, f32::INFINITY]);
        assert_eq!(
            round_trip(DType::BF16, &[257.0, 259.0, -(2f32.powi(100))]),
            [256.0, 260.0, -(2f32.powi(100))]
        );
        assert!(round_trip(DType::BF16, &[f32::NAN])[0].is_nan());
    }

    #[test]
    fn what_matters_is_packed_better() {
        // Half of the columns matter; the others are larger and would have their way.
        let x: [f32; 512] = std::array::from_fn(|i| {
            (i as f32 * 1.3).sin() * if i % 8 < 4 { 0.3 } else { 1.0 + (i % 7) as f32 * 0.1 }
        });
        let importance: [f32; 256] = std::array::from_fn(|i| if i % 8 < 4 { 100.0 } else { 0.0 });
        let weighted = |dtype: DType, out: &[f32]| -> f64 {
            let error = |i: usize| f64::from(importance[i % 256]) * f64::from(x[i] - out[i]).powi(2);
            assert_eq!(out.len(), 512, "{dtype}");
            (0..512).map(error).sum()
        };
        for dtype in DType::ALL {
            let mut packed = vec![0; dtype.row_bytes(512).unwrap()];
            dtype.quantize_weighted(&x, &importance, &mut packed);
            let mut out = vec![0.0; 512];
            dtype.dequantize(&packed, &mut out);
            let (with, without) = (weighted(dtype, &out), weighted(dtype, &round_trip(dtype, &x)));
            match dtype {
                DType::F32 | DType::F16 | DType::BF16 | DType::Q8_0 => assert_eq!(with, without, "{dtype}"),
                _ => assert!(with < 0.99 * without, "{dtype}: {with} against {without}"),
            }
            // Importances that say nothing change nothing.
            let mut plain = packed.clone();
            dtype.quantize(&x, &mut plain);
            dtype.quantize_weighted(&x, &[0.0; 256], &mut packed);
            assert_eq!(packed, plain, "{dtype}");
        }
    }

    #[test]
    #[should_panic(expected = "19 bytes of Q4_0 do not hold 32 values")]
    fn lengths_must_fit() {
        DType::Q4_0.quantize(&[0.0; 32], &mut [0; 19]);
    }
}
