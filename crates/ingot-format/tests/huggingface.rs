//! safetensors files, Hugging Face folders, and paths to other things.

use std::{
    fs,
    path::{Path, PathBuf},
};

use ingot_format::{DType, HfFolder, ModelFile, safetensors};

fn model(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/models/")).join(name)
}

/// A folder of this test's own, with these files.
fn folder(name: &str, files: &[(&str, &[u8])]) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("ingot-hf-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&dir); // of an earlier run that failed
    fs::create_dir_all(&dir).unwrap();
    for (name, contents) in files {
        fs::write(dir.join(name), contents).unwrap();
    }
    dir
}

/// A safetensors file with this header and so many bytes of data.
fn file(header: &str, data: usize) -> Vec<u8> {
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.resize(file.len() + data, 1);
    file
}

fn read(header: &str, data: usize) -> Result<usize, String> {
    safetensors::read(&file(header, data).into()).map(|t| t.len()).map_err(|e| e.to_string())
}

#[test]
fn folders_open() {
    let folder = HfFolder::open(&model("qwen2-s-safetensors")).unwrap();
    assert_eq!(folder.config().unwrap()["model_type"], "qwen2");
    let width = folder.config().unwrap()["hidden_size"].as_u64().unwrap() as usize;
    assert_eq!(folder.tensor("model.norm.weight").unwrap().shape(), [width]);
    assert!(folder.json("tokenizer.json").unwrap().is_some());
    assert!(folder.json("absent.json").unwrap().is_none());
    assert!(folder.text("tokenizer_config.json").unwrap().unwrap().starts_with('{'));

    let sharded = HfFolder::open(&model("mistral-sw16-s-safetensors")).unwrap();
    assert_eq!(sharded.files().len(), 2);
    assert!(sharded.tensor("lm_head.weight").is_some());

    let rwkv = HfFolder::open(&model("rwkv7-s-safetensors")).unwrap();
    assert!(rwkv.config().is_none());
    assert!(rwkv.tensor("emb.weight").is_some());
    assert!(rwkv.text("rwkv_vocab.txt").unwrap().is_some());

    let single = model("qwen2-s-safetensors/model.safetensors");
    let ModelFile::HuggingFace(single) = ModelFile::open(&single).unwrap() else { panic!("safetensors") };
    assert_eq!(single.tensors().len(), folder.tensors().len());
    assert!(single.config().is_some());
}

#[test]
fn good_headers() {
    let one = r#"{"a":{"dtype":"BF16","shape":[2,3],"data_offsets":[4,16]},"__metadata__":{"format":"pt"}}"#;
    let tensors = safetensors::read(&file(one, 16).into()).unwrap();
    assert_eq!((tensors[0].name(), tensors[0].dtype(), tensors[0].shape()), ("a", DType::BF16, &[2, 3][..]));
    assert_eq!(read(r#"{"s":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}   "#, 4), Ok(1));
    assert_eq!(read("{}", 0), Ok(0));
}

#[test]
fn bad_headers_are_errors() {
    let entry = |dtype: &str, shape: &str, offsets: &str| {
        format!(r#"{{"a":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#)
    };
    let max = u64::MAX;
    let deep = "[".repeat(50_000);
    for (header, expected) in [
        (entry("F32", "[2]", "[0,9]"), "outside"),
        (entry("F32", "[2]", "[4,0]"), "outside"),
        (entry("F32", "[3]", "[0,8]"), "does not take 8 bytes"),
        (entry("F32", "[0]", "[0,0]"), "none of them zero"),
        (entry("F32", "[1,1,1,1,1,1,1,1,2]", "[0,8]"), "at most 8 dimensions"),
        (entry("F32", "[4294967296,4294967296]", "[0,8]"), "does not take"),
        (entry("F32", &format!("[{max},{max}]"), "[0,8]"), "does not take"),
        (entry("F32", "[-1]", "[0,8]"), "invalid value"),
        (entry("F32", "[1e30]", "[0,8]"), "invalid type"),
        (entry("F8_E4M3", "[8]", "[0,8]"), "type F8_E4M3"),
        (entry("F32", "[2]", &format!("[0,{max}]")), "outside"),
        (r#"{"a":{"dtype":"F32","shape":[2]}}"#.into(), "missing field"),
        (r#"{"a":"#.into(), "EOF"),
        (r#"["a"]"#.into(), "expected an object"),
        (format!(r#"{{"a":{deep}"#), "safetensors header"),
        (format!(r#"{{"__metadata__":{deep}"#), "EOF"),
        (r#"{"a\u001b[31m":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#.into(), "control characters"),
        (entry("F32", &format!("\"{}\"", "x".repeat(9999)), "[0,8]"), "invalid type"),
    ] {
        let error = read(&header, 8).unwrap_err();
        assert!(error.contains(expected), "{expected:?} expected in {error:?}");
        assert!(error.len() < 500, "{} bytes of message", error.len());
    }
    let two = |a: &str, b: &str, second: &str| {
        format!(
            r#"{{"{a}":{{"dtype":"F16","shape":[4],"data_offsets":[0,8]}},"{b}":{{"dtype":"F16","shape":[4],"data_offsets":{second}}}}}"#
        )
    };
    assert_eq!(read(&two("a", "b", "[8,16]"), 16), Ok(2));
    assert!(read(&two("a", "b", "[6,14]"), 16).unwrap_err().contains("overlap"));
    assert!(read(&two("a", "a", "[8,16]"), 16).unwrap_err().contains("twice"));

    for (bytes, expected) in [
        (&b"\x01\x00"[..], "ends before"),
        (&[0xff; 16][..], "at most"),
        (&b"\x09\x00\x00\x00\x00\x00\x00\x00{}"[..], "only 2 are left"),
        (&b"\x02\x00\x00\x00\x00\x00\x00\x00{\xff"[..], "safetensors header"),
    ] {
        let error = safetensors::read(&bytes.to_vec().into()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn index_files_may_only_name_their_own_folder() {
    let a = file(r#"{"a":{"dtype":"F16","shape":[4],"data_offsets":[0,8]}}"#, 8);
    let shards: &[(&str, &[u8])] = &[("one.safetensors", &a), ("two.safetensors", &a)];
    let dir = folder("index", shards);
    let with_index = |index: &str| {
        fs::write(dir.join("model.safetensors.index.json"), index).unwrap();
        HfFolder::open(&dir).map(|f| f.tensors().len()).map_err(|e| e.to_string())
    };
    assert_eq!(with_index(r#"{"weight_map":{"a":"one.safetensors"}}"#), Ok(1));
    for (index, expected) in [
        (r#"{"weight_map":{"a":"../one.safetensors"}}"#, "in the same folder"),
        (r#"{"weight_map":{"a":"/etc/passwd"}}"#, "in the same folder"),
        (r#"{"weight_map":{"a":"x\\one.safetensors"}}"#, "in the same folder"),
        (r#"{"weight_map":{"a":"config.json"}}"#, "in the same folder"),
        (r#"{"weight_map":{"a":"gone.safetensors"}}"#, "no such file"),
        (r#"{"weight_map":{"b":"one.safetensors"}}"#, "'b', which is in none"),
        (r#"{"weight_map":{"a":"one.safetensors","b":"two.safetensors"}}"#, "appears twice"),
        (r#"{"weight_map":{}}"#, "lists no tensors"),
        (r#"{"weight_map":7}"#, "not the JSON"),
        ("{", "not the JSON"),
    ] {
        let error = with_index(index).unwrap_err();
        assert!(error.contains(expected), "{expected:?} expected in {error:?}");
    }
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn other_things_are_called_by_their_name() {
    let open = |path: &Path| ModelFile::open(path).map(|_| ()).unwrap_err().to_string();
    assert_eq!(open(Path::new("no/such/model.gguf")), "no such file: no/such/model.gguf");
    let files: &[(&str, &[u8], &str)] = &[
        ("model.pth", b"PK\x03\x04....", "zip archive"),
        ("model.bin", b"\x80\x02}q\x00", "Python pickle"),
        ("old.bin", b"lmggxxxxxxxx", "from before GGUF"),
        ("model.safetensors", b"version https://git-lfs.github.com/spec/v1\noid", "git lfs pull"),
        ("page.gguf", b"\n<!DOCTYPE html><html>", "web page"),
        ("config.json", b"{\"model_type\": 1}", "JSON file"),
        ("noise.gguf", b"\x01\x02ABCDEFGHIJKLMNOPQRSTUVW", r#"begins with "\x01\x02ABC"#),
        ("empty.gguf", b"", "is empty"),
        ("short.gguf", b"GGUF\x03", "file ends inside the version"),
    ];
    for (name, contents, expected) in files {
        let dir = folder("names", &[(name, contents)]);
        let error = open(&dir.join(name));
        assert!(error.contains(expected), "{name}: {error}");
        fs::remove_dir_all(dir).unwrap();
    }
    let dir = folder("empty", &[("readme.md", b"")]);
    assert!(open(&dir).contains("no model in this folder: expected model.safetensors"), "{}", open(&dir));
    fs::write(dir.join("m.gguf"), b"GGUF").unwrap();
    assert!(open(&dir).contains("did you mean") && open(&dir).contains("m.gguf"));
    fs::write(dir.join("a.safetensors"), b"").unwrap();
    fs::write(dir.join("b.safetensors"), b"").unwrap();
    assert!(open(&dir).contains("2 .safetensors files"));
    fs::remove_dir_all(dir).unwrap();
}
