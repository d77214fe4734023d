//! Runs plans on a device.
//!
//! A step is split by how its rows are computed: sequences with one row take the
//! vector path, prompt chunks the tile path, in pieces short enough that no
//! submission holds the device for long. A row's way depends on nothing but the
//! number of rows its own sequence has in the step, so that its result does not
//! depend on the company it is in; but where a device says so, products of several
//! sequences with one row each share weights, on matrix units, which is another
//! way of rounding than that of one. For each shape of step the launches are
//! recorded once and then submitted again and again: what differs from step to
//! step lies in the step buffer.

mod memory;
mod pieces;
mod recording;
mod states;
mod weights;
mod window;

use crate::device::{Device, Info};
use crate::gpu::{Counts, Described, Gpu, Submission};
use crate::launch::{Access, What};
use crate::launches::{Shape, Target};
use crate::listed::Lists;
use crate::lower::{self, LowerError, Path};
use crate::open::GpuOptions;
use crate::step_buffer::Capacity;
use crate::tuning::Tuning;
use ingot_format::{DType, Tensor};
use ingot_plan::{Buf, ExecError, Executor, Place, Plan, StateDecl, Step, Window};
use memory::Memory;
use pieces::{Limits, Piece, pieces};
use recording::{Key, Recorder, Source};
use states::States;
use std::sync::Arc;
use weights::Weights;

pub use pieces::MOST_ROWS;
pub use weights::matrices;

/// An executor on a device.
pub struct GpuExecutor<D: Device> {
    device: D,
    plan: Arc<Plan>,
    target: Target,
    /// Launches that were made before, instead of those for the target.
    lists: Option<&'static Lists>,
    memory: Memory<D>,
    recorder: Recorder<D>,
    submission: Submission,
    limits: Limits,
    counts: Counts,
    /// Logits on their way to the host.
    bytes: Vec<u8>,
}

/// Positions are rounded up to a power of two from here on: a recording serves all
/// contexts up to its own.
pub const LEAST_CONTEXT: usize = 256;

/// What lies between buffers that are kept apart.
const GUARD_BYTE: u8 = 0xa5;

impl<D: Device> GpuExecutor<D> {
    /// An executor for `plan`; `weights` are the tensors it declares, in order.
    /// `progress` is told how many bytes of how many are on the device.
    ///
    /// # Errors
    /// If the plan has something no kernel can do, or the device has no room.
    ///
    /// # Panics
    /// If a tensor does not match its declaration.
    pub fn new(
        device: D,
        plan: Arc<Plan>,
        weights: &[Tensor],
        options: &GpuOptions,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Self, ExecError> {
        if !matches!(options.cache, DType::F16 | DType::F32 | DType::Q8_0) {
            let what = format!("a cache of {}; F16, F32 and Q8_0 are possible", options.cache);
            return Err(ExecError::Request(what));
        }
        // What cannot be run is refused before anything is copied.
        let target = Target {
            // What is copied anyway is copied as kernels like it best.
            eights: !device.info().shares_memory,
            wide: device.info().wide,
            ..Target::new(&plan, device.info().cores, options)
        };
        let shape = Shape { rows: 1, outputs: 1, sequences: 1, context: LEAST_CONTEXT };
        lower::lower(&plan, &target, &shape, Path::Vector, false)?;
        let shape = Shape { rows: 2, ..shape };
        lower::lower(&plan, &target, &shape, Path::Tile, false)?;
        Self::with(device, plan, weights, target, None, progress)
    }

    /// The same for launches that were made before, with the usual options.
    pub(crate) fn listed(
        device: D,
        plan: Arc<Plan>,
        weights: &[Tensor],
        lists: &'static Lists,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Self, ExecError> {
        let options = GpuOptions::default();
        let target = Target { eights: lists.eights, ..Target::new(&plan, device.info().cores, &options) };
        Self::with(device, plan, weights, target, Some(lists), progress)
    }

    fn with(
        device: D,
        plan: Arc<Plan>,
        weights: &[Tensor],
        target: Target,
        lists: Option<&'static Lists>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Self, ExecError> {
        plan.check_weights(weights);
        let memory = Memory {
            states: States::new(&plan, target.cache)?,
            weights: Weights::new(&device, &plan, weights, target.eights, progress)?,
            arena: None,
            step: None,
            tables: Vec::new(),
            sampling: None,
        };
        // Lists are for one sequence, and `exact` is exact.
        let few_from = device.info().few_from.filter(|_| lists.is_none() && !target.exact);
        let limits = Limits::new(few_from, target.wide);
        let (recorder, submission, counts) = Default::default();
        let bytes = Vec::new();
        Ok(Self { device, plan, target, lists, memory, recorder, submission, limits, counts, bytes })
    }

    /// Runs one piece; logits of its outputs: `[O, vocab]`.
    fn piece(&mut self, piece: &Piece, logits: &mut [f32]) -> Result<(), ExecError> {
        let shape = self.shape(&piece.step);
        self.write_step(&piece.step)?;
        let source = Source::of(&self.target, self.lists);
        let key = Key { shape, path: piece.path, submission: self.submission, window: 0 };
        let ready = self.recorder.get(&self.device, &self.plan, source, &mut self.memory, key)?;
        for part in &ready.parts {
            let fence = self.device.submit(&part.recording)?;
            self.device.wait(fence)?;
            self.counts.submissions += 1;
            self.counts.waits += 1;
            self.counts.launches += part.launches as u64;
        }
        self.counts.steps += 1;
        if !logits.is_empty() {
            let (arena, _) = self.memory.arena.as_ref().expect("recorded before it is read");
            self.bytes.resize(4 * logits.len(), 0);
            self.device.read(arena, ready.logits, &mut self.bytes)?;
            parse_floats(&self.bytes, logits);
        }
        Ok(())
    }

    fn shape(&self, step: &Step) -> Shape {
        self.shape_after(step, 0)
    }

    /// The shape of the step that comes `more` steps after this one.
    fn shape_after(&self, step: &Step, more: usize) -> Shape {
        let ends = step.sequences.iter().map(|s| s.past + s.rows.len() + more);
        let has_pages = self.plan.states().iter().any(|s| matches!(s, StateDecl::Kv { .. }));
        let context = if has_pages { ends.max().unwrap_or(0) } else { 0 };
        Shape {
            rows: step.rows(),
            outputs: step.outputs.len(),
            sequences: step.sequences.len(),
            context: context.max(LEAST_CONTEXT).next_power_of_two(),
        }
    }

    fn write_step(&mut self, step: &Step) -> Result<(), ExecError> {
        let needed = Capacity::of(step);
        let held = self.memory.step.as_ref().map(|(_, c)| *c).unwrap_or_default();
        if self.memory.step.is_none() || !held.holds(needed) {
            let capacity = held.grown(needed);
            self.recorder.clear();
            self.memory.step = None;
            self.memory.step = Some((self.device.alloc(4 * capacity.words())?, capacity));
        }
        let (buffer, capacity) = self.memory.step.as_ref().expect("just made");
        let bytes: Vec<u8> = capacity.fill(step).iter().flat_map(|w| w.to_le_bytes()).collect();
        Ok(self.device.write(buffer, 0, &bytes)?)
    }
}

fn parse_floats(bytes: &[u8], to: &mut [f32]) {
    to.iter_mut().zip(bytes.as_chunks::<4>().0).for_each(|(x, b)| *x = f32::from_le_bytes(*b));
}

impl From<LowerError> for ExecError {
    fn from(e: LowerError) -> Self {
        Self::Request(e.to_string())
    }
}

impl<D: Device> Executor for GpuExecutor<D> {
    fn plan(&self) -> &Plan {
        &self.plan
    }

    fn cache_type(&self) -> DType {
        self.target.cache
    }

    fn reserve(&mut self, pages: usize, slots: usize) -> Result<(), ExecError> {
        if self.memory.states.reserve(&self.device, pages, slots)? {
            self.recorder.clear();
        }
        Ok(())
    }

    fn run(&mut self, step: &Step, logits: &mut Vec<f32>) -> Result<(), ExecError> {
        step.check(&self.plan, self.memory.states.pages(), self.memory.states.slots())?;
        let vocab = self.plan.vocab();
        logits.clear();
        logits.resize(step.outputs.len() * vocab, 0.0);
        let pieces = pieces(step, self.limits);
        if let [all] = &pieces[..] {
            return self.piece(all, logits);
        }
        for piece in pieces {
            let mut rows = vec![0.0; piece.outputs.len() * vocab];
            self.piece(&piece, &mut rows)?;
            for (row, &output) in rows.chunks_exact(vocab).zip(&piece.outputs) {
                logits[output * vocab..][..vocab].copy_from_slice(row);
            }
        }
        Ok(())
    }

    fn window(&mut self, window: &Window, token: &mut dyn FnMut(usize, u32)) -> Result<bool, ExecError> {
        self.run_window(window, token)?;
        Ok(true)
    }

    fn copy(&mut self, from: Place, to: Place) -> Result<(), ExecError> {
        self.memory.states.copy(&self.device, from, to)
    }

    fn clear_slot(&mut self, slot: u32) -> Result<(), ExecError> {
        self.memory.states.clear_slot(&self.device, slot)
    }

    fn read(&self, place: Place) -> Result<Vec<u8>, ExecError> {
        self.memory.states.read(&self.device, place)
    }

    fn write(&mut self, place: Place, bytes: &[u8]) -> Result<(), ExecError> {
        self.memory.states.write(&self.device, place, bytes)
    }
}

impl<D: Device> Gpu for GpuExecutor<D> {
    fn info(&self) -> &Info {
        self.device.info()
    }

    fn submit_by(&mut self, submission: Submission) {
        self.submission = submission;
    }

    fn tune(&mut self, tuning: &Tuning) {
        self.target.tuning = *tuning;
        self.recorder.clear();
    }

    fn take_counts(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }

    fn describe(&mut self, step: &Step) -> Result<Vec<Described>, ExecError> {
        let (shape, path) = self.one_piece(step)?;
        let lowered = lower::lower(&self.plan, &self.target, &shape, path, false)?;
        let touches = lowered.launches.iter().map(|n| {
            let operands = n.launch.operands.iter();
            operands.map(|o| self.memory.touch(&self.plan, &shape, &lowered, o)).collect()
        });
        let after = lower::hazards::after(&touches.collect::<Vec<_>>());
        let describe = |(node, after): (&lower::Node, Vec<usize>)| {
            let of = |access: fn(Access) -> bool| {
                node.launch.operands.iter().filter(move |o| access(o.access)).map(|o| o.what)
            };
            let writes = of(|a| a != Access::Read).filter_map(|what| match what {
                What::Buffer(buf) => Some(self.plan.buffer(buf).name.clone()),
                _ => None,
            });
            let weights = of(|a| a == Access::Read).filter_map(|what| match what {
                What::Weight(id) => Some(self.memory.weights.place(id).bytes),
                _ => None,
            });
            Described {
                kernel: node.launch.kernel.name,
                layer: node.layer,
                writes: writes.collect(),
                ops: node.ops.clone(),
                weight_bytes: weights.sum(),
                threadgroups: node.launch.grid.iter().map(|&n| u64::from(n)).product(),
                threads: node.launch.threads,
                after,
            }
        };
        Ok(lowered.launches.iter().zip(after).map(describe).collect())
    }

    fn run_to(&mut self, step: &Step, launches: usize) -> Result<Vec<(Buf, Vec<f32>)>, ExecError> {
        let (shape, path) = self.one_piece(step)?;
        self.write_step(step)?;
        let mut lowered = lower::lower(&self.plan, &self.target, &shape, path, true)?;
        lowered.launches.truncate(launches);
        let parts = self.recorder.record(
            &self.device,
            &self.plan,
            &mut self.memory,
            &shape,
            &lowered,
            Submission::Launch,
        )?;
        let (arena, _) = self.memory.arena.as_ref().expect("just recorded");
        for guard in &lowered.guards {
            self.device.write(arena, guard.start, &vec![GUARD_BYTE; guard.len()])?;
        }
        for part in &parts {
            self.device.wait(self.device.submit(&part.recording)?)?;
        }
        for guard in &lowered.guards {
            let mut bytes = vec![0; guard.len()];
            self.device.read(arena, guard.start, &mut bytes)?;
            if let Some(i) = bytes.iter().position(|&b| b != GUARD_BYTE) {
                let what = lowered.places.iter().rfind(|(_, at)| **at <= guard.start).map(|(what, _)| what);
                return Err(ExecError::Device(format!(
                    "a kernel wrote {i} bytes beyond the end of {what:?}"
                )));
            }
        }
        let mut written = Vec::new();
        for node in &lowered.launches {
            for operand in &node.launch.operands {
                let What::Buffer(buf) = operand.what else { continue };
                if operand.access != Access::Read {
                    let mut bytes = vec![0; lower::buffer_bytes(&self.plan, &shape, buf)];
                    self.device.read(arena, lowered.places[&operand.what], &mut bytes)?;
                    let mut values = vec![0.0; bytes.len() / 4];
                    parse_floats(&bytes, &mut values);
                    written.retain(|(b, _)| *b != buf);
                    written.push((buf, values));
                }
            }
        }
        Ok(written)
    }

    fn time(&mut self, step: &Step) -> Result<Vec<f64>, ExecError> {
        let (shape, path) = self.one_piece(step)?;
        self.write_step(step)?;
        let lowered = lower::lower(&self.plan, &self.target, &shape, path, false)?;
        self.recorder.time(&self.device, &self.plan, &mut self.memory, &shape, &lowered)
    }

    fn copy_bandwidth(&mut self) -> Result<f64, ExecError> {
        const ROUNDS: usize = 7;
        let bytes = (self.device.info().memory as usize / 8).clamp(1 << 20, 2 << 30) & !0xfffff;
        let (from, to) = (self.device.alloc(bytes)?, self.device.alloc(bytes)?);
        self.device.clear(&from, 0, bytes)?;
        let mut rates = Vec::new();
        for _ in 0..ROUNDS {
            let start = std::time::Instant::now();
            self.device.copy((&from, 0), (&to, 0), bytes)?;
            self.device.read(&to, 0, &mut [0; 4])?;
            rates.push(2.0 * bytes as f64 / start.elapsed().as_secs_f64());
        }
        rates.sort_by(f64::total_cmp);
        Ok(rates[ROUNDS / 2])
    }
}

impl<D: Device> GpuExecutor<D> {
    /// Shape and path of a step that is run as it is.
    fn one_piece(&self, step: &Step) -> Result<(Shape, Path), ExecError> {
        step.check(&self.plan, self.memory.states.pages(), self.memory.states.slots())?;
        match &pieces(step, self.limits)[..] {
            [piece] => Ok((self.shape(&piece.step), piece.path)),
            _ => Err(ExecError::Request("a step of one kind of rows is needed, and not too many".into())),
        }
    }
}
