//! The buffers of a step.

use super::{Machine, zeros};
use crate::shared::Out;
use ingot_plan::{Buf, ExecError, Layout, Plan, Rows, Step};

/// Memory for all buffers of a plan.
pub(super) struct Workspace {
    layout: Layout,
    /// Rows and width of each buffer.
    shapes: Vec<(Rows, usize)>,
    /// One for each region of the layout.
    regions: Vec<Vec<f32>>,
    tokens: usize,
    outputs: usize,
}

impl Workspace {
    pub(super) fn new(plan: &Plan) -> Self {
        let layout = Layout::new(plan);
        let shapes = plan.buffers().iter().map(|b| (b.rows, b.width)).collect();
        let regions = layout.regions.iter().map(|_| Vec::new()).collect();
        Self { layout, shapes, regions, tokens: 0, outputs: 0 }
    }

    /// Makes room for a step.
    pub(super) fn resize(&mut self, step: &Step) -> Result<(), ExecError> {
        (self.tokens, self.outputs) = (step.rows(), step.outputs.len());
        for i in 0..self.regions.len() {
            let region = self.layout.regions[i];
            let len = self.rows_of(region.rows).saturating_mul(region.width);
            if self.regions[i].len() < len {
                self.regions[i] = zeros(len, "a buffer")?;
            }
        }
        Ok(())
    }

    fn rows_of(&self, rows: Rows) -> usize {
        match rows {
            Rows::Tokens => self.tokens,
            Rows::Outputs => self.outputs,
        }
    }

    /// Number of rows of a buffer in this step.
    pub(super) fn rows(&self, buf: Buf) -> usize {
        self.rows_of(self.shapes[buf.index()].0)
    }

    /// Values in a row of a buffer.
    pub(super) fn width(&self, buf: Buf) -> usize {
        self.shapes[buf.index()].1
    }

    /// A whole buffer, `[rows, width]`.
    pub(super) fn all(&self, buf: Buf) -> &[f32] {
        &self.regions[self.layout.region_of[buf.index()]][..self.rows(buf) * self.width(buf)]
    }

    /// Row `t` of a buffer.
    pub(super) fn row(&self, buf: Buf, t: usize) -> &[f32] {
        let width = self.width(buf);
        &self.all(buf)[t * width..][..width]
    }

    /// A buffer to be written by several workers; whoever does keeps away from
    /// other buffers of its region.
    pub(super) fn out(&mut self, buf: Buf) -> Out {
        let (len, width) = (self.rows(buf) * self.width(buf), self.width(buf));
        Out::new(&mut self.regions[self.layout.region_of[buf.index()]][..len], width)
    }

    /// Lets `f` write some buffers while it reads others: those it writes are
    /// empty in the workspace it is given.
    pub(super) fn write<const N: usize>(&mut self, bufs: [Buf; N], f: impl FnOnce(&Self, [&mut [f32]; N])) {
        let mut taken = bufs.map(|b| std::mem::take(&mut self.regions[self.layout.region_of[b.index()]]));
        let lens = bufs.map(|b| self.rows(b) * self.width(b));
        let mut lens = lens.into_iter();
        f(self, taken.each_mut().map(|region| &mut region[..lens.next().expect("N lengths")]));
        for (buf, region) in bufs.into_iter().zip(taken) {
            self.regions[self.layout.region_of[buf.index()]] = region;
        }
    }

    /// Calls `f` with each row of some buffers, on all threads if that is worth
    /// it; `f` may read the other buffers.
    pub(super) fn write_rows<const N: usize>(
        &mut self,
        machine: &Machine,
        bufs: [Buf; N],
        f: impl Fn(&Self, usize, [&mut [f32]; N]) + Sync,
    ) {
        let widths = bufs.map(|b| self.width(b));
        let rows = self.rows(bufs[0]);
        self.write(bufs, |others, outs| {
            let mut widths = widths.into_iter();
            let outs = outs.map(|out| Out::new(out, widths.next().expect("N widths")));
            let cost = outs.iter().map(|o| o.width()).sum();
            machine.split(rows, cost, |range| {
                for t in range {
                    // SAFETY: every row is in exactly one range, and the buffers
                    // have been taken apart into distinct regions.
                    f(others, t, outs.map(|out| unsafe { out.part(t, 0, out.width()) }));
                }
            });
        });
    }
}
