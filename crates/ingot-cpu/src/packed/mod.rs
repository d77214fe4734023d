//! The executor's own copy of the weights, in the layout that products like
//! best: [`crate::linear`] says what it is.
//!
//! A packed matrix is read as one stream, from memory that the system is asked
//! to back with huge pages: with small ones, looking up addresses can take some of
//! the memory's speed. The copy is made while the model is already in use: a
//! matrix is multiplied where it lies in the file, with the same results, until its
//! copy is there. What has been copied is given back to the system, so weights
//! are in memory once.

mod packing;

use crate::blocks::GROUP;
use crate::isa::Enabled;
use crate::linear::{Layout, Matrix, TILE, unpack_row};
use crate::pool::Pool;
use ingot_format::Tensor;
use ingot_plan::ExecError;
use packing::Packing;
use std::ops::Range;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// Matrices, packed or in place.
pub(crate) struct Matrices {
    /// Where each tensor's copy is or will be, and how it is laid out.
    places: Vec<Option<(Layout, Range<usize>)>>,
    /// Whether the copy is used.
    packed: Vec<bool>,
    /// None if nothing is copied.
    packing: Option<Arc<Packing>>,
    /// How many of the tensors that are copied were so when somebody last looked.
    seen: usize,
    /// Copies, until all are there or nobody wants them any more.
    thread: Option<JoinHandle<()>>,
}

/// If no step comes in this time after opening, it is used for packing.
const IDLE: Duration = Duration::from_millis(300);

impl Matrices {
    /// Begins to copy those of the `tensors` for which a layout is chosen; those that
    /// cannot be used where they lie are there at once.
    ///
    /// # Errors
    /// If there is no memory.
    pub(crate) fn pack(
        isa: Enabled,
        tensors: &[Tensor],
        chosen: impl Fn(usize) -> Option<Layout>,
    ) -> Result<Self, ExecError> {
        let mut end = 0;
        let places: Vec<_> = (0..tensors.len())
            .map(|i| {
                chosen(i).map(|layout| {
                    let (start, len) = (end, packing::len(layout, &tensors[i]));
                    end += len.next_multiple_of(64);
                    (layout, start..start + len)
                })
            })
            .collect();
        let packed = vec![false; tensors.len()];
        let mut matrices = Self { places, packed, packing: None, seen: 0, thread: None };
        if end == 0 {
            return Ok(matrices);
        }
        // The first ones first, as steps want them, but before them what cannot wait.
        let mut order: Vec<usize> = (0..tensors.len()).filter(|&i| matrices.places[i].is_some()).collect();
        order.sort_by_key(|&i| Self::can_stay(&tensors[i]));
        let at_once = order.iter().take_while(|&&i| !Self::can_stay(&tensors[i])).count();
        let jobs = order.into_iter().map(|i| {
            let (layout, place) = matrices.places[i].clone().expect("chosen");
            (i, tensors[i].clone(), layout, place)
        });
        let packing = Arc::new(Packing::new(isa, jobs.collect(), end)?);
        packing.run(&Pool::new(1), at_once, &mut |_| {});
        let copy = Arc::clone(&packing);
        matrices.packing = Some(packing);
        matrices.admit();
        let work = move || {
            copy.wait_for_step(IDLE);
            copy.run(&Pool::new(1), usize::MAX, &mut |_| {});
        };
        // Without a thread, copies are made when somebody waits for them.
        matrices.thread = std::thread::Builder::new().name("ingot-pack".into()).spawn(work).ok();
        Ok(matrices)
    }

    /// Makes all copies that are not there yet, with all threads of a pool. `progress`
    /// is told how many bytes of how many there are.
    pub(crate) fn settle(&mut self, pool: &Pool, progress: &mut dyn FnMut(u64, u64)) {
        self.stop();
        if let Some(packing) = &self.packing {
            let all = packing.bytes();
            packing.stop(false);
            packing.hold(false);
            packing.run(pool, usize::MAX, &mut |done| progress(done, all));
        }
        self.admit();
    }

    /// Uses the copies that have been made; once all are, looks no more. What has
    /// been read from the file meanwhile is forgotten.
    pub(crate) fn admit(&mut self) {
        let Some(packing) = &self.packing else { return };
        if self.seen == packing.len() {
            return;
        }
        for (i, tensor) in packing.done_after(self.seen) {
            self.packed[i] = true;
            tensor.data().forget_pages();
            self.seen += 1;
        }
        if self.seen == packing.len() {
            // Looking at one page may have brought back its neighbors.
            packing.done_after(0).for_each(|(_, tensor)| tensor.data().forget_pages());
        }
    }

    /// Makes the thread wait, or go on: the first step has the computer to itself,
    /// because somebody waits for its token.
    pub(crate) fn hold(&self, hold: bool) {
        if let (Some(packing), Some(_)) = (&self.packing, &self.thread) {
            packing.hold(hold);
        }
    }

    /// Ends the thread, wherever it is.
    fn stop(&mut self) {
        if let (Some(thread), Some(packing)) = (self.thread.take(), &self.packing) {
            packing.stop(true);
            thread.join().expect("packing does not panic");
        }
    }

    /// Whether a tensor's matrices can be multiplied where they are.
    pub(crate) fn can_stay(tensor: &Tensor) -> bool {
        tensor.rows() / packing::count(tensor) >= TILE && tensor.cols().is_multiple_of(GROUP)
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
        let (bytes, layout) = match (&self.places[id], &self.packing) {
            (Some((layout, place)), Some(packing)) if self.packed[id] => {
                // SAFETY: done, so nobody writes there any more.
                (unsafe { packing.memory(place.clone()) }, *layout)
            }
            _ => (&tensor.data()[..], Layout::Rows),
        };
        let each = bytes.len() / packing::count(tensor);
        Matrix { dtype: tensor.dtype(), cols: tensor.cols(), bytes: &bytes[e * each..][..each], layout }
    }
}

impl Drop for Matrices {
    fn drop(&mut self) {
        self.stop();
    }
}
