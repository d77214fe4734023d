//! `ingot rm`: models out of the cache. Other files are their owner's business.

use crate::cli::RmArgs;
use crate::failure::{Failure, Result};
use crate::models::Place;
use crate::units;
use ingot_hub::{Hub, Reference};
use serde_json::{Value, json};
use std::io::{self, IsTerminal, Write};
use std::path::Path;

pub fn run(args: &RmArgs) -> Result {
    let hub = Hub::from_env()?;
    let mut removed = Vec::new();
    for name in &args.names {
        removed.extend(remove(&hub, name, args.yes)?);
    }
    if args.json {
        writeln!(io::stdout(), "{}", json!({ "removed": removed }))?;
    }
    Ok(())
}

/// What was removed, unless the user wants to keep it.
fn remove(hub: &Hub, name: &str, yes: bool) -> Result<Option<Value>> {
    if Reference::with_prefix(name).is_none()
        && let Ok(Place::Path(path)) = Place::find(Some(Path::new(name)))
    {
        return Err(Failure::new(format!(
            "{} is not in the cache, and not for ingot to remove",
            path.display()
        ))
        .hint("delete the file yourself if nobody needs it"));
    }
    let model: Reference = name.parse()?;
    let removal = hub.cache().removal(&model)?;
    let size = units::bytes(removal.bytes);
    if !yes && !is_wanted(&format!("remove hf:{model} and free {size}?"))? {
        crate::say!("hf:{model} stays");
        return Ok(None);
    }
    hub.cache().remove(&removal)?;
    crate::say!("hf:{model} is removed, {size} are free");
    Ok(Some(json!({ "name": format!("hf:{model}"), "bytes": removal.bytes })))
}

/// Asks on the terminal.
fn is_wanted(question: &str) -> Result<bool> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(Failure::usage("nothing is removed unasked").hint("--yes removes without asking"));
    }
    let mut stderr = io::stderr().lock();
    write!(stderr, "{question} [y/N] ").and_then(|()| stderr.flush())?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}
