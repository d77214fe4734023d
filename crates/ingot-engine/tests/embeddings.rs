//! Embeddings are means of what the reference gives its head.

mod common;

use common::{MODELS, fixture, open, tokens};
use ingot_engine::{Error, ExecutorKind};
use ingot_format::ModelFile;
use ingot_plan::{Executor, PAGE, Reference, Step};
use std::sync::Arc;

/// The normalized mean of the rows before the head, `[hidden]`.
fn expected(name: &str, tokens: &[u32]) -> Vec<f32> {
    let file = ModelFile::open(&fixture(&format!("models/{name}.gguf"))).unwrap();
    let model = ingot_models::Model::load(&file, Default::default()).unwrap();
    let plan = Arc::new(model.plan.without_head().unwrap());
    let width = plan.vocab();
    let mut reference = Reference::new(plan, model.weights);
    let pages: Vec<u32> = (0..tokens.len().div_ceil(PAGE) as u32).collect();
    reference.reserve(pages.len(), 1).unwrap();
    let mut step = Step::single(tokens, 0, 0, &pages);
    step.outputs = (0..tokens.len() as u32).collect();
    let mut rows = Vec::new();
    reference.run(&step, &mut rows).unwrap();
    let mean = |i| rows.chunks_exact(width).map(|row| f64::from(row[i])).sum::<f64>();
    let sums: Vec<f64> = (0..width).map(mean).collect();
    let length = sums.iter().map(|x| x * x).sum::<f64>().sqrt();
    sums.iter().map(|x| (x / length) as f32).collect()
}

#[test]
fn are_means_of_what_the_head_is_given() {
    for name in MODELS {
        let model = open(name, ExecutorKind::Cpu);
        for n in [1, 5, 300] {
            let text = tokens(9, n);
            let (got, want) = (model.embed(&text).unwrap(), expected(name, &text));
            assert_eq!(got.len(), want.len());
            let product: f32 = got.iter().zip(&want).map(|(a, b)| a * b).sum();
            // The processor rounds activations to 8 bits and keys and values to 16.
            assert!(product > 0.999, "{name}: {n} tokens: {product}");
            let length: f32 = got.iter().map(|x| x * x).sum();
            assert!((length - 1.0).abs() < 1e-4, "{name}: {length}");
            assert_eq!(got, model.embed(&text).unwrap(), "{name}");
        }
        let other = model.embed(&tokens(10, 300)).unwrap();
        assert_ne!(other, model.embed(&tokens(9, 300)).unwrap(), "{name}");
    }
}

#[test]
fn nonsense_is_refused() {
    let model = open("qwen2-s-q4_k_m", ExecutorKind::Cpu);
    assert!(matches!(model.embed(&[]), Err(Error::BadRequest(_))));
    assert!(matches!(model.embed(&[u32::MAX]), Err(Error::BadRequest(_))));
    assert!(matches!(model.embed(&vec![1; model.context() + 1]), Err(Error::ContextFull { .. })));
}
