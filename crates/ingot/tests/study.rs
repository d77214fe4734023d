//! Which device computes, and whether it computes the right thing.

mod common;

use common::{command, ingot};
use serde_json::Value;

const MODEL: &str = "models/llama-s-q8_0.gguf";
const RECURRENT: &str = "models/rwkv7-s-q8_0.gguf";

/// True if `auto` means a GPU here.
fn has_gpu() -> bool {
    ingot(&["doctor", "--json"]).json()["gpus"]["used"] == true
}

#[test]
fn devices_that_are_named() {
    let greedy = |device: &str| {
        let args = ["logits", MODEL, "--tokens", "1,2,3", "--greedy", "4", "--exact", "--cache", "f32"];
        ingot(&[&args[..], &["--device", device]].concat())
    };
    let expected = greedy("reference").json();
    assert_eq!(greedy("cpu").json(), expected);
    assert_eq!(greedy("auto").json(), expected);
    greedy("gpu").fails(2, &["--device", "cuda:N"]);
    greedy("cuda:x").fails(2, &["cuda:N"]);
    // A machine has no thousandth GPU, and none of Apple's outside of macOS.
    greedy("cuda:999").fails(1, &["cuda:999: ", "hint: ", "ingot doctor", "--device cpu"]);
    if !cfg!(target_os = "macos") {
        greedy("metal").fails(1, &["metal: ", "--device cpu"]);
    }
    // The old word for the same thing, and the environment's.
    let args = ["logits", MODEL, "--tokens", "1,2,3", "--greedy", "4", "--exact", "--cache", "f32"];
    assert_eq!(ingot(&[&args[..], &["--executor", "reference"]].concat()).json(), expected);
    let with = |device: &str, args: &[&str]| {
        let output = command(args).env("INGOT_DEVICE", device).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, err) = with("cuda:999", &args);
    assert!(code == Some(1) && err.contains("cuda:999"), "{err}");
    assert_eq!(with("cuda:999", &[&args[..], &["--device", "cpu"]].concat()), (Some(0), String::new()));
    assert_eq!(with("", &args).0, Some(0));
}

#[test]
fn without_a_gpu_nothing_is_said() {
    let signs = ["/dev/nvidia0", "/proc/driver/nvidia/version", "/dev/dxg"];
    if has_gpu() || signs.iter().any(|sign| std::path::Path::new(sign).exists()) {
        return;
    }
    let output = command(&["run", "-n", "2", "Once"]).env_remove("INGOT_DEVICE").output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}

#[test]
fn types_of_the_cache() {
    for cache in ["f16", "f32", "q8_0"] {
        ingot(&["run", "-n", "2", "Once", "--cache", cache]).ok();
    }
    ingot(&["run", "-n", "2", "Once", "--cache", "q4_0"]).fails(2, &["--cache", "q8_0"]);
}

#[test]
fn two_executors_are_compared() {
    for model in [MODEL, RECURRENT, "models/qwen2-s-q4_k_m.gguf"] {
        let diff =
            |extra: &[&str]| ingot(&[&["diff", model, "--a", "reference", "--b", "cpu"], extra].concat());
        let exact = ["--exact", "--cache", "f32", "--json"];
        let json = diff(&exact).json();
        assert_eq!(
            (&json["equal"], &json["a"], &json["b"]),
            (&true.into(), &"reference".into(), &"cpu".into())
        );
        // Of the processor there are the logits, and what is between the layers.
        let buffers = json["buffers"].as_array().unwrap();
        let names: Vec<&str> = buffers.iter().map(|b| b["buffer"].as_str().unwrap()).collect();
        assert!(names.starts_with(&["block 0", "block 1"]) && names.ends_with(&["logits"]), "{names:?}");
        for buffer in buffers {
            let off = buffer["max_abs"].as_f64().unwrap();
            assert!(buffer["first_bad"].is_null() && off > 0.0 && off < 1e-3, "{buffer}");
        }
        // One token after others, and the defaults.
        assert_eq!(
            diff(&[&exact[..], &["--tokens", "1,2,3,4", "--past", "3"]].concat()).json()["equal"],
            true
        );
        assert!(diff(&["--text", "ab"]).ok().contains("| logits "));
        diff(&["--exact", "--limit", "0"]).fails(1, &["reference and cpu differ", "'block 0' is ", "op add"]);
        let wrong = diff(&["--limit", "0", "--json"]);
        assert_eq!(wrong.code, Some(1));
        let json: Value = serde_json::from_str(&wrong.out).unwrap();
        assert_eq!(json["equal"], false);
        assert!(json["buffers"][0]["first_bad"]["values"][1].is_f64(), "{json}");
    }
}

#[test]
fn an_executor_is_equal_to_itself() {
    let args = ["diff", MODEL, "--a", "reference", "--b", "reference", "--limit", "0", "--json"];
    let json = ingot(&args).json();
    let buffers = json["buffers"].as_array().unwrap();
    assert!(buffers.len() > 20 && buffers.iter().all(|b| b["max_abs"] == 0.0), "{json}");
    ingot(&["diff", MODEL, "--b", "cpu", "--tokens", "1,2", "--past", "2"])
        .fails(2, &["--past 2", "2 tokens"]);
    ingot(&["diff", MODEL, "--b", "cpu", "--tokens", "x"]).fails(1, &["'x' is not a token id"]);
    ingot(&["diff", MODEL, "--b", "cpu", "--tokens", "99999"]).fails(1, &["outside of the vocabulary"]);
    ingot(&["diff", MODEL, "--b", "cuda:999"]).fails(1, &["cuda:999"]);
}

#[test]
fn every_buffer_of_the_simulator() {
    for model in [MODEL, RECURRENT] {
        let diff = |extra: &[&str]| {
            let args = ["diff", model, "--b", "sim", "--exact", "--cache", "f32", "--json"];
            ingot(&[&args, extra].concat())
        };
        // A step that writes one token, and one that reads a prompt.
        for step in [["--tokens", "1,2,3,4", "--past", "3"], ["--tokens", "1,2,3,4", "--past", "0"]] {
            let json = diff(&step).json();
            let buffers = json["buffers"].as_array().unwrap();
            assert!(json["equal"] == true && buffers.len() > 5, "{json}");
            assert!(buffers.iter().all(|b| b["kernel"].is_string()), "{json}");
        }
        let first = diff(&["--launch", "1"]).json();
        assert!(first["buffers"].as_array().unwrap().iter().all(|b| b["launch"] == 0), "{first}");
    }
}
