//! The conformance table on the device under test: the simulator, or what
//! `INGOT_TEST_DEVICE` names, which then has to be there.

#[allow(dead_code)] // other tests use the rest
mod common;

use ingot_format::DType;
use ingot_golden::cases::{Case, Rounding};
use ingot_gpu::{Gpu, GpuOptions};
use ingot_plan::{Op, Plan};

/// Runs all cases of a group with each way of rounding.
fn group(name: &str, roundings: &[Rounding]) {
    let mut wrong = Vec::new();
    for case in Case::group(name) {
        for &rounding in roundings {
            let (cache, exact) = match rounding {
                Rounding::None => (DType::F32, true),
                Rounding::Half => (DType::F16, false),
                Rounding::Q8Cache => (DType::Q8_0, false),
            };
            let (plan, weights) = case.model();
            if cache == DType::Q8_0 && !whole_blocks(&plan) {
                continue;
            }
            let options = GpuOptions { cache, exact };
            let result = ingot_gpu::open(common::device(), plan, weights, &options, &mut |_, _| ());
            let checked = result.map_err(|e| format!("{}: {e}", case.name));
            match checked.and_then(|mut gpu: Box<dyn Gpu>| case.check(&mut *gpu, rounding)) {
                Ok(error) => println!("{error:6.3} of the limit: {}, {rounding:?}", case.name),
                Err(e) => wrong.push(format!("{rounding:?}: {e}")),
            }
        }
    }
    assert!(wrong.is_empty(), "{} failed:\n{}", wrong.len(), wrong.join("\n"));
}

/// True if the plan's heads are whole blocks of Q8_0.
fn whole_blocks(plan: &Plan) -> bool {
    plan.ops().iter().all(|op| match op {
        Op::Attention(a) => (plan.buffer(a.q).width / a.heads).is_multiple_of(DType::Q8_0.block_len()),
        _ => true,
    })
}

const BOTH: [Rounding; 2] = [Rounding::None, Rounding::Half];

#[test]
fn rows() {
    group("rows", &[Rounding::None]);
}

#[test]
fn linear() {
    group("linear", &BOTH);
}

#[test]
fn shapes() {
    group("shapes", &BOTH);
}

#[test]
fn attention() {
    group("attention", &BOTH);
}

#[test]
fn attention_to_8_bits() {
    group("attention", &[Rounding::Q8Cache]);
}

#[test]
fn rwkv() {
    group("rwkv", &BOTH);
}

#[test]
fn experts() {
    group("experts", &BOTH);
}
