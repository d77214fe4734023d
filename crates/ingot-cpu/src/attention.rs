//! Attention of a few queries of one key/value head over a paged cache.
//!
//! Softmax runs online over the pages: whatever the context, only one page of
//! scores exists. A page's part of a query's result depends on nothing but the
//! query and the page, and pages come in order, so a token's result is the same
//! in a prompt chunk and alone. Queries that share keys (the heads of a group,
//! neighboring tokens) share the loading and widening of keys and values.

use crate::simd::{LANES, Simd};
use crate::vector::{exp, load_part, store_part};
use ingot_plan::PAGE;
use std::ops::Range;

/// A type that keys and values are stored in.
pub(crate) trait Element: Copy + Default + Send + Sync + 'static {
    /// Sixteen values.
    fn load<S: Simd>(s: S, x: &[Self; LANES]) -> S::F;
    /// Sixteen values, rounded to nearest.
    fn store<S: Simd>(s: S, v: S::F, x: &mut [Self; LANES]);
}

impl Element for f32 {
    #[inline(always)]
    fn load<S: Simd>(s: S, x: &[f32; LANES]) -> S::F {
        s.load_f(x)
    }
    #[inline(always)]
    fn store<S: Simd>(s: S, v: S::F, x: &mut [f32; LANES]) {
        s.store_f(v, x);
    }
}

/// Half precision, as its bits.
impl Element for u16 {
    #[inline(always)]
    fn load<S: Simd>(s: S, x: &[u16; LANES]) -> S::F {
        s.load_f16(x)
    }
    #[inline(always)]
    fn store<S: Simd>(s: S, v: S::F, x: &mut [u16; LANES]) {
        s.store_f16(v, x);
    }
}

/// Up to sixteen stored values from `at`, zeros after `end`.
#[inline(always)]
fn load_some<S: Simd, E: Element>(s: S, x: &[E], at: usize, end: usize) -> S::F {
    if end - at >= LANES {
        E::load(s, x[at..].first_chunk().expect("sixteen values"))
    } else {
        let mut all = [E::default(); LANES];
        all[..end - at].copy_from_slice(&x[at..end]);
        E::load(s, &all)
    }
}

/// Stores a row in the cache's type.
#[inline(always)]
pub(crate) fn store_row<S: Simd, E: Element>(s: S, x: &[f32], out: &mut [E]) {
    for (x, out) in x.chunks(LANES).zip(out.chunks_mut(LANES)) {
        let v = load_part(s, x);
        if let Ok(all) = <&mut [E; LANES]>::try_from(&mut *out) {
            E::store(s, v, all);
        } else {
            let mut all = [E::default(); LANES];
            E::store(s, v, &mut all);
            let n = out.len();
            out.copy_from_slice(&all[..n]);
        }
    }
}

/// Where one head's keys and values are in a page.
#[derive(Clone, Copy)]
pub(crate) struct HeadInPage {
    /// First key's first value.
    pub(crate) keys: usize,
    /// First value's first value.
    pub(crate) values: usize,
    /// From one position to the next.
    pub(crate) stride: usize,
    /// N
    pub(crate) size: usize,
}

/// A query.
pub(crate) struct Query<'a> {
    /// `[N]`
    pub(crate) q: &'a [f32],
    /// Positions it sees.
    pub(crate) seen: Range<usize>,
    /// `[N]`
    pub(crate) out: &'a mut [f32],
}

/// State of a query's online softmax.
struct Running<const Q: usize> {
    max: [f32; Q],
    total: [f32; Q],
    /// Weights of the page's positions.
    weights: [[f32; PAGE]; Q],
}

/// Attends with `Q` queries; `page(i)` is the sequence's i-th page.
#[inline(always)]
pub(crate) fn attend<'p, S: Simd, E: Element, const Q: usize>(
    s: S,
    queries: &mut [Query<'_>; Q],
    head: HeadInPage,
    scale: f32,
    page: impl Fn(usize) -> &'p [E],
) {
    let mut first = usize::MAX;
    let mut last = 0;
    for query in queries.iter_mut() {
        first = first.min(query.seen.start / PAGE);
        last = last.max(query.seen.end.div_ceil(PAGE));
        query.out.fill(0.0);
    }
    let mut run = Running { max: [f32::NEG_INFINITY; Q], total: [0.0; Q], weights: [[0.0; PAGE]; Q] };
    for i in first..last {
        let data = page(i);
        // Each query's positions in this page.
        let mut parts = [(0, 0); Q];
        for (part, query) in parts.iter_mut().zip(queries.iter()) {
            let clamp = |position: usize| position.clamp(i * PAGE, (i + 1) * PAGE) - i * PAGE;
            *part = (clamp(query.seen.start), clamp(query.seen.end));
        }
        score::<S, E, Q>(s, queries, data, head, scale, &parts, &mut run);
        weigh::<S, Q>(s, queries, &parts, &mut run);
        gather::<S, E, Q>(s, queries, data, head, &parts, &run);
    }
    for (query, total) in queries.iter_mut().zip(run.total) {
        for out in query.out.chunks_mut(LANES) {
            let v = s.div(load_part(s, out), s.splat_f(total));
            store_part(s, v, out);
        }
    }
}

/// Positions that any of the queries sees.
#[inline(always)]
fn union<const Q: usize>(parts: &[(usize, usize); Q]) -> (usize, usize) {
    let mut all = (PAGE, 0);
    for &(from, to) in parts {
        if from < to {
            all = (all.0.min(from), all.1.max(to));
        }
    }
    all
}

/// Scores of a page's positions, into the weights.
#[inline(always)]
fn score<S: Simd, E: Element, const Q: usize>(
    s: S,
    queries: &[Query<'_>; Q],
    data: &[E],
    head: HeadInPage,
    scale: f32,
    parts: &[(usize, usize); Q],
    run: &mut Running<Q>,
) {
    let (from, to) = union(parts);
    let vectors = head.size.div_ceil(LANES);
    for j in from..to {
        let key = &data[head.keys + j * head.stride..][..head.size];
        let mut sums = [s.splat_f(0.0); Q];
        for v in 0..vectors {
            let k = load_some(s, key, v * LANES, head.size);
            for (sum, query) in sums.iter_mut().zip(queries) {
                *sum = s.fma(load_some(s, query.q, v * LANES, head.size), k, *sum);
            }
        }
        for n in 0..Q {
            run.weights[n][j] = s.sum(sums[n]) * scale;
        }
    }
}

/// Turns scores into weights relative to the largest score so far, and what has
/// been gathered so far likewise.
#[inline(always)]
fn weigh<S: Simd, const Q: usize>(
    s: S,
    queries: &mut [Query<'_>; Q],
    parts: &[(usize, usize); Q],
    run: &mut Running<Q>,
) {
    for n in 0..Q {
        let (from, to) = parts[n];
        if from >= to {
            continue;
        }
        let weights = &mut run.weights[n];
        // The positions of the page that are not seen weigh nothing.
        weights[..from].fill(f32::NEG_INFINITY);
        weights[to..].fill(f32::NEG_INFINITY);
        let mut largest = s.splat_f(run.max[n]);
        let (chunks, _) = weights.as_chunks_mut::<LANES>();
        for chunk in chunks.iter() {
            largest = s.max(largest, s.load_f(chunk));
        }
        let max = s.largest(largest);
        let mut total = s.splat_f(0.0);
        for (c, chunk) in chunks.iter_mut().enumerate() {
            let e = exp(s, s.sub(s.load_f(chunk), s.splat_f(max)));
            s.store_f(e, chunk);
            let inside = from.clamp(c * LANES, (c + 1) * LANES)..to.clamp(c * LANES, (c + 1) * LANES);
            if inside.len() < LANES {
                chunk[..inside.start - c * LANES].fill(0.0);
                chunk[inside.end.max(inside.start) - c * LANES..].fill(0.0);
            }
            total = s.add(total, s.load_f(chunk));
        }
        if run.max[n] == f32::NEG_INFINITY {
            run.total[n] = s.sum(total);
        } else {
            let shrink = (run.max[n] - max).exp();
            run.total[n] = run.total[n] * shrink + s.sum(total);
            for out in queries[n].out.chunks_mut(LANES) {
                let v = s.mul(load_part(s, out), s.splat_f(shrink));
                store_part(s, v, out);
            }
        }
        run.max[n] = max;
    }
}

/// Adds the page's values, weighted.
#[inline(always)]
fn gather<S: Simd, E: Element, const Q: usize>(
    s: S,
    queries: &mut [Query<'_>; Q],
    data: &[E],
    head: HeadInPage,
    parts: &[(usize, usize); Q],
    run: &Running<Q>,
) {
    let (from, to) = union(parts);
    for at in (0..head.size).step_by(LANES) {
        let end = head.size.min(at + LANES);
        let mut sums = [s.splat_f(0.0); Q];
        for (sum, query) in sums.iter_mut().zip(queries.iter()) {
            *sum = load_part(s, &query.out[at..end]);
        }
        for j in from..to {
            let value = load_some(s, &data[head.values + j * head.stride..][..head.size], at, head.size);
            for n in 0..Q {
                // What a query does not see must not reach it even with weight 0.
                if parts[n].0 <= j && j < parts[n].1 {
                    sums[n] = s.fma(s.splat_f(run.weights[n][j]), value, sums[n]);
                }
            }
        }
        for (sum, query) in sums.iter().zip(queries.iter_mut()) {
            store_part(s, *sum, &mut query.out[at..end]);
        }
    }
}
