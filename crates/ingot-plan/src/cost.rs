//! What an op takes at least: bytes that have to come from memory, and operations.
//!
//! Buffers between ops are left out: of one token they stay in caches. So nothing can
//! be faster than the bytes divided by what the memory can do, which is what speeds
//! are held against.

use crate::{Op, Plan, Rows, StateDecl};
use ingot_format::DType;
use std::ops::{Add, AddAssign};

/// A step of several sequences that are alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// How many sequences.
    pub sequences: usize,
    /// Rows of each.
    pub rows: usize,
    /// Positions of each before them.
    pub past: usize,
    /// How keys and values are stored.
    pub cache: DType,
}

impl Load {
    /// One token of one sequence.
    pub fn token(past: usize, cache: DType) -> Self {
        Self { sequences: 1, rows: 1, past, cache }
    }
}

/// What an op takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Bytes of weights that are read, each once.
    pub weights: usize,
    /// Bytes of keys, values and recurrent states that are read or written, each once.
    pub state: usize,
    /// Additions and multiplications of products with weights, keys and values.
    pub operations: usize,
}

impl Cost {
    /// All bytes.
    pub fn bytes(&self) -> usize {
        self.weights + self.state
    }
}

impl Add for Cost {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self {
            weights: self.weights + other.weights,
            state: self.state + other.state,
            operations: self.operations + other.operations,
        }
    }
}

impl AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl std::iter::Sum for Cost {
    fn sum<I: Iterator<Item = Self>>(costs: I) -> Self {
        costs.fold(Self::default(), Self::add)
    }
}

impl Plan {
    /// What a step takes; logits are those of each sequence's last row.
    pub fn cost(&self, load: &Load) -> Cost {
        self.ops().iter().map(|op| op.cost(self, load)).sum()
    }
}

impl Op {
    /// What the op takes in a step of its plan; logits are those of each sequence's last row.
    pub fn cost(&self, plan: &Plan, load: &Load) -> Cost {
        let Load { sequences, rows, past, cache } = *load;
        let all_rows = sequences * rows;
        let key_and_value = |width| 2 * cache.row_bytes(width).expect("pages hold whole blocks");
        let state = |recurrent: usize, per_value_row: usize| {
            let id = self.uses().state.expect("an op with a state");
            match plan.states()[id.index()] {
                StateDecl::Kv { width } => per_value_row * key_and_value(width),
                StateDecl::Recurrent { len } => recurrent * size_of::<f32>() * len,
            }
        };
        let weights = self.uses().weights;
        let bytes: usize = weights.iter().map(|id| plan.weight(*id).bytes).sum();
        match self {
            Self::Embed(op) => {
                let table = plan.weight(op.table);
                Cost {
                    weights: all_rows.min(table.shape[0]) * (table.bytes / table.shape[0]),
                    ..Cost::default()
                }
            }
            Self::Experts(op) => {
                // Of more rows than that all experts are wanted, if the rows differ.
                let wanted = op.experts.min(all_rows * op.chosen);
                let values: usize = weights.iter().map(|id| values(plan.weight(*id))).sum();
                Cost {
                    weights: bytes / op.experts * wanted,
                    operations: 2 * all_rows * op.chosen * (values / op.experts),
                    ..Cost::default()
                }
            }
            Self::Linear(op) => {
                let rows = if plan.buffer(op.x).rows == Rows::Outputs { sequences } else { all_rows };
                let values: usize = op.parts.iter().map(|part| values(plan.weight(part.weight))).sum();
                Cost { weights: bytes, operations: 2 * rows * values, ..Cost::default() }
            }
            Self::Attention(op) => {
                let seen: usize = (past..past + rows).map(|p| p + 1 - op.first_seen(p)).sum();
                let positions = past + rows - op.first_seen(past);
                Cost {
                    state: sequences * state(0, positions),
                    operations: 4 * sequences * seen * plan.buffer(op.q).width,
                    ..Cost::default()
                }
            }
            Self::StoreKv(_) => Cost { state: all_rows * state(0, 1), ..Cost::default() },
            // Read and written once, however many rows there are.
            Self::TokenShift(_) | Self::Wkv7(_) => {
                Cost { weights: bytes, state: sequences * state(2, 0), ..Cost::default() }
            }
            Self::Add(_)
            | Self::Blend(_)
            | Self::Bonus(_)
            | Self::Glu(_)
            | Self::LayerNorm(_)
            | Self::RmsNorm(_)
            | Self::Rope(_)
            | Self::RwkvKeys(_)
            | Self::Select(_)
            | Self::Softcap(_) => Cost { weights: bytes, ..Cost::default() },
        }
    }
}

fn values(weight: &crate::WeightDecl) -> usize {
    weight.shape.iter().product()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::Wkv7;
    use crate::{ExpertWeights, PlanBuilder, Precision, WeightId};
    use ingot_format::Tensor;

    fn weight(plan: &mut PlanBuilder, shape: &[usize]) -> WeightId {
        let bytes = vec![0; 4 * shape.iter().product::<usize>()];
        plan.weight(&Tensor::new("w", DType::F32, shape.to_vec(), bytes.into()).unwrap())
    }

    fn load(sequences: usize, rows: usize, past: usize) -> Load {
        Load { sequences, rows, past, cache: DType::F16 }
    }

    #[test]
    fn attention_and_products() {
        let mut plan = PlanBuilder::new(Precision::F32);
        let (table, square) = (weight(&mut plan, &[10, 8]), weight(&mut plan, &[8, 8]));
        let x = plan.embed(table);
        let q = plan.linear(x, square);
        let a = plan.attention([q, q, q], [2, 2], 1.0, Some(4));
        let last = plan.select(a);
        let logits = plan.linear(last, table);
        let plan = plan.finish(logits);

        let row = 2 * 2 * 8; // a key and a value of 8 f16
        let token = plan.cost(&load(1, 1, 1));
        // a row of the table, the matrix, the head; the store, and two positions of attention
        assert_eq!(token.weights, 4 * (8 + 64 + 80));
        assert_eq!(token.state, row + 2 * row);
        assert_eq!(token.operations, 2 * 64 + 2 * 80 + 4 * 2 * 8);
        // Of a window of 4 the rows at 7 and 8 see 4 each, and 5 positions together.
        let two = plan.cost(&load(3, 2, 7));
        assert_eq!(two.weights, 4 * (6 * 8 + 64 + 80));
        assert_eq!(two.state, 3 * (2 * row + 5 * row));
        assert_eq!(two.operations, 6 * 2 * 64 + 3 * 2 * 80 + 4 * 3 * 8 * 8);
        let f32 = Load { cache: DType::F32, ..load(1, 1, 1) };
        assert_eq!(plan.cost(&f32).state, 2 * token.state);
    }

    #[test]
    fn states_do_not_grow() {
        let mut plan = PlanBuilder::new(Precision::F32);
        let table = weight(&mut plan, &[4, 8]);
        let x = plan.embed(table);
        let state = plan.state(StateDecl::Recurrent { len: 32 });
        let heads = 2;
        let y =
            plan.wkv7(|out| Wkv7 { r: x, decay: x, key: x, v: x, removal: x, a: x, heads, state, out }, x);
        let logits = plan.select(y);
        let plan = plan.finish(logits);
        for (rows, past) in [(1, 0), (1, 1000), (16, 7)] {
            assert_eq!(plan.cost(&load(2, rows, past)).state, 2 * 2 * 4 * 32);
        }
    }

    #[test]
    fn chosen_experts() {
        let mut plan = PlanBuilder::new(Precision::F32);
        let (table, router) = (weight(&mut plan, &[4, 8]), weight(&mut plan, &[4, 8]));
        let [gate, up, down] =
            [[8, 2, 8], [8, 2, 8], [8, 8, 2]].map(|shape| weight(&mut plan, &shape).into());
        let (x, router) = (plan.embed(table), plan.embed(router));
        let y = plan.experts(x, router, ExpertWeights { gate, up, down, chosen: 2, renormalise: true });
        let logits = plan.select(y);
        let plan = plan.finish(logits);
        let of = |load: &Load| plan.ops()[2].cost(&plan, load);
        let expert = 3 * 16;
        assert_eq!(of(&load(1, 1, 0)), Cost { weights: 2 * 4 * expert, state: 0, operations: 4 * expert });
        assert_eq!(of(&load(1, 3, 0)).weights, 6 * 4 * expert);
        assert_eq!(of(&load(3, 3, 0)), Cost { weights: 8 * 4 * expert, state: 0, operations: 36 * expert });
    }
}
