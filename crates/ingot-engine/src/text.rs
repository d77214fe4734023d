//! From tokens to text, until something says stop.

use crate::stop::StopStrings;
use crate::{Error, Finish, Request, Result};
use ingot_tokenizer::{Tokenizer, Utf8Stream};

/// The text of one generation.
#[derive(Clone, Debug)]
pub(crate) struct Text {
    bytes: Utf8Stream,
    stop: StopStrings,
    left: usize,
    ends: Vec<u32>,
}

impl Text {
    /// An empty text.
    ///
    /// # Errors
    /// If a stop string is empty.
    pub(crate) fn new(request: &Request, tokenizer: &Tokenizer) -> Result<Self> {
        let stop = StopStrings::new(&request.stop).map_err(|e| Error::BadRequest(e.to_string()))?;
        let ends = match request.ignore_end {
            true => Vec::new(),
            false => tokenizer.end_of_generation().to_vec(),
        };
        let left = request.max_tokens.unwrap_or(usize::MAX);
        Ok(Self { bytes: Utf8Stream::default(), stop, left, ends })
    }

    /// How many more tokens it may have.
    pub(crate) fn left(&self) -> usize {
        self.left
    }

    /// The tokens that end it.
    pub(crate) fn ends(&self) -> &[u32] {
        &self.ends
    }

    /// Appends a token: the characters that it completes, and why the text ends with
    /// it, if it does.
    pub(crate) fn push(&mut self, token: u32, tokenizer: &Tokenizer) -> (String, Option<Finish>) {
        self.left -= 1;
        if self.ends.contains(&token) {
            let (text, finish) = self.close(Finish::End(token));
            return (text, Some(finish));
        }
        let is_control = tokenizer.is_special(token) || tokenizer.end_of_generation().contains(&token);
        let text = match is_control {
            true => String::new(),
            false => self.bytes.push(&tokenizer.token_bytes(token).unwrap_or_default()),
        };
        let out = self.stop.push(&text);
        (out.emit, out.matched.map(Finish::Stop))
    }

    /// Ends it: the characters that were held back, and why it ended, which may be that
    /// they complete a stop string.
    pub(crate) fn close(&mut self, finish: Finish) -> (String, Finish) {
        let tail = self.stop.push(&self.bytes.finish());
        match tail.matched {
            Some(i) => (tail.emit, Finish::Stop(i)),
            None => (tail.emit + &self.stop.finish(), finish),
        }
    }
}
