//! Whole GGUF files: reading, splitting, writing again.

use std::{fs, path::PathBuf};

use ingot_format::{Bytes, Gguf, GgufWriter, Tensor, gguf::Value};

fn model(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/models/")).join(name)
}

/// A folder of this test's own.
fn scratch(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("ingot-gguf-{name}-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    dir
}

fn assert_same_tensors(a: &[Tensor], b: &[Tensor]) {
    assert_eq!(a.len(), b.len());
    for a in a {
        let b = b.iter().find(|b| b.name() == a.name()).unwrap();
        assert_eq!((a.dtype(), a.shape(), a.data()), (b.dtype(), b.shape(), b.data()), "{}", a.name());
    }
}

const PARTS: [&str; 3] = [
    "mistral-s-q4_0-split-00001-of-00003.gguf",
    "mistral-s-q4_0-split-00002-of-00003.gguf",
    "mistral-s-q4_0-split-00003-of-00003.gguf",
];

#[test]
fn reads_metadata_and_tensors() {
    let gguf = Gguf::open(&model("llama-k-q4_k_m.gguf")).unwrap();
    assert_eq!(gguf.architecture().unwrap(), "llama");
    let vocab = gguf.strings("tokenizer.ggml.tokens").unwrap().unwrap().len();
    assert!(gguf.strings("tokenizer.ggml.tokens").unwrap().unwrap().all(|token| token.is_ok()));
    assert_eq!(gguf.ints("tokenizer.ggml.token_type").unwrap().unwrap().len(), vocab);
    let width = gguf.uint("llama.embedding_length").unwrap().unwrap() as usize;
    assert_eq!(gguf.tensor("token_embd.weight").unwrap().shape(), [vocab, width]);
    assert!(gguf.tensors().iter().all(|t| t.data().is_intact()));
}

#[test]
fn a_split_model_is_the_whole_one() {
    let whole = Gguf::open(&model("mistral-s-q4_0.gguf")).unwrap();
    let split = Gguf::open(&model(PARTS[0])).unwrap();
    assert_same_tensors(whole.tensors(), split.tensors());
    for (key, value) in whole.entries() {
        assert_eq!(Some(value), split.get(key), "{key}");
    }
}

#[test]
fn split_models_with_something_wrong() {
    let error = Gguf::open(&model(PARTS[1])).unwrap_err().to_string();
    assert!(error.contains("open the first part") && error.contains(PARTS[0]), "{error}");

    let dir = scratch("split");
    for part in [PARTS[0], PARTS[1]] {
        fs::copy(model(part), dir.join(part)).unwrap();
    }
    let error = Gguf::open(&dir.join(PARTS[0])).unwrap_err().to_string();
    assert!(error.contains("part 3 of 3 is missing") && error.contains(PARTS[2]), "{error}");

    fs::copy(model(PARTS[1]), dir.join(PARTS[2])).unwrap();
    let error = Gguf::open(&dir.join(PARTS[0])).unwrap_err().to_string();
    assert!(error.contains("does not say that it is part 3 of 3"), "{error}");

    fs::rename(dir.join(PARTS[0]), dir.join("renamed.gguf")).unwrap();
    let error = Gguf::open(&dir.join("renamed.gguf")).unwrap_err().to_string();
    assert!(error.contains("must end in -00001-of-00003.gguf"), "{error}");
    fs::remove_dir_all(dir).unwrap();

    let bytes = Bytes::from(fs::read(model(PARTS[0])).unwrap());
    assert!(Gguf::from_bytes(bytes).unwrap_err().to_string().contains("from its files"));
}

#[test]
fn writing_a_file_again_keeps_everything() {
    let dir = scratch("again");
    for name in ["llama-k-q6_k.gguf", "rwkv7-s-f16.gguf", "qwen3moe-k-q4_k_m.gguf"] {
        let before = Gguf::open(&model(name)).unwrap();
        let mut writer = GgufWriter::new();
        for (key, value) in before.entries() {
            writer.set(key, value.clone());
        }
        for t in before.tensors() {
            writer.add(t.name(), t.dtype(), t.shape()).unwrap();
        }
        let path = dir.join(name);
        writer.write_to_path(&path, |i, sink| sink.write_all(before.tensors()[i].data())).unwrap();
        let after = Gguf::open(&path).unwrap();
        assert_same_tensors(before.tensors(), after.tensors());
        let wanted: Vec<(&str, &Value)> =
            before.entries().filter(|(key, _)| *key != "general.alignment").collect();
        assert_eq!(after.entries().collect::<Vec<_>>(), wanted);
    }
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn other_versions_and_byte_orders_are_named() {
    let mut file = fs::read(model("llama-s-q4_0.gguf")).unwrap();
    let mut error_for = |magic: &[u8; 4], version: u32| {
        file[..4].copy_from_slice(magic);
        file[4..8].copy_from_slice(&version.to_le_bytes());
        Gguf::from_bytes(file.clone().into()).map(|g| g.version()).map_err(|e| e.to_string())
    };
    assert_eq!(error_for(b"GGUF", 2), Ok(2));
    assert!(error_for(b"GGUF", 1).unwrap_err().contains("version 1"));
    assert!(error_for(b"GGUF", 4).unwrap_err().contains("version 4"));
    assert!(error_for(b"GGUF", 3u32.swap_bytes()).unwrap_err().contains("big-endian"));
    assert!(error_for(b"FUGG", 3).unwrap_err().contains("big-endian"));
    assert!(error_for(b"PK\x03\x04", 3).unwrap_err().contains("not a GGUF file"));
}
