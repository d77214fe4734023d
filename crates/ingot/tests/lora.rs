//! Adapters that are added to a model while it is opened.

mod common;

use common::{Folder, fixtures, ingot};
use ingot_format::{DType, GgufWriter, ModelFile};
use std::fs;

const MODEL: &str = "models/llama-s-f16.gguf";
const HF_FOLDER: &str = "models/llama-s-safetensors";
const PEFT: &str = "adapters/peft";
const GGUF: &str = "adapters/adapter.gguf:0.5";

/// The bytes of the logits of a few tokens.
fn logits(folder: &Folder, model: &str, extra: &[&str]) -> Vec<u8> {
    let out = folder.file("logits.f32");
    ingot(&[&["logits", model, "--tokens", "315,10,20,30,40", "-o", &out], extra].concat()).ok();
    fs::read(out).unwrap()
}

#[test]
fn as_a_file_that_was_made_with_them() {
    let folder = Folder::new("lora-load");
    let (whole, made) = (folder.file("f32.gguf"), folder.file("made.gguf"));
    ingot(&["convert", MODEL, "--type", "f32", "-o", &whole]).ok();
    let adapters = ["--lora", PEFT, "--lora", GGUF];
    for (model, mix) in [(MODEL, "f16"), (whole.as_str(), "f32"), ("models/llama-s-q8_0.gguf", "q8_0")] {
        let args = ["quantize", model, mix, "--allow-requantize", "-o", &made];
        ingot(&[&args[..], &adapters].concat()).ok();
        for device in [&["--device", "cpu"][..], &["--device", "reference"], &["--exact", "--threads", "1"]] {
            let merged = logits(&folder, model, &[&adapters, device].concat());
            assert!(merged == logits(&folder, &made, device), "{mix} {device:?}");
            assert!(merged != logits(&folder, model, device), "{mix} {device:?}");
        }
    }
    // A folder's rows of queries and keys lie otherwise than a file's: sums may differ in last bits.
    ingot(&[&["convert", HF_FOLDER, "--type", "bf16", "-o", &made], &adapters[..]].concat()).ok();
    let numbers =
        |bytes: Vec<u8>| -> Vec<f32> { bytes.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect() };
    let exact = ["--exact", "--cache", "f32"];
    let a = numbers(logits(&folder, HF_FOLDER, &[&adapters, &exact[..]].concat()));
    let b = numbers(logits(&folder, &made, &exact));
    assert!(!a.is_empty() && a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-4));
}

#[test]
fn on_a_gpu() {
    let folder = Folder::new("lora-gpu");
    let made = folder.file("made.gguf");
    ingot(&["convert", MODEL, "--lora", PEFT, "-o", &made]).ok();
    let sim = ["--device", "sim"];
    assert!(logits(&folder, MODEL, &[&["--lora", PEFT], &sim[..]].concat()) == logits(&folder, &made, &sim));
}

#[test]
fn whatever_runs_a_model_adds_them() {
    let tokens = |args: &[&str]| ingot(args).json()["tokens"].clone();
    let run = ["run", "-m", MODEL, "--raw", "--greedy", "--ignore-eos", "-n", "12", "--json", "abc"];
    let merged = tokens(&[&run[..], &["--lora", PEFT]].concat());
    assert_ne!(merged, tokens(&run));
    let run = ingot(&["run", "-m", MODEL, "--raw", "-n", "1", "ab", "--lora", "adapters/peft:-1.5"]);
    assert!(run.err.contains("adapters/peft: rank 4, 3 weights, factor -1.5"), "{}", run.err);
    run.ok();
    ingot(&["chat", MODEL, "--lora", PEFT]).ok();

    // The original of a comparison is without them.
    let judge = ["perplexity", MODEL, "--window", "64", "--windows", "2", "--json", "--against", MODEL];
    let divergence = |extra: &[&str]| {
        let json = ingot(&[&judge[..], extra].concat()).json();
        json["against"]["divergence"]["mean"].as_f64().unwrap_or_else(|| panic!("{json}"))
    };
    assert_eq!(divergence(&[]), 0.0);
    assert!(divergence(&["--lora", PEFT]) > 1e-3);

    let lora = ["--lora", PEFT, "--json"];
    let right = ingot(&[&["validate", MODEL, "--device", "cpu"], &lora[..]].concat()).json();
    assert_eq!(right["devices"][0]["right"], true);
    ingot(&[&["diff", MODEL, "--b", "cpu"], &lora[..]].concat()).ok();
    ingot(&[&["bench", MODEL, "-p", "8", "-n", "2", "-r", "1"], &lora[..]].concat()).json();
    ingot(&[&["profile", MODEL, "-p", "4", "-r", "1"], &lora[..]].concat()).json();
    // The other program would run the file as it is.
    assert_eq!(ingot(&[&["bench", MODEL, "--peer", "llama-cpp"], &lora[..]].concat()).code, Some(2));
}

/// An adapter that changes the first row of a matrix and nothing else.
fn one_row(path: &str) {
    let weight = "blk.0.ffn_down.weight";
    let model = ModelFile::open(&fixtures().join(MODEL)).unwrap();
    let shape = model.tensor(weight).unwrap().shape().to_vec();
    let mut writer = GgufWriter::new();
    writer.set("general.type", "adapter");
    writer.set("adapter.type", "lora");
    writer.set("adapter.lora.alpha", 1.0f32);
    let (a, mut b) = (vec![0.5f32; shape[1]], vec![0.0f32; shape[0]]);
    b[0] = 1.0;
    writer.add(format!("{weight}.lora_a"), DType::F32, &[1, shape[1]]).unwrap();
    writer.add(format!("{weight}.lora_b"), DType::F32, &[shape[0], 1]).unwrap();
    let bytes = [a, b].map(|values| values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>());
    writer.write_to_path(path.as_ref(), |i, out| out.write_all(&bytes[i])).unwrap();
}

#[test]
fn sessions_belong_to_a_model_with_its_adapters() {
    let folder = Folder::new("lora-session");
    let (file, row) = (folder.file("session"), folder.file("row.gguf"));
    one_row(&row);
    let run = |extra: &[&str]| {
        let args = ["run", "-m", MODEL, "--raw", "--greedy", "--ignore-eos", "--json", "-n", "6"];
        ingot(&[&args[..], extra].concat())
    };
    run(&["abc", "--save", &file, "--lora", PEFT]).ok();
    run(&["--load", &file, "--lora", PEFT]).ok();
    for other in
        [&[][..], &["--lora", GGUF], &["--lora", "adapters/peft:1.01"], &["--lora", PEFT, "--lora", GGUF]]
    {
        run(&[&["--load", &file], other].concat()).fails_later(1, &["saved with another model"]);
    }
    run(&["abc", "--save", &file]).ok();
    run(&["--load", &file, "--lora", &row]).fails_later(1, &["saved with another model"]);
    run(&["--load", &file, "--lora", PEFT]).fails_later(1, &["saved with another model"]);
    run(&["--load", &file]).ok();
}

#[test]
fn what_cannot_be_added_is_explained() {
    let run = |model: &str, word: &str| ingot(&["run", "-m", model, "-n", "1", "x", "--lora", word]);
    run(MODEL, "adapters/peft:x").fails(2, &["--lora", "'x' is not a factor"]);
    run(MODEL, "adapters/peft:inf").fails(2, &["not a factor"]);
    run(MODEL, "adapters/nowhere").fails(1, &["nowhere"]);
    run(MODEL, "models/qwen2-s-safetensors").fails(1, &["adapter_config.json"]);
    run("models/qwen3-s-f16.gguf", PEFT).fails(1, &["another model", "q_proj"]);
    run("models/rwkv7-s-f16.gguf", GGUF).fails(1, &["does not have", "attn_q"]);
    // So large that F16 does not hold the sums.
    run(MODEL, "adapters/peft:1e9").fails_later(1, &["F16", "cannot"]);
}
