//! When the pieces of a step run: for finding out where its time goes.
//!
//! A piece is what runs as one, between two points at which all threads have met. While
//! nobody asks, it costs a look at an option for each of them.

use super::CpuExecutor;
use super::chains::Work;
use ingot_plan::ops::Linear;
use ingot_plan::{Buf, ExecError, Executor, Step};
use std::ops::Range;
use std::time::Instant;

/// Beginning and end of each piece that ran, while somebody wants to know.
#[derive(Default)]
pub(super) struct Clock(Option<Vec<Range<Instant>>>);

impl CpuExecutor {
    /// The pieces of a step in the order in which they run: of each the ops it stands
    /// for, by index, ascending. Every op is in exactly one.
    pub fn pieces(&self) -> Vec<Vec<usize>> {
        let mut writer = vec![0; self.plan.buffers().len()];
        for (i, op) in self.plan.ops().iter().enumerate() {
            op.uses().writes.iter().for_each(|buf| writer[buf.index()] = i);
        }
        self.work.iter().flat_map(|work| ops_of(work, &writer)).collect()
    }

    /// Runs a step as [`Executor::run`] does; begin and end of each of its
    /// [pieces](Self::pieces) in seconds since the step began.
    ///
    /// # Errors
    /// As there.
    pub fn run_timed(&mut self, step: &Step, logits: &mut Vec<f32>) -> Result<Vec<Range<f64>>, ExecError> {
        self.clock.0 = Some(Vec::new());
        let start = Instant::now();
        let result = self.run(step, logits);
        let times = self.clock.0.take().unwrap_or_default();
        let since = |instant: Instant| (instant - start).as_secs_f64();
        result.map(|()| times.into_iter().map(|piece| since(piece.start)..since(piece.end)).collect())
    }

    /// Runs a piece.
    pub(super) fn piece(&mut self, run: impl FnOnce(&mut Self)) {
        let start = self.clock.0.is_some().then(Instant::now);
        run(self);
        if let (Some(times), Some(start)) = (&mut self.clock.0, start) {
            times.push(start..Instant::now());
        }
    }
}

/// The ops of each piece of some work; `writer` is the op that writes each buffer.
fn ops_of(work: &Work, writer: &[usize]) -> Vec<Vec<usize>> {
    let sorted = |bufs: Vec<Buf>| {
        let mut ops: Vec<usize> = bufs.into_iter().map(|buf| writer[buf.index()]).collect();
        ops.sort_unstable();
        ops
    };
    match work {
        Work::Ops(ops) => vec![ops.clone().collect()],
        Work::Linears(stages) => {
            let outs = |stage: &Vec<Linear>| stage.iter().map(|op| op.parts[0].out).collect();
            stages.iter().map(|stage| sorted(outs(stage))).collect()
        }
        Work::Shift(shift) => {
            let norm = shift.norm.iter().map(|norm| norm.out);
            vec![sorted(norm.chain(shift.op.outs.first().copied()).collect())]
        }
        Work::Mix(mix) => {
            let blend = mix.blend.iter().map(|blend| blend.out);
            let others = [mix.keys.decay, mix.wkv.out, mix.norm.out, mix.bonus.out];
            vec![sorted(blend.chain(others).collect())]
        }
    }
}
