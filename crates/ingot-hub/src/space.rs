//! How much fits onto a disk.

use std::path::Path;

/// Free bytes where `path` is or will be; `None` if the system does not say.
#[cfg(unix)]
pub fn free(path: &Path) -> Option<u64> {
    let there = path.ancestors().find(|path| path.exists())?;
    let there = if there.as_os_str().is_empty() { Path::new(".") } else { there };
    let disk = nix::sys::statvfs::statvfs(there).ok()?;
    // The types differ between systems.
    #[allow(clippy::unnecessary_cast, clippy::useless_conversion)]
    Some(u64::from(disk.blocks_available()).saturating_mul(disk.fragment_size() as u64))
}

/// Free bytes where `path` is or will be; `None` if the system does not say.
#[cfg(not(unix))]
pub fn free(_: &Path) -> Option<u64> {
    None // then the end of the disk is found while writing
}
