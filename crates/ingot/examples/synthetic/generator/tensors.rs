//! The tensors of a shape: their names and how large their values are.
//!
//! A matrix keeps the size of what it is multiplied with, those that lead back
//! to the residual stream halve it, so that nothing grows over many layers.

use super::shapes::{Arch, Shape};

/// A tensor to be written.
pub struct Tensor {
    pub name: String,
    /// Sizes, outermost first.
    pub shape: Vec<usize>,
    pub role: Role,
    pub values: Values,
}

/// What a tensor is for, which decides its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Norms, biases, mixes.
    Vector,
    /// A matrix of RWKV-7's branches; those of the decay are kept in F32.
    LowRank { exact: bool },
    /// The embedding table.
    Embedding,
    /// The head.
    Output,
    /// A projection to values, of this layer.
    AttentionValue(usize),
    /// The second matrix of a feed-forward layer, of this layer.
    FfnDown(usize),
    /// Any other matrix.
    Matrix,
}

/// How large values are.
#[derive(Clone, Debug)]
pub enum Values {
    /// Drawn from a normal distribution.
    Normal { mean: f32, deviation: f32 },
    /// These.
    Given(Vec<f32>),
}

impl Tensor {
    /// Number of values.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }
}

struct List(Vec<Tensor>);

impl List {
    fn normal(&mut self, name: String, shape: &[usize], role: Role, mean: f32, deviation: f32) {
        let values = Values::Normal { mean, deviation };
        self.0.push(Tensor { name: name + ".weight", shape: shape.to_vec(), role, values });
    }

    fn matrix(&mut self, name: String, [rows, cols]: [usize; 2], role: Role, gain: f32) {
        self.normal(name, &[rows, cols], role, 0.0, gain / (cols as f32).sqrt());
    }

    fn vector(&mut self, name: String, n: usize, mean: f32, deviation: f32) {
        self.normal(name, &[n], Role::Vector, mean, deviation);
    }

    fn bias(&mut self, name: String, n: usize, deviation: f32) {
        let values = Values::Normal { mean: 0.0, deviation };
        self.0.push(Tensor { name: name + ".bias", shape: vec![n], role: Role::Vector, values });
    }

    fn layer_norm(&mut self, name: String, n: usize) {
        self.vector(name.clone(), n, 1.0, 0.05);
        self.bias(name, n, 0.02);
    }
}

/// All tensors of a model.
pub fn of(s: &Shape) -> Vec<Tensor> {
    let mut list = List(Vec::new());
    list.normal("token_embd".into(), &[s.vocab, s.hidden], Role::Embedding, 0.0, 0.03);
    match s.arch {
        Arch::Rwkv7 => rwkv7(&mut list, s),
        _ => transformer(&mut list, s),
    }
    if !s.tied {
        list.matrix("output".into(), [s.vocab, s.hidden], Role::Output, 1.0);
    }
    list.0
}

fn transformer(list: &mut List, s: &Shape) {
    let (d, q, kv) = (s.hidden, s.heads * s.head_size(), s.kv_heads * s.head_size());
    for i in 0..s.layers {
        let name = |part: &str| format!("blk.{i}.{part}");
        list.vector(name("attn_norm"), d, 1.0, 0.05);
        list.matrix(name("attn_q"), [q, d], Role::Matrix, 1.0);
        list.matrix(name("attn_k"), [kv, d], Role::Matrix, 1.0);
        list.matrix(name("attn_v"), [kv, d], Role::AttentionValue(i), 1.0);
        if s.arch == Arch::Qwen2 {
            for (part, n) in [("attn_q", q), ("attn_k", kv), ("attn_v", kv)] {
                list.bias(name(part), n, 0.1);
            }
        }
        if s.arch == Arch::Qwen3 {
            list.vector(name("attn_q_norm"), s.head_size(), 1.0, 0.05);
            list.vector(name("attn_k_norm"), s.head_size(), 1.0, 0.05);
        }
        list.matrix(name("attn_output"), [d, q], Role::Matrix, 0.5);
        list.vector(name("ffn_norm"), d, 1.0, 0.05);
        list.matrix(name("ffn_gate"), [s.ffn, d], Role::Matrix, 1.0);
        list.matrix(name("ffn_up"), [s.ffn, d], Role::Matrix, 1.0);
        list.matrix(name("ffn_down"), [d, s.ffn], Role::FfnDown(i), 0.5);
    }
    list.vector("output_norm".into(), d, 1.0, 0.05);
    if s.rope_factor > 0.0 {
        let values = rope_divisors(s);
        let (name, shape) = ("rope_freqs.weight".into(), vec![values.len()]);
        list.0.push(Tensor { name, shape, role: Role::Vector, values: Values::Given(values) });
    }
}

fn rwkv7(list: &mut List, s: &Shape) {
    let d = s.hidden;
    let [w, a, v, g] = s.lora;
    list.layer_norm("token_embd_norm".into(), d);
    for i in 0..s.layers {
        let name = |part: &str| format!("blk.{i}.{part}");
        list.layer_norm(name("attn_norm"), d);
        list.layer_norm(name("attn_norm_2"), d);
        // Layer 0 has nothing to blend values with; files have tensors there all the
        // same, of the rank of `a`.
        for (letter, rank) in [('w', w), ('a', a), ('v', if i == 0 { a } else { v })] {
            let role = Role::LowRank { exact: letter == 'w' };
            list.vector(name(&format!("time_mix_{letter}0")), d, -1.0, 1.0);
            list.matrix(name(&format!("time_mix_{letter}1")), [rank, d], role, 1.0);
            list.matrix(name(&format!("time_mix_{letter}2")), [d, rank], role, 1.0);
        }
        list.matrix(name("time_mix_g1"), [g, d], Role::LowRank { exact: false }, 1.0);
        list.matrix(name("time_mix_g2"), [d, g], Role::LowRank { exact: false }, 1.0);
        list.normal(name("time_mix_lerp_fused"), &[6, 1, 1, d], Role::Vector, 0.5, 0.2);
        for (part, mean) in [("time_mix_k_k", 0.8), ("time_mix_k_a", 1.0), ("time_mix_r_k", 0.0)] {
            list.vector(name(part), d, mean, 0.1);
        }
        for part in ["time_mix_key", "time_mix_value", "time_mix_receptance"] {
            list.matrix(name(part), [d, d], Role::Matrix, 1.0);
        }
        list.layer_norm(name("time_mix_ln"), d);
        list.matrix(name("time_mix_output"), [d, d], Role::Matrix, 0.5);
        list.vector(name("channel_mix_lerp_k"), d, 0.5, 0.2);
        list.matrix(name("channel_mix_key"), [s.ffn, d], Role::Matrix, 1.0);
        list.matrix(name("channel_mix_value"), [d, s.ffn], Role::Matrix, 0.5);
    }
    list.layer_norm("output_norm".into(), d);
}

/// Llama 3's divisors of the rotary frequencies: long waves are stretched, short
/// ones kept.
fn rope_divisors(s: &Shape) -> Vec<f32> {
    const OLD_CONTEXT: f32 = 8192.0;
    let half = s.head_size() / 2;
    let divisor = |j: usize| {
        let frequency = s.rope_base.powf(-(j as f32) / half as f32);
        let wave = std::f32::consts::TAU / frequency;
        let kept = ((OLD_CONTEXT / wave - 1.0) / 3.0).clamp(0.0, 1.0);
        1.0 / ((1.0 - kept) / s.rope_factor + kept)
    };
    (0..half).map(divisor).collect()
}
