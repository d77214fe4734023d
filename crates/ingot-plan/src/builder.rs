//! Building plans. A family's forward function calls these methods in the order
//! of the computation; each takes buffers, makes the buffers it writes and
//! appends one op, whose shapes are checked at once.

use crate::ops::{
    Activation, Add, Attention, Blend, Bonus, Embed, Experts, Gate, Glu, LayerNorm, Linear, Part, RmsNorm,
    Rope, Rotary, RwkvKeys, Select, Softcap, Stack, StoreKv, TokenShift, Wkv7,
};
use crate::plan::{BufferDecl, Plan, Rows, StateDecl, WeightDecl};
use crate::{Buf, Op, Precision, StateId, WeightId};
use ingot_format::Tensor;
use std::sync::Arc;

/// Appends ops to a plan.
pub struct PlanBuilder {
    plan: Plan,
    precision: Precision,
}

/// A weight with what comes after the product, as [`PlanBuilder::linear`] takes it.
#[derive(Clone, Copy, Debug)]
pub struct Projection {
    weight: WeightId,
    bias: Option<WeightId>,
    activation: Activation,
}

impl From<WeightId> for Projection {
    fn from(weight: WeightId) -> Self {
        Self { weight, bias: None, activation: Activation::Identity }
    }
}

impl From<(WeightId, Option<WeightId>)> for Projection {
    fn from((weight, bias): (WeightId, Option<WeightId>)) -> Self {
        Self { weight, bias, activation: Activation::Identity }
    }
}

impl From<(WeightId, Activation)> for Projection {
    fn from((weight, activation): (WeightId, Activation)) -> Self {
        Self { weight, bias: None, activation }
    }
}

impl From<(WeightId, WeightId, Activation)> for Projection {
    fn from((weight, bias, activation): (WeightId, WeightId, Activation)) -> Self {
        Self { weight, bias: Some(bias), activation }
    }
}

/// The step-independent inputs of an [`Experts`] layer.
#[derive(Clone, Debug)]
pub struct ExpertWeights {
    /// `[E, F, C]`
    pub gate: Stack,
    /// `[E, F, C]`
    pub up: Stack,
    /// `[E, C, F]`
    pub down: Stack,
    /// Experts used by a row.
    pub chosen: usize,
    /// Whether their weights are brought to a sum of 1.
    pub renormalise: bool,
}

impl PlanBuilder {
    /// An empty plan whose linear ops see their inputs with this precision.
    pub fn new(precision: Precision) -> Self {
        let (buffers, weights, states, ops) = Default::default();
        Self { plan: Plan { buffers, weights, states, ops, logits: Buf(0) }, precision }
    }

    /// Declares a weight.
    pub fn weight(&mut self, tensor: &Tensor) -> WeightId {
        self.plan.weights.push(WeightDecl {
            name: tensor.name().to_string(),
            dtype: tensor.dtype(),
            shape: tensor.shape().to_vec(),
            bytes: tensor.data().len(),
        });
        WeightId(self.plan.weights.len() as u32 - 1)
    }

    /// Declares a state.
    pub fn state(&mut self, decl: StateDecl) -> StateId {
        self.plan.states.push(decl);
        StateId(self.plan.states.len() as u32 - 1)
    }

    /// Gives a buffer a name of its own, to be found by when executors are compared.
    pub fn name(&mut self, buf: Buf, name: impl Into<String>) {
        self.plan.buffers[buf.index()].name = name.into();
    }

    fn buffer(&mut self, name: &str, rows: Rows, width: usize) -> Buf {
        self.plan.buffers.push(BufferDecl { name: name.to_string(), rows, width });
        Buf(self.plan.buffers.len() as u32 - 1)
    }

    fn like(&mut self, name: &str, buf: Buf) -> Buf {
        let BufferDecl { rows, width, .. } = self.plan.buffers[buf.index()];
        self.buffer(name, rows, width)
    }

    fn push(&mut self, op: impl Into<Op>) {
        let op = op.into();
        op.check(&self.plan);
        self.plan.ops.push(op);
    }

    /// The step's tokens as rows of `table` `[vocab, C]`: `[T, C]`.
    pub fn embed(&mut self, table: WeightId) -> Buf {
        self.scaled_embed(table, 1.0)
    }

    /// The same with a factor on the values.
    pub fn scaled_embed(&mut self, table: WeightId, scale: f32) -> Buf {
        let width = *self.plan.weight(table).shape.last().unwrap_or(&0);
        let out = self.buffer("embed", Rows::Tokens, width);
        self.push(Embed { table, scale, out });
        out
    }

    /// Root-mean-square norm over groups as long as `weight`.
    pub fn rms_norm(&mut self, x: Buf, weight: WeightId, eps: f32) -> Buf {
        let out = self.like("rms_norm", x);
        self.push(RmsNorm { x, weight, eps, out });
        out
    }

    /// Layer norm with bias over the whole row.
    pub fn layer_norm(&mut self, x: Buf, affine: (WeightId, WeightId), eps: f32) -> Buf {
        self.group_norm(x, affine, 1, eps)
    }

    /// Layer norm with bias in each of `groups` groups of the row.
    pub fn group_norm(
        &mut self,
        x: Buf,
        (weight, bias): (WeightId, WeightId),
        groups: usize,
        eps: f32,
    ) -> Buf {
        let out = self.like("layer_norm", x);
        self.push(LayerNorm { x, weight, bias, groups, eps, out });
        out
    }

    /// Products of `x` with several weights, in one op.
    pub fn linears<const N: usize>(&mut self, x: Buf, projections: [Projection; N]) -> [Buf; N] {
        let rows = self.plan.buffer(x).rows;
        let outs = projections.map(|p| {
            let width = self.plan.weight(p.weight).shape[0];
            self.buffer("linear", rows, width)
        });
        let part = |(p, out): (&Projection, &Buf)| Part {
            weight: p.weight,
            bias: p.bias,
            activation: p.activation,
            out: *out,
        };
        let parts = projections.iter().zip(&outs).map(part).collect();
        self.push(Linear { x, inputs: self.precision, parts });
        outs
    }

    /// The product of `x` with one weight.
    pub fn linear(&mut self, x: Buf, projection: impl Into<Projection>) -> Buf {
        let [out] = self.linears(x, [projection.into()]);
        out
    }

    /// `f(gate) * up`.
    pub fn glu(&mut self, gate: Buf, up: Buf, f: Gate) -> Buf {
        let out = self.like("glu", gate);
        self.push(Glu { gate, up, f, out });
        out
    }

    /// `a + b`.
    pub fn add(&mut self, a: Buf, b: Buf) -> Buf {
        let out = self.like("add", a);
        self.push(Add { a, b, out });
        out
    }

    /// Rotary position embedding of `heads` heads.
    pub fn rope(&mut self, x: Buf, heads: usize, rotary: &Arc<Rotary>) -> Buf {
        let out = self.like("rope", x);
        self.push(Rope { x, heads, rotary: rotary.clone(), out });
        out
    }

    /// Stores keys and values `[T, KV * N]` in a new cache, then attends to it.
    pub fn attention(
        &mut self,
        [q, k, v]: [Buf; 3],
        heads: [usize; 2],
        scale: f32,
        window: Option<usize>,
    ) -> Buf {
        self.capped_attention([q, k, v], heads, scale, None, window)
    }

    /// The same with scores that are softly kept below a cap.
    pub fn capped_attention(
        &mut self,
        [q, k, v]: [Buf; 3],
        heads: [usize; 2],
        scale: f32,
        cap: Option<f32>,
        window: Option<usize>,
    ) -> Buf {
        let cache = self.state(StateDecl::Kv { width: self.plan.buffer(k).width });
        self.push(StoreKv { k, v, cache });
        let out = self.like("attention", q);
        let [heads, kv_heads] = heads;
        self.push(Attention { q, cache, heads, kv_heads, scale, cap, window, out });
        out
    }

    /// Mixture of experts with router logits `[T, E]`.
    pub fn experts(&mut self, x: Buf, router: Buf, w: ExpertWeights) -> Buf {
        let out = self.like("experts", x);
        let experts = self.plan.buffer(router).width;
        let ExpertWeights { gate, up, down, chosen, renormalise } = w;
        let inputs = self.precision;
        self.push(Experts { x, router, gate, up, down, experts, chosen, renormalise, inputs, out });
        out
    }

    /// Token shift with N mixes and a state of its own.
    pub fn token_shift<const N: usize>(&mut self, x: Buf, mix: WeightId, state: StateId) -> [Buf; N] {
        let outs = [(); N].map(|()| self.like("token_shift", x));
        self.push(TokenShift { x, mix, state, outs: outs.to_vec() });
        outs
    }

    /// `from + (to - from) * by`.
    pub fn blend(&mut self, from: Buf, to: Buf, by: Buf) -> Buf {
        let out = self.like("blend", from);
        self.push(Blend { from, to, by, out });
        out
    }

    /// Decay, removal key and replacement key of RWKV-7, see [`RwkvKeys`].
    pub fn rwkv_keys(&mut self, [w, k, a]: [Buf; 3], [k_k, k_a]: [WeightId; 2], heads: usize) -> [Buf; 3] {
        let [decay, removal, key] = ["decay", "removal", "key"].map(|name| self.like(name, k));
        self.push(RwkvKeys { w, k, a, k_k, k_a, heads, decay, removal, key });
        [decay, removal, key]
    }

    /// RWKV-7's recurrence; the fields but `out` as in [`Wkv7`].
    pub fn wkv7(&mut self, op: impl FnOnce(Buf) -> Wkv7, like: Buf) -> Buf {
        let out = self.like("wkv7", like);
        self.push(op(out));
        out
    }

    /// RWKV-7's bonus and gate; the fields but `out` as in [`Bonus`].
    pub fn bonus(&mut self, op: impl FnOnce(Buf) -> Bonus, like: Buf) -> Buf {
        let out = self.like("bonus", like);
        self.push(op(out));
        out
    }

    /// `cap * tanh(x / cap)`.
    pub fn softcap(&mut self, x: Buf, cap: f32) -> Buf {
        let out = self.like("softcap", x);
        self.push(Softcap { x, cap, out });
        out
    }

    /// The rows whose logits are wanted: `[O, C]`.
    pub fn select(&mut self, x: Buf) -> Buf {
        let out = self.buffer("select", Rows::Outputs, self.plan.buffer(x).width);
        self.push(Select { x, out });
        out
    }

    /// The finished plan; `logits` is what it is run for.
    ///
    /// # Panics
    /// If the logits are not a row per output, or nothing writes them.
    pub fn finish(mut self, logits: Buf) -> Plan {
        let decl = &mut self.plan.buffers[logits.index()];
        assert!(decl.rows == Rows::Outputs, "logits: {decl:?}");
        decl.name = "logits".into();
        self.plan.logits = logits;
        self.plan
    }
}

impl Plan {
    /// Panics unless `weights` are the tensors the plan declares, in order.
    pub fn check_weights(&self, weights: &[Tensor]) {
        assert!(self.weights.len() == weights.len(), "{} weights for {}", weights.len(), self.weights.len());
        for (decl, tensor) in self.weights.iter().zip(weights) {
            assert!(
                decl.dtype == tensor.dtype() && decl.shape == tensor.shape(),
                "weight {}: {:?} {:?} given for {:?} {:?}",
                decl.name,
                tensor.dtype(),
                tensor.shape(),
                decl.dtype,
                decl.shape
            );
        }
    }
}
