//! A cheaply cloned range of bytes that somebody owns: a mapped file, a
//! buffer, or the program's own data.

use std::{fmt, ops::Deref, ops::Range, sync::Arc};

use crate::mapping::Mapping;

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
    Mapped(Arc<Mapping>),
}

impl Bytes {
    /// Bytes that live as long as the program (an embedded model).
    pub const fn from_static(bytes: &'static [u8]) -> Self {
        Self { range: 0..bytes.len(), owner: Owner::Static(bytes) }
    }

    /// Bytes of anything that can be shared.
    pub fn from_owner(owner: impl AsRef<[u8]> + Send + Sync + 'static) -> Self {
        let len = owner.as_ref().len();
        Self { owner: Owner::Shared(Arc::new(owner)), range: 0..len }
    }

    pub(crate) fn from_mapping(mapping: Mapping) -> Self {
        Self { range: 0..mapping.bytes().len(), owner: Owner::Mapped(Arc::new(mapping)) }
    }

    /// A part of these bytes, or `None` if it is not inside them.
    pub fn slice(&self, range: Range<usize>) -> Option<Self> {
        if range.start > range.end || range.end > self.range.len() {
            return None;
        }
        let start = self.range.start + range.start;
        Some(Self { owner: self.owner.clone(), range: start..start + range.len() })
    }

    /// Everything its owner has, and where in it these bytes begin.
    pub fn whole(&self) -> (Self, usize) {
        let len = self.owned().len();
        (Self { owner: self.owner.clone(), range: 0..len }, self.range.start)
    }

    /// True for a part of a mapped file, whose pages are its own.
    pub fn is_mapped(&self) -> bool {
        matches!(self.owner, Owner::Mapped(_))
    }

    /// Tells the system that these bytes of a mapped file are not needed in memory
    /// for now. They are read from the file again when somebody looks.
    pub fn forget_pages(&self) {
        if let Owner::Mapped(mapping) = &self.owner {
            mapping.forget_pages(self.range.clone());
        }
    }

    fn owned(&self) -> &[u8] {
        match &self.owner {
            Owner::Static(bytes) => bytes,
            Owner::Shared(owner) => owner.as_ref().as_ref(),
            Owner::Mapped(mapping) => mapping.bytes(),
        }
    }

    /// False once a part of the mapped file behind these bytes turned out to be
    /// gone: somebody truncated it, and what was read from there were zeros.
    /// Always true for bytes in memory. Ask after reading, not before.
    pub fn is_intact(&self) -> bool {
        match &self.owner {
            Owner::Static(_) | Owner::Shared(_) => true,
            Owner::Mapped(mapping) => mapping.is_intact(),
        }
    }
}

impl Deref for Bytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.owned()[self.range.clone()]
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self::from_owner(bytes)
    }
}

/// Equal contents, whoever owns them.
impl PartialEq for Bytes {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Bytes {}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bytes({} bytes)", self.range.len())
    }
}
