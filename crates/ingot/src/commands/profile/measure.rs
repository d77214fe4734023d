//! Timing the pieces of a step, and the step without that.

use super::piece::{Piece, pieces};
use crate::commands::bench::Bench;
use crate::failure::Result;
use crate::spread::Spread;
use ingot_engine::Machine;
use ingot_plan::{ExecError, Load};
use std::ops::Range;
use std::time::Instant;

/// A step that was looked at.
pub struct Phase {
    /// Rows that it reads; one if it writes.
    pub rows: usize,
    /// Positions before.
    pub depth: usize,
    pub pieces: Vec<Piece>,
    /// Seconds of the step as it always runs.
    pub plain: Spread,
    /// Seconds of the step while its pieces are timed.
    pub timed: Spread,
    /// Seconds of a run in which none of the pieces ran, the median of the runs.
    pub between: f64,
}

impl Phase {
    /// For people.
    pub fn name(&self) -> String {
        let after = if self.depth > 0 { format!(" after {}", self.depth) } else { String::new() };
        match self.rows {
            1 => format!("a written token{after}"),
            n => format!("reading {n} tokens{after}"),
        }
    }

    /// Seconds of all pieces.
    pub fn pieces_seconds(&self) -> f64 {
        self.pieces.iter().map(|piece| piece.seconds).sum()
    }
}

/// Looks at a step of so many rows after the context of `depth`. The step with and without
/// timing run in turns.
pub fn phase(bench: &mut Bench, rows: usize, depth: usize, rounds: usize) -> Result<Phase> {
    let cache = bench.bare().machine.executor().cache_type();
    let load = Load { sequences: 1, rows, past: depth, cache };
    let step = bench.step(rows)?;
    let plan = bench.bare().plan.clone();
    let failed = |e: ExecError| ingot::Error::from(e);
    let mut pieces = match &mut bench.bare().machine {
        Machine::Cpu(cpu) => pieces(&plan, &load, cpu.pieces(), &[]),
        Machine::Gpu(gpu) => {
            let launches = gpu.describe(&step).map_err(failed)?;
            let kernels: Vec<_> =
                launches.iter().map(|launch| (launch.kernel, launch.weight_bytes)).collect();
            pieces(&plan, &load, launches.iter().map(|launch| launch.ops.clone()).collect(), &kernels)
        }
        Machine::Reference(_) => Vec::new(),
    };
    let (mut plain, mut timed, mut runs) = (Vec::new(), Vec::new(), Vec::new());
    let mut logits = Vec::new();
    for round in 0..=rounds {
        let step = bench.step(rows)?;
        let start = Instant::now();
        bench.bare().run(&step, &mut logits)?;
        let without = start.elapsed().as_secs_f64();
        let step = bench.step(rows)?;
        let start = Instant::now();
        let run = match &mut bench.bare().machine {
            Machine::Cpu(cpu) => cpu.run_timed(&step, &mut logits).map_err(failed)?,
            Machine::Gpu(gpu) => end_to_end(&gpu.time(&step).map_err(failed)?),
            Machine::Reference(_) => Vec::new(),
        };
        let with = start.elapsed().as_secs_f64();
        // The first of them does not count.
        if round > 0 {
            plain.push(without);
            timed.push(if let Machine::Gpu(_) = bench.bare().machine { total(&run) } else { with });
            runs.push(run);
        }
    }
    let shown = &runs[fastest(&timed)];
    for (i, piece) in pieces.iter_mut().enumerate() {
        piece.seconds = Spread::of(runs.iter().map(|run| run[i].end - run[i].start)).median;
        piece.span = shown[i].clone();
    }
    let ran = |run: &[Range<f64>]| run.iter().map(|piece| piece.end - piece.start).sum::<f64>();
    let between = Spread::of(timed.iter().zip(&runs).map(|(all, run)| (all - ran(run)).max(0.0))).median;
    Ok(Phase { rows, depth, pieces, plain: Spread::of(plain), timed: Spread::of(timed), between })
}

/// Times one after the other without a pause.
fn end_to_end(seconds: &[f64]) -> Vec<Range<f64>> {
    let mut end = 0.0;
    let next = |&seconds: &f64| {
        let start = end;
        end += seconds;
        start..end
    };
    seconds.iter().map(next).collect()
}

fn total(run: &[Range<f64>]) -> f64 {
    run.last().map_or(0.0, |last| last.end)
}

/// Which run is the one that nothing else disturbed most.
fn fastest(seconds: &[f64]) -> usize {
    (0..seconds.len()).min_by(|&a, &b| seconds[a].total_cmp(&seconds[b])).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_run_that_is_shown() {
        assert_eq!(fastest(&[3.0, 1.0, 2.0]), 1);
        assert_eq!(end_to_end(&[1.0, 0.5]), [0.0..1.0, 1.0..1.5]);
    }
}
