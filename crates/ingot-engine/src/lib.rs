//! Models in use: open one, talk to it in sessions, sample, stop, save.
//!
//! A [`Model`] is a file, its tokenizer and an executor with the memory of all
//! sequences. A [`Session`] is one sequence: the tokens it has seen and the
//! pages and slot that hold what the model made of them. [`Session::generate`]
//! turns logits into a stream of text. A [`Scheduler`] does so for many at once.

mod chat;
mod draw;
mod embedder;
mod error;
mod fingerprint;
mod generate;
#[cfg(feature = "serving")]
pub mod grammar;
mod machine;
mod memory;
mod model;
mod options;
pub mod rng;
mod runtime;
pub mod sampler;
mod saved;
#[cfg(feature = "serving")]
pub mod scheduler;
mod session;
pub mod stop;
mod text;

pub use chat::Prompt;
pub use error::{Error, Result};
pub use generate::{Finish, Generation, Piece, Request};
pub use machine::{Machine, Setup};
pub use memory::{Memory, available_memory, buffer_bytes};
pub use model::Model;
pub use options::{CacheType, ExecutorKind, Options};
pub use sampler::{Mirostat, Sampler, SamplerOptions};
#[cfg(feature = "serving")]
pub use scheduler::Scheduler;
pub use session::Session;
