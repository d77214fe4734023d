//! Packing rows into blocks on several threads, and how much that loses.

use crate::Weight;
use crate::weight::Reader;
use crate::write::Loss;
use ingot_format::DType;
use std::ops::Range;
use std::sync::Mutex;
use std::thread;

/// Values that a thread takes at a time: their floats stay in its caches.
const PIECE: usize = 1 << 16;
/// Values that are packed between two writes.
const WAVE: usize = 1 << 22;

/// A weight on its way into a file.
pub(crate) struct Packer<'a> {
    weight: &'a Weight,
    reader: Reader<'a>,
    dtype: DType,
    /// Of the columns, for each matrix of rows.
    importance: Option<&'a [f32]>,
    threads: usize,
}

impl<'a> Packer<'a> {
    /// `importance` has a value for each column of each matrix.
    pub(crate) fn new(
        weight: &'a Weight,
        dtype: DType,
        importance: Option<&'a [f32]>,
        threads: usize,
    ) -> Self {
        Self { weight, reader: weight.reader(), dtype, importance, threads: threads.max(1) }
    }

    /// Packs all rows in order and hands the bytes to `sink`, some megabytes at a
    /// time. What went wrong with a value is an error that names it.
    pub(crate) fn run<E: From<String>>(
        &self,
        mut sink: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<Loss, E> {
        let (rows, cols) = (self.weight.rows(), self.weight.cols());
        let row_bytes = self.dtype.row_bytes(cols).expect("rows are whole blocks");
        let piece = (PIECE / cols).max(1);
        let wave = (WAVE / cols).next_multiple_of(piece).max(piece);
        let mut packed = vec![0; wave.min(rows) * row_bytes];
        let mut loss = Loss::default();
        for start in (0..rows).step_by(wave) {
            let rows = start..rows.min(start + wave);
            let packed = &mut packed[..rows.len() * row_bytes];
            let mut losses = vec![Loss::default(); rows.len().div_ceil(piece)];
            let pieces = packed.chunks_mut(piece * row_bytes).zip(&mut losses).enumerate();
            let pieces = Mutex::new(pieces);
            let work = || {
                let (mut values, mut again) = (vec![0.0; piece * cols], vec![0.0; piece * cols]);
                loop {
                    let next = pieces.lock().expect("nothing panics with it").next();
                    let Some((i, (packed, loss))) = next else { return };
                    let first = start + i * piece;
                    let rows = first..rows.end.min(first + piece);
                    let len = rows.len() * cols;
                    self.reader.read(rows.clone(), &mut values[..len]);
                    self.pack(rows, &values[..len], packed);
                    self.dtype.dequantize(packed, &mut again[..len]);
                    *loss = Loss::between(&values[..len], &again[..len]);
                }
            };
            thread::scope(|scope| {
                for _ in 1..self.threads.min(rows.len().div_ceil(piece)) {
                    scope.spawn(work);
                }
                work();
            });
            // In order, so that sums do not depend on who was faster.
            losses.iter().for_each(|piece| loss.add(piece));
            if let Some(problem) = loss.problem(self.dtype) {
                return Err(format!("tensor '{}' {problem}", self.weight.name()).into());
            }
            sink(packed)?;
        }
        Ok(loss)
    }

    fn pack(&self, rows: Range<usize>, values: &[f32], packed: &mut [u8]) {
        let Some(importance) = self.importance else { return self.dtype.quantize(values, packed) };
        let cols = self.weight.cols();
        let row_bytes = packed.len() / rows.len();
        let per_matrix = self.weight.rows() / (importance.len() / cols);
        let mut at = rows.start;
        while at < rows.end {
            let matrix = at / per_matrix;
            let end = rows.end.min((matrix + 1) * per_matrix);
            let local = at - rows.start..end - rows.start;
            self.dtype.quantize_weighted(
                &values[local.start * cols..local.end * cols],
                &importance[matrix * cols..(matrix + 1) * cols],
                &mut packed[local.start * row_bytes..local.end * row_bytes],
            );
            at = end;
        }
    }
}
