//! Attention of many rows on tiles of queries and keys.

use super::{Shape, Target, cache};
use crate::launch::{Kernel, Launch, Operand, What};
use ingot_plan::Plan;
use ingot_plan::ops::Attention;

/// Keys of a block, as in the kernel.
const KEYS: usize = 32;
/// Most bytes of threadgroup memory.
const MEMORY: usize = 32 << 10;

/// The sizes of tiles for heads of some size.
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
    fn of(n: usize, exact: bool) -> Self {
        let head = n.next_multiple_of(32);
        // Few wide columns rather than many queries.
        let columns = (1..=head / 32).rev().map(|i| 32 * i).filter(|c| head.is_multiple_of(*c));
        let sizes = columns.map(|columns| Self { queries: 32, head, columns });
        let found = sizes.filter(|t| t.bytes(exact) <= MEMORY).find(|t| t.columns >= 64 || head == 32);
        let least = if exact { 16 } else { 32 };
        found.unwrap_or(Self { queries: least, head, columns: 32 })
    }

    /// Bytes of the kernel's threadgroup arrays.
    fn bytes(&self, exact: bool) -> usize {
        let (value, pad) = if exact { (4, 4) } else { (2, 8) };
        let Self { queries, head, columns } = *self;
        let tiles = value * (queries * (head + pad) + KEYS * (columns + pad));
        tiles + 4 * (queries * (KEYS + 4) + queries * 8 + KEYS)
    }
}

/// The launch for all rows of the step.
///
/// # Panics
/// If the cache type does not support the head size, see [`cache::supports`].
pub fn attention_tile(plan: &Plan, shape: &Shape, target: &Target, op: &Attention) -> Launch {
    let n = plan.buffer(op.q).width / op.heads;
    assert!(cache::supports(target.cache, n), "attention: heads of {n} in {:?}", target.cache);
    let tiles = Tiles::of(n, target.exact);
    // A window beyond all positions is none.
    let window = op.window.filter(|&w| u32::try_from(w).is_ok()).unwrap_or(0);
    let kernel = Kernel::new("attention_tile")
        .option("CACHE", cache::option(target.cache))
        .option("TILE_F32", target.exact)
        .option("QUERIES", tiles.queries as i64)
        .option("HEAD", tiles.head as i64)
        .option("COLUMNS", tiles.columns as i64)
        .uint("N", n)
        .uint("HEADS", op.heads)
        .uint("KV_HEADS", op.kv_heads)
        .uint("WINDOW", window)
        .float("SCALE", op.scale)
        .float("CAP", op.cap.unwrap_or(0.0));
    // A sequence's last tile may have a single row: so many are enough for all.
    let most = (shape.rows + shape.sequences * (tiles.queries - 1)) / tiles.queries;
    Launch {
        kernel,
        operands: vec![
            Operand::read(op.q.into()),
            Operand::read(op.cache.into()),
            Operand::read(What::Step),
            Operand::write(op.out.into()),
        ],
        grid: [most as u32, op.heads as u32, 1],
        threads: 4 * tiles.queries as u32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_fit() {
        for (n, exact) in (8..=256).step_by(8).flat_map(|n| [(n, false), (n, true)]) {
            let tiles = Tiles::of(n, exact);
            assert!(tiles.bytes(exact) <= MEMORY, "{n}, {exact}: {tiles:?}");
            assert!(
                tiles.head >= n
                    && tiles.head.is_multiple_of(tiles.columns)
                    && tiles.columns.is_multiple_of(32)
            );
            // Four threads per query look after the keys' factors.
            assert!(exact || tiles.queries >= KEYS);
        }
        assert_eq!(Tiles::of(128, false), Tiles { queries: 32, head: 128, columns: 128 });
        assert_eq!(Tiles::of(256, false), Tiles { queries: 32, head: 256, columns: 128 });
        assert_eq!(Tiles::of(80, false), Tiles { queries: 32, head: 96, columns: 96 });
    }
}
