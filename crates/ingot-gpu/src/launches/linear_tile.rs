//! Products of many rows with several matrices, on tiles.

use super::Target;
use super::block_types::{UnsupportedType, align, block};
use super::pack::packed_bytes;
use crate::launch::{Kernel, Launch, Operand, What};
use ingot_plan::ops::Activation;
use ingot_plan::{Plan, WeightId};

/// Products, inputs and types of blocks that the kernel has room for.
const MOST_PARTS: usize = 8;
const MOST_INPUTS: usize = 6;
const MOST_KINDS: usize = 2;
/// Rows of weights of a tile.
const TILE_R: usize = 64;

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
    let mut launches = Vec::new();
    let mut batch = Batch::default();
    for part in parts {
        let weight = plan.weight(part.weight);
        let kind = (block(weight.dtype)?, align(weight.dtype, weight.shape[1]));
        if !batch.take(part, kind) {
            launches.push(batch.launch(plan, target, residual, rows));
            batch = Batch::default();
            batch.take(part, kind);
        }
    }
    launches.push(batch.launch(plan, target, residual, rows));
    Ok(launches)
}

/// The parts of one launch, with their inputs and types of blocks.
#[derive(Default)]
struct Batch<'a> {
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
        let shape = |i: usize| self.parts.get(i).map_or((0, 0), |(p, ..)| shape(plan, p));
        let row_tiles = (0..MOST_PARTS).map(|i| shape(i).0.div_ceil(TILE_R)).sum();
        let tokens = tile_tokens(target, row_tiles, rows);
        let mut kernel = Kernel::new("linear_tile")
            .option("TILE_T", tokens as i64)
            .option("TILE_F32", target.exact)
            .uint("PARTS", self.parts.len());
        for (n, (block, align)) in self.kinds.iter().enumerate() {
            kernel = kernel.option(format!("BLOCK{n}"), *block).option(format!("ALIGN{n}"), *align);
        }
        for i in 0..MOST_PARTS {
            let how =
                self.parts.get(i).map_or(0, |(p, input, kind)| how(p, *input, *kind, residual.is_some()));
            kernel = kernel.uint(ROWS[i], shape(i).0).uint(COLS[i], shape(i).1).uint(HOW[i], how);
        }
        Launch {
            kernel,
            operands: self.operands(plan, target, residual, rows),
            grid: [rows.div_ceil(tokens) as u32, row_tiles as u32, 1],
            threads: 128,
        }
    }

    fn operands(&self, plan: &Plan, target: &Target, residual: Option<What>, rows: usize) -> Vec<Operand> {
        let mut operands = vec![super::unused(); MOST_INPUTS + 3 * MOST_PARTS];
        let (inputs, of_parts) = operands.split_at_mut(MOST_INPUTS);
        for (part, input, _) in &self.parts {
            let bytes = packed_bytes(rows, shape(plan, part).1, target.exact);
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

/// Tokens of a tile: many, so that weights are unpacked for as many as possible,
/// but few enough for every core to have a tile.
fn tile_tokens(target: &Target, row_tiles: usize, rows: usize) -> usize {
    if target.exact {
        return 32; // what fits into threadgroup memory
    }
    let fits = |&tokens: &usize| rows > tokens / 2 && rows.div_ceil(tokens) * row_tiles >= target.cores;
    [128, 64].into_iter().find(fits).unwrap_or(32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ingot_format::DType;

    #[test]
    fn tiles_are_large_where_there_is_enough_work() {
        let target = |exact| Target { cores: 132, cache: DType::F16, exact };
        assert_eq!(tile_tokens(&target(false), 128, 512), 128);
        assert_eq!(tile_tokens(&target(false), 32, 512), 64);
        assert_eq!(tile_tokens(&target(false), 14, 512), 32);
        assert_eq!(tile_tokens(&target(false), 2000, 33), 64);
        assert_eq!(tile_tokens(&target(false), 2000, 20), 32);
        assert_eq!(tile_tokens(&target(true), 2000, 512), 32);
    }
}
