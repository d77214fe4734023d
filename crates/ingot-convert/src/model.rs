//! A model as a GGUF file would hold it, whatever it is stored as.

use crate::folder;
use crate::{Adapter, Error, Merged, Mix, Result, Weight};
use ingot_format::gguf::Value;
use ingot_format::{DType, Gguf, ModelFile};
use std::collections::HashMap;

/// Version of the block types; it has not changed since there are K types.
const QUANTIZATION_VERSION: u32 = 2;

/// Metadata and weights. Opening one reads no weights.
#[derive(Debug)]
pub struct Model {
    architecture: String,
    metadata: Vec<(String, Value)>,
    weights: Vec<Weight>,
}

impl Model {
    /// Looks at a model file.
    ///
    /// # Errors
    /// If no family reads the folder, it has tensors that the family does not know,
    /// or its tokenizer cannot be written to GGUF.
    pub fn open(file: &ModelFile) -> Result<Self> {
        match file {
            ModelFile::Gguf(gguf) => Self::from_gguf(gguf),
            ModelFile::HuggingFace(_) => folder::open(file),
        }
    }

    pub(crate) fn new(architecture: &str, metadata: Vec<(String, Value)>, weights: Vec<Weight>) -> Self {
        Self { architecture: architecture.into(), metadata, weights }
    }

    fn from_gguf(gguf: &Gguf) -> Result<Self> {
        if gguf.str("general.type")?.is_some_and(|kind| kind != "model") {
            return Err(Error::refused("this GGUF file holds no model but something that belongs to one"));
        }
        // One file is written, however many there were.
        let kept = |key: &str| !key.starts_with("split.");
        let metadata = gguf
            .entries()
            .filter(|(key, _)| kept(key))
            .map(|(key, value)| (key.into(), value.clone()))
            .collect();
        let weights = gguf.tensors().iter().map(Weight::as_stored).collect();
        Ok(Self::new(gguf.architecture()?, metadata, weights))
    }

    /// The architecture that GGUF names.
    pub fn architecture(&self) -> &str {
        &self.architecture
    }

    /// The weights, in the order of the file to be.
    pub fn weights(&self) -> &[Weight] {
        &self.weights
    }

    /// A number of the architecture, such as `block_count`.
    pub(crate) fn uint(&self, key: &str) -> Option<u64> {
        let key = format!("{}.{key}", self.architecture);
        self.metadata.iter().find(|(k, _)| *k == key)?.1.as_uint()
    }

    /// The metadata of a file whose weights keep their types.
    pub fn own_metadata(&self) -> &[(String, Value)] {
        &self.metadata
    }

    /// The metadata of a file of this mixture.
    pub fn metadata(&self, mix: Mix) -> Vec<(String, Value)> {
        let about = [("file_type", mix.file_type()), ("quantization_version", QUANTIZATION_VERSION)];
        let mut metadata = self.metadata.clone();
        for (key, value) in about {
            let key = format!("general.{key}");
            match metadata.iter_mut().find(|(k, _)| *k == key) {
                Some((_, old)) => *old = value.into(),
                None => metadata.push((key, value.into())),
            }
        }
        metadata
    }

    /// The mixture that keeps the weights' own type; `None` if most are quantized.
    pub fn own_mix(&self) -> Option<Mix> {
        let mut values: HashMap<DType, usize> = HashMap::new();
        for weight in self.weights.iter().filter(|w| w.rows() > 1) {
            *values.entry(weight.dtype()).or_default() += weight.len();
        }
        let most = values.into_iter().max_by_key(|&(dtype, n)| (n, dtype));
        most.and_then(|(dtype, _)| Mix::of_float(dtype))
    }

    /// Adds `scale` times an adapter to the weights it was made for. Nothing is
    /// computed before weights are read.
    ///
    /// # Errors
    /// If a part of the adapter has no weight to be added to, or another shape.
    pub fn merge(&mut self, adapter: &Adapter, scale: f32) -> Result<Merged> {
        let heads = self.uint("attention.head_count").unwrap_or(0);
        let heads = [heads, self.uint("attention.head_count_kv").unwrap_or(heads)].map(|n| n as usize);
        adapter.merge(&self.architecture, heads, scale, &mut self.weights)
    }
}
