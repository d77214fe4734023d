//! Running the same steps again and again, with a clock.

use super::point::{Drawn, Point, Turn, What};
use crate::bandwidth::Buffers;
use crate::bare::{self, Bare};
use crate::failure::Result;
use crate::units;
use ingot_gpu::{Counts, Submission};
use ingot_plan::{Cost, Draw, Load, PAGE, Place, Step, Window};
use std::ops::Range;
use std::time::{Duration, Instant};

/// A model with a context, ready to be measured: one sequence or several with
/// the same context, each with memory of its own. A slot after theirs keeps what
/// their states were after the context.
pub struct Bench {
    bare: Bare,
    depth: usize,
    sequences: usize,
    /// Where in the endless text its tokens begin.
    text: usize,
    logits: Vec<f32>,
    /// The executor draws tokens by itself, as far as is known.
    draws: bool,
}

/// How often something is measured.
pub struct Rounds<'a> {
    /// How many of them count.
    pub count: usize,
    /// What is done after each, and after the one before that does not count.
    pub after: &'a mut dyn FnMut() -> Result,
}

/// Tokens written in a turn.
const TURN_TOKENS: usize = 4;

/// How many turns there are at least and at most, unless they take longer than they may.
const TURNS: Range<usize> = 5..25;

/// Steps of a window.
const WINDOW: usize = 8;

/// Most tokens written in a round that compares submissions: some are very slow.
const SUBMITTED: usize = 32;

impl Bench {
    /// Makes room for so many sequences of so many positions; nothing is read yet.
    pub fn new(mut bare: Bare, positions: usize, sequences: usize, seed: u32) -> Result<Self> {
        bare.reserve(positions, sequences)?;
        let text = (seed as usize).wrapping_mul(1 << 24);
        Ok(Self { bare, depth: 0, sequences, text, logits: Vec::new(), draws: true })
    }

    /// Reads a context of `depth` tokens in place of the one that was there.
    pub fn begin(&mut self, depth: usize) -> Result {
        self.depth = depth;
        self.bare.machine.executor().clear_slot(0).map_err(ingot::Error::from)?;
        self.feed(0, depth)?;
        self.copy_slot(0, self.sequences)?;
        for page in 0..depth.div_ceil(PAGE).min(self.bare.pages(0).len()) {
            for sequence in 1..self.sequences {
                let [from, to] = [0, sequence].map(|s| Place::Page(self.bare.pages(s)[page]));
                self.bare.machine.executor().copy(from, to).map_err(ingot::Error::from)?;
            }
        }
        Ok(())
    }

    pub fn bare(&mut self) -> &mut Bare {
        &mut self.bare
    }

    /// Rows of a step that reads.
    pub fn chunk(&self) -> usize {
        self.bare.executor.chunk()
    }

    /// Reads a prompt in steps as sessions do.
    pub fn read(&mut self, tokens: usize, rounds: &mut Rounds) -> Result<Point> {
        let (times, counts) = self.rounds(rounds, |bench, _| bench.feed(bench.depth, tokens))?;
        let steps = tokens.div_ceil(self.chunk());
        Ok(self.point(What::Read { steps }, tokens, times, counts))
    }

    /// Writes so many tokens of each of the first sequences, a token of each in a step,
    /// always the likeliest; in windows if the executor has any.
    pub fn write(&mut self, tokens: usize, sequences: usize, rounds: &mut Rounds) -> Result<Point> {
        self.write_drawn(tokens, sequences, rounds, Drawn::Device(WINDOW))
    }

    /// Writes tokens of the first sequences and reads memory, in turns that together take
    /// about `time`.
    pub fn turns(
        &mut self,
        (tokens, sequences): (usize, usize),
        buffers: &Buffers,
        time: Duration,
    ) -> Result<Vec<Turn>> {
        let tokens = tokens.min(TURN_TOKENS);
        let start = Instant::now();
        let mut turns = Vec::new();
        while turns.len() < TURNS.start || turns.len() < TURNS.end && start.elapsed() < time {
            // The first of them does not count.
            let mut once = Rounds { count: 1, after: &mut || Ok(()) };
            let (times, _) =
                self.rounds(&mut once, |bench, _| bench.decode(tokens, sequences, Drawn::Host))?;
            turns.push(Turn { rate: units::rate(tokens * sequences, times[0]), read: buffers.read() });
        }
        Ok(turns)
    }

    fn write_drawn(
        &mut self,
        tokens: usize,
        sequences: usize,
        rounds: &mut Rounds,
        drawn: Drawn,
    ) -> Result<Point> {
        // So many that there was a window of each length.
        let warm_up = tokens.min(WINDOW + tokens % WINDOW);
        let (times, counts) = self.rounds(rounds, |bench, warming_up| {
            bench.decode(if warming_up { warm_up } else { tokens }, sequences, drawn)
        })?;
        let drawn = if self.draws { drawn } else { Drawn::Host };
        Ok(self.point(What::Write { sequences, drawn }, tokens, times, counts))
    }

    /// Writes a few tokens with each way of submitting.
    pub fn submissions(&mut self, tokens: usize, rounds: usize) -> Result<Vec<(&'static str, Point)>> {
        let ways = [
            ("launch", Submission::Launch, Drawn::Host),
            ("layer", Submission::Layer, Drawn::Host),
            ("step", Submission::Step, Drawn::Host),
            ("window", Submission::Step, Drawn::Device(WINDOW)),
        ];
        let mut results = Vec::new();
        for (name, way, drawn) in ways {
            self.submit_by(way);
            let mut rounds = Rounds { count: rounds, after: &mut || Ok(()) };
            results.push((name, self.write_drawn(tokens.min(SUBMITTED), 1, &mut rounds, drawn)?));
        }
        self.submit_by(Submission::default());
        Ok(results)
    }

    fn submit_by(&mut self, way: Submission) {
        if let Some(gpu) = self.bare.machine.gpu() {
            gpu.submit_by(way);
        }
    }

    /// A step of the first sequence that reads so many tokens after the context, or writes
    /// one. Its state is put back, so that the step is the same every time.
    pub fn step(&mut self, rows: usize) -> Result<Step> {
        self.copy_slot(self.sequences, 0)?;
        Ok(self.bare.step(&self.tokens(self.depth..self.depth + rows), self.depth))
    }

    /// What a written token of some sequences takes, the mean over `tokens` of them.
    fn cost(&mut self, tokens: usize, sequences: usize) -> Cost {
        let cache = self.bare.machine.executor().cache_type();
        let of = |i| {
            let load = Load { sequences, ..Load::token(self.depth + i, cache) };
            self.bare.plan.cost(&load)
        };
        let sum: Cost = (0..tokens).map(of).sum();
        let mean = |n: usize| n / tokens.max(1);
        Cost { weights: mean(sum.weights), state: mean(sum.state), operations: mean(sum.operations) }
    }

    fn point(&mut self, what: What, tokens: usize, times: Vec<Duration>, counts: Option<Counts>) -> Point {
        let cost = match what {
            What::Read { .. } => None,
            What::Write { sequences, .. } => Some(self.cost(tokens, sequences)),
        };
        let threads = match &self.bare.machine {
            ingot_engine::Machine::Cpu(cpu) => Some(cpu.threads()),
            ingot_engine::Machine::Gpu(_) | ingot_engine::Machine::Reference(_) => None,
        };
        Point {
            threads,
            depth: self.depth,
            what,
            tokens,
            times,
            counts,
            cost,
            turns: Vec::new(),
            copy: None,
            peer: Vec::new(),
        }
    }

    /// Runs one round that does not count and then those that do, each from the
    /// end of the context.
    fn rounds(
        &mut self,
        rounds: &mut Rounds,
        mut round: impl FnMut(&mut Self, bool) -> Result,
    ) -> Result<(Vec<Duration>, Option<Counts>)> {
        let (mut times, mut counts) = (Vec::new(), None);
        for i in 0..=rounds.count {
            (0..self.sequences).try_for_each(|sequence| self.copy_slot(self.sequences, sequence))?;
            self.counts();
            let start = Instant::now();
            round(self, i == 0)?;
            if i > 0 {
                times.push(start.elapsed());
                counts = self.counts();
            }
            (rounds.after)()?;
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
        let place = |n: usize| self.text.wrapping_add(n);
        bare::tokens(place(places.start)..place(places.end), self.bare.plan.vocab())
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
}
