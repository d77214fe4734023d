//! A Hugging Face folder's tokenizer as `tokenizer.ggml.*`, the metadata of a
//! GGUF file.
//!
//! A `tokenizer.json` spells out how it splits text and in which order it merges;
//! GGUF has a name for the former, and for SentencePiece scores for the latter.
//! Whether these say the same is tried out on a text that is hard to split.

use std::collections::HashMap;

use ingot_format::gguf::{Array, Value};
use ingot_format::{Bytes, Gguf, GgufWriter, HfFolder};
use serde_json::Value as Json;

use crate::error::{Error, Result, vocabulary};
use crate::tokenizer::{EncodeOptions, Parts, Tokenizer};
use crate::vocab::Kind;
use crate::{hf, pre_tokenizer, rwkv, spm};

/// `tokenizer.ggml.token_type`.
mod token_type {
    pub const NORMAL: i32 = 1;
    pub const UNKNOWN: i32 = 2;
    pub const CONTROL: i32 = 3;
    pub const USER_DEFINED: i32 = 4;
    pub const UNUSED: i32 = 5;
    pub const BYTE: i32 = 6;
}

/// White space of all kinds, numbers, contractions, code, several scripts,
/// characters outside of every vocabulary: where ways of splitting differ.
const PROBE: &str = "Hello world!  It's   I'VE he'Ll\tx\n\n \n  y\r\n z 1 12 123 1234567 3.14e-9 a1b22 \
    helloWorld HELLOworld don't_do snake_case (x+y)**2 != [z]; // */ \"quote\" 'q' …—«» naïve Ünïcödé \
    Привет мир 你好，世界 2024年 日本語テスト 한국어 שלום مرحبا हिन्दी ไทย 🙂👨‍👩‍👧 ½² \u{a0}nbsp \u{200b}\u{fffd} end \
    the and ing of to in is you that it he was for on are as with his they<b>at</b>   ";

/// No vocabulary has more tokens.
const MAX_ROWS: usize = 1 << 24;

/// The metadata that gives a GGUF file the folder's tokenizer, with its chat
/// template. `rows` is the size of the model's embedding table: as many tokens
/// are listed, those that do not exist as unused ones.
///
/// # Errors
/// If the folder's tokenizer cannot be read, or is of a kind that GGUF cannot
/// express.
pub fn gguf_metadata(folder: &HfFolder, rows: usize) -> Result<Vec<(String, Value)>> {
    if rows == 0 || rows > MAX_ROWS {
        return vocabulary(format!("an embedding table of {rows} rows, expected 1 to {MAX_ROWS}"));
    }
    let parts = hf::read(folder)?;
    let mut out = Metadata::default();
    let json = folder.json("tokenizer.json")?;
    match &json {
        None => out.rwkv(&parts, rows),
        Some(json) if parts.byte_level => out.tokens("gpt2", Tokens::read(json, rows, false)?),
        Some(json) => out.sentence_piece(json, &parts, rows)?,
    }
    out.ids(folder, &parts, rows)?;
    let ignore_merges = json.as_ref().is_some_and(|json| json["model"]["ignore_merges"] == true);
    let patterns = json.as_ref().and_then(|json| patterns(&json["pre_tokenizer"]));
    let byte_level = parts.byte_level;
    let original = Tokenizer::new(parts)?;
    if byte_level {
        let names = pre_tokenizer::names_like(patterns.as_deref(), ignore_merges);
        let Some(found) = names.into_iter().find_map(|name| out.with_pre(name, &original)) else {
            return vocabulary(
                "tokenizer.json splits text in a way for which GGUF has no name that ingot knows; the model can \
                 still be run from its folder",
            );
        };
        return Ok(found);
    }
    match out.agrees(&original) {
        true => Ok(out.0),
        false => vocabulary(
            "GGUF's scores do not express what this tokenizer.json does; the model can still be run from its folder",
        ),
    }
}

/// Keys and values that have been gathered.
#[derive(Clone, Default)]
struct Metadata(Vec<(String, Value)>);

/// The three lists of a vocabulary.
struct Tokens {
    texts: Vec<String>,
    types: Vec<i32>,
    /// Pairs in the order in which they are merged.
    merges: Vec<(String, String)>,
}

impl Metadata {
    fn set(&mut self, key: &str, value: impl Into<Value>) {
        self.0.push((format!("tokenizer.{key}"), value.into()));
    }

    fn tokens(&mut self, model: &str, tokens: Tokens) {
        self.set("ggml.model", model);
        self.set("ggml.tokens", Array::from_strings(&tokens.texts));
        self.set("ggml.token_type", Array::from_i32s(tokens.types));
        let merges = tokens.merges.iter().map(|(left, right)| format!("{left} {right}"));
        self.set("ggml.merges", Array::from_strings(merges));
    }

    /// Scores in place of merges: the sooner a token is merged the higher.
    fn sentence_piece(&mut self, json: &Json, parts: &Parts, rows: usize) -> Result<()> {
        /// Of tokens that no merge makes.
        const NEVER: f32 = -1e9;
        let tokens = Tokens::read(json, rows, true)?;
        let mut ranks: HashMap<String, usize> = HashMap::new();
        for (rank, (left, right)) in tokens.merges.iter().enumerate() {
            ranks.entry(format!("{left}{right}")).or_insert(rank);
        }
        let score = |text: &String| ranks.get(text).map_or(NEVER, |&rank| -(rank as f32));
        self.set("ggml.model", "llama");
        self.set("ggml.pre", "default");
        self.set("ggml.tokens", Array::from_strings(&tokens.texts));
        self.set("ggml.scores", Array::from_f32s(tokens.texts.iter().map(score)));
        self.set("ggml.token_type", Array::from_i32s(tokens.types));
        self.set("ggml.add_space_prefix", parts.strip_first_space);
        Ok(())
    }

    fn rwkv(&mut self, parts: &Parts, rows: usize) {
        let listed = || parts.vocab.iter().take(rows);
        let mut texts: Vec<String> = listed().map(|(_, bytes, _)| rwkv::escape(bytes)).collect();
        let mut types: Vec<i32> = listed()
            .map(|(_, _, kind)| if kind == Kind::Normal { token_type::NORMAL } else { token_type::CONTROL })
            .collect();
        // A normal one would be found in text.
        texts.extend((texts.len()..rows).map(padding));
        types.resize(rows, token_type::CONTROL);
        self.set("ggml.model", "rwkv");
        self.set("ggml.tokens", Array::from_strings(&texts));
        self.set("ggml.token_type", Array::from_i32s(types));
    }

    /// Special ids, whether a text begins with one, and the chat template.
    fn ids(&mut self, folder: &HfFolder, parts: &Parts, rows: usize) -> Result<()> {
        let fits = |id: &u32| (*id as usize) < rows;
        let named = |text: Option<&str>| text.and_then(|text| parts.vocab.find(text.as_bytes()));
        let config = folder.json("tokenizer_config.json")?.unwrap_or_default();
        let padding = &config["pad_token"];
        let padding = named(padding.as_str().or_else(|| padding["content"].as_str()));
        let unknown = &config["unk_token"];
        let unknown = named(unknown.as_str().or_else(|| unknown["content"].as_str()));
        // GGUF has a place for one more end besides the end of the text.
        let turn = parts.ends.iter().copied().find(|id| Some(*id) != parts.eos);
        for (name, id) in [
            ("bos", parts.bos),
            ("eos", parts.eos),
            ("eot", turn),
            ("unknown", unknown),
            ("padding", padding),
        ] {
            if let Some(id) = id.filter(fits) {
                self.set(&format!("ggml.{name}_token_id"), id);
            }
        }
        self.set("ggml.add_bos_token", parts.add_bos);
        if let Some(template) = &parts.template {
            self.set("chat_template", template.as_str());
        }
        Ok(())
    }

    /// The metadata with this name for the way of splitting, if it then does what
    /// the original does.
    fn with_pre(&self, name: &str, original: &Tokenizer) -> Option<Vec<(String, Value)>> {
        let mut tried = self.clone();
        tried.set("ggml.pre", name);
        tried.agrees(original).then_some(tried.0)
    }

    /// Whether a reader of this metadata cuts the probe as the original does.
    fn agrees(&self, original: &Tokenizer) -> bool {
        let mut writer = GgufWriter::new();
        for (key, value) in &self.0 {
            writer.set(key, value.clone());
        }
        let read = || -> Result<Tokenizer> {
            let mut file = Vec::new();
            writer.write(&mut file, |_, _| Ok(())).map_err(|e| Error::Vocabulary(e.to_string()))?;
            Tokenizer::from_gguf(&Gguf::from_bytes(Bytes::from(file))?)
        };
        let plain = EncodeOptions::default();
        let ids = |tokenizer: &Tokenizer| tokenizer.encode(PROBE, plain).ok();
        match (read().ok().as_ref().and_then(ids), ids(original)) {
            (Some(ours), Some(theirs)) => ours == theirs,
            // A vocabulary without some bytes: neither can encode the probe.
            (None, None) => true,
            _ => false,
        }
    }
}

impl Tokens {
    /// The vocabulary of a `tokenizer.json` that could be read.
    fn read(json: &Json, rows: usize, sentence_piece: bool) -> Result<Self> {
        let model = &json["model"];
        let (Some(vocab), Some(merges)) = (model["vocab"].as_object(), model["merges"].as_array()) else {
            return vocabulary("tokenizer.json: only vocabularies with merges (BPE) can be written to GGUF");
        };
        let mut texts: Vec<String> = (0..rows).map(padding).collect();
        let mut types = vec![token_type::UNUSED; rows];
        let mut put = |id: Option<u64>, text: &str, token_type: i32| {
            // Ids without a row can be in no text of the model.
            if let Some(id) = id.and_then(|id| usize::try_from(id).ok()).filter(|&id| id < rows) {
                text.clone_into(&mut texts[id]);
                types[id] = token_type;
            }
        };
        let unknown = model["unk_token"].as_str();
        for (text, id) in vocab {
            let token_type = match sentence_piece {
                true if unknown == Some(text) => token_type::UNKNOWN,
                true if spm::byte_of(text).is_some() => token_type::BYTE,
                _ => token_type::NORMAL,
            };
            put(id.as_u64(), text, token_type);
        }
        for token in json["added_tokens"].as_array().into_iter().flatten() {
            let text = token["content"].as_str().unwrap_or_default();
            let control = token["special"] == true || text.starts_with("<|") && text.ends_with("|>");
            let token_type = match control {
                _ if sentence_piece && unknown == Some(text) => token_type::UNKNOWN,
                true => token_type::CONTROL,
                false => token_type::USER_DEFINED,
            };
            put(token["id"].as_u64(), text, token_type);
        }
        Ok(Self { texts, types, merges: merges.iter().map(pair).collect::<Result<_>>()? })
    }
}

/// The two sides of a merge, in either of the forms in use.
fn pair(merge: &Json) -> Result<(String, String)> {
    let sides = match merge {
        Json::String(text) => text.split_once(' '),
        merge => merge[0].as_str().zip(merge[1].as_str()),
    };
    match sides {
        Some((left, right)) => Ok((left.to_owned(), right.to_owned())),
        None => {
            vocabulary("tokenizer.json: a merge is neither two tokens nor a text with a space between them")
        }
    }
}

/// The text of a token that does not exist.
fn padding(id: usize) -> String {
    format!("[PAD{id}]")
}

/// The patterns that a pre-tokenizer applies one after the other, if that is all
/// it does.
fn patterns(pre_tokenizer: &Json) -> Option<Vec<String>> {
    let one = |pattern: &str| Some(vec![pattern.to_owned()]);
    match pre_tokenizer["type"].as_str()? {
        "Sequence" => {
            let all = pre_tokenizer["pretokenizers"].as_array()?.iter().map(patterns);
            Some(all.collect::<Option<Vec<_>>>()?.concat())
        }
        "Split" => one(pre_tokenizer["pattern"]["Regex"].as_str()?),
        "Digits" => one(if pre_tokenizer["individual_digits"] == true { r"\p{N}" } else { r"\p{N}+" }),
        "ByteLevel" if pre_tokenizer["use_regex"] == false => Some(Vec::new()),
        "ByteLevel" => one(pre_tokenizer::GPT2),
        _ => None,
    }
}
