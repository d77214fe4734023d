//! Weights and inputs for plans under construction.

use ingot_format::{Bytes, DType, Tensor};
use ingot_plan::{Buf, Plan, PlanBuilder, Precision, WeightId};
use std::sync::Arc;

/// Tokens that cases use: rows of their inputs.
pub(super) const TOKENS: usize = 16;

/// A plan with its weights.
pub struct Maker {
    /// The plan so far.
    pub plan: PlanBuilder,
    weights: Vec<Tensor>,
    random: u64,
}

/// What the rows of an input are like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Inputs {
    /// Around a value, with a standard deviation.
    Around(f32, f32),
    /// Rows that are hard on arithmetic: huge, tiny, denormal, constant, zero, with
    /// a single large value.
    Hard,
}

impl Maker {
    pub(super) fn new(precision: Precision) -> Self {
        Self { plan: PlanBuilder::new(precision), weights: Vec::new(), random: 1 }
    }

    pub(super) fn finish(self, out: Buf) -> (Arc<Plan>, Vec<Tensor>) {
        (Arc::new(self.plan.finish(out)), self.weights)
    }

    /// Uniform in -1..1.
    fn random(&mut self) -> f32 {
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    /// Values around `middle` with this standard deviation.
    pub fn values(&mut self, n: usize, middle: f32, deviation: f32) -> Vec<f32> {
        (0..n).map(|_| middle + deviation * (self.random() + self.random() + self.random())).collect()
    }

    /// A weight of given values.
    pub fn weight(&mut self, dtype: DType, shape: &[usize], values: &[f32]) -> WeightId {
        let mut bytes = vec![0; values.len() / dtype.block_len() * dtype.block_bytes()];
        dtype.quantize(values, &mut bytes);
        let name = format!("w{}", self.weights.len());
        let tensor = Tensor::new(name, dtype, shape.to_vec(), Bytes::from(bytes)).expect("whole blocks");
        let id = self.plan.weight(&tensor);
        self.weights.push(tensor);
        id
    }

    /// A matrix, or several, whose products are about as large as their inputs.
    pub fn matrix(&mut self, dtype: DType, shape: &[usize]) -> WeightId {
        let cols = shape.last().copied().unwrap_or(1);
        let values = self.values(shape.iter().product(), 0.0, 1.0 / (cols as f32).sqrt());
        self.weight(dtype, shape, &values)
    }

    /// A vector around 1, as norms have.
    pub fn vector(&mut self, n: usize) -> WeightId {
        let values = self.values(n, 1.0, 0.2);
        self.weight(DType::F32, &[n], &values)
    }

    /// A vector around 0.
    pub fn bias(&mut self, n: usize) -> WeightId {
        let values = self.values(n, 0.0, 0.2);
        self.weight(DType::F32, &[n], &values)
    }

    /// Rows that the step's tokens choose: `[T, width]`.
    pub fn input(&mut self, width: usize, inputs: Inputs) -> Buf {
        let values: Vec<f32> = (0..TOKENS).flat_map(|token| self.row(width, inputs, token)).collect();
        let table = self.weight(DType::F32, &[TOKENS, width], &values);
        self.plan.embed(table)
    }

    fn row(&mut self, width: usize, inputs: Inputs, token: usize) -> Vec<f32> {
        match (inputs, token) {
            (Inputs::Around(middle, spread), _) => self.values(width, middle, spread),
            (_, 1) => self.values(width, 0.0, 1e6),
            (_, 2) => self.values(width, 0.0, 1e-24),
            (_, 4) => self.values(width, 0.0, 1e-40),
            (_, 5) => vec![3.0; width],
            (_, 6) => vec![0.0; width],
            (_, 8) => vec![-1e6; width],
            (_, 9) => self.values(width, 100.0, 0.1),
            (_, 11) => {
                let mut row = self.values(width, 0.0, 1.0);
                row[width / 2] = 3e4;
                row
            }
            (_, 12) => (0..width).map(|i| [1e-8, 1e4, -1.0][i % 3]).collect(),
            _ => self.values(width, 0.0, 1.0),
        }
    }
}
