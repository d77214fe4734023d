//! Ops worked out by hand, on plans of one op.

use crate::ops::{Bonus, Gate, Pairing, Rotary, Wkv7};
use crate::{Buf, Executor, PAGE, PlanBuilder, Precision, Reference, Sequence, StateDecl, Step, WeightId};
use ingot_format::{Bytes, DType, Tensor};
use std::sync::Arc;

/// A plan under construction over an embedding table, which is how a test gives
/// its ops rows of its choice: token i is row i.
struct Bench {
    plan: PlanBuilder,
    weights: Vec<Tensor>,
    x: Buf,
}

impl Bench {
    fn new<const C: usize>(rows: &[[f32; C]]) -> Self {
        let mut bench = Self { plan: PlanBuilder::new(Precision::F32), weights: Vec::new(), x: Buf(0) };
        let table = bench.weight(&[rows.len(), C], &rows.concat());
        bench.x = bench.plan.embed(table);
        bench
    }

    fn weight(&mut self, shape: &[usize], values: &[f32]) -> WeightId {
        let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        let tensor = Tensor::new("w", DType::F32, shape.to_vec(), Bytes::from(bytes)).unwrap();
        self.weights.push(tensor.clone());
        self.plan.weight(&tensor)
    }

    /// A buffer of the rows `x M^T`.
    fn mapped(&mut self, matrix: &[f32]) -> Buf {
        let width = self.width();
        let m = self.weight(&[matrix.len() / width, width], matrix);
        self.plan.linear(self.x, m)
    }

    fn width(&self) -> usize {
        self.weights[0].shape()[1]
    }

    /// Runs steps of (past, tokens) on one sequence and returns the last rows.
    fn run(mut self, out: Buf, steps: &[(usize, &[u32])]) -> Vec<f32> {
        let out = self.plan.select(out);
        let mut executor = Reference::new(Arc::new(self.plan.finish(out)), self.weights);
        executor.reserve(4, 1).unwrap();
        let mut rows = Vec::new();
        for &(past, tokens) in steps {
            let sequence = Sequence { rows: 0..tokens.len(), past, slot: 0, pages: vec![2, 0, 3, 1] };
            let outputs = (0..tokens.len() as u32).collect();
            let step = Step { tokens: tokens.to_vec(), sequences: vec![sequence], outputs };
            executor.run(&step, &mut rows).unwrap();
        }
        rows
    }
}

fn close(got: &[f32], expected: &[f32]) {
    assert_eq!(got.len(), expected.len(), "{got:?}");
    for (g, e) in got.iter().zip(expected) {
        assert!((g - e).abs() < 1e-5, "{got:?}, expected {expected:?}");
    }
}

#[test]
fn norms() {
    let mut b = Bench::new(&[[3.0, 4.0, 0.0, 0.0]]);
    let w = b.weight(&[4], &[1.0, 2.0, 1.0, 1.0]);
    let out = b.plan.rms_norm(b.x, w, 0.0);
    close(&b.run(out, &[(0, &[0])]), &[1.2, 3.2, 0.0, 0.0]); // rms is 2.5

    let mut b = Bench::new(&[[3.0, 4.0, 6.0, 8.0]]);
    let w = b.weight(&[2], &[1.0, 1.0]);
    let out = b.plan.rms_norm(b.x, w, 0.0); // each pair by its own rms
    let half = 12.5f32.sqrt();
    close(&b.run(out, &[(0, &[0])]), &[3.0 / half, 4.0 / half, 3.0 / half, 4.0 / half]);

    let mut b = Bench::new(&[[1.0, 3.0, 10.0, 30.0]]);
    let (w, bias) = (b.weight(&[4], &[1.0, 1.0, 1.0, 2.0]), b.weight(&[4], &[0.0, 0.5, 0.0, 0.0]));
    let out = b.plan.group_norm(b.x, (w, bias), 2, 0.0);
    close(&b.run(out, &[(0, &[0])]), &[-1.0, 1.5, -1.0, 2.0]);

    let mut b = Bench::new(&[[1.0, 3.0]]);
    let (w, bias) = (b.weight(&[2], &[2.0, 2.0]), b.weight(&[2], &[1.0, 1.0]));
    let out = b.plan.layer_norm(b.x, (w, bias), 3.0); // variance 1, so divided by 2
    close(&b.run(out, &[(0, &[0])]), &[0.0, 2.0]);
}

#[test]
fn linear_with_bias_and_gate() {
    let mut b = Bench::new(&[[1.0, -2.0]]);
    let (w, bias) = (b.weight(&[3, 2], &[1.0, 0.0, 0.0, 1.0, 2.0, 2.0]), b.weight(&[3], &[0.5, 0.5, 0.5]));
    let out = b.plan.linear(b.x, (w, Some(bias)));
    close(&b.run(out, &[(0, &[0, 0])]), &[1.5, -1.5, -1.5, 1.5, -1.5, -1.5]);

    let mut b = Bench::new(&[[0.0, 2.0]]);
    let out = b.plan.glu(b.x, b.x, Gate::Silu);
    close(&b.run(out, &[(0, &[0])]), &[0.0, 4.0 / (1.0 + (-2.0f32).exp())]);
}

#[test]
fn rotary_pairings() {
    // A quarter turn per position for the first pair, none for the second; the
    // last value of the head is not rotated.
    let quarter = std::f32::consts::FRAC_PI_2;
    let run = |pairing| {
        let mut b = Bench::new(&[[1.0, 2.0, 3.0, 4.0, 5.0]]);
        let rotary = Arc::new(Rotary { pairing, frequencies: vec![quarter, 0.0], scale: 2.0 });
        let out = b.plan.rope(b.x, 1, &rotary);
        b.run(out, &[(1, &[0])])
    };
    close(&run(Pairing::Adjacent), &[-4.0, 2.0, 6.0, 8.0, 5.0]);
    close(&run(Pairing::Halves), &[-6.0, 4.0, 2.0, 8.0, 5.0]);
}

#[test]
fn attention_is_causal_and_windowed() {
    // Keys are zero, so that every position seen counts the same.
    let run = |window, steps: &[(usize, &[u32])]| {
        let mut b = Bench::new(&[[4.0, 8.0], [0.0, 2.0]]);
        let zero = b.mapped(&[0.0; 4]);
        let out = b.plan.attention([b.x, zero, b.x], [1, 1], 1.0, window);
        b.run(out, steps)
    };
    close(&run(None, &[(0, &[0, 1, 1])]), &[4.0, 8.0, 2.0, 5.0, 4.0 / 3.0, 4.0]);
    close(&run(None, &[(0, &[0]), (1, &[1]), (2, &[1])]), &[4.0 / 3.0, 4.0]);
    close(&run(Some(2), &[(0, &[0, 1, 1])]), &[4.0, 8.0, 2.0, 5.0, 0.0, 2.0]);
    // Over a page border: the first token is still seen by the last.
    let many = vec![1; PAGE + 1];
    let last = run(None, &[(0, &[0]), (1, &many)]);
    close(&last[2 * PAGE..], &[4.0 / (PAGE + 2) as f32, (8.0 + 2.0 * (PAGE + 1) as f32) / (PAGE + 2) as f32]);
}

#[test]
fn attention_weighs_by_score_and_shares_key_heads() {
    // Two query heads of size 1 on one key/value head: scores of key 1 and 3.
    let mut b = Bench::new(&[[1.0], [3.0]]);
    let q = b.mapped(&[0.0, 1.0]);
    let out = b.plan.attention([q, b.x, b.x], [2, 1], 1.0, None);
    let e2 = (3.0f32 * 3.0 - 3.0).exp();
    close(&b.run(out, &[(0, &[0]), (1, &[1])]), &[2.0, (1.0 + 3.0 * e2) / (1.0 + e2)]);
}

#[test]
fn token_shift_uses_the_row_before() {
    let steps: [&[(usize, &[u32])]; 2] = [&[(0, &[0, 1])], &[(0, &[0]), (1, &[1])]];
    for steps in steps {
        let mut b = Bench::new(&[[1.0, 1.0], [3.0, 5.0]]);
        let mix = b.weight(&[2, 2], &[0.5, 0.5, 1.0, 0.0]);
        let state = b.plan.state(StateDecl::Recurrent { len: 2 });
        let [half, first] = b.plan.token_shift(b.x, mix, state);
        let out = b.plan.add(half, first);
        let rows = b.run(out, steps);
        close(&rows[rows.len() - 2..], &[2.0 + 1.0, 3.0 + 5.0]);
    }
}

#[test]
fn rwkv_keys_by_hand() {
    let mut b = Bench::new(&[[3.0, 4.0]]);
    let (k_k, k_a) = (b.weight(&[2], &[1.0, 1.0]), b.weight(&[2], &[1.0, 0.5]));
    let (w, a) = (b.mapped(&[0.0; 4]), b.mapped(&[0.0; 4]));
    let [decay, removal, key] = b.plan.rwkv_keys([w, b.x, a], [k_k, k_a], 1);
    let sum = b.plan.add(decay, removal);
    let sum = b.plan.add(sum, key);
    let decay = (-(-0.5f32).exp() * 0.5).exp();
    close(&b.run(sum, &[(0, &[0])]), &[decay + 0.6, decay + 0.8 + 2.0]);
}

#[test]
fn wkv7_by_hand() {
    // One head of two channels; r, v, key and removal are the row itself, the
    // decay is twice and the learning rate half of it. From S = 0:
    //   S = v k^T,  y = S r = v (k . r)
    // and then S' = S diag(w) + (S (-q)) (q a)^T + v k^T.
    let mut b = Bench::new(&[[1.0, 0.0], [0.0, 1.0]]);
    let (decay, a) = (b.mapped(&[0.5, 0.5, 0.5, 0.5]), b.mapped(&[0.25, 0.0, 0.0, 0.25]));
    let state = b.plan.state(StateDecl::Recurrent { len: 4 });
    let x = b.x;
    let wkv = |out| Wkv7 { r: x, decay, key: x, v: x, removal: x, a, heads: 1, state, out };
    let out = b.plan.wkv7(wkv, x);
    // Token 0: S = [[1, 0], [0, 0]], y = [1, 0].
    // Token 0 again: S = [[0.5 - 0.25 + 1, 0], [0, 0]], y = [1.25, 0].
    // Token 1: S = [[0.625, 0], [0, 1]], y = [0, 1].
    // Token 0: S = [[0.3125 - 0.625 * 0.25 + 1, 0], [0, 0.5]], y = [1.15625, 0].
    let rows = b.run(out, &[(0, &[0, 0, 1, 0])]);
    close(&rows, &[1.0, 0.0, 1.25, 0.0, 0.0, 1.0, 1.15625, 0.0]);
}

#[test]
fn bonus_blend_and_embedding_rows() {
    let mut b = Bench::new(&[[1.0, 2.0]]);
    let r_k = b.weight(&[2], &[1.0, 0.5]);
    let x = b.x;
    let out = b.plan.bonus(|out| Bonus { y: x, r: x, k: x, v: x, g: x, r_k, heads: 1, out }, x);
    close(&b.run(out, &[(0, &[0])]), &[4.0, 16.0]); // the head's own weight is 1 + 2

    let mut b = Bench::new(&[[1.0, 2.0]]);
    let (to, by) = (b.mapped(&[3.0, 0.0, 0.0, 3.0]), b.mapped(&[0.5, 0.0, 0.0, 0.5]));
    let out = b.plan.blend(b.x, to, by);
    close(&b.run(out, &[(0, &[0])]), &[2.0, 6.0]);
}
