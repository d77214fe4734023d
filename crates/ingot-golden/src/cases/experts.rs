//! Mixtures of experts.

use super::{Case, Inputs, Schedule};
use ingot_format::DType;
use ingot_plan::ExpertWeights;
use ingot_plan::ops::Stack;

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
    all.push(poisoned(DType::F16, 64, 32));
    all.push(poisoned(DType::Q8_0, 64, 32).q8());
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
        let [gate, up, down] = [gate, up, down].map(Stack::from);
        let y = m.plan.experts(x, router, ExpertWeights { gate, up, down, chosen, renormalise: true });
        let y = m.plan.add(x, y);
        m.plan.select(y)
    })
    .schedule(Schedule::FEW)
}

/// Tensors of their own for each of six experts, of which every row chooses from the first, third
/// and fifth; the others are no numbers, and whoever so much as multiplies them with zero has NaN as well.
/// The weights of the chosen are not renormalised.
fn poisoned(dtype: DType, c: usize, f: usize) -> Case {
    Case::new(format!("experts/separate and poisoned, {dtype}"), move |m| {
        let x = m.input(c, Inputs::Around(0.0, 1.0));
        let logits: Vec<f32> = (0..super::maker::TOKENS)
            .flat_map(|_| m.values(6, 0.0, 1.0))
            .enumerate()
            .map(|(i, logit)| if i % 2 == 0 { logit + 20.0 } else { logit })
            .collect();
        let table = m.weight(DType::F32, &[super::maker::TOKENS, 6], &logits);
        let router = m.plan.embed(table);
        let mut stack = |rows: usize, cols: usize| {
            let expert = |e: usize| {
                let values = match e % 2 {
                    0 => m.values(rows * cols, 0.0, 1.0 / (cols as f32).sqrt()),
                    // In Q8_0 an infinite factor.
                    _ => vec![if dtype == DType::F16 { f32::NAN } else { f32::INFINITY }; rows * cols],
                };
                m.weight(dtype, &[rows, cols], &values)
            };
            Stack::of((0..6).map(expert).collect())
        };
        let (gate, up, down) = (stack(f, c), stack(f, c), stack(c, f));
        let weights = ExpertWeights { gate, up, down, chosen: 2, renormalise: false };
        let y = m.plan.experts(x, router, weights);
        m.plan.select(y)
    })
    .limits(if dtype == DType::F16 { [3e-5, 4e-3, 4e-3] } else { [1e-2; 3] })
    .schedule(Schedule::FEW)
}
