//! F32, F16 and BF16: no blocks, one value after the other.

/// Converts little-endian numbers of `N` bytes to floats.
pub(super) fn decode<const N: usize>(src: &[u8], dst: &mut [f32], convert: impl Fn([u8; N]) -> f32) {
    for (src, dst) in src.as_chunks().0.iter().zip(dst) {
        *dst = convert(*src);
    }
}

/// Converts floats to little-endian numbers of `N` bytes.
pub(super) fn encode<const N: usize>(src: &[f32], dst: &mut [u8], convert: impl Fn(f32) -> [u8; N]) {
    for (src, dst) in src.iter().zip(dst.as_chunks_mut().0) {
        *dst = convert(*src);
    }
}
