//! Models for the engine's tests: tiny ones of several families.

use ingot_engine::{CacheType, ExecutorKind, Model, Options};
use std::path::{Path, PathBuf};

/// A file of the repository's test files.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures").join(name)
}

/// A transformer with mixed types, one with a sliding window, a mixture of
/// experts, and a recurrent model.
#[allow(dead_code)] // not every test file uses all of it
pub const MODELS: [&str; 4] = ["qwen2-s-q4_k_m", "mistral-sw16-s-f16", "qwen3moe-s-q8_0", "rwkv7-s-q4_0"];

/// Opens a model of the repository's test files.
#[allow(dead_code)]
pub fn open(name: &str, executor: ExecutorKind) -> Model {
    let options = Options { executor, threads: Some(2), cache: CacheType::F16, ..Options::default() };
    Model::open(fixture(&format!("models/{name}.gguf")), &options).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// Tokens that any of the models has, the same ones for the same seed.
#[allow(dead_code)]
pub fn tokens(seed: u32, n: usize) -> Vec<u32> {
    let mut x = seed;
    let mut next = || {
        x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        x >> 8 & 255
    };
    (0..n).map(|_| next()).collect()
}
