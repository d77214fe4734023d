//! Products of few rows with several matrices: every weight is read once for all of them.
//!
//! A threadgroup has so many rows of weights, and `split` simdgroups share the columns of each. Only
//! `split` decides in which order a row is summed, so it depends on the matrices alone.

use super::Target;
use super::block_types::UnsupportedType;
use super::linear_tile::{Extra, Part, batches};
use super::pack::Layout;
use crate::launch::{Launch, Operand, What};
use ingot_plan::Plan;

/// Simdgroups of a threadgroup.
const SIMDGROUPS: usize = 8;

/// The launches for all parts, mostly one. A residual `[T, R]` is added to the only part, after its
/// activation. With `outputs` rows are those of the step's outputs, else its tokens.
///
/// # Panics
/// If there is no part, or a residual and several.
pub fn linear_few(
    plan: &Plan,
    target: &Target,
    parts: &[Part],
    residual: Option<What>,
    outputs: bool,
    rows: usize,
) -> Result<Vec<Launch>, UnsupportedType> {
    assert!(
        parts.len() == 1 || !parts.is_empty() && residual.is_none(),
        "linear_few: {parts:?}, {residual:?}"
    );
    let extra = residual.map_or(Extra::None, Extra::Residual);
    let launch = |batch: super::linear_tile::Batch| {
        let shapes = batch.shapes(plan);
        let tokens = tokens(rows);
        let rows_of_all = shapes.iter().map(|(rows, _)| rows).sum();
        let sizes = Sizes::of(batch.first_block(), rows_of_all, tokens);
        let kernel = batch
            .kernel(plan, "linear_few", extra)
            .option("TOKENS", tokens as i64)
            .option("TALL", sizes.tall as i64)
            .option("AHEAD", sizes.ahead as i64)
            .option("RESIDENT", sizes.resident as i64)
            .option("SIMDGROUPS", SIMDGROUPS as i64)
            .uint("SPLIT", sizes.split)
            .uint("OUTPUTS", usize::from(outputs));
        let groups: usize = shapes.iter().map(|(rows, _)| rows.div_ceil(sizes.rows())).sum();
        Launch {
            kernel,
            operands: batch.operands(plan, extra, Layout::Few, rows, Operand::write),
            grid: [rows.div_ceil(tokens) as u32, groups as u32, 1],
            threads: 32 * SIMDGROUPS as u32,
        }
    };
    Ok(batches(plan, target, parts)?.into_iter().map(launch).collect())
}

/// Tokens of a threadgroup.
fn tokens(rows: usize) -> usize {
    match rows {
        0..=16 => 16,
        17..=32 => 32,
        _ => 64,
    }
}

/// How a threadgroup divides its work. Only `split` decides the order of sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sizes {
    /// Times 16 rows that a simdgroup has.
    tall: usize,
    /// Simdgroups that share rows.
    split: usize,
    /// Chunks of weights on their way.
    ahead: usize,
    /// Threadgroups on a core at a time.
    resident: usize,
}

/// From so many rows on there are enough of them for all cores without sharing.
const MANY_ROWS: usize = 16384;

impl Sizes {
    /// What was fastest on an H200 without asking for more registers than there are, for matrices of a
    /// type and so many rows in all.
    fn of(block: i64, rows: usize, tokens: usize) -> Self {
        let many = rows >= MANY_ROWS;
        match block {
            // Floats: of long rows of many, little is to be gained by sharing.
            0..=2 => Self { tall: 1, split: if many { 2 } else { 8 }, ahead: 2, resident: 2 },
            // Q8_0, in files and in eights, in chunks twice as large.
            3 | 16 if tokens > 32 => Self { tall: 2, split: 8, ahead: 1, resident: 1 },
            3 | 16 => Self { tall: 1, split: 8, ahead: 1, resident: 2 },
            _ if many && tokens <= 32 => Self { tall: 2, split: 8, ahead: 1, resident: 2 },
            _ => Self { tall: 1, split: 8, ahead: 2, resident: 2 },
        }
    }

    /// Rows of weights of a threadgroup.
    fn rows(&self) -> usize {
        16 * self.tall * SIMDGROUPS / self.split
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_sums_is_the_matrices_own() {
        for (block, rows) in (0..=17).flat_map(|block| [100, MANY_ROWS].map(|rows| (block, rows))) {
            let splits = [16, 32, 64].map(|tokens| Sizes::of(block, rows, tokens).split);
            assert!(splits.iter().all(|split| *split == splits[0] && SIMDGROUPS.is_multiple_of(*split)));
        }
    }
}
