//! `ingot completions` and `ingot man`: the command line for other programs.

use crate::cli::{Cli, CompletionsArgs, ManArgs};
use crate::failure::{Failure, Result};
use clap::CommandFactory;
use std::io::{self, Write};

pub fn completions(args: &CompletionsArgs) -> Result {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "ingot", &mut script);
    Ok(io::stdout().write_all(&script)?)
}

pub fn man(args: &ManArgs) -> Result {
    let command = Cli::command();
    match &args.output {
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(command).render(&mut page)?;
            Ok(io::stdout().write_all(&page)?)
        }
        Some(folder) => std::fs::create_dir_all(folder)
            .and_then(|()| clap_mangen::generate_to(command, folder))
            .map_err(|e| Failure::new(format!("cannot write the pages to {}: {e}", folder.display()))),
    }
}
