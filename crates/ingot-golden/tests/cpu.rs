//! Every golden file on the CPU executor, in each of its precisions.

use ingot_cpu::{CpuExecutor, CpuOptions};
use ingot_format::DType;
use ingot_golden::{Difference, Feeder, Golden, compare};
use ingot_plan::{Executor, Place, Precision};

/// Runs a golden file; checks the greedy text as far as the margins decide it.
fn run(golden: &Golden, precision: Precision, cache: DType) -> Difference {
    let model = golden.load(precision);
    let options = CpuOptions { threads: Some(2), cache_type: cache, ..CpuOptions::default() };
    let mut executor = CpuExecutor::new(model.plan, model.weights, &options).unwrap();
    let mut feeder = Feeder::new(&mut executor);
    let logits = feeder.feed(&golden.prompt, 512);
    let d = compare(&logits, &golden.logits);
    let decided = golden.margins.iter().take_while(|m| **m > 2.0 * d.max_abs).count();
    let greedy = feeder.greedy(&logits, decided);
    assert_eq!(greedy, golden.greedy[..decided], "{}", golden.name);
    d
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
    let mut compared = 0;
    for golden in Golden::all() {
        let d = run(&golden, Precision::Q8, DType::F16);
        assert!(d.rel_rms < 0.08, "{}: {d:?}", golden.name);
        if let Some(peer) = golden.peer_rel_rms {
            assert!(d.rel_rms <= peer * 4.0 / 3.0, "{}: {d:?}, llama.cpp {peer}", golden.name);
            compared += 1;
        }
    }
    assert!(compared >= 35, "only {compared} files compared with llama.cpp");
}

#[test]
fn recurrent_state() {
    let mut compared = 0;
    for golden in Golden::all() {
        let Some(expected) = &golden.state else { continue };
        for chunk in [1, 7, 64] {
            let model = golden.load(Precision::F32);
            let mut executor = CpuExecutor::new(model.plan, model.weights, &CpuOptions::default()).unwrap();
            Feeder::new(&mut executor).feed(&golden.prompt, chunk);
            let bytes = executor.read(Place::Slot(0)).unwrap();
            let state: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
            let d = compare(&state, expected);
            assert!(d.max_abs < 1e-3, "{} in chunks of {chunk}: {d:?}", golden.name);
            compared += 1;
        }
    }
    assert!(compared >= 15, "only {compared} states compared");
}
