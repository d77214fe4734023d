//! A file's tensors summed up: the same tensor of all layers as one line, and
//! how much of the file is of which type.

use ingot_format::{DType, Tensor};
use std::collections::BTreeSet;

/// Tensors that differ only in the numbers in their names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The name, with ranges where the numbers were: `blk.0-5.attn_q.weight`.
    pub name: String,
    /// How they are stored.
    pub dtype: DType,
    /// Sizes of each, outermost first.
    pub shape: Vec<usize>,
    /// How many there are.
    pub count: usize,
    /// Bytes of all of them.
    pub bytes: u64,
}

/// One type's part of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypeShare {
    /// The type.
    pub dtype: DType,
    /// Tensors of it.
    pub tensors: usize,
    /// Their bytes.
    pub bytes: u64,
}

/// The tensors in the order of the file; with `collapse`, in groups.
pub fn groups(tensors: &[Tensor], collapse: bool) -> Vec<Group> {
    let mut found: Vec<(Group, Pattern)> = Vec::new();
    let mut index = std::collections::HashMap::new();
    for tensor in tensors {
        let pattern = if collapse { Pattern::new(tensor.name()) } else { Pattern::exact(tensor.name()) };
        let key = (pattern.parts.clone(), tensor.dtype(), tensor.shape().to_vec());
        let at = *index.entry(key).or_insert(found.len());
        if at == found.len() {
            let (dtype, shape) = (tensor.dtype(), tensor.shape().to_vec());
            found.push((Group { name: String::new(), dtype, shape, count: 0, bytes: 0 }, pattern.clone()));
        }
        let (group, all) = &mut found[at];
        group.count += 1;
        group.bytes += tensor.data().len() as u64;
        all.numbers.iter_mut().zip(pattern.numbers).for_each(|(all, numbers)| all.extend(numbers));
    }
    found.into_iter().map(|(group, pattern)| Group { name: pattern.name(), ..group }).collect()
}

/// The types, the largest part first.
pub fn shares(tensors: &[Tensor]) -> Vec<TypeShare> {
    let share = |dtype| {
        let of_type = || tensors.iter().filter(move |t| t.dtype() == dtype);
        TypeShare { dtype, tensors: of_type().count(), bytes: of_type().map(|t| t.data().len() as u64).sum() }
    };
    let mut shares: Vec<_> = DType::ALL.into_iter().map(share).filter(|share| share.tensors > 0).collect();
    shares.sort_by_key(|share| std::cmp::Reverse(share.bytes));
    shares
}

/// A tensor's name with its numbers taken out.
#[derive(Clone, Debug)]
struct Pattern {
    /// What is between the dots; `None` for a number.
    parts: Vec<Option<String>>,
    /// The numbers of all tensors of the group, for each place.
    numbers: Vec<BTreeSet<usize>>,
}

impl Pattern {
    fn exact(name: &str) -> Self {
        Self { parts: vec![Some(name.to_string())], numbers: Vec::new() }
    }

    fn new(name: &str) -> Self {
        let mut numbers = Vec::new();
        let part = |part: &str| match part.parse() {
            Ok(number) if part.bytes().all(|b| b.is_ascii_digit()) => {
                numbers.push(BTreeSet::from([number]));
                None
            }
            _ => Some(part.to_string()),
        };
        Self { parts: name.split('.').map(part).collect(), numbers }
    }

    fn name(&self) -> String {
        let mut numbers = self.numbers.iter();
        let parts = self.parts.iter().map(|part| match part {
            Some(text) => text.clone(),
            None => numbers.next().map(ranges).unwrap_or_default(),
        });
        parts.collect::<Vec<_>>().join(".")
    }
}

/// `0-3,6` for 0, 1, 2, 3, 6.
fn ranges(numbers: &BTreeSet<usize>) -> String {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for &n in numbers {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == n => *last = n,
            _ => runs.push((n, n)),
        }
    }
    let shown = |(first, last)| if first == last { format!("{first}") } else { format!("{first}-{last}") };
    runs.into_iter().map(shown).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(name: &str, dtype: DType, cols: usize) -> Tensor {
        let bytes = dtype.row_bytes(cols).unwrap();
        Tensor::new(name, dtype, vec![cols], vec![0; bytes].into()).unwrap()
    }

    fn example() -> Vec<Tensor> {
        let mut tensors = vec![tensor("embd.weight", DType::F32, 8)];
        for layer in 0..4 {
            let dtype = if layer == 2 { DType::F32 } else { DType::F16 };
            tensors.push(tensor(&format!("blk.{layer}.w"), dtype, 4));
        }
        tensors
    }

    #[test]
    fn layers_collapse_unless_they_differ() {
        let groups = groups(&example(), true);
        let names: Vec<_> = groups.iter().map(|g| (g.name.as_str(), g.count, g.bytes)).collect();
        assert_eq!(names, [("embd.weight", 1, 32), ("blk.0-1,3.w", 3, 24), ("blk.2.w", 1, 16)]);
        assert_eq!(super::groups(&example(), false).len(), 5);
    }

    #[test]
    fn every_number_of_a_name_counts() {
        let tensors: Vec<_> = [(0, 0), (0, 1), (1, 0), (1, 1)]
            .iter()
            .map(|(layer, expert)| tensor(&format!("m.{layer}.e.{expert}.w"), DType::F32, 1))
            .collect();
        assert_eq!(groups(&tensors, true)[0].name, "m.0-1.e.0-1.w");
    }

    #[test]
    fn shares_are_sorted_by_size() {
        let shares = shares(&example());
        let of = |dtype, tensors, bytes| TypeShare { dtype, tensors, bytes };
        assert_eq!(shares, [of(DType::F32, 2, 48), of(DType::F16, 3, 24)]);
    }
}
