//! Low-rank adapters: `W + scale B A`, with `A` of `rank` rows and `B` of `rank`
//! columns, added when rows are read.

mod gguf;
mod peft;

use crate::folder::order;
use crate::weight::Order;
use crate::{Error, Result, Weight};
use ingot_format::{ModelFile, Tensor};
use std::collections::HashMap;
use std::path::Path;

/// An adapter, whose parts are still in its file.
#[derive(Debug)]
pub struct Adapter {
    parts: Vec<Part>,
    names: Names,
}

/// Whose names and order of rows an adapter has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Names {
    HuggingFace,
    Gguf,
}

/// What is added to one weight.
#[derive(Debug)]
struct Part {
    /// The weight's name, without `.weight` at the end.
    module: String,
    /// `[rank, columns]`
    a: Tensor,
    /// `[rows, rank]`
    b: Tensor,
    scale: f32,
}

/// What an adapter was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Merged {
    /// Weights that it changes.
    pub weights: usize,
    /// Its largest rank.
    pub rank: usize,
}

impl Adapter {
    /// Opens a PEFT folder (`adapter_config.json`, `adapter_model.safetensors`) or a
    /// GGUF adapter.
    ///
    /// # Errors
    /// If it is no adapter, or one that is more than `B A` with a factor.
    pub fn open(path: &Path) -> Result<Self> {
        let file = ModelFile::open(path).map_err(|e| match path.join(peft::OLD_WEIGHTS).exists() {
            true => Error::refused(format!(
                "{}: ingot reads adapters as safetensors, not {}; save the adapter again with PEFT",
                path.display(),
                peft::OLD_WEIGHTS
            )),
            false => e.into(),
        })?;
        let read = match &file {
            ModelFile::Gguf(file) => gguf::read(file).map(|parts| Self { parts, names: Names::Gguf }),
            ModelFile::HuggingFace(folder) => {
                peft::read(folder).map(|parts| Self { parts, names: Names::HuggingFace })
            }
        };
        let in_file = |message| Error::refused(format!("{}: {message}", path.display()));
        match read {
            Ok(adapter) if adapter.parts.is_empty() => Err(in_file("the adapter is empty".into())),
            Err(Error::Refused(message)) => Err(in_file(message)),
            other => other,
        }
    }

    /// Adds the parts to the weights of a model with so many heads of queries and of
    /// keys.
    pub(crate) fn merge(
        &self,
        architecture: &str,
        heads: [usize; 2],
        scale: f32,
        weights: &mut [Weight],
    ) -> Result<Merged> {
        let name = |weight: &Weight| match self.names {
            Names::Gguf => Some(weight.name().to_string()),
            Names::HuggingFace => ingot_models::huggingface_name(weight.name()),
        };
        let module = |weight: &Weight| Some(name(weight)?.strip_suffix(".weight")?.to_string());
        let places: HashMap<String, usize> =
            weights.iter().enumerate().filter_map(|(i, w)| Some((module(w)?, i))).collect();
        let mut rank = 0;
        for part in &self.parts {
            let Some(&i) = places.get(&part.module) else {
                return Err(Error::refused(format!(
                    "the adapter changes '{}', which the model does not have; it was made for another model",
                    part.module
                )));
            };
            let weight = &mut weights[i];
            part.check(weight)?;
            let order = match self.names {
                Names::Gguf => Order::AsStored,
                Names::HuggingFace => order(architecture, weight.name(), weight.rows(), heads),
            };
            weight.add(Delta { a: part.a.clone(), b: part.b.clone(), scale: scale * part.scale, order });
            rank = rank.max(part.a.rows());
        }
        Ok(Merged { weights: self.parts.len(), rank })
    }
}

impl Part {
    fn check(&self, weight: &Weight) -> Result<()> {
        let (a, b) = (self.a.shape(), self.b.shape());
        let fits = matches!((a, b, weight.shape()), (&[rank, cols], &[rows, of], &[wanted_rows, wanted_cols])
            if rank == of && rows == wanted_rows && cols == wanted_cols);
        match fits {
            true => Ok(()),
            false => Err(Error::refused(format!(
                "the adapter's parts {b:?} and {a:?} of '{}' do not make up the weight's {:?}; it was made for \
                 another model",
                self.module,
                weight.shape()
            ))),
        }
    }
}

/// The factor that stands before `B A`.
fn scale(alpha: f64, rank: usize, root: bool) -> f32 {
    let rank = rank as f64;
    (alpha / if root { rank.sqrt() } else { rank }) as f32
}

/// What is added to a weight, still packed.
#[derive(Clone, Debug)]
pub(crate) struct Delta {
    a: Tensor,
    b: Tensor,
    scale: f32,
    order: Order,
}

/// What is added to a weight, ready for use.
pub(crate) struct Unpacked {
    a: Vec<f32>,
    b: Vec<f32>,
    rank: usize,
    scale: f32,
    order: Order,
}

impl Delta {
    /// Which of its rows are added to which.
    pub(crate) fn order(&self) -> Order {
        self.order
    }

    /// The same with its rows in another order.
    pub(crate) fn in_order(&self, order: Order) -> Self {
        Self { order, ..self.clone() }
    }

    pub(crate) fn unpack(&self) -> Unpacked {
        let values = |tensor: &Tensor| {
            let mut values = vec![0.0; tensor.len()];
            tensor.dtype().dequantize(tensor.data(), &mut values);
            values
        };
        let (a, b) = (values(&self.a), values(&self.b));
        Unpacked { a, b, rank: self.a.rows(), scale: self.scale, order: self.order }
    }
}

impl Unpacked {
    /// Adds row `i` of `scale B A`.
    pub(crate) fn add_row(&self, i: usize, out: &mut [f32]) {
        let b = &self.b[self.order.stored(i) * self.rank..][..self.rank];
        for (b, a) in b.iter().zip(self.a.chunks_exact(out.len())) {
            let factor = self.scale * b;
            out.iter_mut().zip(a).for_each(|(x, a)| *x += factor * a);
        }
    }
}
