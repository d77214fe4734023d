//! `ingot cast`: a program made of a model.

mod project;

use crate::cli::CastArgs;
use crate::failure::Result;

pub fn run(args: &CastArgs) -> Result {
    match &args.project {
        Some(folder) => project::run(args, folder),
        None => unreachable!("the command line asks for one"),
    }
}
