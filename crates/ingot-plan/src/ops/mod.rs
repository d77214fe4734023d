//! The ops, one file each: formula, shape rule, naive reference.
//!
//! [`Op`] is closed: adding a variant makes the compiler list every place that
//! has to know about it. T is the number of token rows of a step, O the number
//! of rows whose logits are wanted.

mod add;
mod attention;
mod blend;
mod bonus;
mod embed;
mod experts;
mod glu;
mod layer_norm;
mod linear;
mod rms_norm;
mod rope;
mod rwkv_keys;
mod select;
mod softcap;
mod store_kv;
mod token_shift;
mod wkv7;

pub use add::Add;
pub use attention::Attention;
pub use blend::Blend;
pub use bonus::Bonus;
pub use embed::Embed;
pub use experts::{Experts, Stack, choose};
pub use glu::{GELU_CUBE, GELU_SLOPE, Gate, Glu};
pub use layer_norm::LayerNorm;
pub use linear::{Activation, Linear, Part, round_to_q8};
pub use rms_norm::RmsNorm;
pub use rope::{Pairing, Rope, Rotary};
pub use rwkv_keys::RwkvKeys;
pub use select::Select;
pub use softcap::{Softcap, soft_cap};
pub use store_kv::StoreKv;
pub use token_shift::TokenShift;
pub use wkv7::Wkv7;

use crate::reference::Machine;
use crate::{Buf, Plan, StateId, WeightId};

/// What an op touches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Uses {
    /// Buffers it reads.
    pub reads: Vec<Buf>,
    /// Buffers it writes, each completely.
    pub writes: Vec<Buf>,
    /// Weights it reads.
    pub weights: Vec<WeightId>,
    /// State it reads or writes.
    pub state: Option<StateId>,
}

/// What every op can say and do.
pub(crate) trait Operation {
    /// Its name in printed plans.
    const NAME: &'static str;
    /// What it touches.
    fn uses(&self) -> Uses;
    /// Panics with the shapes if they do not fit: a plan is built by our own
    /// code from checked sizes, so a mismatch is a bug.
    fn check(&self, plan: &Plan);
    /// The meaning of the op.
    fn reference(&self, m: &mut Machine);
    /// Its parameters, for printed plans.
    fn parameters(&self) -> String {
        String::new()
    }
}

macro_rules! ops {
    ($($name:ident),* $(,)?) => {
        /// One op of a plan.
        #[derive(Clone, Debug, PartialEq)]
        #[allow(missing_docs)] // each is documented where it is defined
        pub enum Op {
            $($name($name),)*
        }

        impl Op {
            /// The op's name in printed plans.
            pub fn name(&self) -> &'static str {
                match self { $(Self::$name(_) => <$name as Operation>::NAME,)* }
            }
            /// What the op touches.
            pub fn uses(&self) -> Uses {
                match self { $(Self::$name(op) => op.uses(),)* }
            }
            /// The op's parameters, for people.
            pub fn parameters(&self) -> String {
                match self { $(Self::$name(op) => op.parameters(),)* }
            }
            pub(crate) fn check(&self, plan: &Plan) {
                match self { $(Self::$name(op) => op.check(plan),)* }
            }
            pub(crate) fn reference(&self, m: &mut Machine) {
                match self { $(Self::$name(op) => op.reference(m),)* }
            }
        }

        $(impl From<$name> for Op {
            fn from(op: $name) -> Self {
                Self::$name(op)
            }
        })*
    };
}

ops!(
    Add, Attention, Blend, Bonus, Embed, Experts, Glu, LayerNorm, Linear, RmsNorm, Rope, RwkvKeys, Select,
    Softcap, StoreKv, TokenShift, Wkv7,
);

/// Panics unless the buffers have the same rows and width.
fn same_shape(op: &str, plan: &Plan, bufs: &[Buf]) {
    let first = plan.buffer(bufs[0]);
    for &b in &bufs[1..] {
        let other = plan.buffer(b);
        assert!(
            (first.rows, first.width) == (other.rows, other.width),
            "{op}: {:?} [{:?}, {}] against {:?} [{:?}, {}]",
            bufs[0],
            first.rows,
            first.width,
            b,
            other.rows,
            other.width
        );
    }
}

/// Panics unless the weight is a vector of `len` values.
fn vector(op: &str, plan: &Plan, id: WeightId, len: usize) {
    let w = plan.weight(id);
    let values: usize = w.shape.iter().product();
    assert!(values == len, "{op}: {} {:?} should have {len} values", w.name, w.shape);
}
