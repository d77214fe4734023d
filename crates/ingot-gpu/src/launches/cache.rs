//! How keys and values are stored, as kernels are told (`kernels/include/cache.h`).

use crate::eights;
use ingot_format::DType;
use ingot_plan::PAGE;

/// The option CACHE of the kernels that touch a cache with rows of `width` values.
///
/// # Panics
/// If keys and values are never stored so.
pub fn option(cache: DType, width: usize) -> i64 {
    match cache {
        DType::F16 => 0,
        DType::F32 => 1,
        DType::Q8_0 if in_eights(cache, width) => 3,
        DType::Q8_0 => 2,
        other => panic!("keys and values as {other:?}"),
    }
}

/// True if rows of `width` values are on the device in [`eights`], which takes no more bytes
/// then and makes loads wide.
pub fn in_eights(cache: DType, width: usize) -> bool {
    cache == DType::Q8_0 && width.is_multiple_of(256)
}

/// Rows of `width` values as they are on the device, from what the plan says.
pub fn arranged(cache: DType, width: usize, rows: Vec<u8>) -> Vec<u8> {
    if !in_eights(cache, width) {
        return rows;
    }
    let mut out = vec![0; rows.len()];
    eights::arrange(cache, width, &rows, &mut out);
    out
}

/// The inverse of [`arranged`].
pub fn restored(cache: DType, width: usize, rows: Vec<u8>) -> Vec<u8> {
    if !in_eights(cache, width) {
        return rows;
    }
    let mut out = vec![0; rows.len()];
    eights::restore(cache, width, &rows, &mut out);
    out
}

/// True if heads of `n` values can be stored so: attention works on pieces of 8
/// values of at most 256, and blocks of Q8_0 must not straddle heads.
pub fn supports(cache: DType, n: usize) -> bool {
    let unit = match cache {
        DType::F16 | DType::F32 => 8,
        DType::Q8_0 => 32,
        _ => return false,
    };
    n.is_multiple_of(unit) && (1..=256).contains(&n)
}

/// Bytes of a page of one layer with rows of `width` values.
pub fn page_bytes(cache: DType, width: usize) -> usize {
    2 * PAGE * cache.row_bytes(width).expect("whole blocks")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_do_not_straddle_heads() {
        assert!(supports(DType::F16, 80) && supports(DType::F32, 8) && supports(DType::Q8_0, 96));
        assert!(!supports(DType::Q8_0, 80) && !supports(DType::F16, 12) && !supports(DType::F16, 264));
        assert!(!supports(DType::F16, 0) && !supports(DType::Q4_0, 64));
    }

    #[test]
    fn pages_hold_keys_and_values() {
        assert_eq!(page_bytes(DType::F16, 64), 2 * 64 * 64 * 2);
        assert_eq!(page_bytes(DType::Q8_0, 64), 2 * 64 * 68);
    }
}
