//! The tensors of a model by name, and the checks on names and places that both
//! formats need.

use std::{
    collections::{BTreeSet, HashMap},
    ops::Range,
};

use crate::{Error, Result, Tensor};

/// Tensors in file order with an index by name. Names are unique.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    tensors: Vec<Tensor>,
    index: HashMap<String, usize>,
    /// Places of those that are not the file's own.
    replaced: BTreeSet<usize>,
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

    /// Puts a tensor in the place of the file's tensor of the same name and shape.
    pub fn replace(&mut self, tensor: Tensor) -> Result<()> {
        let name = tensor.name();
        let Some(&i) = self.index.get(name) else {
            return Err(Error::malformed(format!("there is no tensor '{name}' to be replaced")));
        };
        let (new, old) = (tensor.shape(), self.tensors[i].shape());
        if new != old {
            return Err(Error::malformed(format!("tensor '{name}' has shape {old:?}, not {new:?}")));
        }
        self.tensors[i] = tensor;
        self.replaced.insert(i);
        Ok(())
    }

    /// The tensors that were put in the place of others.
    pub fn replaced(&self) -> impl Iterator<Item = &Tensor> {
        self.replaced.iter().map(|&i| &self.tensors[i])
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Bytes, DType};

    #[test]
    fn replacing() {
        let tensor = |name: &str, shape: &[usize], byte: u8| {
            let data = vec![byte; 4 * shape.iter().product::<usize>()];
            Tensor::new(name, DType::F32, shape.to_vec(), Bytes::from(data)).unwrap()
        };
        let mut table = Table::default();
        table.extend(vec![tensor("a", &[2, 3], 0), tensor("b", &[2, 3], 0)]).unwrap();
        assert_eq!(table.replaced().count(), 0);
        table.replace(tensor("b", &[2, 3], 7)).unwrap();
        assert_eq!((table.get("a").unwrap().data()[0], table.get("b").unwrap().data()[0]), (0, 7));
        assert_eq!(table.replaced().map(Tensor::name).collect::<Vec<_>>(), ["b"]);
        assert!(table.replace(tensor("c", &[2, 3], 7)).unwrap_err().to_string().contains("no tensor 'c'"));
        let other = table.replace(tensor("a", &[3, 2], 7)).unwrap_err().to_string();
        assert!(other.contains("[2, 3], not [3, 2]"), "{other}");
        assert_eq!(table.tensors().len(), 2);
    }
}
