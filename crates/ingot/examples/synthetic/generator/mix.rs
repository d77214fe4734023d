//! Which type each tensor has, as llama.cpp's quantization chooses.

use super::shapes::Shape;
use super::tensors::{Role, Tensor};
use ingot_format::DType;

/// A file type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mix {
    F16,
    Q8_0,
    Q4_0,
    Q4KM,
}

impl Mix {
    pub const ALL: [Self; 4] = [Self::F16, Self::Q8_0, Self::Q4_0, Self::Q4KM];

    /// The file type of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mix| mix.name() == name)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::F16 => "f16",
            Self::Q8_0 => "q8_0",
            Self::Q4_0 => "q4_0",
            Self::Q4KM => "q4_k_m",
        }
    }

    /// Its number in files.
    pub fn file_type(self) -> u32 {
        match self {
            Self::F16 => 1,
            Self::Q8_0 => 7,
            Self::Q4_0 => 2,
            Self::Q4KM => 15,
        }
    }

    /// The type of a tensor.
    pub fn dtype(self, tensor: &Tensor, shape: &Shape) -> DType {
        let cols = tensor.shape.last().copied().unwrap_or(1);
        let is_head = tensor.role == Role::Output || tensor.role == Role::Embedding && shape.tied;
        let wanted = match (self, tensor.role) {
            (_, Role::Vector | Role::LowRank { exact: true }) => DType::F32,
            (Self::F16, _) | (_, Role::LowRank { exact: false }) => DType::F16,
            (Self::Q8_0, _) => DType::Q8_0,
            (Self::Q4_0 | Self::Q4KM, _) if is_head => DType::Q6_K,
            (Self::Q4_0, _) => DType::Q4_0,
            (Self::Q4KM, Role::AttentionValue(i) | Role::FfnDown(i)) if gets_more(i, shape.layers) => {
                DType::Q6_K
            }
            (Self::Q4KM, _) => DType::Q4_K,
        };
        // Rows have to be whole blocks.
        let fallbacks = [(DType::Q4_K, DType::Q5_0), (DType::Q6_K, DType::Q8_0)];
        let smaller =
            fallbacks.iter().find(|(large, _)| *large == wanted && wanted.row_bytes(cols).is_none());
        let dtype = smaller.map_or(wanted, |(_, small)| *small);
        if dtype.row_bytes(cols).is_some() { dtype } else { DType::F16 }
    }
}

/// The first and last eighths of the layers and every third between get more bits.
fn gets_more(layer: usize, layers: usize) -> bool {
    let eighth = layers / 8;
    layer < eighth || layer >= 7 * layers / 8 || (layer - eighth) % 3 == 2
}
