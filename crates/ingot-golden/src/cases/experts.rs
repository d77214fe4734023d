//! Mixtures of experts.

use super::{Case, Inputs, Schedule};
use ingot_format::DType;
use ingot_plan::ExpertWeights;

pub(super) fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for (dtype, c, f) in [
        (DType::F32, 40, 24),
        (DType::F16, 64, 96),
        (DType::BF16, 64, 33),
        (DType::Q8_0, 96, 64),
        (DType::Q4_0, 64, 32),
        (DType::Q5_1, 64, 64),
        (DType::Q4_K, 256, 256),
        (DType::Q6_K, 256, 256),
    ] {
        all.push(experts(dtype, c, f, 7, 3).limits([3e-5, 4e-3, 4e-3]));
        if dtype.block_len() > 1 {
            all.push(experts(dtype, c, f, 7, 3).q8().limits([1e-2; 3]));
        }
    }
    all.push(experts(DType::Q8_0, 64, 64, 1, 1).limits([3e-5, 4e-3, 4e-3]));
    all.push(experts(DType::Q8_0, 64, 32, 128, 8).limits([3e-5, 4e-3, 4e-3]));
    all.push(experts(DType::F16, 64, 32, 4, 4).limits([3e-5, 4e-3, 4e-3]));
    all
}

/// The same at a model's sizes.
pub(super) fn speed() -> Vec<Case> {
    [DType::F16, DType::Q8_0, DType::Q4_K].map(|dtype| experts(dtype, 1024, 512, 16, 4).q8()).into()
}

/// The mixture added to its input, as in a block.
fn experts(dtype: DType, c: usize, f: usize, experts: usize, chosen: usize) -> Case {
    Case::new(format!("experts/{dtype}, {chosen} of {experts}, {c} x {f}"), move |m| {
        let x = m.input(c, Inputs::Around(0.0, 1.0));
        // Logits as they are: a product's rounding could change who is chosen.
        let router = m.input(experts, Inputs::Around(0.0, 2.0));
        let (gate, up) = (m.matrix(dtype, &[experts, f, c]), m.matrix(dtype, &[experts, f, c]));
        let down = m.matrix(dtype, &[experts, c, f]);
        let y = m.plan.experts(x, router, ExpertWeights { gate, up, down, chosen });
        let y = m.plan.add(x, y);
        m.plan.select(y)
    })
    .schedule(Schedule::FEW)
}
