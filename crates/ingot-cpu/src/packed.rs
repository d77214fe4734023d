//! The executor's own copy of the weights, in the layout that products like
//! best: [`crate::linear`] says what it is.
//!
//! A packed matrix is read as one stream, from memory that the system is asked
//! to back with huge pages: with small ones, looking up addresses can take some of
//! the memory's speed. The copy is made by all threads when a model is opened, and
//! what has been copied is given back to the system, so weights are in memory once.

use crate::blocks::GROUP;
use crate::isa::Enabled;
use crate::linear::{Layout, Matrix, TILE, pack_panel, packed_len, unpack_row};
use crate::pool::Pool;
use ingot_format::Tensor;
use ingot_plan::ExecError;
use memmap2::MmapMut;
use std::ops::Range;
use std::sync::Mutex;

/// Matrices, packed or in place.
pub(crate) struct Matrices {
    memory: Option<MmapMut>,
    /// Where each tensor's matrices are in the memory, and how.
    places: Vec<Option<(Layout, Range<usize>)>>,
}

/// Bytes that are packed between two reports.
const PIECE: usize = 4 << 20;

impl Matrices {
    /// Packs those of the `tensors` for which a layout is chosen. `progress` is told how many bytes of how many
    /// are done.
    ///
    /// # Errors
    /// If there is no memory.
    pub(crate) fn pack(
        (isa, pool): (Enabled, &Pool),
        tensors: &[Tensor],
        chosen: impl Fn(usize) -> Option<Layout>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Self, ExecError> {
        let mut end = 0;
        let places: Vec<_> = (0..tensors.len())
            .map(|i| {
                chosen(i).map(|layout| {
                    let (start, len) = (end, len(layout, &tensors[i]));
                    end += len.next_multiple_of(64);
                    (layout, start..start + len)
                })
            })
            .collect();
        if end == 0 {
            return Ok(Self { memory: None, places });
        }
        let mut memory = MmapMut::map_anon(end)
            .map_err(|e| ExecError::OutOfMemory(format!("{end} bytes for packed weights: {e}")))?;
        #[cfg(target_os = "linux")]
        let _ = memory.advise(memmap2::Advice::HugePage); // without, it is only slower
        let mut done = 0;
        for (tensor, place) in tensors.iter().zip(&places) {
            let Some((layout, place)) = place else { continue };
            pack((isa, pool), *layout, tensor, &mut memory[place.clone()], &mut |bytes| {
                done += bytes as u64;
                progress(done, end as u64);
            });
        }
        // Looking at one page may have brought back its neighbors.
        tensors.iter().zip(&places).filter(|(_, p)| p.is_some()).for_each(|(t, _)| t.data().forget_pages());
        progress(end as u64, end as u64);
        Ok(Self { memory: Some(memory), places })
    }

    /// Whether a tensor's matrices can be multiplied where they are.
    pub(crate) fn can_stay(tensor: &Tensor) -> bool {
        tensor.rows() / count(tensor) >= TILE && tensor.cols().is_multiple_of(GROUP)
    }

    /// Row `r` of tensor `id`, a single matrix not in columns, into `out` `[C]`.
    pub(crate) fn dequantize_row(&self, id: usize, tensor: &Tensor, r: usize, out: &mut [f32]) {
        let row_bytes = tensor.row_bytes();
        let Matrix { dtype, bytes, layout, .. } = self.get(id, tensor, 0);
        match layout {
            Layout::Rows => return dtype.dequantize(&bytes[r * row_bytes..][..row_bytes], out),
            Layout::Tiles => {}
            Layout::Columns => unreachable!("not for tables"),
        }
        let mut row = vec![0; row_bytes];
        unpack_row(dtype, &bytes[r / TILE * TILE * row_bytes..][..TILE * row_bytes], r % TILE, &mut row);
        dtype.dequantize(&row, out);
    }

    /// Matrix `e` of tensor `id`, `[E, R, C]` or `[R, C]`.
    pub(crate) fn get<'a>(&'a self, id: usize, tensor: &'a Tensor, e: usize) -> Matrix<'a> {
        let (bytes, layout) = match (&self.places[id], &self.memory) {
            (Some((layout, place)), Some(memory)) => (&memory[place.clone()], *layout),
            _ => (&tensor.data()[..], Layout::Rows),
        };
        let each = bytes.len() / count(tensor);
        Matrix { dtype: tensor.dtype(), cols: tensor.cols(), bytes: &bytes[e * each..][..each], layout }
    }
}

/// Matrices in a tensor.
fn count(tensor: &Tensor) -> usize {
    tensor.shape().iter().rev().skip(2).product::<usize>().max(1)
}

/// Packed bytes of all matrices of a tensor.
fn len(layout: Layout, tensor: &Tensor) -> usize {
    let rows = tensor.rows() / count(tensor);
    count(tensor) * packed_len((layout, tensor.dtype()), rows, tensor.row_bytes())
}

/// Packs all matrices of a tensor; `progress` is told of bytes of `out` as they are written.
fn pack(
    (isa, pool): (Enabled, &Pool),
    layout: Layout,
    tensor: &Tensor,
    out: &mut [u8],
    progress: &mut dyn FnMut(usize),
) {
    let panel = layout.panel(tensor.dtype());
    let row_bytes = tensor.row_bytes();
    let rows = tensor.rows() / count(tensor);
    let panels = rows.div_ceil(panel);
    let panel_bytes = panel * row_bytes;
    let piece = (PIECE / panel_bytes).max(1);
    for (p, out) in out.chunks_mut(piece * panel_bytes).enumerate() {
        let outs: Vec<_> = out.chunks_mut(panel_bytes).map(Mutex::new).collect();
        let source = |i: usize| {
            let (matrix, i) = (i / panels, i % panels);
            let rows = matrix * rows + i * panel..matrix * rows + rows.min((i + 1) * panel);
            rows.start * row_bytes..rows.end * row_bytes
        };
        let data: &[u8] = tensor.data();
        pool.for_each_chunk(outs.len(), outs.len().div_ceil(4 * pool.workers()), |range| {
            for i in range {
                let mut out = outs[i].lock().expect("each panel is packed once");
                pack_panel(isa, (layout, tensor.dtype()), &data[source(p * piece + i)], row_bytes, &mut out);
            }
        });
        if let Some(used) = tensor.data().slice(0..source(p * piece + outs.len() - 1).end) {
            used.forget_pages();
        }
        progress(out.len());
    }
}
