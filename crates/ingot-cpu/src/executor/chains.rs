//! Ops of a plan that run as one: chains whose buffers nobody else reads, and
//! which are then never written.
//!
//! Patterns look at ops and shapes only: a family that builds the same chain
//! gets the same pieces of work.

use ingot_plan::ops::{Blend, Bonus, LayerNorm, Linear, RwkvKeys, TokenShift, Wkv7};
use ingot_plan::{Buf, Op, Plan, Uses};
use std::ops::Range;

/// A piece of work, in the place of its last op.
pub(super) enum Work {
    /// Ops one after the other, by their index: one that is no product, or several that
    /// work row by row.
    Ops(Range<usize>),
    /// Products whose ops follow each other, in stages: those of one read nothing
    /// that the others of it write.
    Linears(Vec<Vec<Linear>>),
    /// A token shift.
    Shift(Shift),
    /// A time mix.
    Mix(Box<Mix>),
}

impl Work {
    /// The products of each stage.
    pub(super) fn products(&self) -> &[Vec<Linear>] {
        match self {
            Self::Linears(stages) => stages,
            Self::Ops(_) | Self::Shift(_) | Self::Mix(_) => &[],
        }
    }
}

/// A token shift and the norm before it.
pub(super) struct Shift {
    pub(super) norm: Option<LayerNorm>,
    pub(super) op: TokenShift,
}

/// RWKV-7's time mix from the projections to the gated output.
pub(super) struct Mix {
    /// What values are blended with first.
    pub(super) blend: Option<Blend>,
    pub(super) keys: RwkvKeys,
    pub(super) wkv: Wkv7,
    /// Over each head.
    pub(super) norm: LayerNorm,
    pub(super) bonus: Bonus,
}

/// All work of a plan in order, and what each of its ops still touches: those
/// before the last of a group touch nothing.
pub(super) fn chains(plan: &Plan) -> (Vec<Work>, Vec<Uses>) {
    let mut finder = Finder::new(plan);
    let mut work: Vec<Option<Work>> = (0..plan.ops().len()).map(|i| Some(Work::Ops(i..i + 1))).collect();
    for (i, op) in plan.ops().iter().enumerate() {
        let (what, others) = match op {
            Op::TokenShift(op) => finder.shift(i, op),
            Op::Bonus(op) => match finder.mix(i, op) {
                Some(found) => found,
                None => continue,
            },
            _ => continue,
        };
        for &other in &others {
            work[other] = None;
        }
        work[i] = Some(what);
        finder.join(&others, i);
    }
    let mut first = 0;
    while first < work.len() {
        let linears = finder.linears(first);
        let end = first + linears.len().max(1);
        if !linears.is_empty() {
            let stages = finder.stages(&linears);
            finder.gather(first..end);
            work[first..end].fill_with(|| None);
            work[end - 1] = Some(Work::Linears(stages));
        }
        first = end;
    }
    (work.into_iter().flatten().collect(), finder.uses)
}

struct Finder<'a> {
    plan: &'a Plan,
    /// By op.
    uses: Vec<Uses>,
    /// By buffer.
    producer: Vec<Option<usize>>,
    /// By buffer; the end of the plan reads the logits.
    readers: Vec<Vec<usize>>,
}

impl<'a> Finder<'a> {
    fn new(plan: &'a Plan) -> Self {
        let n = plan.buffers().len();
        let uses: Vec<Uses> = plan.ops().iter().map(Op::uses).collect();
        let (mut producer, mut readers) = (vec![None; n], vec![Vec::new(); n]);
        for (i, uses) in uses.iter().enumerate() {
            uses.writes.iter().for_each(|b| producer[b.index()] = Some(i));
            for b in &uses.reads {
                if readers[b.index()].last() != Some(&i) {
                    readers[b.index()].push(i);
                }
            }
        }
        readers[plan.logits().index()].push(uses.len());
        Self { plan, uses, producer, readers }
    }

    /// The op that writes a buffer which only `readers` read, ascending.
    fn before(&self, buf: Buf, readers: &[usize]) -> Option<(usize, &'a Op)> {
        let i = self.producer[buf.index()]?;
        (self.readers[buf.index()] == readers).then(|| (i, &self.plan.ops()[i]))
    }

    fn shift(&self, i: usize, op: &TokenShift) -> (Work, Vec<usize>) {
        let (norm, others) = match self.before(op.x, &[i]) {
            Some((n, Op::LayerNorm(norm))) if norm.groups == 1 => (Some(norm.clone()), vec![n]),
            _ => (None, vec![]),
        };
        (Work::Shift(Shift { norm, op: op.clone() }), others)
    }

    /// Only if all of the chain is there but perhaps the blend.
    fn mix(&self, i: usize, bonus: &Bonus) -> Option<(Work, Vec<usize>)> {
        let (n, Op::LayerNorm(norm)) = self.before(bonus.y, &[i])? else { return None };
        let (w, Op::Wkv7(wkv)) = self.before(norm.x, &[n])? else { return None };
        let (k, Op::RwkvKeys(keys)) = self.before(wkv.decay, &[w])? else { return None };
        let chained = norm.groups == bonus.heads
            && [keys.heads, wkv.heads] == [bonus.heads; 2]
            && self.before(keys.removal, &[w]).is_some()
            && self.before(keys.key, &[w, i]).is_some()
            && (keys.removal, keys.key, keys.a) == (wkv.removal, wkv.key, wkv.a)
            && (bonus.r, bonus.k, bonus.v) == (wkv.r, wkv.key, wkv.v);
        if !chained {
            return None;
        }
        let mut others = vec![k, w, n];
        let blend = match self.before(wkv.v, &[w, i]) {
            Some((b, Op::Blend(blend))) => {
                others.push(b);
                Some(blend.clone())
            }
            _ => None,
        };
        let mix =
            Mix { blend, keys: keys.clone(), wkv: wkv.clone(), norm: norm.clone(), bonus: bonus.clone() };
        Some((Work::Mix(Box::new(mix)), others))
    }

    /// The products that begin with op `first`, follow each other and have equally
    /// many rows.
    fn linears(&self, first: usize) -> Vec<&'a Linear> {
        let linear = |op: &'a Op| match op {
            Op::Linear(op) => Some(op),
            _ => None,
        };
        let rows = |op: &Linear| self.plan.buffer(op.x).rows;
        let all: Vec<_> = self.plan.ops()[first..].iter().map_while(linear).collect();
        all.iter().copied().take_while(|op| rows(op) == rows(all[0])).collect()
    }

    /// Products in stages, each as early as what it reads allows.
    fn stages(&self, ops: &[&Linear]) -> Vec<Vec<Linear>> {
        let mut stages: Vec<Vec<Linear>> = Vec::new();
        for &op in ops {
            let feeds = |other: &Linear| other.parts.iter().any(|part| part.out == op.x);
            let after = stages.iter().rposition(|stage| stage.iter().any(feeds)).map_or(0, |stage| stage + 1);
            if after == stages.len() {
                stages.push(Vec::new());
            }
            stages[after].push(op.clone());
        }
        stages
    }

    /// Lets the last of some ops touch what all touch, since they do not run in
    /// their order.
    fn gather(&mut self, ops: Range<usize>) {
        let last = ops.end - 1;
        let mut all = std::mem::take(&mut self.uses[last]);
        for i in ops.start..last {
            let uses = std::mem::take(&mut self.uses[i]);
            all.reads.extend(uses.reads);
            all.writes.extend(uses.writes);
            all.weights.extend(uses.weights);
        }
        all.reads.retain(|buf| !all.writes.contains(buf));
        self.uses[last] = all;
    }

    /// Lets the last op of a group touch what all touch, but for what they
    /// write for each other.
    fn join(&mut self, others: &[usize], last: usize) {
        let joined: Vec<Uses> = others.iter().map(|&o| std::mem::take(&mut self.uses[o])).collect();
        let inner: Vec<Buf> = joined.iter().flat_map(|uses| uses.writes.iter().copied()).collect();
        let all = &mut self.uses[last];
        for uses in joined {
            all.reads.extend(uses.reads);
            all.weights.extend(uses.weights);
            all.state = all.state.or(uses.state);
        }
        all.reads.retain(|buf| !inner.contains(buf));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ingot_format::{DType, Tensor};
    use ingot_plan::{PlanBuilder, Precision, StateDecl, WeightId};

    const C: usize = 32;
    const HEADS: usize = 2;

    fn weight(plan: &mut PlanBuilder, rows: usize) -> WeightId {
        let bytes = vec![0; 4 * rows * C];
        plan.weight(&Tensor::new("w", DType::F32, vec![rows, C], bytes.into()).unwrap())
    }

    /// Norm and shift, then a time mix; with `watched`, somebody else wants to see
    /// the keys and what is shifted.
    fn plan(watched: bool) -> Plan {
        let mut plan = PlanBuilder::new(Precision::F32);
        let [table, w, b, mix] = [9, 1, 1, 6].map(|rows| weight(&mut plan, rows));
        let x = plan.embed(table);
        let h = plan.layer_norm(x, (w, b), 1e-5);
        let state = plan.state(StateDecl::Recurrent { len: C });
        let [r, w_raw, k, v, a, g] = plan.token_shift(h, mix, state);
        let v = plan.blend(v, x, a);
        let [decay, removal, key] = plan.rwkv_keys([w_raw, k, a], [w, b], HEADS);
        let state = plan.state(StateDecl::Recurrent { len: C * C / HEADS });
        let heads = HEADS;
        let y = plan.wkv7(|out| Wkv7 { r, decay, key, v, removal, a, heads, state, out }, r);
        let y = plan.group_norm(y, (w, b), HEADS, 1e-5);
        let mut y = plan.bonus(|out| Bonus { y, r, k: key, v, g, r_k: b, heads, out }, y);
        if watched {
            y = plan.add(y, key);
            y = plan.add(y, h);
        }
        let logits = plan.select(y);
        plan.finish(logits)
    }

    #[test]
    fn chains_run_as_one() {
        let plan = plan(false);
        let (work, uses) = chains(&plan);
        let [Work::Ops(_), Work::Shift(shift), Work::Mix(mix), Work::Ops(_)] = &work[..] else {
            panic!("{} pieces of work", work.len());
        };
        assert!(shift.norm.is_some() && mix.blend.is_some());
        // The logits are all that the rest leaves of what is written.
        let written: usize = uses.iter().map(|uses| uses.writes.len()).sum();
        assert_eq!(written, 1 + 6 + 1 + 1);
        // x, six shifted rows without the value, which is read blended
        let reads = uses.iter().find(|uses| uses.writes == [mix.bonus.out]).map(|uses| &uses.reads);
        let inner = [mix.keys.decay, mix.keys.key, mix.keys.removal, mix.wkv.v, mix.wkv.out, mix.norm.out];
        assert!(inner.iter().all(|buf| !reads.unwrap().contains(buf)));
        assert!([mix.wkv.r, mix.keys.w, mix.bonus.g].iter().all(|buf| reads.unwrap().contains(buf)));
    }

    #[test]
    fn products_run_in_stages() {
        let mut plan = PlanBuilder::new(Precision::F32);
        let [table, square] = [9, C].map(|rows| weight(&mut plan, rows));
        let x = plan.embed(table);
        let a = plan.linear(x, square);
        let b = plan.linear(a, square);
        let c = plan.linear(x, square);
        let d = plan.linear(b, square);
        let y = plan.add(c, d);
        let logits = plan.select(y);
        let plan = plan.finish(logits);
        let (work, uses) = chains(&plan);
        let [Work::Ops(_), Work::Linears(stages), Work::Ops(_), Work::Ops(_)] = &work[..] else {
            panic!("{} pieces of work", work.len());
        };
        let outs: Vec<Vec<Buf>> =
            stages.iter().map(|stage| stage.iter().map(|op| op.parts[0].out).collect()).collect();
        assert_eq!(outs, [vec![a, c], vec![b], vec![d]]);
        // All that they write is there at the same time.
        let layout = ingot_plan::Layout::of(&plan, &uses);
        let mut regions: Vec<_> = [x, a, b, c, d].iter().map(|buf| layout.region_of[buf.index()]).collect();
        regions.sort_unstable();
        regions.dedup();
        assert_eq!(regions.len(), 5);
    }

    #[test]
    fn what_others_read_is_written() {
        let plan = plan(true);
        let (work, uses) = chains(&plan);
        assert!(work.iter().all(|work| match work {
            Work::Ops(_) | Work::Linears(_) => true,
            Work::Shift(shift) => shift.norm.is_none(),
            Work::Mix(_) => false,
        }));
        let own: Vec<Uses> = plan.ops().iter().map(Op::uses).collect();
        assert_eq!(uses, own);
    }
}
