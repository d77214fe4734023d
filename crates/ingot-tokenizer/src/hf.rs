//! Tokenizers of Hugging Face folders: `tokenizer.json`, or an RWKV vocabulary.

use std::collections::HashMap;

use ingot_format::HfFolder;
use serde_json::Value;
use tokenizers::tokenizer::normalizer::Range;
use tokenizers::tokenizer::pre_tokenizer::Split;
use tokenizers::{Model, NormalizedString, Normalizer, OffsetType, PreTokenizedString, PreTokenizer, Token};

use crate::byte_level;
use crate::chat::RWKV_TEMPLATE;
use crate::error::{Error, Result, vocabulary};
use crate::rwkv::{self, Rwkv};
use crate::special::{Piece, Trim};
use crate::spm::{self, SPACE};
use crate::tokenizer::{Encoder, Parts};
use crate::vocab::{Kind, Vocab};

/// Ids that a vocabulary may leave out.
const MAX_GAPS: usize = 1 << 16;

/// A `tokenizer.json` as the library that defines the format runs it.
///
/// Only the finding of special tokens is done by us, before, so that it is the
/// same for all kinds of vocabularies and can be switched off for user text.
#[derive(Debug)]
pub(crate) struct Pipeline(tokenizers::Tokenizer);

impl Pipeline {
    /// Appends the tokens of `pieces`, which are parts of one text: some
    /// tokenizers treat its beginning differently.
    pub(crate) fn encode(&self, pieces: &[Piece<'_>], out: &mut Vec<u32>) -> Result<()> {
        self.run(pieces, out).map_err(|error| Error::Text(error.to_string()))
    }

    fn run(&self, pieces: &[Piece<'_>], out: &mut Vec<u32>) -> tokenizers::Result<()> {
        let mut text = String::new();
        for piece in pieces {
            match piece {
                Piece::Text(piece) => text.push_str(piece),
                // Something must hold the token's place.
                Piece::Token(_) => text.push(' '),
            }
        }
        let mut whole = PreTokenizedString::from(text.as_str());
        whole.split(|_, text: NormalizedString| {
            let mut at = 0;
            let parts = pieces.iter().filter_map(|piece| {
                let (len, token) = match piece {
                    Piece::Text(text) => (text.len(), None),
                    Piece::Token(id) => (1, Some(vec![Token::new(*id, String::new(), (0, 1))])),
                };
                let part = text.slice(Range::Original(at..at + len));
                at += len;
                part.map(|part| Split::from((part, token)))
            });
            Ok(parts.collect::<Vec<_>>())
        })?;
        let tokenizer = &self.0;
        if let Some(normalizer) = tokenizer.get_normalizer() {
            whole.normalize(|text| normalizer.normalize(text))?;
        }
        if let Some(pre_tokenizer) = tokenizer.get_pre_tokenizer() {
            pre_tokenizer.pre_tokenize(&mut whole)?;
        }
        whole.tokenize(|text| tokenizer.get_model().tokenize(text.get()))?;
        out.extend_from_slice(whole.into_encoding(None, 0, OffsetType::Byte)?.get_ids());
        Ok(())
    }
}

pub(crate) fn read(folder: &HfFolder) -> Result<Parts> {
    if let Some(text) = folder.text("tokenizer.json")? {
        return read_tokenizer_json(folder, &text);
    }
    if let Some(text) = rwkv_vocabulary(folder)? {
        let vocab = rwkv::read_text(&text)?;
        return Ok(Parts {
            kind: "RWKV World",
            encoder: Encoder::Rwkv(Rwkv::new(&vocab)),
            vocab,
            trims: HashMap::new(),
            bos: None,
            eos: Some(0),
            add_bos: false,
            ends: Vec::new(),
            template: Some(chat_template(folder)?.unwrap_or_else(|| RWKV_TEMPLATE.to_owned())),
            strip_first_space: false,
            byte_level: false,
        });
    }
    vocabulary(format!("no tokenizer.json and no rwkv_vocab*.txt in {}", folder.dir().display()))
}

fn rwkv_vocabulary(folder: &HfFolder) -> Result<Option<String>> {
    let dir = folder.dir();
    let entries = std::fs::read_dir(dir).map_err(|e| ingot_format::Error::io(dir, e))?;
    let mut names: Vec<String> =
        entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.retain(|name| name.starts_with("rwkv_vocab") && name.ends_with(".txt"));
    names.sort();
    match names.first() {
        Some(name) => Ok(folder.text(name)?),
        None => Ok(None),
    }
}

fn read_tokenizer_json(folder: &HfFolder, text: &str) -> Result<Parts> {
    let tokenizer: tokenizers::Tokenizer =
        text.parse().map_err(|error| Error::Vocabulary(format!("tokenizer.json: {error}")))?;
    let decoder = serde_json::to_string(&tokenizer.get_decoder()).unwrap_or_default();
    let spelling = Spelling::of(&decoder)?;
    let (vocab, trims) = read_vocab(&tokenizer, &spelling)?;

    let config = folder.json("tokenizer_config.json")?.unwrap_or_default();
    let model = folder.json("config.json")?.unwrap_or_default();
    let generation = folder.json("generation_config.json")?.unwrap_or_default();
    let named = |key: &str| {
        let token = &config[key];
        let text = token.as_str().or_else(|| token["content"].as_str())?;
        vocab.find(text.as_bytes())
    };
    let bos = match named("bos_token") {
        Some(id) => Some(id),
        None => ids(&model["bos_token_id"])?.first().copied(),
    };
    let mut ends = ids(&generation["eos_token_id"])?;
    ends.extend(ids(&model["eos_token_id"])?);
    let add_bos = match config["add_bos_token"].as_bool() {
        Some(add) => add,
        // Otherwise the file's own template for a single text decides.
        None => tokenizer
            .encode_fast("", true)
            .is_ok_and(|e| bos.is_some() && e.get_ids().first() == bos.as_ref()),
    };
    Ok(Parts {
        kind: "tokenizer.json",
        bos,
        eos: named("eos_token").or_else(|| ends.first().copied()),
        add_bos,
        ends,
        template: chat_template(folder)?,
        byte_level: spelling == Spelling::ByteLevel,
        strip_first_space: spelling == Spelling::SentencePiece { first_space: true },
        vocab,
        trims,
        encoder: Encoder::HuggingFace(Box::new(Pipeline(tokenizer))),
    })
}

/// How tokens spell the bytes they stand for.
#[derive(Debug, PartialEq, Eq)]
enum Spelling {
    ByteLevel,
    SentencePiece {
        /// Texts begin with a space that is not theirs.
        first_space: bool,
    },
}

impl Spelling {
    /// By what `tokenizer.json` says of decoding.
    fn of(decoder: &str) -> Result<Self> {
        if decoder.contains("\"ByteLevel\"") {
            Ok(Self::ByteLevel)
        } else if decoder.contains(SPACE) {
            let metaspace = decoder.contains("\"Metaspace\"") && !decoder.contains("\"never\"");
            Ok(Self::SentencePiece { first_space: metaspace || decoder.contains("\"Strip\"") })
        } else {
            vocabulary("tokenizer.json: only byte-level and SentencePiece decoders are known")
        }
    }
}

fn read_vocab(tokenizer: &tokenizers::Tokenizer, spelling: &Spelling) -> Result<(Vocab, HashMap<u32, Trim>)> {
    let known = tokenizer.get_vocab(true);
    let added = tokenizer.get_added_tokens_decoder();
    let count = known.values().copied().max().map_or(0, |id| id as usize + 1);
    if count > known.len() + MAX_GAPS {
        return vocabulary(format!(
            "tokenizer.json: the highest id is {}, for {} tokens",
            count - 1,
            known.len()
        ));
    }
    let mut tokens: Vec<Option<&str>> = vec![None; count];
    for (token, id) in &known {
        tokens[*id as usize] = Some(token);
    }
    let table = byte_level::Bytes::new();
    let mut vocab = Vocab::with_capacity(count);
    let mut trims = HashMap::new();
    let mut bytes = Vec::new();
    for (id, token) in (0u32..).zip(tokens) {
        bytes.clear();
        let kind = match (added.get(&id), token) {
            (Some(token), _) => {
                bytes.extend_from_slice(token.content.as_bytes());
                if token.lstrip || token.rstrip {
                    trims.insert(id, Trim { before: token.lstrip, after: token.rstrip });
                }
                if token.special { Kind::Control } else { Kind::UserDefined }
            }
            (None, Some(token)) => {
                match (spelling, spm::byte_of(token)) {
                    (Spelling::ByteLevel, _) => table.decode(token, &mut bytes),
                    (_, Some(byte)) => bytes.push(byte),
                    _ => bytes.extend_from_slice(token.replace(SPACE, " ").as_bytes()),
                }
                Kind::Normal
            }
            // An id that no token has; a model never has reason to produce it.
            (None, None) => Kind::Control,
        };
        vocab.push(&bytes, kind)?;
    }
    Ok((vocab, trims))
}

/// One id, a list of ids, or nothing.
fn ids(value: &Value) -> Result<Vec<u32>> {
    let one = |value: &Value| {
        let id = value.as_u64().and_then(|id| u32::try_from(id).ok());
        id.ok_or_else(|| Error::Vocabulary(format!("{value} is not a token id")))
    };
    match value {
        Value::Null => Ok(Vec::new()),
        Value::Array(items) => items.iter().map(one).collect(),
        value => Ok(vec![one(value)?]),
    }
}

/// `chat_template.jinja`, or the template in `tokenizer_config.json`: one, or
/// the one named "default" of several.
fn chat_template(folder: &HfFolder) -> Result<Option<String>> {
    if let Some(text) = folder.text("chat_template.jinja")? {
        return Ok(Some(text));
    }
    let config = folder.json("tokenizer_config.json")?.unwrap_or_default();
    Ok(match &config["chat_template"] {
        Value::String(template) => Some(template.clone()),
        Value::Array(templates) => {
            let default = templates.iter().find(|t| t["name"] == "default");
            default.and_then(|t| t["template"].as_str()).map(str::to_owned)
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_lists() {
        assert_eq!(ids(&serde_json::json!([1, 2])).unwrap(), [1, 2]);
        assert_eq!(ids(&serde_json::json!(3)).unwrap(), [3]);
        assert!(ids(&Value::Null).unwrap().is_empty());
        assert!(ids(&serde_json::json!(-1)).is_err());
    }

    #[test]
    fn spellings() {
        assert_eq!(Spelling::of(r#"{"type":"ByteLevel"}"#).unwrap(), Spelling::ByteLevel);
        let llama =
            r#"{"decoders":[{"type":"Replace","content":" ","pattern":"▁"},{"type":"Strip","start":1}]}"#;
        assert_eq!(Spelling::of(llama).unwrap(), Spelling::SentencePiece { first_space: true });
        let gemma = r#"{"decoders":[{"type":"Replace","content":" ","pattern":"▁"}]}"#;
        assert_eq!(Spelling::of(gemma).unwrap(), Spelling::SentencePiece { first_space: false });
        assert!(Spelling::of("null").is_err());
    }
}
