//! Token shift, with or without the norm before it, in one pass over the rows.

use crate::isa::Enabled;
use crate::shared::Out;
use crate::vector;
use ingot_plan::Sequence;
use std::ops::Range;

/// A layer norm over whole rows: weight `[C]`, bias `[C]`, epsilon.
#[derive(Clone, Copy)]
pub(crate) struct Norm<'a> {
    pub(crate) weight: &'a [f32],
    pub(crate) bias: &'a [f32],
    pub(crate) eps: f32,
}

/// `out_i = x + (before - x) * mix_i` of normed rows.
pub(crate) struct Shift<'a> {
    /// `[T, C]`
    pub(crate) x: &'a [f32],
    pub(crate) norm: Option<Norm<'a>>,
    /// `[n, C]`
    pub(crate) mixes: &'a [f32],
    /// n times `[T, C]`
    pub(crate) outs: &'a [Out],
    /// Those of the step, in order.
    pub(crate) sequences: &'a [Sequence],
    /// For each sequence the row before its first: `[C]`
    pub(crate) before: &'a [&'a [f32]],
    /// For each sequence a place for its last row, normed: `[S, C]`
    pub(crate) last: Out,
}

impl Shift<'_> {
    /// Some rows of the step.
    ///
    /// # Safety
    /// Nobody else writes these rows of the outputs, nor the last rows of
    /// sequences that end among them.
    pub(crate) unsafe fn rows(&self, isa: Enabled, rows: Range<usize>) {
        let width = self.last.width();
        let (mut now, mut past) = (vec![0.0; width], vec![0.0; width]);
        let mut at = self.sequences.partition_point(|s| s.rows.end <= rows.start);
        if rows.start > self.sequences[at].rows.start {
            self.row(isa, rows.start - 1, &mut past);
        }
        for t in rows {
            let sequence = &self.sequences[at].rows;
            if t == sequence.start {
                past.copy_from_slice(self.before[at]);
            }
            self.row(isa, t, &mut now);
            for (out, mix) in self.outs.iter().zip(self.mixes.chunks_exact(width)) {
                // SAFETY: the rows are the caller's.
                vector::blend(isa, &now, &past, mix, unsafe { out.part(t, 0, width) });
            }
            if t + 1 == sequence.end {
                // SAFETY: as above.
                unsafe { self.last.part(at, 0, width) }.copy_from_slice(&now);
                at += 1;
            }
            std::mem::swap(&mut now, &mut past);
        }
    }

    /// Row `t` as it is shifted.
    fn row(&self, isa: Enabled, t: usize, out: &mut [f32]) {
        let x = &self.x[t * out.len()..][..out.len()];
        match self.norm {
            Some(Norm { weight, bias, eps }) => vector::layer_norm(isa, x, weight, bias, 1, eps, out),
            None => out.copy_from_slice(x),
        }
    }
}
