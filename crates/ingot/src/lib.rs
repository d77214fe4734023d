//! A language-model inference engine.
//!
//! A [`Model`] is opened from a file, a [`Session`] is one text on it, and
//! [`Session::generate`] continues that text piece by piece:
//!
//! ```
//! use ingot::{Request, Sampler, SamplerOptions};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let model = ingot::embedded()?; // or Model::open("model.gguf", &Options::default())
//! let mut session = model.session()?;
//! session.feed(&model.tokenizer().encode("Once upon a time", Default::default())?)?;
//!
//! let mut sampler = Sampler::new(SamplerOptions { seed: 7, ..Default::default() })?;
//! let request = Request { max_tokens: Some(40), ..Default::default() };
//! for piece in session.generate(&mut sampler, &request)? {
//!     print!("{}", piece?.text);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Adapters are added to a [`ModelFile`] by a [`Merge`], before
//! [`Model::from_file`] opens it.
//!
//! Sessions can be forked, cut back, saved to files and run together in one
//! step: see [`Session`] and [`Model::step`]. The `examples` folder has a short
//! program for each.

mod embedded;

pub use embedded::{EMBEDDED_NAME, embedded, embedded_bytes};
pub use ingot_convert::{Adapter, Merge};
pub use ingot_engine::sampler::SamplerError;
pub use ingot_engine::scheduler;
pub use ingot_engine::{
    CacheType, Error, ExecutorKind, Finish, Generation, Memory, Mirostat, Model, Options, Piece, Prompt,
    Request, Result, Sampler, SamplerOptions, Scheduler, Session, available_memory, buffer_bytes,
};
pub use ingot_format::{Bytes, ModelFile};
pub use ingot_gpu::DeviceKind;
pub use ingot_models::{Family, Info};
pub use ingot_tokenizer::{EncodeOptions, Message, Tokenizer};
