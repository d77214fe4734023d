//! How keys and values are stored, as kernels are told (`kernels/include/cache.h`).

use ingot_format::DType;
use ingot_plan::PAGE;

/// The option CACHE of the kernels that touch the cache.
///
/// # Panics
/// If keys and values are never stored so.
pub fn option(cache: DType) -> i64 {
    match cache {
        DType::F16 => 0,
        DType::F32 => 1,
        DType::Q8_0 => 2,
        other => panic!("keys and values as {other:?}"),
    }
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
    let row = match option(cache) {
        0 => 2 * width,
        1 => 4 * width,
        _ => width / 32 * 34,
    };
    2 * PAGE * row
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
