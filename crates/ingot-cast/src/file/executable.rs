//! Which files can be the program of a cast file.

use super::error::{Error, Result};
use super::macho::MachO;
use super::open::{CastFile, without_path};
use super::seal;
use ingot_format::{Bytes, map_file};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::{Path, PathBuf};

/// A format of executables, which stands for a system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Linux.
    Elf,
    /// macOS.
    MachO,
}

/// The processor that an executable is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Machine {
    /// x86-64.
    #[serde(rename = "x86_64")]
    X86_64,
    /// 64-bit ARM.
    Aarch64,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Elf => "linux",
            Self::MachO => "macos",
        })
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        })
    }
}

/// The program of a cast file to be: an ingot for Linux or macOS.
#[derive(Clone, Debug)]
pub struct Runtime {
    /// Where it is.
    pub path: PathBuf,
    /// The system it runs on.
    pub format: Format,
    /// The processor it runs on.
    pub machine: Machine,
    /// The version of ingot that it is.
    pub version: String,
    /// True if the file had a model already, which is left out.
    pub was_cast: bool,
    /// The program without anything that comes behind it.
    pub(super) image: Bytes,
    /// Where in it the seal is.
    pub(super) seal: usize,
}

/// What to do about a file that is no ingot.
const ANY_INGOT: &str = "--runtime takes the file of another ingot, of version 0.1.0 or later";

impl Runtime {
    /// Looks at the program that runs.
    pub fn own() -> Result<Self> {
        Self::open(&super::open::own_path())
    }

    /// Looks at an executable file.
    ///
    /// # Errors
    /// If it is not an ingot, or of a kind that no model can be put into.
    pub fn open(path: &Path) -> Result<Self> {
        let bytes = map_file(path);
        Self::from_bytes(path, bytes.map_err(|e| Error::no_runtime(path, without_path(path, &e), ANY_INGOT))?)
    }

    /// Looks at an executable file that is in memory; `path` is for messages. As [`Runtime::open`].
    pub fn from_bytes(path: &Path, bytes: Bytes) -> Result<Self> {
        let (format, machine) = recognize(&bytes, path)?;
        let no_seal =
            || Error::no_runtime(path, "it is an executable, but no ingot that can be cast", ANY_INGOT);
        let seal = seal::find(&bytes).ok_or_else(no_seal)?;
        let found = seal::at(&bytes, seal).ok_or_else(no_seal)?;
        let cast = CastFile::with_seal(path, bytes.clone(), seal)?;
        let image = match (&cast, format) {
            (None, _) => bytes,
            (Some(cast), Format::Elf) => cast.runtime(),
            (Some(_), Format::MachO) => {
                return Err(Error::no_runtime(
                    path,
                    "it has a model in it, which cannot be taken out of a macOS program again",
                    "use the ingot that it was made of, or its like",
                ));
            }
        };
        if seal::has_another(&image, seal) {
            return Err(Error::no_runtime(
                path,
                "it has two seals, so there is no telling which counts",
                ANY_INGOT,
            ));
        }
        let version = seal::program(&found);
        Ok(Self { path: path.into(), format, machine, version, was_cast: cast.is_some(), image, seal })
    }

    /// Bytes of the program.
    pub fn len(&self) -> usize {
        self.image.len()
    }

    /// Never: a program has bytes.
    pub fn is_empty(&self) -> bool {
        self.image.is_empty()
    }

    /// True if this computer can run it.
    pub fn runs_here(&self) -> bool {
        runs_here(self.format, self.machine)
    }
}

/// True if this computer can run programs of this kind.
pub(super) fn runs_here(format: Format, machine: Machine) -> bool {
    format.to_string() == std::env::consts::OS && machine.to_string() == std::env::consts::ARCH
}

/// What kind of executable the bytes are.
pub(super) fn recognize(bytes: &[u8], path: &Path) -> Result<(Format, Machine)> {
    const OTHERS: &str = "cast files are made for Linux and macOS, on x86_64 and aarch64";
    let refuse = |what: &str, hint| Err(Error::no_runtime(path, what, hint));
    match bytes {
        [0x7f, b'E', b'L', b'F', 2, 1, ..] => match bytes.get(18..20) {
            Some([62, 0]) => Ok((Format::Elf, Machine::X86_64)),
            Some([183, 0]) => Ok((Format::Elf, Machine::Aarch64)),
            _ => refuse("it is a program for another processor", OTHERS),
        },
        [0x7f, b'E', b'L', b'F', ..] => {
            refuse("it is a program of 32 bits or of the other byte order", OTHERS)
        }
        [0xcf, 0xfa, 0xed, 0xfe, ..] => Ok((Format::MachO, MachO::parse(bytes, path)?.machine)),
        // Java's classes begin like universal binaries, but with larger numbers of them.
        [0xca, 0xfe, 0xba, 0xbe | 0xbf, 0, 0, 0, 0..=16, ..] => refuse(
            "it is a universal binary",
            "take one program out of it: `lipo -thin arm64 FILE -output FILE2`",
        ),
        [b'M', b'Z', ..] => refuse("it is a program for Windows", OTHERS),
        _ => refuse("it is no executable", ANY_INGOT),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(bytes: &[u8]) -> String {
        let e = recognize(bytes, Path::new("x")).unwrap_err();
        format!("{e}; {}", e.hint().unwrap())
    }

    #[test]
    fn other_executables_are_refused_by_name() {
        assert!(refused(b"MZ\x90\0").contains("Windows"));
        assert!(refused(&[0xca, 0xfe, 0xba, 0xbe, 0, 0, 0, 2, 1]).contains("lipo -thin"));
        assert!(refused(&[0xca, 0xfe, 0xba, 0xbe, 0, 0, 0, 61, 1]).contains("no executable"));
        assert!(refused(b"\x7fELF\x01\x01").contains("32 bits"));
        assert!(refused(b"\x7fELF\x02\x01").contains("another processor"));
        assert!(refused(b"#!/bin/sh\n").contains("no executable"));
        assert!(refused(b"").contains("no executable"));
    }

    #[test]
    fn a_program_without_a_seal_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("program");
        let mut elf = vec![0; 4096];
        elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
        elf[18] = 62;
        std::fs::write(&path, &elf).unwrap();
        let e = Runtime::open(&path).unwrap_err();
        assert!(e.to_string().contains("no ingot"), "{e}");
        elf.extend([seal::own(), seal::own()].concat());
        std::fs::write(&path, &elf).unwrap();
        let e = Runtime::open(&path).unwrap_err();
        assert!(e.to_string().contains("two seals"), "{e}");
    }
}
