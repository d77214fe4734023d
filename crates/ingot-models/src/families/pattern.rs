//! Which of a model's layers something holds for.

use crate::source::{Key, List, Source};
use crate::{Error, Result};

/// A choice of layers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Pattern {
    /// All but layers n - 1, 2 n - 1 and so on.
    AllButEvery(usize),
    /// This one and those after it.
    From(usize),
    /// Those that the file lists as true, layer by layer.
    Listed(Vec<bool>),
}

impl Pattern {
    /// Whether it holds for layer `i`.
    pub(crate) fn holds(&self, i: usize) -> bool {
        match self {
            Self::AllButEvery(n) => !(i + 1).is_multiple_of(*n),
            Self::From(first) => i >= *first,
            Self::Listed(layers) => layers.get(i).copied().unwrap_or(false),
        }
    }

    /// What a file says under `key`: the period n of [`Pattern::AllButEvery`], or a list with a flag
    /// or a word for each of `layers` layers, of which `word` means that it holds.
    pub(crate) fn read(source: &Source, key: Key, word: &str, layers: usize) -> Result<Option<Self>> {
        let listed = match source.list(key)? {
            Some(List::Flags(flags)) => flags,
            Some(List::Words(words)) => {
                if let Some(other) = words.iter().find(|w| *w != word && *w != "full_attention") {
                    return Err(Error::unsupported(format!("unsupported layers of type '{other}'")));
                }
                words.iter().map(|w| w == word).collect()
            }
            None => return Ok(source.size_or_absent(key)?.map(Self::AllButEvery)),
        };
        if listed.len() < layers {
            let (shown, n) = (source.shown(key), listed.len());
            return Err(Error::inconsistent(format!("{shown} lists {n} layers, the model has {layers}")));
        }
        Ok(Some(Self::Listed(listed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers() {
        let held = |pattern: Pattern| (0..7).filter(|&i| pattern.holds(i)).collect::<Vec<_>>();
        assert_eq!(held(Pattern::AllButEvery(3)), [0, 1, 3, 4, 6]);
        assert_eq!(held(Pattern::AllButEvery(1)), [0usize; 0]);
        assert_eq!(held(Pattern::From(5)), [5, 6]);
        assert_eq!(held(Pattern::Listed(vec![false, true, true])), [1, 2]);
    }
}
