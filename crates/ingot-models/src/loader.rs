//! Fetching weights for a plan: every shape is checked here, against sizes that
//! were read from the same file, so that the builder never sees a mismatch.

use crate::source::Source;
use crate::{Error, Result};
use ingot_format::Tensor;
use ingot_plan::{PlanBuilder, Precision, WeightId};

/// A plan under construction together with the tensors it names.
pub(crate) struct Loader<'a> {
    source: &'a Source<'a>,
    pub(crate) plan: PlanBuilder,
    pub(crate) weights: Vec<Tensor>,
}

impl<'a> Loader<'a> {
    pub(crate) fn new(source: &'a Source<'a>, precision: Precision) -> Self {
        Self { source, plan: PlanBuilder::new(precision), weights: Vec::new() }
    }

    /// A tensor of exactly this shape.
    pub(crate) fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<WeightId> {
        self.optional(name, shape)?.ok_or_else(|| {
            Error::inconsistent(format!("tensor '{}' is missing", self.source.tensor_name(name)))
        })
    }

    /// A tensor of exactly this shape, if the file has one of this name.
    pub(crate) fn optional(&mut self, name: &str, shape: &[usize]) -> Result<Option<WeightId>> {
        let Some(tensor) = self.source.tensor(name)? else { return Ok(None) };
        if tensor.shape() != shape {
            return Err(self.mismatch(&tensor, format!("{shape:?}")));
        }
        Ok(Some(self.add(tensor)))
    }

    /// A tensor of `len` values in whatever shape, as RWKV's vectors are stored.
    pub(crate) fn values(&mut self, name: &str, len: usize) -> Result<WeightId> {
        let tensor = self.source.tensor(name)?.ok_or_else(|| {
            Error::inconsistent(format!("tensor '{}' is missing", self.source.tensor_name(name)))
        })?;
        if tensor.len() != len {
            return Err(self.mismatch(&tensor, format!("{len} values")));
        }
        Ok(self.add(tensor))
    }

    /// Number of rows of a tensor.
    pub(crate) fn rows(&self, name: &str) -> Result<usize> {
        Ok(self.source.tensor(name)?.map_or(0, |t| t.rows()))
    }

    /// A pair of tensors `NAME.weight` and `NAME.bias` of `len` values.
    pub(crate) fn affine(&mut self, name: &str, len: usize) -> Result<(WeightId, WeightId)> {
        let weight = self.values(&format!("{name}.weight"), len)?;
        Ok((weight, self.values(&format!("{name}.bias"), len)?))
    }

    fn add(&mut self, tensor: Tensor) -> WeightId {
        let id = self.plan.weight(&tensor);
        self.weights.push(tensor);
        id
    }

    fn mismatch(&self, tensor: &Tensor, expected: String) -> Error {
        let (name, shape) = (tensor.name(), tensor.shape());
        Error::inconsistent(format!("tensor '{name}' has shape {shape:?}, expected {expected}"))
    }
}
