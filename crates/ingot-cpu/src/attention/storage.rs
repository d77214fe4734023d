//! How one head's keys and values lie in a page.
//!
//! Attention wants keys with positions as lanes and values with channels as
//! lanes, so that no product is summed across lanes. So sixteen keys at a time
//! are stored transposed, and a row of values is padded to whole vectors:
//!
//! ```text
//! F16, F32  keys    [PAGE / 16][N][16]        values  [PAGE][N in whole vectors]
//! Q8_0      keys    [PAGE / 16][N / 32] of    values  [PAGE][N], then
//!                     scales [16], [32][16]   scales  [PAGE][N / 32]
//! ```
//! Pages that are saved have another order, the plan's: positions one after the
//! other, and of each its heads' channels ([`Storage::export`]).

use super::lines::{Line, values, values_mut};
use crate::simd::{LANES, Simd};
use crate::vector::load_part;
use ingot_plan::PAGE;
use std::ops::Range;

/// Does something with the [`Storage`] of a cache's type: F16, F32 or Q8_0.
macro_rules! stored {
    ($dtype:expr, $storage:ident => $body:expr) => {
        match $dtype {
            ingot_format::DType::F32 => {
                type $storage = $crate::attention::storage::Plain<f32>;
                $body
            }
            ingot_format::DType::Q8_0 => {
                type $storage = $crate::attention::storage::Blocks;
                $body
            }
            _ => {
                type $storage = $crate::attention::storage::Plain<u16>;
                $body
            }
        }
    };
}
pub(crate) use stored;

/// Vectors of positions in a page.
pub(crate) const STRIPS: usize = PAGE / LANES;

/// A head's keys or its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Half {
    Keys,
    Values,
}

/// A way to store keys and values.
pub(crate) trait Storage: 'static {
    /// Channels that cannot be told apart from each other.
    const BLOCK: usize;

    /// Bytes of `size` channels in the plan's order.
    fn row_bytes(size: usize) -> usize;
    /// Lines of a page's keys of a head.
    fn key_lines(size: usize) -> usize;
    /// Lines of a page's values of a head.
    fn value_lines(size: usize) -> usize;

    /// Rounds a position's key or value and stores it. `half`: the head's keys or
    /// values of a page; `x`: `[N]`.
    fn store<S: Simd>(s: S, which: Half, half: &mut [Line], position: usize, x: &[f32]);
    /// Widens strips of sixteen keys; `out`: `[N][STRIPS]`.
    fn widen_keys<S: Simd>(s: S, keys: &[Line], size: usize, strips: Range<usize>, out: &mut [Line]);
    /// Widens some positions' values; `out`: `[PAGE][vectors(N)]`.
    fn widen_values<S: Simd>(s: S, values: &[Line], size: usize, positions: Range<usize>, out: &mut [Line]);

    /// A position's key or value in the plan's order, [`row_bytes`](Self::row_bytes).
    fn export(which: Half, half: &[Line], size: usize, position: usize, out: &mut [u8]);
    /// Puts back what [`export`](Self::export) gave.
    fn import(which: Half, half: &mut [Line], size: usize, position: usize, bytes: &[u8]);
}

/// Vectors that hold `size` channels.
#[inline(always)]
pub(crate) fn vectors(size: usize) -> usize {
    size.div_ceil(LANES)
}

/// Values as they are, of one of two types.
pub(crate) trait Element: super::lines::Bits + Default {
    /// Sixteen values.
    fn load<S: Simd>(s: S, x: &[Self; LANES]) -> S::F;
    /// Sixteen values, rounded to nearest.
    fn store<S: Simd>(s: S, v: S::F, x: &mut [Self; LANES]);
    /// Little-endian bytes into `out`, which has the length of a value.
    fn put(self, out: &mut [u8]);
    /// The value of little-endian bytes.
    fn parse(bytes: &[u8]) -> Self;
}

macro_rules! elements {
    ($($(#[$meta:meta])* $type:ty: $load:ident, $store:ident;)*) => {$(
        $(#[$meta])*
        impl Element for $type {
            #[inline(always)]
            fn load<S: Simd>(s: S, x: &[Self; LANES]) -> S::F {
                s.$load(x)
            }
            #[inline(always)]
            fn store<S: Simd>(s: S, v: S::F, x: &mut [Self; LANES]) {
                s.$store(v, x);
            }
            fn put(self, out: &mut [u8]) {
                out.copy_from_slice(&self.to_le_bytes());
            }
            fn parse(bytes: &[u8]) -> Self {
                Self::from_le_bytes(bytes.try_into().expect("the bytes of a value"))
            }
        }
    )*};
}
elements! {
    f32: load_f, store_f;
    /// Half precision, as its bits.
    u16: load_f16, store_f16;
}

/// Where the value of a channel of a position is.
#[inline(always)]
fn place(which: Half, size: usize, position: usize, channel: usize) -> usize {
    match which {
        Half::Keys => (position / LANES * size + channel) * LANES + position % LANES,
        Half::Values => position * vectors(size) * LANES + channel,
    }
}

/// Values that stand for themselves.
pub(crate) struct Plain<E>(std::marker::PhantomData<E>);

impl<E: Element> Storage for Plain<E> {
    const BLOCK: usize = 1;

    fn row_bytes(size: usize) -> usize {
        size * size_of::<E>()
    }

    fn key_lines(size: usize) -> usize {
        PAGE * size * size_of::<E>() / Line::BYTES
    }

    fn value_lines(size: usize) -> usize {
        PAGE * vectors(size) * LANES * size_of::<E>() / Line::BYTES
    }

    #[inline(always)]
    fn store<S: Simd>(s: S, which: Half, half: &mut [Line], position: usize, x: &[f32]) {
        let half = values_mut::<E>(half);
        for (c, part) in x.chunks(LANES).enumerate() {
            let v = match part.first_chunk() {
                Some(all) => s.load_f(all),
                None => load_part(s, part),
            };
            let mut rounded = [E::default(); LANES];
            E::store(s, v, &mut rounded);
            let at = place(which, x.len(), position, c * LANES);
            match which {
                Half::Keys => {
                    for i in 0..part.len() {
                        half[at + i * LANES] = rounded[i];
                    }
                }
                Half::Values => *half[at..].first_chunk_mut().expect("whole vectors") = rounded,
            }
        }
    }

    #[inline(always)]
    fn widen_keys<S: Simd>(s: S, keys: &[Line], size: usize, strips: Range<usize>, out: &mut [Line]) {
        let (keys, _) = values::<E>(keys).as_chunks::<LANES>();
        let (out, _) = out.as_chunks_mut::<STRIPS>();
        for strip in strips {
            for (key, out) in keys[strip * size..][..size].iter().zip(&mut out[..size]) {
                s.store_f(E::load(s, key), &mut out[strip].0);
            }
        }
    }

    #[inline(always)]
    fn widen_values<S: Simd>(s: S, half: &[Line], size: usize, positions: Range<usize>, out: &mut [Line]) {
        let (half, _) = values::<E>(half).as_chunks::<LANES>();
        let range = positions.start * vectors(size)..positions.end * vectors(size);
        for (value, out) in half[range.clone()].iter().zip(&mut out[range]) {
            s.store_f(E::load(s, value), &mut out.0);
        }
    }

    fn export(which: Half, half: &[Line], size: usize, position: usize, out: &mut [u8]) {
        let half = values::<E>(half);
        for (c, out) in out.chunks_exact_mut(size_of::<E>()).enumerate() {
            half[place(which, size, position, c)].put(out);
        }
    }

    fn import(which: Half, half: &mut [Line], size: usize, position: usize, bytes: &[u8]) {
        let half = values_mut::<E>(half);
        for (c, bytes) in bytes.chunks_exact(size_of::<E>()).enumerate() {
            half[place(which, size, position, c)] = E::parse(bytes);
        }
    }
}

/// Blocks of 32 channels: a scale in half precision and 8 bits each, as
/// `ingot-format` and the GPUs' kernels have it.
pub(crate) struct Blocks;

/// Channels of a block.
const BLOCK: usize = 32;
/// Bytes of a block in the plan's order.
const BLOCK_BYTES: usize = 2 + BLOCK;
/// Bytes of sixteen keys' blocks: their scales, then the channels.
const STRIP_BYTES: usize = LANES * BLOCK_BYTES;

/// Where a block is: its scale and its first channel, in bytes, and how far the
/// channels are apart.
#[inline(always)]
fn block_place(which: Half, size: usize, position: usize, block: usize) -> (usize, usize, usize) {
    let blocks = size / BLOCK;
    match which {
        Half::Keys => {
            let strip = (position / LANES * blocks + block) * STRIP_BYTES;
            let lane = position % LANES;
            (strip + 2 * lane, strip + 2 * LANES + lane, LANES)
        }
        Half::Values => (PAGE * size + 2 * (position * blocks + block), position * size + block * BLOCK, 1),
    }
}

/// Two bytes as they are in memory.
#[inline(always)]
fn scale_at(half: &[i8], at: usize) -> u16 {
    u16::from_le_bytes([half[at] as u8, half[at + 1] as u8])
}

/// The scale and the channels of 32 values.
#[inline(always)]
fn round_block<S: Simd>(s: S, x: &[f32; BLOCK]) -> (u16, [i8; BLOCK]) {
    let halves = [0, LANES].map(|at| *x[at..].first_chunk::<LANES>().expect("half a block"));
    let [a, b] = [s.load_f(&halves[0]), s.load_f(&halves[1])];
    let largest = s.largest(s.max(s.abs(a), s.abs(b)));
    let mut bits = [0; LANES];
    s.store_f16(s.splat_f((largest / 127.0).min(65504.0)), &mut bits);
    let mut scale = [0.0; LANES];
    s.store_f(s.load_f16(&bits), &mut scale);
    let mut out = [0; BLOCK];
    // Whatever is not zero in half precision has a finite quotient.
    if scale[0] > 0.0 {
        let (limit, scale) = (s.splat_f(127.0), s.splat_f(scale[0]));
        let low = s.splat_f(-127.0);
        let q = s.to_i32(s.max(s.min(s.div(a, scale), limit), low));
        s.store_low_bytes(q, out.first_chunk_mut().expect("half a block"));
        let q = s.to_i32(s.max(s.min(s.div(b, scale), limit), low));
        s.store_low_bytes(q, out.last_chunk_mut().expect("half a block"));
    }
    (bits[0], out)
}

impl Storage for Blocks {
    const BLOCK: usize = BLOCK;

    fn row_bytes(size: usize) -> usize {
        size / BLOCK * BLOCK_BYTES
    }

    fn key_lines(size: usize) -> usize {
        PAGE * Self::row_bytes(size) / Line::BYTES
    }

    fn value_lines(size: usize) -> usize {
        PAGE * Self::row_bytes(size) / Line::BYTES
    }

    #[inline(always)]
    fn store<S: Simd>(s: S, which: Half, half: &mut [Line], position: usize, x: &[f32]) {
        let half = values_mut::<i8>(half);
        for (block, part) in x.as_chunks::<BLOCK>().0.iter().enumerate() {
            let (scale, quants) = round_block(s, part);
            let (scale_place, first, step) = block_place(which, x.len(), position, block);
            let bytes = scale.to_le_bytes().map(|b| b as i8);
            half[scale_place..][..2].copy_from_slice(&bytes);
            half[first..].iter_mut().step_by(step).zip(quants).for_each(|(out, q)| *out = q);
        }
    }

    #[inline(always)]
    fn widen_keys<S: Simd>(s: S, keys: &[Line], size: usize, strips: Range<usize>, out: &mut [Line]) {
        let blocks = size / BLOCK;
        let (out, _) = out.as_chunks_mut::<STRIPS>();
        let (units, _) = values::<i8>(keys).as_chunks::<STRIP_BYTES>();
        for strip in strips {
            let units = units[strip * blocks..][..blocks].iter();
            for (unit, out) in units.zip(out.as_chunks_mut::<BLOCK>().0) {
                let (scales, quants) = unit.split_at(2 * LANES);
                // SAFETY: sixteen scales of two bytes.
                let scales = unsafe { s.read_f16(scales.as_ptr().cast()) };
                for (q, out) in quants.as_chunks::<LANES>().0.iter().zip(out) {
                    s.store_f(s.mul(s.to_f(s.load_i8(q)), scales), &mut out[strip].0);
                }
            }
        }
    }

    #[inline(always)]
    fn widen_values<S: Simd>(s: S, half: &[Line], size: usize, positions: Range<usize>, out: &mut [Line]) {
        let blocks = size / BLOCK;
        let (quants, scales) = values::<i8>(half).split_at(PAGE * size);
        let range = positions.start * blocks..positions.end * blocks;
        let (scales, _) = scales.as_chunks::<2>();
        let (quants, _) = quants.as_chunks::<BLOCK>();
        let (out, _) = out.as_chunks_mut::<2>();
        let rows = quants[range.clone()].iter().zip(&scales[range.clone()]);
        for ((q, scale), out) in rows.zip(&mut out[range]) {
            let scale = s.low_f16(s.splat(i32::from(scale_at(scale, 0))));
            let low = q.first_chunk().expect("half a block");
            s.store_f(s.mul(s.to_f(s.load_i8(low)), scale), &mut out[0].0);
            let high = q.last_chunk().expect("half a block");
            s.store_f(s.mul(s.to_f(s.load_i8(high)), scale), &mut out[1].0);
        }
    }

    fn export(which: Half, half: &[Line], size: usize, position: usize, out: &mut [u8]) {
        let half = values::<i8>(half);
        for (block, out) in out.chunks_exact_mut(BLOCK_BYTES).enumerate() {
            let (scale, first, step) = block_place(which, size, position, block);
            let (head, rest) = out.split_at_mut(2);
            head.copy_from_slice(&scale_at(half, scale).to_le_bytes());
            half[first..].iter().step_by(step).zip(rest).for_each(|(q, out)| *out = *q as u8);
        }
    }

    fn import(which: Half, half: &mut [Line], size: usize, position: usize, bytes: &[u8]) {
        let half = values_mut::<i8>(half);
        for (block, bytes) in bytes.chunks_exact(BLOCK_BYTES).enumerate() {
            let (scale, first, step) = block_place(which, size, position, block);
            let (head, rest) = bytes.split_at(2);
            half[scale..][..2].iter_mut().zip(head).for_each(|(out, b)| *out = *b as i8);
            half[first..].iter_mut().step_by(step).zip(rest).for_each(|(out, b)| *out = *b as i8);
        }
    }
}
