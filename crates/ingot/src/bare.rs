//! A model with its executor in the open, for commands that look inside of it.
//! There are no sessions: pages and slots are the command's own business.

use crate::models::Place;
use crate::term::Progress;
use ingot::{Error, ExecutorKind, Info, Memory, ModelFile, Options};
use ingot_cpu::{CpuExecutor, CpuOptions};
use ingot_engine::{Machine, Setup};
use ingot_format::{DType, Tensor};
use ingot_models::Model;
use ingot_plan::{Buf, PAGE, Plan, Precision, Sequence, Step};
use std::sync::Arc;

/// An open model and its executor.
pub struct Bare {
    /// What it is and how large.
    pub info: Info,
    /// One step of it.
    pub plan: Arc<Plan>,
    /// What runs it.
    pub machine: Machine,
    /// Which kind that is.
    pub executor: ExecutorKind,
    /// How its quantized matrices see their inputs.
    pub precision: Precision,
    /// What its memory is made of.
    pub memory: Memory,
    room: u64,
    threads: Option<usize>,
    cache: DType,
    /// Pages of each sequence.
    pages: Vec<Vec<u32>>,
    /// The tensors keep the file open.
    weights: Vec<Tensor>,
}

/// What does not depend on the executor of a model that is to be opened.
pub struct Source<'a> {
    /// What to call it in messages.
    pub place: &'a Place,
    /// Its file.
    pub file: &'a ModelFile,
}

impl Bare {
    /// Opens a model as its options say.
    pub fn open(source: &Source, options: &Options) -> ingot::Result<Self> {
        let setup = options.resolve()?;
        Self::open_with(source, options.executor, &setup, setup.precision())
    }

    /// Opens a model whose matrices see their inputs in this precision.
    pub fn open_with(
        source: &Source,
        executor: ExecutorKind,
        setup: &Setup,
        precision: Precision,
    ) -> ingot::Result<Self> {
        let bad =
            |e: ingot_models::Error| Error::BadModel { path: source.place.name().into(), source: e.into() };
        let model = Model::load(source.file, precision).map_err(bad)?;
        let memory = Memory::of(&model.plan, setup.cache());
        let progress = Progress::new("opening the model", 0);
        let (plan, weights) = (model.plan.clone(), model.weights.clone());
        let mut progressed = |done, all| progress.set_bytes(done, all);
        let mut machine = setup.open(plan, weights, &mut progressed)?;
        machine.settle(&mut progressed);
        Ok(Self {
            info: model.info,
            plan: model.plan,
            machine,
            executor,
            precision,
            memory,
            room: setup.room(&memory),
            threads: setup.threads(),
            cache: setup.cache(),
            pages: Vec::new(),
            weights: model.weights,
        })
    }

    /// The same on the processor, up to a buffer that has a row for each token: this becomes
    /// the logits. The weights are used as they lie in the file.
    pub fn until(&self, buf: Buf) -> ingot::Result<Self> {
        let plan = Arc::new(self.plan.until(buf));
        let options = CpuOptions {
            threads: self.threads,
            cache_type: self.cache,
            pack: false,
            ..CpuOptions::default()
        };
        let executor = CpuExecutor::open(plan.clone(), self.weights.clone(), &options)?;
        Ok(Self {
            info: self.info.clone(),
            plan,
            machine: Machine::Cpu(Box::new(executor)),
            executor: ExecutorKind::Cpu,
            weights: self.weights.clone(),
            pages: Vec::new(),
            ..*self
        })
    }

    /// Makes room for some sequences of so many positions each, and for a slot
    /// after theirs.
    pub fn reserve(&mut self, positions: usize, sequences: usize) -> ingot::Result<()> {
        let needed = self.memory.sequence(positions).saturating_mul(sequences as u64);
        if needed > self.room {
            let (needed, room) = (crate::units::bytes(needed), crate::units::bytes(self.room));
            return Err(Error::OutOfMemory(format!(
                "{positions} positions take {needed}, the machine has {room} left"
            )));
        }
        let pages = if self.plan.page_len() == 0 { 0 } else { positions.div_ceil(PAGE) };
        let of = |sequence| (sequence * pages) as u32..((sequence + 1) * pages) as u32;
        self.pages = (0..sequences).map(|sequence| of(sequence).collect()).collect();
        Ok(self.machine.executor().reserve(sequences * pages, sequences + 1)?)
    }

    /// The pages of a sequence.
    pub fn pages(&self, sequence: usize) -> &[u32] {
        &self.pages[sequence]
    }

    /// A step of the first sequence, which is in slot 0, whose last row's logits
    /// are wanted.
    pub fn step(&self, tokens: &[u32], past: usize) -> Step {
        Step::single(tokens, past, 0, &self.pages[0])
    }

    /// A step of one token of each of the first sequences, `[sequences]`, whose
    /// logits are wanted.
    pub fn batch(&self, tokens: &[u32], past: usize) -> Step {
        let sequence = |(i, pages): (usize, &Vec<u32>)| Sequence {
            rows: i..i + 1,
            past,
            slot: i as u32,
            pages: pages.clone(),
        };
        Step {
            tokens: tokens.to_vec(),
            sequences: self.pages.iter().take(tokens.len()).enumerate().map(sequence).collect(),
            outputs: (0..tokens.len() as u32).collect(),
        }
    }

    /// Runs a step.
    pub fn run(&mut self, step: &Step, logits: &mut Vec<f32>) -> ingot::Result<()> {
        Ok(self.machine.executor().run(step, logits)?)
    }
}

/// The tokens at these places of a text that is the same every time.
pub fn tokens(places: std::ops::Range<usize>, vocab: usize) -> Vec<u32> {
    let draw = |i| ingot_engine::rng::Rng::new(i as u64).next_u64() % vocab as u64;
    places.map(|i| draw(i) as u32).collect()
}
