//! Model files: GGUF and safetensors readers, block types, a GGUF writer.
//!
//! Everything here treats its input as hostile: sizes, counts and offsets are
//! checked against the bytes that are really there before they are used, and a
//! malformed file is an [`Error`], never a panic.

mod blocks;
mod bytes;
mod dtype;
mod error;
pub mod gguf;
mod hf;
mod mapping;
mod model_file;
mod new_file;
pub mod safetensors;
mod table;
mod tensor;

pub use bytes::Bytes;
pub use dtype::DType;
pub use error::{Error, Result};
pub use gguf::{Gguf, GgufWriter};
pub use hf::HfFolder;
pub use mapping::map_file;
pub use model_file::ModelFile;
pub use new_file::NewFile;
pub use tensor::Tensor;
