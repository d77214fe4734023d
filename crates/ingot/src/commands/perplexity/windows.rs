//! A text in windows.

use std::ops::Range;

/// Tokens that are read without others before them.
#[derive(Debug, PartialEq)]
pub struct Window {
    /// What is read.
    pub tokens: Vec<u32>,
    /// The rows whose prediction of the next token counts; not empty.
    pub scored: Range<usize>,
}

/// Cuts tokens into windows of `length`. With `bos` each begins with it, in place of the
/// token that is there. Without `all` the predictions of the first half do not count,
/// and neither does a shorter window at the end, unless there is no other.
pub fn cut(tokens: &[u32], length: usize, all: bool, bos: Option<u32>) -> Vec<Window> {
    let length = length.min(tokens.len()).max(1);
    let wanted = |part: &&[u32]| part.len() >= 2 && (all || part.len() == length);
    let window = |part: &[u32]| {
        let mut tokens = part.to_vec();
        if let Some(bos) = bos {
            tokens[0] = bos;
        }
        let first = if all { 0 } else { (part.len() / 2).min(part.len() - 2) };
        Window { scored: first..part.len() - 1, tokens }
    };
    tokens.chunks(length).filter(wanted).map(window).collect()
}

/// Windows of documents, each between two `end` tokens. All predictions count.
pub fn documents(documents: &[Vec<u32>], length: usize, end: u32) -> Vec<Window> {
    let whole = documents.iter().map(|tokens| [&[end], &tokens[..], &[end]].concat());
    whole.flat_map(|tokens| cut(&tokens, length, true, None)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_halves_of_whole_windows() {
        let tokens: Vec<u32> = (0..11).collect();
        let windows = cut(&tokens, 4, false, None);
        let expected = [(vec![0, 1, 2, 3], 2..3), (vec![4, 5, 6, 7], 2..3)];
        assert_eq!(windows, expected.map(|(tokens, scored)| Window { tokens, scored }));
        // As many as llama-perplexity counts.
        let long: Vec<u32> = (0..1024).collect();
        assert_eq!(cut(&long, 512, false, None)[1].scored, 256..511);
    }

    #[test]
    fn all_predictions() {
        let windows = cut(&[1, 2, 3, 4, 5, 6, 7], 3, true, Some(9));
        let expected = [(vec![9, 2, 3], 0..2), (vec![9, 5, 6], 0..2)];
        assert_eq!(windows, expected.map(|(tokens, scored)| Window { tokens, scored }));
        assert_eq!(cut(&[1, 2, 3, 4, 5], 3, true, None).last().unwrap().tokens, [4, 5]);
    }

    #[test]
    fn documents_by_themselves() {
        let windows = documents(&[vec![1, 2], vec![3, 4, 5, 6]], 4, 0);
        let expected = [(vec![0, 1, 2, 0], 0..3), (vec![0, 3, 4, 5], 0..3), (vec![6, 0], 0..1)];
        assert_eq!(windows, expected.map(|(tokens, scored)| Window { tokens, scored }));
    }

    #[test]
    fn short_texts() {
        for n in 0..6 {
            let tokens: Vec<u32> = (0..n).collect();
            for (length, all) in [(1, true), (2, false), (3, true), (512, false), (512, true)] {
                for window in cut(&tokens, length, all, None) {
                    assert!(!window.scored.is_empty() && window.scored.end == window.tokens.len() - 1);
                }
            }
            assert_eq!(cut(&tokens, 512, false, None).len(), usize::from(n >= 2));
        }
    }
}
