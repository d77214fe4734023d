//! An importance matrix in either form: what is accepted must be good to quantize by.
#![no_main]

use ingot_convert::{Choices, Importance, Job, Mix, Model, Weight};
use ingot_format::{DType, ModelFile};
use libfuzzer_sys::fuzz_target;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

struct Fixture {
    model: Model,
    weights: Vec<(Weight, DType)>,
    /// What is read, and what is made.
    paths: [PathBuf; 2],
}

static FIXTURE: LazyLock<Fixture> = LazyLock::new(|| {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/malformed/ok-moe.gguf");
    let file = ModelFile::open(&file).expect("the tiny model");
    let model = Model::open(&file).expect("the tiny model");
    let choices = Choices { importance: true, again: true, ..Choices::default() };
    let types = Mix::named("IQ4_NL").and_then(|mix| mix.plan(&model, choices).ok()).expect("a plan");
    let weights = model.weights().iter().cloned().zip(types).collect();
    let path = |of: &str| std::env::temp_dir().join(format!("ingot-fuzz-{of}-{}", std::process::id()));
    Fixture { model, weights, paths: [path("imatrix"), path("quantized")] }
});

fuzz_target!(|data: &[u8]| {
    let Fixture { model, weights, paths: [matrix, made] } = &*FIXTURE;
    std::fs::write(matrix, data).expect("a temporary file");
    let Ok(importance) = Importance::open(matrix, model) else { return };
    assert!(!importance.is_empty());
    let known = |(weight, _): &&(Weight, DType)| importance.of(weight).is_some();
    let weights: Vec<_> = weights.iter().filter(known).cloned().collect();
    let job = Job { metadata: &[], weights: &weights, importance: Some(&importance), threads: 1 };
    ingot_convert::write(&job, made, &mut |_| true).expect("numbers that were checked");
});
