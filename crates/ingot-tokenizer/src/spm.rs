//! SentencePiece BPE: characters merged in the order of the tokens' scores.

use std::borrow::Cow;

use foldhash::{HashMap, HashMapExt};

use crate::error::{Error, Result, vocabulary};
use crate::merge::Merger;
use crate::vocab::{Kind, Vocab};

/// SentencePiece's visible space.
pub(crate) const SPACE: &str = "\u{2581}";

/// The encoder of a vocabulary of tokenizer.ggml.model "llama".
#[derive(Debug)]
pub(crate) struct Spm {
    /// Tokens by their bytes: priority (lower merges first) and id.
    tokens: HashMap<Box<[u8]>, (u32, u32)>,
    longest: usize,
    /// The tokens `<0x00>` to `<0xFF>`, for characters that have none.
    bytes: [Option<u32>; 256],
    unknown: Option<u32>,
    /// Whether a text begins with a space that is not in it.
    pub add_space_prefix: bool,
}

impl Spm {
    /// From tokens whose bytes are the text they stand for (with plain spaces),
    /// their scores, and the ids of the byte tokens.
    pub(crate) fn new(
        vocab: &Vocab,
        scores: &[f32],
        bytes: [Option<u32>; 256],
        unknown: Option<u32>,
        add_space_prefix: bool,
    ) -> Result<Self> {
        if scores.len() != vocab.len() {
            return vocabulary(format!(
                "{} scores for {} tokens, expected as many",
                scores.len(),
                vocab.len()
            ));
        }
        if let Some(id) = scores.iter().position(|score| score.is_nan()) {
            return vocabulary(format!("the score of token {id} is not a number"));
        }
        let mut tokens = HashMap::with_capacity(vocab.len());
        let mut longest = 0;
        for ((id, text, kind), &score) in vocab.iter().zip(scores) {
            if kind == Kind::Normal && !bytes.contains(&Some(id)) {
                longest = longest.max(text.len());
                tokens.entry(text.into()).or_insert((priority(score), id));
            }
        }
        Ok(Self { tokens, longest, bytes, unknown, add_space_prefix })
    }

    /// Appends the tokens of `text`.
    pub(crate) fn encode(&self, text: &str, out: &mut Vec<u32>) -> Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        let text: Cow<'_, str> = if self.add_space_prefix { format!(" {text}").into() } else { text.into() };
        let bytes = text.as_bytes();
        let mut merger = Merger::default();
        for character in text.chars() {
            merger.push(0, character.len_utf8());
        }
        merger.merge(|a, b| {
            let text = &bytes[a.start as usize..b.end as usize];
            if text.len() > self.longest { None } else { self.tokens.get(text).copied() }
        });
        for symbol in merger.symbols() {
            let text = &bytes[symbol.start as usize..symbol.end as usize];
            match self.tokens.get(text) {
                Some((_, id)) => out.push(*id),
                None => self.fall_back(text, out)?,
            }
        }
        Ok(())
    }

    /// A character without a token: its bytes, or else the unknown token.
    fn fall_back(&self, text: &[u8], out: &mut Vec<u32>) -> Result<()> {
        let ids: Option<Vec<u32>> = text.iter().map(|&byte| self.bytes[usize::from(byte)]).collect();
        match (ids, self.unknown) {
            (Some(ids), _) => out.extend(ids),
            (None, Some(unknown)) => out.push(unknown),
            (None, None) => {
                return Err(Error::Text(format!(
                    "the vocabulary has neither tokens for {:?} nor an unknown token",
                    String::from_utf8_lossy(text)
                )));
            }
        }
        Ok(())
    }
}

/// A number that is lower the higher the score is.
fn priority(score: f32) -> u32 {
    // Adding zero makes -0 and 0 the same.
    let bits = (score + 0.0).to_bits();
    // Floats compare like sign-magnitude integers; this makes them plain ones.
    let ascending = if bits >> 31 == 1 { !bits } else { bits | 1 << 31 };
    !ascending
}

/// The byte that a token like `<0x0A>` stands for.
pub(crate) fn byte_of(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    let two_digits = digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_hexdigit());
    if two_digits { u8::from_str_radix(digits, 16).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spm(add_space_prefix: bool) -> Spm {
        let mut vocab = Vocab::default();
        let tokens = ["?", "a", "b", " ", "ab", " ab", "ba"];
        for token in tokens {
            vocab.push(token.as_bytes(), if token == "?" { Kind::Control } else { Kind::Normal }).unwrap();
        }
        vocab.push(b"\xff", Kind::Normal).unwrap();
        let mut bytes = [None; 256];
        bytes[0xff] = Some(7);
        Spm::new(&vocab, &[0.0, -1.0, -2.0, -3.0, -5.0, -6.0, -4.0, 0.0], bytes, Some(0), add_space_prefix)
            .unwrap()
    }

    fn encode(spm: &Spm, text: &str) -> Vec<u32> {
        let mut out = Vec::new();
        spm.encode(text, &mut out).unwrap();
        out
    }

    #[test]
    fn best_score_first() {
        assert_eq!(encode(&spm(false), "aba"), [1, 6]);
        assert_eq!(encode(&spm(false), "ab"), [4]);
        assert_eq!(encode(&spm(true), "ab"), [5]);
        assert_eq!(encode(&spm(true), ""), [0u32; 0]);
        assert_eq!(encode(&spm(false), "aé"), [1, 0]);
    }

    #[test]
    fn priorities_are_ordered() {
        let scores = [f32::INFINITY, 3.5, 1e-30, 0.0, -1e-30, -1.0, -1e9, f32::NEG_INFINITY];
        assert!(scores.windows(2).all(|w| priority(w[0]) < priority(w[1])));
        assert_eq!(priority(0.0), priority(-0.0));
    }

    #[test]
    fn byte_tokens() {
        assert_eq!(byte_of("<0x0A>"), Some(10));
        for other in ["<0xGG>", "<0x1>", "<0x+1>", "0x0A", "<0x0A"] {
            assert_eq!(byte_of(other), None, "{other}");
        }
    }

    #[test]
    fn scores_are_checked() {
        let mut vocab = Vocab::default();
        vocab.push(b"a", Kind::Normal).unwrap();
        assert!(Spm::new(&vocab, &[], [None; 256], None, false).is_err());
        assert!(Spm::new(&vocab, &[f32::NAN], [None; 256], None, false).is_err());
    }
}
