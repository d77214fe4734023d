//! Files of random weights; on its own, so that tests can make models with it.

mod blocks;
mod mix;
pub mod shapes;
mod tensors;
mod vocabulary;

use blocks::Pools;
use ingot_format::{GgufWriter, Result};
pub use mix::Mix;
pub use shapes::Shape;
use std::path::Path;

/// Writes the file; the number of its parameters.
pub fn write(shape: &Shape, mix: Mix, out: &Path) -> Result<usize> {
    let mut writer = GgufWriter::new();
    shape.describe(&mut writer);
    writer.set("general.file_type", mix.file_type());
    vocabulary::describe(shape, &mut writer);
    let tensors: Vec<_> =
        tensors::of(shape).into_iter().map(|tensor| (mix.dtype(&tensor, shape), tensor)).collect();
    for (dtype, tensor) in &tensors {
        writer.add(tensor.name.as_str(), *dtype, &tensor.shape)?;
    }
    let mut pools = Pools::default();
    writer.write_to_path(out, |i, sink| {
        let (dtype, tensor) = &tensors[i];
        pools.fill(tensor, *dtype, sink)
    })?;
    Ok(tensors.iter().map(|(_, tensor)| tensor.len()).sum())
}
