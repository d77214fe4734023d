//! Every golden file on the CPU executor, in each of its precisions.

use ingot_cpu::{CpuExecutor, CpuOptions};
use ingot_format::DType;
use ingot_golden::{Difference, Golden};
use ingot_plan::Precision;

/// Runs a golden file; checks the greedy text as far as the margins decide it.
fn run(golden: &Golden, precision: Precision, cache: DType) -> Difference {
    let model = golden.load(precision);
    let options = CpuOptions { threads: Some(2), cache_type: cache, ..CpuOptions::default() };
    let mut executor = CpuExecutor::new(model.plan, model.weights, &options).unwrap();
    golden.check(&mut executor, 512)
}

#[test]
fn float_activations_and_f32_cache() {
    for golden in Golden::all() {
        let d = run(&golden, Precision::F32, DType::F32);
        assert!(d.max_abs < 1e-3, "{}: {d:?}", golden.name);
    }
}

#[test]
fn float_activations_and_f16_cache() {
    for golden in Golden::all() {
        let d = run(&golden, Precision::F32, DType::F16);
        assert!(d.max_abs < 3e-2, "{}: {d:?}", golden.name);
    }
}

/// With activations in 8 bits the error may not be much above llama.cpp's own.
#[test]
fn eight_bit_activations() {
    let all = Golden::all();
    let compared = all.iter().filter(|g| g.check_eight_bits(run(g, Precision::Q8, DType::F16))).count();
    assert!(compared >= 35, "only {compared} files compared with llama.cpp");
}

#[test]
fn recurrent_state() {
    let mut compared = 0;
    for golden in Golden::all().iter().filter(|g| g.state.is_some()) {
        for chunk in [1, 7, 64] {
            let model = golden.load(Precision::F32);
            let mut executor = CpuExecutor::new(model.plan, model.weights, &CpuOptions::default()).unwrap();
            let d = golden.check_state(&mut executor, chunk).expect("a state");
            assert!(d.max_abs < 1e-3, "{} in chunks of {chunk}: {d:?}", golden.name);
            compared += 1;
        }
    }
    assert!(compared >= 15, "only {compared} states compared");
}
