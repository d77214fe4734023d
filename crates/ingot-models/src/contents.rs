//! A Hugging Face folder as what a GGUF file of the same model would hold: the
//! same numbers and tensors that families read from it, under their GGUF names.

use crate::rotary::{self, Head};
use crate::source::huggingface::Names;
use crate::source::{List, Source, key, rwkv};
use crate::{Error, Family, Result};
use ingot_format::{HfFolder, ModelFile, Tensor};
use ingot_plan::ops::Pairing;

/// A folder seen through GGUF's names.
pub struct Contents<'a> {
    source: Source<'a>,
    folder: &'a HfFolder,
    family: Family,
}

/// A rotary embedding in GGUF's numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// Rotated values of a head.
    pub size: usize,
    /// Base of the frequencies.
    pub base: f32,
    /// That of layers with a window, if it is another.
    pub local_base: Option<f32>,
    /// What frequencies are divided by, none if they are not scaled: in contexts as
    /// the model was first trained with, and in longer ones.
    pub divisors: Option<[Vec<f32>; 2]>,
    /// Factor on sine and cosine.
    pub factor: f32,
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

    /// Yes or no, as [`Contents::size`].
    pub fn flag(&self, gguf: &str) -> Result<Option<bool>> {
        key::with_gguf_name(gguf).map_or(Ok(None), |key| self.source.flag(key))
    }

    /// A list with yes or no for each layer, or with a word that is or is not `word`;
    /// `None` if the folder has none.
    pub fn layers(&self, gguf: &str, word: &str) -> Result<Option<Vec<bool>>> {
        let Some(key) = key::with_gguf_name(gguf) else { return Ok(None) };
        Ok(self.source.list(key)?.map(|list| match list {
            List::Flags(flags) => flags,
            List::Words(words) => words.iter().map(|w| w == word).collect(),
        }))
    }

    /// A tensor by its GGUF name, with the shape that plans want. Each expert's is a
    /// tensor of its own: `blk.0.ffn_up.7.weight`.
    pub fn tensor(&self, gguf: &str) -> Result<Option<Tensor>> {
        self.source.tensor(gguf)
    }

    /// The folder's own names for what GGUF keeps under one name.
    pub fn stored_names(&self, gguf: &str) -> Vec<String> {
        match &self.source {
            Source::HuggingFace { names, .. } => names.name(gguf).into_iter().collect(),
            Source::Rwkv(_) => rwkv::names(gguf).unwrap_or_default(),
            Source::Gguf { .. } => Vec::new(),
        }
    }

    /// Whether a tensor of the folder is part of the text model.
    pub fn is_text(&self, stored_name: &str) -> bool {
        match &self.source {
            Source::HuggingFace { names, .. } => names.is_text(stored_name),
            _ => true,
        }
    }

    /// The rotary embedding of heads of this size; `None` if there is none.
    pub fn rope(&self, size: usize) -> Result<Option<Rope>> {
        let Source::HuggingFace { config, .. } = &self.source else { return Ok(None) };
        let of = |context| {
            rotary::of_folder(&self.source, config, Head { pairing: Pairing::Halves, size, context })
        };
        let (short, long) = (of(None)?, of(Some(usize::MAX))?);
        let factor = short.scaling.as_ref().map_or(1.0, |(_, factor)| *factor);
        let divisors = short.scaling.zip(long.scaling).map(|((short, _), (long, _))| [short, long]);
        let (size, base, local_base) = (2 * short.pairs, short.base, short.local_base);
        Ok(Some(Rope { size, base, local_base, divisors, factor }))
    }
}

/// The name that transformers gives to what GGUF calls `gguf`, if it has one.
pub fn huggingface_name(gguf: &str) -> Option<String> {
    Names::USUAL.name(gguf)
}
