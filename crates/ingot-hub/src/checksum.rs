//! The two checksums of the hub. Large files are known by their SHA-256; others
//! by the SHA-1 that git gives them, which covers their size as well. Either is
//! also the name of the file's blob in the cache.

use sha1::Sha1;
use sha2::{Digest, Sha256};

/// What a file's bytes must add up to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// Of the bytes, 64 hexadecimal digits.
    Sha256(String),
    /// Of git's header and the bytes, 40 hexadecimal digits.
    Git(String),
}

impl Checksum {
    /// A SHA-256; `None` if it does not look like one.
    pub fn sha256(hex: &str) -> Option<Self> {
        is_hex(hex, 64).then(|| Self::Sha256(hex.into()))
    }

    /// A git object id; `None` if it does not look like one.
    pub fn git(hex: &str) -> Option<Self> {
        is_hex(hex, 40).then(|| Self::Git(hex.into()))
    }

    /// Its digits, in lower case.
    pub fn hex(&self) -> &str {
        match self {
            Self::Sha256(hex) | Self::Git(hex) => hex,
        }
    }

    /// Computes the same kind of checksum of a file of `size` bytes.
    pub fn hasher(&self, size: u64) -> Hasher {
        match self {
            Self::Sha256(_) => Hasher::sha256(),
            Self::Git(_) => Hasher::git(size),
        }
    }
}

/// True for so many lower-case hexadecimal digits: safe as a file's name.
pub fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// A checksum on its way.
#[derive(Clone)]
pub enum Hasher {
    /// Of the bytes alone.
    Sha256(Sha256),
    /// With git's header before them.
    Git(Sha1),
}

impl Hasher {
    /// A SHA-256.
    pub fn sha256() -> Self {
        Self::Sha256(Sha256::new())
    }

    /// The id of a git blob of so many bytes.
    pub fn git(size: u64) -> Self {
        Self::Git(Sha1::new_with_prefix(format!("blob {size}\0")))
    }

    /// Adds the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hash) => hash.update(bytes),
            Self::Git(hash) => hash.update(bytes),
        }
    }

    /// The digits.
    pub fn finish(self) -> String {
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect();
        match self {
            Self::Sha256(hash) => hex(&hash.finalize()),
            Self::Git(hash) => hex(&hash.finalize()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        let sum = |mut hasher: Hasher| {
            hasher.update(b"hel");
            hasher.update(b"lo\n");
            hasher.finish()
        };
        // `echo hello | sha256sum`, `echo hello | git hash-object --stdin`
        let sha256 = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
        assert_eq!(sum(Hasher::sha256()), sha256);
        assert_eq!(sum(Hasher::git(6)), "ce013625030ba8dba906f756967f9e9ca394464a");
        assert_eq!(sum(Checksum::sha256(sha256).unwrap().hasher(6)), sha256);
    }

    #[test]
    fn only_digits_become_names() {
        assert!(Checksum::git(&"a".repeat(40)).is_some());
        for bad in ["", "../x", &"A".repeat(40), &"a".repeat(39), &"a".repeat(64), &"g".repeat(40)] {
            assert!(Checksum::git(bad).is_none(), "{bad}");
        }
        assert!(Checksum::sha256(&"/".repeat(64)).is_none());
    }
}
