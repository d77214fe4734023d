//! `ingot list`: the models on this computer.

use crate::cli::ListArgs;
use crate::failure::Result;
use crate::models;
use crate::table::Table;
use crate::term::printable;
use crate::units;
use ingot_hub::Hub;
use serde_json::json;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// A model, wherever it is.
struct Listed {
    name: String,
    path: PathBuf,
    kind: String,
    size: u64,
    used: Option<SystemTime>,
}

pub fn run(args: &ListArgs) -> Result {
    let hub = Hub::from_env()?;
    let cached = hub.cache().models().into_iter().map(|model| Listed {
        name: format!("hf:{}", model.name),
        path: model.path,
        kind: model.label.unwrap_or_else(|| "GGUF".into()),
        size: model.size,
        used: model.used,
    });
    let listed: Vec<Listed> =
        cached.chain(models::by_name().into_iter().map(|(name, path)| local(name, path))).collect();
    let unfinished = hub.cache().unfinished();

    let mut out = io::stdout().lock();
    if args.json {
        let seconds = |time: SystemTime| time.duration_since(UNIX_EPOCH).ok().map(|t| t.as_secs());
        let model = |m: &Listed| {
            json!({
                "name": m.name, "path": m.path, "type": m.kind, "size": m.size,
                "last_used": m.used.and_then(seconds),
            })
        };
        let part = |(repo, bytes)| json!({"name": format!("hf:{repo}"), "bytes": bytes});
        let object = json!({
            "cache": hub.cache().root(),
            "models": listed.iter().map(model).collect::<Vec<_>>(),
            "unfinished": unfinished.iter().map(|(repo, bytes)| part((repo, bytes))).collect::<Vec<_>>(),
        });
        return Ok(writeln!(out, "{object:#}")?);
    }
    if listed.is_empty() {
        crate::say!("there are no models; `ingot pull ORG/REPO` brings one");
    } else {
        let mut table = Table::new(&["name", "type", "last used", "size"], 3);
        for m in &listed {
            let used = m.used.map_or_else(String::new, ago);
            table.row([printable(&m.name).into(), m.kind.clone(), used, units::bytes(m.size)]);
        }
        table.print(&mut out)?;
    }
    for (repo, bytes) in unfinished {
        let bytes = units::bytes(bytes);
        crate::say!(
            "hf:{repo}: {bytes} of unfinished downloads, which `ingot pull` continues and `ingot rm` removes"
        );
    }
    Ok(())
}

/// A model in a folder called models.
fn local(name: String, path: PathBuf) -> Listed {
    let files: Vec<_> = parts(&path).iter().filter_map(|file| fs::metadata(file).ok()).collect();
    let kind = match models::is_model_file(&path) {
        true => ingot_hub::label(&name).unwrap_or_else(|| "GGUF".into()),
        false => ingot_hub::SAFETENSORS.into(),
    };
    Listed {
        name,
        kind,
        size: files.iter().map(|file| file.len()).sum(),
        used: files.iter().filter_map(|file| file.accessed().ok()).max(),
        path,
    }
}

/// The files of a model: all of a folder, all parts of a split file.
fn parts(path: &Path) -> Vec<PathBuf> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let (folder, stem) = match name.split_once("-00001-of-") {
        _ if path.is_dir() => (path, ""),
        Some((stem, _)) => (path.parent().unwrap_or(path), stem),
        None => return vec![path.into()],
    };
    let is_part = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        path.is_file() && name.strip_prefix(stem).is_some_and(|rest| stem.is_empty() || rest.contains("-of-"))
    };
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).filter(is_part).collect()
}

/// `today`, `yesterday`, `12 days ago`.
fn ago(time: SystemTime) -> String {
    let days = time.elapsed().map_or(0, |since| since.as_secs() / (24 * 60 * 60));
    match days {
        0 => "today".into(),
        1 => "yesterday".into(),
        days => format!("{days} days ago"),
    }
}
