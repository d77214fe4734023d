//! Importance matrices: how much each column of a weight matters, measured as the
//! mean square of what a model multiplied it with on some text. llama.cpp writes
//! them, today as GGUF, formerly in a form of their own.
//!
//! ```text
//! old form   count, then so often:  name_len name calls n sums[n]     numbers of 4 bytes
//! GGUF       NAME.in_sum2 [matrices, columns] and NAME.counts [matrices, 1]
//! ```

use crate::{Error, Model, Result, Weight};
use ingot_format::{Gguf, Tensor, map_file};
use std::collections::HashMap;
use std::path::Path;

/// Importances of the columns of weights, by the weights' names.
#[derive(Debug)]
pub struct Importance {
    columns: HashMap<String, Vec<f32>>,
}

impl Importance {
    /// Reads a file of either form and checks that it was made for this model.
    ///
    /// # Errors
    /// If it is neither, holds something else than finite, non-negative numbers, or
    /// does not fit the model's weights.
    pub fn open(path: &Path, model: &Model) -> Result<Self> {
        let bytes = map_file(path)?;
        let columns = match bytes.starts_with(b"GGUF") {
            true => from_gguf(&Gguf::open(path)?),
            false => from_old_form(&bytes),
        };
        let all = columns.map(|columns| Self { columns });
        all.and_then(|all| all.check(model).map(|()| all)).map_err(|e| match e {
            Error::Refused(message) => Error::refused(format!("{}: {message}", path.display())),
            other => other,
        })
    }

    /// Number of weights it knows.
    pub fn len(&self) -> usize {
        self.columns.len()
    }

    /// True if it knows none.
    pub fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }

    /// What it says of a weight: a number for each column, of experts for each
    /// column of each.
    pub fn of(&self, weight: &Weight) -> Option<&[f32]> {
        self.columns.get(weight.name()).map(Vec::as_slice)
    }

    fn check(&self, model: &Model) -> Result<()> {
        let mut found = 0;
        for weight in model.weights() {
            let Some(columns) = self.of(weight) else { continue };
            found += 1;
            let matrices: usize = weight.shape().iter().rev().skip(2).product();
            let (name, cols) = (weight.name(), weight.cols());
            if columns.len() != cols * matrices {
                return Err(Error::refused(format!(
                    "'{name}' has {} importances, the weight {matrices} x {cols} columns; it was made for another model",
                    columns.len()
                )));
            }
            if columns.iter().any(|v| !v.is_finite() || *v < 0.0) {
                return Err(Error::refused(format!(
                    "'{name}' has importances that are negative or not finite"
                )));
            }
        }
        match found {
            0 => Err(Error::refused("it knows none of the model's weights; it was made for another model")),
            _ => Ok(()),
        }
    }
}

/// Sums become means; what was never used in the text says nothing.
fn means(sums: &[f32], count: f32) -> impl Iterator<Item = f32> {
    sums.iter().map(move |sum| if count > 0.0 { sum / count } else { 1.0 })
}

fn from_gguf(gguf: &Gguf) -> Result<HashMap<String, Vec<f32>>> {
    if gguf.str("general.type")? != Some("imatrix") {
        return Err(Error::refused("expected an importance matrix, this GGUF file is something else"));
    }
    let values = |tensor: &Tensor| {
        let mut values = vec![0.0; tensor.len()];
        tensor.dtype().dequantize(tensor.data(), &mut values);
        values
    };
    let mut columns = HashMap::new();
    for sums in gguf.tensors() {
        let Some(name) = sums.name().strip_suffix(".in_sum2") else { continue };
        let counts = gguf.tensor(&format!("{name}.counts")).filter(|counts| counts.len() == sums.rows());
        let Some(counts) = counts else {
            return Err(Error::refused(format!("'{name}' has no counts, or not one for each matrix")));
        };
        let matrices = values(sums);
        let all = matrices.chunks_exact(sums.cols()).zip(values(counts)).flat_map(|(row, n)| means(row, n));
        columns.insert(name.to_string(), all.collect());
    }
    Ok(columns)
}

fn from_old_form(bytes: &[u8]) -> Result<HashMap<String, Vec<f32>>> {
    let mut rest = bytes;
    let entries = int(&mut rest, "the number of entries")?;
    let mut columns = HashMap::new();
    for _ in 0..entries {
        let len = int(&mut rest, "the length of a name")?;
        let name = take(&mut rest, len, "a name")?;
        let name = String::from_utf8(name.to_vec())
            .map_err(|_| Error::refused("a name is not UTF-8; expected an importance matrix of llama.cpp"))?;
        let calls = int(&mut rest, "a number of calls")?;
        let n = int(&mut rest, "a number of columns")?;
        let sums = take(&mut rest, n.saturating_mul(4), "importances")?;
        let sums: Vec<f32> = sums.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        columns.insert(name, means(&sums, calls as f32).collect());
    }
    Ok(columns)
}

/// A length of four bytes.
fn int(rest: &mut &[u8], what: &str) -> Result<usize> {
    let bytes = take(rest, 4, what)?;
    let value = i32::from_le_bytes(bytes.try_into().expect("four bytes"));
    usize::try_from(value).map_err(|_| {
        Error::refused(format!(
            "{what} is {value}; expected an importance matrix of llama.cpp (GGUF or .dat)"
        ))
    })
}

fn take<'a>(rest: &mut &'a [u8], len: usize, what: &str) -> Result<&'a [u8]> {
    let Some((taken, later)) = rest.split_at_checked(len) else {
        return Err(Error::refused(format!(
            "it ends before {what}; expected an importance matrix of llama.cpp (GGUF or .dat)"
        )));
    };
    *rest = later;
    Ok(taken)
}
