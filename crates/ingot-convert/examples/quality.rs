//! How far quantized files are from the one they were made of, by type:
//! `quality ORIGINAL FILE...`. Whoever made them, they are unpacked by the same code.

use ingot_format::{DType, Gguf, Tensor};
use std::collections::BTreeMap;
use std::path::Path;

/// Sums over the tensors of a type.
#[derive(Default)]
struct Sums {
    squares: f64,
    errors: f64,
    /// As above, each value's error counting with the square of the value.
    weighted: f64,
    fourth: f64,
}

fn values(tensor: &Tensor) -> Vec<f32> {
    let mut values = vec![0.0; tensor.len()];
    tensor.dtype().dequantize(tensor.data(), &mut values);
    values
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [original, files @ ..] = &args[..] else { return Err("expected ORIGINAL FILE...".into()) };
    let original = Gguf::open(Path::new(original))?;
    println!("| file | type | values | relative rms | the same, weighted by squares |");
    println!("|---|---|---:|---:|---:|");
    for file in files {
        let made = Gguf::open(Path::new(file))?;
        let mut types: BTreeMap<DType, (usize, Sums)> = BTreeMap::new();
        for tensor in made.tensors().iter().filter(|t| t.dtype().block_len() > 1) {
            let from = original.tensor(tensor.name()).ok_or("another model")?;
            let (n, sums) = types.entry(tensor.dtype()).or_default();
            *n += tensor.len();
            for (a, b) in values(from).iter().zip(values(tensor)) {
                let (a, b) = (f64::from(*a), f64::from(b));
                let (square, error) = (a * a, (a - b) * (a - b));
                sums.squares += square;
                sums.errors += error;
                sums.weighted += square * error;
                sums.fourth += square * square;
            }
        }
        for (dtype, (n, s)) in types {
            let (plain, weighted) = ((s.errors / s.squares).sqrt(), (s.weighted / s.fourth).sqrt());
            println!("| {file} | {dtype} | {n} | {plain:.5} | {weighted:.5} |");
        }
    }
    Ok(())
}
