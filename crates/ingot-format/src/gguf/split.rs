//! Models that are split over several GGUF files.
//!
//! The parts are called `NAME-00001-of-0000N.gguf` and so on. All metadata is in
//! the first; the others hold tensors and the three `split.*` keys.

use std::path::{Path, PathBuf};

use super::parse::{self, Part};
use crate::{Error, Result, map_file};

/// File names have five digits for the part number.
const MAX_PARTS: u64 = 99_999;

/// Which part of how many a file is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Split {
    /// Counted from 0.
    no: u64,
    count: u64,
}

impl Split {
    /// Reads the split keys; `None` if the file is a whole model.
    pub fn of(part: &Part) -> Result<Option<Self>> {
        let Some(count) = uint(part, "split.count")? else { return Ok(None) };
        let no = uint(part, "split.no")?.unwrap_or(0);
        match count {
            0 | 1 if no == 0 => Ok(None),
            2..=MAX_PARTS if no < count => Ok(Some(Self { no, count })),
            _ => Err(Error::malformed(format!("split.no {no} of split.count {count} makes no sense"))),
        }
    }

    /// How the name of part `no` ends.
    fn suffix(self, no: u64) -> String {
        format!("-{:05}-of-{:05}.gguf", no + 1, self.count)
    }

    /// The path of part `no`, given the path of this one; `None` if it is not
    /// named like a part.
    fn sibling(self, path: &Path, no: u64) -> Option<PathBuf> {
        let name = path.file_name()?.to_str()?;
        let stem = name.strip_suffix(&self.suffix(self.no))?;
        Some(path.with_file_name(format!("{stem}{}", self.suffix(no))))
    }
}

/// Opens the parts after the first, if the file at `path` is a first part.
pub(super) fn open_others(path: &Path, head: &Part) -> Result<Vec<Part>> {
    let Some(split) = Split::of(head).map_err(|e| e.in_file(path))? else { return Ok(Vec::new()) };
    if split.no != 0 {
        let first =
            split.sibling(path, 0).unwrap_or_else(|| PathBuf::from(format!("NAME{}", split.suffix(0))));
        return Err(Error::malformed(format!(
            "is part {} of {} of a split model; open the first part, {}",
            split.no + 1,
            split.count,
            first.display()
        ))
        .in_file(path));
    }
    (1..split.count).map(|no| open_part(path, split, no)).collect()
}

fn open_part(first: &Path, split: Split, no: u64) -> Result<Part> {
    let path = split.sibling(first, no).ok_or_else(|| {
        Error::malformed(format!(
            "is the first of {} parts; its name must end in {} for the others to be found",
            split.count,
            split.suffix(0)
        ))
        .in_file(first)
    })?;
    let bytes = map_file(&path).map_err(|e| match e {
        Error::NotFound(path) => {
            Error::malformed(format!("part {} of {} is missing: {}", no + 1, split.count, path.display()))
                .in_file(first)
        }
        other => other,
    })?;
    let part = parse::parse(&bytes).map_err(|e| e.in_file(&path))?;
    match Split::of(&part).map_err(|e| e.in_file(&path))? {
        Some(found) if found == (Split { no, ..split }) => Ok(part),
        _ => Err(Error::malformed(format!(
            "does not say that it is part {} of {}; do all parts belong to the same model?",
            no + 1,
            split.count
        ))
        .in_file(&path)),
    }
}

/// Compares the number of tensors in all parts with `split.tensors.count`.
pub(super) fn check_tensor_count(head: &Part, found: usize) -> Result<()> {
    match uint(head, "split.tensors.count")? {
        Some(declared) if declared != found as u64 => Err(Error::malformed(format!(
            "split.tensors.count is {declared}, but there are {found} tensors in all parts"
        ))),
        _ => Ok(()),
    }
}

fn uint(part: &Part, key: &str) -> Result<Option<u64>> {
    part.get(key)
        .map(|value| {
            value.as_uint().ok_or_else(|| {
                Error::malformed(format!("metadata key '{key}' must be a non-negative integer, not {value}"))
            })
        })
        .transpose()
}
