//! Files made of files: the same model, with adapters, and what is refused.

use ingot_convert::{Adapter, Choices, Error, Importance, Job, Mix, Model, Weight, Written};
use ingot_format::gguf::{Array, Value};
use ingot_format::{DType, Gguf, GgufWriter, ModelFile};
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

mod lora {
    use super::*;

    fn adapter(name: &str) -> PathBuf {
        fixtures().join("adapters").join(name)
    }

    /// The merged matrices that numpy made, in the folder's order of rows.
    fn expected(adapter: &str) -> Vec<(String, Vec<usize>, Vec<f32>)> {
        let dir = fixtures().join("adapters");
        let index: serde_json::Value =
            serde_json::from_slice(&fs::read(dir.join("expected.json")).unwrap()).unwrap();
        let all = fs::read(dir.join("expected.f32")).unwrap();
        let all: Vec<f32> = all.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        let entries = index.as_array().unwrap().iter().filter(|e| e["adapter"] == adapter);
        entries
            .map(|e| {
                let shape: Vec<usize> =
                    e["shape"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as usize).collect();
                let first = e["offset"].as_u64().unwrap() as usize / 4;
                let values = all[first..first + shape.iter().product::<usize>()].to_vec();
                (e["tensor"].as_str().unwrap().to_string(), shape, values)
            })
            .collect()
    }

    /// Rows of a matrix of so many heads, each head's halves dealt out alternately.
    fn in_pairs(values: &[f32], rows: usize, heads: usize) -> Vec<f32> {
        let (cols, size) = (values.len() / rows, rows / heads);
        let mut out = Vec::new();
        for head in 0..heads {
            for j in 0..size / 2 {
                for half in [0, size / 2] {
                    out.extend(&values[(head * size + half + j) * cols..][..cols]);
                }
            }
        }
        out
    }

    #[test]
    fn sums_are_those_of_numpy() {
        let temporary = tempfile::tempdir().unwrap();
        let base = temporary.path().join("base.gguf");
        convert(&open(&fixture("llama-s-safetensors")), &base);
        let path = temporary.path().join("made.gguf");
        let untouched = "blk.1.attn_q.weight";
        for (file, of) in [("peft", "peft"), ("rslora", "rslora"), ("adapter.gguf", "peft")] {
            for from in [fixture("llama-s-safetensors"), base.clone()] {
                let mut model = open(&from);
                let merged = model.merge(&Adapter::open(&adapter(file)).unwrap(), 1.0).unwrap();
                let expected = expected(of);
                assert_eq!((merged.weights, merged.rank), (expected.len(), 4));
                assert_eq!(model.weights().iter().filter(|w| w.is_merged()).count(), expected.len());
                make(&model, Mix::F32, Choices::default(), None, &path);
                let made = Gguf::open(&path).unwrap();
                for (name, shape, values) in expected {
                    let (ours, wanted) = match name.as_str() {
                        "model.layers.0.self_attn.q_proj.weight" => {
                            ("blk.0.attn_q.weight", in_pairs(&values, shape[0], 4))
                        }
                        "model.layers.0.self_attn.k_proj.weight" => {
                            ("blk.0.attn_k.weight", in_pairs(&values, shape[0], 2))
                        }
                        _ => ("blk.1.ffn_down.weight", values),
                    };
                    let d = compare(&super::values(&made, ours), &wanted);
                    assert!(d.max_abs < 2e-6, "{file} on {}: {ours} {d:?}", from.display());
                }
                let base = Gguf::open(&base).unwrap();
                assert_eq!(super::values(&made, untouched), super::values(&base, untouched));
            }
        }
    }

    #[test]
    fn factors_and_several_adapters_add_up() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("made.gguf");
        let peft = Adapter::open(&adapter("peft")).unwrap();
        let tensor = |factors: &[f32]| {
            let mut model = open(&fixture("llama-s-safetensors"));
            for factor in factors {
                model.merge(&peft, *factor).unwrap();
            }
            make(&model, Mix::F32, Choices::default(), None, &path);
            super::values(&Gguf::open(&path).unwrap(), "blk.1.ffn_down.weight")
        };
        let (whole, twice, none) = (tensor(&[1.0]), tensor(&[0.75, 0.25]), tensor(&[1.0, -1.0]));
        assert!(compare(&whole, &twice).max_abs < 1e-6);
        assert!(compare(&none, &tensor(&[])).max_abs < 1e-6 && compare(&none, &whole).max_abs > 0.1);
    }

    /// Quantized weights are merged as numbers and packed again.
    #[test]
    fn onto_quantized_weights() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("made.gguf");
        let mut model = open(&fixture("llama-s-q8_0.gguf"));
        model.merge(&Adapter::open(&adapter("adapter.gguf")).unwrap(), 1.0).unwrap();
        make(&model, Mix::Q8_0, Choices { pure: true, ..Choices::default() }, None, &path);
        let (made, base) = (Gguf::open(&path).unwrap(), Gguf::open(&fixture("llama-s-q8_0.gguf")).unwrap());
        assert_eq!(
            made.tensor("blk.0.attn_v.weight").unwrap().data(),
            base.tensor("blk.0.attn_v.weight").unwrap().data()
        );
        assert_ne!(
            made.tensor("blk.0.attn_q.weight").unwrap().data(),
            base.tensor("blk.0.attn_q.weight").unwrap().data()
        );
    }

    #[test]
    fn what_does_not_belong_to_the_model_is_named() {
        let refused = |model: &str, file: &str, words: &[&str]| {
            let error =
                open(&fixture(model)).merge(&Adapter::open(&adapter(file)).unwrap(), 1.0).unwrap_err();
            for word in words {
                assert!(error.to_string().contains(word), "{word} is not in {error}");
            }
        };
        refused("qwen3-s-f16.gguf", "peft", &["another model", "q_proj"]);
        refused("rwkv7-s-f16.gguf", "peft", &["does not have", "q_proj"]);
        refused("rwkv7-s-f16.gguf", "adapter.gguf", &["does not have", "attn_q"]);
        for not_one in [fixture("llama-s-f16.gguf"), fixture("llama-s-safetensors"), fixtures()] {
            let error = Adapter::open(&not_one).unwrap_err().to_string();
            assert!(error.contains("adapter") || error.contains("no model in this folder"), "{error}");
        }
    }

    /// Every way of damaging a file is an error or harmless, never a panic.
    #[test]
    fn damaged_adapters() {
        let temporary = tempfile::tempdir().unwrap();
        let whole = |name: &str| fs::read(adapter("peft").join(name)).unwrap();
        let (config, weights) = (whole("adapter_config.json"), whole("adapter_model.safetensors"));
        let put = |name: &str, bytes: &[u8]| fs::write(temporary.path().join(name), bytes).unwrap();
        let mut refused = 0;
        let mut attempt = || {
            let merged = Adapter::open(temporary.path())
                .and_then(|adapter| open(&fixture("llama-s-f16.gguf")).merge(&adapter, 1.0));
            refused += usize::from(merged.is_err());
        };
        put("adapter_model.safetensors", &weights);
        for cut in (0..config.len()).step_by(3) {
            put("adapter_config.json", &config[..cut]);
            attempt();
        }
        for key in ["peft_type", "r", "lora_alpha", "bias", "rank_pattern", "alpha_pattern", "use_dora"] {
            for value in ["null", "-1", "1e308", "\"x\"", "[]", "{}", "true", "{\"x\": 1e400}"] {
                let mut json: serde_json::Value = serde_json::from_slice(&config).unwrap();
                json[key] = serde_json::from_str(value).unwrap_or_default();
                put("adapter_config.json", json.to_string().as_bytes());
                attempt();
            }
        }
        put("adapter_config.json", &config);
        for cut in (0..2000).step_by(7) {
            put("adapter_model.safetensors", &weights[..cut]);
            attempt();
        }
        for at in 8..1200 {
            let mut changed = weights.clone();
            changed[at] = changed[at].wrapping_add(1);
            put("adapter_model.safetensors", &changed);
            attempt();
        }
        assert!(refused > 800, "{refused} were refused");
        let gguf = fs::read(adapter("adapter.gguf")).unwrap();
        for at in 0..1500 {
            let mut changed = gguf.clone();
            changed[at] ^= 1 << (at % 8);
            put("adapter.gguf", &changed);
            let merged = Adapter::open(&temporary.path().join("adapter.gguf"))
                .and_then(|adapter| open(&fixture("llama-s-f16.gguf")).merge(&adapter, 1.0));
            drop(merged);
        }
    }
}

mod importance {
    use super::*;

    /// An importance matrix for some of a model's weights, in llama.cpp's old form
    /// and as GGUF; the first half of the columns matters.
    fn write(model: &Model, old: &Path, new: &Path) {
        let weights: Vec<&Weight> = model.weights().iter().filter(|w| w.name().contains("ffn_up")).collect();
        let sums = |w: &Weight| -> Vec<f32> {
            let matrices: usize = w.shape().iter().rev().skip(2).product();
            (0..w.cols() * matrices).map(|i| if i % w.cols() < w.cols() / 2 { 40.0 } else { 0.4 }).collect()
        };
        let mut bytes = (weights.len() as i32).to_le_bytes().to_vec();
        let mut writer = GgufWriter::new();
        writer.set("general.type", "imatrix");
        writer.set("imatrix.datasets", Array::from_strings(["text"]));
        for w in &weights {
            let sums = sums(w);
            bytes.extend((w.name().len() as i32).to_le_bytes());
            bytes.extend(w.name().as_bytes());
            bytes.extend(4i32.to_le_bytes());
            bytes.extend((sums.len() as i32).to_le_bytes());
            bytes.extend(sums.iter().flat_map(|x| x.to_le_bytes()));
            let matrices = sums.len() / w.cols();
            writer.add(format!("{}.in_sum2", w.name()), DType::F32, &[matrices, w.cols()]).unwrap();
            writer.add(format!("{}.counts", w.name()), DType::F32, &[matrices, 1]).unwrap();
        }
        bytes.extend([1, 0, 0, 0, 4, 0, 0, 0]);
        bytes.extend(b"text");
        fs::write(old, bytes).unwrap();
        let written = writer.write_to_path(new, |i, out| {
            let w = weights[i / 2];
            let values = if i % 2 == 0 { sums(w) } else { vec![4.0; sums(w).len() / w.cols()] };
            out.write_all(&values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>())
        });
        written.unwrap();
    }

    #[test]
    fn both_forms_say_the_same_and_matter() {
        let temporary = tempfile::tempdir().unwrap();
        let at = |name: &str| temporary.path().join(name);
        for (file, mix) in [("llama-s-f16.gguf", Mix::Q4_0), ("qwen3moe-s-f16.gguf", Mix::IQ4_NL)] {
            let model = open(&fixture(file));
            write(&model, &at("old.dat"), &at("new.gguf"));
            let (old, new) =
                (Importance::open(&at("old.dat"), &model), Importance::open(&at("new.gguf"), &model));
            let (old, new) = (old.unwrap(), new.unwrap());
            let weight = model.weights().iter().find(|w| w.name().contains("ffn_up")).unwrap();
            assert_eq!(old.of(weight).unwrap(), new.of(weight).unwrap());
            assert_eq!(old.of(weight).unwrap()[0], 10.0);
            assert_eq!(old.len(), new.len());

            let pure = Choices { pure: true, ..Choices::default() };
            make(&model, mix, pure, None, &at("without.gguf"));
            make(&model, mix, pure, Some(&new), &at("with.gguf"));
            let from = Gguf::open(&fixture(file)).unwrap();
            let error = |name: &str, first: bool| -> f64 {
                let made = Gguf::open(&at(name)).unwrap();
                let (a, b) = (values(&made, weight.name()), values(&from, weight.name()));
                let cols = weight.cols();
                let counts = |i: usize| (i % cols < cols / 2) == first;
                (0..a.len()).filter(|i| counts(*i)).map(|i| f64::from(a[i] - b[i]).powi(2)).sum()
            };
            // Blocks of 32 within either half cannot help each other; those on the border
            // of a row of 96 can.
            assert!(error("with.gguf", true) <= error("without.gguf", true), "{file}");
        }
    }

    #[test]
    fn damaged_or_foreign_ones_are_refused() {
        let temporary = tempfile::tempdir().unwrap();
        let at = |name: &str| temporary.path().join(name);
        let model = open(&fixture("llama-s-f16.gguf"));
        write(&model, &at("old.dat"), &at("new.gguf"));
        let message = |name: &str, model: &Model| Importance::open(&at(name), model).unwrap_err().to_string();
        let other = open(&fixture("qwen3-s-f16.gguf"));
        assert!(message("old.dat", &other).contains("another model"));
        let foreign = open(&fixture("rwkv7-s-f16.gguf"));
        assert!(message("new.gguf", &foreign).contains("none of the model's weights"));
        fs::copy(fixture("llama-s-f16.gguf"), at("model.gguf")).unwrap();
        assert!(message("model.gguf", &model).contains("expected an importance matrix"));

        let (old, new) = (fs::read(at("old.dat")).unwrap(), fs::read(at("new.gguf")).unwrap());
        let needed = old.len() - 12; // what comes after is not read
        for cut in 1..needed {
            fs::write(at("cut.dat"), &old[..cut]).unwrap();
            assert!(message("cut.dat", &model).contains("ends before"), "{cut}");
        }
        for (at_byte, value) in [(3, 0x80u8), (7, 0x7f), (7, 0x80)] {
            let mut changed = old.clone();
            changed[at_byte] = value;
            fs::write(at("cut.dat"), &changed).unwrap();
            assert!(message("cut.dat", &model).contains("importance matrix of llama.cpp"));
        }
        for number in [f32::NAN, -1.0, f32::INFINITY] {
            let mut changed = old.clone();
            changed[needed - 4..needed].copy_from_slice(&number.to_le_bytes());
            fs::write(at("cut.dat"), &changed).unwrap();
            assert!(message("cut.dat", &model).contains("negative or not finite"));
        }
        for cut in (0..new.len()).step_by(5) {
            fs::write(at("cut.gguf"), &new[..cut]).unwrap();
            drop(Importance::open(&at("cut.gguf"), &model));
        }
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
