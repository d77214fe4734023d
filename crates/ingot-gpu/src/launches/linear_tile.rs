//! Products of many rows with several matrices, on tiles.

use super::Target;
use super::block_types::{UnsupportedType, stored};
use super::pack::Layout;
use crate::launch::{Kernel, Launch, Operand, What};
use ingot_plan::ops::Activation;
use ingot_plan::{Plan, WeightId};

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
    let batches = batches(plan, target, parts)?;
    Ok(batches.iter().map(|batch| batch.launch(plan, target, residual, rows)).collect())
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

    fn launch(&self, plan: &Plan, target: &Target, residual: Option<What>, rows: usize) -> Launch {
        let part_rows = self.shapes(plan).map(|(rows, _)| rows);
        let tiles = Tiles::choose(target, &part_rows, rows);
        let layout = if target.exact { Layout::Float } else { Layout::Half };
        let kernel = self
            .kernel(plan, "linear_tile", residual)
            .option("TILE_T", tiles.tokens as i64)
            .option("TILE_R", tiles.rows as i64)
            .option("RESIDENT", tiles.resident as i64)
            .option("TILE_F32", target.exact);
        Launch {
            kernel,
            operands: self.operands(plan, residual, layout, rows),
            grid: tiles.grid(&part_rows, rows),
            threads: tiles.threads() as u32,
        }
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
    pub(super) fn kernel(&self, plan: &Plan, name: &'static str, residual: Option<What>) -> Kernel {
        let mut kernel = Kernel::new(name).uint("PARTS", self.parts.len());
        for (n, (block, align)) in self.kinds.iter().enumerate() {
            kernel = kernel.option(format!("BLOCK{n}"), *block).option(format!("ALIGN{n}"), *align);
        }
        for (i, (rows, cols)) in self.shapes(plan).into_iter().enumerate() {
            let how =
                self.parts.get(i).map_or(0, |(p, input, kind)| how(p, *input, *kind, residual.is_some()));
            kernel = kernel.uint(ROWS[i], rows).uint(COLS[i], cols).uint(HOW[i], how);
        }
        kernel
    }

    /// What the kernel reads and writes; `rows` are packed like that.
    pub(super) fn operands(
        &self,
        plan: &Plan,
        residual: Option<What>,
        layout: Layout,
        rows: usize,
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
            of_parts[2 * MOST_PARTS + i] = Operand::write(part.out);
        }
        // There are no more than 31 operands: the place of a second part's bias is free.
        if let Some(residual) = residual {
            of_parts[MOST_PARTS + 1] = Operand::read(residual);
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

    /// Two simdgroups for every 32 rows of weights.
    fn threads(&self) -> usize {
        2 * self.rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tuning::Tuning;
    use ingot_format::DType;

    #[test]
    fn tiles_suit_the_work() {
        let size = |exact, rows, tokens| {
            let target =
                Target { cores: 132, cache: DType::F16, exact, eights: false, tuning: Tuning::default() };
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
