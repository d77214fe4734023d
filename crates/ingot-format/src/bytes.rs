//! A cheaply cloned range of bytes that somebody owns: a mapped file, a
//! buffer, or the program's own data.

use std::{fmt, ops::Deref, ops::Range, sync::Arc};

/// A shared range of bytes. Cloning and slicing cost a reference count.
#[derive(Clone)]
pub struct Bytes {
    owner: Owner,
    range: Range<usize>,
}

#[derive(Clone)]
enum Owner {
    Static(&'static [u8]),
    Shared(Arc<dyn AsRef<[u8]> + Send + Sync>),
}

impl Bytes {
    /// Bytes that live as long as the program (an embedded model).
    pub const fn from_static(bytes: &'static [u8]) -> Self {
        Self { range: 0..bytes.len(), owner: Owner::Static(bytes) }
    }

    /// Bytes of anything that can be shared, for example a mapped file.
    pub fn from_owner(owner: impl AsRef<[u8]> + Send + Sync + 'static) -> Self {
        let len = owner.as_ref().len();
        Self { owner: Owner::Shared(Arc::new(owner)), range: 0..len }
    }

    /// A part of these bytes, or `None` if it is not inside them.
    pub fn slice(&self, range: Range<usize>) -> Option<Self> {
        if range.start > range.end || range.end > self.range.len() {
            return None;
        }
        let start = self.range.start + range.start;
        Some(Self { owner: self.owner.clone(), range: start..start + range.len() })
    }
}

impl Deref for Bytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        let all = match &self.owner {
            Owner::Static(bytes) => bytes,
            Owner::Shared(owner) => owner.as_ref().as_ref(),
        };
        &all[self.range.clone()]
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self::from_owner(bytes)
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bytes({} bytes)", self.range.len())
    }
}
