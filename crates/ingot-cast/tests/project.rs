//! What is written into a project. That it builds and writes what ingot writes is checked by
//! `.ci/run cast`, because it takes minutes.

use ingot_cast::Error;
use ingot_cast::project::{self, Choices, Made};
use ingot_format::{Gguf, GgufWriter, ModelFile};
use ingot_golden::{Golden, fixtures};
use ingot_models::Model;
use ingot_plan::{Plan, Precision};
use std::fs;
use std::path::Path;
use std::process::Command;

const CHOICES: Choices = Choices { name: "model", context: None, force: false };

fn open(name: &str) -> ModelFile {
    ModelFile::open(&fixtures().join("models").join(name)).unwrap()
}

fn make(file: &ModelFile, folder: &Path) -> Result<Made, Error> {
    project::make(file, folder, CHOICES, &mut |_, _| true)
}

/// Every source, as rustfmt wants it.
fn check_sources(folder: &Path) {
    let mut sources = Vec::new();
    for part in ["src", "src/launches", "tests"] {
        let entries = fs::read_dir(folder.join(part)).unwrap().map(|entry| entry.unwrap().path());
        sources.extend(entries.filter(|path| path.extension().is_some_and(|e| e == "rs")));
    }
    assert_eq!(sources.len(), 8);
    for source in &sources {
        let text = fs::read_to_string(source).unwrap();
        assert!(text.is_ascii() && !text.contains("{{name}}"), "{}", source.display());
    }
    let config = folder.join("rustfmt.toml");
    let rustfmt = Command::new("rustfmt")
        .args(["--check", "--edition", "2024", "--config-path"])
        .arg(config)
        .args(&sources)
        .output()
        .expect("rustfmt is installed");
    assert!(rustfmt.status.success(), "{}", String::from_utf8_lossy(&rustfmt.stdout));
}

/// A slice of a fused tensor, stacked experts, tied embeddings, a split file, a recurrence.
#[test]
fn weights_are_those_of_the_plan() {
    for name in [
        "llama-k-q4_k_m.gguf",
        "phi3-k-q4_k_m.gguf",
        "qwen3moe-s-q4_0.gguf",
        "mistral-s-q4_0-split-00001-of-00003.gguf",
        "rwkv7-k-q4_k_m.gguf",
    ] {
        let (dir, file) = (tempfile::tempdir().unwrap(), open(name));
        let folder = dir.path().join("my-model");
        let made = make(&file, &folder).unwrap();
        assert_eq!(made.package, "my-model");
        let bytes = fs::read(folder.join("weights.gguf")).unwrap();
        assert_eq!(made.weights.bytes, bytes.len() as u64);
        assert_eq!(made.weights.crc32, ingot_runtime::crc32(&bytes));
        let written = Gguf::from_bytes(bytes.into()).unwrap();
        let model = Model::load(&file, Precision::Q8).unwrap();
        for tensor in &model.weights {
            let ours = written.tensor(tensor.name()).unwrap();
            assert_eq!((ours.dtype(), ours.shape()), (tensor.dtype(), tensor.shape()), "{name}");
            assert!(ours.data()[..] == tensor.data()[..], "{name}: {}", tensor.name());
        }
        check_sources(&folder);
        let vendored = |path: &str| folder.join("vendor").join(path).exists();
        assert!(vendored("crates/ingot-runtime/src/lib.rs") && vendored("kernels/linear_tile.metal"));
        assert_eq!(vendored("kernels/attention_vec.metal"), !name.starts_with("rwkv"), "{name}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "a temporary folder is left");
    }
}

#[test]
fn plans_as_data_are_the_plans() {
    for golden in Golden::all() {
        let plan = golden.load(Precision::Q8).plan;
        let (buffers, weights) = (plan.buffers().to_vec(), plan.weights().to_vec());
        let again =
            Plan::of_data(buffers, weights, plan.states().to_vec(), plan.ops().to_vec(), plan.logits());
        assert!(again == *plan, "{}", golden.name);
    }
}

#[test]
#[should_panic(expected = "nothing has written")]
fn a_plan_in_another_order_is_refused() {
    let plan = Golden::all()[0].load(Precision::Q8).plan;
    let mut ops = plan.ops().to_vec();
    ops.swap(0, 1);
    let (buffers, weights) = (plan.buffers().to_vec(), plan.weights().to_vec());
    Plan::of_data(buffers, weights, plan.states().to_vec(), ops, plan.logits());
}

/// A model whose name and template try to get out of their literals and comments.
#[test]
fn texts_of_the_file_stay_texts() {
    let ModelFile::Gguf(gguf) = open("llama-s-q4_0.gguf") else { panic!("a GGUF file") };
    let hostile = "\n*/ fn evil() {} \" \\\" {{name}} \u{202e}` #![cfg(x)] \r\n//!";
    let mut writer = GgufWriter::new();
    gguf.entries().for_each(|(key, value)| writer.set(key, value.clone()));
    writer.set("general.name", hostile);
    let template = format!("{{# {hostile} #}}{{{{ messages[0].content }}}}");
    writer.set("tokenizer.chat_template", template.as_str());
    for t in gguf.tensors() {
        writer.add(t.name(), t.dtype(), t.shape()).unwrap();
    }
    let mut bytes = Vec::new();
    writer.write(&mut bytes, |i, out| out.write_all(gguf.tensors()[i].data())).unwrap();
    let file = ModelFile::Gguf(Gguf::from_bytes(bytes.into()).unwrap());

    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("fn main() \u{202e} \"x");
    assert_eq!(make(&file, &folder).unwrap().package, "fn-main-x");
    let model = fs::read_to_string(folder.join("src/model.rs")).unwrap();
    assert!(model.contains(r#"name: "\n*/ fn evil() {} \" \\\" {{name}} \u{202e}` #![cfg(x)] \r\n//!","#));
    assert_eq!(model.lines().filter(|line| line.starts_with("    name:")).count(), 1);
    let readme = fs::read_to_string(folder.join("README.md")).unwrap();
    assert!(readme.lines().all(|line| !line.starts_with("*/")) && !readme.contains('\u{202e}'));
}

#[test]
fn what_is_no_model_for_a_project_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("x");
    let refused = make(&open("llama-s-safetensors"), &folder).unwrap_err();
    assert!(matches!(refused, Error::NotGguf));

    let ModelFile::Gguf(gguf) = open("llama-s-q4_0.gguf") else { panic!("a GGUF file") };
    let mut writer = GgufWriter::new();
    gguf.entries().for_each(|(key, value)| writer.set(key, value.clone()));
    writer.set("general.architecture", "mamba");
    let mut bytes = Vec::new();
    writer.write(&mut bytes, |_, _| Ok(())).unwrap();
    let unknown = ModelFile::Gguf(Gguf::from_bytes(bytes.into()).unwrap());
    let refused = make(&unknown, &folder).unwrap_err().to_string();
    assert!(refused.contains("mamba"), "{refused}");

    let stopped = project::make(&open("llama-s-q4_0.gguf"), &folder, CHOICES, &mut |_, _| false);
    assert!(matches!(stopped, Err(Error::Stopped)));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "something is left");
}
