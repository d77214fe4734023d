//! Answers or continues a prompt: `cargo run --release -- "Once upon a time"`.

use ingot_runtime::{Arguments, Sampler, TextOut, encode, program};
use std::error::Error;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use {{library}}::model;

fn main() -> ExitCode {
    program(run)
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    let weights = arguments.weights(env!("CARGO_MANIFEST_DIR"));
    let model = model::MODEL.open(&weights, &arguments.options())?;
    let opened = start.elapsed();

    let start = Instant::now();
    let prompt = encode(&model, &arguments.prompt, arguments.raw)?;
    let mut session = model.session()?;
    session.feed(&prompt)?;
    let read = start.elapsed();

    let start = Instant::now();
    let mut sampler = Sampler::new(arguments.sampling(model::sampling()))?;
    let mut out = TextOut::new();
    let mut text = session.generate(&mut sampler, &arguments.request())?;
    for piece in &mut text {
        out.write(&piece?.text)?;
    }
    out.end_line()?;
    let tokens = text.generated();
    if arguments.stats {
        eprintln!("opened in {opened:.2?}, weights checked");
        eprintln!("read {}", rate(prompt.len(), read));
        eprintln!("wrote {}", rate(tokens, start.elapsed()));
    }
    Ok(())
}

fn rate(tokens: usize, time: Duration) -> String {
    let rate = tokens as f64 / time.as_secs_f64();
    format!("{tokens} tokens in {time:.2?}: {rate:.1} a second")
}
