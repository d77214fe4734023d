//! Models of the hub, with what people see while they come.

use crate::failure::Result;
use crate::term::{Progress, WARNING, printable};
use crate::units;
use ingot_hub::{Event, Hub, Pulled, Reference};
use std::path::PathBuf;

/// The model as it is in the cache; pulled first if it is not there. A model that is
/// there is found without asking anybody.
pub fn find_or_pull(wanted: &Reference) -> Result<PathBuf> {
    let hub = Hub::from_env()?;
    match hub.find(wanted) {
        Some(path) => Ok(path),
        None => Ok(pull(&hub, wanted)?.path),
    }
}

/// Brings what is missing of a model. Ctrl-C may end the program at any time: what
/// has come stays and is continued by the next pull.
pub fn pull(hub: &Hub, wanted: &Reference) -> Result<Pulled> {
    let progress = Progress::new("asking the hub", 0);
    let mut show = |event: Event| match event {
        Event::Chosen { missing: 0, .. } => {}
        Event::Chosen { files, missing, .. } => {
            progress.set_message("pulling");
            let files = units::plural(files, "file");
            progress.say(&format!("pulling hf:{wanted}: {} in {files}", units::bytes(missing)));
        }
        Event::Checking => progress.set_message("checking what is there"),
        Event::Progress { done, total } => {
            progress.set_message("pulling");
            progress.set_transfer(done, total);
        }
        Event::Waiting { file } => {
            progress.say(&format!("waiting for another program that pulls {}", printable(file)));
        }
        Event::Retry { cause, after } => progress.say(&format!(
            "{WARNING}warning:{WARNING:#} {}; trying again in {}",
            printable(&cause.to_string()),
            units::time(after)
        )),
    };
    Ok(hub.pull(wanted, &mut show)?)
}
