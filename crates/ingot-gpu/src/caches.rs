//! Where this user's caches are.

use std::ffi::OsString;
use std::path::PathBuf;

/// `$INGOT_CACHE`, or `ingot` where this user's caches are; none if that is unknown.
pub(crate) fn folder() -> Option<PathBuf> {
    from_environment(|name| std::env::var_os(name).filter(|value| !value.is_empty()))
}

fn from_environment(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let ours = variable("INGOT_CACHE").map(PathBuf::from);
    let local = || variable(if cfg!(windows) { "LOCALAPPDATA" } else { "XDG_CACHE_HOME" }).map(PathBuf::from);
    let home = || variable("HOME").map(|home| PathBuf::from(home).join(".cache"));
    ours.or_else(|| local().or_else(home).map(|caches| caches.join("ingot")))
}

#[cfg(all(test, not(windows)))]
mod tests {
    use super::*;

    #[test]
    fn by_the_environment() {
        let place = |set: &[(&str, &str)]| {
            let find = |name: &str| set.iter().find(|(n, _)| *n == name).map(|(_, value)| value.into());
            from_environment(find).map(|path| path.to_string_lossy().into_owned())
        };
        assert_eq!(place(&[]), None);
        assert_eq!(place(&[("HOME", "/h")]).as_deref(), Some("/h/.cache/ingot"));
        assert_eq!(place(&[("HOME", "/h"), ("XDG_CACHE_HOME", "/c")]).as_deref(), Some("/c/ingot"));
        assert_eq!(place(&[("HOME", "/h"), ("INGOT_CACHE", "/i")]).as_deref(), Some("/i"));
    }
}
