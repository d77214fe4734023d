//! From a plan to launches.
//!
//! 1. [`groups`] finds chains of ops that share a launch.
//! 2. `emit` turns each group into launches, for one shape of step.
//! 3. [`arena`] says where buffers lie that live only during the step, and
//!    [`hazards`] which launch waits for which.

mod arena;
mod emit;
mod graph;
mod groups;
pub mod hazards;

pub use groups::Path;

use crate::launch::{Launch, What};
use crate::launches::block_types::UnsupportedType;
use crate::launches::sample::{self, Sampling};
use crate::launches::{Shape, Target, advance};
use arena::Life;
use ingot_format::DType;
use ingot_plan::Plan;
use std::collections::BTreeMap;
use std::ops::Range;

/// The launches of a step of some shape.
#[derive(Debug)]
pub struct Lowered {
    /// In an order that respects every dependency.
    pub launches: Vec<Node>,
    /// Bytes of each scratch, by number.
    pub scratch: Vec<usize>,
    /// Scratch that is filled once, before the first step, with these values.
    pub tables: Vec<(u32, Vec<f32>)>,
    /// What sampling works on, if tokens are drawn on the device.
    pub sampling: Option<Sampling>,
    /// Where buffers and scratch lie in the arena.
    pub places: BTreeMap<What, usize>,
    /// Bytes of the arena.
    pub arena: usize,
    /// Parts of the arena that no launch may touch.
    pub guards: Vec<Range<usize>>,
}

/// A launch and what it stands for.
#[derive(Clone, Debug)]
pub struct Node {
    /// The launch.
    pub launch: Launch,
    /// Ops of the plan, by index.
    pub ops: Vec<usize>,
    /// The layer they belong to, if one.
    pub layer: Option<usize>,
}

/// What a GPU cannot run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LowerError {
    /// A tensor's type has no kernel.
    #[error("there is no GPU kernel for {0} weights")]
    Type(DType),
    /// Some size or combination has no kernel.
    #[error("{0}")]
    Unsupported(String),
}

impl From<UnsupportedType> for LowerError {
    fn from(UnsupportedType(dtype): UnsupportedType) -> Self {
        Self::Type(dtype)
    }
}

/// The launches of a step. With `keep` every buffer keeps memory of its own, so
/// that all can be looked at afterwards.
pub fn lower(
    plan: &Plan,
    target: &Target,
    shape: &Shape,
    path: Path,
    keep: bool,
) -> Result<Lowered, LowerError> {
    let graph = graph::Graph::new(plan);
    let mut lowered = emit::emit(&graph, target, shape, path)?;
    lowered.place(plan, shape, keep);
    Ok(lowered)
}

/// The launches of several decode steps that follow each other, each with the token
/// drawn for the next one.
pub fn lower_window(
    plan: &Plan,
    target: &Target,
    shape: &Shape,
    path: Path,
    steps: usize,
) -> Result<Lowered, LowerError> {
    let graph = graph::Graph::new(plan);
    let mut lowered = emit::emit(&graph, target, shape, path)?;
    lowered.sample(plan, shape, steps);
    lowered.place(plan, shape, false);
    Ok(lowered.repeated(steps))
}

/// Bytes of a buffer of the plan in a step of this shape.
pub fn buffer_bytes(plan: &Plan, shape: &Shape, buf: ingot_plan::Buf) -> usize {
    let decl = plan.buffer(buf);
    let rows = match decl.rows {
        ingot_plan::Rows::Tokens => shape.rows,
        ingot_plan::Rows::Outputs => shape.outputs,
    };
    4 * rows * decl.width
}

impl Lowered {
    /// True for scratch that lives only during a step.
    fn in_arena(&self, scratch: u32) -> bool {
        let kept = |s: &Sampling| [s.params, s.ends, s.ring].contains(&scratch);
        !self.sampling.as_ref().is_some_and(kept) && self.tables.iter().all(|(t, _)| *t != scratch)
    }

    /// The same for several decode steps, as [`lower_window`] makes them, for launches that have
    /// their places already: what sampling needs lies behind everything else.
    pub(crate) fn into_window(mut self, plan: &Plan, shape: &Shape, steps: usize) -> Self {
        let known = self.scratch.len();
        self.sample(plan, shape, steps);
        for s in known..self.scratch.len() {
            if self.in_arena(s as u32) {
                let at = self.arena.next_multiple_of(arena::ALIGN);
                self.places.insert(What::Scratch(s as u32), at);
                self.arena = at + self.scratch[s];
            }
        }
        self.repeated(steps)
    }

    /// Adds the launches that draw a token for the step after this one.
    fn sample(&mut self, plan: &Plan, shape: &Shape, steps: usize) {
        let mut scratch = |bytes| {
            self.scratch.push(bytes);
            self.scratch.len() as u32 - 1
        };
        // Of these only candidates and results live in the arena.
        let params = scratch(0);
        let sampling = Sampling {
            params,
            // Penalties are left to the host.
            penalties: false,
            counts: params,
            history: params,
            history_len: 1,
            ends: scratch(0),
            candidates: scratch(sample::candidates_bytes(plan, *shape)),
            result: scratch(8 * shape.outputs),
            ring: scratch(0),
            ring_len: steps,
        };
        for launch in [sample::sample(plan, *shape, &sampling), advance::advance(plan, *shape, &sampling)] {
            self.launches.push(Node { launch, ops: Vec::new(), layer: None });
        }
        self.sampling = Some(sampling);
    }

    /// All launches so many times.
    fn repeated(mut self, steps: usize) -> Self {
        let step = std::mem::take(&mut self.launches);
        self.launches = std::iter::repeat_n(step, steps).flatten().collect();
        self
    }

    fn place(&mut self, plan: &Plan, shape: &Shape, keep: bool) {
        let mut lives: BTreeMap<What, Life> = BTreeMap::new();
        for (i, node) in self.launches.iter().enumerate() {
            for operand in &node.launch.operands {
                let bytes = match operand.what {
                    What::Buffer(buf) => buffer_bytes(plan, shape, buf),
                    What::Scratch(s) if self.in_arena(s) => self.scratch[s as usize],
                    _ => continue,
                };
                lives.entry(operand.what).or_insert(Life { bytes, first: i, last: i }).last = i;
            }
        }
        // The result is read after the last launch.
        if let Some(life) = lives.get_mut(&What::Buffer(plan.logits())) {
            life.last = self.launches.len();
        }
        let (offsets, total) = arena::arrange(&lives.values().copied().collect::<Vec<_>>(), keep);
        if keep {
            let ends = lives.values().zip(&offsets).map(|(life, at)| at + life.bytes);
            self.guards = ends.map(|end| end..end + arena::GUARD).collect();
        }
        self.places = lives.keys().copied().zip(offsets).collect();
        self.arena = total;
    }
}
