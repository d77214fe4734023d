//! A story in ten lines: `cargo run --release --example story`.

use ingot::{Request, Sampler, SamplerOptions};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let model = ingot::embedded()?;
    let mut session = model.session()?;
    session.feed(&model.tokenizer().encode("Once upon a time", Default::default())?)?;
    let mut sampler = Sampler::new(SamplerOptions { seed: 7, ..Default::default() })?;
    let request = Request { max_tokens: Some(200), ..Default::default() };
    for piece in session.generate(&mut sampler, &request)? {
        print!("{}", piece?.text);
    }
    println!();
    Ok(())
}
