//! What every machine that runs plans looks like from above.

use crate::{Plan, Step, Window};
use ingot_format::DType;

/// Runs a plan. Nothing above this trait knows on what.
///
/// An executor owns two pools: pages (keys and values of [`crate::PAGE`]
/// positions, all layers) and slots (recurrent state of one sequence). It does
/// not know who uses which; that is decided above it and written in the step.
pub trait Executor: Send {
    /// The plan it runs.
    fn plan(&self) -> &Plan;

    /// How keys and values are stored in pages.
    fn cache_type(&self) -> DType;

    /// Grows the pools so that they hold at least this many pages and slots.
    /// What is in them is kept. New slots are zero.
    fn reserve(&mut self, pages: usize, slots: usize) -> Result<(), ExecError>;

    /// Runs one step; afterwards `logits` is `[O, vocab]`, a row for each of
    /// the step's outputs. A refused step changes nothing.
    fn run(&mut self, step: &Step, logits: &mut Vec<f32>) -> Result<(), ExecError>;

    /// Runs several decode steps in one go, if the executor can draw tokens by
    /// itself; `false`, and nothing is done, if it cannot. `token` is told every
    /// token as it is drawn: (sequence, token). A sequence's row and all of its
    /// tokens but the last are then part of its past, unless it came to an end
    /// before the last step: then what is in its slot is undefined.
    fn window(&mut self, _window: &Window, _token: &mut dyn FnMut(usize, u32)) -> Result<bool, ExecError> {
        Ok(false)
    }

    /// Copies one page or slot onto another of the same kind.
    fn copy(&mut self, from: Place, to: Place) -> Result<(), ExecError>;

    /// Sets a slot to the beginning of a sequence.
    fn clear_slot(&mut self, slot: u32) -> Result<(), ExecError>;

    /// The bytes of a page (values of [`Executor::cache_type`]) or of a slot
    /// (f32), little endian, in the order of the plan's states.
    fn read(&self, place: Place) -> Result<Vec<u8>, ExecError>;

    /// Puts back what [`Executor::read`] gave.
    fn write(&mut self, place: Place, bytes: &[u8]) -> Result<(), ExecError>;
}

/// A page or a slot of an executor's pools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A page of keys and values.
    Page(u32),
    /// The recurrent state of one sequence.
    Slot(u32),
}

/// Why an executor did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// The step or the place makes no sense for this plan.
    #[error("{0}")]
    Request(String),
    /// There is no memory for it.
    #[error("out of memory: {0}")]
    OutOfMemory(String),
    /// The machine failed.
    #[error("{0}")]
    Device(String),
}
