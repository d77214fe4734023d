//! Attention of many rows on tiles of queries and keys: in half, or where that is asked for
//! in 32 bits.

use super::{Shape, Target, cache};
use crate::launch::{Kernel, Launch, Operand, What};
use ingot_plan::Plan;
use ingot_plan::ops::Attention;

/// Queries of a threadgroup of the kernel in half, a simdgroup for each 16.
const QUERIES: usize = 64;
/// Keys of a block of the exact kernel.
const EXACT_KEYS: usize = 32;
/// Most bytes of threadgroup memory.
const MEMORY: usize = 32 << 10;

/// The sizes of the exact kernel's tiles for heads of some size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tiles {
    /// Queries.
    queries: usize,
    /// Values of a query, with padding.
    head: usize,
    /// Columns of keys and values at a time.
    columns: usize,
}

impl Tiles {
    /// As much as fits into threadgroup memory.
    fn of(n: usize) -> Self {
        let head = n.next_multiple_of(32);
        // Few wide columns rather than many queries.
        let columns = (1..=head / 32).rev().map(|i| 32 * i).filter(|c| head.is_multiple_of(*c));
        let sizes = columns.map(|columns| Self { queries: 32, head, columns });
        let found = sizes.filter(|t| t.bytes() <= MEMORY).find(|t| t.columns >= 64 || head == 32);
        found.unwrap_or(Self { queries: 16, head, columns: 32 })
    }

    /// Bytes of the kernel's threadgroup arrays.
    fn bytes(&self) -> usize {
        let Self { queries, head, columns } = *self;
        let tiles = queries * (head + 4) + EXACT_KEYS * (columns + 4);
        4 * (tiles + queries * (EXACT_KEYS + 4) + queries * 8)
    }
}

/// The launch for all rows of the step.
///
/// # Panics
/// If the cache type does not support the head size, see [`cache::supports`].
pub fn attention_tile(plan: &Plan, shape: &Shape, target: &Target, op: &Attention) -> Launch {
    let n = plan.buffer(op.q).width / op.heads;
    assert!(cache::supports(target.cache, n), "attention: heads of {n} in {:?}", target.cache);
    let tiles = Tiles::of(n);
    let (kernel, queries) = if target.exact {
        let kernel = Kernel::new("attention_exact").option("QUERIES", tiles.queries as i64);
        (kernel.option("COLUMNS", tiles.columns as i64), tiles.queries)
    } else {
        (Kernel::new("attention_tile"), QUERIES)
    };
    // A window beyond all positions is none.
    let window = op.window.filter(|&w| u32::try_from(w).is_ok()).unwrap_or(0);
    let kernel = kernel
        .option("CACHE", cache::option(target.cache))
        .option("HEAD", tiles.head as i64)
        .uint("N", n)
        .uint("HEADS", op.heads)
        .uint("KV_HEADS", op.kv_heads)
        .uint("WINDOW", window)
        .float("SCALE", op.scale)
        .float("CAP", op.cap.unwrap_or(0.0));
    // A sequence's last tile may have a single row: so many are enough for all.
    let most = ((shape.rows + shape.sequences * (queries - 1)) / queries) as u32;
    let heads = op.heads as u32;
    Launch {
        kernel,
        operands: vec![
            Operand::read(op.q.into()),
            Operand::read(op.cache.into()),
            Operand::read(What::Step),
            Operand::write(op.out.into()),
        ],
        grid: if target.exact { [most, heads, 1] } else { [heads, most, 1] },
        threads: if target.exact { 4 * queries as u32 } else { 2 * queries as u32 },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_fit() {
        for n in (8..=256).step_by(8) {
            let tiles = Tiles::of(n);
            assert!(tiles.bytes() <= MEMORY, "{n}: {tiles:?}");
            assert!(
                tiles.head >= n
                    && tiles.head.is_multiple_of(tiles.columns)
                    && tiles.columns.is_multiple_of(32)
            );
        }
        assert_eq!(Tiles::of(64), Tiles { queries: 32, head: 64, columns: 64 });
        assert_eq!(Tiles::of(256), Tiles { queries: 16, head: 256, columns: 32 });
    }
}
