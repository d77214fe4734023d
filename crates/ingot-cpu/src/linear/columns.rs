//! The layout for matrices whose inputs are mostly zero: a column is a run of
//! memory, so that one that is not wanted need not be read.
//!
//! A panel is as many rows as make a column one cache line: sixty-four, or
//! 128 where values have four bits. It is a run of memory as long as its rows, block by
//! block: first the fields of the header as in a packed tile, each field's values of
//! all rows side by side, then column after column. Nibbles of the first sixty-four rows are the
//! low ones. In a line, rows are in the order from which [`Simd::turn_bytes`] makes
//! tiles: row `16k + 4l + j` is byte `16l + 4k + j`.

use super::{TILE, with_columns};
use crate::blocks::Columnar;
use crate::isa::Enabled;
use crate::simd::{Kernel, LANES, Packed, Rows, Simd, Tile};
use ingot_format::DType;
use std::marker::PhantomData;

/// Bytes of a column of a panel.
pub(super) const LINE: usize = 64;

/// Tiles of a line whose values have a byte each.
const TILES: usize = LINE / TILE;

/// Groups that are unpacked into tiles together, as many as the largest block has.
pub(super) const CHUNK: usize = 8;

/// How far ahead panels are asked for, at least.
const AHEAD: usize = 8192;

/// [`CHUNK`] groups of a packed tile.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub(super) struct PackedTile([u8; TILE * CHUNK * 34]);

impl PackedTile {
    pub(super) const EMPTY: Self = Self([0; TILE * CHUNK * 34]);

    /// Its bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Rows of a panel.
pub(super) const fn panel_rows<B: Columnar>() -> usize {
    if B::APART > 0 { 2 * LINE } else { LINE }
}

/// Rows of a panel of a type; none for types that have no such layout.
pub(crate) fn panel_of(dtype: DType) -> Option<usize> {
    with_columns!(dtype, B => Some(panel_rows::<B>()), None)
}

/// A tile of a panel.
pub(super) struct Columns<B> {
    panel: *const u8,
    /// Which of the panel's tiles.
    tile: usize,
    block: PhantomData<B>,
}

impl<B> Clone for Columns<B> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<B> Copy for Columns<B> {}

impl<B: Columnar> Columns<B> {
    /// Tile `tile` of the panel that begins at an address.
    #[inline(always)]
    pub(super) fn of_panel(panel: *const u8, tile: usize) -> Self {
        Self { panel, tile, block: PhantomData }
    }

    /// Address of the values of the panel's rows of a field of the header.
    ///
    /// # Safety
    /// The field is inside of the block.
    #[inline(always)]
    unsafe fn field(self, offset: usize) -> *const u8 {
        // SAFETY: by the caller's promise.
        unsafe { self.panel.add(panel_rows::<B>() * offset) }
    }

    /// Four neighbouring columns as lanes of rows: tiles 0..4, in nibbles also 4..8.
    ///
    /// # Safety
    /// The block has the columns.
    #[inline(always)]
    unsafe fn four<S: Simd>(self, s: S, column: usize) -> [S::V; 4] {
        // SAFETY: by the caller's promise.
        s.turn_bytes(unsafe {
            let line = self.field(B::HEADER).add(LINE * column).cast::<[u8; LINE]>();
            [s.load(&*line), s.load(&*line.add(1)), s.load(&*line.add(2)), s.load(&*line.add(3))]
        })
    }

    /// Word `offset / 4` of the values, as the type has them in a row, for all of the
    /// panel's tiles.
    ///
    /// # Safety
    /// The block has it.
    #[inline(always)]
    unsafe fn values<S: Simd>(self, s: S, offset: usize) -> [S::V; 2 * TILES] {
        let zero = s.splat(0);
        if B::APART == 0 {
            // SAFETY: by the caller's promise.
            let words = unsafe { self.four(s, offset) };
            return [words[0], words[1], words[2], words[3], zero, zero, zero, zero];
        }
        let mut values = [zero; 2 * TILES];
        let column = offset / B::APART * 2 * B::APART + offset % B::APART;
        // SAFETY: as above.
        let (a, b) = unsafe { (self.four(s, column), self.four(s, column + B::APART)) };
        let (low, high) = (s.splat_u8(0x0f), s.splat_u8(0xf0));
        for k in 0..TILES {
            values[k] = s.or(s.and(a[k], low), s.and(s.shl(b[k], 4), high));
            values[TILES + k] = s.or(s.and(s.shr(a[k], 4), low), s.and(b[k], high));
        }
        values
    }

    /// Writes a block of all tiles as if they had been packed one by one.
    ///
    /// # Safety
    /// The panel has the block.
    #[inline(always)]
    pub(super) unsafe fn pack_tiles<S: Simd>(self, s: S, block: usize, tiles: &mut [PackedTile]) {
        let at = |offset: usize| TILE * (block % (CHUNK / B::GROUPS) * B::BYTES + offset);
        let tiles = &mut tiles[..panel_rows::<B>() / TILE];
        // SAFETY: by the caller's promise.
        let this = unsafe { self.advance(block * B::BYTES) };
        let field = if B::HEAD > 0 { B::HEAD } else { 4 };
        for offset in (0..B::HEADER).step_by(field) {
            for (k, tile) in tiles.iter_mut().enumerate() {
                let out = &mut tile.0[at(offset)..][..TILE * field];
                // SAFETY: as above, a value for each row.
                let values = unsafe { this.field(offset).add(TILE * field * k) };
                // SAFETY: as above; the output is as long.
                unsafe { std::ptr::copy_nonoverlapping(values, out.as_mut_ptr(), out.len()) };
            }
        }
        // A line is read at a time, now here and now there: the memory has to be asked in time.
        let (block_bytes, steps) = (panel_rows::<B>() * B::BYTES, (B::BYTES - B::HEADER) / 4);
        let ahead = this.panel.wrapping_add(AHEAD.next_multiple_of(block_bytes));
        let lines = (block_bytes / LINE).div_ceil(steps);
        for offset in (0..B::BYTES - B::HEADER).step_by(4) {
            for i in 0..lines {
                s.prefetch(ahead.wrapping_add((offset / 4 * lines + i) * LINE));
            }
            // SAFETY: as above.
            let values = unsafe { this.values(s, offset) };
            for (k, tile) in tiles.iter_mut().enumerate() {
                let out = &mut tile.0[at(B::HEADER + offset)..][..4 * TILE];
                s.store(values[k], out.try_into().expect("a word for each row"));
            }
        }
    }
}

/// What products of many tokens unpack: the fields of the type as they are in rows.
impl<B: Columnar> Tile for Columns<B> {
    fn new(matrix: &[u8], row_bytes: usize, first: usize) -> Self {
        let (rows, panel_bytes) = (panel_rows::<B>(), panel_rows::<B>() * row_bytes);
        let panel = &matrix[first / rows * panel_bytes..][..panel_bytes];
        Self::of_panel(panel.as_ptr(), first % rows / TILE)
    }
    #[inline(always)]
    unsafe fn advance(self, bytes: usize) -> Self {
        // SAFETY: by the caller's promise.
        Self { panel: unsafe { self.field(bytes) }, ..self }
    }
    #[inline(always)]
    unsafe fn word<S: Simd>(self, s: S, offset: usize) -> S::V {
        if offset >= B::HEADER {
            // SAFETY: by the caller's promise.
            let words = unsafe { self.values(s, offset - B::HEADER) };
            // Not by index, or the vectors would end up in memory.
            return match self.tile {
                0 => words[0],
                1 => words[1],
                2 => words[2],
                3 => words[3],
                4 => words[4],
                5 => words[5],
                6 => words[6],
                _ => words[7],
            };
        }
        // SAFETY: as above; a word for each of the tile's rows.
        s.load(unsafe { &*self.field(offset).add(4 * TILE * self.tile).cast() })
    }
    #[inline(always)]
    unsafe fn words<S: Simd>(self, s: S, offset: usize) -> [S::V; 4] {
        let word = |i: usize| offset + 4 * i;
        // SAFETY: by the caller's promise.
        unsafe {
            [self.word(s, word(0)), self.word(s, word(1)), self.word(s, word(2)), self.word(s, word(3))]
        }
    }
    #[inline(always)]
    unsafe fn half<S: Simd>(self, s: S, offset: usize) -> S::F {
        // SAFETY: as above; a field of the header, two bytes for each row.
        unsafe { s.read_f16(self.field(offset).add(2 * TILE * self.tile)) }
    }
    #[inline(always)]
    unsafe fn byte<S: Simd>(self, s: S, offset: usize) -> S::V {
        // SAFETY: as above; one byte for each row.
        s.widen_bytes(unsafe { &*self.field(offset).add(TILE * self.tile).cast() })
    }
    #[inline(always)]
    fn packed(self) -> Option<Packed> {
        None
    }
    #[inline(always)]
    fn ahead(self, _: usize) -> *const u8 {
        // Whoever reads panels asks for them.
        self.panel
    }
}

/// Packs the rows of a panel into as many bytes.
///
/// # Panics
/// If the type has no columns.
pub(super) fn pack(isa: Enabled, dtype: DType, rows: &[u8], row_bytes: usize, out: &mut [u8]) {
    with_columns!(dtype,
        B => isa.run(Pack::<B> { rows, row_bytes, out, block: PhantomData }),
        panic!("{dtype} has no columns"));
}

/// A panel's rows.
struct Pack<'a, B> {
    rows: &'a [u8],
    row_bytes: usize,
    out: &'a mut [u8],
    block: PhantomData<B>,
}

impl<B: Columnar> Kernel for Pack<'_, B> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let rows = panel_rows::<B>();
        assert_eq!([self.rows.len(), self.out.len()], [rows * self.row_bytes; 2], "a panel");
        let field = if B::HEAD > 0 { B::HEAD } else { 4 };
        for (b, out) in self.out.chunks_exact_mut(rows * B::BYTES).enumerate() {
            let (header, columns) = out.split_at_mut(rows * B::HEADER);
            let (columns, _) = columns.as_chunks_mut::<LINE>();
            for (f, fields) in header.chunks_exact_mut(rows * field).enumerate() {
                for (row, value) in self.rows.chunks_exact(self.row_bytes).zip(fields.chunks_exact_mut(field))
                {
                    value.copy_from_slice(&row[b * B::BYTES + f * field..][..field]);
                }
            }
            for at in (0..B::BYTES - B::HEADER).step_by(16) {
                let mut four = [[[s.splat(0); 4]; TILES]; 2];
                for half in 0..rows / LINE {
                    for k in 0..TILES {
                        let tile = Rows::new(self.rows, self.row_bytes, half * LINE + k * LANES);
                        // SAFETY: all rows have the block, and that has the words.
                        four[half][k] = unsafe { tile.words(s, b * B::BYTES + B::HEADER + at) };
                    }
                }
                let [a, b] = four;
                for w in 0..4 {
                    let at = at + 4 * w;
                    if B::APART == 0 {
                        put(s, [a[0][w], a[1][w], a[2][w], a[3][w]], &mut columns[at..]);
                        continue;
                    }
                    let (low, high) = (s.splat_u8(0x0f), s.splat_u8(0xf0));
                    let (mut first, mut second) = ([s.splat(0); 4], [s.splat(0); 4]);
                    for k in 0..TILES {
                        let (a, b) = (a[k][w], b[k][w]);
                        first[k] = s.or(s.and(a, low), s.and(s.shl(b, 4), high));
                        second[k] = s.or(s.and(s.shr(a, 4), low), s.and(b, high));
                    }
                    let column = at / B::APART * 2 * B::APART + at % B::APART;
                    put(s, first, &mut columns[column..]);
                    put(s, second, &mut columns[column + B::APART..]);
                }
            }
        }
    }
}

/// Stores four columns, given as words of rows.
#[inline(always)]
fn put<S: Simd>(s: S, words: [S::V; 4], lines: &mut [[u8; LINE]]) {
    let columns = s.turn_bytes(s.turn_bytes(words));
    for c in 0..4 {
        s.store(columns[c], &mut lines[c]);
    }
}
