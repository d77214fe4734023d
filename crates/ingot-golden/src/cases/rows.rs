//! Ops that treat every row, or every value, by itself.

use super::{Case, Inputs, Schedule};
use ingot_format::DType;
use ingot_plan::ops::{Gate, Pairing, Rotary};
use std::sync::Arc;

/// Results of few operations on each value.
const FEW: [f64; 3] = [1e-6; 3];

pub(super) fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for dtype in DType::ALL {
        let width = if dtype.block_len() > 1 { 3 * dtype.block_len() } else { 37 };
        let case = Case::new(format!("rows/embed {dtype}"), move |m| {
            let values = m.values(19 * width, 0.0, 1.0);
            let table = m.weight(dtype, &[19, width], &values);
            let x = m.plan.embed(table);
            m.plan.select(x)
        });
        all.push(case.limits([0.0; 3]));
    }
    let scaled = Case::new("rows/embed, scaled", |m| {
        let values = m.values(19 * 64, 0.0, 1.0);
        let table = m.weight(DType::Q8_0, &[19, 64], &values);
        let x = m.plan.scaled_embed(table, 33.941);
        // A norm of scaled values is not one of the values themselves: eps counts less.
        let affine = (m.vector(64), m.bias(64));
        let h = m.plan.layer_norm(x, affine, 0.1);
        let h = m.plan.add(x, h);
        m.plan.select(h)
    });
    all.push(scaled.limits([1e-5; 3]));
    all.extend([16, 37, 300, 2048, 8200].into_iter().flat_map(norms));
    all.push(
        Case::new("rows/embed with layer_norm", |m| {
            let x = m.input(192, Inputs::Around(0.1, 1.0));
            let affine = (m.vector(192), m.bias(192));
            let x = m.plan.layer_norm(x, affine, 1e-5);
            m.plan.select(x)
        })
        .limits([1e-5; 3]),
    );
    for width in [48, 1100] {
        let post = Case::new(format!("rows/rms_norm of {width}, added"), move |m| {
            let (x, y) = (m.input(width, Inputs::Hard), m.input(width, Inputs::Around(0.0, 1.0)));
            let weight = m.vector(width);
            let h = m.plan.rms_norm(x, weight, 1e-5);
            let y = m.plan.add(y, h);
            m.plan.select(y)
        });
        all.push(post.limits([1e-5; 3]));
    }
    for (groups, size) in [(5, 8), (3, 64), (7, 100)] {
        let rms = Case::new(format!("rows/rms_norm of {groups} heads of {size}"), move |m| {
            let (x, weight) = (m.input(groups * size, Inputs::Hard), m.vector(size));
            let x = m.plan.rms_norm(x, weight, 1e-6);
            m.plan.select(x)
        });
        let layer = Case::new(format!("rows/group_norm of {groups} groups of {size}"), move |m| {
            let width = groups * size;
            let x = m.input(width, Inputs::Around(0.3, 1.0));
            let affine = (m.vector(width), m.bias(width));
            let x = m.plan.group_norm(x, affine, groups, 64e-5);
            m.plan.select(x)
        });
        all.extend([rms.limits([1e-5; 3]), layer.limits([1e-5; 3])]);
    }
    all.extend([17, 1024, 8193].into_iter().flat_map(values));
    for width in [16, 1000] {
        let case = Case::new(format!("rows/select of {width}"), move |m| {
            let x = m.input(width, Inputs::Hard);
            m.plan.select(x)
        });
        all.push(case.limits([0.0; 3]).schedule(Schedule::SELECTED));
    }
    for (pairing, heads, size, pairs) in [
        (Pairing::Halves, 3, 64, 32),
        (Pairing::Adjacent, 2, 80, 40),
        (Pairing::Halves, 2, 96, 24),
        (Pairing::Adjacent, 5, 32, 5),
        (Pairing::Halves, 1, 256, 128),
    ] {
        all.push(rope(pairing, heads, size, pairs));
    }
    all
}

/// The same at a model's sizes.
pub(super) fn speed() -> Vec<Case> {
    let turned = rope(Pairing::Halves, 32, 64, 32);
    norms(2048).into_iter().chain(values(8192)).chain([turned]).collect()
}

/// Norms over whole rows.
fn norms(width: usize) -> [Case; 2] {
    let rms = Case::new(format!("rows/rms_norm of {width}"), move |m| {
        let (x, weight) = (m.input(width, Inputs::Hard), m.vector(width));
        let x = m.plan.rms_norm(x, weight, 1e-5);
        m.plan.select(x)
    });
    let layer = Case::new(format!("rows/layer_norm of {width}"), move |m| {
        let (x, affine) = (m.input(width, Inputs::Hard), (m.vector(width), m.bias(width)));
        let x = m.plan.layer_norm(x, affine, 1e-5);
        m.plan.select(x)
    });
    // Rows whose differences are lost in their size have nothing but them to show.
    [rms.limits([1e-5; 3]), layer.limits([1e-4; 3])]
}

/// Functions of the values at one place of several buffers.
fn values(width: usize) -> [Case; 5] {
    let add = Case::new(format!("rows/add of {width}"), move |m| {
        let (a, b) = (m.input(width, Inputs::Hard), m.input(width, Inputs::Around(0.0, 1.0)));
        let x = m.plan.add(a, b);
        m.plan.select(x)
    });
    let glu = |name: &str, f: Gate| {
        Case::new(format!("rows/{name} glu of {width}"), move |m| {
            let (gate, up) = (m.input(width, Inputs::Hard), m.input(width, Inputs::Around(0.0, 1.0)));
            let x = m.plan.glu(gate, up, f);
            m.plan.select(x)
        })
    };
    let softcap = Case::new(format!("rows/softcap of {width}"), move |m| {
        let x = m.input(width, Inputs::Around(0.0, 30.0));
        let x = m.plan.softcap(x, 30.0);
        m.plan.select(x)
    });
    let blend = Case::new(format!("rows/blend of {width}"), move |m| {
        let (from, to) = (m.input(width, Inputs::Hard), m.input(width, Inputs::Around(0.0, 1.0)));
        let by = m.input(width, Inputs::Around(0.5, 0.2));
        let x = m.plan.blend(from, to, by);
        m.plan.select(x)
    });
    [add, glu("silu", Gate::Silu), glu("gelu", Gate::Gelu), softcap, blend].map(|case| case.limits(FEW))
}

/// Heads turned by their positions.
fn rope(pairing: Pairing, heads: usize, size: usize, pairs: usize) -> Case {
    let name = format!("rows/rope {pairing:?}, {heads} heads of {size}, {pairs} pairs");
    let case = Case::new(name, move |m| {
        let x = m.input(heads * size, Inputs::Around(0.0, 1.0));
        let x = m.plan.rope(x, heads, &rotary(pairing, pairs));
        m.plan.select(x)
    });
    // Angles grow with positions, and so does what is lost of them.
    case.limits([3e-5; 3]).schedule(Schedule::CONTEXTS)
}

/// A rotary embedding of this many pairs.
pub(super) fn rotary(pairing: Pairing, pairs: usize) -> Arc<Rotary> {
    let frequencies = (0..pairs).map(|j| 1e4f32.powf(-(j as f32) / pairs as f32)).collect();
    Arc::new(Rotary { pairing, frequencies, scale: if pairs.is_multiple_of(2) { 1.0 } else { 1.1 } })
}
