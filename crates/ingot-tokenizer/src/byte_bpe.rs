//! Byte-level BPE: words, their bytes, and merges in the order they were learned.

use foldhash::{HashMap, HashMapExt};

use crate::byte_level;
use crate::error::{Error, Result, vocabulary};
use crate::merge::Merger;
use crate::pre_tokenizer::{Family, PreTokenizer};

/// The encoder of a vocabulary of tokenizer.ggml.model "gpt2".
#[derive(Debug)]
pub(crate) struct ByteBpe {
    pre_tokenizer: PreTokenizer,
    /// The token of every byte.
    bytes: [Option<u32>; 256],
    /// Two tokens to their merge's rank and result.
    merges: HashMap<(u32, u32), (u32, u32)>,
    /// Words that are tokens, by their bytes, if these are not to be merged.
    words: Option<HashMap<Box<[u8]>, u32>>,
}

impl ByteBpe {
    /// From the tokens as they are stored, in the printable alphabet, and the
    /// merges `"left right"` in order.
    pub(crate) fn new<'m>(
        family: &Family,
        tokens: &[&str],
        merges: impl Iterator<Item = Result<&'m str>>,
        normal: impl Fn(u32) -> bool,
    ) -> Result<Self> {
        let mut ids = HashMap::with_capacity(tokens.len());
        for (id, token) in (0u32..).zip(tokens) {
            ids.entry(*token).or_insert(id);
        }
        let mut ranks = HashMap::with_capacity(tokens.len());
        let mut joined = String::new();
        for (rank, merge) in (0u32..).zip(merges) {
            let merge = merge?;
            // The left side can be a space itself in old files.
            let Some(space) = merge.char_indices().skip(1).find(|(_, c)| *c == ' ').map(|(i, _)| i) else {
                return vocabulary(format!(
                    "merge {rank} is {merge:?}, expected two tokens with a space between"
                ));
            };
            let (left, right) = (&merge[..space], &merge[space + 1..]);
            joined.clear();
            joined.extend([left, right]);
            // Merges of tokens that were cut from the vocabulary can never happen.
            if let (Some(&left), Some(&right), Some(&id)) = (ids.get(left), ids.get(right), ids.get(&*joined))
            {
                ranks.entry((left, right)).or_insert((rank, id));
            }
        }
        let bytes = byte_level::characters().map(|c| ids.get(c.encode_utf8(&mut [0; 4]) as &str).copied());
        let words = family.ignore_merges.then(|| {
            let table = byte_level::Bytes::new();
            let mut word = Vec::new();
            let normal = ids.iter().filter(|(_, id)| normal(**id));
            normal
                .map(|(token, &id)| {
                    word.clear();
                    table.decode(token, &mut word);
                    (word.as_slice().into(), id)
                })
                .collect()
        });
        Ok(Self { pre_tokenizer: PreTokenizer::new(family), bytes, merges: ranks, words })
    }

    /// Appends the tokens of `text`.
    pub(crate) fn encode(&self, text: &str, out: &mut Vec<u32>) -> Result<()> {
        let mut merger = Merger::default();
        self.pre_tokenizer.split(text, &mut |word| self.encode_word(word, &mut merger, out))
    }

    fn encode_word(&self, word: &str, merger: &mut Merger, out: &mut Vec<u32>) -> Result<()> {
        if let Some(id) = self.words.as_ref().and_then(|words| words.get(word.as_bytes())) {
            out.push(*id);
            return Ok(());
        }
        merger.clear();
        for byte in word.bytes() {
            let Some(id) = self.bytes[usize::from(byte)] else {
                return Err(Error::Text(format!("the vocabulary has no token for byte 0x{byte:02x}")));
            };
            merger.push(id, 1);
        }
        merger.merge(|a, b| self.merges.get(&(a.id, b.id)).copied());
        out.extend(merger.symbols().map(|symbol| symbol.id));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pre_tokenizer::find;

    fn bpe(name: &str, merges: &[&'static str]) -> ByteBpe {
        let tokens = ["a", "b", "c", "ab", "Ġ", "Ġab", "abc", "bc"];
        ByteBpe::new(find(name).unwrap(), &tokens, merges.iter().map(|m| Ok(*m)), |_| true).unwrap()
    }

    fn encode(bpe: &ByteBpe, text: &str) -> Vec<u32> {
        let mut out = Vec::new();
        bpe.encode(text, &mut out).unwrap();
        out
    }

    #[test]
    fn merges_in_the_order_learned() {
        let bpe = bpe("gpt-2", &["b c", "a b", "Ġ ab", "not there"]);
        assert_eq!(encode(&bpe, "abc ab"), [0, 7, 5]);
        assert_eq!(encode(&bpe, ""), [0u32; 0]);
        assert!(bpe.encode("x", &mut Vec::new()).unwrap_err().to_string().contains("0x78"));
    }

    #[test]
    fn whole_words_first_where_the_model_wants_it() {
        assert_eq!(encode(&bpe("llama-bpe", &["b c"]), "abc"), [6]);
    }

    #[test]
    fn merges_have_two_sides() {
        let result = ByteBpe::new(find("gpt-2").unwrap(), &["a"], [Ok("aa")].into_iter(), |_| true);
        assert!(result.unwrap_err().to_string().contains("space between"));
    }
}
