//! Metal Shading Language for devices that do not speak it: a tokenizer, the
//! kernel's signature, and a translation token by token. There is no parser; the
//! rules in `kernels/README.md` keep kernels within what tokens can tell.

mod cuda;
mod lexer;
mod signature;
pub mod sim;

pub use cuda::{CudaSource, cuda, cuda_from};
pub use lexer::{Kind, Token, tokens};
pub use signature::{BufferParam, Builtin, ConstantDecl, Signature, SyntaxError, constants, signature};
