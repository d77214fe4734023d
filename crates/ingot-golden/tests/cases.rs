//! The conformance table on the CPU executor.

use ingot_cpu::{CpuExecutor, CpuOptions};
use ingot_format::DType;
use ingot_golden::cases::{Case, Rounding};
use ingot_plan::{Op, Plan};

/// Runs cases with keys and values of a type.
fn check(cases: Vec<Case>, cache_type: DType, rounding: Rounding) {
    let mut wrong = Vec::new();
    for case in cases {
        let (plan, weights) = case.model();
        let options = CpuOptions { threads: Some(2), cache_type, ..CpuOptions::default() };
        let mut executor = CpuExecutor::new(plan, weights, &options).unwrap();
        match case.check(&mut executor, rounding) {
            Ok(error) => println!("{error:.3} {}", case.name),
            Err(e) => wrong.push(e),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_case() {
    check(Case::all(), DType::F32, Rounding::None);
}

#[test]
fn attention_to_16_bits() {
    check(Case::group("attention"), DType::F16, Rounding::Half);
}

#[test]
fn attention_to_8_bits() {
    let mut cases = Case::group("attention");
    cases.retain(|case| whole_blocks(&case.model().0));
    assert!(cases.len() > 10, "{} cases", cases.len());
    check(cases, DType::Q8_0, Rounding::Q8Cache);
}

/// True if the plan's heads are whole blocks of Q8_0.
fn whole_blocks(plan: &Plan) -> bool {
    plan.ops().iter().all(|op| match op {
        Op::Attention(a) => (plan.buffer(a.q).width / a.heads).is_multiple_of(DType::Q8_0.block_len()),
        _ => true,
    })
}
