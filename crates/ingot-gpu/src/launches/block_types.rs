//! The numbers by which kernels know block types (`kernels/include/blocks/block.h`),
//! and the alignment that rows are sure to have.

use crate::eights;
use ingot_format::DType;

/// A type of weight that no kernel can read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("weights of type {0} are not supported on GPUs")]
pub struct UnsupportedType(pub DType);

/// The number of a type as it is in files.
fn block(dtype: DType) -> Result<i64, UnsupportedType> {
    Ok(match dtype {
        DType::F32 => 0,
        DType::F16 => 1,
        DType::BF16 => 2,
        DType::Q8_0 => 3,
        DType::Q4_0 => 4,
        DType::Q4_1 => 5,
        DType::Q5_0 => 6,
        DType::Q5_1 => 7,
        DType::Q2_K => 8,
        DType::Q3_K => 9,
        DType::Q4_K => 10,
        DType::Q5_K => 11,
        DType::Q6_K => 12,
        DType::IQ4_NL => 13,
        DType::IQ4_XS => 14,
        DType::MXFP4 => 15,
    })
}

/// The number and the alignment, for options named `..BLOCK` and `..ALIGN`, of matrices with rows of
/// `cols` values; `eights`: those that can be are arranged in [`eights`](crate::eights).
pub fn stored(dtype: DType, cols: usize, eights: bool) -> Result<(i64, i64), UnsupportedType> {
    match dtype {
        DType::Q8_0 if eights => Ok((16, eights::ALIGN as i64)),
        DType::Q6_K if eights => Ok((17, eights::ALIGN as i64)),
        _ => Ok((block(dtype)?, align(dtype, cols))),
    }
}

/// The alignment in bytes of every row of a matrix, at most 16: matrices begin at multiples of 32.
fn align(dtype: DType, cols: usize) -> i64 {
    let bytes = dtype.row_bytes(cols).unwrap_or(1).max(1);
    1 << bytes.trailing_zeros().min(4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_header() {
        let header = crate::source::file("include/blocks/block.h").unwrap();
        for dtype in DType::ALL {
            let line = format!("#define BLOCK_{dtype} {}\n", block(dtype).unwrap());
            assert!(header.to_uppercase().contains(&line.to_uppercase()), "{line}");
            assert_eq!(stored(dtype, 256, false).unwrap(), (block(dtype).unwrap(), align(dtype, 256)));
            if eights::is_arranged(dtype) {
                let (number, align) = stored(dtype, 256, true).unwrap();
                let line = format!("#define BLOCK_{dtype}_EIGHTS {number}\n");
                assert!(header.to_uppercase().contains(&line.to_uppercase()), "{line}");
                assert_eq!(align, 16);
            }
        }
    }

    #[test]
    fn rows_are_aligned() {
        assert_eq!(align(DType::Q8_0, 4096), 16); // 128 blocks of 34 bytes
        assert_eq!(align(DType::Q8_0, 896), 8);
        assert_eq!(align(DType::Q8_0, 32), 2);
        assert_eq!(align(DType::F16, 3), 2);
        assert_eq!(align(DType::MXFP4, 32), 1);
    }
}
