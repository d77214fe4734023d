//! Runs plans on the CPU.
//!
//! Matrices are packed once a model is open, and until then used where they lie,
//! usually in the mapped file; vectors (norms, biases, mixes) are kept in f32 as
//! well. Buffers share memory as the plan's layout says and are allocated when a
//! step is larger than all before.
//! Ops run one after the other, each split over the threads where it is worth
//! more than waking them.

mod cache;
mod chains;
mod experts;
mod groups;
mod linear;
mod rotations;
mod rows;
mod rwkv;
mod timing;
mod workspace;

use crate::isa::{Enabled, Isa};
use crate::linear::{Layout, Matrix, panel_of};
use crate::packed::Matrices;
use crate::pool::Pool;
use cache::Pages;
use chains::{Work, chains};
use groups::groups;
use ingot_format::{DType, Tensor};
use ingot_plan::ops::{Activation, Stack};
use ingot_plan::{ExecError, Executor, Op, Place, Plan, Precision, Step, WeightId};
use std::ops::Range;
use std::sync::Arc;
use workspace::Workspace;

/// How to run.
#[derive(Clone, Debug)]
pub struct CpuOptions {
    /// Number of threads; as many as the process may use if absent.
    pub threads: Option<usize>,
    /// How keys and values are stored: F16, F32 or Q8_0.
    pub cache_type: DType,
    /// The instruction set; what `INGOT_CPU` says or else the best if absent.
    pub isa: Option<Isa>,
    /// Whether to make a copy of the weights in the order in which they are read,
    /// which is faster. What has been copied from a mapped file is dropped from memory.
    pub pack: bool,
}

impl Default for CpuOptions {
    fn default() -> Self {
        Self { threads: None, cache_type: DType::F16, isa: None, pack: true }
    }
}

/// The CPU executor.
pub struct CpuExecutor {
    plan: Arc<Plan>,
    /// No step has run yet.
    first: bool,
    weights: Weights,
    machine: Machine,
    workspace: Workspace,
    pages: Pages,
    slots: Vec<Vec<f32>>,
    linear: linear::Scratch,
    experts: experts::Scratch,
    rotations: rotations::Rotations,
    /// Ops that run together, as ranges of the plan's.
    work: Arc<[Work]>,
    clock: timing::Clock,
}

/// What work runs on.
struct Machine {
    isa: Enabled,
    pool: Pool,
}

/// Work below this many multiplications is not worth a second thread.
const WORTH_SPLITTING: usize = 16 * 1024;

impl Machine {
    /// Calls `f` for ranges of the items on all threads, if together they are
    /// worth it; an item takes about `cost` multiplications.
    fn split(&self, items: usize, cost: usize, f: impl Fn(Range<usize>) + Sync) {
        self.pool.for_each_range(items, WORTH_SPLITTING / cost.max(1), f);
    }

    /// The items that a thread begins with in [`split`](Self::split).
    fn share(&self, items: usize, cost: usize, thread: usize) -> Range<usize> {
        self.pool.share(items, WORTH_SPLITTING / cost.max(1), thread)
    }
}

/// The plan's tensors.
struct Weights {
    tensors: Vec<Tensor>,
    /// The small ones in f32, by index.
    vectors: Vec<Vec<f32>>,
    matrices: Matrices,
}

/// Tensors with one dimension, and others up to this many values that are not
/// multiplied, are also kept in f32.
const SMALL: usize = 1 << 16;

impl Weights {
    fn new(
        plan: &Plan,
        tensors: Vec<Tensor>,
        machine: (Enabled, &Pool),
        pack: bool,
    ) -> Result<Self, ExecError> {
        let mut multiplied = vec![false; tensors.len()];
        for op in plan.ops() {
            match op {
                Op::Linear(op) => op.parts.iter().for_each(|p| multiplied[p.weight.index()] = true),
                Op::Experts(op) => {
                    let ids = [&op.gate, &op.up, &op.down].into_iter().flat_map(Stack::ids);
                    ids.for_each(|w| multiplied[w.index()] = true)
                }
                _ => {}
            }
        }
        let is_vector =
            |i: usize| tensors[i].shape().len() == 1 || tensors[i].len() <= SMALL && !multiplied[i];
        let vectors =
            (0..tensors.len()).map(|i| if is_vector(i) { values(&tensors[i]) } else { Vec::new() }).collect();
        let sparse = sparse(plan);
        let chosen = |i: usize| {
            if !multiplied[i] || !pack && Matrices::can_stay(&tensors[i]) {
                return None;
            }
            let tensor = &tensors[i];
            let panels = panel_of(tensor.dtype()).map_or(0, |panel| tensor.rows() / panel);
            // A panel is not shared, and each thread wants one.
            let columns = pack && sparse[i] && panels >= machine.1.workers();
            Some(if columns { Layout::Columns } else { Layout::Tiles })
        };
        let matrices = Matrices::pack(machine.0, &tensors, chosen)?;
        Ok(Self { vectors, matrices, tensors })
    }

    fn tensor(&self, id: WeightId) -> &Tensor {
        &self.tensors[id.index()]
    }

    /// Matrix `e` of a tensor `[E, R, C]`, or the only one.
    fn matrix(&self, id: WeightId, e: usize) -> Matrix<'_> {
        self.matrices.get(id.index(), self.tensor(id), e)
    }

    fn vector(&self, id: WeightId) -> &[f32] {
        &self.vectors[id.index()]
    }
}

/// Whether each weight is only multiplied with rounded squares of a ReLU, which are
/// zero more often than not.
fn sparse(plan: &Plan) -> Vec<bool> {
    let mut squared = vec![false; plan.buffers().len()];
    let mut sparse = vec![true; plan.weights().len()];
    for op in plan.ops() {
        let from = match op {
            Op::Linear(op) => {
                for part in &op.parts {
                    squared[part.out.index()] = part.activation == Activation::SquaredRelu;
                }
                op.inputs == Precision::Q8 && squared[op.x.index()]
            }
            _ => false,
        };
        if !from {
            op.uses().weights.iter().for_each(|w| sparse[w.index()] = false);
        }
    }
    sparse
}

fn values(tensor: &Tensor) -> Vec<f32> {
    let mut values = vec![0.0; tensor.len()];
    tensor.dtype().dequantize(tensor.data(), &mut values);
    values
}

impl CpuExecutor {
    /// An executor for `plan`; `weights` are the tensors it declares, in order.
    ///
    /// # Errors
    /// If the options ask for an instruction set this machine does not have or
    /// for a cache type other than F16, F32 and, with heads of whole blocks, Q8_0.
    ///
    /// # Panics
    /// If a tensor does not match its declaration.
    pub fn new(plan: Arc<Plan>, weights: Vec<Tensor>, options: &CpuOptions) -> Result<Self, ExecError> {
        let mut executor = Self::open(plan, weights, options)?;
        executor.settle(&mut |_, _| {});
        Ok(executor)
    }

    /// Like [`CpuExecutor::new`], but can be used at once: weights are packed by a
    /// thread of its own while the first steps run.
    ///
    /// # Errors
    /// As there, or if there is no memory.
    ///
    /// # Panics
    /// As there.
    pub fn open(plan: Arc<Plan>, weights: Vec<Tensor>, options: &CpuOptions) -> Result<Self, ExecError> {
        plan.check_weights(&weights);
        let isa = match options.isa {
            Some(isa) => isa,
            None => Isa::from_env().map_err(ExecError::Request)?,
        };
        let isa = Enabled::new(isa)
            .ok_or_else(|| ExecError::Request(format!("this machine cannot run {isa} instructions")))?;
        let pool = Pool::new(options.threads.unwrap_or_else(Pool::default_threads));
        let (work, uses) = chains(&plan);
        let workspace = Workspace::new(&plan, &uses);
        Ok(Self {
            work: groups(&plan, &workspace, work).into(),
            workspace,
            pages: Pages::new(options.cache_type, &plan)?,
            slots: Vec::new(),
            weights: Weights::new(&plan, weights, (isa, &pool), options.pack)?,
            machine: Machine { isa, pool },
            linear: linear::Scratch::default(),
            experts: experts::Scratch::default(),
            rotations: rotations::Rotations::new(&plan),
            first: true,
            clock: timing::Clock::default(),
            plan,
        })
    }

    /// Waits until all weights are packed, and helps; from then on steps take the same
    /// time. `progress` is told how many bytes of how many are.
    pub fn settle(&mut self, progress: &mut dyn FnMut(u64, u64)) {
        self.weights.matrices.settle(&self.machine.pool, progress);
    }

    /// The instruction set in use.
    pub fn isa(&self) -> Isa {
        self.machine.isa.isa()
    }

    /// Number of threads in use.
    pub fn threads(&self) -> usize {
        self.machine.pool.workers()
    }

    /// Runs a group of ops, of which only row ops come together.
    fn ops(&mut self, ops: &[Op], step: &Step) {
        match &ops[0] {
            Op::Attention(op) => self.attention(op, step),
            Op::Blend(op) => self.blend(op),
            Op::Bonus(op) => self.bonus(op),
            Op::Experts(op) => self.experts(op),
            Op::RwkvKeys(op) => self.rwkv_keys(op),
            Op::StoreKv(op) => self.store_kv(op, step),
            Op::Linear(_) | Op::TokenShift(_) => unreachable!("always in a chain"),
            Op::Wkv7(op) => self.wkv7(op, step),
            Op::Add(_)
            | Op::Embed(_)
            | Op::Glu(_)
            | Op::LayerNorm(_)
            | Op::RmsNorm(_)
            | Op::Rope(_)
            | Op::Select(_)
            | Op::Softcap(_) => self.row_ops(ops, step),
        }
    }

    fn slot(&mut self, slot: u32) -> Result<&mut Vec<f32>, ExecError> {
        self.slots.get_mut(slot as usize).ok_or_else(|| absent(Place::Slot(slot)))
    }
}

fn absent(place: Place) -> ExecError {
    ExecError::Request(format!("{place:?} was never reserved"))
}

/// `len` zeros, or an error if there is no memory for them.
fn zeros<T: Clone + Default>(len: usize, what: &str) -> Result<Vec<T>, ExecError> {
    let mut values = Vec::new();
    let bytes = len.saturating_mul(size_of::<T>());
    values.try_reserve_exact(len).map_err(|_| ExecError::OutOfMemory(format!("{what} of {bytes} bytes")))?;
    values.resize(len, T::default());
    Ok(values)
}

impl Executor for CpuExecutor {
    fn plan(&self) -> &Plan {
        &self.plan
    }

    fn cache_type(&self) -> DType {
        self.pages.dtype()
    }

    fn reserve(&mut self, pages: usize, slots: usize) -> Result<(), ExecError> {
        self.pages.reserve(pages)?;
        while self.slots.len() < slots {
            self.slots.push(zeros(self.plan.slot_len(), "a slot")?);
        }
        Ok(())
    }

    fn run(&mut self, step: &Step, logits: &mut Vec<f32>) -> Result<(), ExecError> {
        step.check(&self.plan, self.pages.len(), self.slots.len())?;
        self.workspace.resize(step)?;
        self.rotations.turn_to(step, &self.machine);
        let (plan, work) = (Arc::clone(&self.plan), Arc::clone(&self.work));
        let first = std::mem::take(&mut self.first);
        if first {
            self.weights.matrices.hold(true);
        }
        let mut products = work.iter().flat_map(Work::products).cycle();
        products.next();
        for work in &*work {
            self.weights.matrices.admit();
            match work {
                Work::Ops(ops) => self.piece(|cpu| cpu.ops(&plan.ops()[ops.clone()], step)),
                Work::Linears(stages) => {
                    for (stage, next) in stages.iter().zip(&mut products) {
                        self.expect(next);
                        self.piece(|cpu| cpu.linears(stage));
                    }
                }
                Work::Shift(shift) => self.piece(|cpu| cpu.shift(shift, step)),
                Work::Mix(mix) => self.piece(|cpu| cpu.mix(mix, step)),
            }
        }
        if first {
            self.weights.matrices.hold(false);
        }
        self.workspace.give(plan.logits(), logits);
        Ok(())
    }

    fn copy(&mut self, from: Place, to: Place) -> Result<(), ExecError> {
        match (from, to) {
            (Place::Page(from), Place::Page(to)) => self.pages.copy(from, to),
            (Place::Slot(from), Place::Slot(to)) => {
                self.slot(to)?;
                let mut values = std::mem::take(self.slot(to)?);
                let result = self.slot(from).map(|from| {
                    if !from.is_empty() {
                        values.copy_from_slice(from)
                    }
                });
                *self.slot(to)? = values;
                result
            }
            _ => Err(ExecError::Request(format!("{from:?} and {to:?} are of different kinds"))),
        }
    }

    fn clear_slot(&mut self, slot: u32) -> Result<(), ExecError> {
        self.slot(slot)?.fill(0.0);
        Ok(())
    }

    fn read(&self, place: Place) -> Result<Vec<u8>, ExecError> {
        match place {
            Place::Page(page) => self.pages.read(page),
            Place::Slot(slot) => {
                let values = self.slots.get(slot as usize).ok_or_else(|| absent(place))?;
                let mut values = values.clone();
                rwkv::transpose_states(&self.plan, &mut values);
                Ok(values.iter().flat_map(|x| x.to_le_bytes()).collect())
            }
        }
    }

    fn write(&mut self, place: Place, bytes: &[u8]) -> Result<(), ExecError> {
        match place {
            Place::Page(page) => self.pages.write(page, bytes),
            Place::Slot(slot) => {
                let plan = Arc::clone(&self.plan);
                let values = self.slot(slot)?;
                let (words, rest) = bytes.as_chunks::<4>();
                if words.len() != values.len() || !rest.is_empty() {
                    return Err(wrong_size(place, 4 * values.len(), bytes.len()));
                }
                values.iter_mut().zip(words).for_each(|(x, b)| *x = f32::from_le_bytes(*b));
                rwkv::transpose_states(&plan, values);
                Ok(())
            }
        }
    }
}

fn wrong_size(place: Place, want: usize, got: usize) -> ExecError {
    ExecError::Request(format!("{place:?} takes {want} bytes, not {got}"))
}
