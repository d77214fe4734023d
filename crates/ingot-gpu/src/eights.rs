//! Blocks in eights: how devices that copy weights to memory of their own have blocks of some types.
//!
//! In a file a block of Q8_0 is 34 bytes and one of Q6_K 210, so that no load is wide and aligned. Here
//! eight scales come first, of 2 bytes each, then the eight blocks without them; the last of a row
//! may be fewer than eight. The twin of this layout is `kernels/include/blocks/eights.h`.

use ingot_format::DType;
use std::ops::Range;

/// What a row begins at a multiple of.
pub const ALIGN: usize = 16;
const EIGHT: usize = 8;
const SCALE: usize = 2;

/// Where the scale and the rest are in a block as it is stored, for types that come in eights.
fn fields(dtype: DType) -> Option<(Range<usize>, Range<usize>)> {
    match dtype {
        DType::Q8_0 => Some((0..2, 2..34)),
        DType::Q6_K => Some((208..210, 0..208)),
        _ => None,
    }
}

/// True for types that come in eights.
pub fn is_arranged(dtype: DType) -> bool {
    fields(dtype).is_some()
}

/// Bytes of a row of `cols` values, whole blocks of a type that comes in eights.
pub fn row_bytes(dtype: DType, cols: usize) -> Option<usize> {
    let (_, body) = fields(dtype)?;
    let blocks = cols / dtype.block_len();
    Some(blocks * body.len() + blocks.div_ceil(EIGHT) * EIGHT * SCALE)
}

/// Rows of `cols` values as they are stored, put in eights into `out`, which has [`row_bytes`] for each.
///
/// # Panics
/// If the type does not come in eights, or the sizes do not match.
pub fn arrange(dtype: DType, cols: usize, rows: &[u8], out: &mut [u8]) {
    let (scale, body) = fields(dtype).expect("a type that comes in eights");
    let (from, to) =
        (dtype.row_bytes(cols).expect("whole blocks"), row_bytes(dtype, cols).expect("has fields"));
    assert!(
        rows.len().is_multiple_of(from) && rows.len() / from * to == out.len(),
        "{dtype}: rows of {cols}"
    );
    for (row, out) in rows.chunks_exact(from).zip(out.chunks_exact_mut(to)) {
        let eights = row.chunks(EIGHT * dtype.block_bytes());
        for (eight, out) in eights.zip(out.chunks_mut(EIGHT * (SCALE + body.len()))) {
            let (scales, bodies) = out.split_at_mut(EIGHT * SCALE);
            let blocks = eight.chunks_exact(dtype.block_bytes());
            for ((block, body_to), scale_to) in
                blocks.zip(bodies.chunks_exact_mut(body.len())).zip(scales.chunks_exact_mut(SCALE))
            {
                scale_to.copy_from_slice(&block[scale.clone()]);
                body_to.copy_from_slice(&block[body.clone()]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_come_first() {
        let cols = 32 * 11; // one eight and three
        let stored: Vec<u8> = (0..2 * 11 * 34).map(|i| (i % 251) as u8).collect();
        let bytes = row_bytes(DType::Q8_0, cols).unwrap();
        assert_eq!(bytes, 16 + 8 * 32 + 16 + 3 * 32);
        let mut out = vec![0; 2 * bytes];
        arrange(DType::Q8_0, cols, &stored, &mut out);
        for row in 0..2 {
            for block in 0..11 {
                let stored = &stored[34 * (11 * row + block)..][..34];
                let eight = &out[bytes * row + block / 8 * 272..];
                assert_eq!(eight[2 * (block % 8)..][..2], stored[..2]);
                assert_eq!(eight[16 + 32 * (block % 8)..][..32], stored[2..]);
            }
        }
        // What is not there is zero.
        assert!(out[272 + 6..][..10].iter().all(|b| *b == 0));
    }

    #[test]
    fn rows_are_aligned() {
        for dtype in DType::ALL.into_iter().filter(|d| is_arranged(*d)) {
            for blocks in 1..20 {
                let bytes = row_bytes(dtype, blocks * dtype.block_len()).unwrap();
                assert_eq!(bytes % ALIGN, 0);
            }
        }
        assert_eq!(row_bytes(DType::Q4_K, 256), None);
        assert_eq!(row_bytes(DType::Q6_K, 2048), Some(8 * 210));
    }
}
