//! Running the same steps again and again, with a clock.

use super::Submitted;
use super::bandwidth::{Bandwidth, Buffers};
use super::profile::{self, Kernel};
use crate::bare::{self, Bare};
use crate::failure::Result;
use crate::units;
use ingot_format::DType;
use ingot_gpu::{Counts, Submission};
use ingot_plan::{Draw, Op, PAGE, Place, Plan, StateDecl, Window};
use std::ops::Range;
use std::time::{Duration, Instant};

/// A model with its context, ready to be measured: one sequence or several with
/// the same context, each with memory of its own. A slot after theirs keeps what
/// their states were after the context.
pub struct Bench {
    bare: Bare,
    depth: usize,
    sequences: usize,
    logits: Vec<f32>,
    /// The executor draws tokens by itself, as far as is known.
    draws: bool,
}

/// Reading a prompt, a time for each round.
pub struct Reading {
    pub tokens: usize,
    pub steps: usize,
    pub times: Vec<Duration>,
    /// What the GPU did in one round.
    pub counts: Option<Counts>,
}

/// Writing tokens, a time for each round.
pub struct Writing {
    /// Of each sequence.
    pub tokens: usize,
    /// How many were written at the same time.
    pub sequences: usize,
    /// Who drew them.
    pub drawn: Drawn,
    pub times: Vec<Duration>,
    /// What the GPU did in one round.
    pub counts: Option<Counts>,
}

/// A few tokens written, and then memory read without doing anything with it.
pub struct Turn {
    /// Tokens written in a second.
    pub rate: f64,
    pub read: Bandwidth,
}

/// Tokens written in a turn.
const TURN_TOKENS: usize = 4;

/// How many turns there are, unless they take longer than [`TURNS_TIME`].
const TURNS: usize = 25;
const TURNS_TIME: Duration = Duration::from_secs(10);

/// Who draws the next token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drawn {
    /// The host, from the logits of a step.
    Host,
    /// The device, in windows of so many steps.
    Device(usize),
}

/// Steps of a window.
const WINDOW: usize = 8;

/// Most tokens written in a round that compares submissions: some are very slow.
const SUBMITTED: usize = 32;

impl Bench {
    /// Reads a context of `depth` tokens and makes room for `more` in each of some
    /// sequences.
    pub fn new(bare: Bare, depth: usize, more: usize, sequences: usize) -> Result<Self> {
        let mut bench = Self { bare, depth, sequences, logits: Vec::new(), draws: true };
        bench.bare.reserve(depth + more, sequences)?;
        bench.bare.machine.executor().clear_slot(0).map_err(ingot::Error::from)?;
        bench.feed(0, depth)?;
        bench.copy_slot(0, sequences)?;
        for page in 0..depth.div_ceil(PAGE).min(bench.bare.pages(0).len()) {
            for sequence in 1..sequences {
                let [from, to] = [0, sequence].map(|s| Place::Page(bench.bare.pages(s)[page]));
                bench.bare.machine.executor().copy(from, to).map_err(ingot::Error::from)?;
            }
        }
        Ok(bench)
    }

    pub fn bare(&mut self) -> &mut Bare {
        &mut self.bare
    }

    /// Rows of a step that reads.
    pub fn chunk(&self) -> usize {
        self.bare.executor.chunk()
    }

    /// Reads a prompt in steps as sessions do.
    pub fn read(&mut self, tokens: usize, rounds: usize) -> Result<Reading> {
        let (times, counts) = self.rounds(rounds, |bench, _| bench.feed(bench.depth, tokens))?;
        Ok(Reading { tokens, steps: tokens.div_ceil(self.chunk()), times, counts })
    }

    /// Writes tokens of one sequence, always the likeliest; in windows if the
    /// executor has any.
    pub fn write(&mut self, tokens: usize, rounds: usize) -> Result<Writing> {
        self.write_drawn(tokens, rounds, 1, Drawn::Device(WINDOW))
    }

    /// Writes so many tokens of every sequence, a token of each in a step.
    pub fn write_batch(&mut self, tokens: usize, rounds: usize) -> Result<Writing> {
        self.write_drawn(tokens, rounds, self.sequences, Drawn::Device(WINDOW))
    }

    /// Writes tokens of one sequence and reads memory, in turns.
    pub fn turns(&mut self, tokens: usize, buffers: &Buffers) -> Result<Vec<Turn>> {
        let tokens = tokens.min(TURN_TOKENS);
        let start = Instant::now();
        let mut turns = Vec::new();
        while turns.is_empty() || turns.len() < TURNS && start.elapsed() < TURNS_TIME {
            // The first of them does not count.
            let (times, _) = self.rounds(1, |bench, _| bench.decode(tokens, 1, Drawn::Host))?;
            turns.push(Turn { rate: units::rate(tokens, times[0]), read: buffers.read() });
        }
        Ok(turns)
    }

    fn write_drawn(
        &mut self,
        tokens: usize,
        rounds: usize,
        sequences: usize,
        drawn: Drawn,
    ) -> Result<Writing> {
        // So many that there was a window of each length.
        let warm_up = tokens.min(WINDOW + tokens % WINDOW);
        let (times, counts) = self.rounds(rounds, |bench, warming_up| {
            bench.decode(if warming_up { warm_up } else { tokens }, sequences, drawn)
        })?;
        let drawn = if self.draws { drawn } else { Drawn::Host };
        Ok(Writing { tokens, sequences, drawn, times, counts })
    }

    /// Writes a few tokens with each way of submitting.
    pub fn submissions(&mut self, tokens: usize, rounds: usize) -> Result<Vec<Submitted>> {
        let ways = [
            ("launch", Submission::Launch, Drawn::Host),
            ("layer", Submission::Layer, Drawn::Host),
            ("step", Submission::Step, Drawn::Host),
            ("window", Submission::Step, Drawn::Device(WINDOW)),
        ];
        let mut results = Vec::new();
        for (name, way, drawn) in ways {
            self.submit_by(way);
            let writing = self.write_drawn(tokens.min(SUBMITTED), rounds, 1, drawn)?;
            results.push(Submitted { name, writing });
        }
        self.submit_by(Submission::default());
        Ok(results)
    }

    fn submit_by(&mut self, way: Submission) {
        if let Some(gpu) = self.bare.machine.gpu() {
            gpu.submit_by(way);
        }
    }

    /// Times the launches of a step of so many rows.
    pub fn profile(&mut self, rows: usize) -> Result<Vec<Kernel>> {
        self.copy_slot(self.sequences, 0)?;
        let step = self.bare.step(&self.tokens(self.depth..self.depth + rows), self.depth);
        match self.bare.machine.gpu() {
            Some(gpu) => Ok(profile::of(gpu, &step).map_err(ingot::Error::from)?),
            None => Ok(Vec::new()),
        }
    }

    /// Bytes of state that a step reads and writes, on average over `tokens` of them.
    pub fn state_bytes(&mut self, tokens: usize) -> usize {
        let cache = self.bare.machine.executor().cache_type();
        let of = |i| state_bytes(&self.bare.plan, cache, self.depth + i);
        (0..tokens).map(of).sum::<usize>() / tokens.max(1)
    }

    /// Runs one round that does not count and then those that do, each from the
    /// end of the context.
    fn rounds(
        &mut self,
        rounds: usize,
        mut round: impl FnMut(&mut Self, bool) -> Result,
    ) -> Result<(Vec<Duration>, Option<Counts>)> {
        let (mut times, mut counts) = (Vec::new(), None);
        for i in 0..=rounds {
            (0..self.sequences).try_for_each(|sequence| self.copy_slot(self.sequences, sequence))?;
            self.counts();
            let start = Instant::now();
            round(self, i == 0)?;
            if i > 0 {
                times.push(start.elapsed());
                counts = self.counts();
            }
        }
        Ok((times, counts))
    }

    fn counts(&mut self) -> Option<Counts> {
        self.bare.machine.gpu().map(|gpu| gpu.take_counts())
    }

    /// Reads `n` tokens after the first `past`.
    fn feed(&mut self, past: usize, n: usize) -> Result {
        let (mut past, end, chunk) = (past, past + n, self.chunk());
        while past < end {
            let next = (past + chunk).min(end);
            let step = self.bare.step(&self.tokens(past..next), past);
            self.bare.run(&step, &mut self.logits)?;
            past = next;
        }
        Ok(())
    }

    /// Writes `n` tokens of each of the first sequences.
    fn decode(&mut self, n: usize, sequences: usize, drawn: Drawn) -> Result {
        // Sequences that differ, as those of different people would.
        let mut tokens = self.tokens(self.depth..self.depth + sequences);
        let (mut past, end) = (self.depth, self.depth + n);
        let draws = vec![Draw::GREEDY; sequences];
        while past < end {
            let step = self.bare.batch(&tokens, past);
            if let (Drawn::Device(steps), true) = (drawn, self.draws) {
                let steps = steps.min(end - past);
                let window = Window { first: &step, draws: &draws, ends: &[], steps };
                let executor = self.bare.machine.executor();
                let token = &mut |sequence: usize, token| tokens[sequence] = token;
                self.draws = executor.window(&window, token).map_err(ingot::Error::from)?;
                past += if self.draws { steps } else { 0 };
            } else {
                self.bare.run(&step, &mut self.logits)?;
                let rows = self.logits.chunks_exact(self.bare.plan.vocab());
                tokens.iter_mut().zip(rows).for_each(|(token, logits)| *token = argmax(logits));
                past += 1;
            }
        }
        Ok(())
    }

    fn tokens(&self, places: Range<usize>) -> Vec<u32> {
        bare::tokens(places, self.bare.plan.vocab())
    }

    fn copy_slot(&mut self, from: usize, to: usize) -> Result {
        if self.bare.plan.slot_len() > 0 {
            let [from, to] = [from, to].map(|slot| Place::Slot(slot as u32));
            let copied = self.bare.machine.executor().copy(from, to);
            copied.map_err(ingot::Error::from)?;
        }
        Ok(())
    }
}

/// Bytes of state that a step of one token at `position` reads and writes.
fn state_bytes(plan: &Plan, cache: DType, position: usize) -> usize {
    let key_and_value = |width| 2 * cache.row_bytes(width).expect("pages hold whole blocks");
    let width = |id: ingot_plan::StateId| match plan.states()[id.index()] {
        StateDecl::Kv { width } => width,
        StateDecl::Recurrent { .. } => 0,
    };
    let of = |op: &Op| match op {
        Op::Attention(op) => (position + 1 - op.first_seen(position)) * key_and_value(width(op.cache)),
        Op::StoreKv(op) => key_and_value(width(op.cache)),
        _ => 0,
    };
    let read_and_written = 2 * size_of::<f32>() * plan.slot_len();
    plan.ops().iter().map(of).sum::<usize>() + read_and_written
}

/// Index of the largest value, the first of several. A vocabulary is long: the
/// values are looked at several at a time.
fn argmax(values: &[f32]) -> u32 {
    const LANES: usize = 16;
    let (groups, rest) = values.as_chunks::<LANES>();
    let mut lanes = [f32::NEG_INFINITY; LANES];
    for group in groups {
        for (most, &x) in lanes.iter_mut().zip(group) {
            *most = if x > *most { x } else { *most };
        }
    }
    let most = lanes.iter().chain(rest).copied().fold(f32::NEG_INFINITY, f32::max);
    values.iter().position(|&x| x == most).unwrap_or(0) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_largest() {
        let values = |n: usize| -> Vec<f32> { (0..n).map(|i| ((i * 37) % 101) as f32).collect() };
        for n in [1, 15, 16, 17, 100, 333] {
            let v = values(n);
            let best = (0..n).rev().max_by(|&a, &b| v[a].total_cmp(&v[b])).unwrap();
            assert_eq!(argmax(&v), best as u32, "{n}");
        }
        assert_eq!(argmax(&[f32::NAN, 1.0]), 1);
        assert_eq!(argmax(&[f32::NAN]), 0);
    }

    #[test]
    fn state_of_both_kinds() {
        let fixture = |name: &str| {
            let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/models/");
            let file = ingot::ModelFile::open(format!("{folder}{name}.gguf").as_ref()).unwrap();
            ingot_models::Model::load(&file, Default::default()).unwrap().plan
        };
        let plan = fixture("llama-s-q8_0");
        let row = 2 * plan.page_len() / ingot_plan::PAGE; // bytes of F16 that a position takes
        assert_eq!(state_bytes(&plan, DType::F16, 0), 2 * row);
        assert_eq!(state_bytes(&plan, DType::F16, 9), 11 * row);
        assert_eq!(state_bytes(&plan, DType::F32, 9), 22 * row);
        let plan = fixture("rwkv7-s-f16");
        assert_eq!(state_bytes(&plan, DType::F16, 1000), 8 * plan.slot_len());
    }
}
