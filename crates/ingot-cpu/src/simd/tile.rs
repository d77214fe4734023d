//! Sixteen rows of stored weights, read so that a lane is a row: as they lie in
//! the file, or packed.

use super::{LANES, Simd};

/// Sixteen rows of blocks of fields of 1, 2 or 4 bytes; `offset` is a field's
/// place in the block of one row.
pub(crate) trait Tile: Copy + 'static {
    /// The tile that begins with row `first` of a matrix whose rows have
    /// `row_bytes` bytes; `first` is a multiple of sixteen if it is packed.
    fn new(matrix: &[u8], row_bytes: usize, first: usize) -> Self;
    /// The same rows, `bytes` further on in each.
    ///
    /// # Safety
    /// What is read from there stays within the rows.
    unsafe fn advance(self, bytes: usize) -> Self;
    /// Lane `i` is the little-endian word of row `i`.
    ///
    /// # Safety
    /// The field is inside every row.
    unsafe fn word<S: Simd>(self, s: S, offset: usize) -> S::V;
    /// Four neighboring words.
    ///
    /// # Safety
    /// The fields are inside every row.
    unsafe fn words<S: Simd>(self, s: S, offset: usize) -> [S::V; 4];
    /// Half-precision floats.
    ///
    /// # Safety
    /// The field is inside every row, whose blocks have at least four bytes.
    unsafe fn half<S: Simd>(self, s: S, offset: usize) -> S::F;
    /// Bytes, zero-extended.
    ///
    /// # Safety
    /// The field and three bytes after it are inside every row.
    unsafe fn byte<S: Simd>(self, s: S, offset: usize) -> S::V;
    /// The same tile, if it is packed.
    fn packed(self) -> Option<Packed>;
    /// The first byte that is worth asking for while the first of the tile is
    /// used; what follows it in memory should be asked for as the tile is used,
    /// a few cache lines at a time: many at once hold up what comes after them.
    fn ahead(self, row_bytes: usize) -> *const u8;
}

/// Rows as they lie in the file.
#[derive(Clone, Copy)]
pub(crate) struct Rows {
    base: *const u8,
    stride: usize,
}

impl Rows {
    /// Address of `offset` in row `i`.
    ///
    /// # Safety
    /// `offset` is inside the row.
    #[inline(always)]
    pub(crate) unsafe fn at(self, i: usize, offset: usize) -> *const u8 {
        // SAFETY: row `i` is inside the allocation, by `new`.
        unsafe { self.base.add(i * self.stride + offset) }
    }

    /// Bytes from one row to the next.
    #[inline(always)]
    #[allow(dead_code)] // not every instruction set gathers with it
    pub(crate) fn stride(self) -> usize {
        self.stride
    }
}

impl Tile for Rows {
    #[inline(always)]
    fn new(matrix: &[u8], row_bytes: usize, first: usize) -> Self {
        let rows = &matrix[first * row_bytes..][..LANES * row_bytes];
        Self { base: rows.as_ptr(), stride: row_bytes }
    }
    #[inline(always)]
    unsafe fn advance(self, bytes: usize) -> Self {
        // SAFETY: within the first row, by the caller's promise.
        Self { base: unsafe { self.base.add(bytes) }, ..self }
    }
    #[inline(always)]
    unsafe fn word<S: Simd>(self, s: S, offset: usize) -> S::V {
        // SAFETY: by the caller's promise.
        unsafe { s.gather(self, offset) }
    }
    #[inline(always)]
    unsafe fn words<S: Simd>(self, s: S, offset: usize) -> [S::V; 4] {
        // SAFETY: by the caller's promise.
        unsafe { s.gather4(self, offset) }
    }
    #[inline(always)]
    unsafe fn half<S: Simd>(self, s: S, offset: usize) -> S::F {
        // SAFETY: a word that has the field and is inside the block.
        unsafe {
            match offset.checked_sub(2) {
                Some(before) => s.high_f16(s.gather(self, before)),
                None => s.low_f16(s.gather(self, offset)),
            }
        }
    }
    #[inline(always)]
    unsafe fn byte<S: Simd>(self, s: S, offset: usize) -> S::V {
        // SAFETY: by the caller's promise.
        s.and(unsafe { s.gather(self, offset) }, s.splat(0xff))
    }
    #[inline(always)]
    fn packed(self) -> Option<Packed> {
        None
    }
    #[inline(always)]
    fn ahead(self, row_bytes: usize) -> *const u8 {
        // The next tile follows in memory; as much of it as is used here.
        self.base.wrapping_add(row_bytes * LANES)
    }
}

/// Rows that have been interleaved: each field of sixteen rows side by side,
/// at sixteen times its place in a row.
#[derive(Clone, Copy)]
pub(crate) struct Packed(*const u8);

/// How far ahead packed weights are asked for.
const AHEAD: usize = 8192;

impl Packed {
    /// Address of a field.
    ///
    /// # Safety
    /// The field is inside the rows.
    #[inline(always)]
    unsafe fn at(self, offset: usize) -> *const u8 {
        // SAFETY: by the caller's promise.
        unsafe { self.0.add(LANES * offset) }
    }

    /// Address of the first field.
    #[inline(always)]
    pub(crate) fn first(self) -> *const u8 {
        self.0
    }
}

impl Tile for Packed {
    #[inline(always)]
    fn new(matrix: &[u8], row_bytes: usize, first: usize) -> Self {
        Self(matrix[first * row_bytes..][..LANES * row_bytes].as_ptr())
    }
    #[inline(always)]
    unsafe fn advance(self, bytes: usize) -> Self {
        // SAFETY: by the caller's promise.
        Self(unsafe { self.at(bytes) })
    }
    #[inline(always)]
    unsafe fn word<S: Simd>(self, s: S, offset: usize) -> S::V {
        // SAFETY: sixty-four bytes, by the caller's promise.
        s.load(unsafe { &*self.at(offset).cast() })
    }
    #[inline(always)]
    unsafe fn words<S: Simd>(self, s: S, offset: usize) -> [S::V; 4] {
        // SAFETY: by the caller's promise.
        unsafe {
            let word = |i: usize| &*self.at(offset + 4 * i).cast();
            [s.load(word(0)), s.load(word(1)), s.load(word(2)), s.load(word(3))]
        }
    }
    #[inline(always)]
    unsafe fn half<S: Simd>(self, s: S, offset: usize) -> S::F {
        // SAFETY: thirty-two bytes, by the caller's promise.
        unsafe { s.read_f16(self.at(offset)) }
    }
    #[inline(always)]
    unsafe fn byte<S: Simd>(self, s: S, offset: usize) -> S::V {
        // SAFETY: sixteen bytes, by the caller's promise.
        s.widen_bytes(unsafe { &*self.at(offset).cast() })
    }
    #[inline(always)]
    fn packed(self) -> Option<Packed> {
        Some(self)
    }
    #[inline(always)]
    fn ahead(self, _: usize) -> *const u8 {
        self.0.wrapping_add(AHEAD)
    }
}
