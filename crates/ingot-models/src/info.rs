//! What people want to know about a model.

use crate::Family;

/// A model's name and sizes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// Its family.
    pub family: Family,
    /// The name in the file, if it has one.
    pub name: Option<String>,
    /// Rows of the embedding table.
    pub vocab: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Number of blocks.
    pub layers: usize,
    /// Positions it was trained for. Recurrent models have no limit of their own.
    pub context: Option<usize>,
    /// Number of values in all of its tensors.
    pub parameters: usize,
}
