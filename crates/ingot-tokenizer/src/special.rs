//! Special tokens in text: finding them, and keeping users from writing them.
//!
//! A chat template puts the user's text between control tokens. If the user
//! writes the text of one, it must stay text. So before rendering, a marker
//! that no text may contain is put inside every such place; after rendering,
//! only what is whole is a control token, and the markers are taken out again.

use std::borrow::Cow;

use crate::trie::Trie;
use crate::vocab::{Kind, Vocab};

/// A noncharacter: Unicode sets it aside for use inside programs.
const MARKER: char = '\u{FDD0}';
const MARKER_BYTES: &[u8] = "\u{FDD0}".as_bytes();

/// A piece of text on its way to the encoder.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece<'t> {
    Text(Cow<'t, str>),
    Token(u32),
}

/// White space around a special token that belongs to it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Trim {
    pub before: bool,
    pub after: bool,
}

/// The special tokens of a vocabulary.
#[derive(Debug)]
pub(crate) struct Specials {
    control: Trie,
    user_defined: Trie,
    all: Trie,
    /// Only for the tokens that trim, by id.
    trims: std::collections::HashMap<u32, Trim>,
}

impl Specials {
    pub(crate) fn new(vocab: &Vocab, trims: std::collections::HashMap<u32, Trim>) -> Self {
        let of = |wanted: &[Kind]| {
            Trie::new(
                vocab.iter().filter(|(_, _, kind)| wanted.contains(kind)).map(|(id, bytes, _)| (bytes, id)),
            )
        };
        Self {
            control: of(&[Kind::Control]),
            user_defined: of(&[Kind::UserDefined]),
            all: of(&[Kind::Control, Kind::UserDefined]),
            trims,
        }
    }

    /// Splits text at the user-defined tokens and, if asked, the control
    /// tokens in it: the longest one wherever one begins.
    pub(crate) fn split<'t>(&self, text: &'t str, control: bool) -> Vec<Piece<'t>> {
        let trie = if control { &self.all } else { &self.user_defined };
        let bytes = text.as_bytes();
        let mut pieces = Vec::new();
        let (mut from, mut at) = (0, 0);
        while at < bytes.len() {
            let found = if trie.begins_with(bytes[at]) { trie.longest_prefix(&bytes[at..]) } else { None };
            // Token texts are UTF-8, but a text of a single byte may be part of a character.
            let found = found.filter(|(_, len)| text.is_char_boundary(at) && text.is_char_boundary(at + len));
            let Some((id, len)) = found.filter(|(_, len)| !is_marked(&text[at..], *len)) else {
                at += 1;
                continue;
            };
            let trim = self.trims.get(&id).copied().unwrap_or_default();
            let before = &text[from..at];
            let before = if trim.before { before.trim_end() } else { before };
            if !before.is_empty() {
                pieces.push(Piece::Text(before.into()));
            }
            pieces.push(Piece::Token(id));
            at += len;
            if trim.after {
                at += text[at..].len() - text[at..].trim_start().len();
            }
            from = at;
        }
        if from < text.len() {
            pieces.push(Piece::Text(text[from..].into()));
        }
        pieces
    }

    /// `text` so that no control token can come out of it by rendering.
    pub(crate) fn guard<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let text: Cow<'t, str> =
            if text.contains(MARKER) { text.replace(MARKER, "").into() } else { text.into() };
        let bytes = text.as_bytes();
        // Also where the text ends within a token that the next text could complete.
        let unsafe_at: Vec<usize> = (0..bytes.len())
            .filter(|&at| self.control.begins_with(bytes[at]) && text.is_char_boundary(at))
            .filter(|&at| self.control.touches(&bytes[at..]))
            .collect();
        if unsafe_at.is_empty() {
            return text;
        }
        let mut guarded = String::with_capacity(text.len() + unsafe_at.len() * MARKER_BYTES.len());
        let mut from = 0;
        for at in unsafe_at {
            let after_first = at + text[at..].chars().next().map_or(0, char::len_utf8);
            guarded.push_str(&text[from..after_first]);
            guarded.push(MARKER);
            from = after_first;
        }
        guarded.push_str(&text[from..]);
        guarded.into()
    }

    /// As [`Self::split`] with control tokens, for text that contains guarded parts.
    pub(crate) fn split_guarded<'t>(&self, text: &'t str) -> Vec<Piece<'t>> {
        let mut pieces = self.split(text, true);
        for piece in &mut pieces {
            if let Piece::Text(text) = piece
                && text.contains(MARKER)
            {
                *text = unguard(text).into();
            }
        }
        pieces
    }
}

/// Takes the markers out.
pub(crate) fn unguard(text: &str) -> String {
    text.replace(MARKER, "")
}

/// Whether a token of one character is marked as text: its marker can only follow it.
fn is_marked(text: &str, len: usize) -> bool {
    text[..len].chars().nth(1).is_none() && text[len..].starts_with(MARKER)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn specials() -> Specials {
        let mut vocab = Vocab::default();
        for (text, kind) in [
            ("<|end|>", Kind::Control),
            ("<|end|>>", Kind::Control),
            ("<think>", Kind::UserDefined),
            ("§", Kind::Control),
            ("end", Kind::Normal),
        ] {
            vocab.push(text.as_bytes(), kind).unwrap();
        }
        Specials::new(&vocab, [(2, Trim { before: true, after: true })].into())
    }

    fn text(text: &str) -> Piece<'_> {
        Piece::Text(text.into())
    }

    #[test]
    fn splits_at_the_longest() {
        let s = specials();
        assert_eq!(
            s.split("a<|end|>>b<|end|>", true),
            [text("a"), Piece::Token(1), text("b"), Piece::Token(0)]
        );
        assert_eq!(s.split("a<|end|>b", false), [text("a<|end|>b")]);
        assert_eq!(s.split("a <think>  b", false), [text("a"), Piece::Token(2), text("b")]);
        assert_eq!(s.split("", true), []);
    }

    #[test]
    fn guarded_text_stays_text() {
        let s = specials();
        for user in ["<|end|>", "x§y", "a<|end|>b<|end|>>", "<<|end|>", "\u{FDD0}<|\u{FDD0}end|>"] {
            let rendered = format!("<|end|>{}<|end|>", s.guard(user));
            let pieces = s.split_guarded(&rendered);
            let plain = user.replace(MARKER, "");
            assert_eq!(pieces, [Piece::Token(0), text(&plain), Piece::Token(0)], "{user}");
        }
        // Two harmless halves next to each other.
        let rendered = format!("{}{}", s.guard("a<|e"), s.guard("nd|>b"));
        assert_eq!(s.split_guarded(&rendered), [text("a<|end|>b")]);
        assert_eq!(s.guard("plain <thi"), "plain <thi".to_owned());
    }
}
