//! The example models on held-out text, against the perplexity that llama.cpp
//! measures on the same files.

use ingot_engine::{Model, Options};
use std::path::Path;

/// Each story by itself with token 0 before and after it; every token but the
/// leading one counts.
fn perplexity(file: &str) -> (f64, usize) {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models");
    let model = Model::open(models.join(file), &Options::default()).unwrap();
    let text = std::fs::read_to_string(models.join("valid.txt")).unwrap();
    let stories: Vec<&str> =
        text.split("\n\n\n").map(|s| s.trim_matches('\n')).filter(|s| !s.is_empty()).collect();
    assert_eq!(stories.len(), 61);
    let (mut nll, mut count) = (0.0, 0);
    for story in stories {
        let mut tokens = vec![0];
        tokens.extend(model.tokenizer().encode(story, Default::default()).unwrap());
        tokens.push(0);
        let logits = model.session().unwrap().feed_all(&tokens[..tokens.len() - 1]).unwrap();
        for (row, &next) in logits.chunks_exact(model.info().vocab).zip(&tokens[1..]) {
            let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let total: f64 = row.iter().map(|x| f64::from(x - max).exp()).sum();
            nll += total.ln() - f64::from(row[next as usize] - max);
            count += 1;
        }
    }
    ((nll / f64::from(count)).exp(), count as usize)
}

#[test]
fn tale_llama() {
    let (perplexity, tokens) = perplexity("tale-llama-q8_0.gguf");
    assert_eq!(tokens, 16_026);
    assert!((perplexity / 1.4433 - 1.0).abs() < 0.005, "{perplexity}");
}

#[test]
fn tale_rwkv7() {
    let (perplexity, tokens) = perplexity("tale-rwkv7-q4_k_m.gguf");
    assert_eq!(tokens, 15_533);
    assert!((perplexity / 1.4606 - 1.0).abs() < 0.005, "{perplexity}");
}
