//! Prefill and decode speed of a model: `speed MODEL THREADS PROMPT TOKENS`
//! prints tokens per second of both as a JSON list. Sampling is not part of it.

use ingot::{Model, Options};
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [model, threads, prompt, tokens] = &args[..] else {
        return Err("MODEL THREADS PROMPT TOKENS".into());
    };
    let options = Options { threads: Some(threads.parse()?), ..Options::default() };
    let model = Model::open(model, &options)?;
    let ids = |n: &str| -> Result<Vec<u32>, _> { n.parse().map(|n: u32| (0..n).map(|i| i % 200).collect()) };
    let (prompt, tokens) = (ids(prompt)?, ids(tokens)?);
    model.session()?.feed(&[5])?; // pages the weights in

    let mut session = model.session()?;
    let start = Instant::now();
    session.feed(&prompt)?;
    let middle = Instant::now();
    for token in &tokens {
        session.feed(&[*token])?;
    }
    let seconds = [middle - start, middle.elapsed()].map(|d| d.as_secs_f64());
    println!("[{:.2}, {:.3}]", prompt.len() as f64 / seconds[0], tokens.len() as f64 / seconds[1]);
    Ok(())
}
