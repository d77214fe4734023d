//! Products of a few tokens whose values are mostly zero with matrices laid out in
//! [columns](super::columns): only the columns that meet something else than zero are read.
//!
//! Columns of a group that are wanted come four at a time, and the sum of a group's
//! products is exact, so results are those of all other ways to the last bit.

use super::columns::{CHUNK, Columns, LINE, panel_rows};
use super::group::{beginning, dot, scale_and_add};
use super::target::Product;
use super::{TILE, with_columns};
use crate::blocks::{Columnar, GROUP, Kind};
use crate::q8::Q8;
use crate::simd::{Kernel, LANES, Simd};
use ingot_format::DType;
use std::marker::PhantomData;
use std::ops::Range;

/// Which columns a few tokens want, and what they are multiplied with there.
#[derive(Default)]
pub(crate) struct Active {
    /// What the matrix is made of.
    dtype: Option<DType>,
    /// Where the columns are in a panel, in bytes: four of the same group, of which the last may be
    /// there several times. Those of the next panel follow, for [`AHEAD`].
    columns: Vec<[u32; 4]>,
    /// The columns' quants of each token: `[columns / 4, T]`, T one of [`SIZES`].
    x: Vec<i32>,
    /// T
    tokens: usize,
    /// Where in `columns` each group ends: `[C / 32]`
    ends: Vec<u32>,
}

/// Tokens that are multiplied together.
const SIZES: [usize; 3] = [1, 2, 4];

/// More tokens than these want so many columns that it is better to read all.
pub(crate) const MOST: usize = SIZES[SIZES.len() - 1];

/// How far ahead columns are asked for, in fours.
const AHEAD: usize = 32;

impl Active {
    /// Finds the columns of a type's matrices that rounded tokens `[T, C / 32]`, at
    /// most [`MOST`], want.
    pub(crate) fn find(&mut self, dtype: DType, x: &[Q8], groups: usize) {
        let place: fn(usize) -> usize =
            with_columns!(dtype, B => place::<B>, unreachable!("{dtype} has no columns"));
        let panel_bytes = place(groups) - place(0);
        let tokens = x.len() / groups;
        let size = SIZES.into_iter().find(|&size| size >= tokens).expect("at most MOST tokens");
        (self.dtype, self.tokens) = (Some(dtype), size);
        self.columns.clear();
        self.x.clear();
        self.ends.clear();
        for g in 0..groups {
            let token = |t: usize| &x[t * groups + g].q;
            let mut any = [0; 8];
            for t in 0..tokens {
                any.iter_mut().zip(token(t)).for_each(|(any, q)| *any |= q);
            }
            let first = place(g) as u32;
            let at = |c: u32| first + LINE as u32 * c;
            let mut wanted = nonzero(any);
            if wanted.count_ones() > 28 {
                // Nothing would be spared.
                for i in 0..8 {
                    self.columns.push([0, 1, 2, 3].map(|c| at(4 * i + c)));
                    self.x.extend((0..size).map(|t| if t < tokens { token(t)[i as usize] } else { 0 }));
                }
                wanted = 0;
            }
            while wanted != 0 {
                let mut columns = [at(wanted.trailing_zeros()); 4];
                let mut values = [0u32; MOST];
                for i in 0..4 {
                    let c = wanted.trailing_zeros();
                    // What is there already is multiplied with zero.
                    if c < 32 {
                        columns[i] = at(c);
                        for t in 0..tokens {
                            values[t] |= (token(t)[c as usize / 4] as u32 >> (8 * (c % 4)) & 0xff) << (8 * i);
                        }
                        wanted &= wanted - 1;
                    }
                }
                self.columns.push(columns);
                self.x.extend(values[..size].iter().map(|&x| x as i32));
            }
            self.ends.push(self.columns.len() as u32);
        }
        let fours = self.columns.len();
        for i in 0..AHEAD {
            // With so few that even these of the next panel do not suffice, nothing is gained.
            let next = self.columns.get(i).filter(|_| i < fours).unwrap_or(&[0; 4]);
            self.columns.push(next.map(|at| at + panel_bytes as u32));
        }
    }
}

/// Where the columns of a group begin in a panel.
#[inline(always)]
fn place<B: Columnar>(g: usize) -> usize {
    let block = g / B::GROUPS * panel_rows::<B>() * B::BYTES;
    block + panel_rows::<B>() * B::HEADER + g % B::GROUPS * GROUP * LINE
}

/// Bytes of a panel's header for each group.
const fn header_bytes<B: Columnar>() -> usize {
    panel_rows::<B>() * B::HEADER / B::GROUPS
}

/// A bit for each byte that is not zero.
fn nonzero(q: [i32; 8]) -> u32 {
    const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    let mut bits = 0;
    for (i, two) in q.as_chunks::<2>().0.iter().enumerate() {
        let bytes = u64::from(two[0] as u32) | u64::from(two[1] as u32) << 32;
        let tops = (((bytes & LOW) + LOW) | bytes) & !LOW;
        bits |= ((tops >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56) << (8 * i);
    }
    bits as u32
}

/// Rows of weights times tokens that want only some columns; `x` is what `active` was found for.
/// Any rows may be wanted.
pub(super) fn product(product: Product, active: &Active, x: &[Q8]) {
    with_columns!(product.matrix.dtype,
    B => match active.tokens {
        1 => panels::<B, 1>(product, active, x),
        2 => panels::<B, 2>(product, active, x),
        _ => panels::<B, 4>(product, active, x),
    },
    unreachable!("{} has no columns", product.matrix.dtype));
}

fn panels<B: Columnar, const N: usize>(product: Product, active: &Active, x: &[Q8]) {
    let Product { isa, matrix, rows, out } = product;
    let (height, groups) = (panel_rows::<B>(), matrix.cols / GROUP);
    assert!(active.dtype == Some(matrix.dtype) && active.ends.len() == groups, "columns of another matrix");
    let panel_bytes = height * matrix.row_bytes();
    let tokens = x.len() / groups;
    let x = std::array::from_fn(|n| &x[n.min(tokens - 1) * groups..][..groups]);
    let mut kept = Kept { dots: [[[[0; 64]; N]; TILES]; CHUNK], sums: [[[0.0; LANES]; TILES]; N] };
    for p in rows.start / height..rows.end.div_ceil(height) {
        let panel = &matrix.bytes[p * panel_bytes..][..panel_bytes];
        isa.run(Multiply::<B, N> { panel, active, x: &x, kept: &mut kept, block: PhantomData });
        let wanted = rows.start.max(p * height)..rows.end.min((p + 1) * height);
        for (t, sums) in kept.sums[..tokens].iter().enumerate() {
            let sums = &sums.as_flattened()[wanted.start - p * height..][..wanted.len()];
            // SAFETY: nobody else uses the columns, as whoever made the product promised.
            unsafe { out.part(t, wanted.start, wanted.len()) }.copy_from_slice(sums);
        }
    }
}

/// Tiles of the largest panel.
const TILES: usize = 2 * LINE / TILE;

/// What is known of a panel.
#[repr(align(64))]
struct Kept<const N: usize> {
    /// Sums of the products of some groups.
    dots: [[[[u8; 64]; N]; TILES]; CHUNK],
    /// Results.
    sums: [[[f32; LANES]; TILES]; N],
}

/// A panel times N tokens.
struct Multiply<'a, B, const N: usize> {
    panel: &'a [u8],
    active: &'a Active,
    /// `[N, C / 32]`
    x: &'a [&'a [Q8]; N],
    kept: &'a mut Kept<N>,
    block: PhantomData<B>,
}

impl<B: Columnar, const N: usize> Kernel for Multiply<'_, B, N> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let groups = self.x[0].len();
        self.kept.sums = [[[0.0; LANES]; TILES]; N];
        let mut from = 0;
        for first in (0..groups).step_by(CHUNK) {
            let chunk = first..groups.min(first + CHUNK);
            for g in chunk.clone() {
                self.prefetch_header(s, g + CHUNK);
                let end = self.active.ends[g] as usize;
                self.multiply(s, g, from..end, g - first);
                from = end;
            }
            self.scale(s, chunk);
        }
    }
}

impl<B: Columnar, const N: usize> Multiply<'_, B, N> {
    /// Asks for the header of a group, perhaps of the next panel.
    #[inline(always)]
    fn prefetch_header<S: Simd>(&self, s: S, g: usize) {
        let header = g / B::GROUPS * panel_rows::<B>() * B::BYTES + g % B::GROUPS * header_bytes::<B>();
        for line in (0..header_bytes::<B>()).step_by(LINE) {
            s.prefetch(self.panel.as_ptr().wrapping_add(header + line));
        }
    }

    /// The sums of the products of a group, some fours of columns.
    #[inline(always)]
    fn multiply<S: Simd>(&mut self, s: S, g: usize, fours: Range<usize>, dots: usize) {
        let (panel, active) = (self.panel.as_ptr(), self.active);
        let x = &active.x.as_chunks::<N>().0[fours.clone()];
        let ahead = &active.columns[fours.start + AHEAD..fours.end + AHEAD];
        let columns = &active.columns[fours];
        let mut begin = [s.splat(0); N];
        for n in 0..N {
            begin[n] = beginning::<S, B::Kind>(s, B::OFFSET, &self.x[n][g], 0);
        }
        // Nibbles make twice as many sums, with many tokens too many for the registers.
        let nibbles = if B::APART > 0 { 2 } else { 1 };
        let together = if N > 2 { 1 } else { nibbles };
        for first in (0..nibbles).step_by(together) {
            let mut sums = [begin; TILES];
            for i in 0..columns.len() {
                let mut lines = [s.splat(0); 4];
                for c in 0..4 {
                    if first == 0 {
                        s.prefetch(panel.wrapping_add(ahead[i][c] as usize));
                    }
                    // SAFETY: a column of this panel: the columns were found for such a matrix.
                    lines[c] = s.load(unsafe { &*panel.add(columns[i][c] as usize).cast() });
                }
                let turned = s.turn_bytes(lines);
                for half in 0..together {
                    for k in 0..4 {
                        let mut w = turned[k];
                        if B::APART > 0 {
                            w = s.and(s.shr(w, 4 * (first + half) as u32), s.splat_u8(0x0f));
                        } else if B::Kind::SIGNED {
                            w = s.signed(w);
                        }
                        for n in 0..N {
                            let sum = &mut sums[4 * half + k][n];
                            *sum = dot::<S, B::Kind>(s, *sum, w, x[i][n]);
                        }
                    }
                }
            }
            for k in 0..4 * together {
                for n in 0..N {
                    s.store(sums[k][n], &mut self.kept.dots[dots][4 * first + k][n]);
                }
            }
        }
    }

    /// Scales the sums of a chunk of groups and adds them to the results.
    #[inline(always)]
    fn scale<S: Simd>(&mut self, s: S, chunk: Range<usize>) {
        for tile in 0..panel_rows::<B>() / TILE {
            let mut sums = [s.splat_f(0.0); N];
            for n in 0..N {
                sums[n] = s.load_f(&self.kept.sums[n][tile]);
            }
            for block in chunk.start / B::GROUPS..chunk.end / B::GROUPS {
                let panel = self.panel[block * panel_rows::<B>() * B::BYTES..].as_ptr();
                // SAFETY: the panel has the block.
                let scales = unsafe { B::scales(s, Columns::<B>::of_panel(panel, tile)) };
                for i in 0..B::GROUPS {
                    let g = block * B::GROUPS + i;
                    for n in 0..N {
                        let dots = s.load(&self.kept.dots[(g - chunk.start) % CHUNK][tile][n]);
                        sums[n] = scale_and_add::<S, B::Kind>(s, scales[i], &self.x[n][g], 0, dots, sums[n]);
                    }
                }
            }
            for n in 0..N {
                s.store_f(sums[n], &mut self.kept.sums[n][tile]);
            }
        }
    }
}
