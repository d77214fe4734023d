//! Two turns of a conversation through the model's chat template.
//!
//! The second turn renders the whole conversation again; `advance_to` reads
//! only what the session has not seen.

use ingot::{Message, Request, Sampler, SamplerOptions};
use std::ops::ControlFlow;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let model = ingot::embedded()?;
    let mut session = model.session()?;
    let mut sampler = Sampler::new(SamplerOptions { seed: 1, ..Default::default() })?;
    let request = Request { max_tokens: Some(120), ..Default::default() };
    let mut messages = Vec::new();

    for question in ["Tell me a story about a fox.", "And one about a whale?"] {
        messages.push(Message::new("user", question));
        let prompt = model.tokenizer().encode_chat(&messages, true, &Default::default())?;
        let prompt = prompt.ok_or("this model has no chat template")?;
        let mut read = 0;
        session.advance_to(&prompt, |done| {
            read = done;
            ControlFlow::Continue(())
        })?;
        println!("> {question}   ({read} of {} tokens were new)", prompt.len());

        let mut answer = String::new();
        for piece in session.generate(&mut sampler, &request)? {
            answer += &piece?.text;
        }
        println!("{answer}\n");
        messages.push(Message::new("assistant", answer));
    }
    Ok(())
}
