//! Golden files: tiny random models of every family with the logits that an
//! exact computation gives. Any [`Executor`] can be held against them.
//!
//! The conventions behind them are described in `tests/fixtures/README.md`.

pub mod cases;
mod compare;
mod feed;

pub use compare::{Difference, compare};
pub use feed::{Feeder, argmax};

use ingot_format::{Gguf, GgufWriter, ModelFile};
use ingot_models::Model;
use ingot_plan::{Executor, Place, Precision};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// One model file with what an exact computation makes of it.
pub struct Golden {
    /// Name of the golden file.
    pub name: String,
    /// Path of the model.
    pub model: PathBuf,
    /// Token ids to be fed as they are.
    pub prompt: Vec<u32>,
    /// Logits of every position of the prompt: `[prompt, vocab]`.
    pub logits: Vec<f32>,
    /// Greedy continuation of the prompt.
    pub greedy: Vec<u32>,
    /// How far the best logit is above the second at each of these.
    pub margins: Vec<f32>,
    /// Recurrent state after the prompt, layer by layer as a slot holds it.
    pub state: Option<Vec<f32>>,
    /// Residual stream `[layers + 1, positions, hidden]` at some positions.
    pub trace: Option<(Vec<usize>, Vec<f32>)>,
    /// llama.cpp's relative rms error on this file, where it was measured.
    pub peer_rel_rms: Option<f64>,
    /// The context that it was computed for; if it does not say, that of prompt and continuation.
    context: usize,
    /// The file's sliding window is to be ignored.
    full_attention: bool,
}

/// The repository's test files.
pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures")
}

impl Golden {
    /// All golden files, by name.
    ///
    /// # Panics
    /// If a file of the repository cannot be read.
    pub fn all() -> Vec<Self> {
        let dir = fixtures().join("golden");
        let peers: Value = json(&fixtures().join("peer-errors.json"));
        let mut names: Vec<String> = fs::read_dir(&dir)
            .expect("tests/fixtures/golden")
            .filter_map(|e| e.ok()?.file_name().to_str()?.strip_suffix(".json").map(str::to_string))
            .collect();
        names.sort();
        assert!(names.len() > 30, "golden files are missing from {}", dir.display());
        names.into_iter().map(|name| Self::read(&dir, name, &peers)).collect()
    }

    fn read(dir: &Path, name: String, peers: &Value) -> Self {
        let j = json(&dir.join(format!("{name}.json")));
        let floats = |part: &Value| part["file"].as_str().map(|file| read_f32(&dir.join(file)));
        let list = |part: &Value| -> Vec<f64> {
            part.as_array().into_iter().flatten().filter_map(Value::as_f64).collect()
        };
        let ids = |part: &Value| list(part).into_iter().map(|x| x as u32).collect();
        let (prompt, greedy): (Vec<u32>, Vec<u32>) = (ids(&j["prompt"]), ids(&j["greedy"]));
        let length = prompt.len() + greedy.len();
        Self {
            context: j["context"].as_u64().map_or(length, |context| context as usize),
            model: fixtures().join(j["model"].as_str().expect("model")),
            prompt,
            logits: floats(&j["logits"]).expect("logits"),
            greedy,
            margins: list(&j["greedy_margin"]).into_iter().map(|x| x as f32).collect(),
            state: floats(&j["state"]),
            trace: floats(&j["trace"])
                .map(|t| (list(&j["trace"]["positions"]).into_iter().map(|x| x as usize).collect(), t)),
            peer_rel_rms: peers[&name].as_f64(),
            full_attention: name.ends_with("full-attention"),
            name,
        }
    }

    /// Loads the model.
    ///
    /// # Panics
    /// If it does not load.
    pub fn load(&self, precision: Precision) -> Model {
        let mut file = ModelFile::open(&self.model).unwrap_or_else(|e| panic!("{}: {e}", self.name));
        if let (true, ModelFile::Gguf(gguf)) = (self.full_attention, &file) {
            file = ModelFile::Gguf(without(gguf, "llama.attention.sliding_window"));
        }
        Model::load_for(&file, precision, Some(self.context)).unwrap_or_else(|e| panic!("{}: {e}", self.name))
    }
}

/// How an executor does on a golden file.
impl Golden {
    /// Feeds the prompt in pieces of `chunk` tokens to a fresh executor and goes on
    /// greedily as far as the margins decide; how far the prompt's logits are off.
    ///
    /// # Panics
    /// If the greedy text is another, or the executor fails.
    pub fn check<E: Executor + ?Sized>(&self, executor: &mut E, chunk: usize) -> Difference {
        let mut feeder = Feeder::new(executor);
        let logits = feeder.feed(&self.prompt, chunk);
        let d = compare(&logits, &self.logits);
        let decided = self.margins.iter().take_while(|m| **m > 2.0 * d.max_abs).count();
        assert_eq!(feeder.greedy(&logits, decided), self.greedy[..decided], "{}", self.name);
        d
    }

    /// The same for the recurrent state after the prompt, if there is one.
    ///
    /// # Panics
    /// If the executor fails.
    pub fn check_state<E: Executor + ?Sized>(&self, executor: &mut E, chunk: usize) -> Option<Difference> {
        let expected = self.state.as_ref()?;
        Feeder::new(executor).feed(&self.prompt, chunk);
        let bytes = executor.read(Place::Slot(0)).expect("slot 0");
        let state: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        Some(compare(&state, expected))
    }

    /// With activations in 8 bits: the error is small, and where llama.cpp's is known
    /// not much above it. True if it is known.
    ///
    /// # Panics
    /// If the error is larger.
    pub fn check_eight_bits(&self, d: Difference) -> bool {
        assert!(d.rel_rms < 0.08, "{}: {d:?}", self.name);
        let Some(peer) = self.peer_rel_rms else { return false };
        assert!(d.rel_rms <= peer * 4.0 / 3.0, "{}: {d:?}, llama.cpp {peer}", self.name);
        true
    }
}

/// The same file without one metadata key.
fn without(file: &Gguf, key: &str) -> Gguf {
    assert!(file.get(key).is_some(), "{key} is not in the file");
    let mut writer = GgufWriter::new();
    file.entries().filter(|(k, _)| *k != key).for_each(|(k, value)| writer.set(k, value.clone()));
    for t in file.tensors() {
        writer.add(t.name(), t.dtype(), t.shape()).expect("copied from a file");
    }
    let mut bytes = Vec::new();
    writer.write(&mut bytes, |i, out| out.write_all(file.tensors()[i].data())).expect("to memory");
    Gguf::from_bytes(bytes.into()).expect("what was just written")
}

fn json(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn read_f32(path: &Path) -> Vec<f32> {
    let bytes = fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}
