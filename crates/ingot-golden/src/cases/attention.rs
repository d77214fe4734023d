//! Attention with what is before it: projections' biases, head norms, rotation, the cache.

use super::rows::rotary;
use super::{Case, Inputs, Maker, Schedule};
use ingot_format::DType;
use ingot_plan::Projection;
use ingot_plan::ops::Pairing;

/// Heads, key/value heads, and the size of both.
#[derive(Clone, Copy)]
struct Heads {
    q: usize,
    kv: usize,
    size: usize,
}

pub(super) fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for (q, kv, size) in
        [(2, 2, 32), (4, 2, 64), (3, 1, 80), (2, 1, 96), (8, 2, 128), (7, 1, 64), (2, 1, 256), (12, 2, 32)]
    {
        let heads = Heads { q, kv, size };
        all.push(attention(heads, None, Schedule::CONTEXTS));
    }
    let heads = Heads { q: 4, kv: 2, size: 64 };
    for window in [1, 7, 64, 65, 100] {
        all.push(attention(heads, Some(window), Schedule::CONTEXTS));
    }
    all.push(turned("both norms, all of a head turned", heads, Pairing::Halves, 32, true));
    all.push(turned("both norms, a part of a head turned", heads, Pairing::Adjacent, 10, true));
    all.push(turned("no norms, all of a head turned", heads, Pairing::Adjacent, 32, false));
    all.push(turned(
        "no norms, a part of a head turned",
        Heads { size: 80, ..heads },
        Pairing::Halves,
        16,
        false,
    ));
    all.push(capped(heads));
    all.push(capped(Heads { q: 2, kv: 1, size: 256 }));
    all.push(peaked(heads));
    all.push(block());
    all
}

/// The same at models' sizes.
pub(super) fn speed() -> Vec<Case> {
    let of = |q, kv, size| attention(Heads { q, kv, size }, None, Schedule::CONTEXTS);
    vec![of(14, 2, 64), of(32, 8, 64), of(32, 8, 128)]
}

/// Scores of ordinary size. Rounded keys change them by a little of that, and weights with them.
const LIMITS: [f64; 3] = [2e-5, 2e-3, 2e-2];

fn attention(heads: Heads, window: Option<usize>, schedule: Schedule) -> Case {
    let Heads { q, kv, size } = heads;
    let window_name = window.map_or(String::new(), |w| format!(", window {w}"));
    Case::new(format!("attention/{q} heads over {kv} of {size}{window_name}"), move |m| {
        let queries = m.input(q * size, Inputs::Around(0.0, 1.0));
        let [keys, values] = [(); 2].map(|()| m.input(kv * size, Inputs::Around(0.0, 1.0)));
        let scale = 1.0 / (size as f32).sqrt();
        let y = m.plan.attention([queries, keys, values], [q, kv], scale, window);
        m.plan.select(y)
    })
    .limits(LIMITS)
    .schedule(schedule)
}

/// Scores far beyond their cap, and within it.
fn capped(heads: Heads) -> Case {
    let Heads { q, kv, size } = heads;
    Case::new(format!("attention/capped scores, heads of {size}"), move |m| {
        let queries = m.input(q * size, Inputs::Around(0.0, 3.0));
        let [keys, values] = [(); 2].map(|()| m.input(kv * size, Inputs::Around(0.0, 1.0)));
        let scale = 1.0 / (size as f32).sqrt();
        let y = m.plan.capped_attention([queries, keys, values], [q, kv], scale, Some(2.0), Some(100));
        m.plan.select(y)
    })
    .limits(LIMITS)
    .schedule(Schedule::CONTEXTS)
}

fn turned(name: &str, heads: Heads, pairing: Pairing, pairs: usize, norms: bool) -> Case {
    let Heads { q, kv, size } = heads;
    Case::new(format!("attention/{name}"), move |m| {
        let mut queries = m.input(q * size, Inputs::Around(0.0, 1.0));
        let [mut keys, values] = [(); 2].map(|()| m.input(kv * size, Inputs::Around(0.0, 1.0)));
        if norms {
            let [a, b] = [m.vector(size), m.vector(size)];
            queries = m.plan.rms_norm(queries, a, 1e-6);
            keys = m.plan.rms_norm(keys, b, 1e-6);
        }
        let rotary = rotary(pairing, pairs);
        let (queries, keys) = (m.plan.rope(queries, q, &rotary), m.plan.rope(keys, kv, &rotary));
        let scale = 1.0 / (size as f32).sqrt();
        let y = m.plan.attention([queries, keys, values], [q, kv], scale, None);
        m.plan.select(y)
    })
    .limits([1e-4, 4e-3, 5e-2])
    .schedule(Schedule::CONTEXTS)
}

/// Scores so far apart that one position has all the weight, and rows of zeros and
/// of equal values, where all have the same.
fn peaked(heads: Heads) -> Case {
    let Heads { q, kv, size } = heads;
    Case::new("attention/one position or all", move |m| {
        // Keys along different axes, so that a query's scores are 0 but for its own axis.
        let axes = |m: &mut Maker, copies: usize, length: f32| {
            let mut values = Vec::new();
            for token in 0..super::maker::TOKENS {
                for _ in 0..copies {
                    let large = if token % 4 == 3 { 0.0 } else { length };
                    values.extend((0..size).map(|i| if i == token { large } else { 0.0 }));
                }
            }
            let table = m.weight(DType::F32, &[super::maker::TOKENS, copies * size], &values);
            m.plan.embed(table)
        };
        let (queries, keys) = (axes(m, q, 1024.0), axes(m, kv, 512.0));
        let values = m.input(kv * size, Inputs::Around(0.0, 1.0));
        let y = m.plan.attention([queries, keys, values], [q, kv], 1.0, None);
        m.plan.select(y)
    })
    .limits([2e-5, 2e-3, 2e-2])
    .schedule(Schedule::CONTEXTS)
}

/// The attention half of a transformer's block.
fn block() -> Case {
    Case::new("attention/rms_norm, projections, rotation, output, add", |m| {
        let (c, heads, kv, size) = (128, 6, 2, 32);
        let (x, norm) = (m.input(c, Inputs::Around(0.0, 1.0)), m.vector(c));
        let h = m.plan.rms_norm(x, norm, 1e-6);
        let mut part = |heads: usize| {
            Projection::from((m.matrix(DType::Q8_0, &[heads * size, c]), Some(m.bias(heads * size))))
        };
        let parts = [part(heads), part(kv), part(kv)];
        let [q, k, v] = m.plan.linears(h, parts);
        let rotary = rotary(Pairing::Halves, size / 2);
        let (q, k) = (m.plan.rope(q, heads, &rotary), m.plan.rope(k, kv, &rotary));
        let a = m.plan.attention([q, k, v], [heads, kv], 0.17, Some(90));
        let w = m.matrix(DType::F16, &[c, heads * size]);
        let o = m.plan.linear(a, w);
        let y = m.plan.add(x, o);
        m.plan.select(y)
    })
    .limits([1e-4, 4e-3, 3e-2])
    .schedule(Schedule::CONTEXTS)
}
