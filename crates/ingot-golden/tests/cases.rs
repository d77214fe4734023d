//! The conformance table on the CPU executor.

use ingot_cpu::{CpuExecutor, CpuOptions};
use ingot_format::DType;
use ingot_golden::cases::{Case, Rounding};

#[test]
fn every_case() {
    let mut wrong = Vec::new();
    for case in Case::all() {
        let (plan, weights) = case.model();
        let options = CpuOptions { threads: Some(2), cache_type: DType::F32, ..CpuOptions::default() };
        let mut executor = CpuExecutor::new(plan, weights, &options).unwrap();
        match case.check(&mut executor, Rounding::None) {
            Ok(error) => println!("{error:.3} {}", case.name),
            Err(e) => wrong.push(e),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
