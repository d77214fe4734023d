//! Model families: from a file to a plan.
//!
//! A family is one file under `families/`: the weights it names and its forward
//! pass, written against [`ingot_plan::PlanBuilder`]. It mentions no tensor
//! type and no device. Where the numbers and tensors come from (GGUF or a
//! Hugging Face folder, each with names of its own) is the business of
//! `source/`.

mod contents;
mod error;
mod families;
mod info;
mod loader;
mod rotary;
mod source;

pub use contents::{Contents, Rope, huggingface_name};
pub use error::{Error, Result};
pub use families::Family;
pub use info::Info;

use ingot_format::{ModelFile, Tensor};
use ingot_plan::{Plan, Precision};
use std::sync::Arc;

/// A model ready for an executor.
#[derive(Clone, Debug)]
pub struct Model {
    /// What it is and how large.
    pub info: Info,
    /// One step of it.
    pub plan: Arc<Plan>,
    /// The tensors that the plan's weights are, in order. Those that lie in the
    /// file as the plan wants them are still there; nothing is expanded.
    pub weights: Vec<Tensor>,
}

impl Model {
    /// Checks a file against what its family needs and builds the plan.
    ///
    /// `precision` is how quantized matrices see their inputs.
    pub fn load(file: &ModelFile, precision: Precision) -> Result<Self> {
        Self::load_for(file, precision, None)
    }

    /// The same for a context of at most `context` tokens; without one for the longest that the
    /// model was trained for. Some models turn queries and keys in another way if that is
    /// longer than what they were first trained with.
    pub fn load_for(file: &ModelFile, precision: Precision, context: Option<usize>) -> Result<Self> {
        let source = source::Source::new(file)?;
        families::build(&source, precision, context)
    }
}
