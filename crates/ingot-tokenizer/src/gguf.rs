//! Reading `tokenizer.ggml.*` from a GGUF file's metadata.

use std::collections::HashMap;

use ingot_format::Gguf;

use crate::byte_bpe::ByteBpe;
use crate::byte_level;
use crate::chat::RWKV_TEMPLATE;
use crate::error::{Error, Result, vocabulary};
use crate::pre_tokenizer;
use crate::rwkv::{self, Rwkv};
use crate::spm::{self, SPACE, Spm};
use crate::tokenizer::{Encoder, Parts};
use crate::vocab::{Kind, Vocab};

/// `tokenizer.ggml.token_type`.
mod token_type {
    pub const UNKNOWN: i64 = 2;
    pub const CONTROL: i64 = 3;
    pub const USER_DEFINED: i64 = 4;
    pub const BYTE: i64 = 6;
}

pub(crate) fn read(gguf: &Gguf) -> Result<Parts> {
    let Some(model) = gguf.str("tokenizer.ggml.model")? else {
        return vocabulary("the file has no tokenizer (tokenizer.ggml.model is missing)");
    };
    let tokens = tokens(gguf)?;
    let types = types(gguf, tokens.len())?;
    let unknown = id(gguf, "unknown")?;
    let mut template = gguf.str("tokenizer.chat_template")?.map(str::to_owned);

    let (kind, vocab, encoder, add_bos) = match model {
        "gpt2" => {
            let family = pre_tokenizer::find(gguf.str("tokenizer.ggml.pre")?.unwrap_or("default"))?;
            let vocab = byte_level_vocab(&tokens, &types)?;
            let Some(merges) = gguf.strings("tokenizer.ggml.merges")? else {
                return vocabulary("tokenizer.ggml.merges is missing, which byte-level BPE needs");
            };
            let normal = |id: u32| vocab.kind(id) == Some(Kind::Normal);
            let merges = merges.map(|merge| merge.map_err(Error::from));
            let bpe = ByteBpe::new(family, &tokens, merges, normal)?;
            ("byte-level BPE", vocab, Encoder::ByteBpe(bpe), family.add_bos)
        }
        "llama" => {
            let mut bytes = [None; 256];
            let vocab = spm_vocab(&tokens, &types, &mut bytes)?;
            let Some(scores) = gguf.f32s("tokenizer.ggml.scores")? else {
                return vocabulary("tokenizer.ggml.scores is missing, which SentencePiece BPE needs");
            };
            let prefix = gguf.bool("tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
            let spm = Spm::new(&vocab, &scores, bytes, unknown, prefix)?;
            ("SentencePiece BPE", vocab, Encoder::Spm(spm), true)
        }
        "rwkv" => {
            let vocab = rwkv_vocab(&tokens, &types)?;
            let encoder = Encoder::Rwkv(Rwkv::new(&vocab));
            template.get_or_insert_with(|| RWKV_TEMPLATE.to_owned());
            ("RWKV World", vocab, encoder, false)
        }
        other => {
            return vocabulary(format!(
                "tokenizer.ggml.model is '{other}'; known are 'gpt2' (byte-level BPE), 'llama' (SentencePiece BPE) \
                 and 'rwkv' (RWKV World)"
            ));
        }
    };
    let ends = [id(gguf, "eot")?, id(gguf, "eom")?].into_iter().flatten().collect();
    Ok(Parts {
        kind,
        byte_level: matches!(encoder, Encoder::ByteBpe(_)),
        strip_first_space: matches!(&encoder, Encoder::Spm(spm) if spm.add_space_prefix),
        vocab,
        encoder,
        trims: HashMap::new(),
        bos: id(gguf, "bos")?,
        eos: id(gguf, "eos")?,
        add_bos: gguf.bool("tokenizer.ggml.add_bos_token")?.unwrap_or(add_bos),
        ends,
        template,
    })
}

fn tokens(gguf: &Gguf) -> Result<Vec<&str>> {
    let Some(tokens) = gguf.strings("tokenizer.ggml.tokens")? else {
        return vocabulary("tokenizer.ggml.tokens is missing");
    };
    Ok(tokens.collect::<Result<Vec<_>, _>>()?)
}

/// A type for every token; without the array, all are normal.
fn types(gguf: &Gguf, count: usize) -> Result<Vec<i64>> {
    let types = gguf.ints("tokenizer.ggml.token_type")?.unwrap_or_else(|| vec![1; count]);
    if types.len() != count {
        return vocabulary(format!(
            "tokenizer.ggml.token_type has {} entries for {count} tokens, expected as many",
            types.len()
        ));
    }
    Ok(types)
}

/// `tokenizer.ggml.<name>_token_id`. Some writers say "none" with all bits set.
fn id(gguf: &Gguf, name: &str) -> Result<Option<u32>> {
    let key = format!("tokenizer.ggml.{name}_token_id");
    let Some(id) = gguf.uint(&key)? else { return Ok(None) };
    match u32::try_from(id) {
        Ok(u32::MAX) => Ok(None),
        Ok(id) => Ok(Some(id)),
        Err(_) => vocabulary(format!("{key} is {id}, expected a token id")),
    }
}

fn kind(token_type: i64) -> Kind {
    match token_type {
        token_type::UNKNOWN | token_type::CONTROL => Kind::Control,
        token_type::USER_DEFINED => Kind::UserDefined,
        _ => Kind::Normal,
    }
}

fn byte_level_vocab(tokens: &[&str], types: &[i64]) -> Result<Vocab> {
    let table = byte_level::Bytes::new();
    let mut vocab = Vocab::with_capacity(tokens.len());
    let mut bytes = Vec::new();
    for (token, &token_type) in tokens.iter().zip(types) {
        let kind = kind(token_type);
        bytes.clear();
        if kind == Kind::Normal {
            table.decode(token, &mut bytes);
        } else {
            bytes.extend_from_slice(token.as_bytes());
        }
        vocab.push(&bytes, kind)?;
    }
    Ok(vocab)
}

/// Fills in `bytes`, the ids of the byte tokens.
fn spm_vocab(tokens: &[&str], types: &[i64], bytes: &mut [Option<u32>; 256]) -> Result<Vocab> {
    let mut vocab = Vocab::with_capacity(tokens.len());
    for ((id, token), &token_type) in (0u32..).zip(tokens).zip(types) {
        if token_type == token_type::BYTE {
            let Some(byte) = spm::byte_of(token) else {
                return vocabulary(format!("byte token {id} is {token:?}, expected the form <0x0A>"));
            };
            bytes[usize::from(byte)] = Some(id);
            vocab.push(&[byte], Kind::Normal)?;
        } else if token_type == token_type::CONTROL {
            vocab.push(token.as_bytes(), Kind::Control)?;
        } else {
            vocab.push(token.replace(SPACE, " ").as_bytes(), kind(token_type))?;
        }
    }
    Ok(vocab)
}

fn rwkv_vocab(tokens: &[&str], types: &[i64]) -> Result<Vocab> {
    let mut vocab = Vocab::with_capacity(tokens.len());
    for ((id, token), &token_type) in (0..).zip(tokens).zip(types) {
        let bytes = rwkv::unescape(token, true)
            .map_err(|what| Error::Vocabulary(format!("token {id}, {token:?}: {what}")))?;
        vocab.push(&bytes, if id == 0 { Kind::Control } else { kind(token_type) })?;
    }
    Ok(vocab)
}
