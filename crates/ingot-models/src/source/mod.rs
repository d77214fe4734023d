//! One view of the two kinds of model files.
//!
//! Families ask for hyper-parameters by [`Key`] and for tensors by their GGUF
//! name; a Hugging Face folder is asked with its own names for the same things.

pub(crate) mod huggingface;
pub(crate) mod key;
pub(crate) mod rwkv;

pub(crate) use key::Key;

use crate::{Error, Family, Result};
use ingot_format::{Gguf, HfFolder, ModelFile, Tensor};
use serde_json::Value;
use std::borrow::Cow;

/// Where a model's numbers and tensors come from.
pub(crate) enum Source<'a> {
    /// A GGUF file and its architecture, the prefix of its keys.
    Gguf { file: &'a Gguf, arch: &'a str },
    /// A folder with a transformer's `config.json`.
    HuggingFace { folder: &'a HfFolder, config: &'a Value },
    /// RWKV-7 weights under their official names; the sizes are in the shapes.
    Rwkv(&'a HfFolder),
}

impl<'a> Source<'a> {
    pub(crate) fn new(file: &'a ModelFile) -> Result<Self> {
        match file {
            ModelFile::Gguf(file) => Ok(Self::Gguf { file, arch: file.architecture()? }),
            ModelFile::HuggingFace(folder) if rwkv::is_rwkv7(folder) => Ok(Self::Rwkv(folder)),
            ModelFile::HuggingFace(folder) => match folder.config() {
                Some(config) => Ok(Self::HuggingFace { folder, config }),
                None => Err(Error::unsupported(
                    "there is no config.json beside the safetensors file, and it is not an RWKV-7 model",
                )),
            },
        }
    }

    /// The model's family, by the file's own word for it.
    pub(crate) fn family(&self) -> Result<Family> {
        let (word, family) = match self {
            Self::Gguf { arch, .. } => (*arch, Family::from_gguf(arch)),
            Self::HuggingFace { config, .. } => {
                let word = config["architectures"][0].as_str().unwrap_or("(no architecture in config.json)");
                (word, Family::from_huggingface(word))
            }
            Self::Rwkv(_) => return Ok(Family::Rwkv7),
        };
        family.ok_or_else(|| {
            let known: Vec<_> = Family::ALL.iter().map(|f| f.name()).collect();
            Error::unsupported(format!("unsupported model family '{word}'; ingot runs {}", known.join(", ")))
        })
    }

    /// The model's name, if the file has one.
    pub(crate) fn name(&self) -> Option<String> {
        match self {
            Self::Gguf { file, .. } => file.str("general.name").ok().flatten().map(str::to_string),
            Self::HuggingFace { folder, .. } | Self::Rwkv(folder) => {
                folder.dir().file_name().map(|n| n.to_string_lossy().into_owned())
            }
        }
    }

    /// A size; zero and absurd ones are refused.
    pub(crate) fn size(&self, key: Key) -> Result<usize> {
        self.size_or_absent(key)?.ok_or_else(|| self.missing(key))
    }

    /// A size that a file may leave out.
    pub(crate) fn size_or_absent(&self, key: Key) -> Result<Option<usize>> {
        let value = match self {
            Self::Gguf { file, arch } => file.uint(&key.in_gguf(arch))?,
            Self::HuggingFace { config, .. } => match &config[key.hf] {
                Value::Null => None,
                value => Some(value.as_u64().ok_or_else(|| self.wrong(key, "a whole number"))?),
            },
            Self::Rwkv(folder) => rwkv::size(folder, key),
        };
        match value {
            None => Ok(None),
            Some(v) if (1..=MAX_SIZE).contains(&v) => Ok(Some(v as usize)),
            Some(v) => {
                Err(Error::inconsistent(format!("{} is {v}, expected 1 to {MAX_SIZE}", self.shown(key))))
            }
        }
    }

    /// A finite number that a file may leave out.
    pub(crate) fn float_or_absent(&self, key: Key) -> Result<Option<f32>> {
        let value = match self {
            Self::Gguf { file, arch } => file.f32(&key.in_gguf(arch))?,
            Self::HuggingFace { config, .. } => match &config[key.hf] {
                Value::Null => config["rope_parameters"][key.hf].as_f64().map(|x| x as f32),
                value => Some(value.as_f64().ok_or_else(|| self.wrong(key, "a number"))? as f32),
            },
            Self::Rwkv(_) => None,
        };
        match value {
            Some(v) if !v.is_finite() || v < 0.0 => {
                Err(Error::inconsistent(format!("{} is {v}, expected a finite number", self.shown(key))))
            }
            value => Ok(value),
        }
    }

    /// A finite number.
    pub(crate) fn float(&self, key: Key) -> Result<f32> {
        self.float_or_absent(key)?.ok_or_else(|| self.missing(key))
    }

    /// A tensor by its GGUF name, as the plan wants it.
    pub(crate) fn tensor(&self, name: &str) -> Result<Option<Tensor>> {
        match self {
            Self::Gguf { file, .. } => Ok(file.tensor(name).cloned()),
            Self::HuggingFace { folder, .. } => {
                Ok(huggingface::name(name).and_then(|n| folder.tensor(&n)).cloned())
            }
            Self::Rwkv(folder) => rwkv::tensor(folder, name),
        }
    }

    /// The file's own name for a tensor, for messages.
    pub(crate) fn tensor_name<'n>(&self, name: &'n str) -> Cow<'n, str> {
        match self {
            Self::Gguf { .. } => Cow::Borrowed(name),
            Self::HuggingFace { .. } => huggingface::name(name).map_or(Cow::Borrowed(name), Cow::Owned),
            Self::Rwkv(_) => rwkv::names(name).map_or(Cow::Borrowed(name), |n| Cow::Owned(n.join(", "))),
        }
    }

    /// Number of values in all tensors.
    pub(crate) fn parameters(&self) -> usize {
        let tensors = match self {
            Self::Gguf { file, .. } => file.tensors(),
            Self::HuggingFace { folder, .. } | Self::Rwkv(folder) => folder.tensors(),
        };
        tensors.iter().map(Tensor::len).sum()
    }

    fn shown(&self, key: Key) -> String {
        match self {
            Self::Gguf { arch, .. } => key.in_gguf(arch),
            Self::HuggingFace { .. } | Self::Rwkv(_) => key.hf.to_string(),
        }
    }

    fn missing(&self, key: Key) -> Error {
        Error::inconsistent(format!("the file does not say {}", self.shown(key)))
    }

    fn wrong(&self, key: Key, wanted: &str) -> Error {
        Error::inconsistent(format!("{} is not {wanted}", self.shown(key)))
    }
}

/// No size in a model is larger; products of three stay inside of 64 bits.
const MAX_SIZE: u64 = 1 << 31;
