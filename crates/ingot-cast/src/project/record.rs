//! What the model writes now, for the project's own test.

use crate::Error;
use ingot_engine::{Model, Options, Request, Sampler, SamplerOptions};
use ingot_format::ModelFile;
use ingot_tokenizer::EncodeOptions;
use std::path::Path;

/// The text that is continued.
pub const PROMPT: &str = "Once upon a time";
/// Tokens that are written.
const TOKENS: usize = 24;

/// A prompt and its greedy continuation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Tokens of the prompt.
    pub prompt: Vec<u32>,
    /// Tokens that follow, past the end of a text if it comes.
    pub greedy: Vec<u32>,
}

/// Runs the model on the processor, as long as `go_on` says so.
pub fn record(
    file: &ModelFile,
    path: &Path,
    context: Option<usize>,
    go_on: &mut dyn FnMut() -> bool,
) -> Result<Recorded, Error> {
    let model = Model::from_file(file, path, &Options { context, ..Options::default() })?;
    let options = EncodeOptions { special: false, bos: true };
    let prompt = model.tokenizer().encode(PROMPT, options).map_err(|e| Error::Unsupported(e.to_string()))?;
    let mut session = model.session()?;
    session.feed(&prompt)?;
    let mut sampler = Sampler::new(SamplerOptions::greedy()).expect("valid options");
    let request = Request { max_tokens: Some(TOKENS), ignore_end: true, ..Request::default() };
    let mut greedy = Vec::new();
    for piece in session.generate(&mut sampler, &request)? {
        greedy.extend(piece?.token);
        if !go_on() {
            return Err(Error::Stopped);
        }
    }
    Ok(Recorded { prompt, greedy })
}
