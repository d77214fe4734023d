//! Text to token ids and back, and chat templates.
//!
//! [`Tokenizer`] reads the vocabulary of a GGUF file or a Hugging Face folder:
//! byte-level BPE, SentencePiece BPE or RWKV World. [`ChatTemplate`] turns a
//! conversation into a prompt with the model's own template, within limits;
//! [`Tokenizer::encode_chat`] does both in such a way that users cannot write
//! control tokens.

mod byte_bpe;
mod byte_level;
mod chat;
mod error;
mod export;
mod gguf;
mod hf;
mod jinja;
mod merge;
mod pre_tokenizer;
mod rwkv;
mod special;
mod spm;
mod tokenizer;
mod trie;
mod utf8;
mod vocab;

pub use chat::{ChatTemplate, Message};
pub use error::{Error, Result};
pub use export::gguf_metadata;
pub use tokenizer::{DecodeStream, EncodeOptions, Tokenizer};
pub use utf8::Utf8Stream;
