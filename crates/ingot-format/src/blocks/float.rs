//! F32, F16 and BF16: no blocks, one value after the other.

use half::f16;
use half::slice::HalfFloatSliceExt;

/// Converts little-endian numbers of `N` bytes to floats.
pub(super) fn decode<const N: usize>(src: &[u8], dst: &mut [f32], convert: impl Fn([u8; N]) -> f32) {
    for (src, dst) in src.as_chunks().0.iter().zip(dst) {
        *dst = convert(*src);
    }
}

/// Converts little-endian half-precision numbers to floats. Asking the processor
/// for its instruction costs more than using it, so many are converted at a time.
pub(super) fn decode_f16(src: &[u8], dst: &mut [f32]) {
    const MANY: usize = 64;
    for (src, dst) in src.chunks(2 * MANY).zip(dst.chunks_mut(MANY)) {
        let mut halves = [f16::ZERO; MANY];
        let halves = &mut halves[..dst.len()];
        for (half, bytes) in halves.iter_mut().zip(src.as_chunks().0) {
            *half = f16::from_le_bytes(*bytes);
        }
        halves.convert_to_f32_slice(dst);
    }
}

/// Converts floats to little-endian numbers of `N` bytes.
pub(super) fn encode<const N: usize>(src: &[f32], dst: &mut [u8], convert: impl Fn(f32) -> [u8; N]) {
    for (src, dst) in src.iter().zip(dst.as_chunks_mut().0) {
        *dst = convert(*src);
    }
}
