//! `ingot cast`: a program made of a model.

mod kernels;
mod project;

use crate::cli::CastArgs;
use crate::failure::{Failure, Result};
use ingot_cast::Error;

pub fn run(args: &CastArgs) -> Result {
    match (&args.project, &args.kernels) {
        (Some(folder), _) => project::run(args, folder),
        (None, Some(folder)) => kernels::run(args, folder),
        (None, None) => {
            Err(Failure::usage("what to make is not said").hint("--project DIR or --kernels DIR"))
        }
    }
}

impl From<Error> for Failure {
    fn from(e: Error) -> Self {
        let failure = Self::new(&e);
        match e {
            Error::Stopped => Self::Interrupted,
            Error::Engine(e) => e.into(),
            Error::NotGguf => failure.hint("`ingot convert MODEL -o model.gguf` makes one"),
            Error::Exists { ours: true, .. } => failure.hint("--force replaces it"),
            Error::Exists { ours: false, .. } => {
                failure.hint("name a folder that is not there yet, or empty")
            }
            Error::Model(_) => failure.hint("`ingot inspect MODEL` shows what can be read of it"),
            _ => failure,
        }
    }
}
