//! Model files made of model files.
//!
//! [`Model::open`] reads a GGUF file or a Hugging Face folder as what a GGUF file
//! of it holds: metadata and [`Weight`]s, whose rows stay where they are until
//! somebody asks for them. [`Adapter`]s are added to the weights, [`Mix::plan`]
//! says which type each is to have, and [`write`] packs them, a few megabytes at a
//! time, into a new file. [`Merge`] adds adapters to a model that is about to be
//! run, for which no file is made.

mod error;
mod folder;
mod imatrix;
mod lora;
mod merge;
mod mix;
mod model;
mod pack;
mod weight;
mod write;

pub use error::{Error, Result};
pub use imatrix::Importance;
pub use lora::{Adapter, Merged};
pub use merge::Merge;
pub use mix::{Choices, Mix};
pub use model::Model;
pub use weight::Weight;
pub use write::{Job, Loss, Step, Written, write};
