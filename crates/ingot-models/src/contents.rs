//! A Hugging Face folder as what a GGUF file of the same model would hold: the
//! same numbers and tensors that families read from it, under their GGUF names.

use crate::source::{Source, huggingface, key, rwkv};
use crate::{Error, Family, Result, rotary};
use ingot_format::{HfFolder, ModelFile, Tensor};

/// A folder seen through GGUF's names.
pub struct Contents<'a> {
    source: Source<'a>,
    folder: &'a HfFolder,
    family: Family,
}

impl<'a> Contents<'a> {
    /// Looks at a folder; an error if no family reads it.
    pub fn new(file: &'a ModelFile) -> Result<Self> {
        let ModelFile::HuggingFace(folder) = file else {
            return Err(Error::unsupported("the model is a GGUF file already"));
        };
        let source = Source::new(file)?;
        let family = source.family()?;
        Ok(Self { source, folder, family })
    }

    /// The model's family.
    pub fn family(&self) -> Family {
        self.family
    }

    /// The folder.
    pub fn folder(&self) -> &'a HfFolder {
        self.folder
    }

    /// The model's name.
    pub fn name(&self) -> Option<String> {
        self.source.name()
    }

    /// A size by its GGUF key without the architecture, such as `block_count`;
    /// `None` if the folder does not say it.
    pub fn size(&self, gguf: &str) -> Result<Option<usize>> {
        key::with_gguf_name(gguf).map_or(Ok(None), |key| self.source.size_or_absent(key))
    }

    /// A number that need not be whole, as [`Contents::size`].
    pub fn float(&self, gguf: &str) -> Result<Option<f32>> {
        key::with_gguf_name(gguf).map_or(Ok(None), |key| self.source.float_or_absent(key))
    }

    /// A tensor by its GGUF name, with the shape that plans want.
    pub fn tensor(&self, gguf: &str) -> Result<Option<Tensor>> {
        self.source.tensor(gguf)
    }

    /// The folder's own names for what GGUF keeps under one name.
    pub fn stored_names(&self, gguf: &str) -> Vec<String> {
        match self.source {
            Source::Rwkv(_) => rwkv::names(gguf).unwrap_or_default(),
            _ => huggingface_name(gguf).into_iter().collect(),
        }
    }

    /// What the frequencies of rotary embeddings are divided by, if the folder
    /// scales them; `size` is the number of rotated values of a head.
    pub fn rope_divisors(&self, size: usize) -> Result<Option<Vec<f32>>> {
        let Source::HuggingFace { config, .. } = self.source else { return Ok(None) };
        let base = self.source.float_or_absent(key::ROPE_BASE)?.unwrap_or(10_000.0);
        let frequency = |j: usize| f64::from(base).powf(-2.0 * j as f64 / size as f64) as f32;
        let frequencies: Vec<f32> = (0..size / 2).map(frequency).collect();
        rotary::in_config(config, &frequencies)
    }
}

/// The name that transformers gives to what GGUF calls `gguf`, if it has one.
pub fn huggingface_name(gguf: &str) -> Option<String> {
    huggingface::name(gguf)
}
