//! Attention of every instruction set and way of storing against sums in f64.

use super::lines::Line;
use super::memory::Memory;
use super::storage::{Blocks, Half, Storage, stored};
use super::{Block, CHUNK, Finish, Head, QUERIES, Query, Scratch, state_lines};
use crate::isa::{Enabled, Isa};
use crate::simd::{Kernel, Simd};
use ingot_format::DType;
use ingot_plan::PAGE;
use std::marker::PhantomData;
use std::ops::Range;

struct Random(u64);

impl Random {
    /// Uniform in -1..1.
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    fn row(&mut self, len: usize, size: f32) -> Vec<f32> {
        (0..len).map(|_| size * self.next()).collect()
    }
}

struct Store<'a, T>(Half, &'a mut [Line], usize, &'a [f32], PhantomData<T>);

impl<T: Storage> Kernel for Store<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        T::store(s, self.0, self.1, self.2, self.3);
    }
}

/// One sequence of one key/value head.
struct Context {
    isa: Enabled,
    size: usize,
    dtype: DType,
    pages: Memory,
    table: Vec<u32>,
    /// What is stored, as read back: `[positions][N]`
    keys: Vec<Vec<f32>>,
    values: Vec<Vec<f32>>,
}

/// Stores a row and returns it as rounded.
fn store<T: Storage>(isa: Enabled, which: Half, lines: &mut [Line], position: usize, x: &[f32]) -> Vec<f32> {
    let mut bytes = vec![0; T::row_bytes(x.len())];
    isa.run(Store::<T>(which, lines, position, x, PhantomData));
    T::export(which, lines, x.len(), position, &mut bytes);
    // Put back, it is the same.
    let bits = |lines: &[Line]| lines.iter().flat_map(|l| l.0.map(f32::to_bits)).collect::<Vec<_>>();
    let before = bits(lines);
    T::import(which, lines, x.len(), position, &bytes);
    assert!(before == bits(lines));
    parse(&bytes, x.len())
}

/// A value of whichever type from its bytes in the plan's order.
fn parse(bytes: &[u8], size: usize) -> Vec<f32> {
    let half = |b: &[u8]| half::f16::from_le_bytes([b[0], b[1]]).to_f32();
    match bytes.len() / size {
        4 => bytes.chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect(),
        2 => bytes.chunks(2).map(half).collect(),
        _ => bytes.chunks(34).flat_map(|b| b[2..].iter().map(|q| half(b) * f32::from(*q as i8))).collect(),
    }
}

impl Context {
    /// Stores keys and values; whatever else is in the pages is no number.
    fn new(isa: Enabled, dtype: DType, keys: &[Vec<f32>], values: &[Vec<f32>]) -> Self {
        let (size, count) = (keys[0].len(), keys.len().div_ceil(PAGE));
        let [key_lines, value_lines] = stored!(dtype, T => [T::key_lines(size), T::value_lines(size)]);
        let mut pages = Memory::new(key_lines + value_lines);
        pages.grow(count).unwrap();
        let junk = Line([f32::from_bits(u32::MAX); 16]);
        (0..count).for_each(|i| pages.page_mut(i).unwrap().fill(junk));
        let table: Vec<u32> = (0..count as u32).rev().collect();
        let (mut stored_keys, mut stored_values) = (Vec::new(), Vec::new());
        for (i, (key, value)) in keys.iter().zip(values).enumerate() {
            let (k, v) = pages.page_mut(table[i / PAGE] as usize).unwrap().split_at_mut(key_lines);
            for (which, lines, x, all) in
                [(Half::Keys, k, key, &mut stored_keys), (Half::Values, v, value, &mut stored_values)]
            {
                stored!(dtype, T => all.push(store::<T>(isa, which, lines, i % PAGE, x)));
            }
        }
        Self { isa, size, dtype, pages, table, keys: stored_keys, values: stored_values }
    }

    /// Results of queries, in blocks of so many, with so many chunks at a time:
    /// `[Q][N]`
    fn attend(&self, queries: &[Query<'_>], scale: f32, block: usize, split: bool) -> Vec<Vec<f32>> {
        let (len, mut scratch, mut out) = (state_lines(self.size), Scratch::new(), Vec::new());
        for queries in queries.chunks(block) {
            let chunks = 0..queries.last().unwrap().seen.end.div_ceil(CHUNK * PAGE);
            let pieces: Vec<Range<usize>> =
                if split { chunks.map(|c| c..c + 1).collect() } else { vec![chunks] };
            let mut states = vec![Line::ZERO; pieces.len() * queries.len() * len];
            for (chunks, states) in pieces.into_iter().zip(states.chunks_mut(queries.len() * len)) {
                let (pages, table, dtype) = (&self.pages, self.table.as_slice(), self.dtype);
                let head = Head { pages, table, dtype, at: 0, size: self.size };
                self.isa.run(Block {
                    queries,
                    head,
                    scale,
                    cap: None,
                    chunks,
                    scratch: &mut scratch,
                    states,
                });
            }
            for i in 0..queries.len() {
                let mut result = vec![0.0; self.size];
                let (states, stride) = (&states[i * len..], queries.len() * len);
                self.isa.run(Finish { states, stride, scratch: &mut scratch, out: &mut result });
                out.push(result);
            }
        }
        out
    }

    fn reference(&self, query: &Query<'_>, scale: f32) -> Vec<f64> {
        let dot = |k: &[f32]| query.q.iter().zip(k).map(|(q, k)| f64::from(*q) * f64::from(*k)).sum::<f64>();
        let scores: Vec<f64> = query.seen.clone().map(|j| dot(&self.keys[j]) * f64::from(scale)).collect();
        let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let weights: Vec<f64> = scores.iter().map(|x| (x - max).exp()).collect();
        let total: f64 = weights.iter().sum();
        (0..self.size)
            .map(|c| {
                let weighted = query.seen.clone().zip(&weights);
                weighted.map(|(j, w)| w / total * f64::from(self.values[j][c])).sum()
            })
            .collect()
    }
}

/// What is special about the inputs of a case.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Inputs {
    Ordinary,
    /// Scores of a million and more: all weight on one position.
    Large,
    /// All scores equal.
    Equal,
    /// Some positions so low that their weight is nothing.
    Masked,
    /// The last position's value is infinite: only who sees it may notice.
    Infinite,
}

/// Sequences of a case: positions, tokens that ask, heads that share, the window.
#[derive(Clone, Copy, Debug)]
struct Shape {
    size: usize,
    positions: usize,
    tokens: usize,
    group: usize,
    window: usize,
}

fn check(isa: Enabled, dtype: DType, shape: Shape, inputs: Inputs) {
    let Shape { size, positions, tokens, group, window } = shape;
    let random = &mut Random(size as u64 * 31 + positions as u64);
    let large = if inputs == Inputs::Large { 200.0 } else { 1.0 };
    let mut keys: Vec<Vec<f32>> = (0..positions).map(|_| random.row(size, large)).collect();
    let mut values: Vec<Vec<f32>> = (0..positions).map(|_| random.row(size, 1.0)).collect();
    let mut asked: Vec<Vec<f32>> = (0..tokens * group).map(|_| random.row(size, large)).collect();
    match inputs {
        Inputs::Equal => keys.iter_mut().for_each(|key| key.fill(0.5)),
        Inputs::Masked => {
            keys.iter_mut().step_by(3).for_each(|key| key[0] = -3e4);
            asked.iter_mut().for_each(|q| q[0] = 3e4);
        }
        Inputs::Infinite => values[positions - 1].fill(f32::INFINITY),
        Inputs::Ordinary | Inputs::Large => (),
    }
    let context = Context::new(isa, dtype, &keys, &values);
    let queries: Vec<Query<'_>> = asked
        .iter()
        .enumerate()
        .map(|(i, q)| {
            let end = positions - tokens + i / group + 1;
            Query { q, seen: end.saturating_sub(window)..end }
        })
        .collect();
    let scale = 1.0 / (size as f32).sqrt();
    let got = context.attend(&queries, scale, QUERIES, false);
    let bits = |rows: &[Vec<f32>]| rows.iter().flatten().map(|x| x.to_bits()).collect::<Vec<_>>();
    for (block, split) in [(1, false), (group, true), (7, true), (QUERIES, true)] {
        let other = context.attend(&queries, scale, block, split);
        assert!(bits(&other) == bits(&got), "{shape:?} {inputs:?}: blocks of {block}, split {split}");
    }
    for (i, (query, got)) in queries.iter().zip(&got).enumerate() {
        if inputs == Inputs::Infinite && query.seen.end == positions {
            continue;
        }
        let want = context.reference(query, scale);
        // Scores of a million are known to a tenth: only near ties are not decided.
        let limit = if inputs == Inputs::Large { 0.3 } else { 5e-6 };
        for (c, (got, want)) in got.iter().zip(&want).enumerate() {
            let error = (f64::from(*got) - want).abs();
            assert!(error <= limit, "{shape:?} {inputs:?} {}: query {i}, {c}: {got}, {want}", isa.isa());
        }
    }
}

fn isas() -> impl Iterator<Item = Enabled> {
    Isa::available().into_iter().filter_map(Enabled::new)
}

/// Sizes, groups, windows, and contexts around the borders of pages and chunks.
fn shapes(sizes: &[usize]) -> Vec<Shape> {
    let mut shapes = Vec::new();
    let mut pick = 0;
    for &size in sizes {
        for (positions, tokens) in [(1, 1), (17, 3), (64, 1), (65, 65), (130, 20), (257, 2), (600, 9)] {
            for window in [usize::MAX, 1, 64, 100] {
                // All groups come up with all sizes, not with everything.
                pick += 1;
                shapes.push(Shape { size, positions, tokens, group: 1 + pick % 8, window });
            }
        }
    }
    shapes
}

#[test]
fn single_precision() {
    for isa in isas() {
        for shape in shapes(&[1, 24, 40, 64, 80]) {
            check(isa, DType::F32, shape, Inputs::Ordinary);
        }
    }
}

#[test]
fn half_precision() {
    for isa in isas() {
        for shape in shapes(&[40, 64, 96, 128]) {
            check(isa, DType::F16, shape, Inputs::Ordinary);
        }
    }
}

#[test]
fn eight_bits() {
    for isa in isas() {
        for shape in shapes(&[32, 64, 96, 256]) {
            check(isa, DType::Q8_0, shape, Inputs::Ordinary);
        }
    }
}

#[test]
fn hard_scores() {
    for isa in isas() {
        for inputs in [Inputs::Large, Inputs::Equal, Inputs::Masked, Inputs::Infinite] {
            for window in [usize::MAX, 70] {
                let shape = Shape { size: 64, positions: 300, tokens: 10, group: 3, window };
                check(isa, DType::F32, shape, inputs);
                check(isa, DType::F16, shape, inputs);
            }
        }
    }
}

/// Blocks are those of `ingot-format`, so that saved sequences mean the same everywhere.
#[test]
fn blocks_are_q8_0() {
    let dtype = DType::Q8_0;
    let mut random = Random(5);
    for size in [32, 96] {
        for scale in [0.0, 1e-9, 1e-6, 1.0, 300.0, 1e7] {
            let x = random.row(size, scale);
            let mut want = vec![0; dtype.row_bytes(size).unwrap()];
            dtype.quantize(&x, &mut want);
            for isa in isas() {
                let mut lines = vec![Line::ZERO; Blocks::key_lines(size)];
                for which in [Half::Keys, Half::Values] {
                    for position in [0, 17, 63] {
                        isa.run(Store::<Blocks>(which, &mut lines, position, &x, PhantomData));
                        let mut got = vec![0; want.len()];
                        Blocks::export(which, &lines, size, position, &mut got);
                        assert_eq!(got, want, "{size} values of {scale}, {}", isa.isa());
                    }
                }
            }
        }
    }
}
