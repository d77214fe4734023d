//! `ingot pull`: a model of the hub, into the cache.

use crate::cli::PullArgs;
use crate::failure::Result;
use crate::{hub, units};
use ingot_hub::{Hub, Reference};
use serde_json::json;
use std::io::{self, Write};

pub fn run(args: &PullArgs) -> Result {
    let wanted: Reference = args.name.parse()?;
    let pulled = hub::pull(&Hub::from_env()?, &wanted)?;
    if args.json {
        let object = json!({
            "name": format!("hf:{wanted}"),
            "path": pulled.path,
            "commit": pulled.commit,
            "files": pulled.files,
            "bytes": pulled.bytes,
            "downloaded": pulled.downloaded,
            "offline": pulled.offline,
        });
        return Ok(writeln!(io::stdout(), "{object}")?);
    }
    let (files, size) = (units::plural(pulled.files, "file"), units::bytes(pulled.bytes));
    match pulled.offline {
        false => crate::say!("hf:{wanted} is complete: {files} of {size}"),
        true => crate::say!(
            "hf:{wanted} is in the cache: {files} of {size}; HF_HUB_OFFLINE forbids to ask the hub for newer ones"
        ),
    }
    Ok(writeln!(io::stdout(), "{}", pulled.path.display())?)
}
