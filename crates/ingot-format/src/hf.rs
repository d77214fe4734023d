//! Hugging Face model folders: safetensors files with JSON beside them.
//!
//! The weights are `model.safetensors`, or the shards that
//! `model.safetensors.index.json` lists, or (RWKV style) the folder's only
//! `*.safetensors`. A single file can be opened as well; its folder is then
//! still used for `config.json` and the tokenizer.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use crate::{
    Error, Result, Tensor, map_file, safetensors,
    table::{Table, check_name},
};

/// Largest text file that is read; real tokenizers stay under 40 MB.
const MAX_TEXT: u64 = 64 << 20;
const INDEX: &str = "model.safetensors.index.json";
const SINGLE: &str = "model.safetensors";

/// An opened folder. Tensor data stays in the mapped files.
#[derive(Clone, Debug)]
pub struct HfFolder {
    dir: PathBuf,
    files: Vec<PathBuf>,
    config: Option<serde_json::Value>,
    table: Table,
}

impl HfFolder {
    /// Opens a folder, or a single safetensors file in its folder.
    pub fn open(path: &Path) -> Result<Self> {
        let metadata = fs::metadata(path).map_err(|e| Error::io(path, e))?;
        let (dir, files, index) = if metadata.is_dir() {
            let index = Index::read(path)?;
            let files = match &index {
                Some(index) => index.files(path)?,
                None => vec![only_file(path)?],
            };
            (path.to_path_buf(), files, index)
        } else {
            // A bare file name has the empty path as its parent, which works with join.
            (path.parent().unwrap_or(Path::new("")).to_path_buf(), vec![path.to_path_buf()], None)
        };

        let mut table = Table::default();
        for file in &files {
            let tensors = safetensors::read(&map_file(file)?);
            tensors.and_then(|tensors| table.extend(tensors)).map_err(|e| e.in_file(file))?;
        }
        if let Some(name) =
            index.and_then(|i| i.weight_map.into_keys().find(|name| table.get(name).is_none()))
        {
            return Err(Error::malformed(format!("lists tensor '{name}', which is in none of its files"))
                .in_file(&path.join(INDEX)));
        }
        let mut folder = Self { dir, files, config: None, table };
        folder.config = folder.json("config.json")?;
        Ok(folder)
    }

    /// All tensors, file by file.
    pub fn tensors(&self) -> &[Tensor] {
        self.table.tensors()
    }

    /// The tensor with this name.
    pub fn tensor(&self, name: &str) -> Option<&Tensor> {
        self.table.get(name)
    }

    pub(crate) fn table(&self) -> &Table {
        &self.table
    }

    pub(crate) fn table_mut(&mut self) -> &mut Table {
        &mut self.table
    }

    /// The contents of `config.json`, if there is one.
    pub fn config(&self) -> Option<&serde_json::Value> {
        self.config.as_ref()
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The safetensors files that were opened.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// A JSON file of the folder, or `None` if there is none of that name. An
    /// error if it is not JSON or too large.
    pub fn json(&self, name: &str) -> Result<Option<serde_json::Value>> {
        read_json(&self.dir.join(name))
    }

    /// A text file of the folder, or `None` if there is none of that name. An
    /// error if it is not UTF-8 or too large.
    pub fn text(&self, name: &str) -> Result<Option<String>> {
        read_text(&self.dir.join(name))
    }
}

/// `model.safetensors.index.json`.
#[derive(Deserialize)]
struct Index {
    /// Tensor name to file name.
    weight_map: std::collections::HashMap<String, String>,
}

impl Index {
    fn read(dir: &Path) -> Result<Option<Self>> {
        read_json(&dir.join(INDEX))
    }

    /// The shards. Their names come from a downloaded file, so they may only
    /// name files in the folder itself.
    fn files(&self, dir: &Path) -> Result<Vec<PathBuf>> {
        let check = |(tensor, name): (&'_ String, &'_ String)| {
            check_name("tensor name", tensor)?;
            check_name("file name", name)?;
            if name.contains(['/', '\\', ':']) || !name.ends_with(".safetensors") {
                return Err(Error::malformed(format!(
                    "lists '{name}', expected the name of a .safetensors file in the same folder"
                )));
            }
            Ok(dir.join(name))
        };
        let files = self.weight_map.iter().map(check).collect::<Result<BTreeSet<_>>>();
        match files.map_err(|e| e.in_file(&dir.join(INDEX)))? {
            none if none.is_empty() => Err(Error::malformed("lists no tensors").in_file(&dir.join(INDEX))),
            files => Ok(files.into_iter().collect()),
        }
    }
}

/// The one safetensors file of a folder without an index.
fn only_file(dir: &Path) -> Result<PathBuf> {
    let single = dir.join(SINGLE);
    if single.exists() {
        return Ok(single);
    }
    let mut found = with_extension(dir, "safetensors")?;
    match found.len() {
        1 => Ok(found.remove(0)),
        0 => {
            let hint = match with_extension(dir, "gguf")?.first() {
                Some(gguf) => format!("; did you mean {}?", gguf.display()),
                None => format!(": expected {SINGLE}, {INDEX} or one *.safetensors"),
            };
            Err(Error::malformed(format!("no model in this folder{hint}")).in_file(dir))
        }
        n => Err(Error::malformed(format!(
            "{n} .safetensors files but no {INDEX} to say how they belong together; open one of them by its name"
        ))
        .in_file(dir)),
    }
}

/// The files of a folder with this extension, sorted by name.
fn with_extension(dir: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir).map_err(|e| Error::io(dir, e))?;
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(|e| Error::io(dir, e))?.path();
        if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let Some(text) = read_text(path)? else { return Ok(None) };
    match serde_json::from_str(&text) {
        Ok(json) => Ok(Some(json)),
        Err(e) => Err(Error::json("the file", &e).in_file(path)),
    }
}

/// Reads a text file of limited size; `None` if there is none.
fn read_text(path: &Path) -> Result<Option<String>> {
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io(path, e)),
    };
    if !metadata.is_file() || metadata.len() > MAX_TEXT {
        return Err(Error::malformed(format!("expected a file of at most {MAX_TEXT} bytes")).in_file(path));
    }
    let bytes = fs::read(path).map_err(|e| Error::io(path, e))?;
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Some(text)),
        Err(e) => Err(Error::malformed(format!("is not UTF-8 ({})", e.utf8_error())).in_file(path)),
    }
}
