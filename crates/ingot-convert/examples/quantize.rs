//! Makes a quantized file of a model: `quantize MODEL TYPE OUTPUT [--pure]`.

use ingot_convert::{Choices, Job, Mix, Model, Weight};
use ingot_format::{DType, ModelFile};
use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [model, mix, output, rest @ ..] = &args[..] else {
        return Err("expected MODEL TYPE OUTPUT".into());
    };
    let model = Model::open(&ModelFile::open(Path::new(model))?)?;
    let mix = Mix::named(mix).ok_or("an unknown type")?;
    let choices = Choices { pure: rest.contains(&"--pure".to_string()), ..Choices::default() };
    let types = mix.plan(&model, choices)?;
    let metadata = model.metadata(mix);
    let weights: Vec<(Weight, DType)> = model.weights().iter().cloned().zip(types).collect();
    let threads = std::thread::available_parallelism()?.get();
    let job = Job { metadata: &metadata, weights: &weights, importance: None, threads };
    let begun = std::time::Instant::now();
    ingot_convert::write(&job, Path::new(output), &mut |_| true)?;
    println!("{:.2} s", begun.elapsed().as_secs_f64());
    Ok(())
}
