//! Launches with everything looked up, recorded once per shape of step.

use super::memory::{Memory, Region};
use crate::device::{Bound, Device, DeviceError, Recorded};
use crate::gpu::Submission;
use crate::launch::{Kernel, What};
use crate::launches::{Shape, Target};
use crate::listed::Lists;
use crate::lower::hazards::{Touch, after};
use crate::lower::{self, LowerError, Lowered, Node, Path};
use ingot_plan::{ExecError, Plan};
use std::collections::HashMap;
use std::ops::Range;

/// Recordings that are kept; prompts have many lengths.
const KEPT: usize = 32;

/// What a recording is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) shape: Shape,
    pub(super) path: Path,
    pub(super) submission: Submission,
    /// Steps of a window; 0 for a step whose logits the host reads.
    pub(super) window: usize,
}

/// Where launches come from.
#[derive(Clone, Copy)]
pub(super) enum Source<'a> {
    /// They are made from the plan.
    Lowered(&'a Target),
    /// They were made before.
    Listed(&'static Lists),
}

impl<'a> Source<'a> {
    /// Those that were made before, if there are any.
    pub(super) fn of(target: &'a Target, lists: Option<&'static Lists>) -> Self {
        lists.map_or(Self::Lowered(target), Self::Listed)
    }

    fn launches(self, plan: &Plan, key: &Key) -> Result<Lowered, LowerError> {
        match (self, key.window) {
            (Self::Lowered(target), 0) => lower::lower(plan, target, &key.shape, key.path, false),
            (Self::Lowered(target), steps) => lower::lower_window(plan, target, &key.shape, key.path, steps),
            (Self::Listed(lists), 0) => lists.lowered(&key.shape, key.path),
            (Self::Listed(lists), steps) => {
                Ok(lists.lowered(&key.shape, key.path)?.into_window(plan, &key.shape, steps))
            }
        }
    }
}

/// A step that can be submitted.
pub(super) struct Ready<D: Device> {
    pub(super) parts: Vec<Part<D>>,
    /// Where the logits are in the arena.
    pub(super) logits: usize,
    used: u64,
}

/// One submission.
pub(super) struct Part<D: Device> {
    pub(super) recording: D::Recording,
    pub(super) launches: usize,
}

/// Compiled kernels and recordings.
pub(super) struct Recorder<D: Device> {
    pipelines: HashMap<Kernel, D::Pipeline>,
    ready: HashMap<Key, Ready<D>>,
    clock: u64,
}

impl<D: Device> Default for Recorder<D> {
    fn default() -> Self {
        Self { pipelines: HashMap::new(), ready: HashMap::new(), clock: 0 }
    }
}

impl<D: Device> Recorder<D> {
    /// Forgets all recordings: memory they refer to is about to move.
    pub(super) fn clear(&mut self) {
        self.ready.clear();
    }

    /// The recording for a key, made if need be.
    pub(super) fn get(
        &mut self,
        device: &D,
        plan: &Plan,
        source: Source,
        memory: &mut Memory<D>,
        key: Key,
    ) -> Result<&Ready<D>, ExecError> {
        self.clock += 1;
        if !self.ready.contains_key(&key) {
            let lowered = source.launches(plan, &key)?;
            let parts = self.record(device, plan, memory, &key.shape, &lowered, key.submission)?;
            if self.ready.len() >= KEPT
                && let Some(oldest) = self.ready.iter().min_by_key(|(_, r)| r.used).map(|(k, _)| *k)
            {
                self.ready.remove(&oldest);
            }
            let logits = lowered.places.get(&What::Buffer(plan.logits())).copied().unwrap_or(0);
            self.ready.insert(key, Ready { parts, logits, used: 0 });
        }
        let ready = self.ready.get_mut(&key).expect("just made");
        ready.used = self.clock;
        Ok(ready)
    }

    /// Records launches in as many parts as the submission mode asks for.
    pub(super) fn record(
        &mut self,
        device: &D,
        plan: &Plan,
        memory: &mut Memory<D>,
        shape: &Shape,
        lowered: &Lowered,
        submission: Submission,
    ) -> Result<Vec<Part<D>>, ExecError> {
        self.prepare(device, memory, lowered)?;
        let mut parts = Vec::new();
        for range in cut(&lowered.launches, submission) {
            let launches = range.len();
            let recorded = self.bind(plan, memory, shape, lowered, range)?;
            parts.push(Part { recording: device.record(&recorded)?, launches });
        }
        Ok(parts)
    }

    /// Seconds of each launch.
    pub(super) fn time(
        &mut self,
        device: &D,
        plan: &Plan,
        memory: &mut Memory<D>,
        shape: &Shape,
        lowered: &Lowered,
    ) -> Result<Vec<f64>, ExecError> {
        self.prepare(device, memory, lowered)?;
        let all = self.bind(plan, memory, shape, lowered, 0..lowered.launches.len())?;
        Ok(device.time(&all)?)
    }

    /// Compiles kernels, makes room in the arena, fills tables.
    fn prepare(&mut self, device: &D, memory: &mut Memory<D>, lowered: &Lowered) -> Result<(), DeviceError> {
        for node in &lowered.launches {
            let kernel = &node.launch.kernel;
            if !self.pipelines.contains_key(kernel) {
                self.pipelines.insert(kernel.clone(), device.compile(kernel)?);
            }
        }
        if memory.arena.as_ref().is_none_or(|(_, size)| *size < lowered.arena) {
            self.clear();
            memory.arena = None;
            let size = lowered.arena.max(1);
            memory.arena = Some((device.alloc(size)?, size));
        }
        for (_, values) in &lowered.tables {
            if memory.tables.iter().all(|(known, _)| known != values) {
                let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
                let buffer = device.alloc(bytes.len())?;
                device.write(&buffer, 0, &bytes)?;
                memory.tables.push((values.clone(), buffer));
            }
        }
        Ok(())
    }

    fn bind<'a>(
        &'a self,
        plan: &Plan,
        memory: &'a Memory<D>,
        shape: &Shape,
        lowered: &Lowered,
        range: Range<usize>,
    ) -> Result<Vec<Recorded<'a, D>>, ExecError> {
        let nodes = &lowered.launches[range];
        let touch = |node: &Node| -> Vec<Touch<Region>> {
            node.launch.operands.iter().map(|o| memory.touch(plan, shape, lowered, o)).collect()
        };
        let touches: Vec<_> = nodes.iter().map(touch).collect();
        let after = after(&touches);
        let bound = |(node, (touches, after)): (&Node, (Vec<Touch<Region>>, Vec<usize>))| {
            let operand = |touch: Touch<Region>| {
                let buffer = memory.buffer(touch.memory).ok_or_else(|| {
                    ExecError::Request("pages or slots have to be reserved before a step uses them".into())
                })?;
                let (at, bytes) = (touch.range.start, touch.range.len());
                Ok(Bound { buffer, at, bytes, access: touch.access })
            };
            Ok(Recorded {
                pipeline: &self.pipelines[&node.launch.kernel],
                operands: touches.into_iter().map(operand).collect::<Result<_, ExecError>>()?,
                grid: node.launch.grid,
                threads: node.launch.threads,
                after,
            })
        };
        nodes.iter().zip(touches.into_iter().zip(after)).map(bound).collect()
    }
}

/// Ranges of launches that are submitted together.
fn cut(nodes: &[Node], submission: Submission) -> Vec<Range<usize>> {
    let begins = |i: usize| match submission {
        Submission::Launch => true,
        Submission::Layer => nodes[i].layer != nodes[i - 1].layer,
        Submission::Step => false,
    };
    let mut ranges = Vec::new();
    let mut start = 0;
    for i in 1..=nodes.len() {
        if i == nodes.len() || begins(i) {
            ranges.push(start..i);
            start = i;
        }
    }
    ranges
}
