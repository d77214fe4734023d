//! RWKV World vocabularies: greedy longest match over bytes.
//!
//! Tokens are stored as Python writes literals: in GGUF as the inside of a
//! bytes literal, in `rwkv_vocab*.txt` as lines `id literal length` with a
//! string or bytes literal.

use crate::error::{Error, Result, vocabulary};
use crate::trie::Trie;
use crate::vocab::{Kind, Vocab};

/// What id 0 stands for where the vocabulary leaves it out.
const END_OF_TEXT: &str = "<|rwkv_tokenizer_end_of_text|>";
/// How many ids a vocabulary file may leave out.
const MAX_GAPS: usize = 1024;

/// The encoder of a vocabulary of tokenizer.ggml.model "rwkv".
#[derive(Debug)]
pub(crate) struct Rwkv {
    trie: Trie,
}

impl Rwkv {
    pub(crate) fn new(vocab: &Vocab) -> Self {
        // Id 0 ends a text and is never found in one, nor are control tokens.
        let in_text = vocab.iter().filter(|&(id, _, kind)| id != 0 && kind == Kind::Normal);
        Self { trie: Trie::new(in_text.map(|(id, bytes, _)| (bytes, id))) }
    }

    /// Appends the tokens of `text`.
    pub(crate) fn encode(&self, text: &str, out: &mut Vec<u32>) -> Result<()> {
        let mut rest = text.as_bytes();
        while let Some(&first) = rest.first() {
            let Some((id, len)) = self.trie.longest_prefix(rest) else {
                return Err(Error::Text(format!("the vocabulary has no token for byte 0x{first:02x}")));
            };
            out.push(id);
            rest = &rest[len..];
        }
        Ok(())
    }
}

/// Reads a `rwkv_vocab*.txt`.
pub(crate) fn read_text(text: &str) -> Result<Vocab> {
    let count = text.lines().count();
    let mut vocab = Vocab::with_capacity(count + 1);
    for (number, line) in (1..).zip(text.lines()) {
        let fail = |what: &str| vocabulary(format!("line {number} of the RWKV vocabulary: {what}: {line:?}"));
        let parts = line.split_once(' ').and_then(|(id, rest)| Some((id, rest.rsplit_once(' ')?)));
        let Some((id, (literal, length))) = parts else { return fail("expected 'id literal length'") };
        let (Ok(id), Ok(length)) = (id.parse::<usize>(), length.parse::<usize>()) else {
            return fail("expected numbers for id and length");
        };
        if id < vocab.len() {
            return fail("ids are not ascending");
        }
        if id > number + MAX_GAPS {
            return fail("too many ids are missing before this one");
        }
        let bytes = match python_literal(literal.trim()) {
            Ok(bytes) => bytes,
            Err(what) => return fail(&what),
        };
        if bytes.len() != length {
            return fail(&format!("the token has {} bytes, not {length}", bytes.len()));
        }
        while vocab.len() < id {
            let missing = vocab.len();
            let text = if missing == 0 { END_OF_TEXT.to_owned() } else { format!("<|unused_{missing}|>") };
            vocab.push(text.as_bytes(), Kind::Control)?;
        }
        let kind = if id == 0 { Kind::Control } else { Kind::Normal };
        vocab.push(&bytes, kind)?;
    }
    Ok(vocab)
}

/// The bytes of a Python literal: `'...'`, `"..."`, `b'...'` or `b"..."`.
fn python_literal(literal: &str) -> Result<Vec<u8>, String> {
    let (body, is_bytes) = match literal.strip_prefix('b') {
        Some(body) => (body, true),
        None => (literal, false),
    };
    let inside = ['\'', '"'].iter().find_map(|q| body.strip_prefix(*q)?.strip_suffix(*q));
    let Some(inside) = inside else { return Err("expected a quoted literal".into()) };
    if is_bytes && !inside.is_ascii() {
        return Err("a bytes literal has a character that is not ASCII".into());
    }
    unescape(inside, is_bytes)
}

/// Bytes as the inside of one of Python's bytes literals, as GGUF has them.
pub(crate) fn escape(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

/// Undoes Python's escapes. In bytes, `\xNN` is a byte; in strings, a character.
pub(crate) fn unescape(text: &str, is_bytes: bool) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(text.len());
    let mut chars = text.chars();
    let mut buffer = [0; 4];
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.extend_from_slice(c.encode_utf8(&mut buffer).as_bytes());
            continue;
        }
        let escape = chars.next();
        let digits = match escape {
            Some('n') => {
                out.push(b'\n');
                continue;
            }
            Some('r') => {
                out.push(b'\r');
                continue;
            }
            Some('t') => {
                out.push(b'\t');
                continue;
            }
            Some(quoted @ ('\\' | '\'' | '"')) => {
                out.push(quoted as u8);
                continue;
            }
            Some('x') => 2,
            Some('u') if !is_bytes => 4,
            Some('U') if !is_bytes => 8,
            Some(other) => return Err(format!("unknown escape \\{other}")),
            None => return Err("ends within an escape".into()),
        };
        let hex = chars.as_str().get(..digits).filter(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()));
        let Some(code) = hex.and_then(|hex| u32::from_str_radix(hex, 16).ok()) else {
            return Err(format!("expected {digits} hexadecimal digits after the escape"));
        };
        chars = chars.as_str()[digits..].chars();
        if is_bytes {
            out.push(code as u8);
        } else {
            let c = char::from_u32(code).ok_or_else(|| format!("U+{code:04X} is not a character"))?;
            out.extend_from_slice(c.encode_utf8(&mut buffer).as_bytes());
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals() {
        assert_eq!(python_literal(r"'\x00'").unwrap(), b"\0");
        assert_eq!(python_literal(r"'\xe9'").unwrap(), "é".as_bytes());
        assert_eq!(python_literal(r"b'\xe9\n'").unwrap(), b"\xe9\n");
        assert_eq!(python_literal("\"it's\"").unwrap(), b"it's");
        assert_eq!(python_literal(r"'\u2581\'\\'").unwrap(), "▁'\\".as_bytes());
        assert_eq!(python_literal("' '").unwrap(), b" ");
        for bad in ["x", "'x", "'", r"'\q'", r"'\x0'", r"b'\u0041'", "b'é'", r"'\ud800'", r"'\'", r"'\x+1'"]
        {
            assert!(python_literal(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn vocabulary_lines() {
        let vocab = read_text("1 'a' 1\n2 ' b' 2\n4 b'\\xff' 1\n").unwrap();
        assert_eq!(vocab.len(), 5);
        assert_eq!(vocab.bytes(2), Some(&b" b"[..]));
        assert_eq!(vocab.kind(0), Some(Kind::Control));
        assert_eq!(vocab.kind(3), Some(Kind::Control));
        assert_eq!(vocab.bytes(4), Some(&[0xff][..]));
        for bad in ["1", "x 'a' 1", "1 'a' 2", "2 'a' 1\n1 'b' 1", "99999 'a' 1", "1 a 1"] {
            assert!(read_text(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn longest_match() {
        let vocab = read_text("1 'a' 1\n2 'ab' 2\n3 'abc' 3\n4 'c' 1").unwrap();
        let mut out = Vec::new();
        Rwkv::new(&vocab).encode("abcabac", &mut out).unwrap();
        assert_eq!(out, [3, 2, 1, 4]);
        assert!(Rwkv::new(&vocab).encode("x", &mut out).is_err());
    }
}
