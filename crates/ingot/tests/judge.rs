//! How good what a model computes is: `perplexity` and `validate`.

mod common;

use common::{Folder, ingot};
use serde_json::Value;

const MODEL: &str = "models/qwen2-s-q4_0.gguf";
const ORIGINAL: &str = "models/qwen2-s-f16.gguf";

/// A file with this text, in a folder.
fn text(folder: &Folder, text: &str) -> String {
    let path = folder.file("text.txt");
    std::fs::write(&path, text).unwrap();
    path
}

fn number(json: &Value, path: &str) -> f64 {
    json.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("{path} in {json}"))
}

/// llama.cpp's figure for the same file, text and windows is 1.8155.
#[test]
fn perplexity_as_in_llama_cpp() {
    let json = ingot(&["perplexity", "--json"]).json();
    assert_eq!((&json["windows"], &json["predictions"]), (&31.into(), &(31 * 255).into()));
    let perplexity = number(&json, "/perplexity");
    assert!((perplexity / 1.8155 - 1.0).abs() < 0.005, "{perplexity}");
    assert!(json["against"].is_null());
}

/// llama.cpp's figure for each story by itself is 1.4433.
#[test]
fn perplexity_of_documents() {
    let json = ingot(&["perplexity", "--documents", "\\n\\n\\n", "--window", "1024", "--json"]).json();
    assert_eq!((&json["windows"], &json["predictions"]), (&61.into(), &16_026.into()));
    let perplexity = number(&json, "/perplexity");
    assert!((perplexity / 1.4433 - 1.0).abs() < 0.005, "{perplexity}");
    ingot(&["perplexity", "--documents", ""]).fails(2, &["separator"]);
}

#[test]
fn perplexity_by_hand() {
    let folder = Folder::new("by-hand");
    let path = text(&folder, "The fox lost a lantern in the snow. The owl found it.");
    let run = |extra: &[&str]| ingot(&[&["perplexity", MODEL, "--text", &path, "--all"], extra].concat());
    let json = run(&["--against", ORIGINAL, "--window", "1000", "--json"]).json();

    let ids = ingot(&["tokenize", "-m", MODEL, "--ids", &std::fs::read_to_string(&path).unwrap()]).ok();
    let ids: Vec<usize> = ids.trim().split(',').map(|id| id.parse().unwrap()).collect();
    let mut all = Vec::new();
    for (name, model) in [("q", MODEL), ("p", ORIGINAL)] {
        let out = folder.file(name);
        let tokens: Vec<String> = ids.iter().map(usize::to_string).collect();
        ingot(&["logits", model, "--tokens", &tokens.join(","), "-o", &out]).ok();
        let bytes = std::fs::read(out).unwrap();
        let logits: Vec<f64> =
            bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()).into()).collect();
        let softmax = |row: &[f64]| {
            let total: f64 = row.iter().map(|x| x.exp()).sum();
            row.iter().map(|x| x.exp() / total).collect::<Vec<f64>>()
        };
        all.push(logits.chunks_exact(logits.len() / ids.len()).map(softmax).collect::<Vec<_>>());
    }
    let n = (ids.len() - 1) as f64;
    let loss = |p: &[Vec<f64>]| ids[1..].iter().zip(p).map(|(&id, p)| -p[id].ln()).sum::<f64>() / n;
    let pairs = || all[1].iter().zip(&all[0]).take(ids.len() - 1);
    let divergence =
        |(p, q): (&Vec<f64>, &Vec<f64>)| p.iter().zip(q).map(|(p, q)| p * (p / q).ln()).sum::<f64>();
    let near = |path: &str, expected: f64| {
        let value = number(&json, path);
        assert!((value - expected).abs() <= 1e-5 * expected.abs(), "{path}: {value}, not {expected}");
    };
    near("/nats_per_token", loss(&all[0]));
    near("/perplexity", loss(&all[0]).exp());
    near("/against/perplexity", loss(&all[1]).exp());
    near("/against/divergence/mean", pairs().map(divergence).sum::<f64>() / n);
    assert!(number(&json, "/against/divergence/mean") > 0.0);

    let same = run(&["--against", MODEL, "--json"]).json();
    for (path, value) in [("/against/divergence/mean", 0.0), ("/against/same_top", 1.0)] {
        assert_eq!(number(&same, path), value, "{path}");
    }
    let told = run(&["--against", ORIGINAL]).ok();
    for word in ["perplexity", "bits a byte", "divergence", "same likeliest token", "p99.9"] {
        assert!(told.contains(word), "{word:?} is not in {told}");
    }
}

#[test]
fn texts_that_cannot_be_read() {
    let folder = Folder::new("texts");
    let empty = text(&folder, "");
    let run = |args: &[&str]| ingot(&[&["perplexity", MODEL], args].concat());
    run(&["--text", &empty]).fails(1, &["too short"]);
    run(&["--text", "/nowhere.txt"]).fails(1, &["/nowhere.txt"]);
    run(&["--text", MODEL]).fails(1, &["not UTF-8"]);
    run(&["--window", "100000000"]).fails(1, &["the context is", "--window"]);
    run(&["--window", "0"]).fails(2, &["--window"]);
    run(&["--against", "models/rwkv7-s-f16.gguf"]).fails(1, &["another vocabulary"]);
}

#[test]
fn validate_layer_by_layer() {
    for model in [MODEL, "models/rwkv7-s-q4_0.gguf", "models/qwen3moe-s-q8_0.gguf"] {
        let exact = ["--exact", "--cache", "f32", "--device", "cpu", "--json"];
        let json = ingot(&[&["validate", model], &exact[..]].concat()).json();
        assert_eq!(json["devices"][0]["right"], true, "{json}");
        let places = json["devices"][0]["places"].as_array().unwrap();
        assert!(places.len() > 2 && places.last().unwrap()["after"] == "logits", "{json}");
        for place in places {
            for step in ["prompt", "next_token"] {
                assert!(number(place, &format!("/{step}/relative_rms")) < 1e-4, "{place}");
            }
        }
    }
    let told = ingot(&["validate", MODEL, "--text", "a fox", "--device", "cpu"]).ok();
    assert!(told.contains("| block 0 ") && told.contains("| logits ") && told.contains("as the reference"));
    ingot(&["validate", MODEL, "--device", "cpu", "--limit", "0"])
        .fails(1, &["cpu is wrong from 'block 0' on (prompt)", "ingot diff --b cpu"]);
    ingot(&["validate", MODEL, "--text", ""]).fails(2, &["two tokens"]);
}
