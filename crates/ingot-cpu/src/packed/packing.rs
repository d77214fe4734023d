//! Making the copy of the weights: tensor by tensor, by whoever runs it, until it
//! is done or stopped.

use crate::isa::Enabled;
use crate::linear::{Layout, pack_panel, packed_len};
use crate::pool::Pool;
use ingot_format::Tensor;
use ingot_plan::ExecError;
use memmap2::{MmapMut, MmapRaw};
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Tensors that are copied, in this order: which one, its data, its layout, its place.
type Jobs = Vec<(usize, Tensor, Layout, Range<usize>)>;

/// Tensors and the memory that they are copied to.
pub(super) struct Packing {
    isa: Enabled,
    jobs: Jobs,
    memory: MmapRaw,
    /// How many of the jobs are done: their part of the memory is only read.
    done: AtomicUsize,
    /// Held by who writes the rest.
    writer: Mutex<()>,
    stop: AtomicBool,
    hold: AtomicBool,
}

/// Bytes that are packed before somebody can stop or hold it.
const PIECE: usize = 1 << 20;

/// How often a thread that waits looks.
const TURN: Duration = Duration::from_millis(1);

impl Packing {
    /// Memory of some bytes for these tensors.
    ///
    /// # Errors
    /// If there is none.
    pub(super) fn new(isa: Enabled, jobs: Jobs, bytes: usize) -> Result<Self, ExecError> {
        let memory = MmapMut::map_anon(bytes)
            .map_err(|e| ExecError::OutOfMemory(format!("{bytes} bytes for packed weights: {e}")))?;
        #[cfg(target_os = "linux")]
        let _ = memory.advise(memmap2::Advice::HugePage); // without, it is only slower
        let memory = memory.into();
        let [stop, hold] = [const { AtomicBool::new(false) }; 2];
        Ok(Self { isa, jobs, memory, done: AtomicUsize::new(0), writer: Mutex::new(()), stop, hold })
    }

    /// How many tensors there are.
    pub(super) fn len(&self) -> usize {
        self.jobs.len()
    }

    /// Bytes of all of them.
    pub(super) fn bytes(&self) -> u64 {
        self.jobs.iter().map(|(.., place)| place.len() as u64).sum()
    }

    /// Those that are done, without the first `seen`.
    pub(super) fn done_after(&self, seen: usize) -> impl Iterator<Item = (usize, &Tensor)> {
        self.jobs[seen..self.done.load(Acquire)].iter().map(|(i, tensor, ..)| (*i, tensor))
    }

    /// A part of the memory.
    ///
    /// # Safety
    /// It belongs to a tensor that is done.
    pub(super) unsafe fn memory(&self, place: Range<usize>) -> &[u8] {
        assert!(place.start <= place.end && place.end <= self.memory.len());
        // SAFETY: inside of the memory, and by the caller's promise nobody writes there any more.
        unsafe { std::slice::from_raw_parts(self.memory.as_ptr().add(place.start), place.len()) }
    }

    /// Makes whoever runs it return soon, or lets it run again.
    pub(super) fn stop(&self, stop: bool) {
        self.stop.store(stop, Relaxed);
    }

    /// Makes whoever runs it wait, or go on.
    pub(super) fn hold(&self, hold: bool) {
        self.hold.store(hold, Relaxed);
    }

    /// Waits for a first step, but not longer than this, and for its end.
    pub(super) fn wait_for_step(&self, most: Duration) {
        let start = Instant::now();
        while !self.hold.load(Relaxed) && !self.stop.load(Relaxed) && start.elapsed() < most {
            sleep(TURN);
        }
        self.may_go_on();
    }

    /// Waits as long as it is held; false if it is stopped.
    fn may_go_on(&self) -> bool {
        while self.hold.load(Relaxed) && !self.stop.load(Relaxed) {
            sleep(TURN);
        }
        !self.stop.load(Relaxed)
    }

    /// Copies with the threads of a pool, up to the first `most` of the tensors or until it is
    /// stopped. `progress` is told how many bytes are there.
    pub(super) fn run(&self, pool: &Pool, most: usize, progress: &mut dyn FnMut(u64)) {
        let _writer = self.writer.lock().expect("packing does not panic");
        let mut bytes = 0;
        for (i, (_, tensor, layout, place)) in self.jobs.iter().enumerate().take(most) {
            if i < self.done.load(Relaxed) {
                bytes += place.len() as u64;
                continue;
            }
            // SAFETY: only this function writes to the memory, one thread at a time, and nobody reads
            // places that are not done.
            let out = unsafe {
                let first = self.memory.as_mut_ptr().add(place.start);
                std::slice::from_raw_parts_mut(first, place.len())
            };
            let go_on = pack((self.isa, pool), *layout, tensor, out, &mut |written| {
                bytes += written as u64;
                progress(bytes);
                self.may_go_on()
            });
            if !go_on {
                return;
            }
            self.done.store(i + 1, Release);
        }
    }
}
/// Matrices in a tensor.
pub(super) fn count(tensor: &Tensor) -> usize {
    tensor.shape().iter().rev().skip(2).product::<usize>().max(1)
}

/// Packed bytes of all matrices of a tensor.
pub(super) fn len(layout: Layout, tensor: &Tensor) -> usize {
    let rows = tensor.rows() / count(tensor);
    count(tensor) * packed_len((layout, tensor.dtype()), rows, tensor.row_bytes())
}

/// Packs all matrices of a tensor; `progress` is told of bytes of `out` as they are written
/// and says whether to go on. False if it did not.
fn pack(
    (isa, pool): (Enabled, &Pool),
    layout: Layout,
    tensor: &Tensor,
    out: &mut [u8],
    progress: &mut dyn FnMut(usize) -> bool,
) -> bool {
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
        if !progress(out.len()) {
            return false;
        }
    }
    true
}
