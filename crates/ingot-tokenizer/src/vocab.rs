//! The tokens of a vocabulary: the bytes each stands for, and what it is.

use crate::error::{Result, vocabulary};

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Part of text.
    Normal,
    /// Structure that text must not be able to write: begin, end, roles.
    Control,
    /// Found in text wherever it is written, before anything else is.
    UserDefined,
}

/// Bytes of all tokens in one block, which loads fast and takes little memory.
#[derive(Debug, Default)]
pub(crate) struct Vocab {
    bytes: Vec<u8>,
    /// Where each token's bytes end.
    ends: Vec<u32>,
    kinds: Vec<Kind>,
}

impl Vocab {
    pub(crate) fn with_capacity(tokens: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(tokens * 8),
            ends: Vec::with_capacity(tokens),
            kinds: Vec::with_capacity(tokens),
        }
    }

    /// Appends the next token.
    pub(crate) fn push(&mut self, bytes: &[u8], kind: Kind) -> Result<()> {
        self.bytes.extend_from_slice(bytes);
        let Ok(end) = u32::try_from(self.bytes.len()) else {
            return vocabulary("the tokens are longer than 4 GiB together");
        };
        self.ends.push(end);
        self.kinds.push(kind);
        Ok(())
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn bytes(&self, id: u32) -> Option<&[u8]> {
        let id = id as usize;
        let end = *self.ends.get(id)?;
        let start = if id == 0 { 0 } else { self.ends[id - 1] };
        Some(&self.bytes[start as usize..end as usize])
    }

    pub(crate) fn kind(&self, id: u32) -> Option<Kind> {
        self.kinds.get(id as usize).copied()
    }

    pub(crate) fn set_kind(&mut self, id: u32, kind: Kind) {
        self.kinds[id as usize] = kind;
    }

    /// All tokens in order of their ids.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &[u8], Kind)> {
        (0u32..).zip(&self.kinds).map(|(id, &kind)| (id, self.bytes(id).expect("an id below len"), kind))
    }

    /// The first token with these bytes.
    pub(crate) fn find(&self, bytes: &[u8]) -> Option<u32> {
        self.iter().find(|(_, b, _)| *b == bytes).map(|(id, ..)| id)
    }
}
