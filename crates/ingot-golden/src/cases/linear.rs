//! Products, with what executors work into them.

use super::{Case, Inputs, Maker, Schedule};
use ingot_format::DType;
use ingot_plan::ops::{Activation, Gate};
use ingot_plan::{Buf, Projection, WeightId};

const TYPES: [DType; 11] = [
    DType::F32,
    DType::F16,
    DType::BF16,
    DType::Q8_0,
    DType::Q4_0,
    DType::Q4_1,
    DType::Q5_0,
    DType::Q5_1,
    DType::Q4_K,
    DType::Q5_K,
    DType::Q6_K,
];

const ACTIVATIONS: [Activation; 4] =
    [Activation::Identity, Activation::Tanh, Activation::Sigmoid, Activation::SquaredRelu];

/// Chains of products, or functions that enlarge relative errors.
const CHAIN: [f64; 3] = [3e-5, 4e-3, 4e-3];
/// Where a value lies between two steps of 8 bits, the last bit of a float decides
/// which it becomes.
const ROUNDED: [f64; 3] = [5e-3; 3];

pub(super) fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for (i, dtype) in TYPES.into_iter().enumerate() {
        all.extend(one(dtype, ACTIVATIONS[i % 4]));
        all.extend(three(dtype));
    }
    for activation in ACTIVATIONS {
        all.push(activated(activation));
    }
    for dtype in [DType::F16, DType::Q8_0, DType::Q4_K, DType::Q6_K] {
        all.extend(wide(dtype));
        all.extend(ffn(dtype));
        all.extend(normed(dtype));
        all.extend(summed(dtype));
    }
    all.extend(shapes());
    all.extend(heads());
    all
}

/// Products at a model's sizes.
pub(super) fn speed() -> Vec<Case> {
    let shapes = [(2048, 2048), (8192, 2048), (2048, 8192)];
    TYPES.into_iter().flat_map(|dtype| shapes.map(|(rows, cols)| shape(dtype, rows, cols).q8())).collect()
}

/// Columns for a type: whole blocks, and otherwise a number that nothing divides.
fn cols(dtype: DType) -> usize {
    match dtype.block_len() {
        1 => 131,
        32 => 160,
        n => 3 * n,
    }
}

/// In f32, and for packed types also with inputs in 8 bits.
fn both(dtype: DType, rounded: [f64; 3], case: impl Fn() -> Case) -> Vec<Case> {
    let q8 = (dtype.block_len() > 1).then(|| case().q8().limits(rounded));
    [Some(case()), q8].into_iter().flatten().collect()
}

fn one(dtype: DType, activation: Activation) -> Vec<Case> {
    // Of what saturates, only the steep part shows what went in.
    let saturates = matches!(activation, Activation::Tanh | Activation::Sigmoid);
    let inputs = if saturates { Inputs::Around(0.0, 1.0) } else { Inputs::Hard };
    let limits = [2e-5, 4e-3, 4e-3];
    both(dtype, limits, || {
        let name = format!("linear/{dtype} with bias and {activation:?}");
        let case = Case::new(name, move |m| {
            let x = m.input(cols(dtype), inputs);
            let part = (m.matrix(dtype, &[67, cols(dtype)]), m.bias(67), activation);
            let y = m.plan.linear(x, part);
            m.plan.select(y)
        });
        case.limits(limits)
    })
}

fn three(dtype: DType) -> Vec<Case> {
    // Types with an offset in their blocks take the difference of large sums.
    let limits = [3e-5, 2e-3, 2e-3];
    both(dtype, limits, || {
        Case::new(format!("linear/3 parts, {dtype} and others"), move |m| {
            let c = cols(dtype).next_multiple_of(32);
            let x = m.input(c, Inputs::Around(0.0, 1.0));
            let first: Projection = (m.matrix(dtype, &[96, c]), Some(m.bias(96))).into();
            let second: Projection = m.matrix(DType::Q8_0, &[96, c]).into();
            let third: Projection = (m.matrix(dtype, &[96, c]), Activation::Sigmoid).into();
            let [a, b, g] = m.plan.linears(x, [first, second, third]);
            let y = m.plan.blend(a, b, g);
            m.plan.select(y)
        })
        .limits(limits)
    })
}

fn activated(activation: Activation) -> Case {
    Case::new(format!("linear/{activation:?} of F16"), move |m| {
        let x = m.input(128, Inputs::Around(0.0, 1.0));
        let part = (m.matrix(DType::F16, &[200, 128]), activation);
        let y = m.plan.linear(x, part);
        m.plan.select(y)
    })
    .limits([1e-5, 4e-3, 4e-3])
}

/// Rows longer than what kernels keep at once.
fn wide(dtype: DType) -> Vec<Case> {
    let limits = [2e-5, 2e-3, 2e-3];
    both(dtype, limits, || {
        Case::new(format!("linear/{dtype}, 8448 columns"), move |m| {
            let x = m.input(8448, Inputs::Hard);
            let w = m.matrix(dtype, &[21, 8448]);
            let y = m.plan.linear(x, w);
            m.plan.select(y)
        })
        .limits(limits)
        .schedule(Schedule::FEW)
    })
}

fn normed(dtype: DType) -> Vec<Case> {
    let projections = move |m: &mut Maker, x: Buf| -> Buf {
        let [q, k, v] =
            [100, 100, 100].map(|rows| Projection::from((m.matrix(dtype, &[rows, 256]), Some(m.bias(rows)))));
        let [q, k, v] = m.plan.linears(x, [q, k, v]);
        let x = m.plan.add(q, k);
        let x = m.plan.add(x, v);
        m.plan.select(x)
    };
    let rms = move || {
        Case::new(format!("linear/rms_norm, {dtype}, 3 parts with bias"), move |m| {
            let (x, weight) = (m.input(256, Inputs::Hard), m.vector(256));
            let x = m.plan.rms_norm(x, weight, 1e-6);
            projections(m, x)
        })
        .limits(CHAIN)
    };
    let layer = move || {
        Case::new(format!("linear/layer_norm, {dtype}, 3 parts with bias"), move |m| {
            let x = m.input(256, Inputs::Around(0.5, 2.0));
            let affine = (m.vector(256), m.bias(256));
            let x = m.plan.layer_norm(x, affine, 1e-5);
            projections(m, x)
        })
        .limits(CHAIN)
    };
    [both(dtype, ROUNDED, rms), both(dtype, ROUNDED, layer)].into_iter().flatten().collect()
}

fn summed(dtype: DType) -> Vec<Case> {
    both(dtype, [1e-5, 2e-3, 2e-3], || {
        Case::new(format!("linear/{dtype} added to the residual stream"), move |m| {
            let x = m.input(256, Inputs::Around(0.0, 1.0));
            let residual = m.input(70, Inputs::Hard);
            let w = m.matrix(dtype, &[70, 256]);
            let y = m.plan.linear(x, w);
            let y = m.plan.add(residual, y);
            m.plan.select(y)
        })
    })
}

fn ffn(dtype: DType) -> Vec<Case> {
    let gated = move |f_gate: Gate| {
        Case::new(format!("linear/rms_norm, gate and up, {f_gate:?} glu, down, add, {dtype}"), move |m| {
            let (c, f) = (256, 512);
            let (x, norm) = (m.input(c, Inputs::Hard), m.vector(c));
            let h = m.plan.rms_norm(x, norm, 1e-6);
            let parts = [m.matrix(dtype, &[f, c]), m.matrix(dtype, &[f, c])].map(Projection::from);
            let [gate, up] = m.plan.linears(h, parts);
            let h = m.plan.glu(gate, up, f_gate);
            let down = m.matrix(dtype, &[c, f]);
            let y = m.plan.linear(h, down);
            let y = m.plan.add(x, y);
            m.plan.select(y)
        })
        .limits(CHAIN)
    };
    let squared = move || {
        Case::new(format!("linear/squared relu and back, {dtype}"), move |m| {
            let (c, f) = (256, 512);
            let x = m.input(c, Inputs::Around(0.0, 1.0));
            let (key, value) = (m.matrix(dtype, &[f, c]), m.matrix(dtype, &[c, f]));
            let h = m.plan.linear(x, (key, Activation::SquaredRelu));
            let y = m.plan.linear(h, value);
            let y = m.plan.add(x, y);
            m.plan.select(y)
        })
        .limits(CHAIN)
    };
    // The gate's function is no matter of the weights' type: two types are enough for the other one.
    let gelu = matches!(dtype, DType::F16 | DType::Q4_K).then(|| both(dtype, ROUNDED, || gated(Gate::Gelu)));
    let [silu, squared] = [both(dtype, ROUNDED, || gated(Gate::Silu)), both(dtype, ROUNDED, squared)];
    silu.into_iter().chain(gelu.into_iter().flatten()).chain(squared).collect()
}

/// Sizes next to those that kernels are made for.
fn shapes() -> Vec<Case> {
    let sizes = [(1, 32), (1, 1), (3, 7), (16, 64), (63, 96), (65, 100), (129, 255), (257, 33), (40, 2049)];
    let dense = sizes
        .into_iter()
        .flat_map(|(rows, cols)| [DType::F32, DType::F16, DType::BF16].map(|dtype| shape(dtype, rows, cols)));
    let packed = [(1, 32), (17, 32), (31, 96), (65, 224), (130, 64)].into_iter().flat_map(|(rows, cols)| {
        [DType::Q8_0, DType::Q4_0, DType::Q5_1].map(|dtype| shape(dtype, rows, cols))
    });
    let large = [(1, 256), (33, 256), (65, 512)]
        .into_iter()
        .flat_map(|(rows, cols)| [DType::Q4_K, DType::Q6_K].map(|dtype| shape(dtype, rows, cols)));
    dense.chain(packed).chain(large).collect()
}

fn shape(dtype: DType, rows: usize, cols: usize) -> Case {
    Case::new(format!("shapes/{dtype}, {rows} x {cols}"), move |m| {
        let x = m.input(cols, Inputs::Around(0.0, 1.0));
        let w = m.matrix(dtype, &[rows, cols]);
        let y = m.plan.linear(x, w);
        m.plan.select(y)
    })
    .schedule(Schedule::FEW)
}

/// What is at the end of every model: chosen rows, a norm, and a matrix.
fn heads() -> Vec<Case> {
    let head = |m: &mut Maker, c: usize, w: WeightId| {
        let (x, norm) = (m.input(c, Inputs::Hard), m.vector(c));
        let x = m.plan.select(x);
        let x = m.plan.rms_norm(x, norm, 1e-6);
        m.plan.linear(x, w)
    };
    let large = Case::new("linear/head of 151936 rows", move |m| {
        let w = m.matrix(DType::Q8_0, &[151_936, 32]);
        head(m, 32, w)
    });
    let chosen = Case::new("linear/head of chosen rows", move |m| {
        let w = m.matrix(DType::Q6_K, &[301, 256]);
        head(m, 256, w)
    });
    let layer = Case::new("linear/head with layer_norm", move |m| {
        let x = m.input(96, Inputs::Around(0.2, 1.0));
        let affine = (m.vector(96), m.bias(96));
        let x = m.plan.select(x);
        let x = m.plan.layer_norm(x, affine, 1e-5);
        let w = m.matrix(DType::F16, &[99, 96]);
        m.plan.linear(x, w)
    });
    // Heads see few rows, whatever the step, and are exact.
    let exact = [2e-5; 3];
    vec![
        large.limits(exact).schedule(Schedule::LAST),
        chosen.limits(exact).schedule(Schedule::SELECTED),
        layer.limits(exact).schedule(Schedule::LAST),
    ]
}
