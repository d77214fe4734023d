//! Block types as the kernels see them.
//!
//! Sixteen rows are unpacked at a time, straight into the layout that byte dot
//! products want: lane `i` of a vector holds four neighbouring columns of row
//! `i`. The transposition happens on the packed bytes, before nibbles and bits
//! are taken apart, so that it costs little even when a group is used once.
//! Every type describes only where its bits are; what is done with them is
//! written once, in [`crate::linear`].

mod float;
mod k;
mod legacy;
mod table;

pub(crate) use float::{Bf16, F16, F32, Float};
pub(crate) use k::{Q2K, Q3K, Q4K, Q5K, Q6K};
pub(crate) use legacy::{Q4_0, Q4_1, Q5_0, Q5_1, Q8_0};
pub(crate) use table::{Iq4Nl, Iq4Xs, Mxfp4};

use crate::simd::{Simd, Tile};

/// Columns of a group, for all types.
pub(crate) const GROUP: usize = 32;

/// A group of 32 columns of sixteen rows:
/// `value = scale * (byte - OFFSET) - min`.
pub(crate) struct Group<S: Simd> {
    /// Columns 4j..4j+4 in vector j.
    pub(crate) q: [S::V; 8],
    /// Of columns 0..16 and 16..32; equal unless [`Kind::HALVES`].
    pub(crate) scale: [S::F; 2],
    /// As the scales; only with [`Kind::MIN`].
    pub(crate) min: [S::F; 2],
}

/// Takes the groups of a block, in ascending order.
pub(crate) trait Sink<S: Simd> {
    /// Takes one group.
    fn put(&mut self, group: Group<S>);
}

/// What is common to types whose groups are multiplied in the same way.
pub(crate) trait Kind: 'static {
    /// Bytes are signed (and have gone through [`Simd::signed`]); otherwise
    /// unsigned and at most 127.
    const SIGNED: bool = false;
    /// There is an offset.
    const CENTERED: bool = false;
    /// Columns 16..32 of a group have a scale (and minimum) of their own.
    const HALVES: bool = false;
    /// There is a minimum.
    const MIN: bool = false;
}

/// Signed bytes.
pub(crate) struct Signed;
/// Unsigned bytes less an offset.
pub(crate) struct Centered;
/// Unsigned bytes and a minimum.
pub(crate) struct Affine;
/// As [`Centered`], with a scale for each half of a group.
pub(crate) struct CenteredHalves;
/// As [`Affine`], with a scale and a minimum for each half of a group.
pub(crate) struct AffineHalves;

impl Kind for Signed {
    const SIGNED: bool = true;
}
impl Kind for Centered {
    const CENTERED: bool = true;
}
impl Kind for Affine {
    const MIN: bool = true;
}
impl Kind for CenteredHalves {
    const CENTERED: bool = true;
    const HALVES: bool = true;
}
impl Kind for AffineHalves {
    const MIN: bool = true;
    const HALVES: bool = true;
}

/// A quantized type.
pub(crate) trait Block: 'static {
    /// How its groups are multiplied.
    type Kind: Kind;
    /// Bytes of a block of one row.
    const BYTES: usize;
    /// Groups in a block.
    const GROUPS: usize;
    /// Bytes of the field before the first word, if there is one.
    const HEAD: usize = 0;
    /// What is subtracted from a byte, if the kind is centered.
    const OFFSET: i32 = 0;

    /// Unpacks a block of each row, calling `sink` `GROUPS` times.
    ///
    /// # Safety
    /// The rows have `BYTES` bytes.
    unsafe fn unpack<S: Simd>(s: S, tile: impl Tile, sink: &mut impl Sink<S>);
}

/// A type whose matrices can be laid out column by column.
pub(crate) trait Columnar: Block {
    /// Bytes of a block before its values, which fill the rest.
    const HEADER: usize;
    /// How far apart the two columns are whose nibbles share a byte; none if each
    /// has a byte of its own.
    const APART: usize;

    /// Scale and minimum of each of a block's `GROUPS` groups; the others are
    /// whatever is cheap.
    ///
    /// # Safety
    /// The rows have `HEADER` bytes.
    unsafe fn scales<S: Simd>(s: S, tile: impl Tile) -> [(S::F, S::F); 8];
}

/// The body once for each constant.
macro_rules! unrolled {
    ($name:ident in [$($value:literal),*] $body:block) => {
        $({
            const $name: usize = $value;
            $body
        })*
    };
}
use unrolled;

/// The same four bits of every byte: the low (`shift` 0) or the high ones (4).
#[inline(always)]
fn nibbles<S: Simd, const N: usize>(s: S, v: [S::V; N], shift: u32) -> [S::V; N] {
    let mask = s.splat_u8(0x0f);
    v.map_inline(|v| s.and(s.shr(v, shift), mask))
}

/// Two vectors of columns 0..16 and 16..32 put together.
#[inline(always)]
fn join<V: Copy>(a: [V; 4], b: [V; 4]) -> [V; 8] {
    [a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3]]
}

/// Byte `j` of every lane as an integer.
#[inline(always)]
fn byte<S: Simd>(s: S, v: S::V, j: u32) -> S::V {
    s.and(s.shr(v, 8 * j), s.splat(0xff))
}

/// Byte `j` of every lane as a signed integer.
#[inline(always)]
fn signed_byte<S: Simd>(s: S, v: S::V, j: u32) -> S::V {
    s.sar(s.shl(v, 24 - 8 * j), 24)
}

/// Thirty-two bytes of each row.
///
/// # Safety
/// They are inside the rows.
#[inline(always)]
unsafe fn words8<S: Simd>(s: S, tile: impl Tile, offset: usize) -> [S::V; 8] {
    // SAFETY: by the caller's promise.
    unsafe { join(tile.words(s, offset), tile.words(s, offset + 16)) }
}

/// `array::map` that is sure to be inlined into the function that enables the
/// instructions, as its closure then is too.
trait MapInline<T, const N: usize> {
    fn map_inline(self, f: impl Fn(T) -> T) -> [T; N];
}

impl<T: Copy, const N: usize> MapInline<T, N> for [T; N] {
    #[inline(always)]
    fn map_inline(mut self, f: impl Fn(T) -> T) -> [T; N] {
        for x in &mut self {
            *x = f(*x);
        }
        self
    }
}
