//! Opening whatever path the user gave, by what is there rather than by its name.

use std::{fs, io::Read, path::Path};

use crate::{Error, Gguf, HfFolder, Result, Tensor, safetensors};

/// An opened model of either format.
#[derive(Clone, Debug)]
pub enum ModelFile {
    /// A GGUF file, single or split.
    Gguf(Gguf),
    /// safetensors in a Hugging Face folder, or on their own.
    HuggingFace(HfFolder),
}

impl ModelFile {
    /// Opens a GGUF file, a safetensors file or a folder. Anything else is an
    /// error that says what it looks like.
    pub fn open(path: &Path) -> Result<Self> {
        let metadata = fs::metadata(path).map_err(|e| Error::io(path, e))?;
        if metadata.is_dir() {
            return HfFolder::open(path).map(Self::HuggingFace);
        }
        let start = if metadata.is_file() { read_start(path)? } else { Vec::new() };
        if safetensors::looks_like(&start) {
            return HfFolder::open(path).map(Self::HuggingFace);
        }
        match looks_like(&start) {
            Some(what) => {
                Err(Error::unsupported(format!("not a model that ingot reads (GGUF or safetensors): {what}"))
                    .in_file(path))
            }
            // GGUF's reader has the messages for everything close to GGUF, and for empty files.
            None => Gguf::open(path).map(Self::Gguf),
        }
    }

    /// All tensors.
    pub fn tensors(&self) -> &[Tensor] {
        match self {
            Self::Gguf(gguf) => gguf.tensors(),
            Self::HuggingFace(folder) => folder.tensors(),
        }
    }

    /// The tensor with this name.
    pub fn tensor(&self, name: &str) -> Option<&Tensor> {
        match self {
            Self::Gguf(gguf) => gguf.tensor(name),
            Self::HuggingFace(folder) => folder.tensor(name),
        }
    }

    /// Puts a tensor in the place of the file's tensor of the same name: whoever
    /// runs the model from now on runs it with this one. The file itself stays as
    /// it is.
    ///
    /// # Errors
    /// If the file has no tensor of this name and shape.
    pub fn replace(&mut self, tensor: Tensor) -> Result<()> {
        match self {
            Self::Gguf(gguf) => gguf.table_mut().replace(tensor),
            Self::HuggingFace(folder) => folder.table_mut().replace(tensor),
        }
    }

    /// The tensors that are not the file's own: those that were put in their place.
    pub fn replaced(&self) -> impl Iterator<Item = &Tensor> {
        match self {
            Self::Gguf(gguf) => gguf.table(),
            Self::HuggingFace(folder) => folder.table(),
        }
        .replaced()
    }
}

/// The first bytes of a file, as many as are needed to recognize it.
fn read_start(path: &Path) -> Result<Vec<u8>> {
    let mut start = Vec::new();
    let file = fs::File::open(path).map_err(|e| Error::io(path, e))?;
    file.take(64).read_to_end(&mut start).map_err(|e| Error::io(path, e))?;
    Ok(start)
}

/// What a file is that is neither GGUF nor safetensors; `None` if it may be GGUF.
fn looks_like(start: &[u8]) -> Option<String> {
    let text = start.trim_ascii_start().to_ascii_lowercase();
    let is = |prefixes: &[&[u8]]| prefixes.iter().any(|p| start.starts_with(p));
    let what = if start.is_empty() || is(&[b"GGUF", b"FUGG"]) {
        return None;
    } else if is(&[b"PK\x03\x04"]) {
        "it is a zip archive, perhaps a PyTorch checkpoint; convert it first"
    } else if is(&[b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"]) {
        "it is a Python pickle, perhaps an old PyTorch checkpoint; convert it first"
    } else if is(&[b"ggml", b"lmgg", b"fmgg", b"tjgg", b"GGML"]) {
        "it is in a format from before GGUF; convert the model again"
    } else if text.starts_with(b"version https://git-lfs") {
        "it is a git-lfs pointer, not the file itself; run 'git lfs pull'"
    } else if text.starts_with(b"<!doctype") || text.starts_with(b"<html") {
        "it is a web page; the download went to the wrong address or needs a login"
    } else if text.starts_with(b"{") || text.starts_with(b"[") {
        "it is a JSON file; open the folder it is in, or the file with the weights"
    } else {
        return Some(format!("it begins with \"{}\"", start[..start.len().min(16)].escape_ascii()));
    };
    Some(what.into())
}
