//! A model's tokens as llguidance wants them: bytes in a tree of prefixes.

use crate::{Error, Result};
use ingot_tokenizer::Tokenizer;
use llguidance::toktrie::{ApproximateTokEnv, INVALID_TOKEN, TokEnv, TokRxInfo, TokTrie};
use std::sync::Arc;

/// Longest token that can be drawn under a grammar, in bytes: the tree cannot be deeper.
const MAX_TOKEN: usize = 1000;
/// Bytes of all tokens together: the tree cannot have more nodes.
const MAX_TOTAL: usize = 4_000_000;

/// The tree of `tokenizer`'s tokens.
///
/// # Errors
/// [`Error::OutOfMemory`] if they are more than the tree can hold.
pub(super) fn tree(tokenizer: &Tokenizer) -> Result<TokEnv> {
    let ends = tokenizer.end_of_generation();
    let tokens = u32::try_from(tokenizer.vocab_size()).unwrap_or(u32::MAX);
    let words: Vec<Vec<u8>> = (0..tokens)
        .map(|id| {
            let control = tokenizer.is_special(id) || ends.binary_search(&id).is_ok();
            word(&tokenizer.token_bytes(id).unwrap_or_default(), control)
        })
        .collect();
    let total: usize = words.iter().map(Vec::len).sum();
    // The tree keeps ids in 24 bits.
    if total > MAX_TOTAL || words.len() >= 0xff_ffff {
        return Err(Error::OutOfMemory(format!(
            "grammars hold vocabularies of up to {MAX_TOTAL} bytes; this one has {} tokens with {total}",
            words.len()
        )));
    }
    let info = TokRxInfo::new(tokens, ends.first().copied().unwrap_or(INVALID_TOKEN));
    let mut tree = TokTrie::from(&info, &words);
    if !ends.is_empty() {
        tree = tree.with_eos_tokens(ends);
    }
    Ok(Arc::new(ApproximateTokEnv::new(tree)))
}

/// The bytes by which the tree knows a token; none, if it is never to be drawn.
///
/// The marker begins no UTF-8 text: what follows it can only be asked for by name. A token that ends a text may
/// stand for text as well, but whoever draws it ends the text, so it counts as a control token here.
fn word(bytes: &[u8], control: bool) -> Vec<u8> {
    const MARKER: u8 = TokTrie::SPECIAL_TOKEN_MARKER;
    match (bytes, control) {
        ([], _) | ([MARKER, _, ..], false) => Vec::new(),
        (bytes, _) if bytes.len() > MAX_TOKEN => Vec::new(),
        (bytes, false) => bytes.to_vec(),
        (bytes, true) => [&[MARKER], bytes].concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_looks_like_a_control_token() {
        assert_eq!(word(b"ab", false), b"ab");
        assert_eq!(word(b"<|end|>", true), b"\xff<|end|>");
        assert_eq!(word(b"\xff<|end|>", false), b"");
        assert_eq!(word(b"\xff", false), b"\xff");
        assert_eq!(word(b"", true), b"");
        assert_eq!(word(&[b' '; 1001], false), b"");
    }
}
