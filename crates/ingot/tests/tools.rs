//! The commands that look into things.

mod common;

use common::{Folder, command, fixtures, ingot, ingot_with};
use serde_json::Value;
use std::fs;

const MODEL: &str = "models/llama-s-q8_0.gguf";

fn golden(name: &str) -> Value {
    let text = fs::read_to_string(fixtures().join(format!("golden/{name}.json"))).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn f32s(path: impl AsRef<std::path::Path>) -> Vec<f32> {
    let bytes = fs::read(path).unwrap();
    bytes.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect()
}

#[track_caller]
fn assert_close(found: &[f32], expected: &[f32], limit: f32) {
    assert_eq!(found.len(), expected.len());
    let worst = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst < limit, "largest difference {worst}");
}

#[test]
fn logits_are_those_of_the_golden_file() {
    let folder = Folder::new("logits");
    let (golden, expected) =
        (golden("llama-s-q8_0"), f32s(fixtures().join("golden/llama-s-q8_0.logits.f32")));
    let prompt = golden["prompt"].to_string();
    let (ids, out) = (folder.file("ids"), folder.file("out.f32"));
    fs::write(&ids, &prompt).unwrap();
    let options: [&[&str]; 3] = [
        &["--executor", "reference"],
        &["--exact", "--cache", "f32"],
        &["--exact", "--cache", "f32", "--chunk", "7"],
    ];
    for options in options {
        let args = ["logits", MODEL, "--tokens", &format!("@{ids}"), "-o", &out];
        assert_eq!(ingot(&[&args, options].concat()).ok(), "");
        assert_close(&f32s(&out), &expected, 1e-3);
    }
    // Nothing temporary is left.
    assert_eq!(fs::read_dir(folder.file("")).unwrap().count(), 2);
    let list = prompt.replace(['[', ']'], "");
    let args = ["logits", MODEL, "--tokens", &list, "--executor", "reference", "--greedy", "16"];
    assert_eq!(ingot(&args).json(), golden["greedy"]);
    let object = ingot(&[&args[..], &["--json", "-o", &out]].concat()).json();
    assert_eq!((&object["greedy"], &object["output"]), (&golden["greedy"], &out.as_str().into()));
    assert_eq!(object["tokens"], golden["prompt"].as_array().unwrap().len());
    assert_eq!(object["vocab"], expected.len() / golden["prompt"].as_array().unwrap().len());
    ingot(&[&args[..], &["--json", "-o", "-"]].concat()).fails(2, &["--json", "--output"]);
    let output = command(&["logits", MODEL, "--tokens", "1,2", "-o", "-"]).output().unwrap();
    assert_eq!(output.stdout.len(), 2 * 4 * expected.len() / golden["prompt"].as_array().unwrap().len());
}

#[test]
fn the_recurrent_state_is_that_of_the_golden_file() {
    let folder = Folder::new("state");
    let golden = golden("rwkv7-s-f16");
    let (ids, out) = (golden["prompt"].to_string(), folder.file("state.f32"));
    let args = ["logits", "models/rwkv7-s-f16.gguf", "--tokens", &ids, "--exact", "--state", &out];
    ingot(&args).ok();
    assert_close(&f32s(&out), &f32s(fixtures().join("golden/rwkv7-s-f16.state.f32")), 1e-3);
    ingot(&["logits", MODEL, "--tokens", "1", "--state", &out]).fails(1, &["no recurrent state", "RWKV-7"]);
}

#[test]
fn bad_tokens_are_refused() {
    let logits = |tokens: &str| ingot(&["logits", MODEL, "--tokens", tokens, "-o", "-"]);
    logits("").fails(2, &["names no tokens"]);
    logits("1,x").fails(1, &["'x' is not a token id"]);
    logits("1000000").fails(1, &["1000000 is outside of the vocabulary"]);
    logits("@nowhere").fails(1, &["nowhere"]);
    ingot(&["logits", MODEL, "--tokens", "1"]).fails(2, &["--output"]);
    ingot(&["logits", MODEL, "--tokens", "1", "-o", "/nowhere/x"]).fails(1, &["cannot write /nowhere/x"]);
}

#[test]
fn tokens_and_back() {
    let text = "Once upon a time, naïve 日本\n";
    let ids = ingot_with(text, &["tokenize", "--ids"]).ok();
    let args = ["tokenize", "--decode", ids.trim()];
    assert_eq!(ingot(&args).ok(), format!("{text}\n"));
    let json = ingot(&["tokenize", "--json", "Once upon"]).json();
    assert_eq!(json["text"], "Once upon");
    assert_eq!(json["tokens"].as_array().unwrap().len(), json["ids"].as_array().unwrap().len());
    let shown = ingot(&["tokenize", "Once upon"]).ok();
    assert!(shown.contains("  \"") && shown.trim_end().ends_with("tokens"), "{shown}");
    let special = |extra: &[&str]| {
        ingot(&[&["tokenize", "--json", "<|im_start|>"], extra].concat()).json()["ids"]
            .as_array()
            .unwrap()
            .len()
    };
    assert!(special(&["--special"]) == 1 && special(&[]) > 1);
    ingot(&["tokenize", "--decode", "9999999"]).fails(1, &["outside of the vocabulary"]);
    ingot(&["tokenize", "--decode", "1.5"]).fails(1, &["'1.5' is not a token id"]);
}

#[test]
fn inspect_shows_what_a_file_is() {
    let text = ingot(&["inspect"]).ok();
    for word in ["tale-llama", "Llama", "parameters", "chat template", "Q8_0", "█", "blk.0-", "session of"]
    {
        assert!(text.contains(word), "{word:?} is not in {text}");
    }
    assert!(!text.contains('\u{1b}'));
    assert!(ingot(&["inspect", "--tensors"]).ok().contains("blk.1.attn_q.weight"));
    assert!(ingot(&["inspect", "--ctx", "123"]).ok().contains("session of 123 tokens"));
    assert!(ingot(&["inspect", MODEL, "--plan"]).ok().contains("= linear("));
    let folder = ingot(&["inspect", "models/qwen2-s-safetensors"]).ok();
    assert!(folder.contains("Qwen2") && folder.contains("model.layers.0-"), "{folder}");
    assert!(ingot(&["inspect", "rwkv7-s-f16"]).ok().contains("however long the text"));
}

#[test]
fn inspect_as_json() {
    let json = ingot(&["inspect", MODEL, "--json", "--plan"]).json();
    assert_eq!(json["metadata"]["general.architecture"], "llama");
    assert_eq!((&json["supported"], &json["model"]["family"]), (&true.into(), &"Llama".into()));
    assert_eq!(json["tensors"].as_array().unwrap().len(), 21);
    assert_eq!(json["types"][0]["type"], "Q8_0");
    assert!(json["plan"].as_str().unwrap().contains("linear"));
    let bytes =
        |list: &Value| list.as_array().unwrap().iter().map(|x| x["bytes"].as_u64().unwrap()).sum::<u64>();
    assert_eq!(bytes(&json["tensors"]), bytes(&json["types"]));
}

#[test]
fn inspect_shows_models_that_cannot_run() {
    let file = "malformed/arch-unknown.gguf";
    let text = ingot(&["inspect", file]).ok();
    assert!(text.contains("cannot run") && text.contains("general.architecture"), "{text}");
    assert_eq!(ingot(&["inspect", file, "--json"]).json()["supported"], false);
    ingot(&["inspect", file, "--plan"]).fails(1, &["unsupported model family"]);
    ingot(&["inspect", "malformed/empty.gguf"]).fails(1, &["empty.gguf"]);
    ingot(&["inspect", "README.md"]).fails(1, &["README.md", "not a model"]);
}

#[test]
fn malformed_files_never_panic() {
    let index: Value =
        serde_json::from_str(&fs::read_to_string(fixtures().join("malformed/index.json")).unwrap()).unwrap();
    let mut seen = 0;
    for file in fs::read_dir(fixtures().join("malformed")).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|e| e == "json") {
            continue;
        }
        let run = ingot(&["inspect", path.to_str().unwrap()]);
        assert!(matches!(run.code, Some(0 | 1)), "{}: {}", path.display(), run.err);
        seen += 1;
    }
    assert!(seen > 100 && index.is_object(), "{seen}");
}

#[test]
fn doctor_finds_a_machine_that_works() {
    let text = ingot(&["doctor"]).ok();
    for word in ["Processor", "in use", "Memory", "Graphics", "works", "tok/s"] {
        assert!(text.contains(word), "{word:?} is not in {text}");
    }
    let json = ingot(&["doctor", "--json"]).json();
    assert_eq!(json["embedded_model"]["works"], true);
    let gpus = &json["gpus"];
    assert_eq!(gpus["used"].as_bool().unwrap(), !gpus["found"].as_array().unwrap().is_empty());
    assert_eq!(gpus["used"].as_bool().unwrap(), gpus["device"].is_string());
    let trials = json["embedded_model"]["trials"].as_array().unwrap();
    assert_eq!(trials[0]["device"], "cpu");
    assert_eq!(trials.len(), if gpus["used"] == true { 2 } else { 1 });
    assert!(json["memory"]["total_bytes"].as_u64().unwrap() > 0);
    let scalar = command(&["doctor"]).env("INGOT_CPU", "scalar").output().unwrap();
    assert!(String::from_utf8_lossy(&scalar.stdout).contains("scalar, because INGOT_CPU says so"));
}

#[test]
fn the_command_line_for_other_programs() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        assert!(ingot(&["completions", shell]).ok().contains("tokenize"), "{shell}");
    }
    ingot(&["completions", "cmd"]).fails(2, &["cmd", "bash"]);
    assert!(ingot(&["man"]).ok().starts_with(".ie"));
    let folder = Folder::new("man");
    ingot(&["man", "-o", &folder.file("pages")]).ok();
    let page = fs::read_to_string(folder.file("pages/ingot-run.1")).unwrap();
    assert!(page.contains("Once upon a time"));
}

#[test]
fn help_and_version() {
    assert_eq!(ingot(&["--version"]).ok(), format!("ingot {}\n", env!("CARGO_PKG_VERSION")));
    assert!(ingot(&["run", "--help"]).ok().contains("Examples:"));
    assert_eq!(ingot(&[]).code, Some(2));
    ingot(&["walk"]).fails(2, &["walk"]);
}

#[test]
fn colors_only_where_they_are_wanted() {
    let colored = command(&["inspect"]).env("CLICOLOR_FORCE", "1").output().unwrap();
    assert!(colored.stdout.contains(&0x1b));
    let plain = command(&["inspect"]).env("CLICOLOR_FORCE", "1").env("NO_COLOR", "1").output().unwrap();
    assert!(!plain.stdout.contains(&0x1b));
}
