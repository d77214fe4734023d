//! Several decode steps in one submission, with tokens drawn on the device.

use super::pieces::of_singles;
use super::{GpuExecutor, Key, Source};
use crate::device::{Device, DeviceError};
use crate::launches::sample::{AFTER_END, SAMPLE_WORDS, SampleParams, Sampling};
use ingot_plan::{ExecError, Window};
use std::time::{Duration, Instant};

/// The memory that sampling works on.
pub(super) struct SamplingMemory<D: Device> {
    pub(super) params: D::Buffer,
    pub(super) ends: D::Buffer,
    pub(super) ring: D::Buffer,
    pub(super) size: SamplingSize,
}

/// Steps there is always room for.
const LEAST_STEPS: usize = 8;

/// What there is room for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SamplingSize {
    pub(super) sequences: usize,
    pub(super) ends: usize,
    pub(super) steps: usize,
}

impl SamplingSize {
    fn holds(&self, other: &Self) -> bool {
        self.sequences >= other.sequences && self.ends >= other.ends && self.steps >= other.steps
    }

    /// Enough for both, in powers of two, so that it seldom has to grow again.
    fn grown(&self, other: &Self) -> Self {
        let grow = |a: usize, b: usize| a.max(b.next_power_of_two());
        Self {
            sequences: grow(self.sequences, other.sequences),
            ends: grow(self.ends, other.ends),
            steps: grow(self.steps, other.steps.max(LEAST_STEPS)),
        }
    }

    pub(super) fn bytes(&self, part: SamplingPart) -> usize {
        match part {
            SamplingPart::Params => 4 * SAMPLE_WORDS * self.sequences,
            SamplingPart::Ends => 4 * (1 + self.ends),
            SamplingPart::Ring => 8 * self.steps * self.sequences,
        }
    }
}

/// One of the memories.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum SamplingPart {
    Params,
    Ends,
    Ring,
}

impl SamplingPart {
    /// Which one a scratch of `sampling` is, if it is not one of the arena.
    pub(super) fn of(sampling: &Sampling, scratch: u32) -> Option<Self> {
        let parts =
            [(sampling.params, Self::Params), (sampling.ends, Self::Ends), (sampling.ring, Self::Ring)];
        parts.into_iter().find(|(id, _)| *id == scratch).map(|(_, part)| part)
    }
}

impl<D: Device> SamplingMemory<D> {
    pub(super) fn new(device: &D, size: SamplingSize) -> Result<Self, DeviceError> {
        let zeros = |part| {
            let buffer = device.alloc(size.bytes(part))?;
            device.clear(&buffer, 0, size.bytes(part))?;
            Ok(buffer)
        };
        Ok(Self {
            params: zeros(SamplingPart::Params)?,
            ends: zeros(SamplingPart::Ends)?,
            ring: device.alloc_shared(size.bytes(SamplingPart::Ring))?,
            size,
        })
    }

    pub(super) fn buffer(&self, part: SamplingPart) -> &D::Buffer {
        match part {
            SamplingPart::Params => &self.params,
            SamplingPart::Ends => &self.ends,
            SamplingPart::Ring => &self.ring,
        }
    }
}

/// The host stops watching for the next token after this time and waits for the
/// device instead, which tells what is wrong.
const PATIENCE: Duration = Duration::from_secs(2);

impl<D: Device> GpuExecutor<D> {
    pub(super) fn run_window(
        &mut self,
        window: &Window,
        token: &mut dyn FnMut(usize, u32),
    ) -> Result<(), ExecError> {
        let (pages, slots) = (self.memory.states.pages(), self.memory.states.slots());
        window.check(&self.plan, pages, slots)?;
        // The shape of the last step serves all: it has the longest context.
        let shape = self.shape_after(window.first, window.steps - 1);
        self.prepare_sampling(window)?;
        self.write_step(window.first)?;
        let source = Source::of(&self.target, self.lists);
        let path = of_singles(window.draws.len(), self.limits.few_from);
        let key = Key { shape, path, submission: self.submission, window: window.steps };
        let ready = self.recorder.get(&self.device, &self.plan, source, &mut self.memory, key)?;
        let ring = &self.memory.sampling.as_ref().expect("just prepared").ring;
        let mut watch = Watch { sequences: window.draws.len(), steps: window.steps, next: 0 };
        for part in &ready.parts {
            let fence = self.device.submit(&part.recording)?;
            if ready.parts.len() == 1 {
                watch.follow(&self.device, ring, token);
            }
            self.device.wait(fence)?;
            self.counts.submissions += 1;
            self.counts.waits += 1;
            self.counts.launches += part.launches as u64;
        }
        watch.take(&self.device, ring, token);
        self.counts.steps += window.steps as u64;
        Ok(())
    }

    /// Parameters, end tokens and an empty ring.
    fn prepare_sampling(&mut self, window: &Window) -> Result<(), ExecError> {
        let wanted =
            SamplingSize { sequences: window.draws.len(), ends: window.ends.len(), steps: window.steps };
        let held = self.memory.sampling.as_ref().map(|s| s.size).unwrap_or_default();
        if self.memory.sampling.is_none() || !held.holds(&wanted) {
            self.recorder.clear();
            self.memory.sampling = None;
            self.memory.sampling = Some(SamplingMemory::new(&self.device, held.grown(&wanted))?);
        }
        let memory = self.memory.sampling.as_ref().expect("just made");
        let params = window.draws.iter().flat_map(|draw| {
            let params = SampleParams {
                temperature: draw.temperature,
                top_k: draw.top_k,
                top_p: draw.top_p,
                min_p: draw.min_p,
                seed: draw.seed,
                counter: draw.counter as u32,
                ..SampleParams::default()
            };
            params.to_words()
        });
        let bytes =
            |words: &mut dyn Iterator<Item = u32>| words.flat_map(u32::to_le_bytes).collect::<Vec<u8>>();
        self.device.write(&memory.params, 0, &bytes(&mut params.into_iter()))?;
        let mut ends = std::iter::once(window.ends.len() as u32).chain(window.ends.iter().copied());
        self.device.write(&memory.ends, 0, &bytes(&mut ends))?;
        self.device.write(&memory.ring, 0, &vec![0; wanted.bytes(SamplingPart::Ring)])?;
        Ok(())
    }
}

/// Tokens of the ring that were handed on: all before `next`, step by step.
struct Watch {
    sequences: usize,
    steps: usize,
    next: usize,
}

impl Watch {
    /// Hands on tokens as they appear, until all have or nothing moves.
    fn follow<D: Device>(&mut self, device: &D, ring: &D::Buffer, token: &mut dyn FnMut(usize, u32)) {
        let mut last = Instant::now();
        while self.next < self.sequences * self.steps && last.elapsed() < PATIENCE {
            let before = self.next;
            self.take(device, ring, token);
            if self.next > before {
                last = Instant::now();
            }
            std::thread::yield_now();
        }
    }

    /// Hands on what is there.
    fn take<D: Device>(&mut self, device: &D, ring: &D::Buffer, token: &mut dyn FnMut(usize, u32)) {
        while self.next < self.sequences * self.steps {
            let (step, sequence) = (self.next / self.sequences, self.next % self.sequences);
            match device.peek(ring, Sampling::ring_word(step, self.sequences, sequence)) {
                0 => return,
                AFTER_END => {}
                after => token(sequence, after - 1),
            }
            self.next += 1;
        }
    }
}
