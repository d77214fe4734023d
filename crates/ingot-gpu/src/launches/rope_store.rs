//! Rotary embedding, head norms and the cache's store in one launch; the plain
//! ops rope and store_kv are special cases of it.

use super::{Shape, Target, cache};
use crate::launch::{Kernel, Launch, Operand, What};
use ingot_plan::ops::{Pairing, Rotary};
use ingot_plan::{StateId, WeightId};

/// A norm over each head: its weight `[N]` and what is added to the mean square.
pub type HeadNorm = (WeightId, f32);

/// What is turned, and where it goes.
#[derive(Clone, Copy, Debug)]
pub struct RopeStore<'a> {
    /// Values of a head, N.
    pub n: usize,
    /// Queries, turned into a buffer.
    pub q: Option<Queries>,
    /// Keys and values, stored in the cache.
    pub kv: Option<KeysValues>,
    /// How queries and keys are turned; not at all if absent.
    pub rotary: Option<&'a Rotary>,
    /// The rotary embedding's frequencies, f32; anything if it is absent.
    pub frequencies: What,
}

/// Queries to be turned; with keys instead of queries, the plain op rope.
#[derive(Clone, Copy, Debug)]
pub struct Queries {
    /// `[T, H * N]`
    pub x: What,
    /// H
    pub heads: usize,
    /// A norm before the rotation.
    pub norm: Option<HeadNorm>,
    /// `[T, H * N]`
    pub out: What,
}

/// Keys and values to be stored.
#[derive(Clone, Copy, Debug)]
pub struct KeysValues {
    /// `[T, KV * N]`
    pub k: What,
    /// `[T, KV * N]`
    pub v: What,
    /// KV
    pub heads: usize,
    /// A norm of the keys before the rotation.
    pub norm: Option<HeadNorm>,
    /// The layer's cache.
    pub cache: StateId,
}

impl RopeStore<'_> {
    /// The kernel with the constants of `kernels/include/turn.h`, and whether there are norms.
    pub(super) fn turning(&self, kernel: Kernel) -> Kernel {
        let norm = |norm: Option<HeadNorm>| (norm.is_some(), norm.map_or(0.0, |(_, eps)| eps));
        let [(q_norm, q_eps), (k_norm, k_eps)] = self.norms().map(norm);
        kernel
            .uint("PAIRS", self.pairs())
            .uint("HALVES", usize::from(self.rotary.is_some_and(|r| r.pairing == Pairing::Halves)))
            .float("TURN_SCALE", self.rotary.map_or(1.0, |r| r.scale))
            .uint("Q_NORM", usize::from(q_norm))
            .uint("K_NORM", usize::from(k_norm))
            .float("Q_EPS", q_eps)
            .float("K_EPS", k_eps)
    }

    /// Keys, values, weights of the norms of queries and keys, and the frequencies, as far as
    /// they are there.
    pub(super) fn inputs(&self) -> [Operand; 5] {
        let [q_norm, k_norm] = self.norms().map(|norm| norm.map(|(id, _)| id.into()));
        let frequencies = (self.pairs() > 0).then_some(self.frequencies);
        [self.kv.map(|kv| kv.k), self.kv.map(|kv| kv.v), q_norm, k_norm, frequencies]
            .map(|what| what.map_or_else(Operand::absent, Operand::read))
    }

    fn norms(&self) -> [Option<HeadNorm>; 2] {
        [self.q.and_then(|q| q.norm), self.kv.and_then(|kv| kv.norm)]
    }

    fn pairs(&self) -> usize {
        self.rotary.map_or(0, |r| r.frequencies.len())
    }
}

/// Simdgroups of a threadgroup, as in the kernel.
const SIMDGROUPS: usize = 4;

/// The launch for all rows of the step.
///
/// # Panics
/// If there is nothing to do, or the cache type does not support the head size,
/// see [`cache::supports`].
pub fn rope_store(shape: Shape, target: Target, op: &RopeStore) -> Launch {
    let (q_heads, kv_heads) = (op.q.map_or(0, |q| q.heads), op.kv.map_or(0, |kv| kv.heads));
    let heads = q_heads + 2 * kv_heads;
    assert!(heads > 0 && op.n <= 256 && 2 * op.pairs() <= op.n, "rope: {op:?}");
    assert!(kv_heads == 0 || cache::supports(target.cache, op.n), "{:?} of {:?}", op.n, target.cache);
    // Many rows: the angles are worth computing once for several heads.
    let heads_per = if shape.rows < 16 { 1 } else { 6 };
    let kernel = Kernel::new("rope_store")
        .option("CACHE", if kv_heads > 0 { cache::option(target.cache) } else { 0 })
        .uint("N", op.n)
        .uint("Q_HEADS", q_heads)
        .uint("KV_HEADS", kv_heads)
        .uint("HEADS_PER", heads_per);
    let [k, v, q_weight, k_weight, frequencies] = op.inputs();
    Launch {
        kernel: op.turning(kernel),
        operands: vec![
            op.q.map_or_else(Operand::absent, |q| Operand::read(q.x)),
            k,
            v,
            q_weight,
            k_weight,
            frequencies,
            op.q.map_or_else(Operand::absent, |q| Operand::write(q.out)),
            op.kv.map_or_else(Operand::absent, |kv| Operand::update(kv.cache.into())),
            Operand::read(What::Step),
        ],
        grid: [heads.div_ceil(SIMDGROUPS * heads_per) as u32, shape.rows as u32, 1],
        threads: 32 * SIMDGROUPS as u32,
    }
}
