//! The plan's weights on the device.
//!
//! Matrices stay as they lie in the file, in the mapping itself, where the device
//! shares the host's memory; else they are copied, blocks of some types in [`eights`]. Vectors are kept in f32. Matrices of experts that are
//! tensors of their own are copied to follow each other, as kernels expect it.

use crate::device::{Device, DeviceError};
use crate::eights;
use ingot_format::{Bytes, Tensor};
use ingot_plan::ops::Stack;
use ingot_plan::{Op, Plan, WeightId};
use std::collections::BTreeSet;

/// Alignment of a weight that is copied, and least alignment of one that is not.
const ALIGN: usize = 256;
const LEAST_ALIGN: usize = 32;
/// Weights are copied into buffers of about this size, which every device can allocate.
const CHUNK: usize = 1 << 30;
/// Bytes that are arranged at a time.
const ARRANGED: usize = 64 << 20;

pub(super) struct Weights<D: Device> {
    buffers: Vec<D::Buffer>,
    places: Vec<Place>,
}

/// A part of one of the buffers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) buffer: usize,
    pub(super) at: usize,
    pub(super) bytes: usize,
}

impl<D: Device> Weights<D> {
    /// Puts all weights where the device can read them.
    pub(super) fn new(
        device: &D,
        plan: &Plan,
        tensors: &[Tensor],
        eights: bool,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Self, DeviceError> {
        let matrices = matrices(plan);
        let mut weights = Self { buffers: Vec::new(), places: Vec::new() };
        let units = units(plan);
        let alone = units.iter().filter(|unit| unit.len() == 1).map(|unit| unit[0]);
        let as_stored =
            |i: &usize| matrices.contains(i) && !(eights && eights::is_arranged(tensors[*i].dtype()));
        let adopted = weights.adopt(device, tensors, alone.filter(as_stored))?;
        let sizes: Vec<usize> = tensors
            .iter()
            .enumerate()
            .map(|(i, t)| match matrices.contains(&i) {
                true if eights => arranged_bytes(t).unwrap_or(t.data().len()),
                true => t.data().len(),
                false => 4 * t.len(),
            })
            .collect();
        let copied = |i: &usize| adopted[*i].is_none();
        let total: usize = (0..tensors.len()).filter(copied).map(|i| sizes[i]).sum();
        let mut done = 0;
        let mut places = adopted;
        let mut pending: Vec<_> = units.into_iter().filter(|unit| places[unit[0]].is_none()).collect();
        while !pending.is_empty() {
            let mut bytes = 0;
            let fitting = pending.iter().take_while(|unit| {
                let size: usize = unit.iter().map(|&i| sizes[i]).sum();
                let fits = bytes == 0 || bytes + size <= CHUNK;
                if fits {
                    let (mut at, buffer) = (bytes, weights.buffers.len());
                    for &i in *unit {
                        places[i] = Some(Place { buffer, at, bytes: sizes[i] });
                        at += sizes[i];
                    }
                    // The first stands for all of them.
                    places[unit[0]] = Some(Place { buffer, at: bytes, bytes: size });
                    bytes = at.next_multiple_of(ALIGN);
                }
                fits
            });
            let batch = fitting.count();
            let batch: Vec<usize> = pending.drain(..batch).flatten().collect();
            let buffer = device.alloc(bytes.max(1))?;
            for i in batch {
                let at = places[i].expect("just placed").at;
                match matrices.contains(&i) {
                    true if eights && eights::is_arranged(tensors[i].dtype()) => {
                        write_arranged(device, &buffer, at, &tensors[i])?;
                    }
                    true => device.write(&buffer, at, tensors[i].data())?,
                    false => device.write(&buffer, at, &floats(&tensors[i]))?,
                }
                done += sizes[i];
                progress(done as u64, total as u64);
            }
            weights.buffers.push(buffer);
        }
        weights.places = places.into_iter().map(|p| p.expect("adopted or copied")).collect();
        Ok(weights)
    }

    /// Takes matrices over in place where that is possible.
    fn adopt(
        &mut self,
        device: &D,
        tensors: &[Tensor],
        matrices: impl Iterator<Item = usize>,
    ) -> Result<Vec<Option<Place>>, DeviceError> {
        let mut places = vec![None; tensors.len()];
        if !device.info().shares_memory {
            return Ok(places);
        }
        let mut files: Vec<(*const u8, Option<usize>)> = Vec::new();
        for i in matrices {
            let (whole, at): (Bytes, usize) = tensors[i].data().whole();
            // A device takes over whole pages, so they have to be the file's alone.
            if !whole.is_mapped() || !at.is_multiple_of(LEAST_ALIGN) {
                continue;
            }
            let known = files.iter().find(|(start, _)| *start == whole.as_ptr());
            let buffer = match known {
                Some((_, buffer)) => *buffer,
                None => {
                    let buffer = device.adopt(&whole)?.map(|b| {
                        self.buffers.push(b);
                        self.buffers.len() - 1
                    });
                    files.push((whole.as_ptr(), buffer));
                    buffer
                }
            };
            places[i] = buffer.map(|buffer| Place { buffer, at, bytes: tensors[i].data().len() });
        }
        Ok(places)
    }

    pub(super) fn place(&self, id: WeightId) -> Place {
        self.places[id.index()]
    }
    pub(super) fn buffers(&self) -> &[D::Buffer] {
        &self.buffers
    }
}

/// Indices of the weights that are read as they are stored: tables and matrices.
/// All others are vectors, and kept in f32.
pub fn matrices(plan: &Plan) -> BTreeSet<usize> {
    let of = |op: &Op| -> Vec<WeightId> {
        match op {
            Op::Embed(op) => vec![op.table],
            Op::Linear(op) => op.parts.iter().map(|p| p.weight).collect(),
            Op::Experts(op) => {
                [&op.gate, &op.up, &op.down].into_iter().flat_map(Stack::ids).copied().collect()
            }
            _ => Vec::new(),
        }
    };
    plan.ops().iter().flat_map(of).map(|id| id.index()).collect()
}

/// All weights in sets that lie together, each in its order: those of a stack, every other alone.
fn units(plan: &Plan) -> Vec<Vec<usize>> {
    let stacks = plan.ops().iter().flat_map(|op| match op {
        Op::Experts(op) => vec![&op.gate, &op.up, &op.down],
        _ => Vec::new(),
    });
    let indices = |stack: &Stack| stack.ids().iter().map(|id| id.index()).collect::<Vec<_>>();
    let mut units: Vec<Vec<usize>> = stacks.map(indices).collect();
    let mut taken = vec![false; plan.weights().len()];
    units.iter().flatten().for_each(|&i| taken[i] = true);
    units.extend((0..taken.len()).filter(|&i| !taken[i]).map(|i| vec![i]));
    units.sort();
    units
}

/// Columns of a matrix, or of the matrices of a stack.
fn columns(tensor: &Tensor) -> usize {
    tensor.shape().last().copied().unwrap_or(1)
}

/// Bytes of a matrix in eights, if its type comes so.
fn arranged_bytes(tensor: &Tensor) -> Option<usize> {
    let cols = columns(tensor);
    Some(eights::row_bytes(tensor.dtype(), cols)? * (tensor.len() / cols))
}

/// Writes a matrix in eights, arranged by all processors, a few rows after the other.
fn write_arranged<D: Device>(
    device: &D,
    buffer: &D::Buffer,
    at: usize,
    tensor: &Tensor,
) -> Result<(), DeviceError> {
    let (dtype, cols) = (tensor.dtype(), columns(tensor));
    let from = dtype.row_bytes(cols).expect("whole blocks");
    let to = eights::row_bytes(dtype, cols).expect("of a type that comes so");
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    let rows = (ARRANGED / to).clamp(1, (tensor.len() / cols).max(1)); // at a time
    let mut staging = vec![0; rows * to];
    for (n, piece) in tensor.data().chunks(rows * from).enumerate() {
        let staged = &mut staging[..piece.len() / from * to];
        let each = (piece.len() / from).div_ceil(threads);
        std::thread::scope(|scope| {
            for (rows, out) in piece.chunks(each * from).zip(staged.chunks_mut(each * to)) {
                scope.spawn(move || eights::arrange(dtype, cols, rows, out));
            }
        });
        device.write(buffer, at + n * rows * to, staged)?;
    }
    Ok(())
}

fn floats(tensor: &Tensor) -> Vec<u8> {
    let mut values = vec![0.0f32; tensor.len()];
    tensor.dtype().dequantize(tensor.data(), &mut values);
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
}
