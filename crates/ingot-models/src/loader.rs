//! Fetching weights for a plan: every shape is checked here, against sizes that
//! were read from the same file, so that the builder never sees a mismatch.

use crate::source::Source;
use crate::{Error, Result};
use ingot_format::Tensor;
use ingot_plan::ops::Stack;
use ingot_plan::{PlanBuilder, Precision, WeightId};
use std::ops::Range;

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
        self.optional(name, shape)?.ok_or_else(|| self.missing(name))
    }

    /// A tensor of exactly this shape, if the file has one of this name.
    pub(crate) fn optional(&mut self, name: &str, shape: &[usize]) -> Result<Option<WeightId>> {
        let Some(tensor) = self.source.tensor(name)? else { return Ok(None) };
        if tensor.shape() != shape {
            return Err(self.mismatch(&tensor, format!("{shape:?}")));
        }
        Ok(Some(self.add(tensor)))
    }

    /// Rows of a tensor `[all, ...]`, used where they lie; `tail` are its sizes after the first.
    pub(crate) fn rows_of(
        &mut self,
        name: &str,
        all: usize,
        rows: Range<usize>,
        tail: &[usize],
    ) -> Result<Option<WeightId>> {
        let Some(tensor) = self.source.tensor(name)? else { return Ok(None) };
        let shape = |rows: usize| [&[rows], tail].concat();
        if tensor.shape() != shape(all) {
            return Err(self.mismatch(&tensor, format!("{:?}", shape(all))));
        }
        if rows.len() == all {
            return Ok(Some(self.add(tensor)));
        }
        let row = tensor.data().len() / all;
        let part = tensor.data().slice(rows.start * row..rows.end * row).expect("rows that there are");
        let name = format!("{}[{}..{}]", tensor.name(), rows.start, rows.end);
        Ok(Some(self.add(Tensor::new(name, tensor.dtype(), shape(rows.len()), part)?)))
    }

    /// A matrix `[rows, cols]` for each of `count` experts: one tensor `NAME_exps`, or a tensor
    /// `NAME.0`, `NAME.1` and so on for each, which are not copied.
    pub(crate) fn experts(&mut self, name: &str, count: usize, rows: usize, cols: usize) -> Result<Stack> {
        if let Some(all) = self.optional(&format!("{name}_exps.weight"), &[count, rows, cols])? {
            return Ok(all.into());
        }
        let mut ids = Vec::new();
        for e in 0..count {
            ids.push(self.tensor(&format!("{name}.{e}.weight"), &[rows, cols])?);
        }
        let dtype = |id: &WeightId| self.weights[id.index()].dtype();
        match ids.iter().find(|id| dtype(id) != dtype(&ids[0])) {
            Some(other) => {
                let other = self.weights[other.index()].name();
                Err(Error::unsupported(format!(
                    "tensor '{other}' is of another type than the experts before it"
                )))
            }
            None => Ok(Stack::of(ids)),
        }
    }

    /// Whether the file has a tensor of this name.
    pub(crate) fn has(&self, name: &str) -> Result<bool> {
        Ok(self.source.tensor(name)?.is_some())
    }

    /// The error that a tensor is not there.
    pub(crate) fn missing(&self, name: &str) -> Error {
        Error::inconsistent(format!("tensor '{}' is missing", self.source.tensor_name(name)))
    }

    /// A tensor of `len` values in whatever shape, as RWKV's vectors are stored.
    pub(crate) fn values(&mut self, name: &str, len: usize) -> Result<WeightId> {
        let tensor = self.source.tensor(name)?.ok_or_else(|| self.missing(name))?;
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
