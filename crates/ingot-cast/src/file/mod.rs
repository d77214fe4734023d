//! A cast file: an executable with a model behind it.
//!
//! ```text
//! 0            runtime   the program as it was, but for its seal (and on macOS, its load commands)
//! ...          padding   zeros up to a page, so that the model can be mapped where it lies
//! model.start  model     a GGUF file, byte for byte
//! model.end    index     JSON: what it is, where it is, checksums, what the model is run with
//! index.end    (macOS)   padding and the signature
//! ```
//!
//! The seal is a place in the program's own constants. In a program without
//! a model it is blank; [`write()`] fills it in the copy with where the
//! index is and what its checksum must be. So a program knows whether it was cast before it
//! has read a byte of its file, and cannot mistake itself for one that was not when
//! the end of the file is gone. It works the same wherever a format of executables has to have
//! the data: ELF files end with it, in Mach-O files the signature comes last.
//!
//! Three checksums: that of the index is in the seal, checked at once. The index has
//! a CRC-32 of every few megabytes of everything before it; those of the model [`Verification`] computes
//! with all threads whenever the program starts. And it has the SHA-256 of the model, for who wants
//! to know where it comes from.

mod checks;
mod error;
mod executable;
mod index;
mod macho;
mod open;
mod seal;
mod write;

pub use checks::Verification;
pub use error::{Error, Result};
pub use executable::{Format, Machine, Runtime};
pub use index::{Contents, Defaults, Index, Model};
pub use open::CastFile;
pub use write::{Casting, Sizes, write};
