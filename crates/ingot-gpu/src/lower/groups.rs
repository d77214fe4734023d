//! Which ops of a plan share a launch.
//!
//! A group is a chain of ops whose intermediate buffers nobody else reads; those
//! buffers are never written. Patterns look at ops and shapes only: a family
//! that builds the same chain gets the same launches.

use super::graph::Graph;
use crate::launches::{Norm, attention_vec};
use ingot_plan::ops::{
    Activation, Add, Attention, Blend, Bonus, Embed, Experts, Glu, LayerNorm, Linear, RmsNorm, Rope,
    RwkvKeys, StoreKv, TokenShift, Wkv7,
};
use ingot_plan::{Buf, Op, WeightId};

/// How the rows of a step are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Path {
    /// Every sequence has one row: matrix-vector kernels.
    Vector,
    /// The same for several sequences, whose products share weights on matrix units.
    Few,
    /// Prompt chunks: matrix kernels on tiles.
    Tile,
}

/// Ops that become one launch (or, for attention and experts, two or three).
#[derive(Debug)]
pub(super) struct Group<'a> {
    /// Their indices, ascending. The group takes the place of the last.
    pub(super) ops: Vec<usize>,
    pub(super) what: Fused<'a>,
}

#[derive(Debug)]
pub(super) enum Fused<'a> {
    Embed {
        op: &'a Embed,
        norm: Option<&'a LayerNorm>,
    },
    Linear(LinearGroup<'a>),
    Store(StoreGroup<'a>),
    Attention(&'a Attention),
    Shift {
        norm: Option<&'a LayerNorm>,
        op: &'a TokenShift,
    },
    Mix {
        blend: Option<&'a Blend>,
        keys: &'a RwkvKeys,
        wkv: &'a Wkv7,
        norm: &'a LayerNorm,
        bonus: &'a Bonus,
    },
    Experts {
        op: &'a Experts,
        residual: Option<&'a Add>,
    },
    /// A norm of what is added to something.
    Norm {
        op: &'a RmsNorm,
        residual: &'a Add,
    },
    /// An op that no pattern took.
    Alone(&'a Op),
}

/// A linear op with what comes before and after it.
#[derive(Debug)]
pub(super) struct LinearGroup<'a> {
    /// The op's index.
    pub(super) index: usize,
    pub(super) op: &'a Linear,
    /// The input, or what the input is made of.
    pub(super) input: Input<'a>,
    /// `f(first part) * second part` instead of the parts.
    pub(super) glu: Option<&'a Glu>,
    /// The other summand and the sum.
    pub(super) residual: Option<(Buf, Buf)>,
    /// The input is mostly zeros.
    pub(super) sparse: bool,
}

/// What a linear op reads.
#[derive(Clone, Copy, Debug)]
pub(super) struct Input<'a> {
    pub(super) x: Buf,
    pub(super) norm: Option<Norm>,
    /// Rows are those of the step's outputs.
    pub(super) select: bool,
    /// `x` is not there: it is this.
    pub(super) glu: Option<&'a Glu>,
}

/// Keys and values on their way into the cache, and the queries that will meet them.
#[derive(Debug)]
pub(super) struct StoreGroup<'a> {
    pub(super) op: &'a StoreKv,
    /// How keys are turned.
    pub(super) k: Option<Turned<'a>>,
    /// Queries that are turned in the same way.
    pub(super) q: Option<Turned<'a>>,
    /// The attention that reads the cache.
    pub(super) attention: Option<&'a Attention>,
    /// The attention is part of the group: it turns and stores what it is given.
    pub(super) attends: bool,
}

/// Queries or keys on their way through an optional norm and the rotation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turned<'a> {
    pub(super) norm: Option<&'a RmsNorm>,
    pub(super) rope: &'a Rope,
}

impl Turned<'_> {
    pub(super) fn head_norm(&self) -> Option<(WeightId, f32)> {
        self.norm.map(|n| (n.weight, n.eps))
    }

    pub(super) fn input(&self) -> Buf {
        self.norm.map_or(self.rope.x, |n| n.x)
    }
}

/// All groups in the order of their launches.
///
/// `products` says for each op, if it is a product, how it is computed; `gates` whether a launch can gate
/// the product with one matrix by that with another, for the linear op of an index.
pub(super) fn groups<'a>(
    graph: &Graph<'a>,
    path: Path,
    products: &[Path],
    gates: &dyn Fn(usize, [WeightId; 2]) -> bool,
) -> Vec<Group<'a>> {
    let ops = graph.plan.ops();
    let taken = vec![false; ops.len()];
    let mut finder = Finder { graph, path, products, gates, taken, groups: Vec::new() };
    // Chains first: what they take is no longer free for the ops that come alone.
    for (i, op) in ops.iter().enumerate() {
        match op {
            Op::Linear(op) => finder.linear(i, op),
            Op::StoreKv(op) => finder.store(i, op),
            Op::TokenShift(op) => finder.shift(i, op),
            Op::Embed(op) => finder.embed(i, op),
            Op::Experts(op) => finder.experts(i, op),
            Op::Bonus(op) => finder.mix(i, op),
            Op::RmsNorm(op) => finder.norm(i, op),
            Op::Attention(op) if !finder.taken[i] => finder.push(vec![i], Fused::Attention(op)),
            _ => {}
        }
    }
    for (i, op) in ops.iter().enumerate() {
        if !finder.taken[i] {
            finder.push(vec![i], Fused::Alone(op));
        }
    }
    finder.groups.sort_by_key(|g| g.ops.last().copied());
    finder.groups
}

struct Finder<'g, 'a> {
    graph: &'g Graph<'a>,
    path: Path,
    gates: &'g dyn Fn(usize, [WeightId; 2]) -> bool,
    products: &'g [Path],
    taken: Vec<bool>,
    groups: Vec<Group<'a>>,
}

impl<'a> Finder<'_, 'a> {
    fn push(&mut self, mut ops: Vec<usize>, what: Fused<'a>) {
        ops.sort_unstable();
        ops.iter().for_each(|&i| self.taken[i] = true);
        self.groups.push(Group { ops, what });
    }

    /// The only producer of `buf` for `reader`, if it is free.
    fn before(&self, buf: Buf, reader: usize) -> Option<(usize, &'a Op)> {
        let i = self.graph.private_producer(buf, reader)?;
        (!self.taken[i]).then(|| (i, self.graph.op(i)))
    }

    /// The only reader of `buf`.
    fn after(&self, buf: Buf) -> Option<(usize, &'a Op)> {
        let i = self.graph.sole_reader(buf)?;
        (!self.taken[i]).then(|| (i, self.graph.op(i)))
    }

    fn linear(&mut self, i: usize, op: &'a Linear) {
        let mut ops = vec![i];
        let mut input = Input { x: op.x, norm: None, select: false, glu: None };
        let mut reader = i;
        if let Some((n, x, norm)) = self.norm_before(op.x, i) {
            ops.push(n);
            (reader, input.x, input.norm) = (n, x, Some(norm));
        }
        let path = self.products[i];
        match self.before(input.x, reader) {
            Some((s, Op::Select(select))) if path == Path::Vector => {
                ops.push(s);
                (input.x, input.select) = (select.x, true);
            }
            Some((g, Op::Glu(glu))) if path != Path::Vector && input.norm.is_none() => {
                ops.push(g);
                input.glu = Some(glu);
            }
            _ => {}
        }
        let squares = |p: usize| match self.graph.op(p) {
            Op::Linear(l) => l.parts.iter().any(|p| p.activation == Activation::SquaredRelu && p.out == op.x),
            _ => false,
        };
        let sparse = self.graph.producer(op.x).is_some_and(squares);
        let mut group = LinearGroup { index: i, op, input, glu: None, residual: None, sparse };
        if let [gate, up] = &op.parts[..]
            && (self.gates)(i, [gate.weight, up.weight])
            && let Some((g, Op::Glu(glu))) = self.after(gate.out)
            && self.graph.sole_reader(up.out) == Some(g)
            && (glu.gate, glu.up) == (gate.out, up.out)
            && [gate, up].iter().all(|p| p.activation == Activation::Identity && p.bias.is_none())
        {
            ops.push(g);
            group.glu = Some(glu);
        }
        if let [part] = &op.parts[..]
            && let Some((a, Op::Add(add))) = self.after(part.out)
        {
            ops.push(a);
            group.residual = Some((if add.a == part.out { add.b } else { add.a }, add.out));
        }
        self.push(ops, Fused::Linear(group));
    }

    /// A norm over whole rows that only `reader` needs: (op, its input, the norm).
    fn norm_before(&self, buf: Buf, reader: usize) -> Option<(usize, Buf, Norm)> {
        let width = self.graph.plan.buffer(buf).width;
        match self.before(buf, reader)? {
            (i, Op::RmsNorm(n)) if self.graph.plan.weight(n.weight).shape == [width] => {
                Some((i, n.x, Norm::Rms { weight: n.weight, eps: n.eps }))
            }
            (i, Op::LayerNorm(n)) if n.groups == 1 => Some((i, n.x, layer_norm(n))),
            _ => None,
        }
    }

    fn store(&mut self, i: usize, op: &'a StoreKv) {
        let mut ops = vec![i];
        let k = self.turned(op.k, i, &mut ops);
        let mut group = StoreGroup { op, k, q: None, attention: None, attends: false };
        let reads_cache = |(a, later): (usize, &'a Op)| match later {
            Op::Attention(attention) if attention.cache == op.cache => Some((a, attention)),
            _ => None,
        };
        let later = self.graph.plan.ops().iter().enumerate().skip(i);
        if let Some((a, attention)) = later.into_iter().find_map(reads_cache) {
            group.attention = Some(attention);
            let mut more = Vec::new();
            let q = self.turned(attention.q, a, &mut more);
            // One launch turns both if they are turned alike.
            let alike = |q: &Turned| group.k.is_some_and(|k| k.rope.rotary == q.rope.rotary);
            if q.as_ref().is_some_and(alike) && more.iter().all(|&m| m < i) {
                ops.extend(more);
                group.q = q;
            }
            let alike = group.q.is_some() || group.k.is_none();
            if self.path != Path::Tile && alike && attention_vec::turns(self.graph.plan, attention) {
                ops.push(a);
                group.attends = true;
            }
        }
        self.push(ops, Fused::Store(group));
    }

    fn turned(&self, buf: Buf, reader: usize, ops: &mut Vec<usize>) -> Option<Turned<'a>> {
        let (r, Op::Rope(rope)) = self.before(buf, reader)? else { return None };
        ops.push(r);
        let size = self.graph.plan.buffer(buf).width / rope.heads;
        let norm = match self.before(rope.x, r) {
            Some((n, Op::RmsNorm(norm))) if self.graph.plan.weight(norm.weight).shape == [size] => {
                ops.push(n);
                Some(norm)
            }
            _ => None,
        };
        Some(Turned { norm, rope })
    }

    fn shift(&mut self, i: usize, op: &'a TokenShift) {
        let norm = match self.before(op.x, i) {
            Some((n, Op::LayerNorm(norm))) if norm.groups == 1 => Some((n, norm)),
            _ => None,
        };
        let ops = norm.iter().map(|(n, _)| *n).chain([i]).collect();
        self.push(ops, Fused::Shift { norm: norm.map(|(_, norm)| norm), op });
    }

    fn embed(&mut self, i: usize, op: &'a Embed) {
        let norm = match self.after(op.out) {
            Some((n, Op::LayerNorm(norm))) if norm.groups == 1 && op.scale == 1.0 => Some((n, norm)),
            _ => None,
        };
        let ops = [i].into_iter().chain(norm.iter().map(|(n, _)| *n)).collect();
        self.push(ops, Fused::Embed { op, norm: norm.map(|(_, norm)| norm) });
    }

    fn norm(&mut self, i: usize, op: &'a RmsNorm) {
        if let Some((a, Op::Add(residual))) = self.after(op.out) {
            self.push(vec![i, a], Fused::Norm { op, residual });
        }
    }

    fn experts(&mut self, i: usize, op: &'a Experts) {
        let residual = match self.after(op.out) {
            Some((a, Op::Add(add))) => Some((a, add)),
            _ => None,
        };
        let ops = [i].into_iter().chain(residual.iter().map(|(a, _)| *a)).collect();
        self.push(ops, Fused::Experts { op, residual: residual.map(|(_, add)| add) });
    }

    /// From the projections to the gated output of a time mix. Only if all of the
    /// chain is there; else its ops come alone.
    fn mix(&mut self, i: usize, bonus: &'a Bonus) {
        let Some((n, Op::LayerNorm(norm))) = self.before(bonus.y, i) else { return };
        let Some((w, Op::Wkv7(wkv))) = self.before(norm.x, n) else { return };
        let Some((k, Op::RwkvKeys(keys))) = self.before(wkv.decay, w) else { return };
        let only = |buf: Buf, readers: &[usize]| {
            buf != self.graph.plan.logits() && self.graph.readers(buf) == readers
        };
        let chained = norm.groups == bonus.heads
            && [keys.heads, wkv.heads] == [bonus.heads; 2]
            && only(keys.removal, &[w])
            && only(keys.key, &[w, i])
            && (keys.removal, keys.key, keys.a) == (wkv.removal, wkv.key, wkv.a)
            && (bonus.k, bonus.v, bonus.r) == (wkv.key, wkv.v, wkv.r);
        if !chained {
            return;
        }
        let mut ops = vec![k, w, n, i];
        let mut blend = None;
        if only(wkv.v, &[w, i])
            && let Some(b) = self.graph.producer(wkv.v)
            && let Op::Blend(found) = self.graph.op(b)
        {
            ops.push(b);
            blend = Some(found);
        }
        self.push(ops, Fused::Mix { blend, keys, wkv, norm, bonus });
    }
}

pub(super) fn layer_norm(n: &LayerNorm) -> Norm {
    Norm::Layer { weight: n.weight, bias: n.bias, eps: n.eps }
}
