//! Pages of keys and values, and the two ops that use them.
//!
//! Every page is an allocation of its own, so that a growing pool copies nothing.

use super::{CpuExecutor, absent, wrong_size, zeros};
use crate::attention::{Element, HeadInPage, Query, attend, store_row};
use crate::isa::Enabled;
use crate::shared::Out;
use crate::simd::{Kernel, Simd};
use ingot_format::DType;
use ingot_plan::ops::{Attention, StoreKv};
use ingot_plan::{ExecError, PAGE, Place, Sequence, Step};
use std::ops::Range;

/// All pages, in one of two types.
pub(super) enum Pages {
    /// Half precision, as bits.
    F16(Pool<u16>),
    /// Single precision.
    F32(Pool<f32>),
}

/// Pages of `len` values.
pub(super) struct Pool<E> {
    len: usize,
    pages: Vec<Vec<E>>,
}

macro_rules! both {
    ($pages:expr, $pool:ident => $body:expr) => {
        match $pages {
            Pages::F16($pool) => $body,
            Pages::F32($pool) => $body,
        }
    };
}

/// Values as little-endian bytes.
trait Bytes: Copy {
    fn append(self, bytes: &mut Vec<u8>);
    fn parse(bytes: &[u8]) -> Self;
}

macro_rules! bytes {
    ($($type:ty),*) => {$(impl Bytes for $type {
        fn append(self, bytes: &mut Vec<u8>) {
            bytes.extend_from_slice(&self.to_le_bytes());
        }
        fn parse(bytes: &[u8]) -> Self {
            Self::from_le_bytes(bytes.try_into().expect("the size of a value"))
        }
    })*};
}
bytes!(u16, f32);

impl Pages {
    pub(super) fn new(dtype: DType, len: usize) -> Result<Self, ExecError> {
        match dtype {
            DType::F16 => Ok(Self::F16(Pool { len, pages: Vec::new() })),
            DType::F32 => Ok(Self::F32(Pool { len, pages: Vec::new() })),
            other => Err(ExecError::Request(format!("a cache of {other}; F16 and F32 are possible"))),
        }
    }

    pub(super) fn dtype(&self) -> DType {
        match self {
            Self::F16(_) => DType::F16,
            Self::F32(_) => DType::F32,
        }
    }

    pub(super) fn len(&self) -> usize {
        both!(self, pool => pool.pages.len())
    }

    pub(super) fn reserve(&mut self, pages: usize) -> Result<(), ExecError> {
        both!(self, pool => {
            while pool.pages.len() < pages {
                pool.pages.push(zeros(pool.len, "a page of keys and values")?);
            }
            Ok(())
        })
    }

    pub(super) fn copy(&mut self, from: u32, to: u32) -> Result<(), ExecError> {
        both!(self, pool => {
            let source = std::mem::take(pool.get_mut(from)?);
            let result = if from == to { Ok(()) } else { pool.get_mut(to).map(|to| to.copy_from_slice(&source)) };
            *pool.get_mut(from)? = source;
            result
        })
    }

    pub(super) fn read(&self, page: u32) -> Result<Vec<u8>, ExecError> {
        both!(self, pool => {
            let values = pool.pages.get(page as usize).ok_or_else(|| absent(Place::Page(page)))?;
            let mut bytes = Vec::with_capacity(size_of_val(values.as_slice()));
            values.iter().for_each(|x| x.append(&mut bytes));
            Ok(bytes)
        })
    }

    pub(super) fn write(&mut self, page: u32, bytes: &[u8]) -> Result<(), ExecError> {
        both!(self, pool => {
            let values = pool.get_mut(page)?;
            let size = size_of_val(values.as_slice());
            if bytes.len() != size {
                return Err(wrong_size(Place::Page(page), size, bytes.len()));
            }
            let each = size / values.len().max(1);
            values.iter_mut().zip(bytes.chunks_exact(each.max(1))).for_each(|(x, b)| *x = Bytes::parse(b));
            Ok(())
        })
    }
}

impl<E> Pool<E> {
    fn get_mut(&mut self, page: u32) -> Result<&mut Vec<E>, ExecError> {
        self.pages.get_mut(page as usize).ok_or_else(|| absent(Place::Page(page)))
    }
}

struct StoreRow<'a, E>(&'a [f32], &'a mut [E]);

impl<E: Element> Kernel for StoreRow<'_, E> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        store_row(s, self.0, self.1);
    }
}

/// Queries of one key/value head, in the order of (token, head).
struct Heads<'a, E> {
    pages: &'a [Vec<E>],
    sequence: &'a Sequence,
    op: &'a Attention,
    /// Of the whole step: `[T, H * N]`
    q: &'a [f32],
    out: Out,
    /// Where the layer begins in a page.
    base: usize,
    kv_head: usize,
    /// Which queries, as token * heads per key/value head + head.
    which: Range<usize>,
}

impl<E: Element> Kernel for Heads<'_, E> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let mut i = self.which.start;
        while i < self.which.end {
            i += match self.which.end - i {
                1 => self.some::<S, 1>(s, i),
                2 | 3 => self.some::<S, 2>(s, i),
                _ => self.some::<S, 4>(s, i),
            };
        }
    }
}

impl<E: Element> Heads<'_, E> {
    #[inline(always)]
    fn some<S: Simd, const Q: usize>(&self, s: S, first: usize) -> usize {
        let (op, width) = (self.op, self.out.width());
        let (size, group) = (width / op.heads, op.heads / op.kv_heads);
        let stride = size * op.kv_heads;
        let keys = self.base + self.kv_head * size;
        let head = HeadInPage { keys, values: keys + PAGE * stride, stride, size };
        let mut i = first;
        let mut queries = [(); Q].map(|()| {
            let (token, at) = (i / group, (self.kv_head * group + i % group) * size);
            i += 1;
            let (t, position) = (self.sequence.rows.start + token, self.sequence.past + token);
            Query {
                q: &self.q[t * width + at..][..size],
                seen: op.first_seen(position)..position + 1,
                // SAFETY: each query is in exactly one piece of work.
                out: unsafe { self.out.part(t, at, size) },
            }
        });
        let page = |i: usize| self.pages[self.sequence.pages[i] as usize].as_slice();
        attend::<S, E, Q>(s, &mut queries, head, op.scale, page);
        Q
    }
}

/// Queries in a piece of work, about.
const QUERIES: usize = 16;

impl CpuExecutor {
    pub(super) fn store_kv(&mut self, op: &StoreKv, step: &Step) {
        let width = self.workspace.width(op.k);
        let (base, isa, workspace) = (self.plan.state_offset(op.cache), self.machine.isa, &self.workspace);
        both!(&mut self.pages, pool => {
            for s in &step.sequences {
                for (i, t) in s.rows.clone().enumerate() {
                    let (page, at) = ((s.past + i) / PAGE, (s.past + i) % PAGE);
                    let page = &mut pool.pages[s.pages[page] as usize];
                    let key = base + at * width;
                    isa.run(StoreRow(workspace.row(op.k, t), &mut page[key..][..width]));
                    isa.run(StoreRow(workspace.row(op.v, t), &mut page[key + PAGE * width..][..width]));
                }
            }
        });
    }

    pub(super) fn attention(&mut self, op: &Attention, step: &Step) {
        let base = self.plan.state_offset(op.cache);
        let (pages, machine, isa): (_, _, Enabled) = (&self.pages, &self.machine, self.machine.isa);
        let width = self.workspace.width(op.q);
        let (size, group) = (width / op.heads, op.heads / op.kv_heads);
        self.workspace.write([op.out], |w, [out]| {
            let (q, out) = (w.all(op.q), Out::new(out, width));
            for sequence in &step.sequences {
                let queries = sequence.rows.len() * group;
                let pieces = queries.div_ceil(QUERIES);
                let context = op.window.unwrap_or(usize::MAX).min(sequence.past + sequence.rows.len());
                let cost = 2 * context * size * queries.min(QUERIES);
                machine.split(op.kv_heads * pieces, cost, |range| {
                    for item in range {
                        let first = item / op.kv_heads * QUERIES;
                        let which = first..queries.min(first + QUERIES);
                        let kv_head = item % op.kv_heads;
                        both!(pages, pool => {
                            let pages = pool.pages.as_slice();
                            isa.run(Heads { pages, sequence, op, q, out, base, kv_head, which });
                        });
                    }
                });
            }
        });
    }
}
