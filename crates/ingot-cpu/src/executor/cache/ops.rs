//! The two ops that use the cache: storing keys and values, and attention.

use super::Layer;
use crate::attention::lines::Line;
use crate::attention::memory::Memory;
use crate::attention::storage::{Half, Storage, stored};
use crate::attention::{Block, CHUNK, Finish, Head, QUERIES, Query, Scratch, state_lines};
use crate::executor::CpuExecutor;
use crate::isa::Enabled;
use crate::shared::Out;
use crate::simd::{Kernel, LANES, Simd};
use ingot_format::DType;
use ingot_plan::ops::{Attention, StoreKv};
use ingot_plan::{PAGE, Sequence, Step};
use std::cell::RefCell;
use std::cmp::Reverse;
use std::marker::PhantomData;
use std::ops::Range;

thread_local! {
    /// A worker's memory for attention, and for the states of a block.
    static MEMORY: RefCell<(Scratch, Vec<Line>)> = const { RefCell::new((Scratch::new(), Vec::new())) };
}

/// What an op's work is dealt out with, kept from op to op.
#[derive(Default)]
pub(super) struct Work {
    blocks: Vec<Queries>,
    pieces: Vec<Piece>,
    /// States of the chunks of blocks that are split.
    states: Vec<Line>,
}

/// Queries of one key/value head of a sequence, in the order of (token, head).
struct Queries {
    /// Of the step.
    sequence: usize,
    kv_head: usize,
    /// As token * heads per key/value head + head.
    which: Range<usize>,
    /// Chunks of the context that any of them sees.
    chunks: Range<usize>,
    /// Where the states of the chunks begin in [`Work::states`], if the chunks
    /// are pieces of work of their own.
    split: Option<usize>,
}

impl Queries {
    /// What it takes, in chunks that one query meets.
    fn work(&self) -> usize {
        self.which.len() * self.chunks.len()
    }
}

/// A piece of work: some chunks of some queries.
struct Piece {
    block: usize,
    chunks: Range<usize>,
    /// About how many positions that are.
    positions: usize,
}

/// Lines that states of split blocks take at most.
const MOST_STATES: usize = 1 << 20;

/// Stores keys or values of one head.
struct StoreRows<'a, T> {
    which: Half,
    lines: &'a mut [Line],
    layer: Layer,
    position: usize,
    /// `[KV * N]`
    row: &'a [f32],
    storage: PhantomData<T>,
}

impl<T: Storage> Kernel for StoreRows<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for (head, x) in self.row.chunks_exact(self.layer.size).enumerate() {
            let half = &mut self.lines[self.layer.half(head, self.which)];
            T::store(s, self.which, half, self.position, x);
        }
    }
}

/// What all pieces of an attention op share.
struct Job<'a> {
    op: &'a Attention,
    step: &'a Step,
    isa: Enabled,
    dtype: DType,
    layer: Layer,
    pages: &'a Memory,
    /// `[T, H * N]`
    q: &'a [f32],
    /// `[T, H * N]`
    out: Out,
}

impl Job<'_> {
    /// Heads that share a key/value head.
    fn group(&self) -> usize {
        self.op.heads / self.op.kv_heads
    }

    /// Row of the step and first column of a query.
    fn place(&self, block: &Queries, query: usize) -> (usize, usize) {
        let (token, head) = (query / self.group(), block.kv_head * self.group() + query % self.group());
        (self.step.sequences[block.sequence].rows.start + token, head * self.layer.size)
    }

    /// Positions that a query sees.
    fn seen(&self, sequence: &Sequence, query: usize) -> Range<usize> {
        let position = sequence.past + query / self.group();
        self.op.first_seen(position)..position + 1
    }

    /// The blocks of all sequences, and the pieces they are dealt out in, longest first.
    fn divide(&self, workers: usize, work: &mut Work) {
        work.blocks.clear();
        work.pieces.clear();
        for (number, sequence) in self.step.sequences.iter().enumerate() {
            let queries = sequence.rows.len() * self.group();
            for first in (0..queries).step_by(QUERIES) {
                let which = first..queries.min(first + QUERIES);
                let seen = self.seen(sequence, first).start..self.seen(sequence, which.end - 1).end;
                let chunks = seen.start / (CHUNK * PAGE)..seen.end.div_ceil(CHUNK * PAGE);
                for kv_head in 0..self.op.kv_heads {
                    let (which, chunks) = (which.clone(), chunks.clone());
                    work.blocks.push(Queries { sequence: number, kv_head, which, chunks, split: None });
                }
            }
        }
        // Results do not depend on what is split.
        let share = work.blocks.iter().map(Queries::work).sum::<usize>() / (4 * workers);
        let (mut lines, len) = (0, state_lines(self.layer.size));
        for (i, block) in work.blocks.iter_mut().enumerate() {
            let all = block.work() * len;
            let context = self.step.sequences[block.sequence].past + block.which.end / self.group();
            let mut piece = |chunks: Range<usize>| {
                let positions = (chunks.len() * CHUNK * PAGE).min(context);
                work.pieces.push(Piece { block: i, chunks, positions });
            };
            if workers > 1 && block.chunks.len() > 1 && block.work() > share && lines + all <= MOST_STATES {
                block.split = Some(lines);
                lines += all;
                block.chunks.clone().for_each(|c| piece(c..c + 1));
            } else {
                piece(block.chunks.clone());
            }
        }
        work.states.resize(work.states.len().max(lines).max(1), Line::ZERO);
        let blocks = &work.blocks;
        work.pieces.sort_by_key(|p| Reverse(p.positions * blocks[p.block].which.len()));
    }

    /// Runs some chunks of a block; `states`: `[Q][state_lines(N)]`.
    fn meet(&self, block: &Queries, chunks: Range<usize>, scratch: &mut Scratch, states: &mut [Line]) {
        let sequence = &self.step.sequences[block.sequence];
        let width = self.out.width();
        let queries = block.which.clone().map(|query| {
            let (t, at) = self.place(block, query);
            Query { q: &self.q[t * width + at..][..self.layer.size], seen: self.seen(sequence, query) }
        });
        let queries: Vec<Query<'_>> = queries.collect();
        let (layer, pages, table) = (self.layer, self.pages, sequence.pages.as_slice());
        let at = layer.at + block.kv_head * layer.head_lines();
        let head = Head { pages, table, dtype: self.dtype, at, size: layer.size };
        let (queries, scale, cap) = (queries.as_slice(), self.op.scale, self.op.cap);
        self.isa.run(Block { queries, head, scale, cap, chunks, scratch, states });
    }

    /// Writes the results of a block; `states`: `[chunks, Q][state_lines(N)]`.
    fn finish(&self, block: &Queries, scratch: &mut Scratch, states: &[Line]) {
        let len = state_lines(self.layer.size);
        let stride = block.which.len() * len;
        for (i, query) in block.which.clone().enumerate() {
            let (t, at) = self.place(block, query);
            // SAFETY: every query is in exactly one block.
            let out = unsafe { self.out.part(t, at, self.layer.size) };
            self.isa.run(Finish { states: &states[i * len..], stride, scratch, out });
        }
    }
}

impl CpuExecutor {
    pub(in crate::executor) fn store_kv(&mut self, op: &StoreKv, step: &Step) {
        let (layer, isa, workspace) = (self.pages.layer(op.cache), self.machine.isa, &self.workspace);
        stored!(self.pages.dtype, T => {
            for s in &step.sequences {
                for (i, t) in s.rows.clone().enumerate() {
                    let (page, position) = ((s.past + i) / PAGE, (s.past + i) % PAGE);
                    let lines = self.pages.memory.page_mut(s.pages[page] as usize).expect("a page of a checked step");
                    for (which, buf) in [(Half::Keys, op.k), (Half::Values, op.v)] {
                        let (row, storage) = (workspace.row(buf, t), PhantomData::<T>);
                        isa.run(StoreRows { which, lines: &mut *lines, layer, position, row, storage });
                    }
                }
            }
        });
    }

    pub(in crate::executor) fn attention(&mut self, op: &Attention, step: &Step) {
        let (machine, pages) = (&self.machine, &mut self.pages);
        let (isa, dtype, layer) = (machine.isa, pages.dtype, pages.layer(op.cache));
        let width = self.workspace.width(op.q);
        self.workspace.write([op.out], |w, [out]| {
            let (q, out) = (w.all(op.q), Out::new(out, width));
            let job = Job { op, step, isa, dtype, layer, pages: &pages.memory, q, out };
            let work = &mut pages.work;
            job.divide(machine.pool.workers(), work);
            let (blocks, pieces, len) = (&work.blocks, &work.pieces, state_lines(layer.size));
            let all = work.states.len();
            let states = Out::new(&mut work.states, all);
            let total = pieces.iter().map(|p| p.positions * blocks[p.block].which.len()).sum::<usize>();
            machine.split(pieces.len(), 2 * layer.size * total / pieces.len().max(1), |range| {
                MEMORY.with_borrow_mut(|(scratch, own)| {
                    for piece in &pieces[range] {
                        let (block, chunks) = (&blocks[piece.block], piece.chunks.clone());
                        let lines = block.which.len() * len;
                        if let Some(first) = block.split {
                            let at = first + (chunks.start - block.chunks.start) * lines;
                            // SAFETY: every chunk of a split block is one piece, with lines of its own.
                            let states = unsafe { states.part(0, at, lines) };
                            job.meet(block, chunks, scratch, states);
                        } else {
                            own.resize(own.len().max(lines), Line::ZERO);
                            job.meet(block, chunks, scratch, &mut own[..lines]);
                            job.finish(block, scratch, &own[..lines]);
                        }
                    }
                });
            });
            let Work { blocks, states, .. } = work;
            blocks.retain(|block| block.split.is_some());
            let lines = blocks.iter().map(|b| b.work() * len).sum::<usize>();
            machine.split(blocks.len(), LANES * lines / blocks.len().max(1), |range| {
                MEMORY.with_borrow_mut(|(scratch, _)| {
                    for block in &blocks[range] {
                        let first = block.split.expect("only split blocks are left");
                        job.finish(block, scratch, &states[first..][..block.work() * len]);
                    }
                });
            });
        });
    }
}
