//! Products of many rows with several matrices, on tiles.

use super::Target;
use super::block_types::{UnsupportedType, stored};
use super::linear_vec::glu_option;
use super::pack::{Layout, wide_tile};
use crate::launch::{Kernel, Launch, Operand, What};
use ingot_format::DType;
use ingot_plan::ops::{Activation, Gate};
use ingot_plan::{Plan, WeightId};
use std::ops::Range;

/// Products, inputs and types of blocks that the kernel has room for.
const MOST_PARTS: usize = 8;
const MOST_INPUTS: usize = 6;
const MOST_KINDS: usize = 2;

const ROWS: [&str; MOST_PARTS] = ["ROWS0", "ROWS1", "ROWS2", "ROWS3", "ROWS4", "ROWS5", "ROWS6", "ROWS7"];
const COLS: [&str; MOST_PARTS] = ["COLS0", "COLS1", "COLS2", "COLS3", "COLS4", "COLS5", "COLS6", "COLS7"];
const HOW: [&str; MOST_PARTS] = ["HOW0", "HOW1", "HOW2", "HOW3", "HOW4", "HOW5", "HOW6", "HOW7"];

/// One product.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// Packed rows `[T, C]` (see [`super::pack`]).
    pub x: What,
    /// `[R, C]`
    pub weight: WeightId,
    /// `[R]`
    pub bias: Option<WeightId>,
    /// Applied to the sum.
    pub activation: Activation,
    /// `[T, R]`
    pub out: What,
}

/// The launches for all parts, mostly one. A residual `[T, R]` is added to the
/// only part, after its activation.
///
/// # Panics
/// If there is no part, or a residual and several.
pub fn linear_tile(
    plan: &Plan,
    target: &Target,
    parts: &[Part],
    residual: Option<What>,
    rows: usize,
) -> Result<Vec<Launch>, UnsupportedType> {
    assert!(
        parts.len() == 1 || !parts.is_empty() && residual.is_none(),
        "linear_tile: {parts:?}, {residual:?}"
    );
    let extra = residual.map_or(Extra::None, Extra::Residual);
    let batches = batches(plan, target, parts)?;
    Ok(batches.iter().flat_map(|batch| batch.launches(plan, target, extra, rows)).collect())
}

/// Parts as they fit into launches, in their order.
pub(super) fn batches<'a>(
    plan: &Plan,
    target: &Target,
    parts: &'a [Part],
) -> Result<Vec<Batch<'a>>, UnsupportedType> {
    let mut batches = vec![Batch::default()];
    for part in parts {
        let weight = plan.weight(part.weight);
        let kind = stored(weight.dtype, weight.shape[1], target.eights)?;
        if !batches.last_mut().expect("one at least").take(part, kind) {
            let mut batch = Batch::default();
            batch.take(part, kind);
            batches.push(batch);
        }
    }
    Ok(batches)
}

/// Whether [`gated_tile`] is there for two matrices `[R, C]`.
pub fn gates(plan: &Plan, target: &Target, [gate, up]: [WeightId; 2]) -> bool {
    let [gate, up] = [plan.weight(gate), plan.weight(up)];
    let alike = gate.dtype == up.dtype && gate.shape == up.shape;
    alike && gate.dtype != DType::F32 && target.wide && !target.exact
}

/// The launches for `f(gate x) * (up x)`, written to the gate's `out`; `up` is like the gate's matrix, see [`gates`].
pub fn gated_tile(
    plan: &Plan,
    target: &Target,
    gate: &Part,
    up: WeightId,
    f: Gate,
    rows: usize,
) -> Result<Vec<Launch>, UnsupportedType> {
    let weight = plan.weight(gate.weight);
    let mut batch = Batch::default();
    batch.take(gate, stored(weight.dtype, weight.shape[1], target.eights)?);
    Ok(batch.launches(plan, target, Extra::Gated(up, f), rows))
}

/// What else a launch of one part does.
#[derive(Clone, Copy)]
pub(super) enum Extra {
    None,
    /// `[T, R]`, added.
    Residual(What),
    /// The matrix that is gated.
    Gated(WeightId, Gate),
}

/// The parts of one launch, with their inputs and types of blocks.
#[derive(Default)]
pub(super) struct Batch<'a> {
    parts: Vec<(&'a Part, usize, usize)>,
    inputs: Vec<What>,
    kinds: Vec<(i64, i64)>,
}

impl<'a> Batch<'a> {
    /// Takes a part if there is room for it.
    fn take(&mut self, part: &'a Part, kind: (i64, i64)) -> bool {
        let position = |i: Option<usize>, len: usize| i.unwrap_or(len);
        let input = position(self.inputs.iter().position(|x| *x == part.x), self.inputs.len());
        let k = position(self.kinds.iter().position(|x| *x == kind), self.kinds.len());
        if self.parts.len() == MOST_PARTS || input == MOST_INPUTS || k == MOST_KINDS {
            return false;
        }
        self.parts.push((part, input, k));
        if input == self.inputs.len() {
            self.inputs.push(part.x);
        }
        if k == self.kinds.len() {
            self.kinds.push(kind);
        }
        true
    }

    fn launches(&self, plan: &Plan, target: &Target, extra: Extra, rows: usize) -> Vec<Launch> {
        let part_rows = self.shapes(plan).map(|(rows, _)| rows);
        let kernel = self.kernel(plan, "linear_tile", extra).option("TILE_F32", target.exact);
        let layout = Layout::of_tiles(target);
        if !target.wide {
            let tiles = Tiles::choose(target, &part_rows, rows);
            let kernel = tiles.kernel(kernel).uint("FIRST", 0);
            let operands = self.operands(plan, extra, layout, rows, Operand::write);
            let grid = tiles.grid(&part_rows, rows);
            return vec![Launch { kernel, operands, grid, threads: tiles.threads() as u32 }];
        }
        let gate = if let Extra::Gated(_, f) = extra { Some(f) } else { None };
        let kernel = kernel.option("GLU", glu_option(gate));
        let (tiles, runs) = Wide::choose(target, &part_rows, gate.is_some(), rows);
        let access = if runs.len() == 1 { Operand::write } else { Operand::update };
        let launch = |run: &Run| Launch {
            kernel: tiles.kernel(kernel.clone(), target, run),
            operands: self.operands(plan, extra, layout, rows, access),
            grid: [rows.div_ceil(tiles.tokens) as u32, run.tiles.len() as u32, run.split as u32],
            threads: Wide::THREADS as u32,
        };
        runs.iter().map(launch).collect()
    }

    /// Rows and columns of the parts' matrices; (0, 0) where there is none.
    pub(super) fn shapes(&self, plan: &Plan) -> [(usize, usize); MOST_PARTS] {
        std::array::from_fn(|i| self.parts.get(i).map_or((0, 0), |(p, ..)| shape(plan, p)))
    }

    /// The type of blocks of the first part.
    pub(super) fn first_block(&self) -> i64 {
        self.kinds[0].0
    }

    /// A kernel for these parts.
    pub(super) fn kernel(&self, plan: &Plan, name: &'static str, extra: Extra) -> Kernel {
        let mut kernel = Kernel::new(name).uint("PARTS", self.parts.len());
        for (n, (block, align)) in self.kinds.iter().enumerate() {
            kernel = kernel.option(format!("BLOCK{n}"), *block).option(format!("ALIGN{n}"), *align);
        }
        let adds = matches!(extra, Extra::Residual(_));
        for (i, (rows, cols)) in self.shapes(plan).into_iter().enumerate() {
            let how = self.parts.get(i).map_or(0, |(p, input, kind)| how(p, *input, *kind, adds));
            kernel = kernel.uint(ROWS[i], rows).uint(COLS[i], cols).uint(HOW[i], how);
        }
        kernel
    }

    /// What the kernel reads, `rows` packed like that, and writes.
    pub(super) fn operands(
        &self,
        plan: &Plan,
        extra: Extra,
        layout: Layout,
        rows: usize,
        out: fn(What) -> Operand,
    ) -> Vec<Operand> {
        let mut operands = vec![Operand::absent(); MOST_INPUTS + 3 * MOST_PARTS];
        let (inputs, of_parts) = operands.split_at_mut(MOST_INPUTS);
        for (part, input, _) in &self.parts {
            let bytes = layout.bytes(rows, shape(plan, part).1);
            inputs[*input] = Operand { range: Some(0..bytes), ..Operand::read(part.x) };
        }
        for (i, (part, ..)) in self.parts.iter().enumerate() {
            of_parts[i] = Operand::read(part.weight.into());
            if let Some(bias) = part.bias {
                of_parts[MOST_PARTS + i] = Operand::read(bias.into());
            }
            of_parts[2 * MOST_PARTS + i] = out(part.out);
        }
        // There are no more than 31 operands: the place of a second part's bias is free.
        match extra {
            Extra::None => {}
            Extra::Residual(residual) => of_parts[MOST_PARTS + 1] = Operand::read(residual),
            Extra::Gated(up, _) => of_parts[1] = Operand::read(up.into()),
        }
        operands.push(Operand::read(What::Step));
        operands
    }
}

fn shape(plan: &Plan, part: &Part) -> (usize, usize) {
    let shape = &plan.weight(part.weight).shape;
    (shape[0], shape[1])
}

/// The bits that `kernels/include/linear_tile.h` calls HOW.
fn how(part: &Part, input: usize, kind: usize, residual: bool) -> usize {
    let activation = match part.activation {
        Activation::Identity => 0,
        Activation::Tanh => 1,
        Activation::Sigmoid => 2,
        Activation::SquaredRelu => 3,
    };
    input | kind << 4 | activation << 5 | usize::from(part.bias.is_some()) << 8 | usize::from(residual) << 9
}

/// The size of a tile, and how many are worked on together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tiles {
    tokens: usize,
    /// Of weights.
    rows: usize,
    /// Threadgroups on a core at a time.
    resident: usize,
}

/// The sizes there are, with the time that all cores together take for one round of
/// them, in microseconds for 4096 columns, as measured on an H200. What matters is how these
/// compare: a larger tile loads less for each product, several small ones wait less for
/// what they load.
const SIZES: [(Tiles, usize); 5] = [
    (Tiles { tokens: 128, rows: 128, resident: 1 }, 92),
    (Tiles { tokens: 128, rows: 128, resident: 2 }, 125),
    (Tiles { tokens: 128, rows: 64, resident: 3 }, 111),
    (Tiles { tokens: 64, rows: 64, resident: 4 }, 92),
    (Tiles { tokens: 32, rows: 64, resident: 4 }, 75),
];

impl Tiles {
    /// The size with which all tiles are done first.
    fn choose(target: &Target, part_rows: &[usize; MOST_PARTS], tokens: usize) -> Self {
        if target.exact {
            return Self { tokens: 32, rows: 64, resident: 1 }; // what fits into threadgroup memory
        }
        let fits = |t: &Self| tokens > t.tokens / 2 || t.tokens == 32;
        let time = |t: &Self, round: usize| {
            let [x, y, _] = t.grid(part_rows, tokens);
            (x as usize * y as usize).div_ceil(t.resident * target.cores.max(1)) * round
        };
        let sizes = SIZES.iter().filter(|(t, _)| fits(t));
        sizes.min_by_key(|(t, round)| time(t, *round)).map_or(SIZES[0].0, |(t, _)| *t)
    }

    fn grid(&self, part_rows: &[usize; MOST_PARTS], tokens: usize) -> [u32; 3] {
        let row_tiles: usize = part_rows.iter().map(|rows| rows.div_ceil(self.rows)).sum();
        [tokens.div_ceil(self.tokens) as u32, row_tiles as u32, 1]
    }

    fn kernel(&self, kernel: Kernel) -> Kernel {
        let kernel = kernel.option("TILE_T", self.tokens as i64).option("TILE_R", self.rows as i64);
        kernel.option("RESIDENT", self.resident as i64)
    }

    /// Two simdgroups for every 32 rows of weights.
    fn threads(&self) -> usize {
        2 * self.rows
    }
}

/// Tiles in the form of `kernels/include/linear_wide.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wide {
    tokens: usize,
    /// Of each matrix.
    rows: usize,
}

/// Some of the tiles of rows.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Run {
    tiles: Range<usize>,
    /// Threadgroups that share the columns of a tile.
    split: usize,
}

impl Wide {
    /// Eight simdgroups that multiply, four that copy.
    const THREADS: usize = 32 * 12;
    /// Tiles of tokens that are on their way at a time, and what they have to be aligned to.
    const STAGES: usize = 4;
    const ALIGN: usize = 1024;
    /// What is halved must not depend on how many tokens there happen to be.
    const USUAL_TOKENS: usize = 512;

    /// The size of a tile, and the tiles in the order they are worked on: so many as fill all cores again
    /// and again, then the rest in halves, if that keeps no more cores busy than there are.
    fn choose(
        target: &Target,
        part_rows: &[usize; MOST_PARTS],
        gated: bool,
        tokens: usize,
    ) -> (Self, Vec<Run>) {
        let of =
            |tokens| Self { tokens: wide_tile(target.exact, tokens), rows: if gated { 64 } else { 128 } };
        let (size, usual) = (of(tokens), of(Self::USUAL_TOKENS));
        let count: usize = part_rows.iter().map(|rows| rows.div_ceil(size.rows)).sum();
        let (cores, of_tokens) = (target.cores.max(1), Self::USUAL_TOKENS / usual.tokens);
        let rest = count * of_tokens % cores;
        let halved = if 2 * rest <= cores { rest.div_ceil(of_tokens) } else { 0 };
        // Launches of several parts are for all of them.
        let several = part_rows.iter().filter(|rows| **rows > 0).count() > 1;
        let halved = if several && halved < count { 0 } else { halved };
        let runs =
            [Run { tiles: 0..count - halved, split: 1 }, Run { tiles: count - halved..count, split: 2 }];
        (size, runs.into_iter().filter(|run| !run.tiles.is_empty()).collect())
    }

    fn kernel(&self, kernel: Kernel, target: &Target, run: &Run) -> Kernel {
        let token = if target.exact { 256 } else { 128 };
        let shared = Self::STAGES * self.tokens * token + Self::ALIGN;
        let kernel = kernel.option("WIDE", 1).option("TILE_T", self.tokens as i64);
        let kernel = kernel.option("INGOT_SHARED", shared as i64).option("SPLIT", run.split as i64);
        kernel.uint("FIRST", run.tiles.start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tuning::Tuning;
    use ingot_format::DType;

    #[test]
    fn wide_tiles_suit_the_work() {
        let runs = |rows, gated| {
            let target = Target {
                cores: 132,
                cache: DType::F16,
                exact: false,
                eights: false,
                wide: true,
                tuning: Tuning::default(),
            };
            let (_, runs) = Wide::choose(&target, &[rows, 0, 0, 0, 0, 0, 0, 0], gated, 512);
            runs.into_iter().map(|run| (run.tiles, run.split)).collect::<Vec<_>>()
        };
        assert_eq!(runs(4096, false), [(0..32, 2)]);
        assert_eq!(runs(6144, false), [(0..48, 1)]);
        assert_eq!(runs(14336, true), [(0..198, 1), (198..224, 2)]);
        assert_eq!(runs(128 * 66, false), [(0..66, 1)]);
    }

    #[test]
    fn tiles_suit_the_work() {
        let size = |exact, rows, tokens| {
            let target = Target {
                cores: 132,
                cache: DType::F16,
                exact,
                eights: false,
                wide: false,
                tuning: Tuning::default(),
            };
            let tiles = Tiles::choose(&target, &[rows, 0, 0, 0, 0, 0, 0, 0], tokens);
            (tiles.tokens, tiles.rows, tiles.resident)
        };
        assert_eq!(size(false, 4096, 512), (128, 128, 1));
        assert_eq!(size(false, 6144, 512), (128, 64, 3));
        assert_eq!(size(false, 28672, 512), (128, 128, 2));
        assert_eq!(size(false, 28672, 64), (64, 64, 4));
        assert_eq!(size(false, 2048, 20), (32, 64, 4));
        assert_eq!(size(true, 28672, 512), (32, 64, 1));
    }
}
