//! Files made of files: the same model, with adapters, and what is refused.

mod importance;
mod lora;

use ingot_convert::{Adapter, Choices, Error, Importance, Job, Merge, Mix, Model, Weight, Written};
use ingot_format::gguf::{Array, Value};
use ingot_format::{DType, Gguf, GgufWriter, ModelFile, Tensor};
use ingot_golden::{Feeder, Golden, compare, fixtures};
use ingot_plan::{Executor, Place, Precision, Reference};
use ingot_tokenizer::{EncodeOptions, Tokenizer};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

fn open(path: &Path) -> Model {
    let file = ModelFile::open(path).unwrap();
    Model::open(&file).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn fixture(name: &str) -> PathBuf {
    fixtures().join("models").join(name)
}

/// Makes a file of a model as it is; adapters have been merged before.
fn make(
    model: &Model,
    mix: Mix,
    choices: Choices,
    importance: Option<&Importance>,
    path: &Path,
) -> Vec<Written> {
    let types = mix.plan(model, choices).unwrap();
    let metadata = model.metadata(mix);
    let weights: Vec<(Weight, DType)> = model.weights().iter().cloned().zip(types).collect();
    let job = Job { metadata: &metadata, weights: &weights, importance, threads: 3 };
    ingot_convert::write(&job, path, &mut |_| true).unwrap()
}

fn convert(model: &Model, path: &Path) -> Vec<Written> {
    make(model, model.own_mix().expect("float weights"), Choices::default(), None, path)
}

fn values(file: &Gguf, name: &str) -> Vec<f32> {
    let tensor = file.tensor(name).unwrap_or_else(|| panic!("no {name}"));
    let mut values = vec![0.0; tensor.len()];
    tensor.dtype().dequantize(tensor.data(), &mut values);
    values
}

/// The context that a golden file was computed for.
fn context(golden: &Golden) -> usize {
    let path = fixtures().join(format!("golden/{}.json", golden.name));
    let json: serde_json::Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    json["context"].as_u64().map_or(golden.prompt.len() + golden.greedy.len(), |n| n as usize)
}

/// A folder of the fixtures, with another's tokenizer if it has none of its own.
fn folder(golden: &Golden, temporary: &TempDir) -> PathBuf {
    if golden.model.join("tokenizer.json").exists() || golden.name.starts_with("rwkv") {
        return golden.model.clone();
    }
    let copy = temporary.path().join("folder");
    fs::create_dir(&copy).unwrap();
    for from in [&golden.model, &fixture("llama-s-safetensors")] {
        for entry in fs::read_dir(from).unwrap().map(|e| e.unwrap()) {
            let to = copy.join(entry.file_name());
            let wanted =
                from == &golden.model || entry.file_name().to_string_lossy().starts_with("tokenizer");
            if wanted {
                fs::copy(entry.path(), to).unwrap();
            }
        }
    }
    copy
}

#[test]
fn folders_become_the_same_model() {
    let mut seen = 0;
    for golden in Golden::all().into_iter().filter(|g| g.model.is_dir()) {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("made.gguf");
        let from = folder(&golden, &temporary);
        let report = convert(&open(&from), &path);
        assert!(report.iter().all(|w| w.loss.squared_errors == 0.0), "{}: something was lost", golden.name);

        let file = ModelFile::open(&path).unwrap();
        let model = ingot_models::Model::load_for(&file, Precision::F32, Some(context(&golden))).unwrap();
        let mut executor = Reference::new(model.plan.clone(), model.weights);
        let logits = Feeder::new(&mut executor).feed(&golden.prompt, 512);
        let d = compare(&logits, &golden.logits);
        assert!(d.max_abs < 1e-4, "{}: {d:?}", golden.name);
        if let Some(expected) = &golden.state {
            let bytes = executor.read(Place::Slot(0)).unwrap();
            let state: Vec<f32> = bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
            assert!(compare(&state, expected).max_abs < 1e-4, "{}", golden.name);
        }
        same_tokenizer(&from, &file);
        // The twin was written by somebody else.
        let twin = fixture(&golden.name.replace("safetensors", "f16.gguf"));
        let tensors = |file: &ModelFile| -> BTreeMap<String, Vec<usize>> {
            file.tensors().iter().map(|t| (t.name().to_string(), t.shape().to_vec())).collect()
        };
        assert_eq!(tensors(&file), tensors(&ModelFile::open(&twin).unwrap()), "{}", golden.name);
        seen += 1;
    }
    assert!(seen >= 9, "only {seen} folders");
}

/// Special tokens, the template and the ids of every string of the fixtures.
fn same_tokenizer(folder: &Path, file: &ModelFile) {
    let theirs = Tokenizer::open(&ModelFile::open(folder).unwrap()).unwrap();
    let ours = Tokenizer::open(file).unwrap();
    let what = |t: &Tokenizer| (t.vocab_size(), t.bos(), t.end_of_generation().to_vec());
    assert_eq!(what(&ours), what(&theirs), "{}", folder.display());
    assert_eq!(ours.chat_template().is_some(), theirs.chat_template().is_some());
    let mut compared = 0;
    for name in ["llama-bpe", "qwen2", "rwkv"] {
        let text = fs::read_to_string(fixtures().join(format!("tokenizer/{name}.json"))).unwrap();
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        for case in json["cases"].as_array().unwrap() {
            let text = case["text"].as_str().unwrap();
            for special in [false, true] {
                let options = EncodeOptions { special, bos: true };
                let (ours, theirs) = (ours.encode(text, options), theirs.encode(text, options));
                assert_eq!(ours.ok(), theirs.ok(), "{}: {text:?}", folder.display());
                compared += 1;
            }
        }
    }
    assert!(compared > 100);
}

#[test]
fn files_name_what_they_are() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("made.gguf");
    make(&open(&fixture("llama-s-safetensors")), Mix::Q8_0, Choices::default(), None, &path);
    let file = Gguf::open(&path).unwrap();
    assert_eq!(file.architecture().unwrap(), "llama");
    assert_eq!(file.uint("general.file_type").unwrap(), Some(7));
    assert_eq!(file.uint("general.quantization_version").unwrap(), Some(2));
    assert_eq!(file.str("tokenizer.ggml.pre").unwrap(), Some("llama-bpe"));
    assert_eq!(file.uint("llama.rope.dimension_count").unwrap(), Some(32));
    let dtype = |name: &str| file.tensor(name).unwrap().dtype();
    assert_eq!(dtype("blk.0.attn_norm.weight"), DType::F32);
    assert_eq!(dtype("blk.0.attn_q.weight"), DType::Q8_0);

    // One file of three, and the type of a file that was copied is not forgotten.
    let split = open(&fixture("mistral-s-q4_0-split-00001-of-00003.gguf"));
    assert_eq!(split.own_mix(), None);
    let whole = Gguf::open(&fixture("mistral-s-q4_0.gguf")).unwrap();
    let report = make(&split, Mix::Q4_0, Choices { pure: true, ..Choices::default() }, None, &path);
    let joined = Gguf::open(&path).unwrap();
    assert_eq!(joined.uint("split.count").unwrap(), None);
    assert_eq!(report.len(), whole.tensors().len());
    for tensor in whole.tensors() {
        assert_eq!(joined.tensor(tensor.name()).unwrap().data(), tensor.data(), "{}", tensor.name());
    }
}

/// Files of the usual mixtures get their own types again.
#[test]
fn types_of_known_files() {
    let again = Choices { again: true, ..Choices::default() };
    let mut seen = 0;
    for entry in fs::read_dir(fixtures().join("models")).unwrap() {
        let path = entry.unwrap().path();
        if !path.to_string_lossy().ends_with("q4_k_m.gguf") {
            continue;
        }
        let model = open(&path);
        let plan = Mix::Q4_K_M.plan(&model, again).unwrap();
        for (weight, dtype) in model.weights().iter().zip(plan) {
            assert_eq!(dtype, weight.dtype(), "{}: {}", path.display(), weight.name());
        }
        seen += 1;
    }
    assert!(seen >= 6, "{seen}");
}

/// Errors as shares of the values' root mean square, as measured when this was
/// written. Whoever improves packing changes them.
#[test]
fn every_type_loses_what_it_has_to() {
    let measured = [
        (Mix::F32, 0.0),
        (Mix::F16, 0.0),
        (Mix::BF16, 0.00169),
        (Mix::Q8_0, 0.00536),
        (Mix::Q6_K, 0.01729),
        (Mix::Q5_1, 0.03413),
        (Mix::Q5_0, 0.04046),
        (Mix::Q5_K_M, 0.03614),
        (Mix::Q4_1, 0.07077),
        (Mix::Q4_K_M, 0.07206),
        (Mix::Q4_0, 0.08184),
        (Mix::IQ4_NL, 0.07488),
        (Mix::IQ4_XS, 0.07561),
        (Mix::MXFP4, 0.11156),
        (Mix::Q3_K_M, 0.14545),
        (Mix::Q2_K, 0.27346),
    ];
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("made.gguf");
    // Rows of 256, of random numbers like weights: the worst case for blocks.
    let model = open(&gaussian(&temporary));
    for (mix, limit) in measured {
        let choices = Choices { pure: true, ..Choices::default() };
        let report = make(&model, mix, choices, None, &path);
        let matrix = report.iter().find(|w| w.name == "blk.0.ffn_up.weight").unwrap();
        let error = matrix.loss.relative_rms();
        assert_eq!(matrix.to, mix.main());
        assert!(error <= 1.01 * limit && error >= 0.99 * limit, "{mix:?}: {error}, measured was {limit}");
        // The report says what is in the file.
        let (made, from) =
            (Gguf::open(&path).unwrap(), Gguf::open(&temporary.path().join("gaussian.gguf")).unwrap());
        let (a, b) = (values(&made, &matrix.name), values(&from, &matrix.name));
        let sum = |of: &dyn Fn(f64, f64) -> f64| -> f64 {
            a.iter().zip(&b).map(|(a, b)| of(f64::from(*a), f64::from(*b))).sum()
        };
        let again = (sum(&|a, b| (a - b).powi(2)) / sum(&|_, b| b * b)).sqrt();
        assert!((error - again).abs() <= 1e-5 * again, "{mix:?}: {error}, measured {again}");
        let largest = a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert_eq!(matrix.loss.largest, f64::from(largest), "{mix:?}");
    }
}

/// A model of one block with values as if drawn from a normal distribution.
fn gaussian(temporary: &TempDir) -> PathBuf {
    let mut state = 1u64;
    let mut uniform = move || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        f64::from((state >> 33) as u32) / f64::from(1u32 << 31)
    };
    let mut normal = move || {
        let (a, b) = (uniform().max(1e-12), uniform());
        ((-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos()) as f32
    };
    let tensors = [("token_embd.weight", 8), ("blk.0.ffn_up.weight", 256)];
    let mut writer = GgufWriter::new();
    writer.set("general.architecture", "llama");
    writer.set("llama.block_count", 1u32);
    for (name, rows) in tensors {
        writer.add(name, DType::F16, &[rows, 256]).unwrap();
    }
    let path = temporary.path().join("gaussian.gguf");
    writer
        .write_to_path(&path, |i, out| {
            let values: Vec<f32> = (0..tensors[i].1 * 256).map(|_| normal()).collect();
            let mut bytes = vec![0; 2 * values.len()];
            DType::F16.quantize(&values, &mut bytes);
            out.write_all(&bytes)
        })
        .unwrap();
    path
}

#[test]
fn threads_and_times_change_nothing() {
    let temporary = tempfile::tempdir().unwrap();
    let model = open(&fixture("llama-s-f16.gguf"));
    let made = |threads| {
        let path = temporary.path().join(format!("{threads}.gguf"));
        let types = Mix::Q4_0.plan(&model, Choices::default()).unwrap();
        let metadata = model.metadata(Mix::Q4_0);
        let weights: Vec<(Weight, DType)> = model.weights().iter().cloned().zip(types).collect();
        let job = Job { metadata: &metadata, weights: &weights, importance: None, threads };
        let report = ingot_convert::write(&job, &path, &mut |_| true).unwrap();
        (fs::read(path).unwrap(), report.iter().map(|w| w.loss.squared_errors).sum::<f64>())
    };
    assert_eq!(made(1), made(7));
}

#[test]
fn whoever_stops_leaves_nothing() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("made.gguf");
    let model = open(&fixture("llama-s-f16.gguf"));
    let types = Mix::Q8_0.plan(&model, Choices::default()).unwrap();
    let metadata = model.metadata(Mix::Q8_0);
    let weights: Vec<(Weight, DType)> = model.weights().iter().cloned().zip(types).collect();
    let job = Job { metadata: &metadata, weights: &weights, importance: None, threads: 1 };
    let mut steps = 0;
    let stopped = ingot_convert::write(&job, &path, &mut |step| {
        assert!(step.done <= step.total && !step.tensor.is_empty());
        steps += 1;
        steps < 5
    });
    assert!(matches!(stopped, Err(Error::Stopped)));
    assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 0);
    let full = ingot_convert::write(&job, Path::new("/dev/full"), &mut |_| true);
    #[cfg(target_os = "linux")]
    assert!(full.unwrap_err().to_string().contains("No space left"));
    #[cfg(not(target_os = "linux"))]
    assert!(full.is_err());
}

#[test]
fn quantized_weights_are_not_quantized_again_by_mistake() {
    let model = open(&fixture("llama-s-q8_0.gguf"));
    let error = Mix::Q4_0.plan(&model, Choices::default()).unwrap_err();
    assert!(error.to_string().contains("is Q8_0 already"), "{error}");
    let plan = Mix::Q4_0.plan(&model, Choices { again: true, ..Choices::default() }).unwrap();
    assert!(plan.contains(&DType::Q4_0));
}

#[test]
fn damaged_values_are_named() {
    let temporary = tempfile::tempdir().unwrap();
    let (from, path) = (temporary.path().join("from.gguf"), temporary.path().join("made.gguf"));
    for (value, mix, word) in
        [(f32::NAN, Mix::Q4_0, "NaN"), (f32::INFINITY, Mix::F16, "NaN"), (1e6, Mix::F16, "F16 cannot")]
    {
        let mut writer = GgufWriter::new();
        writer.set("general.architecture", "llama");
        writer.add("blk.0.ffn_up.weight", DType::F32, &[4, 32]).unwrap();
        let bytes: Vec<u8> =
            (0..128).flat_map(|i| (if i == 77 { value } else { 1.0 }).to_le_bytes()).collect();
        writer.write_to_path(&from, |_, out| out.write_all(&bytes)).unwrap();
        let model = open(&from);
        let types = mix.plan(&model, Choices::default()).unwrap();
        let weights: Vec<(Weight, DType)> = model.weights().iter().cloned().zip(types).collect();
        let job = Job { metadata: &[], weights: &weights, importance: None, threads: 1 };
        let error = ingot_convert::write(&job, &path, &mut |_| true).unwrap_err().to_string();
        assert!(error.contains(word) && error.contains("ffn_up"), "{error}");
        assert!(!path.exists());
    }
}

/// Folders that lack something: an error that says what.
#[test]
fn incomplete_folders() {
    let temporary = tempfile::tempdir().unwrap();
    let source = fixture("llama-s-safetensors");
    let reset = || {
        for entry in fs::read_dir(&source).unwrap().map(|e| e.unwrap()) {
            fs::copy(entry.path(), temporary.path().join(entry.file_name())).unwrap();
        }
    };
    let change = |name: &str, edit: &dyn Fn(&mut serde_json::Value)| {
        let path = temporary.path().join(name);
        let mut json = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        edit(&mut json);
        fs::write(path, json.to_string()).unwrap();
    };
    let attempt =
        || Model::open(&ModelFile::open(temporary.path()).unwrap()).map(|_| ()).map_err(|e| e.to_string());
    reset();
    assert_eq!(attempt(), Ok(()));
    for key in ["num_hidden_layers", "num_attention_heads", "architectures"] {
        for value in [serde_json::Value::Null, "x".into(), 0.into(), (-1).into(), 1e30.into()] {
            reset();
            change("config.json", &|json| json[key] = value.clone());
            assert!(attempt().is_err(), "{key}: {value}");
        }
    }
    // Fewer blocks than there are tensors for.
    reset();
    change("config.json", &|json| json["num_hidden_layers"] = 1.into());
    assert!(attempt().unwrap_err().contains("'model.layers.1."));
    reset();
    fs::remove_file(temporary.path().join("tokenizer.json")).unwrap();
    assert!(attempt().unwrap_err().contains("no tokenizer.json"));
    reset();
    change("tokenizer.json", &|json| {
        json["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = "[a-z]".into()
    });
    assert!(attempt().unwrap_err().contains("no name"));
    // Keys that may be missing.
    for key in ["head_dim", "max_position_embeddings", "bos_token_id", "torch_dtype", "num_key_value_heads"] {
        reset();
        change("config.json", &|json| {
            json.as_object_mut().unwrap().remove(key);
        });
        assert_eq!(attempt(), Ok(()), "{key}");
    }
}

#[test]
fn other_gguf_files_are_no_models() {
    let path = fixtures().join("adapters/adapter.gguf");
    let error = Model::open(&ModelFile::open(&path).unwrap()).unwrap_err();
    assert!(error.to_string().contains("no model"), "{error}");
    let value: Value = 3u32.into();
    assert_eq!(value.as_uint(), Some(3));
}
