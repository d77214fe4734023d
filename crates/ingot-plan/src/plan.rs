//! The plan itself: declarations of buffers, weights and states, and the ops.

use crate::Op;
use crate::ops::Select;
use ingot_format::DType;

/// Positions in one page of key/value cache.
///
/// A page holds the keys and values of all layers for this many consecutive
/// positions of a sequence; sequences own lists of pages.
pub const PAGE: usize = 64;

/// A buffer of f32 rows, written by exactly one op of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Buf(pub(crate) u32);

/// A weight tensor of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WeightId(pub(crate) u32);

/// Memory that a sequence keeps from step to step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StateId(pub(crate) u32);

macro_rules! index {
    ($($id:ident),*) => {$(impl $id {
        /// The declaration at this position of the plan's list of its kind, for plans that are
        /// written down as data; builders hand out their own.
        pub const fn new(position: u32) -> Self {
            Self(position)
        }
        /// Position of this declaration in the plan's list of its kind.
        pub fn index(self) -> usize {
            self.0 as usize
        }
    })*};
}
index!(Buf, WeightId, StateId);

/// How many rows a buffer has in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rows {
    /// One per token of the step (T).
    Tokens,
    /// One per token whose logits are wanted (O).
    Outputs,
}

/// How a linear op sees its input rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Precision {
    /// As they are, in f32.
    #[default]
    F32,
    /// Rounded to 8 bits in blocks of 32 (see [`crate::ops::round_to_q8`]) where
    /// the weight is quantized, so that the product is one of integers.
    Q8,
}

/// A buffer `[rows, width]` of f32.
#[derive(Clone, Debug, PartialEq)]
pub struct BufferDecl {
    /// What it holds, for people and for comparing executors.
    pub name: String,
    /// How many rows.
    pub rows: Rows,
    /// Values in a row.
    pub width: usize,
}

/// A weight the plan names.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightDecl {
    /// The tensor's name.
    pub name: String,
    /// How it is stored.
    pub dtype: DType,
    /// Sizes, outermost first.
    pub shape: Vec<usize>,
    /// Bytes of the whole tensor.
    pub bytes: usize,
}

/// What a sequence keeps from step to step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateDecl {
    /// Keys and values of one layer, a row of `width` = kv heads x head size
    /// each per position, in pages of [`PAGE`] positions: `k[PAGE][width]`,
    /// then `v[PAGE][width]`.
    Kv {
        /// Values in a key row, and in a value row.
        width: usize,
    },
    /// `len` f32 values in the sequence's slot, zero at the beginning.
    Recurrent {
        /// Number of values.
        len: usize,
    },
}

/// One step of a model as plain data.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    pub(crate) buffers: Vec<BufferDecl>,
    pub(crate) weights: Vec<WeightDecl>,
    pub(crate) states: Vec<StateDecl>,
    pub(crate) ops: Vec<Op>,
    pub(crate) logits: Buf,
}

impl Plan {
    /// A plan that is written down as data, held to the rules that a builder keeps.
    ///
    /// # Panics
    /// If something is named that is not there, a shape does not fit, a buffer is read before
    /// it is written or written twice, or the logits are not a row per output: such data is
    /// part of a program, and wrong data a mistake in it.
    pub fn of_data(
        buffers: Vec<BufferDecl>,
        weights: Vec<WeightDecl>,
        states: Vec<StateDecl>,
        ops: Vec<Op>,
        logits: Buf,
    ) -> Self {
        let plan = Self { buffers, weights, states, ops, logits };
        let mut written = vec![false; plan.buffers.len()];
        for (i, op) in plan.ops.iter().enumerate() {
            let uses = op.uses();
            for buf in &uses.reads {
                assert!(written[buf.index()], "op {i}, {}: nothing has written {buf:?}", op.name());
            }
            op.check(&plan);
            for buf in &uses.writes {
                let again = std::mem::replace(&mut written[buf.index()], true);
                assert!(!again, "op {i}, {}: {buf:?} is written twice", op.name());
            }
        }
        assert!(written[logits.index()], "nothing has written the logits");
        assert!(plan.buffer(logits).rows == Rows::Outputs, "logits: {:?}", plan.buffer(logits));
        plan
    }

    /// The ops, in an order that respects every dependency.
    pub fn ops(&self) -> &[Op] {
        &self.ops
    }
    /// All buffers.
    pub fn buffers(&self) -> &[BufferDecl] {
        &self.buffers
    }
    /// A buffer's declaration.
    pub fn buffer(&self, buf: Buf) -> &BufferDecl {
        &self.buffers[buf.index()]
    }
    /// The buffer of this name.
    pub fn find(&self, name: &str) -> Option<Buf> {
        self.buffers.iter().position(|b| b.name == name).map(|i| Buf(i as u32))
    }
    /// All weights, in the order executors are given the tensors.
    pub fn weights(&self) -> &[WeightDecl] {
        &self.weights
    }
    /// A weight's declaration.
    pub fn weight(&self, id: WeightId) -> &WeightDecl {
        &self.weights[id.index()]
    }
    /// All states.
    pub fn states(&self) -> &[StateDecl] {
        &self.states
    }
    /// The buffer `[O, vocab]` that the step is run for.
    pub fn logits(&self) -> Buf {
        self.logits
    }
    /// The same step without its last product, for those who want what the head would have
    /// been given: `[O, hidden]` in place of the logits. `None` if it does not end with a
    /// head. A cap on the logits is part of it.
    pub fn without_head(&self) -> Option<Self> {
        let (products, ops) = match self.ops.split_last()? {
            (Op::Softcap(cap), ops) => (cap.x, ops),
            _ => (self.logits, &self.ops[..]),
        };
        let (Op::Linear(head), ops) = ops.split_last()? else { return None };
        let is_head = matches!(&head.parts[..], [part] if part.out == products);
        let is_last = self.buffers.len() - products.index() == self.ops.len() - ops.len();
        let of_outputs = self.buffer(head.x).rows == Rows::Outputs;
        (is_head && is_last && of_outputs).then(|| Self {
            buffers: self.buffers[..products.index()].to_vec(),
            weights: self.weights.clone(),
            states: self.states.clone(),
            ops: ops.to_vec(),
            logits: head.x,
        })
    }

    /// What the layers hand on, from the first to the last: each `[T, hidden]`.
    pub fn layers(&self) -> Vec<Buf> {
        let is_layer = |buf: &Buf| self.buffer(*buf).name.starts_with("block ");
        (0..self.buffers.len() as u32).map(Buf).filter(is_layer).collect()
    }

    /// The same step up to a buffer with a row for each token, of which the output rows
    /// become the logits.
    ///
    /// # Panics
    /// If no op writes the buffer, or it has other rows.
    pub fn until(&self, buf: Buf) -> Self {
        let last = self.ops.iter().position(|op| op.uses().writes.contains(&buf));
        let mut ops = self.ops[..=last.expect("an op writes each buffer")].to_vec();
        let mut buffers = self.buffers.clone();
        let logits = Buf(buffers.len() as u32);
        let selected = BufferDecl { name: "logits".into(), rows: Rows::Outputs, ..self.buffer(buf).clone() };
        buffers.push(selected);
        ops.push(Op::Select(Select { x: buf, out: logits }));
        let plan = Self { buffers, weights: self.weights.clone(), states: self.states.clone(), ops, logits };
        plan.ops.iter().for_each(|op| op.check(&plan));
        plan
    }

    /// How many tokens it can be given: the rows of its embedding table.
    pub(crate) fn embedded_tokens(&self) -> usize {
        let tables = self.ops.iter().filter_map(|op| match op {
            Op::Embed(embed) => Some(self.weight(embed.table).shape[0]),
            _ => None,
        });
        tables.min().unwrap_or(0)
    }
    /// Number of logits in a row.
    pub fn vocab(&self) -> usize {
        self.buffer(self.logits).width
    }

    /// Values of one page over all layers; 0 for a purely recurrent model.
    pub fn page_len(&self) -> usize {
        self.states.iter().map(|s| s.page_len()).sum()
    }
    /// f32 values of one sequence's slot; 0 for a model without recurrence.
    pub fn slot_len(&self) -> usize {
        self.states.iter().map(|s| s.slot_len()).sum()
    }
    /// Where a state begins inside its page or slot, in values.
    pub fn state_offset(&self, id: StateId) -> usize {
        let before = &self.states[..id.index()];
        match self.states[id.index()] {
            StateDecl::Kv { .. } => before.iter().map(|s| s.page_len()).sum(),
            StateDecl::Recurrent { .. } => before.iter().map(|s| s.slot_len()).sum(),
        }
    }

    /// Bytes of weights that decoding one token reads: every matrix once, one
    /// row of each embedding table, and of an expert tensor only the chosen part.
    pub fn bytes_per_token(&self) -> usize {
        let mut bytes = 0;
        for op in &self.ops {
            let weights = op.uses().weights;
            let of = |id: &WeightId| self.weight(*id).bytes;
            bytes += match op {
                Op::Embed(op) => of(&op.table) / self.weight(op.table).shape[0],
                Op::Experts(op) => weights.iter().map(of).sum::<usize>() * op.chosen / op.experts,
                _ => weights.iter().map(of).sum(),
            };
        }
        bytes
    }
}

impl StateDecl {
    fn page_len(&self) -> usize {
        match *self {
            Self::Kv { width } => 2 * PAGE * width,
            Self::Recurrent { .. } => 0,
        }
    }
    fn slot_len(&self) -> usize {
        match *self {
            Self::Kv { .. } => 0,
            Self::Recurrent { len } => len,
        }
    }
}
