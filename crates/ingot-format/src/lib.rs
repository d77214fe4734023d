//! Model files: GGUF and safetensors readers, block types, a GGUF writer.
//!
//! Everything here treats its input as hostile: sizes, counts and offsets are
//! checked against the bytes that are really there before they are used, and a
//! malformed file is an [`Error`], never a panic.

mod bytes;
mod dtype;
mod error;
mod tensor;

pub use bytes::Bytes;
pub use dtype::DType;
pub use error::{Error, Result};
pub use tensor::Tensor;
