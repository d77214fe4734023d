//! RWKV-7's ops and chains of them.

use super::{Case, Inputs, Maker, Schedule};
use ingot_format::DType;
use ingot_plan::ops::{Activation, Bonus, Wkv7};
use ingot_plan::{Buf, StateDecl};

/// Ops whose errors are those of a few operations.
const OP: [f64; 3] = [1e-5; 3];

pub(super) fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for (width, norm) in [(64, false), (37, false), (96, true), (2050, true)] {
        all.push(shift::<1>(width, norm));
        all.push(shift::<6>(width, norm));
    }
    all.push(shift::<3>(64, true));
    for (heads, size) in [(3, 8), (2, 32), (3, 64), (1, 128), (2, 40)] {
        all.extend([keys(heads, size), wkv7(heads, size), bonus(heads, size)]);
        all.push(time_mix(heads, size, false));
        all.push(time_mix(heads, size, true));
    }
    // Heads larger than what registers hold of a row.
    for (heads, size) in [(1, 80), (5, 96)] {
        all.extend([wkv7(heads, size), time_mix(heads, size, true)]);
    }
    all.extend([1e-30, 0.0, 1.0].map(|decay| wkv7_with(3, 64, decay, 0.0)));
    all.push(watched());
    for dtype in [DType::F16, DType::Q8_0, DType::Q4_K] {
        all.push(blocks(dtype));
    }
    all
}

/// The same at a model's sizes.
pub(super) fn speed() -> Vec<Case> {
    let (heads, size) = (32, 64);
    let mut all = vec![shift::<1>(heads * size, true), shift::<6>(heads * size, true)];
    all.extend([keys(heads, size), wkv7(heads, size), bonus(heads, size), time_mix(heads, size, true)]);
    all
}

fn shift<const N: usize>(width: usize, norm: bool) -> Case {
    let with = if norm { "layer_norm and " } else { "" };
    Case::new(format!("rwkv/{with}token_shift, {N} of {width}"), move |m| {
        let mut x = m.input(width, Inputs::Around(0.2, 1.0));
        if norm {
            let affine = (m.vector(width), m.bias(width));
            x = m.plan.layer_norm(x, affine, 1e-5);
        }
        let mix = m.values(N * width, 0.5, 0.2);
        let mix = m.weight(DType::F32, &[N, width], &mix);
        let state = m.plan.state(StateDecl::Recurrent { len: width });
        let outs: [Buf; N] = m.plan.token_shift(x, mix, state);
        let sum = outs.into_iter().reduce(|a, b| m.plan.add(a, b)).expect("N is not 0");
        m.plan.select(sum)
    })
    .limits(OP)
}

/// Which of three results, by weights that no two share.
fn mixed(m: &mut Maker, [a, b, c]: [Buf; 3]) -> Buf {
    let x = m.plan.blend(a, b, c);
    let x = m.plan.add(x, c);
    m.plan.select(x)
}

fn keys(heads: usize, size: usize) -> Case {
    Case::new(format!("rwkv/keys, {heads} heads of {size}"), move |m| {
        let width = heads * size;
        let (w, k) = (m.input(width, Inputs::Around(-1.0, 3.0)), m.input(width, Inputs::Around(0.0, 1.0)));
        let a = m.input(width, Inputs::Around(0.5, 0.2));
        let weights = [m.vector(width), m.vector(width)];
        let outs = m.plan.rwkv_keys([w, k, a], weights, heads);
        mixed(m, outs)
    })
    .limits(OP)
}

fn wkv7(heads: usize, size: usize) -> Case {
    wkv7_with(heads, size, 0.8, 0.05)
}

/// With decays around a value.
fn wkv7_with(heads: usize, size: usize, decay: f32, spread: f32) -> Case {
    Case::new(format!("rwkv/wkv7, {heads} heads of {size}, decay {decay}"), move |m| {
        let width = heads * size;
        let [r, key, v] = [(); 3].map(|()| m.input(width, Inputs::Around(0.0, 1.0)));
        let (decay, a) =
            (m.input(width, Inputs::Around(decay, spread)), m.input(width, Inputs::Around(0.5, 0.2)));
        let removal = m.input(width, Inputs::Around(0.0, 0.7 / (size as f32).sqrt()));
        let state = m.plan.state(StateDecl::Recurrent { len: width * size });
        let y = m.plan.wkv7(|out| Wkv7 { r, decay, key, v, removal, a, heads, state, out }, r);
        m.plan.select(y)
    })
    .limits([3e-5; 3])
}

fn bonus(heads: usize, size: usize) -> Case {
    Case::new(format!("rwkv/bonus, {heads} heads of {size}"), move |m| {
        let width = heads * size;
        let [y, r, k, v, g] = [(); 5].map(|()| m.input(width, Inputs::Around(0.1, 1.0)));
        let r_k = m.bias(width);
        let y = m.plan.bonus(|out| Bonus { y, r, k, v, g, r_k, heads, out }, y);
        m.plan.select(y)
    })
    .limits(OP)
}

/// Receptance, raw decay, key, value, learning rate and gate on their way to the output.
fn mix(m: &mut Maker, [r, w, k, v, a, g]: [Buf; 6], heads: usize, size: usize) -> Buf {
    let width = heads * size;
    let weights = [m.vector(width), m.vector(width)];
    let [decay, removal, key] = m.plan.rwkv_keys([w, k, a], weights, heads);
    let state = m.plan.state(StateDecl::Recurrent { len: width * size });
    let y = m.plan.wkv7(|out| Wkv7 { r, decay, key, v, removal, a, heads, state, out }, r);
    let norm = (m.vector(width), m.bias(width));
    let y = m.plan.group_norm(y, norm, heads, 64e-5);
    let r_k = m.bias(width);
    m.plan.bonus(|out| Bonus { y, r, k: key, v, g, r_k, heads, out }, y)
}

fn time_mix(heads: usize, size: usize, blend: bool) -> Case {
    let with = if blend { "blend and " } else { "" };
    Case::new(format!("rwkv/{with}time mix, {heads} heads of {size}"), move |m| {
        let width = heads * size;
        let [r, k, mut v, g] = [(); 4].map(|()| m.input(width, Inputs::Around(0.0, 1.0)));
        let (w, a) = (m.input(width, Inputs::Around(-1.0, 3.0)), m.input(width, Inputs::Around(0.5, 0.2)));
        if blend {
            let (first, by) =
                (m.input(width, Inputs::Around(0.0, 1.0)), m.input(width, Inputs::Around(0.5, 0.2)));
            v = m.plan.blend(v, first, by);
        }
        let y = mix(m, [r, w, k, v, a, g], heads, size);
        m.plan.select(y)
    })
    .limits([1e-4; 3])
}

/// A norm, a shift and a recurrence of whose inner buffers others want to see some.
fn watched() -> Case {
    Case::new("rwkv/chain with more readers", move |m| {
        let (heads, size) = (2, 32);
        let width = heads * size;
        let x = m.input(width, Inputs::Around(0.2, 1.0));
        let affine = (m.vector(width), m.bias(width));
        let h = m.plan.layer_norm(x, affine, 1e-5);
        let values = m.values(6 * width, 0.5, 0.2);
        let weight = m.weight(DType::F32, &[6, width], &values);
        let state = m.plan.state(StateDecl::Recurrent { len: width });
        let [r, w, k, v, g, _] = m.plan.token_shift::<6>(h, weight, state);
        let a = m.input(width, Inputs::Around(0.5, 0.2));
        let weights = [m.vector(width), m.vector(width)];
        let [decay, removal, key] = m.plan.rwkv_keys([w, k, a], weights, heads);
        let state = m.plan.state(StateDecl::Recurrent { len: width * size });
        let y = m.plan.wkv7(|out| Wkv7 { r, decay, key, v, removal, a, heads, state, out }, r);
        let norm = (m.vector(width), m.bias(width));
        let y = m.plan.group_norm(y, norm, heads, 64e-5);
        let r_k = m.bias(width);
        let y = m.plan.bonus(|out| Bonus { y, r, k: key, v, g, r_k, heads, out }, y);
        let y = m.plan.add(y, key);
        let y = m.plan.add(y, h);
        m.plan.select(y)
    })
    .limits([1e-4; 3])
}

/// `outer(bias + inner(x L1) L2)`
fn low_rank(m: &mut Maker, x: Buf, width: usize, inner: Activation, outer: Activation) -> Buf {
    let (down, up) = (m.matrix(DType::F16, &[24, width]), m.matrix(DType::F32, &[width, 24]));
    let bias = m.bias(width);
    let h = m.plan.linear(x, (down, inner));
    m.plan.linear(h, (up, bias, outer))
}

/// Two whole blocks.
fn blocks(dtype: DType) -> Case {
    Case::new(format!("rwkv/two blocks, {dtype}"), move |m| {
        let (heads, size, f) = (4, 64, 512);
        let c = heads * size;
        let mut x = m.input(c, Inputs::Around(0.0, 1.0));
        let mut first = None;
        for _ in 0..2 {
            let h = shifted(m, x, c, 6);
            let [xr, xw, xk, xv, xa, xg] = h[..] else { unreachable!("six mixes") };
            let [r, k, value] = [xr, xk, xv].map(|x| {
                let w = m.matrix(dtype, &[c, c]);
                m.plan.linear(x, w)
            });
            let w = low_rank(m, xw, c, Activation::Tanh, Activation::Identity);
            let a = low_rank(m, xa, c, Activation::Identity, Activation::Sigmoid);
            let g = low_rank(m, xg, c, Activation::Sigmoid, Activation::Identity);
            let v = match first {
                None => *first.insert(value),
                Some(first) => {
                    let by = low_rank(m, xv, c, Activation::Identity, Activation::Sigmoid);
                    m.plan.blend(value, first, by)
                }
            };
            let y = mix(m, [r, w, k, v, a, g], heads, size);
            let output = m.matrix(dtype, &[c, c]);
            let y = m.plan.linear(y, output);
            x = m.plan.add(x, y);
            let h = shifted(m, x, c, 1);
            let (key, value) = (m.matrix(dtype, &[f, c]), m.matrix(dtype, &[c, f]));
            let h = m.plan.linear(h[0], (key, Activation::SquaredRelu));
            let h = m.plan.linear(h, value);
            x = m.plan.add(x, h);
        }
        m.plan.select(x)
    })
    .limits([3e-4, 2e-2, 2e-2])
    .schedule(Schedule::FEW)
}

fn shifted(m: &mut Maker, x: Buf, width: usize, mixes: usize) -> Vec<Buf> {
    let affine = (m.vector(width), m.bias(width));
    let x = m.plan.layer_norm(x, affine, 1e-5);
    let values = m.values(mixes * width, 0.5, 0.2);
    let mix = m.weight(DType::F32, &[mixes, width], &values);
    let state = m.plan.state(StateDecl::Recurrent { len: width });
    match mixes {
        1 => m.plan.token_shift::<1>(x, mix, state).to_vec(),
        _ => m.plan.token_shift::<6>(x, mix, state).to_vec(),
    }
}
