//! The commands that make model files.

mod common;

use common::{Folder, fixtures, ingot};
use std::fs;

const MODEL: &str = "models/llama-s-f16.gguf";
const FOLDER: &str = "models/llama-s-safetensors";

/// Logits of a few tokens, computed exactly.
fn logits(model: &str, folder: &Folder) -> Vec<f32> {
    let out = folder.file("logits.f32");
    let args = ["logits", model, "--tokens", "315,10,20,30,40", "--exact", "--cache", "f32", "-o", &out];
    ingot(&args).ok();
    let bytes = fs::read(out).unwrap();
    bytes.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect()
}

/// Root mean square of the difference, as a share of that of `b`.
fn difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let sum = |of: &dyn Fn(f32, f32) -> f32| -> f32 { a.iter().zip(b).map(|(a, b)| of(*a, *b)).sum() };
    (sum(&|a, b| (a - b).powi(2)) / sum(&|_, b| b * b)).sqrt()
}

#[test]
fn quantized_files_run() {
    let folder = Folder::new("quantize");
    let out = folder.file("made.gguf");
    let original = logits(MODEL, &folder);
    // Random weights: an error of 8 % in each of the 15 matrices adds up to about a third.
    for (name, error) in [("q8_0", 0.04), ("q4_0", 0.4), ("iq4_nl", 0.4)] {
        let text = ingot(&["quantize", MODEL, name, "-o", &out]).ok();
        for word in ["blk.*.attn_q.weight", "rms error", &name.to_uppercase(), "made.gguf"] {
            assert!(text.contains(word), "{word:?} is not in {text}");
        }
        let found = difference(&logits(&out, &folder), &original);
        assert!(found < error && found > error / 100.0, "{name}: {found}");
    }
    // Nothing temporary is left.
    assert_eq!(fs::read_dir(folder.file("")).unwrap().count(), 2);
}

#[test]
fn a_folder_becomes_the_same_model() {
    let folder = Folder::new("convert");
    let out = folder.file("made.gguf");
    let json = ingot(&["convert", FOLDER, "-o", &out, "--json"]).json();
    assert_eq!((&json["type"], &json["tensors"][0]["name"]), (&"BF16".into(), &"token_embd.weight".into()));
    assert!(difference(&logits(&out, &folder), &logits(FOLDER, &folder)) < 1e-5);
    let tokens = |model: &str| ingot(&["tokenize", "-m", model, "--ids", "the way naïve 12\n"]).ok();
    assert_eq!(tokens(&out), tokens(FOLDER));
    let json = ingot(&["convert", FOLDER, "--type", "q8_0", "-o", &out, "--json"]).json();
    let losses = json["tensors"].as_array().unwrap().iter().filter(|t| t["to"] == "Q8_0");
    assert!(losses.clone().count() > 10);
    for tensor in losses {
        assert!(tensor["relative_rms_error"].as_f64().unwrap() > 0.002, "{tensor}");
        assert!(tensor["snr_db"].as_f64().unwrap() > 40.0 && tensor["bits_per_weight"] == 8.5, "{tensor}");
    }
}

#[test]
fn a_dry_run_makes_nothing() {
    let folder = Folder::new("dry");
    let out = folder.file("made.gguf");
    let planned = ingot(&["quantize", MODEL, "q4_k_m", "--dry-run", "--json"]).json();
    assert!(planned["output"].is_null() && planned["tensors"][1].get("snr_db").is_none());
    ingot(&["quantize", MODEL, "q4_k_m", "--dry-run", "-o", &out]).ok();
    assert_eq!(fs::read_dir(folder.file("")).unwrap().count(), 0);
    let made = ingot(&["quantize", MODEL, "q4_k_m", "-o", &out, "--json"]).json();
    assert_eq!(planned["tensor_bytes"], made["tensor_bytes"]);
    let file = fs::metadata(&out).unwrap().len();
    assert!(file > made["tensor_bytes"].as_u64().unwrap());
}

#[test]
fn adapters_change_what_a_model_says() {
    let folder = Folder::new("lora");
    let (whole, none) = (folder.file("whole.gguf"), folder.file("none.gguf"));
    let peft = "adapters/peft";
    let run = ingot(&["convert", FOLDER, "--lora", peft, "-o", &whole]);
    assert!(run.err.contains("rank 4, 3 weights, factor 1"), "{}", run.err);
    run.ok();
    let (there, back) = (format!("{peft}:2.5"), format!("{peft}:-2.5"));
    ingot(&["convert", FOLDER, "--lora", &there, "--lora", &back, "--type", "f32", "-o", &none]).ok();
    let original = logits(FOLDER, &folder);
    assert!(difference(&logits(&whole, &folder), &original) > 0.01);
    assert!(difference(&logits(&none, &folder), &original) < 1e-4);

    let lora = |word: &str| ingot(&["convert", FOLDER, "--lora", word, "-o", &whole]);
    lora("adapters/peft:x").fails(2, &["--lora", "not a factor"]);
    lora("adapters/nowhere").fails(1, &["nowhere"]);
    lora("models/qwen2-s-safetensors").fails(1, &["adapter_config.json"]);
    ingot(&["convert", "models/qwen3-s-f16.gguf", "--lora", peft, "-o", &whole])
        .fails(1, &["another model", "q_proj"]);
}

#[test]
fn what_cannot_be_made_is_explained() {
    let folder = Folder::new("refused");
    let out = folder.file("made.gguf");
    let quantized = "models/llama-s-q8_0.gguf";
    ingot(&["quantize", quantized, "q4_0", "-o", &out]).fails(1, &["is Q8_0 already", "--allow-requantize"]);
    ingot(&["quantize", quantized, "q4_0", "--allow-requantize", "-o", &out]).ok();
    ingot(&["convert", quantized, "-o", &out]).fails(1, &["no type of floats"]);
    assert_eq!(ingot(&["quantize", MODEL, "q9", "-o", &out]).code, Some(2));
    assert_eq!(ingot(&["quantize", MODEL, "q8_0"]).code, Some(2));
    ingot(&["quantize", MODEL, "q8_0", "-o", &folder.file("")]).fails(2, &["is a folder"]);
    ingot(&["quantize", MODEL, "q8_0", "-o", "/nowhere/x.gguf"]).fails(1, &["/nowhere"]);
    ingot(&["quantize", "models/none.gguf", "q8_0", "-o", &out]).fails(1, &["no such model"]);
    ingot(&["quantize", MODEL, "q8_0", "--imatrix", "README.md", "-o", &out])
        .fails(1, &["importance matrix"]);

    // Inputs are not replaced, by whatever name they are called.
    let copy = folder.file("copy.gguf");
    fs::copy(fixtures().join(MODEL), &copy).unwrap();
    let before = fs::read(&copy).unwrap();
    let detour = folder.file("../").trim_end_matches('/').to_string();
    let other = format!(
        "{detour}/{}/copy.gguf",
        std::path::Path::new(&folder.file("x")).parent().unwrap().file_name().unwrap().to_str().unwrap()
    );
    ingot(&["quantize", &copy, "q8_0", "-o", &copy]).fails(2, &["is what is read"]);
    ingot(&["quantize", &copy, "q8_0", "-o", &other]).fails(2, &["is what is read"]);
    assert_eq!(fs::read(&copy).unwrap(), before);
    let part = folder.file("m-00002-of-00003.gguf");
    for i in 1..=3 {
        let name = format!("m-0000{i}-of-00003.gguf");
        let from = fixtures().join(format!("models/mistral-s-q4_0-split-0000{i}-of-00003.gguf"));
        fs::copy(from, folder.file(&name)).unwrap();
    }
    let first = folder.file("m-00001-of-00003.gguf");
    ingot(&["convert", &first, "--type", "q4_0", "-o", &part]).fails(2, &["is what is read"]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_told() {
    ingot(&["quantize", MODEL, "q8_0", "-o", "/dev/full"]).fails(1, &["No space left", "hint", "--dry-run"]);
}
