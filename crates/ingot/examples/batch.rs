//! Two texts at once: each step reads the weights once for both.
//!
//! What a session writes does not depend on what else is in the step.

use ingot::{Sampler, SamplerOptions};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let model = ingot::embedded()?;
    let tokenizer = model.tokenizer();
    let mut sampler = Sampler::new(SamplerOptions::greedy())?;
    let (mut first, mut second) = (model.session()?, model.session()?);

    let mut next = [
        tokenizer.encode("Once upon a time there was a fox", Default::default())?,
        tokenizer.encode("One day a small whale", Default::default())?,
    ];
    for _ in 0..40 {
        model.step(&mut [(&mut first, &next[0]), (&mut second, &next[1])])?;
        next = [vec![sampler.sample(first.logits())], vec![sampler.sample(second.logits())]];
    }
    println!("{}\n\n{}", tokenizer.decode(first.tokens()), tokenizer.decode(second.tokens()));
    Ok(())
}
