//! Adapters: what they make of a model, and those that are refused.

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

/// What a model that is run is given is what a file would hold, byte by byte.
#[test]
fn in_memory_as_in_a_file() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("made.gguf");
    let adapters = ["peft", "adapter.gguf", "rslora"].map(|name| Adapter::open(&adapter(name)).unwrap());
    let as_it_is = |model: &Model| {
        let weights: Vec<_> = model.weights().iter().map(|w| (w.clone(), w.dtype())).collect();
        let metadata = model.metadata(Mix::F16);
        let job = Job { metadata: &metadata, weights: &weights, importance: None, threads: 1 };
        ingot_convert::write(&job, &path, &mut |_| true).unwrap();
        fs::read(&path).unwrap()
    };
    for name in ["llama-s-f16.gguf", "llama-s-q8_0.gguf", "llama-s-q4_0.gguf", "llama-s-safetensors"] {
        let original = ModelFile::open(&fixture(name)).unwrap();
        for (chosen, changed) in [(&adapters[..1], 3), (&adapters[1..2], 3), (&adapters[..], 3)] {
            let mut file = original.clone();
            let (mut merge, mut model) = (Merge::new(&file).unwrap(), Model::open(&original).unwrap());
            for adapter in chosen {
                assert_eq!(merge.add(adapter, 0.5).unwrap(), model.merge(adapter, 0.5).unwrap());
            }
            let mut last = (0, 0);
            merge
                .apply(&mut file, 3, &mut |step| {
                    last = (step.done, step.total);
                    true
                })
                .unwrap();
            assert_eq!(last, (merge.bytes(), merge.bytes()), "{name}");
            assert_eq!(file.replaced().count(), changed, "{name}");
            // What is in memory can be made a file of, as if it had been stored.
            assert!(as_it_is(&Model::open(&file).unwrap()) == as_it_is(&model), "{name}");
            assert!(as_it_is(&model) != as_it_is(&Model::open(&original).unwrap()), "{name}");
            // Everything else still lies in the file.
            for tensor in file.tensors() {
                let is_new = file.replaced().any(|t| t.name() == tensor.name());
                assert_eq!(tensor.data().is_mapped(), !is_new, "{name} {}", tensor.name());
            }
        }
    }
    let mut file = ModelFile::open(&fixture("llama-s-f16.gguf")).unwrap();
    let mut merge = Merge::new(&file).unwrap();
    merge.add(&adapters[0], 1.0).unwrap();
    assert!(matches!(merge.apply(&mut file, 2, &mut |_| false), Err(Error::Stopped)));
    assert_eq!(file.replaced().count(), 0);
}

/// A GGUF adapter of one weight.
fn one_weight(path: &Path, weight: &str, rows: usize, cols: usize) -> Adapter {
    let mut writer = GgufWriter::new();
    writer.set("general.type", "adapter");
    writer.set("adapter.type", "lora");
    writer.set("adapter.lora.alpha", Value::F32(1.0));
    let shapes = [("lora_a", [1, cols]), ("lora_b", [rows, 1])];
    for (side, shape) in &shapes {
        writer.add(format!("{weight}.{side}"), DType::F32, shape).unwrap();
    }
    let values = |n: usize| (0..n).flat_map(|i| (0.01 * i as f32).to_le_bytes()).collect::<Vec<u8>>();
    writer.write_to_path(path, |i, out| out.write_all(&values(shapes[i].1.iter().product()))).unwrap();
    Adapter::open(path).unwrap()
}

/// RWKV's folders keep small matrices the other way round than they are used.
#[test]
fn in_memory_what_is_stored_otherwise_is_refused() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("adapter.gguf");
    let folder = ModelFile::open(&fixture("rwkv7-s-safetensors")).unwrap();
    let shapes: BTreeMap<String, [usize; 2]> = Model::open(&folder)
        .unwrap()
        .weights()
        .iter()
        .map(|w| (w.name().to_string(), [w.rows(), w.cols()]))
        .collect();
    let merged = |weight: &str| {
        let [rows, cols] = shapes[weight];
        let mut file = folder.clone();
        let mut merge = Merge::new(&file).unwrap();
        merge.add(&one_weight(&path, weight, rows, cols), 1.0).unwrap();
        merge.apply(&mut file, 1, &mut |_| true).map(|()| file)
    };
    let file = merged("blk.1.time_mix_key.weight").unwrap();
    assert_eq!(file.replaced().map(Tensor::name).collect::<Vec<_>>(), ["blocks.1.att.key.weight"]);
    let error = merged("blk.1.time_mix_w1.weight").unwrap_err().to_string();
    assert!(error.contains("blk.1.time_mix_w1.weight") && error.contains("GGUF file"), "{error}");
}

#[test]
fn what_does_not_belong_to_the_model_is_named() {
    let refused = |model: &str, file: &str, words: &[&str]| {
        let error = open(&fixture(model)).merge(&Adapter::open(&adapter(file)).unwrap(), 1.0).unwrap_err();
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
