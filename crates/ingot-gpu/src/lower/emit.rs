//! From groups of ops to launches.

use super::graph::Graph;
use super::groups::{Fused, Group, Input, LinearGroup, Path, StoreGroup, Turned, groups, layer_norm};
use super::{LowerError, Lowered, Node};
use crate::launch::{Launch, Operand, What};
use crate::launches::pack::Layout;
use crate::launches::rope_store::{KeysValues, Queries, RopeStore};
use crate::launches::{self as l, Shape, Target};
use ingot_format::DType;
use ingot_plan::ops::{Attention, Part, Rotary};
use ingot_plan::{Buf, Op, Plan, Precision, Rows, StateId};
use std::collections::BTreeMap;

/// The launches of all groups, without places.
pub(super) fn emit(graph: &Graph, target: &Target, shape: &Shape, path: Path) -> Result<Lowered, LowerError> {
    let delicate: Vec<bool> =
        std::iter::zip(graph.before_recurrences(), graph.before_norms()).map(|(a, b)| a || b).collect();
    let products = products(graph.plan, target, path, &delicate);
    let gates = |op: usize, matrices| match products[op] {
        Path::Vector => true,
        Path::Few => false,
        Path::Tile => {
            let exact = target.exact || delicate[op];
            l::linear_tile::gates(graph.plan, &Target { exact, ..*target }, matrices)
        }
    };
    let groups = groups(graph, path, &products, &gates);
    let mut emitter = Emitter {
        graph,
        plan: graph.plan,
        target,
        shape,
        path,
        ready: vec![false; graph.plan.buffers().len()],
        packed_inputs: BTreeMap::new(),
        next_rows: None,
        next_at: 0,
        layer: None,
        delicate,
        products,
        out: Lowered {
            launches: Vec::new(),
            scratch: Vec::new(),
            tables: Vec::new(),
            sampling: None,
            places: BTreeMap::new(),
            arena: 0,
            guards: Vec::new(),
        },
    };
    let shifted: usize = shift_states(graph.plan).iter().map(|(_, width)| width).sum();
    if path == Path::Tile && shifted > 0 {
        emitter.next_rows = Some(emitter.scratch(4 * shape.sequences * shifted));
    }
    let mut done = vec![false; groups.len()];
    for i in 0..groups.len() {
        if done[i] {
            continue;
        }
        // Products that can begin now share a launch.
        let together = emitter.siblings(&groups, &done, i);
        together.iter().for_each(|&g| done[g] = true);
        let together: Vec<&Group> = together.iter().map(|&g| &groups[g]).collect();
        emitter.group(&together)?;
    }
    emitter.commit_shifts();
    Ok(emitter.out)
}

struct Emitter<'g, 'a> {
    graph: &'g Graph<'a>,
    plan: &'a Plan,
    target: &'g Target,
    shape: &'g Shape,
    path: Path,
    /// Buffers that a launch before has written.
    ready: Vec<bool>,
    /// Inputs that are packed already, by buffer and layout.
    packed_inputs: BTreeMap<(Buf, Layout), u32>,
    /// On the tile path, where the last rows of token shifts wait for the end of the
    /// step, and how much of that is taken.
    next_rows: Option<u32>,
    next_at: usize,
    layer: Option<usize>,
    /// Ops whose results are not to be rounded to 16 bits, by index.
    delicate: Vec<bool>,
    /// How products are computed, by index of the op.
    products: Vec<Path>,
    out: Lowered,
}

impl<'a> Emitter<'_, 'a> {
    /// The groups that share a launch with group `i`, which is the first of them.
    fn siblings(&self, groups: &[Group<'a>], done: &[bool], i: usize) -> Vec<usize> {
        let mut together = vec![i];
        let Fused::Linear(first) = &groups[i].what else { return together };
        if !self.is_plain(first) {
            return together;
        }
        let (mut parts, mut biases) = (first.op.parts.len(), biases(first));
        for (j, group) in groups.iter().enumerate().skip(i + 1) {
            let Fused::Linear(other) = &group.what else { continue };
            let (more, more_biases) = (other.op.parts.len(), self::biases(other));
            let fits = parts + more <= l::linear_vec::PARTS && biases + more_biases <= l::linear_vec::BIASES;
            let alike = other.op.inputs == first.op.inputs
                && other.sparse == first.sparse
                && self.products[other.index] == self.products[first.index]
                && (self.products[first.index] != Path::Tile || self.is_exact(other) == self.is_exact(first));
            if !done[j] && fits && alike && self.is_plain(other) {
                (parts, biases) = (parts + more, biases + more_biases);
                together.push(j);
            }
        }
        together
    }

    /// A product that needs nothing but its input, which is there.
    fn is_plain(&self, g: &LinearGroup) -> bool {
        let Input { x, norm, select, glu } = g.input;
        let alone = norm.is_none() && !select && glu.is_none() && g.glu.is_none() && g.residual.is_none();
        alone && self.ready[x.index()] && self.plan.buffer(x).rows == Rows::Tokens
    }

    fn group(&mut self, together: &[&Group<'a>]) -> Result<(), LowerError> {
        let ops: Vec<usize> = together.iter().flat_map(|g| g.ops.iter().copied()).collect();
        self.layer = self.layer_of(&ops).unwrap_or(self.layer);
        match &together[0].what {
            Fused::Linear(_) => {
                let linears: Vec<&LinearGroup> = together
                    .iter()
                    .map(|g| match &g.what {
                        Fused::Linear(linear) => linear,
                        other => unreachable!("{other:?} is no sibling of a linear op"),
                    })
                    .collect();
                self.linears(&ops, &linears)?;
            }
            Fused::Embed { op, norm } => {
                let out = norm.map_or(op.out, |n| n.out);
                let launch =
                    l::embed::embed(self.plan, self.target, self.shape, op, norm.map(layer_norm), out)?;
                self.push(&ops, launch);
            }
            Fused::Store(group) => self.store(&ops, group)?,
            Fused::Attention(op) => match self.path {
                Path::Vector | Path::Few => {
                    self.check_head(self.plan.buffer(op.q).width / op.heads)?;
                    self.attention_vec(&ops, op, None);
                }
                Path::Tile => {
                    self.check_head(self.plan.buffer(op.q).width / op.heads)?;
                    let exact = self.target.exact || ops.iter().any(|&op| self.delicate[op]);
                    let target = Target { exact, ..*self.target };
                    let launch = l::attention_tile::attention_tile(self.plan, self.shape, &target, op);
                    self.push(&ops, launch);
                }
            },
            Fused::Shift { norm, op } => {
                let (mixes, width) = (op.outs.len(), self.plan.buffer(op.x).width);
                if mixes > l::shift::MOST_MIXES || width > l::shift::WIDEST {
                    let what = format!("there is no GPU kernel for {mixes} token shifts of {width} values");
                    return Err(LowerError::Unsupported(what));
                }
                let x = norm.map_or(op.x, |n| n.x);
                let width = self.plan.buffer(x).width;
                let next = self.next_rows.map(|scratch| (scratch, self.next_at));
                self.next_at += 4 * self.shape.sequences * width;
                let launch = l::shift::shift(self.plan, self.shape, x.into(), norm.map(layer_norm), op, next);
                self.push(&ops, launch);
            }
            Fused::Mix { blend, keys, wkv, norm, bonus } => {
                self.check_recurrent_head(wkv.r, wkv.heads)?;
                let mix = l::rwkv7_mix::Mix { blend: *blend, keys, wkv, norm, bonus };
                let head = self.plan.buffer(wkv.r).width / wkv.heads;
                if self.path == Path::Tile && l::rwkv7_chunk::supports(head) {
                    let scratch = l::rwkv7_chunk::scratch_bytes(self.plan, self.shape, &mix);
                    let scratch = scratch.map(|bytes| self.scratch(bytes));
                    let launches = l::rwkv7_chunk::rwkv7_chunk(self.plan, self.shape, &mix, scratch);
                    launches.into_iter().for_each(|launch| self.push(&ops, launch));
                } else {
                    self.push(&ops, l::rwkv7_mix::rwkv7_mix(self.plan, self.shape, &mix));
                }
            }
            Fused::Experts { op, residual } => {
                let rows = self.shape.rows;
                let scratch = l::experts::experts_scratch(self.plan, op, rows).map(|b| self.scratch(b));
                let out = residual.map_or(op.out, |add| add.out);
                let other = residual.map(|add| if add.a == op.out { add.b } else { add.a });
                let (other, out) = (other.map(What::from), out.into());
                let launches = l::experts::experts(self.plan, self.target, op, other, out, rows, scratch)?;
                launches.into_iter().for_each(|launch| self.push(&ops, launch));
            }
            Fused::Norm { op, residual } => {
                let launch = l::norm::rms_norm(self.plan, *self.shape, op, Some(residual));
                self.push(&ops, launch);
            }
            Fused::Alone(op) => self.alone(&ops, op)?,
        }
        Ok(())
    }

    /// Appends a launch; what it writes is there from now on.
    fn push(&mut self, ops: &[usize], launch: Launch) {
        for operand in &launch.operands {
            if let (What::Buffer(buf), true) = (operand.what, operand.access != crate::launch::Access::Read) {
                self.ready[buf.index()] = true;
            }
        }
        self.out.launches.push(Node { launch, ops: ops.to_vec(), layer: self.layer });
    }

    fn scratch(&mut self, bytes: usize) -> u32 {
        self.out.scratch.push(bytes);
        self.out.scratch.len() as u32 - 1
    }

    fn rows(&self, rows: Rows) -> usize {
        match rows {
            Rows::Tokens => self.shape.rows,
            Rows::Outputs => self.shape.outputs,
        }
    }

    /// The layer that the ops' weights name; `Some(None)` for weights outside of all
    /// layers, `None` if there are no weights.
    fn layer_of(&self, ops: &[usize]) -> Option<Option<usize>> {
        let weights = ops.iter().flat_map(|&i| self.graph.op(i).uses().weights);
        let names = weights.map(|id| self.plan.weight(id).name.as_str());
        names.map(|name| name.split('.').find_map(|part| part.parse().ok())).max()
    }

    fn linears(&mut self, ops: &[usize], groups: &[&LinearGroup<'a>]) -> Result<(), LowerError> {
        let first = groups[0];
        if self.products[first.index] != Path::Vector {
            return self.packed(ops, groups);
        }
        let rows = self.plan.buffer(first.op.parts[0].out).rows;
        let out = |part: &Part| match (first.glu, first.residual) {
            (Some(glu), _) => glu.out,
            (None, Some((_, sum))) => sum,
            (None, None) => part.out,
        };
        let parts: Vec<_> = groups
            .iter()
            .flat_map(|g| g.op.parts.iter().map(move |part| (g.input.x, part)))
            .map(|(x, part)| l::linear_vec::Part {
                x: Operand::read(x.into()),
                weight: part.weight,
                bias: part.bias,
                activation: part.activation,
                out: out(part).into(),
            })
            .collect();
        let linear = l::linear_vec::Linear {
            parts: &parts,
            norm: first.input.norm,
            glu: first.glu.map(|g| g.f),
            residual: first.residual.map(|(other, _)| other.into()),
            select: first.input.select,
            skip_zeros: first.sparse,
            inputs: first.op.inputs,
            rows: self.rows(rows),
        };
        let launch = l::linear_vec::linear_vec(self.plan, self.target, &linear)?;
        self.push(ops, launch);
        Ok(())
    }

    /// Products on matrix units: inputs are packed first.
    fn packed(&mut self, ops: &[usize], groups: &[&LinearGroup<'a>]) -> Result<(), LowerError> {
        let tile = self.products[groups[0].index] == Path::Tile;
        let target = Target { exact: tile && self.is_exact(groups[0]), ..*self.target };
        let kind = self.plan.buffer(groups[0].op.parts[0].out).rows;
        let shape = Shape { rows: self.rows(kind), ..*self.shape };
        let layout = if tile { Layout::of_tiles(&target) } else { Layout::Few };
        self.pack(ops, groups, layout, &shape);
        if let (Some(glu), [gate, up]) = (groups[0].glu, &groups[0].op.parts[..]) {
            let x = What::Scratch(self.packed_inputs[&(groups[0].op.x, layout)]);
            let out = glu.out.into();
            let gate =
                l::linear_tile::Part { x, weight: gate.weight, bias: None, activation: gate.activation, out };
            let launches =
                l::linear_tile::gated_tile(self.plan, &target, &gate, up.weight, glu.f, shape.rows)?;
            launches.into_iter().for_each(|launch| self.push(ops, launch));
            return Ok(());
        }
        let parts: Vec<_> = groups
            .iter()
            .flat_map(|g| g.op.parts.iter().map(move |part| (g, part)))
            .map(|(g, part)| l::linear_tile::Part {
                x: What::Scratch(self.packed_inputs[&(g.op.x, layout)]),
                weight: part.weight,
                bias: part.bias,
                activation: part.activation,
                out: g.residual.map_or(part.out, |(_, sum)| sum).into(),
            })
            .collect();
        let residual = groups[0].residual.map(|(other, _)| other.into());
        let launches = if tile {
            l::linear_tile::linear_tile(self.plan, &target, &parts, residual, shape.rows)?
        } else {
            let outputs = kind == Rows::Outputs;
            l::linear_few::linear_few(self.plan, &target, &parts, residual, outputs, shape.rows)?
        };
        launches.into_iter().for_each(|launch| self.push(ops, launch));
        Ok(())
    }

    /// Packs the inputs that are not packed yet, those of one width in one launch.
    fn pack(&mut self, ops: &[usize], groups: &[&LinearGroup<'a>], layout: Layout, shape: &Shape) {
        let mut by_width: BTreeMap<usize, Vec<Buf>> = BTreeMap::new();
        for g in groups {
            let x = g.op.x;
            if self.packed_inputs.contains_key(&(x, layout)) {
                continue;
            }
            let width = self.plan.buffer(x).width;
            let scratch = self.scratch(layout.bytes(shape.rows, width));
            self.packed_inputs.insert((x, layout), scratch);
            let input = match g.input {
                Input { glu: Some(glu), .. } => {
                    l::pack::Input::Glu { gate: glu.gate.into(), up: glu.up.into(), f: glu.f }
                }
                Input { x, norm: Some(_), .. } => l::pack::Input::Rows(vec![x.into()]),
                Input { x, .. } => {
                    by_width.entry(width).or_default().push(x);
                    continue;
                }
            };
            let launch = l::pack::pack(shape, layout, width, &input, g.input.norm, &[scratch]);
            self.push(ops, launch);
        }
        for (width, inputs) in by_width {
            for some in inputs.chunks(l::pack::MOST_INPUTS) {
                let to: Vec<u32> = some.iter().map(|&x| self.packed_inputs[&(x, layout)]).collect();
                let input = l::pack::Input::Rows(some.iter().map(|&x| x.into()).collect());
                let launch = l::pack::pack(shape, layout, width, &input, None, &to);
                self.push(ops, launch);
            }
        }
    }

    /// Matrices that are stored in 32 bits are meant to be exact, and so is what a
    /// recurrence takes up.
    fn is_exact(&self, g: &LinearGroup) -> bool {
        let is_f32 = |p: &Part| self.plan.weight(p.weight).dtype == DType::F32;
        self.target.exact || self.delicate[g.index] || g.op.parts.iter().any(is_f32)
    }

    fn store(&mut self, ops: &[usize], g: &StoreGroup) -> Result<(), LowerError> {
        let width = self.plan.buffer(g.op.k).width;
        // Without an attention there are no heads, and any size will do.
        let heads = g.attention.map_or(width / self.target.cache.block_len().max(8), |a| a.kv_heads);
        let n = width / heads;
        self.check_head(n)?;
        let mut new = RopeStore {
            n,
            q: g.q.map(queries),
            kv: Some(KeysValues {
                k: g.k.map_or(g.op.k, |k| k.input()).into(),
                v: g.op.v.into(),
                heads,
                norm: g.k.and_then(|k| k.head_norm()),
                cache: g.op.cache,
            }),
            rotary: g.k.map(|k| &*k.rope.rotary),
            frequencies: What::Step,
        };
        new.frequencies = self.frequencies(new.rotary);
        match g.attention {
            Some(op) if g.attends => self.attention_vec(ops, op, Some(&new)),
            _ => self.push(ops, l::rope_store::rope_store(*self.shape, *self.target, &new)),
        }
        Ok(())
    }

    fn attention_vec(&mut self, ops: &[usize], op: &Attention, new: Option<&RopeStore>) {
        let partials = self.scratch(l::attention_vec::partial_bytes(self.plan, *self.shape, op));
        let launches =
            l::attention_vec::attention_vec(self.plan, *self.shape, *self.target, op, new, partials);
        launches.into_iter().for_each(|launch| self.push(ops, launch));
    }

    /// The table of frequencies, if there is a rotation.
    fn frequencies(&mut self, rotary: Option<&Rotary>) -> What {
        rotary.map_or(What::Step, |r| What::Scratch(self.table(&r.frequencies)))
    }

    fn check_recurrent_head(&self, buf: Buf, heads: usize) -> Result<(), LowerError> {
        let n = self.plan.buffer(buf).width / heads;
        match l::rwkv7::supports(n) {
            true => Ok(()),
            false => {
                Err(LowerError::Unsupported(format!("there is no GPU kernel for recurrent heads of {n}")))
            }
        }
    }

    fn check_head(&self, n: usize) -> Result<(), LowerError> {
        match l::cache::supports(self.target.cache, n) {
            true => Ok(()),
            false => Err(LowerError::Unsupported(format!(
                "there is no GPU kernel for heads of {n} with keys and values as {}",
                self.target.cache
            ))),
        }
    }

    /// The number of a constant table.
    fn table(&mut self, values: &[f32]) -> u32 {
        if let Some((known, _)) = self.out.tables.iter().find(|(_, v)| v == values) {
            return *known;
        }
        let scratch = self.scratch(4 * values.len());
        self.out.tables.push((scratch, values.to_vec()));
        scratch
    }

    /// On the tile path the last rows of token shifts go to their slots at the end:
    /// until then other rows of the step read what was there before.
    fn commit_shifts(&mut self) {
        let Some(next) = self.next_rows else { return };
        let states: Vec<_> = shift_states(self.plan);
        self.layer = None;
        for launch in l::shift::shift_commit(self.shape, &states, next) {
            self.push(&[], launch);
        }
    }

    /// An op that no chain took.
    fn alone(&mut self, ops: &[usize], op: &Op) -> Result<(), LowerError> {
        let rows = self.shape.rows;
        let launch = match op {
            Op::Add(op) => l::elementwise::add(self.plan, *self.shape, op),
            Op::Blend(op) => l::elementwise::blend(self.plan, *self.shape, op),
            Op::Glu(op) => l::elementwise::glu(self.plan, *self.shape, op),
            Op::RmsNorm(op) => l::norm::rms_norm(self.plan, *self.shape, op, None),
            Op::LayerNorm(op) => l::norm::layer_norm(self.plan, *self.shape, op),
            Op::Select(op) => l::select::select(self.plan, *self.shape, op),
            Op::Softcap(op) => l::elementwise::softcap(self.plan, *self.shape, op),
            Op::RwkvKeys(op) => {
                self.check_recurrent_head(op.k, op.heads)?;
                l::rwkv_keys::rwkv_keys(self.plan, op, rows)
            }
            Op::Wkv7(op) => {
                self.check_recurrent_head(op.r, op.heads)?;
                l::wkv7::wkv7(self.plan, self.shape, op)
            }
            Op::Bonus(op) => {
                self.check_recurrent_head(op.y, op.heads)?;
                l::bonus::bonus(self.plan, op, rows)
            }
            Op::Rope(rope) => {
                let n = self.plan.buffer(rope.x).width / rope.heads;
                let q = Some(queries(Turned { norm: None, rope }));
                let rotary = Some(&*rope.rotary);
                let frequencies = self.frequencies(rotary);
                let op = RopeStore { n, q, kv: None, rotary, frequencies };
                l::rope_store::rope_store(*self.shape, *self.target, &op)
            }
            Op::Linear(_)
            | Op::Embed(_)
            | Op::Attention(_)
            | Op::StoreKv(_)
            | Op::TokenShift(_)
            | Op::Experts(_) => unreachable!("{op:?} begins a chain"),
        };
        self.push(ops, launch);
        Ok(())
    }
}

/// How each product is computed in a step of this kind, by index of the op.
fn products(plan: &Plan, target: &Target, path: Path, delicate: &[bool]) -> Vec<Path> {
    let of = |(i, op): (usize, &Op)| {
        let Op::Linear(op) = op else { return path };
        let dtype = |part: &Part| plan.weight(part.weight).dtype;
        // What vectors would read as 8 bits loses nothing by 16.
        let packed = || op.inputs == Precision::Q8 && op.parts.iter().all(|p| dtype(p).block_len() > 1);
        let exact = || op.parts.iter().any(|p| dtype(p) == DType::F32) || delicate[i] && !packed();
        match path {
            Path::Few if target.exact || exact() => Path::Vector,
            // A head for few rows: as in decode, and so with the same bits.
            Path::Tile if plan.buffer(op.parts[0].out).rows == Rows::Outputs => Path::Vector,
            path => path,
        }
    };
    plan.ops().iter().enumerate().map(of).collect()
}

fn biases(g: &LinearGroup) -> usize {
    g.op.parts.iter().filter(|p| p.bias.is_some()).count()
}

fn queries(q: Turned) -> Queries {
    Queries { x: q.input().into(), heads: q.rope.heads, norm: q.head_norm(), out: q.rope.out.into() }
}

/// States of all token shifts and their widths, in the order of the ops.
fn shift_states(plan: &Plan) -> Vec<(StateId, usize)> {
    let shift = |op: &Op| match op {
        Op::TokenShift(op) => Some((op.state, plan.buffer(op.x).width)),
        _ => None,
    };
    plan.ops().iter().filter_map(shift).collect()
}
