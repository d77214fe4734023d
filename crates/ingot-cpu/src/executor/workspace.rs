//! The buffers of a step, and roundings of those that integer products read:
//! who writes a row rounds it right away, while it is in the first-level cache.

use super::{Machine, zeros};
use crate::isa::Enabled;
use crate::q8::Q8;
use crate::shared::Out;
use crate::vector;
use ingot_plan::{Buf, ExecError, Layout, Op, Plan, Precision, Rows, Step, Uses};
use std::marker::PhantomData;

/// Memory for all buffers of a plan.
pub(super) struct Workspace {
    layout: Layout,
    /// Rows and width of each buffer.
    shapes: Vec<(Rows, usize)>,
    /// One for each region of the layout.
    regions: Vec<Vec<f32>>,
    /// Whether a linear op wants each buffer rounded.
    wanted: Vec<bool>,
    /// One for each region, empty if no buffer there is wanted rounded.
    rounded: Vec<Rounded>,
    /// Where the regions are, while they are [shared](Self::share).
    memory: Vec<Memory>,
    tokens: usize,
    outputs: usize,
}

/// Values in a [`Q8`].
const GROUP: usize = 32;

/// Rounded rows `[rows, width / 32]` of one of a region's buffers.
#[derive(Default)]
struct Rounded {
    values: Vec<Q8>,
    /// Which buffer; none if no row was rounded in this step.
    of: Option<Buf>,
}

impl Workspace {
    /// For the buffers that the ops touch, given in order.
    pub(super) fn new(plan: &Plan, uses: &[Uses]) -> Self {
        let layout = Layout::of(plan, uses);
        let shapes = plan.buffers().iter().map(|b| (b.rows, b.width)).collect();
        let count = layout.regions.len();
        Self {
            layout,
            shapes,
            regions: vec![Vec::new(); count],
            wanted: wanted(plan),
            rounded: (0..count).map(|_| Rounded::default()).collect(),
            memory: Vec::new(),
            tokens: 0,
            outputs: 0,
        }
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
            self.rounded[i].of = None;
        }
        for buf in (0..self.shapes.len()).filter(|&buf| self.wanted[buf]) {
            let (rows, width) = self.shapes[buf];
            let len = self.rows_of(rows).saturating_mul(width) / GROUP;
            let rounded = &mut self.rounded[self.layout.region_of[buf]].values;
            if rounded.len() < len {
                *rounded = zeros(len, "a rounded buffer")?;
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

    /// A whole buffer rounded to 8 bits, `[rows, width / 32]`, if whoever wrote it
    /// has also done that.
    pub(super) fn rounded(&self, buf: Buf) -> Option<&[Q8]> {
        let rounded = &self.rounded[self.layout.region_of[buf.index()]];
        (rounded.of == Some(buf)).then(|| &rounded.values[..self.rows(buf) * self.width(buf) / GROUP])
    }

    /// Hands out a buffer. Its values change places with the caller's vector of the
    /// step before, which spares a copy of hundreds of kilobytes for each token.
    pub(super) fn give(&mut self, buf: Buf, values: &mut Vec<f32>) {
        let len = self.all(buf).len();
        if values.len() < len {
            values.clear();
            values.extend_from_slice(self.all(buf));
        } else {
            std::mem::swap(values, &mut self.regions[self.layout.region_of[buf.index()]]);
            values.truncate(len);
        }
    }

    /// True if two buffers are kept in the same memory, at different times.
    pub(super) fn share_memory(&self, a: Buf, b: Buf) -> bool {
        self.layout.region_of[a.index()] == self.layout.region_of[b.index()]
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
        let mut rounded = bufs.map(|b| self.take_rounded(b));
        let roundings = rounded.each_mut().map(|values| Roundings(values.as_mut_ptr(), values.len()));
        self.write(bufs, |others, outs| {
            let mut widths = widths.into_iter();
            let outs = outs.map(|out| Out::new(out, widths.next().expect("N widths")));
            let cost = outs.iter().map(|o| o.width()).sum();
            machine.split(rows, cost, |range| {
                for t in range {
                    // SAFETY: every row is in exactly one range, and the buffers
                    // have been taken apart into distinct regions.
                    let row = |out: Out| unsafe { out.part(t, 0, out.width()) };
                    f(others, t, outs.map(row));
                    for (out, rounding) in outs.iter().zip(&roundings) {
                        // SAFETY: as above.
                        unsafe { rounding.round(machine.isa, row(*out), t) };
                    }
                }
            });
        });
        bufs.into_iter().zip(rounded).for_each(|(buf, values)| self.put_rounded(buf, values));
    }

    /// The memory for a buffer's rounding; empty if nobody wants it.
    fn take_rounded(&mut self, buf: Buf) -> Vec<Q8> {
        let rounded = &mut self.rounded[self.layout.region_of[buf.index()]];
        if self.wanted[buf.index()] { std::mem::take(&mut rounded.values) } else { Vec::new() }
    }

    /// Puts a buffer's rounding back, now complete.
    fn put_rounded(&mut self, buf: Buf, values: Vec<Q8>) {
        if self.wanted[buf.index()] {
            self.rounded[self.layout.region_of[buf.index()]] = Rounded { values, of: Some(buf) };
        }
    }

    /// Shares all buffers for reading and writing row by row. `outs` will be
    /// written completely, and rounded where that is wanted.
    pub(super) fn share(&mut self, outs: impl Iterator<Item = Buf>) -> SharedRows<'_> {
        for out in outs {
            if self.wanted[out.index()] {
                self.rounded[self.layout.region_of[out.index()]].of = Some(out);
            }
        }
        let both = self.regions.iter_mut().zip(&mut self.rounded);
        let memory = both.map(|(values, rounded)| Memory {
            values: values.as_mut_ptr(),
            rounded: Roundings(rounded.values.as_mut_ptr(), rounded.values.len()),
        });
        self.memory.clear();
        self.memory.extend(memory);
        SharedRows { workspace: self, alone: PhantomData }
    }
}

/// Which buffers a product of integers reads.
fn wanted(plan: &Plan) -> Vec<bool> {
    let mut wanted = vec![false; plan.buffers().len()];
    for op in plan.ops() {
        if let Op::Linear(op) = op {
            let quantized = op.parts.iter().any(|p| plan.weight(p.weight).dtype.block_len() > 1);
            wanted[op.x.index()] |= quantized && op.inputs == Precision::Q8;
        }
    }
    wanted
}

/// Memory for rounded rows, and its length.
#[derive(Clone, Copy)]
struct Roundings(*mut Q8, usize);

// SAFETY: workers round distinct rows.
unsafe impl Send for Roundings {}
// SAFETY: as above.
unsafe impl Sync for Roundings {}

impl Roundings {
    /// Rounds row `t`, unless there is no memory since nobody wants that.
    ///
    /// # Safety
    /// The memory is still borrowed, and nobody else rounds this row.
    unsafe fn round(&self, isa: Enabled, row: &[f32], t: usize) {
        let groups = row.len() / GROUP;
        if self.1 > 0 {
            assert!((t + 1) * groups <= self.1, "row {t} of {groups} groups");
            // SAFETY: inside the memory, by the assertion; alone, by the caller's promise.
            vector::quantize(isa, row, unsafe {
                std::slice::from_raw_parts_mut(self.0.add(t * groups), groups)
            });
        }
    }
}

/// Where a region is.
struct Memory {
    values: *mut f32,
    rounded: Roundings,
}

// SAFETY: pointers into vectors that may be used anywhere; who reads and writes
// where is up to those who call `SharedRows`.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

/// All buffers, of which different workers use different rows.
pub(super) struct SharedRows<'a> {
    workspace: &'a Workspace,
    /// The buffers are borrowed to be written.
    alone: PhantomData<&'a mut f32>,
}

impl SharedRows<'_> {
    /// Row `t` of a buffer.
    ///
    /// # Safety
    /// Nobody writes to the row while the result lives.
    #[inline(always)]
    pub(super) unsafe fn row(&self, buf: Buf, t: usize) -> &[f32] {
        let (start, width) = self.place(buf, t);
        // SAFETY: `place` is inside the buffer; not written, by the caller's promise.
        unsafe { std::slice::from_raw_parts(start, width) }
    }

    /// Row `t` of a buffer.
    ///
    /// # Safety
    /// Nobody else uses the row while the result lives.
    #[inline(always)]
    #[allow(clippy::mut_from_ref)] // that is what the promise is for
    pub(super) unsafe fn row_mut(&self, buf: Buf, t: usize) -> &mut [f32] {
        let (start, width) = self.place(buf, t);
        // SAFETY: `place` is inside the buffer; alone, by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(start, width) }
    }

    /// Rounds row `t` of a buffer if that is wanted.
    ///
    /// # Safety
    /// As for [`row_mut`](Self::row_mut).
    #[inline(always)]
    pub(super) unsafe fn round(&self, isa: Enabled, buf: Buf, t: usize) {
        let w = self.workspace;
        if w.wanted[buf.index()] {
            let memory = &w.memory[w.layout.region_of[buf.index()]];
            // SAFETY: by the caller's promise.
            unsafe { memory.rounded.round(isa, self.row(buf, t), t) };
        }
    }

    /// Where row `t` is and how long.
    #[inline(always)]
    fn place(&self, buf: Buf, t: usize) -> (*mut f32, usize) {
        let w = self.workspace;
        let (width, region) = (w.width(buf), w.layout.region_of[buf.index()]);
        assert!(t < w.rows(buf) && (t + 1) * width <= w.regions[region].len(), "row {t} of {buf:?}");
        // SAFETY: inside the region, by the assertion.
        (unsafe { w.memory[region].values.add(t * width) }, width)
    }
}
