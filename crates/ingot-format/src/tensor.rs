//! A stored tensor: name, type, shape and bytes.

use crate::{Bytes, DType, Error, Result};

/// A tensor as it lies in the file. Cloning it does not copy the data.
#[derive(Clone, Debug)]
pub struct Tensor {
    name: String,
    dtype: DType,
    shape: Vec<usize>,
    data: Bytes,
}

impl Tensor {
    /// A tensor over `data`, whose length must be what type and shape ask for.
    /// `shape` is outermost first: a matrix is `[rows, cols]`, rows contiguous.
    pub fn new(name: impl Into<String>, dtype: DType, shape: Vec<usize>, data: Bytes) -> Result<Self> {
        let name = name.into();
        let bytes = byte_len(dtype, &shape).ok_or_else(|| {
            Error::malformed(format!("tensor '{name}': shape {shape:?} does not fit type {dtype}"))
        })?;
        if bytes != data.len() {
            return Err(Error::malformed(format!(
                "tensor '{name}': {dtype} {shape:?} takes {bytes} bytes, not {}",
                data.len()
            )));
        }
        Ok(Self { name, dtype, shape, data })
    }

    /// The tensor's name in the file.
    pub fn name(&self) -> &str {
        &self.name
    }
    /// How the elements are stored.
    pub fn dtype(&self) -> DType {
        self.dtype
    }
    /// Sizes, outermost first; the last is the row length.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }
    /// The stored bytes.
    pub fn data(&self) -> &Bytes {
        &self.data
    }
    /// Length of a row: the innermost size, 1 for a scalar.
    pub fn cols(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }
    /// Number of rows: the product of all sizes but the innermost.
    pub fn rows(&self) -> usize {
        self.shape.iter().rev().skip(1).product()
    }
    /// Number of values.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }
    /// True if there are no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Bytes of one row.
    pub fn row_bytes(&self) -> usize {
        self.dtype.row_bytes(self.cols()).expect("checked by new")
    }
}

/// Bytes of a tensor, or `None` if rows are not whole blocks or a size overflows.
pub(crate) fn byte_len(dtype: DType, shape: &[usize]) -> Option<usize> {
    let cols = shape.last().copied().unwrap_or(1);
    let rows = shape.iter().rev().skip(1).try_fold(1usize, |n, &d| n.checked_mul(d))?;
    rows.checked_mul(cols)?; // the number of values must be representable too
    dtype.row_bytes(cols)?.checked_mul(rows)
}
