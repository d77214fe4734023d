//! `about`: what a program that was cast says of itself.

use super::cast::details;
use crate::cli::AboutArgs;
use crate::failure::{Failure, Result};
use crate::interrupt::Interrupt;
use crate::own;
use crate::term::Progress;
use std::io::{self, Write};

pub fn run(args: &AboutArgs) -> Result {
    let own = own::own().ok_or_else(|| Failure::new("this program was not cast"))?;
    let file = own.file();
    if args.verify {
        let interrupt = Interrupt::install()?;
        let catching = interrupt.catch();
        let progress = Progress::new("verifying", 0);
        file.verify(&mut |done, all| {
            progress.set_bytes(done, all);
            !catching.pressed()
        })?;
    }
    if args.json {
        return Ok(writeln!(io::stdout(), "{:#}", details::json(file, args.verify))?);
    }
    Ok(details::print(file, args.verify, &mut anstream::stdout().lock())?)
}
