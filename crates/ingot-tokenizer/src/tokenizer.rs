//! The tokenizer of a model: one vocabulary, one encoder, one way to use both.

use std::borrow::Cow;
use std::collections::HashMap;

use ingot_format::{Gguf, HfFolder, ModelFile};
use serde_json::{Map, Value};

use crate::byte_bpe::ByteBpe;
use crate::chat::{ChatTemplate, Message};
use crate::error::{Error, Result, vocabulary};
use crate::hf::Pipeline;
use crate::rwkv::Rwkv;
use crate::special::{Piece, Specials, Trim, unguard};
use crate::spm::Spm;
use crate::utf8::Utf8Stream;
use crate::vocab::{Kind, Vocab};
use crate::{gguf, hf};

/// Control tokens that end an answer whatever the file's metadata says; files
/// often name only one of several.
const END_NAMES: [&str; 9] = [
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end_of_text|>",
    "<|endoftext|>",
    "<|end|>",
    "<end_of_turn>",
    "<EOT>",
    "<｜end▁of▁sentence｜>",
];
/// Longest text that is encoded at once, in bytes.
const MAX_TEXT: usize = 1 << 30;

/// How to encode a text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EncodeOptions {
    /// The text of a control token becomes the token. Off for text of users.
    pub special: bool,
    /// A beginning-of-sequence token comes first, if the model asks for one.
    pub bos: bool,
}

/// Text to ids: what differs between the kinds of vocabularies.
#[derive(Debug)]
pub(crate) enum Encoder {
    ByteBpe(ByteBpe),
    Spm(Spm),
    Rwkv(Rwkv),
    HuggingFace(Box<Pipeline>),
}

/// What a file says about its tokenizer.
pub(crate) struct Parts {
    pub kind: &'static str,
    pub vocab: Vocab,
    pub encoder: Encoder,
    pub trims: HashMap<u32, Trim>,
    pub bos: Option<u32>,
    pub eos: Option<u32>,
    pub add_bos: bool,
    /// Further ids that end an answer.
    pub ends: Vec<u32>,
    pub template: Option<String>,
    /// Whether a text's first token begins with a space that is not in the text.
    pub strip_first_space: bool,
    /// Whether tokens are stored in the printable alphabet of bytes.
    pub byte_level: bool,
}

/// A model's vocabulary and how to use it. `Send + Sync`; share it freely.
#[derive(Debug)]
pub struct Tokenizer {
    kind: &'static str,
    vocab: Vocab,
    encoder: Encoder,
    specials: Specials,
    bos: Option<u32>,
    add_bos: bool,
    ends: Vec<u32>,
    template: Option<ChatTemplate>,
    strip_first_space: bool,
}

impl Tokenizer {
    /// The tokenizer of a model file.
    ///
    /// # Errors
    /// If the file has no vocabulary, a malformed one, or one of a kind that is
    /// not known; the message says which.
    pub fn open(file: &ModelFile) -> Result<Self> {
        match file {
            ModelFile::Gguf(gguf) => Self::from_gguf(gguf),
            ModelFile::HuggingFace(folder) => Self::from_hf(folder),
        }
    }

    /// The tokenizer in a GGUF file's metadata. Errors as for [`Self::open`].
    pub fn from_gguf(gguf: &Gguf) -> Result<Self> {
        Self::new(gguf::read(gguf)?)
    }

    /// The `tokenizer.json` or `rwkv_vocab*.txt` of a folder. Errors as for [`Self::open`].
    pub fn from_hf(folder: &HfFolder) -> Result<Self> {
        Self::new(hf::read(folder)?)
    }

    pub(crate) fn new(parts: Parts) -> Result<Self> {
        let Parts {
            kind,
            mut vocab,
            encoder,
            trims,
            bos,
            eos,
            add_bos,
            ends: more,
            template,
            strip_first_space,
            byte_level: _,
        } = parts;
        if vocab.len() == 0 {
            return vocabulary("the vocabulary is empty");
        }
        let mut ends: Vec<u32> = eos.into_iter().chain(more).collect();
        for id in bos.iter().chain(&ends) {
            if *id as usize >= vocab.len() {
                return vocabulary(format!(
                    "special token id {id} is outside of the vocabulary of {} tokens",
                    vocab.len()
                ));
            }
        }
        // Files exist in which roles and ends of turns are ordinary user-defined tokens.
        let structure: Vec<u32> = vocab
            .iter()
            .filter(|(_, text, kind)| *kind == Kind::UserDefined && is_structure(text))
            .map(|(id, ..)| id)
            .collect();
        for id in structure {
            vocab.set_kind(id, Kind::Control);
        }
        let named = |text: &[u8]| END_NAMES.iter().any(|name| name.as_bytes() == text);
        ends.extend(
            vocab.iter().filter(|(_, text, kind)| *kind == Kind::Control && named(text)).map(|(id, ..)| id),
        );
        ends.sort_unstable();
        ends.dedup();

        let text = |id: Option<u32>| {
            id.and_then(|id| vocab.bytes(id))
                .map_or(String::new(), |b| String::from_utf8_lossy(b).into_owned())
        };
        let template = template.map(|source| ChatTemplate::new(source, text(bos), text(eos)));
        let specials = Specials::new(&vocab, trims);
        Ok(Self { kind, vocab, encoder, specials, bos, add_bos, ends, template, strip_first_space })
    }

    /// The kind of vocabulary: `byte-level BPE`, `SentencePiece BPE`, `RWKV World`, `tokenizer.json`.
    pub fn kind(&self) -> &str {
        self.kind
    }

    /// Number of tokens; ids are below it. Models may have more rows.
    pub fn vocab_size(&self) -> usize {
        self.vocab.len()
    }

    /// The beginning-of-sequence token.
    pub fn bos(&self) -> Option<u32> {
        self.bos
    }

    /// The tokens that end an answer, ascending.
    pub fn end_of_generation(&self) -> &[u32] {
        &self.ends
    }

    /// The model's chat template, if it has one.
    pub fn chat_template(&self) -> Option<&ChatTemplate> {
        self.template.as_ref()
    }

    /// The ids of a text.
    ///
    /// # Errors
    /// If the vocabulary cannot express the text, or it is longer than 1 GiB.
    pub fn encode(&self, text: &str, options: EncodeOptions) -> Result<Vec<u32>> {
        let bos = if options.bos { self.bos_to_add() } else { None };
        self.encode_pieces(bos, &self.specials.split(text, options.special))
    }

    fn bos_to_add(&self) -> Option<u32> {
        self.bos.filter(|_| self.add_bos)
    }

    /// The ids of a conversation, rendered with the model's chat template, or
    /// `None` if it has none. What control tokens the template writes become
    /// tokens; what looks like one in a message or in `extra` stays text.
    ///
    /// # Errors
    /// As for [`ChatTemplate::render`] and [`Self::encode`].
    pub fn encode_chat(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
        extra: &Map<String, Value>,
    ) -> Result<Option<Vec<u32>>> {
        let Some(template) = &self.template else { return Ok(None) };
        let mut guard = |text: &str| self.specials.guard(text).into_owned();
        let prompt = template
            .render_guarded(messages, add_generation_prompt, extra, &mut guard)
            // The template may have quoted a message in its refusal.
            .map_err(|error| match error {
                Error::Template(message) => Error::Template(unguard(&message)),
                other => other,
            })?;
        let pieces = self.specials.split_guarded(&prompt);
        // Many templates write it themselves.
        let bos = self.bos_to_add().filter(|bos| pieces.first() != Some(&Piece::Token(*bos)));
        self.encode_pieces(bos, &pieces).map(Some)
    }

    fn encode_pieces(&self, bos: Option<u32>, pieces: &[Piece<'_>]) -> Result<Vec<u32>> {
        let length = |piece: &Piece<'_>| if let Piece::Text(text) = piece { text.len() } else { 0 };
        if pieces.iter().map(length).sum::<usize>() > MAX_TEXT {
            return Err(Error::Text(format!("the text is longer than {MAX_TEXT} bytes")));
        }
        let mut ids = Vec::from_iter(bos);
        if let Encoder::HuggingFace(pipeline) = &self.encoder {
            pipeline.encode(pieces, &mut ids)?;
            return Ok(ids);
        }
        for piece in pieces {
            match (piece, &self.encoder) {
                (Piece::Token(id), _) => ids.push(*id),
                (Piece::Text(text), Encoder::ByteBpe(bpe)) => bpe.encode(text, &mut ids)?,
                (Piece::Text(text), Encoder::Spm(spm)) => spm.encode(text, &mut ids)?,
                (Piece::Text(text), Encoder::Rwkv(rwkv)) => rwkv.encode(text, &mut ids)?,
                (Piece::Text(_), Encoder::HuggingFace(_)) => unreachable!("encoded as a whole above"),
            }
        }
        Ok(ids)
    }

    /// The text of whole `ids`: control tokens and unknown ids are left out,
    /// bytes that are not UTF-8 become U+FFFD.
    pub fn decode(&self, ids: &[u32]) -> String {
        self.decode_with(ids, false)
    }

    /// As [`Self::decode`], with the text of control tokens if `keep_special`.
    pub fn decode_with(&self, ids: &[u32], keep_special: bool) -> String {
        let mut bytes = Vec::with_capacity(ids.len() * 4);
        for &id in ids {
            if keep_special || !self.is_special(id) {
                bytes.extend_from_slice(self.vocab.bytes(id).unwrap_or_default());
            }
        }
        let text = match bytes.strip_prefix(b" ") {
            Some(rest) if self.strip_first_space => rest,
            _ => &bytes,
        };
        String::from_utf8_lossy(text).into_owned()
    }

    /// A decoder for tokens that come one by one, as the continuation of a
    /// prompt: the first token keeps its space.
    pub fn stream(&self) -> DecodeStream<'_> {
        DecodeStream { tokenizer: self, text: Utf8Stream::default() }
    }

    /// The bytes that a token stands for, not always whole characters; for a
    /// control token its text. `None` beyond the vocabulary.
    pub fn token_bytes(&self, id: u32) -> Option<Cow<'_, [u8]>> {
        self.vocab.bytes(id).map(Cow::Borrowed)
    }

    /// A token for people to read: on one line, bytes escaped.
    pub fn token_text(&self, id: u32) -> String {
        match self.vocab.bytes(id) {
            None => format!("<no token {id}>"),
            Some(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => text.escape_debug().to_string().replace("\\'", "'").replace("\\\"", "\""),
                Err(_) => bytes.escape_ascii().to_string(),
            },
        }
    }

    /// Whether a token is a control token: structure, not text.
    pub fn is_special(&self, id: u32) -> bool {
        self.vocab.kind(id) == Some(Kind::Control)
    }
}

/// Decodes a generated text token by token; see [`Tokenizer::stream`].
#[derive(Debug, Clone)]
pub struct DecodeStream<'t> {
    tokenizer: &'t Tokenizer,
    text: Utf8Stream,
}

impl DecodeStream<'_> {
    /// The text that is complete with this token; empty within a character and
    /// for control tokens.
    pub fn push(&mut self, id: u32) -> String {
        if self.tokenizer.is_special(id) {
            return String::new();
        }
        self.text.push(self.tokenizer.vocab.bytes(id).unwrap_or_default())
    }

    /// Ends the text: an incomplete character becomes U+FFFD.
    pub fn finish(&mut self) -> String {
        self.text.finish()
    }
}

/// Whether a token's text is that of chat structure.
fn is_structure(text: &[u8]) -> bool {
    (text.starts_with(b"<|") && text.ends_with(b"|>"))
        || matches!(text, b"<start_of_turn>" | b"<end_of_turn>")
}
