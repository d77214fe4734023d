//! Attention of a block of queries of one key/value head over a paged cache.
//!
//! A page's keys and values are multiplied with all queries of the block, the
//! heads of a group and neighboring tokens, in tiles of registers: widened once
//! before that, or for a few queries on the way, with the same bits. The next page
//! is asked for meanwhile. Softmax runs online over the pages of a [`CHUNK`]; chunks' results
//! are merged in order. A query's part of a chunk depends on nothing but the query
//! and the chunk, so a token's result is the same in a prompt and alone, and the
//! chunks of a long context can be dealt to several threads.

pub(crate) mod lines;
pub(crate) mod memory;
mod product;
mod softmax;
pub(crate) mod storage;
#[cfg(test)]
mod tests;

use crate::simd::{Kernel, LANES, Simd};
use crate::vector::{load_part, store_part};
use ingot_format::DType;
use ingot_plan::PAGE;
use lines::{Line, values, values_mut};
use memory::Memory;
use product::{FEW, Left, Sums, Wide, multiply, multiply_few, widen};
use softmax::{clear, close, merge, weigh};
use std::ops::Range;
use storage::{STRIPS, Storage, Stored, scale_lines, stored, vectors};

/// Pages whose softmax is computed together, before it is merged with that of
/// the pages before. Part of the results' definition: they change with it.
pub(crate) const CHUNK: usize = 4;

/// Queries of a block, at most: so many that widening keys and values is little
/// beside the products, and that all of it stays near the processor.
pub(crate) const QUERIES: usize = 48;

/// A query.
pub(crate) struct Query<'a> {
    /// `[N]`
    pub(crate) q: &'a [f32],
    /// Positions it sees; not empty.
    pub(crate) seen: Range<usize>,
}

impl Query<'_> {
    /// Positions of a page that it sees, counted from the page's first.
    #[inline(always)]
    fn part(&self, page: usize) -> Range<usize> {
        let within = |position: usize| position.clamp(page * PAGE, (page + 1) * PAGE) - page * PAGE;
        within(self.seen.start)..within(self.seen.end)
    }
}

/// Lines of the state of a query's softmax, see [`softmax`].
pub(crate) fn state_lines(size: usize) -> usize {
    1 + vectors(size)
}

/// Memory that a worker needs for a block.
pub(crate) struct Scratch {
    lines: Vec<Line>,
}

impl Scratch {
    pub(crate) const fn new() -> Self {
        Self { lines: Vec::new() }
    }
}

/// Parts of the scratch memory.
struct Parts<'a> {
    /// Keys, `[N][STRIPS]`, or values, `[PAGE][vectors(N)]`
    wide: &'a mut [Line],
    /// [`scale_lines`]
    scales: &'a mut [Line],
    /// Scaled queries: `[Q, N]` floats
    queries: &'a mut [Line],
    /// Scores, then weights: `[Q][STRIPS]`
    weights: &'a mut [Line],
    /// `[Q][state_lines(N)]`
    states: &'a mut [Line],
}

impl Scratch {
    fn lines(&mut self, len: usize) -> &mut [Line] {
        if self.lines.len() < len {
            self.lines.resize(len, Line::ZERO);
        }
        &mut self.lines[..len]
    }

    fn parts(&mut self, size: usize, queries: usize) -> Parts<'_> {
        let lens = [
            PAGE * vectors(size),
            scale_lines(size),
            (queries * size).div_ceil(LANES),
            queries * STRIPS,
            queries * state_lines(size),
        ];
        let (wide, rest) = self.lines(lens.iter().sum()).split_at_mut(lens[0]);
        let (scales, rest) = rest.split_at_mut(lens[1]);
        let (queries, rest) = rest.split_at_mut(lens[2]);
        let (weights, rest) = rest.split_at_mut(lens[3]);
        Parts { wide, scales, queries, weights, states: rest }
    }
}

/// One head's keys and values of a sequence.
#[derive(Clone, Copy)]
pub(crate) struct Head<'a> {
    /// All pages.
    pub(crate) pages: &'a Memory,
    /// Which of them are the sequence's, in order.
    pub(crate) table: &'a [u32],
    /// How keys and values are stored.
    pub(crate) dtype: DType,
    /// Line of a page where the head's keys begin; its values follow.
    pub(crate) at: usize,
    /// N
    pub(crate) size: usize,
}

impl<'a> Head<'a> {
    /// Keys and values of the sequence's `i`-th page, with those of the page after
    /// it, the last page's with themselves.
    #[inline(always)]
    fn page<T: Storage>(&self, i: usize) -> [Stored<'a>; 2] {
        let [keys, values] = [T::key_lines(self.size), T::value_lines(self.size)];
        let lines = |i: usize| {
            let page = self.pages.page(self.table[i] as usize).expect("a page of the sequence");
            page[self.at..][..keys + values].split_at(keys)
        };
        let (now, next) = (lines(i), lines((i + 1).min(self.table.len() - 1)));
        [Stored::new(now.0, next.0), Stored::new(now.1, next.1)]
    }
}

/// A block of queries that meets some chunks of the context.
pub(crate) struct Block<'a, 'q> {
    /// At most [`QUERIES`], their positions ascending.
    pub(crate) queries: &'a [Query<'q>],
    /// What they attend to.
    pub(crate) head: Head<'a>,
    /// Factor on the scores.
    pub(crate) scale: f32,
    /// What they are softly kept below.
    pub(crate) cap: Option<f32>,
    /// Chunks of the context.
    pub(crate) chunks: Range<usize>,
    /// Memory to work in.
    pub(crate) scratch: &'a mut Scratch,
    /// The queries' states after these chunks: `[Q][state_lines(N)]`
    pub(crate) states: &'a mut [Line],
}

impl Kernel for Block<'_, '_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { queries, head, scale, cap, chunks, scratch, states } = self;
        let (size, len) = (head.size, state_lines(head.size));
        let mut parts = scratch.parts(size, queries.len());
        let scaled = values_mut::<f32>(parts.queries).chunks_exact_mut(size);
        for (query, scaled) in queries.iter().zip(scaled) {
            copy_scaled(s, query.q, scale, scaled);
        }
        states.chunks_exact_mut(len).for_each(clear);
        for chunk in chunks {
            parts.states.fill(Line::ZERO);
            let mut largest = [f32::NEG_INFINITY; QUERIES];
            for page in chunk * CHUNK..(chunk + 1) * CHUNK {
                meet(s, (queries, head, cap), page, &mut parts, &mut largest);
            }
            let new = parts.states.chunks_exact_mut(len).zip(largest);
            for (all, (new, largest)) in states.chunks_exact_mut(len).zip(new) {
                close(s, new, largest);
                merge(s, all, new);
            }
        }
    }
}

/// Adds a page to the queries' states of its chunk.
#[inline(always)]
fn meet<S: Simd>(
    s: S,
    (queries, head, cap): (&[Query<'_>], Head<'_>, Option<f32>),
    page: usize,
    parts: &mut Parts<'_>,
    largest: &mut [f32; QUERIES],
) {
    // Positions that any of them sees, and those that see any.
    let (mut from, mut to) = (PAGE, 0);
    let mut rows = queries.len()..0;
    for (i, query) in queries.iter().enumerate() {
        let part = query.part(page);
        if !part.is_empty() {
            (from, to) = (from.min(part.start), to.max(part.end));
            rows = rows.start.min(i)..i + 1;
        }
    }
    if rows.is_empty() {
        return;
    }
    let (size, len) = (head.size, state_lines(head.size));
    let Parts { wide, scales, queries: scaled, weights, states } = parts;
    // Few queries multiply what is stored; for more it is worth to widen it once.
    let few = rows.len() <= FEW;

    let a = Left { data: values(scaled), stride: size };
    let mut scores = Sums { data: weights, stride: STRIPS, at: 0, add: false };
    if few {
        stored!(head.dtype, T => {
            let keys = T::keys(s, head.page::<T>(page)[0], size, scales);
            multiply_few(s, a, keys, &mut scores, rows.clone(), 0..size);
        });
    } else {
        let strips = from / LANES..to.div_ceil(LANES);
        stored!(head.dtype, T => {
            let keys = T::keys(s, head.page::<T>(page)[0], size, scales);
            widen(s, keys, 0..size, strips, wide);
        });
        let b = Wide { data: wide, vectors: STRIPS };
        multiply(s, a, b, &mut scores, rows.clone(), 0..size);
    }

    for i in rows.clone() {
        let (weights, state) = (&mut weights[i * STRIPS..], &mut states[i * len..][..len]);
        let weights = weights.first_chunk_mut().expect("a page of scores");
        if let Some(cap) = cap {
            softmax::cap(s, weights, cap);
        }
        weigh(s, weights, queries[i].part(page), &mut largest[i], state);
    }

    let a = Left { data: values(weights), stride: PAGE };
    let mut sums = Sums { data: states, stride: len, at: 1, add: true };
    if !few {
        stored!(head.dtype, T => {
            let values = T::values(s, head.page::<T>(page)[1], size, scales);
            widen(s, values, from..to, 0..vectors(size), wide);
        });
    }
    let mut first = rows.start;
    while first < rows.end {
        // What a query does not see must not reach it even with weight 0: it may
        // be infinite.
        let part = queries[first].part(page);
        let same = |q: &&Query<'_>| q.part(page) == part;
        let alike = first..first + queries[first..rows.end].iter().take_while(same).count();
        first = alike.end;
        if few {
            stored!(head.dtype, T => {
                let values = T::values(s, head.page::<T>(page)[1], size, scales);
                multiply_few(s, a, values, &mut sums, alike, part);
            });
        } else {
            multiply(s, a, Wide { data: wide, vectors: vectors(size) }, &mut sums, alike, part);
        }
    }
}

/// `out = scale * x`
#[inline(always)]
fn copy_scaled<S: Simd>(s: S, x: &[f32], scale: f32, out: &mut [f32]) {
    let scale = s.splat_f(scale);
    let whole = x.len() - x.len() % LANES;
    for i in (0..whole).step_by(LANES) {
        let v = s.load_f(x[i..].first_chunk().expect("within the whole part"));
        s.store_f(s.mul(v, scale), out[i..].first_chunk_mut().expect("as long as the input"));
    }
    if whole < x.len() {
        store_part(s, s.mul(load_part(s, &x[whole..]), scale), &mut out[whole..]);
    }
}

/// Merges a query's states of consecutive chunks and divides by the sum of weights.
pub(crate) struct Finish<'a> {
    /// The first state, `[state_lines(N)]`, and the others after it.
    pub(crate) states: &'a [Line],
    /// Lines from one to the next.
    pub(crate) stride: usize,
    /// Memory to work in.
    pub(crate) scratch: &'a mut Scratch,
    /// `[N]`
    pub(crate) out: &'a mut [f32],
}

impl Kernel for Finish<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let len = state_lines(self.out.len());
        let state = self.scratch.lines(len);
        clear(state);
        for next in self.states.chunks(self.stride) {
            merge(s, state, &next[..len]);
        }
        let total = s.splat_f(state[0].0[1]);
        for (sum, out) in state[1..].iter().zip(self.out.chunks_mut(LANES)) {
            let v = s.div(s.load_f(&sum.0), total);
            match out.first_chunk_mut() {
                Some(all) => s.store_f(v, all),
                None => store_part(s, v, out),
            }
        }
    }
}
