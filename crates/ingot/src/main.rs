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
mod plot;
mod spread;
mod stats;
mod stream;
mod table;
mod term;
mod units;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    match commands::run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
