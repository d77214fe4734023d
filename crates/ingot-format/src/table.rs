//! The tensors of a model by name, and the checks on names and places that both
//! formats need.

use std::{collections::HashMap, ops::Range};

use crate::{Error, Result, Tensor};

/// Tensors in file order with an index by name. Names are unique.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    tensors: Vec<Tensor>,
    index: HashMap<String, usize>,
}

impl Table {
    /// Adds the tensors of one file; a name that is already there is an error.
    pub fn extend(&mut self, tensors: Vec<Tensor>) -> Result<()> {
        for tensor in tensors {
            if self.index.insert(tensor.name().into(), self.tensors.len()).is_some() {
                return Err(Error::malformed(format!("tensor '{}' appears twice", tensor.name())));
            }
            self.tensors.push(tensor);
        }
        Ok(())
    }

    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.index.get(name).map(|&i| &self.tensors[i])
    }
}

/// Checks that no two tensors of a file share bytes. `ranges[i]` is where
/// `tensors[i]` lies.
pub(crate) fn check_apart(tensors: &[Tensor], ranges: &[Range<usize>]) -> Result<()> {
    let mut order: Vec<usize> = (0..ranges.len()).collect();
    order.sort_unstable_by_key(|&i| ranges[i].start);
    for pair in order.windows(2) {
        if ranges[pair[1]].start < ranges[pair[0]].end {
            return Err(Error::malformed(format!(
                "tensors '{}' and '{}' overlap",
                tensors[pair[0]].name(),
                tensors[pair[1]].name()
            )));
        }
    }
    Ok(())
}

/// Checks a name from a file. Real ones have under a hundred characters; the limit
/// and the ban on control characters keep errors that show a name readable, and
/// terminals safe.
pub(crate) fn check_name(what: &str, name: &str) -> Result<()> {
    const MAX_BYTES: usize = 1024;
    if name.len() > MAX_BYTES {
        let len = name.len();
        return Err(Error::malformed(format!("{what} of {len} bytes, at most {MAX_BYTES} are allowed")));
    }
    if name.contains(char::is_control) {
        return Err(Error::malformed(format!("{what} {name:?} contains control characters")));
    }
    Ok(())
}
