//! The model in the program: a few megabytes that tell children's stories, so
//! that the first command works before anything was downloaded.

use crate::{Model, Options, Result};
use ingot_format::Bytes;

/// What the embedded model is called in messages.
pub const EMBEDDED_NAME: &str = "tale-llama (embedded)";

/// Tensor data inside of the file is aligned relative to its beginning, so the
/// beginning must be aligned for that to mean anything.
#[repr(C, align(64))]
struct Aligned<T: ?Sized>(T);

static FILE: &Aligned<[u8]> = &Aligned(*include_bytes!("../../../models/tale-llama-q8_0.gguf"));

/// Opens the embedded model with default options.
///
/// # Errors
/// If the machine has no memory for it.
pub fn embedded() -> Result<Model> {
    Model::from_bytes(embedded_bytes(), EMBEDDED_NAME, &Options::default())
}

/// The embedded model's file, to open it with other options through
/// [`Model::from_bytes`].
pub fn embedded_bytes() -> Bytes {
    Bytes::from_static(&FILE.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_an_aligned_gguf_file() {
        let bytes = embedded_bytes();
        assert!(bytes.starts_with(b"GGUF"));
        assert_eq!(bytes.as_ptr().addr() % 64, 0);
    }
}
