//! The oracle: runs a plan with the ops' naive references. Values are f32; sums
//! are carried in f64, so that their order does not matter.
//!
//! Slow on purpose. Every buffer keeps memory of its own, so that after a step
//! any of them can be looked at.

use crate::{Buf, ExecError, Executor, Op, Place, Plan, Step, WeightId};
use ingot_format::{DType, Tensor};
use std::sync::Arc;

/// The reference executor.
pub struct Reference {
    machine: Machine,
}

/// The sum of values.
pub(crate) fn sum(values: impl Iterator<Item = f32>) -> f32 {
    values.map(f64::from).sum::<f64>() as f32
}

/// The sum of products.
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>() as f32
}

/// What the references of the ops work on.
pub(crate) struct Machine {
    plan: Arc<Plan>,
    weights: Vec<Tensor>,
    buffers: Vec<Vec<f32>>,
    pages: Vec<Vec<f32>>,
    slots: Vec<Vec<f32>>,
    step: Step,
}

impl Reference {
    /// An executor for `plan`; `weights` are the tensors it declares, in order.
    ///
    /// # Panics
    /// If a tensor does not match its declaration.
    pub fn new(plan: Arc<Plan>, weights: Vec<Tensor>) -> Self {
        plan.check_weights(&weights);
        let buffers = vec![Vec::new(); plan.buffers().len()];
        let step = Step::default();
        Self { machine: Machine { plan, weights, buffers, pages: Vec::new(), slots: Vec::new(), step } }
    }

    /// A buffer as the last step left it: `[rows, width]`.
    pub fn buffer(&self, buf: Buf) -> &[f32] {
        self.machine.buffer(buf)
    }
}

impl Machine {
    pub(crate) fn plan(&self) -> &Plan {
        &self.plan
    }
    pub(crate) fn step(&self) -> &Step {
        &self.step
    }
    pub(crate) fn buffer(&self, buf: Buf) -> &[f32] {
        &self.buffers[buf.index()]
    }
    pub(crate) fn set(&mut self, buf: Buf, values: Vec<f32>) {
        self.buffers[buf.index()] = values;
    }
    pub(crate) fn page(&mut self, page: u32) -> &mut [f32] {
        &mut self.pages[page as usize]
    }
    pub(crate) fn slot(&mut self, slot: u32) -> &mut [f32] {
        &mut self.slots[slot as usize]
    }

    /// Row `r` of a weight, over all of its dimensions but the last.
    pub(crate) fn row(&self, id: WeightId, r: usize) -> Vec<f32> {
        let tensor = &self.weights[id.index()];
        let mut row = vec![0.0; tensor.cols()];
        let bytes = tensor.row_bytes();
        tensor.dtype().dequantize(&tensor.data()[r * bytes..(r + 1) * bytes], &mut row);
        row
    }

    /// All values of a weight.
    pub(crate) fn values(&self, id: WeightId) -> Vec<f32> {
        (0..self.weights[id.index()].rows()).flat_map(|r| self.row(id, r)).collect()
    }
}

impl Executor for Reference {
    fn plan(&self) -> &Plan {
        &self.machine.plan
    }

    fn cache_type(&self) -> DType {
        DType::F32
    }

    fn reserve(&mut self, pages: usize, slots: usize) -> Result<(), ExecError> {
        let m = &mut self.machine;
        let (page_len, slot_len) = (m.plan.page_len(), m.plan.slot_len());
        m.pages.resize_with(m.pages.len().max(pages), || vec![0.0; page_len]);
        m.slots.resize_with(m.slots.len().max(slots), || vec![0.0; slot_len]);
        Ok(())
    }

    fn run(&mut self, step: &Step, logits: &mut Vec<f32>) -> Result<(), ExecError> {
        let m = &mut self.machine;
        step.check(&m.plan, m.pages.len(), m.slots.len())?;
        m.step = step.clone();
        let plan = m.plan.clone();
        plan.ops().iter().for_each(|op: &Op| op.reference(m));
        logits.clear();
        logits.extend_from_slice(m.buffer(plan.logits()));
        Ok(())
    }

    fn copy(&mut self, from: Place, to: Place) -> Result<(), ExecError> {
        let bytes = self.read(from)?;
        self.write(to, &bytes)
    }

    fn clear_slot(&mut self, slot: u32) -> Result<(), ExecError> {
        self.values_mut(Place::Slot(slot))?.fill(0.0);
        Ok(())
    }

    fn read(&self, place: Place) -> Result<Vec<u8>, ExecError> {
        let (pool, i) = match place {
            Place::Page(i) => (&self.machine.pages, i),
            Place::Slot(i) => (&self.machine.slots, i),
        };
        let values = pool.get(i as usize).ok_or_else(|| absent(place))?;
        Ok(values.iter().flat_map(|x| x.to_le_bytes()).collect())
    }

    fn write(&mut self, place: Place, bytes: &[u8]) -> Result<(), ExecError> {
        let values = self.values_mut(place)?;
        let (words, rest) = bytes.as_chunks::<4>();
        if words.len() != values.len() || !rest.is_empty() {
            let (want, got) = (4 * values.len(), bytes.len());
            return Err(ExecError::Request(format!("{place:?} takes {want} bytes, not {got}")));
        }
        values.iter_mut().zip(words).for_each(|(x, b)| *x = f32::from_le_bytes(*b));
        Ok(())
    }
}

impl Reference {
    fn values_mut(&mut self, place: Place) -> Result<&mut [f32], ExecError> {
        let (pool, i) = match place {
            Place::Page(i) => (&mut self.machine.pages, i),
            Place::Slot(i) => (&mut self.machine.slots, i),
        };
        pool.get_mut(i as usize).map(Vec::as_mut_slice).ok_or_else(|| absent(place))
    }
}

fn absent(place: Place) -> ExecError {
    ExecError::Request(format!("{place:?} was never reserved"))
}

#[cfg(test)]
mod tests;
