//! Random weights, as fast as the disk takes them.

use super::tensors::{Tensor, Values};
use ingot_engine::rng::Rng;
use ingot_format::DType;
use std::collections::HashMap;
use std::f64::consts::TAU;
use std::io::{self, Write};

/// Values made for one type and scale.
const POOL: usize = 1 << 22;

/// Tensors of no more values have values of their own.
const SMALL: usize = 1 << 18;

/// Blocks of each type and scale, made when they are first wanted.
#[derive(Default)]
pub struct Pools(HashMap<(DType, u32), Vec<u8>>);

impl Pools {
    /// Writes the bytes of a tensor.
    pub fn fill(&mut self, tensor: &Tensor, dtype: DType, sink: &mut dyn Write) -> io::Result<()> {
        let mut rng = Rng::new(seed(&tensor.name));
        let (mean, deviation) = match &tensor.values {
            Values::Given(values) => return sink.write_all(&packed(dtype, values)),
            Values::Normal { mean, deviation } => (*mean, *deviation),
        };
        if tensor.len() <= SMALL {
            return sink.write_all(&packed(dtype, &normal(&mut rng, tensor.len(), mean, deviation)));
        }
        let pool = self.0.entry((dtype, deviation.to_bits())).or_insert_with(|| {
            let mut rng = Rng::new(seed(&format!("{dtype} {deviation}")));
            packed(dtype, &normal(&mut rng, POOL, mean, deviation))
        });
        let mut left = dtype.row_bytes(tensor.len()).ok_or_else(|| io::Error::other("no whole blocks"))?;
        while left > 0 {
            let blocks = pool.len() / dtype.block_bytes();
            let start = (rng.next_u64() % blocks as u64) as usize * dtype.block_bytes();
            let piece = &pool[start..][..left.min(pool.len() - start)];
            sink.write_all(piece)?;
            left -= piece.len();
        }
        Ok(())
    }
}

/// A number for a name, the same everywhere (FNV-1a).
fn seed(name: &str) -> u64 {
    name.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

fn packed(dtype: DType, values: &[f32]) -> Vec<u8> {
    let mut bytes = vec![0; dtype.row_bytes(values.len()).expect("whole blocks")];
    dtype.quantize(values, &mut bytes);
    bytes
}

/// Normally distributed values, two at a time.
fn normal(rng: &mut Rng, n: usize, mean: f32, deviation: f32) -> Vec<f32> {
    let mut values = Vec::with_capacity(n + 1);
    while values.len() < n {
        let radius = (-2.0 * (1.0 - rng.next_f64()).ln()).sqrt();
        let (sin, cos) = (TAU * rng.next_f64()).sin_cos();
        values.extend([cos, sin].map(|x| mean + deviation * (radius * x) as f32));
    }
    values.truncate(n);
    values
}
