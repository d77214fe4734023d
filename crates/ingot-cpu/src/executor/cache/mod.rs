//! Pages of keys and values, and the two ops that use them.

mod ops;

use super::{absent, wrong_size};
use crate::attention::memory::Memory;
use crate::attention::storage::{Half, Storage, stored};
use ingot_format::DType;
use ingot_plan::{ExecError, Op, PAGE, Place, Plan, StateDecl, StateId};
use std::ops::Range;

/// All pages.
pub(super) struct Pages {
    /// F16, F32 or Q8_0.
    dtype: DType,
    /// By state; none of them for states that are no keys and values.
    layers: Vec<Layer>,
    memory: Memory,
    /// What attention needs beside.
    work: ops::Work,
}

/// Where a layer's keys and values are in a page: heads one after the other, of
/// each the keys and then the values.
#[derive(Clone, Copy, Default)]
struct Layer {
    /// First line.
    at: usize,
    /// Number of key/value heads.
    heads: usize,
    /// Channels of a head, N.
    size: usize,
    /// Lines of a head's keys.
    key_lines: usize,
    /// Lines of a head's values.
    value_lines: usize,
}

impl Layer {
    /// Lines of a head's keys and values.
    fn head_lines(&self) -> usize {
        self.key_lines + self.value_lines
    }

    /// Lines of a head's keys or values.
    fn half(&self, head: usize, which: Half) -> Range<usize> {
        let keys = self.at + head * self.head_lines();
        let values = keys + self.key_lines;
        match which {
            Half::Keys => keys..values,
            Half::Values => values..values + self.value_lines,
        }
    }
}

impl Pages {
    /// # Errors
    /// If keys and values cannot be stored as this type.
    pub(super) fn new(dtype: DType, plan: &Plan) -> Result<Self, ExecError> {
        if !matches!(dtype, DType::F16 | DType::F32 | DType::Q8_0) {
            let what = format!("a cache of {dtype}; F16, F32 and Q8_0 are possible");
            return Err(ExecError::Request(what));
        }
        let (mut layers, mut len) = (vec![Layer::default(); plan.states().len()], 0);
        for (i, state) in plan.states().iter().enumerate() {
            if let &StateDecl::Kv { width } = state {
                let heads = heads_of(plan, i).unwrap_or(1);
                let size = width / heads;
                stored!(dtype, T => {
                    if !size.is_multiple_of(T::BLOCK) {
                        let what = format!("heads of {size} with keys and values as {dtype}, blocks of {}", T::BLOCK);
                        return Err(ExecError::Request(what));
                    }
                    let (key_lines, value_lines) = (T::key_lines(size), T::value_lines(size));
                    layers[i] = Layer { at: len, heads, size, key_lines, value_lines };
                });
                len += heads * layers[i].head_lines();
            }
        }
        Ok(Self { dtype, layers, memory: Memory::new(len), work: ops::Work::default() })
    }

    pub(super) fn dtype(&self) -> DType {
        self.dtype
    }

    /// Number of pages.
    pub(super) fn len(&self) -> usize {
        self.memory.len()
    }

    fn layer(&self, state: StateId) -> Layer {
        self.layers[state.index()]
    }

    pub(super) fn reserve(&mut self, pages: usize) -> Result<(), ExecError> {
        self.memory.grow(pages)
    }

    pub(super) fn copy(&mut self, from: u32, to: u32) -> Result<(), ExecError> {
        if let Some(place) = [from, to].into_iter().find(|p| *p as usize >= self.memory.len()) {
            return Err(absent(Place::Page(place)));
        }
        self.memory.copy(from as usize, to as usize);
        Ok(())
    }

    pub(super) fn read(&self, page: u32) -> Result<Vec<u8>, ExecError> {
        let lines = self.memory.page(page as usize).ok_or_else(|| absent(Place::Page(page)))?;
        let mut bytes = vec![0; page_bytes(self.dtype, &self.layers)];
        stored!(self.dtype, T => {
            for_rows(self.dtype, &self.layers, |which, half, size, position, at| {
                T::export(which, &lines[half], size, position, &mut bytes[at]);
            });
        });
        Ok(bytes)
    }

    pub(super) fn write(&mut self, page: u32, bytes: &[u8]) -> Result<(), ExecError> {
        let lines = self.memory.page_mut(page as usize).ok_or_else(|| absent(Place::Page(page)))?;
        let size = page_bytes(self.dtype, &self.layers);
        if bytes.len() != size {
            return Err(wrong_size(Place::Page(page), size, bytes.len()));
        }
        stored!(self.dtype, T => {
            for_rows(self.dtype, &self.layers, |which, half, size, position, at| {
                T::import(which, &mut lines[half], size, position, &bytes[at]);
            });
        });
        Ok(())
    }
}

/// Calls `f` for every row of every head in the plan's order: which half, its
/// lines, the head's size, the position, and where its bytes are.
fn for_rows(
    dtype: DType,
    layers: &[Layer],
    mut f: impl FnMut(Half, Range<usize>, usize, usize, Range<usize>),
) {
    let mut at = 0;
    for layer in layers {
        let bytes = stored!(dtype, T => T::row_bytes(layer.size));
        for which in [Half::Keys, Half::Values] {
            for position in 0..PAGE {
                for head in 0..layer.heads {
                    f(which, layer.half(head, which), layer.size, position, at..at + bytes);
                    at += bytes;
                }
            }
        }
    }
}

/// Bytes of a page in the plan's order.
fn page_bytes(dtype: DType, layers: &[Layer]) -> usize {
    let rows = layers.iter().map(|l| l.heads * stored!(dtype, T => T::row_bytes(l.size)));
    2 * PAGE * rows.sum::<usize>()
}

/// Number of key/value heads of a state, if anything attends to it.
fn heads_of(plan: &Plan, state: usize) -> Option<usize> {
    plan.ops().iter().find_map(|op| match op {
        Op::Attention(op) if op.cache.index() == state => Some(op.kv_heads),
        _ => None,
    })
}
