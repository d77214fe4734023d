//! What a cast file says of itself: a JSON object, whose checksum is in the seal.

use super::error::{Error, Result};
use super::executable::{Format, Machine};
use super::seal;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

/// Options that a cast program begins with, by the name of the argument they stand
/// for; the text is what would have been typed.
pub type Defaults = BTreeMap<String, Vec<String>>;

/// The index of a cast file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    /// What it is.
    #[serde(flatten)]
    pub contents: Contents,
    /// The version of ingot that the program is.
    pub ingot: String,
    /// The system that it runs on.
    pub format: Format,
    /// The processor that it runs on.
    pub machine: Machine,
    /// Bytes of the program.
    pub runtime_bytes: u64,
    /// Where in the program the seal is.
    pub seal: u64,
    /// Where the model begins.
    pub model_start: u64,
    /// Bytes of the model.
    pub model_bytes: u64,
    /// SHA-256 of the model, 64 hexadecimal digits.
    pub model_sha256: String,
    /// Bytes of a piece that has a checksum.
    pub piece_bytes: u64,
    /// The CRC-32 of every piece up to the end of the model, the seal left out: 8
    /// hexadecimal digits each.
    pub piece_crc32: String,
}

/// What a cast file is, as far as whoever makes it decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contents {
    /// What the program calls itself.
    pub name: String,
    /// A line about it.
    pub description: Option<String>,
    /// When it was made, in seconds since 1970.
    pub created: u64,
    /// The model it was made of.
    pub model: Model,
    /// What it is run with where the user does not say.
    pub defaults: Defaults,
}

/// Where a model comes from and what it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Model {
    /// The name of the file or folder, or of the model on the hub.
    pub source: String,
    /// What was done with it: merged adapters, another type.
    pub changes: Vec<String>,
    /// The name it gives itself.
    pub name: Option<String>,
    /// Its family.
    pub family: String,
    /// Number of its values.
    pub parameters: u64,
    /// The type of most of its weights.
    pub quantization: String,
    /// Its license, as it says.
    pub license: Option<String>,
}

/// Larger than that of any model that fits into a computer.
const LARGEST: usize = 1 << 26;

impl Index {
    /// Parses an index and checks its numbers against each other and against where it
    /// was found: `at`.
    ///
    /// # Errors
    /// If they do not fit.
    pub fn parse(bytes: &[u8], at: &Range<u64>, path: &Path) -> Result<Self> {
        if bytes.len() > LARGEST {
            return Err(Error::damaged(path, format!("an index of {} bytes", bytes.len())));
        }
        let index: Self = serde_json::from_slice(bytes).map_err(|e| {
            let e: String = e.to_string().chars().take(200).collect();
            Error::damaged(path, format!("its index is not what was expected: {e}"))
        })?;
        match index.problem(at) {
            None => Ok(index),
            Some(what) => Err(Error::damaged(path, format!("its index contradicts itself: {what}"))),
        }
    }

    /// What is wrong with the numbers.
    fn problem(&self, at: &Range<u64>) -> Option<&'static str> {
        let model_end = self.model_start.checked_add(self.model_bytes);
        let seal_end = self.seal.checked_add(seal::LEN as u64);
        let pieces = model_end.filter(|_| self.piece_bytes > 0).map(|end| end.div_ceil(self.piece_bytes));
        if model_end != Some(at.start) {
            Some("where the model ends")
        } else if self.runtime_bytes > self.model_start {
            Some("where the model begins")
        } else if seal_end.is_none_or(|end| end > self.runtime_bytes) {
            Some("where the seal is")
        } else if pieces.and_then(|n| n.checked_mul(8)) != Some(self.piece_crc32.len() as u64) {
            Some("the number of checksums")
        } else if self.crc32s().is_none() || !is_sha256(&self.model_sha256) {
            Some("what its checksums look like")
        } else {
            None
        }
    }

    /// Where the model is in the file.
    pub(super) fn model(&self) -> Range<u64> {
        self.model_start..self.model_start + self.model_bytes
    }

    /// The checksums of the pieces.
    pub(super) fn crc32s(&self) -> Option<Vec<u32>> {
        let digits = self.piece_crc32.as_bytes();
        let number = |piece: &[u8]| {
            let all_digits = piece.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
            u32::from_str_radix(str::from_utf8(piece).ok()?, 16).ok().filter(|_| all_digits)
        };
        digits.chunks(8).map(number).collect()
    }
}

fn is_sha256(digits: &str) -> bool {
    digits.len() == 64 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn contents() -> Contents {
        Contents {
            name: "fable".into(),
            description: None,
            created: 1,
            model: Model {
                source: "m.gguf".into(),
                changes: vec![],
                name: None,
                family: "llama".into(),
                parameters: 7,
                quantization: "Q8_0".into(),
                license: None,
            },
            defaults: Defaults::from([("temp".into(), vec!["0.5".into()])]),
        }
    }

    fn index() -> Index {
        Index {
            contents: contents(),
            ingot: "0.1.0".into(),
            format: Format::Elf,
            machine: Machine::X86_64,
            runtime_bytes: 1000,
            seal: 500,
            model_start: 1024,
            model_bytes: 976,
            model_sha256: "0".repeat(64),
            piece_bytes: 512,
            piece_crc32: "00000001000000ff0000000000000000".into(),
        }
    }

    fn parsed(index: &Index) -> Result<Index> {
        Index::parse(&serde_json::to_vec(index).unwrap(), &(2000..2100), Path::new("x"))
    }

    #[test]
    fn comes_back_as_it_was() {
        assert_eq!(parsed(&index()).unwrap(), index());
        assert_eq!(index().crc32s().unwrap(), [1, 255, 0, 0]);
    }

    #[test]
    fn numbers_that_do_not_fit_are_refused() {
        let changes: [fn(&mut Index); 12] = [
            |i| i.runtime_bytes = 1025,
            |i| i.runtime_bytes = 600,
            |i| i.seal = u64::MAX,
            |i| i.model_start = u64::MAX,
            |i| i.model_start = 1000,
            |i| i.model_bytes = 0,
            |i| i.model_bytes = u64::MAX - 1024,
            |i| i.model_sha256 = "é".repeat(32),
            |i| i.piece_bytes = 0,
            |i| i.piece_bytes = 256,
            |i| i.piece_crc32.replace_range(0..1, "+"),
            |i| i.piece_crc32.replace_range(0..2, "é"),
        ];
        for (i, change) in changes.into_iter().enumerate() {
            let mut index = index();
            change(&mut index);
            assert!(matches!(parsed(&index), Err(Error::Damaged { .. })), "change {i}");
        }
        for bad in ["", "{}", "[]", "{\"name\":1}"] {
            assert!(Index::parse(bad.as_bytes(), &(0..0), Path::new("x")).is_err(), "{bad}");
        }
    }
}
