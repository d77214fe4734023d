//! What is said about memory is what a process takes.

#![cfg(target_os = "linux")]

mod common;
#[allow(dead_code)]
#[path = "../examples/synthetic/generator/mod.rs"]
mod generator;

use common::ingot;
use generator::{Mix, Shape};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// The program itself: its code, its stacks, what the allocator keeps, the parts of the
/// file beside the weights (a vocabulary of 150,000 tokens).
const PROGRAM: u64 = 24 << 20;

/// A file that is gone when the test ends.
struct Synthetic(PathBuf);

impl Synthetic {
    /// About 200 MB.
    fn new(shape: &str, layers: usize, mix: Mix) -> Self {
        let name = format!("ingot-memory-{}-{shape}-{}.gguf", std::process::id(), mix.name());
        let file = Self(std::env::temp_dir().join(name));
        let shape = Shape { layers, ..Shape::named(shape).unwrap() };
        generator::write(&shape, mix, &file.0).unwrap();
        file
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Synthetic {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn bytes(json: &Value) -> u64 {
    json.as_u64().unwrap_or_else(|| panic!("{json} is not a number of bytes"))
}

/// Measures a model and holds what was resident against what was said.
fn check(model: &[&str], extra: &[&str]) {
    let args = ["bench", "--json", "--device", "cpu", "--rounds", "1", "--threads", "2"];
    let json = ingot(&[&args, model, extra].concat()).json();
    let memory = &json["memory"];
    let [stated, peak] = ["stated_bytes", "peak_bytes"].map(|key| bytes(&memory[key]));
    assert!(peak <= stated + PROGRAM, "{model:?} {extra:?}: {memory}");
    // An embedding table of its own is resident as far as it was looked up.
    let read = bytes(&json["token"]["weight_bytes"]) + bytes(&memory["cache_bytes"]);
    assert!(peak >= read, "{model:?} {extra:?}: {read} of {memory}");
    // Models that fit into caches are not held against the memory, nor any on a machine
    // that has none left.
    let measured = !json["bandwidth"].is_null();
    assert!(!measured || !model.is_empty(), "{}", json["bandwidth"]);
    assert!(measured || model.is_empty() || ingot::available_memory() < 8 << 30, "no bandwidth");
    let parts = ["weight_bytes", "cache_bytes", "buffer_bytes"].map(|key| bytes(&memory[key]));
    assert_eq!(parts.iter().sum::<u64>(), stated);
}

#[test]
fn of_a_transformer() {
    let model = Synthetic::new("qwen2.5-0.5b", 4, Mix::Q8_0);
    let size = Path::new(model.path()).metadata().unwrap().len();
    assert!((180 << 20..220 << 20).contains(&size), "{size} bytes");
    let model = &[model.path()][..];
    check(model, &["--prompt", "300", "--tokens", "2"]);
    check(model, &["--prompt", "0", "--tokens", "2", "--depth", "1000", "--batch", "4"]);
}

#[test]
fn of_a_recurrent_model() {
    let model = Synthetic::new("rwkv7-1.5b", 2, Mix::Q8_0);
    check(&[model.path()], &["--prompt", "300", "--tokens", "2", "--batch", "8"]);
}

#[test]
fn of_the_model_in_the_program() {
    check(&[], &["--prompt", "300", "--tokens", "2", "--batch", "2"]);
}

#[test]
fn of_a_text_as_inspect_says_it() {
    let model = Synthetic::new("qwen2.5-0.5b", 4, Mix::Q4_0);
    let memory = ingot(&["inspect", "--json", "--ctx", "512", model.path()]).json()["memory"].clone();
    let stated = bytes(&memory["sessions"][0]["resident_bytes"]);
    let prompt = "a ".repeat(250);
    let args = [
        "run",
        "--raw",
        "--output",
        "json",
        "--device",
        "cpu",
        "--threads",
        "2",
        "-n",
        "2",
        "-m",
        model.path(),
    ];
    let run = ingot(&[&args[..], &[&prompt]].concat()).json();
    let (peak, tokens) = (bytes(&run["timings"]["peak_memory_bytes"]), bytes(&run["usage"]["total_tokens"]));
    assert!((449..=512).contains(&tokens), "{tokens} tokens");
    assert!(peak <= stated + PROGRAM + TOKENIZER && peak >= stated, "{peak} and {memory}");
}

/// A vocabulary of 150,000 tokens as it is looked up.
const TOKENIZER: u64 = 64 << 20;
