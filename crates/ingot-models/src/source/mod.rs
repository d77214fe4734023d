//! One view of the two kinds of model files.
//!
//! Families ask for hyper-parameters by [`Key`] and for tensors by their GGUF
//! name; a Hugging Face folder is asked with its own names for the same things.

pub(crate) mod huggingface;
pub(crate) mod key;
pub(crate) mod rwkv;

use huggingface::Names;
pub(crate) use key::Key;

use crate::{Error, Family, Result};
use ingot_format::{Bytes, DType, Gguf, HfFolder, ModelFile, Tensor};
use serde_json::Value;
use std::borrow::Cow;

/// Where a model's numbers and tensors come from.
pub(crate) enum Source<'a> {
    /// A GGUF file and its architecture, the prefix of its keys.
    Gguf { file: &'a Gguf, arch: &'a str },
    /// A folder with a transformer's `config.json`.
    HuggingFace {
        folder: &'a HfFolder,
        /// The class of the model.
        class: &'a str,
        /// What is said about its text model.
        config: Cow<'a, Value>,
        names: Names,
    },
    /// RWKV-7 weights under their official names; the sizes are in the shapes.
    Rwkv(&'a HfFolder),
}

impl<'a> Source<'a> {
    pub(crate) fn new(file: &'a ModelFile) -> Result<Self> {
        match file {
            ModelFile::Gguf(file) => Ok(Self::Gguf { file, arch: file.architecture()? }),
            ModelFile::HuggingFace(folder) if rwkv::is_rwkv7(folder) => Ok(Self::Rwkv(folder)),
            ModelFile::HuggingFace(folder) => match folder.config() {
                Some(config) => {
                    let class = config["architectures"][0].as_str();
                    let class = class.unwrap_or("(no architecture in config.json)");
                    let config = huggingface::text_config(class, config);
                    Ok(Self::HuggingFace { folder, class, config, names: Names::of(folder) })
                }
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
            Self::HuggingFace { class, .. } => (*class, Family::from_huggingface(class)),
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

    /// A number above zero; what files leave out, and zero, is none.
    pub(crate) fn positive(&self, key: Key) -> Result<Option<f32>> {
        Ok(self.float_or_absent(key)?.filter(|v| *v > 0.0))
    }

    /// A flag that a file may leave out.
    pub(crate) fn flag(&self, key: Key) -> Result<Option<bool>> {
        match self {
            Self::Gguf { file, arch } => Ok(file.bool(&key.in_gguf(arch))?),
            Self::HuggingFace { config, .. } => match &config[key.hf] {
                Value::Null => Ok(None),
                value => value.as_bool().map(Some).ok_or_else(|| self.wrong(key, "true or false")),
            },
            Self::Rwkv(_) => Ok(None),
        }
    }

    /// A list; `None` also if there is something else.
    pub(crate) fn list(&self, key: Key) -> Result<Option<List>> {
        match self {
            Self::Gguf { file, arch } => match file.get(&key.in_gguf(arch)) {
                Some(ingot_format::gguf::Value::Array(_)) => {
                    let items = file.ints(&key.in_gguf(arch))?.unwrap_or_default();
                    Ok(Some(List::Flags(items.into_iter().map(|i| i != 0).collect())))
                }
                _ => Ok(None),
            },
            Self::HuggingFace { config, .. } => {
                let Some(items) = config[key.hf].as_array() else { return Ok(None) };
                let flag = |v: &Value| v.as_bool().or(v.as_i64().map(|i| i != 0));
                let words = items.iter().map(|v| v.as_str().map(str::to_string)).collect();
                let flags = items.iter().map(flag).collect::<Option<_>>().map(List::Flags);
                let list = flags.or(Option::map(words, List::Words));
                list.map(Some).ok_or_else(|| self.wrong(key, "a list of flags or of words"))
            }
            Self::Rwkv(_) => Ok(None),
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
            Self::HuggingFace { folder, class, names, .. } => {
                let found = names.name(name).and_then(|n| folder.tensor(&n));
                let less_one = Family::from_huggingface(class).is_some_and(Family::norms_less_one);
                match found {
                    Some(norm) if less_one && name.ends_with("norm.weight") => plus_one(norm).map(Some),
                    found => Ok(found.cloned()),
                }
            }
            Self::Rwkv(folder) => rwkv::tensor(folder, name),
        }
    }

    /// The file's own name for a tensor, for messages.
    pub(crate) fn tensor_name<'n>(&self, name: &'n str) -> Cow<'n, str> {
        match self {
            Self::Gguf { .. } => Cow::Borrowed(name),
            Self::HuggingFace { names, .. } => names.name(name).map_or(Cow::Borrowed(name), Cow::Owned),
            Self::Rwkv(_) => rwkv::names(name).map_or(Cow::Borrowed(name), |n| Cow::Owned(n.join(", "))),
        }
    }

    /// Number of values in all tensors.
    pub(crate) fn parameters(&self) -> usize {
        match self {
            Self::Gguf { file, .. } => file.tensors().iter().map(Tensor::len).sum(),
            Self::HuggingFace { folder, names, .. } => {
                folder.tensors().iter().filter(|t| names.is_text(t.name())).map(Tensor::len).sum()
            }
            Self::Rwkv(folder) => folder.tensors().iter().map(Tensor::len).sum(),
        }
    }

    /// The file's own name for a key, for messages.
    pub(crate) fn shown(&self, key: Key) -> String {
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

/// The items of a list.
pub(crate) enum List {
    /// Numbers are flags that are set unless they are 0.
    Flags(Vec<bool>),
    Words(Vec<String>),
}

/// The tensor with 1 added to its values, in f32; only norms are stored like this.
fn plus_one(tensor: &Tensor) -> Result<Tensor> {
    let mut values = vec![0.0f32; tensor.len()];
    tensor.dtype().dequantize(tensor.data(), &mut values);
    let bytes: Vec<u8> = values.iter().flat_map(|w| (1.0 + w).to_le_bytes()).collect();
    Ok(Tensor::new(tensor.name(), DType::F32, tensor.shape().to_vec(), Bytes::from(bytes))?)
}

/// No size in a model is larger; products of three stay inside of 64 bits.
const MAX_SIZE: u64 = 1 << 31;
