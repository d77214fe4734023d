//! Other sizes of launches give the same results, bit for bit.

mod common;

use common::executor;
use ingot_golden::Golden;
use ingot_gpu::{Choice, GpuOptions, Tuning};
use ingot_plan::{Precision, Step};

#[test]
fn results_do_not_depend_on_sizes() {
    let of = |name: &str| Golden::all().into_iter().find(|g| g.name == name).unwrap();
    for (name, precision) in [("qwen2-s-q4_k_m", Precision::Q8), ("qwen3moe-s-q4_0", Precision::F32)] {
        let mut gpu = executor(of(name).load(precision), &GpuOptions::default());
        gpu.reserve(1, 2).unwrap();
        let mut run = |tuning: &Tuning| {
            gpu.tune(tuning);
            gpu.clear_slot(0).unwrap();
            let mut logits = Vec::new();
            gpu.run(&Step::single(&[3], 0, 0, &[0]), &mut logits).unwrap();
            logits
        };
        let usual = run(&Tuning::default());
        assert!(usual.iter().any(|x| *x != 0.0));
        for (rows, ahead, resident) in [(1, 2, 1), (8, 1, 2)] {
            let tuned = run(&Tuning::uniform(Choice { rows, ahead, resident }));
            assert_eq!(usual, tuned, "{name}: rows {rows}, ahead {ahead}, resident {resident}");
        }
    }
}
