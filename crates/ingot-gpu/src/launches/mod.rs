//! One file per kernel: the options, constants, buffers and geometry it is
//! launched with. Geometry that depends on the shape is a small table beside it.

pub mod advance;
pub mod attention_tile;
pub mod attention_vec;
pub mod block_types;
pub mod bonus;
pub mod cache;
pub mod elementwise;
pub mod embed;
pub mod experts;
pub mod linear_few;
pub mod linear_tile;
pub mod linear_vec;
pub mod norm;
pub mod pack;
pub mod rope_store;
pub mod rwkv7;
pub mod rwkv7_chunk;
pub mod rwkv7_mix;
pub mod rwkv_keys;
pub mod sample;
pub mod select;
pub mod shift;
pub mod wkv7;

use crate::open::GpuOptions;
use crate::tuning::Tuning;
use ingot_format::DType;
use ingot_plan::{Op, Plan, WeightId};

/// The step that launches are made for: sizes, not contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    /// Token rows, T.
    pub rows: usize,
    /// Rows whose logits are wanted, O.
    pub outputs: usize,
    /// Sequences, S.
    pub sequences: usize,
    /// No sequence has more positions than this at the end of the step.
    pub context: usize,
}

/// What the launches are made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Cores that hold threadgroups.
    pub cores: usize,
    /// How keys and values are stored: F16, F32 or Q8_0.
    pub cache: DType,
    /// Tiles of f32 instead of f16 in prefill.
    pub exact: bool,
    /// Matrices of some types are arranged in [`eights`](crate::eights).
    pub eights: bool,
    /// Matrices are multiplied as `kernels/include/wide.h` says.
    pub wide: bool,
    /// Sizes of matrix-vector launches that are better than the usual ones.
    pub tuning: Tuning,
}

impl Target {
    /// A device of which nothing is known but its cores.
    pub fn of_cores(cores: usize) -> Self {
        let tuning = Tuning::default();
        Self { cores, cache: DType::F16, exact: false, eights: false, wide: false, tuning }
    }

    /// A device with so many cores, with the usual sizes and weights as they are in files.
    pub fn new(plan: &Plan, cores: u32, options: &GpuOptions) -> Self {
        // A router decides by comparing: nothing on the way to it is rounded to 16 bits.
        let routes = plan.ops().iter().any(|op| matches!(op, Op::Experts(_)));
        Self {
            cores: cores.max(1) as usize,
            cache: options.cache,
            exact: options.exact || routes,
            eights: false,
            wide: false,
            tuning: Tuning::default(),
        }
    }
}

/// A norm that is worked into the launch that reads its result.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Norm {
    /// `x / sqrt(mean(x^2) + eps) * weight` over the row.
    Rms {
        /// `[C]`, F32
        weight: WeightId,
        /// Added to the mean square.
        eps: f32,
    },
    /// `(x - mean) / sqrt(var + eps) * weight + bias` over the row.
    Layer {
        /// `[C]`, F32
        weight: WeightId,
        /// `[C]`, F32
        bias: WeightId,
        /// Added to the variance.
        eps: f32,
    },
}
