//! The terminal program: arguments in, text out. Everything about models is in
//! the library; here is only what people see of it.

mod adapters;
mod bandwidth;
mod bare;
mod cli;
mod commands;
mod device;
mod failure;
mod hub;
mod interrupt;
mod models;
mod output;
mod own;
mod plot;
mod spread;
mod stats;
mod stream;
mod table;
mod term;
mod units;

use clap::Parser;
use cli::{Cli, Program};
use std::process::ExitCode;

fn main() -> ExitCode {
    let done = match own::find() {
        Ok(Some(own)) => commands::run_program(Program::parse(own)),
        Ok(None) => commands::run(Cli::parse().command),
        Err(failure) => Err(failure),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
