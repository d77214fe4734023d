//! Every string of the fixtures, from GGUF and from Hugging Face folders.

use std::path::PathBuf;

use ingot_format::ModelFile;
use ingot_tokenizer::{EncodeOptions, Tokenizer};
use serde::Deserialize;

const PLAIN: EncodeOptions = EncodeOptions { special: false, bos: false };
const FULL: EncodeOptions = EncodeOptions { special: true, bos: true };

#[derive(Deserialize)]
struct Fixture {
    model: String,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    text: String,
    ids: Vec<u32>,
    ids_parse_special_add_bos: Vec<u32>,
}

fn path(relative: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../")).join(relative)
}

fn open(relative: &str) -> Tokenizer {
    let file = ModelFile::open(&path(relative)).unwrap();
    Tokenizer::open(&file).unwrap_or_else(|error| panic!("{relative}: {error}"))
}

fn fixture(name: &str) -> Fixture {
    let fixture: Fixture = serde_json::from_slice(
        &std::fs::read(path(&format!("tests/fixtures/tokenizer/{name}.json"))).unwrap(),
    )
    .unwrap();
    assert!(fixture.cases.len() > 20);
    fixture
}

/// Text token by token, as a continuation.
fn stream(tokenizer: &Tokenizer, ids: &[u32]) -> String {
    let mut stream = tokenizer.stream();
    let mut text: String = ids.iter().map(|&id| stream.push(id)).collect();
    text.push_str(&stream.finish());
    text
}

#[test]
fn gguf_vocabularies_give_the_stored_ids() {
    for name in ["llama-bpe", "qwen2", "spm", "rwkv"] {
        let fixture = fixture(name);
        let tokenizer = open(&format!("tests/fixtures/{}", fixture.model));
        for case in &fixture.cases {
            let Case { text, ids, ids_parse_special_add_bos } = case;
            assert_eq!(&tokenizer.encode(text, PLAIN).unwrap(), ids, "{name}: {text:?}");
            assert_eq!(&tokenizer.encode(text, FULL).unwrap(), ids_parse_special_add_bos, "{name}: {text:?}");
        }
    }
}

#[test]
fn folders_give_the_same_ids() {
    for (name, folder) in [
        ("llama-bpe", "llama-s-safetensors"),
        ("qwen2", "qwen2-s-safetensors"),
        ("qwen2", "qwen3-s-safetensors"),
        ("rwkv", "rwkv7-s-safetensors"),
    ] {
        let fixture = fixture(name);
        let tokenizer = open(&format!("tests/fixtures/models/{folder}"));
        let gguf = open(&format!("tests/fixtures/{}", fixture.model));
        for case in &fixture.cases {
            let text = &case.text;
            assert_eq!(tokenizer.encode(text, PLAIN).unwrap(), case.ids, "{folder}: {text:?}");
            // The folder of the Llama model does not ask for a beginning of sequence,
            // and that of the RWKV model does not name token 0.
            let options = EncodeOptions { bos: false, ..FULL };
            let expected = gguf.encode(text, if name == "rwkv" { PLAIN } else { options }).unwrap();
            assert_eq!(tokenizer.encode(text, options).unwrap(), expected, "{folder}: {text:?}");
        }
    }
}

#[test]
fn decoding_gives_the_text_back() {
    for (name, keep) in [("llama-bpe", true), ("qwen2", true), ("rwkv", true), ("spm", true)] {
        let fixture = fixture(name);
        let mut sources = vec![fixture.model.clone()];
        match name {
            "llama-bpe" => sources.push("models/llama-s-safetensors".into()),
            "qwen2" => sources.push("models/qwen2-s-safetensors".into()),
            "rwkv" => sources.push("models/rwkv7-s-safetensors".into()),
            _ => {}
        }
        for source in sources {
            let tokenizer = open(&format!("tests/fixtures/{source}"));
            for Case { text, ids, .. } in &fixture.cases {
                assert_eq!(&tokenizer.decode_with(ids, keep), text, "{source}");
                let streamed = stream(&tokenizer, ids);
                // A continuation keeps the space that SentencePiece puts before a text.
                let prefix = if name == "spm" && !text.is_empty() { " " } else { "" };
                assert_eq!(streamed, format!("{prefix}{text}"), "{source}");
                assert_eq!(streamed.contains('\u{fffd}'), text.contains('\u{fffd}'), "{source}: {text:?}");
                let bytes: Vec<u8> =
                    ids.iter().flat_map(|&id| tokenizer.token_bytes(id).unwrap().into_owned()).collect();
                assert_eq!(bytes, streamed.as_bytes(), "{source}");
            }
        }
    }
}

#[test]
fn metadata() {
    let llama = open("tests/fixtures/models/llama-s-f16.gguf");
    assert_eq!((llama.vocab_size(), llama.bos(), llama.kind()), (320, Some(315), "byte-level BPE"));
    // <|eot_id|> from the metadata, <|end_of_text|> by its name.
    assert_eq!(llama.end_of_generation(), [316, 319]);
    assert!(llama.is_special(315) && !llama.is_special(0));
    assert_eq!(llama.token_text(198), "\\n");
    assert_eq!(llama.token_bytes(320), None);
    let folder = open("tests/fixtures/models/llama-s-safetensors");
    assert_eq!((folder.bos(), folder.end_of_generation()), (Some(315), &[316, 319][..]));
    assert_eq!(folder.vocab_size(), 320);
    assert_eq!(folder.chat_template().unwrap().source(), llama.chat_template().unwrap().source());
    let rwkv = open("tests/fixtures/models/rwkv7-s-f16.gguf");
    assert_eq!(rwkv.end_of_generation(), [0, 257]);
    assert!(rwkv.chat_template().unwrap().source().contains("Assistant:"));
    let spm = open("tests/fixtures/models/mistral-s-f16.gguf");
    assert_eq!((spm.bos(), spm.end_of_generation()), (Some(1), &[2][..]));
    assert!(spm.chat_template().is_none());
}

#[test]
fn folders_without_a_vocabulary_say_so() {
    let file = ModelFile::open(&path("tests/fixtures/models/mistral-sw16-s-safetensors")).unwrap();
    let error = Tokenizer::open(&file).unwrap_err().to_string();
    assert!(error.contains("tokenizer.json"), "{error}");
}

/// The shipped models, on text they were not trained on.
#[test]
fn shipped_vocabularies() {
    let text = std::fs::read_to_string(path("models/valid.txt")).unwrap();
    for (model, count) in [("tale-llama-q8_0", 16_086), ("tale-rwkv7-q4_k_m", 15_593)] {
        let tokenizer = open(&format!("models/{model}.gguf"));
        let ids = tokenizer.encode(&text, PLAIN).unwrap();
        assert_eq!(ids.len(), count, "{model}");
        assert!(tokenizer.decode(&ids) == text, "{model}");
        assert!(stream(&tokenizer, &ids) == text, "{model}");
    }
}

fn shared_between_threads<T: Send + Sync>() {}

#[test]
fn tokenizers_are_shared() {
    shared_between_threads::<Tokenizer>();
}
