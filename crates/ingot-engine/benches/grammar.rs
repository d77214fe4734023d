//! Cost of grammars for a model's vocabulary: making them ready, compiling one, a mask, a clone.
//!
//! `cargo bench -p ingot-engine --bench grammar -- [MODEL]`
//!
//! Texts are drawn at random under each grammar, from fixed seeds; shown are the median, the 99th percentile and
//! the longest time of a mask. All texts of a grammar begin with a clone of it, whose automaton has only seen the
//! first mask, as it is for each request in a server.

use ingot_engine::grammar::{Framed, Grammar, GrammarLimits, GrammarSpec, Grammars};
use ingot_engine::rng::Rng;
use ingot_format::ModelFile;
use ingot_tokenizer::Tokenizer;
use serde_json::json;
use std::path::PathBuf;
use std::time::{Duration, Instant};

const TEXTS: u64 = 20;
const TOKENS: usize = 200;

fn main() {
    let model = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/tale-llama-q8_0.gguf");
    let path = PathBuf::from(model.unwrap_or(example.into()));
    let tokenizer = Tokenizer::open(&ModelFile::open(&path).expect("a model file")).expect("a vocabulary");
    let start = Instant::now();
    let grammars = Grammars::new(&tokenizer).expect("a vocabulary for grammars");
    println!("{} tokens made ready in {:.1?}", tokenizer.vocab_size(), start.elapsed());

    let schema = json!({
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 40},
            "age": {"type": "integer", "minimum": 0, "maximum": 150},
            "tags": {"type": "array", "items": {"enum": ["red", "green", "blue"]}, "maxItems": 10},
            "notes": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["name", "age", "tags", "notes"],
        "additionalProperties": false,
    });
    let gbnf = "root ::= value\nvalue ::= list | text | [0-9]+\nlist ::= \"[\" (value (\", \" value)*)? \"]\"\n\
                text ::= \"\\\"\" [^\"\\\\\\n]* \"\\\"\"";
    let calls = Framed {
        token: None,
        marker: Some("<tool_call>".into()),
        before: "<tool_call>\n".into(),
        schema: json!({"type": "object"}),
        after: "\n</tool_call>".into(),
        between: Some("\n".into()),
    };
    for (name, spec) in [
        ("JSON object", GrammarSpec::JsonObject),
        ("JSON schema", GrammarSpec::JsonSchema(schema)),
        ("words", GrammarSpec::Regex(r"([A-Z]?[a-z]+[ ,.]){1,100}".into())),
        ("text and calls", GrammarSpec::Framed(calls)),
        ("lists (GBNF)", GrammarSpec::Gbnf(gbnf.into())),
    ] {
        let start = Instant::now();
        let grammar = grammars.compile(&spec, &GrammarLimits::default()).expect("a grammar");
        let compiled = start.elapsed();
        let mut masks = Vec::new();
        let mut clones = Vec::new();
        for seed in 0..TEXTS {
            let start = Instant::now();
            let mut grammar = grammar.clone();
            clones.push(start.elapsed());
            walk(&mut grammar, seed, &mut masks);
        }
        masks.sort_unstable();
        clones.sort_unstable();
        println!(
            "{name:14} compiled with its first mask {compiled:9.1?}  clone {:9.1?}  {} masks: median {:9.1?}, 99 % {:9.1?}, longest {:9.1?}",
            clones[clones.len() / 2],
            masks.len(),
            masks[masks.len() / 2],
            masks[masks.len() * 99 / 100],
            masks[masks.len() - 1],
        );
    }
}

/// Draws a text and notes the time of each mask.
fn walk(grammar: &mut Grammar, seed: u64, masks: &mut Vec<Duration>) {
    let mut rng = Rng::new(seed);
    for _ in 0..TOKENS {
        if grammar.is_finished() {
            return;
        }
        let start = Instant::now();
        let mask = grammar.mask().expect("a mask");
        masks.push(start.elapsed());
        let tokens: Vec<u32> = mask.iter().collect();
        grammar.accept(tokens[(rng.next_u64() % tokens.len() as u64) as usize]).expect("an allowed token");
    }
}
