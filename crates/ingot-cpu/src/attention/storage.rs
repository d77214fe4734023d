//! How one head's keys and values lie in a page.
//!
//! Attention wants keys with positions as lanes and values with channels as
//! lanes, so that no product is summed across lanes. So sixteen keys at a time
//! are stored transposed, and a row of values is padded to whole vectors:
//!
//! ```text
//! F16, F32  keys    [PAGE / 16][N][16]        values  [PAGE][N in whole vectors]
//! Q8_0      keys    [PAGE / 16][N][16], then  values  [PAGE][N], then
//!           scales  [PAGE / 16][N / 32][16]   scales  [PAGE][N / 32]
//! ```
//! Pages that are saved have another order, the plan's: positions one after the
//! other, and of each its heads' channels ([`Storage::export`]).

use super::lines::{Line, values, values_mut};
use super::product::Right;
use crate::simd::{LANES, Simd};
use crate::vector::load_part;
use ingot_plan::PAGE;

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
    /// A page's keys as they are stored, `[N][STRIPS]`.
    type Keys<'a>: Right;
    /// A page's values as they are stored, `[PAGE][vectors(N)]`.
    type Values<'a>: Right;

    /// A page's keys; `scales` is [`scale_lines`] to work in.
    fn keys<'a, S: Simd>(s: S, half: Stored<'a>, size: usize, scales: &'a mut [Line]) -> Self::Keys<'a>;
    /// A page's values; `scales` is [`scale_lines`] to work in.
    fn values<'a, S: Simd>(s: S, half: Stored<'a>, size: usize, scales: &'a mut [Line]) -> Self::Values<'a>;

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

/// A head's keys or values of a page, and where those are that are needed next:
/// while the one are read, the others are asked for, since no processor guesses
/// where the next page is.
#[derive(Clone, Copy)]
pub(crate) struct Stored<'a> {
    lines: &'a [Line],
    /// Bytes from here to the next.
    step: isize,
}

impl<'a> Stored<'a> {
    pub(crate) fn new(lines: &'a [Line], next: &'a [Line]) -> Self {
        Self { lines, step: (next.as_ptr() as isize).wrapping_sub(lines.as_ptr() as isize) }
    }
}

/// Asks for what comes `step` bytes after these values.
#[inline(always)]
fn ask<S: Simd, T>(s: S, values: &[T], step: isize) {
    let first = values.as_ptr().cast::<u8>().wrapping_offset(step);
    for at in (0..size_of_val(values)).step_by(Line::BYTES) {
        s.prefetch(first.wrapping_add(at));
    }
}

/// A channel of `V` strips of keys, `[STRIPS][N]`, from strip `at` on; asks for
/// what comes `step` bytes later once per line.
///
/// # Safety
/// There are as many channels and strips.
#[inline(always)]
unsafe fn keys_of<S: Simd, E, const V: usize>(
    s: S,
    keys: &[[E; LANES]],
    size: usize,
    channel: usize,
    at: usize,
    step: isize,
) -> [&[E; LANES]; V] {
    let mut out = [&keys[0]; V];
    for v in 0..V {
        // SAFETY: by the caller's promise.
        out[v] = unsafe { keys.get_unchecked((at + v) * size + channel) };
    }
    if channel.is_multiple_of(Line::BYTES / size_of::<[E; LANES]>()) {
        for v in 0..V {
            ask(s, out[v], step);
        }
    }
    out
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

    type Keys<'a> = PlainKeys<'a, E>;
    type Values<'a> = PlainValues<'a, E>;

    #[inline(always)]
    fn keys<'a, S: Simd>(_: S, half: Stored<'a>, size: usize, _: &'a mut [Line]) -> PlainKeys<'a, E> {
        PlainKeys { data: &values(half.lines).as_chunks().0[..STRIPS * size], size, step: half.step }
    }

    #[inline(always)]
    fn values<'a, S: Simd>(_: S, half: Stored<'a>, size: usize, _: &'a mut [Line]) -> PlainValues<'a, E> {
        let vectors = vectors(size);
        PlainValues { data: &values(half.lines).as_chunks().0[..PAGE * vectors], vectors, step: half.step }
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

/// Keys of a [`Plain`] page.
#[derive(Clone, Copy)]
pub(crate) struct PlainKeys<'a, E> {
    /// `[STRIPS][N]`
    data: &'a [[E; LANES]],
    /// N
    size: usize,
    step: isize,
}

impl<E: Element> Right for PlainKeys<'_, E> {
    const MULTIPLE: usize = STRIPS;

    #[inline(always)]
    fn shape(self) -> [usize; 2] {
        [self.size, STRIPS]
    }

    #[inline(always)]
    unsafe fn row<S: Simd, const V: usize>(self, s: S, row: usize, at: usize) -> [S::F; V] {
        // SAFETY: inside of the shape.
        let keys = unsafe { keys_of::<S, E, V>(s, self.data, self.size, row, at, self.step) };
        let mut out = [s.splat_f(0.0); V];
        for v in 0..V {
            out[v] = E::load(s, keys[v]);
        }
        out
    }
}

/// Values of a [`Plain`] page.
#[derive(Clone, Copy)]
pub(crate) struct PlainValues<'a, E> {
    /// `[PAGE][vectors]`
    data: &'a [[E; LANES]],
    vectors: usize,
    step: isize,
}

impl<E: Element> Right for PlainValues<'_, E> {
    #[inline(always)]
    fn shape(self) -> [usize; 2] {
        [PAGE, self.vectors]
    }

    #[inline(always)]
    unsafe fn row<S: Simd, const V: usize>(self, s: S, row: usize, at: usize) -> [S::F; V] {
        let first = row * self.vectors + at;
        // SAFETY: inside of the shape.
        let values = unsafe { self.data.get_unchecked(first..first + V) };
        ask(s, values, self.step);
        let mut out = [s.splat_f(0.0); V];
        for v in 0..V {
            out[v] = E::load(s, &values[v]);
        }
        out
    }
}

/// Blocks of 32 channels: a scale in half precision and 8 bits each, as
/// `ingot-format` and the GPUs' kernels have it.
pub(crate) struct Blocks;

/// Channels of a block.
const BLOCK: usize = 32;
/// Bytes of a block in the plan's order.
const BLOCK_BYTES: usize = 2 + BLOCK;

/// Where a block is: its scale and its first channel, in bytes, and how far the
/// channels are apart.
#[inline(always)]
fn block_place(which: Half, size: usize, position: usize, block: usize) -> (usize, usize, usize) {
    let blocks = size / BLOCK;
    match which {
        Half::Keys => {
            let (strip, lane) = (position / LANES * blocks + block, position % LANES);
            (PAGE * size + 2 * (strip * LANES + lane), strip * BLOCK * LANES + lane, LANES)
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

    type Keys<'a> = BlockKeys<'a>;
    type Values<'a> = BlockValues<'a>;

    #[inline(always)]
    fn keys<'a, S: Simd>(s: S, half: Stored<'a>, size: usize, scales: &'a mut [Line]) -> BlockKeys<'a> {
        let (data, scales) = widen_scales(s, half, size, scales);
        let scales = &scales[..STRIPS * size / BLOCK];
        BlockKeys { data, scales, blocks: size / BLOCK, step: half.step }
    }

    #[inline(always)]
    fn values<'a, S: Simd>(s: S, half: Stored<'a>, size: usize, scales: &'a mut [Line]) -> BlockValues<'a> {
        let (data, scales) = widen_scales(s, half, size, scales);
        let scales = &values::<f32>(scales)[..PAGE * size / BLOCK];
        BlockValues { data, scales, blocks: size / BLOCK, step: half.step }
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

/// The channels, and the scales in single precision.
#[inline(always)]
fn widen_scales<'a, S: Simd>(
    s: S,
    half: Stored<'a>,
    size: usize,
    out: &'a mut [Line],
) -> (&'a [[i8; LANES]], &'a [Line]) {
    let (data, scales) = values::<i8>(half.lines).split_at(PAGE * size);
    ask(s, scales, half.step);
    for (scales, out) in scales.as_chunks::<{ 2 * LANES }>().0.iter().zip(&mut *out) {
        // SAFETY: sixteen scales of two bytes.
        s.store_f(unsafe { s.read_f16(scales.as_ptr().cast()) }, &mut out.0);
    }
    (data.as_chunks().0, out)
}

/// Lines of the scales of a page's keys or values, widened.
pub(crate) fn scale_lines(size: usize) -> usize {
    STRIPS * size.div_ceil(BLOCK)
}

/// Keys of a page of [`Blocks`].
#[derive(Clone, Copy)]
pub(crate) struct BlockKeys<'a> {
    /// `[STRIPS][32 * blocks]`
    data: &'a [[i8; LANES]],
    /// `[STRIPS][blocks]`
    scales: &'a [Line],
    /// Blocks of a key.
    blocks: usize,
    step: isize,
}

impl Right for BlockKeys<'_> {
    const MULTIPLE: usize = STRIPS;

    #[inline(always)]
    fn shape(self) -> [usize; 2] {
        [self.blocks * BLOCK, STRIPS]
    }

    #[inline(always)]
    unsafe fn row<S: Simd, const V: usize>(self, s: S, row: usize, at: usize) -> [S::F; V] {
        // SAFETY: inside of the shape.
        let keys = unsafe { keys_of::<S, i8, V>(s, self.data, self.blocks * BLOCK, row, at, self.step) };
        let mut out = [s.splat_f(0.0); V];
        for v in 0..V {
            // SAFETY: as above.
            let scale = unsafe { self.scales.get_unchecked((at + v) * self.blocks + row / BLOCK) };
            out[v] = s.mul(s.to_f(s.load_i8(keys[v])), s.load_f(&scale.0));
        }
        out
    }
}

/// Values of a page of [`Blocks`].
#[derive(Clone, Copy)]
pub(crate) struct BlockValues<'a> {
    /// `[PAGE][2 * blocks]`
    data: &'a [[i8; LANES]],
    /// `[PAGE][blocks]`
    scales: &'a [f32],
    /// Blocks of a position's values.
    blocks: usize,
    step: isize,
}

impl Right for BlockValues<'_> {
    const MULTIPLE: usize = 2;

    #[inline(always)]
    fn shape(self) -> [usize; 2] {
        [PAGE, 2 * self.blocks]
    }

    #[inline(always)]
    unsafe fn row<S: Simd, const V: usize>(self, s: S, row: usize, at: usize) -> [S::F; V] {
        let first = row * 2 * self.blocks + at;
        // SAFETY: inside of the shape.
        let values = unsafe { self.data.get_unchecked(first..first + V) };
        ask(s, values, self.step);
        let mut out = [s.splat_f(0.0); V];
        for v in 0..V {
            // SAFETY: as above; a block is two vectors.
            let scale = unsafe { *self.scales.get_unchecked(row * self.blocks + (at + v) / 2) };
            out[v] = s.mul(s.to_f(s.load_i8(&values[v])), s.splat_f(scale));
        }
        out
    }
}
