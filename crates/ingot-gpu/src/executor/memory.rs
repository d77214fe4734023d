//! Everything that launches work on.

use super::states::States;
use super::weights::Weights;
use super::window::{SamplingMemory, SamplingPart};
use crate::device::Device;
use crate::launch::{Operand, What};
use crate::launches::Shape;
use crate::lower::hazards::Touch;
use crate::lower::{Lowered, buffer_bytes};
use crate::step_buffer::Capacity;
use ingot_plan::{Plan, StateId};

pub(super) struct Memory<D: Device> {
    pub(super) weights: Weights<D>,
    pub(super) states: States<D>,
    /// Buffers that live during a step, and its size.
    pub(super) arena: Option<(D::Buffer, usize)>,
    pub(super) step: Option<(D::Buffer, Capacity)>,
    /// Constant tables, with what is in them.
    pub(super) tables: Vec<(Vec<f32>, D::Buffer)>,
    /// What drawing tokens on the device takes.
    pub(super) sampling: Option<SamplingMemory<D>>,
}

/// One of the buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Region {
    Arena,
    Step,
    Table(usize),
    State(StateId),
    Weights(usize),
    Sampling(SamplingPart),
}

impl<D: Device> Memory<D> {
    /// Which bytes of which region an operand is.
    pub(super) fn touch(
        &self,
        plan: &Plan,
        shape: &Shape,
        lowered: &Lowered,
        operand: &Operand,
    ) -> Touch<Region> {
        let placed = |bytes: usize| (Region::Arena, lowered.places[&operand.what], bytes);
        let (memory, at, bytes) = match operand.what {
            What::Scratch(s) => match lowered.tables.iter().find(|(t, _)| *t == s) {
                Some((_, values)) => {
                    let known = self.tables.iter().position(|(known, _)| known == values);
                    (Region::Table(known.unwrap_or(self.tables.len())), 0, 4 * values.len())
                }
                None => match lowered.sampling.as_ref().and_then(|all| SamplingPart::of(all, s)) {
                    Some(part) => {
                        let bytes = self.sampling.as_ref().map_or(0, |memory| memory.size.bytes(part));
                        (Region::Sampling(part), 0, bytes)
                    }
                    None => placed(lowered.scratch[s as usize]),
                },
            },
            What::Buffer(buf) => placed(buffer_bytes(plan, shape, buf)),
            What::Step => (Region::Step, 0, self.step.as_ref().map_or(0, |(_, c)| 4 * c.words())),
            What::State(id) => (Region::State(id), 0, self.states.buffer(id).map_or(0, |(_, bytes)| bytes)),
            What::Weight(id) => {
                let place = self.weights.place(id);
                (Region::Weights(place.buffer), place.at, place.bytes)
            }
        };
        let range = match &operand.range {
            Some(part) => {
                assert!(part.end <= bytes, "{operand:?} of {bytes} bytes");
                at + part.start..at + part.end
            }
            None => at..at + bytes,
        };
        Touch { memory, range, access: operand.access }
    }

    pub(super) fn buffer(&self, region: Region) -> Option<&D::Buffer> {
        match region {
            Region::Arena => self.arena.as_ref().map(|(b, _)| b),
            Region::Step => self.step.as_ref().map(|(b, _)| b),
            Region::Table(i) => self.tables.get(i).map(|(_, b)| b),
            Region::State(id) => self.states.buffer(id).map(|(b, _)| b),
            Region::Weights(i) => self.weights.buffers().get(i),
            Region::Sampling(part) => self.sampling.as_ref().map(|memory| memory.buffer(part)),
        }
    }
}
