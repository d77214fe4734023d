//! Models, and texts drawn at random under a grammar.

use ingot_engine::grammar::{Grammar, GrammarLimits, GrammarSpec, Grammars};
use ingot_engine::rng::Rng;
use ingot_format::ModelFile;
use ingot_tokenizer::{EncodeOptions, Tokenizer};
use std::collections::BTreeMap;
use std::path::Path;

/// One file of each kind of vocabulary.
pub const MODELS: [&str; 6] = [
    "models/tale-llama-q8_0.gguf",
    "models/tale-rwkv7-q4_k_m.gguf",
    "tests/fixtures/models/llama-s-f16.gguf",
    "tests/fixtures/models/mistral-s-f16.gguf",
    "tests/fixtures/models/qwen2-s-safetensors",
    "tests/fixtures/models/rwkv7-s-f16.gguf",
];

/// A model's vocabulary.
pub struct Vocabulary {
    pub tokenizer: Tokenizer,
    pub grammars: Grammars,
}

impl Vocabulary {
    pub fn open(model: &str) -> Self {
        let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).join(model);
        let tokenizer = Tokenizer::open(&ModelFile::open(&path).unwrap()).unwrap();
        Self { grammars: Grammars::new(&tokenizer).unwrap(), tokenizer }
    }

    pub fn compile(&self, spec: &GrammarSpec) -> Grammar {
        self.grammars.compile(spec, &GrammarLimits::default()).unwrap_or_else(|e| panic!("{spec:?}: {e}"))
    }

    /// What is wrong with a grammar.
    pub fn error(&self, spec: &GrammarSpec) -> String {
        match self.grammars.compile(spec, &GrammarLimits::default()) {
            Ok(_) => panic!("{spec:?}: not refused"),
            Err(error) => error.to_string(),
        }
    }

    /// Whether a whole text is one of the grammar's, as this vocabulary writes it.
    pub fn matches(&self, grammar: &Grammar, text: &str) -> bool {
        let mut grammar = grammar.clone();
        let ids = self.tokenizer.encode(text, EncodeOptions::default()).unwrap();
        ids.into_iter().all(|id| grammar.accept(id).is_ok()) && self.can_end(&mut grammar)
    }

    /// Whether a text may end here.
    pub fn can_end(&self, grammar: &mut Grammar) -> bool {
        let mask = grammar.mask().unwrap();
        let ends = self.tokenizer.end_of_generation();
        let allowed = ends.iter().filter(|&&end| mask.allows(end)).count();
        assert!([0, ends.len()].contains(&allowed), "some ends are allowed, some are not");
        allowed > 0
    }

    /// A text of random tokens. It ends by chance where it may; after a while brackets and strings are closed.
    pub fn walk(&self, grammar: &mut Grammar, seed: u64) -> String {
        let mut rng = Rng::new(seed);
        let mut below = |n: usize| (rng.next_u64() % n as u64) as usize;
        let mut bytes = Vec::new();
        for step in 0..1000 {
            if self.can_end(grammar) && (grammar.is_finished() || below(2) == 0) {
                let end = self.tokenizer.end_of_generation()[0];
                grammar.accept(end).unwrap();
                assert!(grammar.is_finished());
                return String::from_utf8(bytes).expect("grammars are about characters");
            }
            // First the byte with which it begins: most tokens are words, and strings would never end.
            let mut beginnings: BTreeMap<u8, Vec<u32>> = BTreeMap::new();
            for id in grammar.mask().unwrap().iter() {
                if self.tokenizer.end_of_generation().binary_search(&id).is_err() {
                    assert!(!self.tokenizer.is_special(id), "control token {id} as text");
                    let first = self.tokenizer.token_bytes(id).unwrap()[0];
                    beginnings.entry(first).or_default().push(id);
                }
            }
            let closing =
                [b'"', b']', b'}'].into_iter().find(|byte| step > 150 && beginnings.contains_key(byte));
            let first = closing.unwrap_or_else(|| *beginnings.keys().nth(below(beginnings.len())).unwrap());
            let ids = &beginnings[&first];
            let id = ids[below(ids.len())];
            bytes.extend_from_slice(&self.tokenizer.token_bytes(id).unwrap());
            grammar.accept(id).unwrap();
        }
        panic!("no end after 1000 tokens: {}", String::from_utf8_lossy(&bytes));
    }
}
