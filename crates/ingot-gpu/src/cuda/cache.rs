//! Compiled kernels on the disk, so that only a machine's first start compiles.
//!
//! A file is named by a hash of everything that decides its contents, and begins with a
//! hash of the rest of it. Whatever is wrong with the cache - a folder that cannot
//! be written, a damaged file - only costs time.

use ingot_format::NewFile;
use std::fs;
use std::io::Write;
use std::path::PathBuf;

/// A folder with compiled kernels, if there can be one.
pub(super) struct Cache(Option<PathBuf>);

impl Cache {
    /// `cuda` where the user's caches are.
    pub(super) fn open() -> Self {
        Self(crate::caches::folder().map(|caches| caches.join("cuda")))
    }

    /// What was stored under these words.
    pub(super) fn get(&self, key: &[&str]) -> Option<Vec<u8>> {
        let mut bytes = fs::read(self.path(key)?).ok()?;
        let (sum, image) = bytes.split_at_checked(size_of::<u128>())?;
        if sum != hash(&[image]).to_le_bytes() {
            return None;
        }
        bytes.drain(..size_of::<u128>());
        Some(bytes)
    }

    /// Stores bytes under these words, if that is possible.
    pub(super) fn put(&self, key: &[&str], image: &[u8]) {
        let Some(path) = self.path(key) else { return };
        let write = || -> std::io::Result<()> {
            fs::create_dir_all(path.parent().unwrap_or(&path))?;
            let mut file = NewFile::create(&path)?;
            file.write_all(&hash(&[image]).to_le_bytes())?;
            file.write_all(image)?;
            file.finish()
        };
        // Without a cache everything works the same, later.
        let _ = write();
    }

    fn path(&self, key: &[&str]) -> Option<PathBuf> {
        let key: Vec<&[u8]> = key.iter().map(|k| k.as_bytes()).collect();
        Some(self.0.as_ref()?.join(format!("{:032x}.cubin", hash(&key))))
    }
}

/// FNV-1a of 128 bits, over the parts and where they end. It stays what it is
/// in every version of the program, unlike the standard library's hash.
fn hash(parts: &[&[u8]]) -> u128 {
    const PRIME: u128 = 0x0000000001000000000000000000013b;
    let mut hash: u128 = 0x6c62272e07bb014262b821756295c58d;
    for part in parts {
        for byte in part.iter().copied().chain((part.len() as u64).to_le_bytes()) {
            hash = (hash ^ u128::from(byte)).wrapping_mul(PRIME);
        }
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_stored_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache(Some(folder.path().join("not/there/yet")));
        assert_eq!(cache.get(&["source", "sm_90"]), None);
        cache.put(&["source", "sm_90"], b"image");
        assert_eq!(cache.get(&["source", "sm_90"]).as_deref(), Some(&b"image"[..]));
        assert_eq!(cache.get(&["source", "sm_80"]), None);
        assert_eq!(cache.get(&["sources", "m_90"]), None);
    }

    #[test]
    fn damage_costs_only_time() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache(Some(folder.path().to_path_buf()));
        cache.put(&["key"], b"image");
        let path = cache.path(&["key"]).unwrap();
        let good = fs::read(&path).unwrap();
        for bad in [&good[..good.len() - 1], &good[..3], b"", &[&good[..], b"!"].concat()] {
            fs::write(&path, bad).unwrap();
            assert_eq!(cache.get(&["key"]), None);
        }
        // A file where the folder should be.
        let cache = Cache(Some(path));
        cache.put(&["key"], b"image");
        assert_eq!(cache.get(&["key"]), None);
        Cache(None).put(&["key"], b"image");
    }
}
