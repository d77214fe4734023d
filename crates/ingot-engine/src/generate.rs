//! From logits to a stream of text, until something says stop.

use crate::draw::Tokens;
use crate::stop::StopStrings;
use crate::{Error, Result, Sampler, Session};
use ingot_tokenizer::Utf8Stream;

/// When to stop.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// Most tokens to generate; as many as the context holds if absent.
    pub max_tokens: Option<usize>,
    /// Strings that end the text; they are not part of it.
    pub stop: Vec<String>,
    /// Go on after the model's end-of-text tokens.
    pub ignore_end: bool,
    /// Most tokens that a device draws in one go, before any of them is looked at; what
    /// suits its speed if absent. The text does not depend on it.
    pub window: Option<usize>,
}

/// Why the text ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// The model ended it with this token.
    End(u32),
    /// The stop string of this index was found.
    Stop(usize),
    /// It has as many tokens as were asked for.
    Length,
    /// The context is full.
    Context,
    /// The caller did not want more.
    Cancelled,
}

impl Finish {
    /// The word for it in the usual APIs.
    pub fn reason(self) -> &'static str {
        match self {
            Self::End(_) | Self::Stop(_) => "stop",
            Self::Length | Self::Context => "length",
            Self::Cancelled => "cancelled",
        }
    }
}

/// A piece of the text: what one token brought to an end. It may be empty while
/// a character or a stop string is incomplete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Whole characters.
    pub text: String,
    /// The token that was sampled, if one was.
    pub token: Option<u32>,
}

/// An iterator over the pieces of a text that is being generated.
///
/// Dropping it early leaves a session that has seen everything it returned.
pub struct Generation<'a> {
    tokens: Tokens<'a>,
    text: Utf8Stream,
    stop: StopStrings,
    left: usize,
    ends: Vec<u32>,
    finish: Option<Finish>,
}

impl<'a> Generation<'a> {
    pub(crate) fn new(session: &'a mut Session, sampler: &'a mut Sampler, request: &Request) -> Result<Self> {
        if session.logits().is_empty() {
            return Err(Error::BadRequest(
                "there is nothing to continue: feed the session a prompt first".into(),
            ));
        }
        let stop = StopStrings::new(&request.stop).map_err(|e| Error::BadRequest(e.to_string()))?;
        sampler.reset();
        session.tokens().iter().for_each(|&t| sampler.accept(t));
        let ends = match request.ignore_end {
            true => Vec::new(),
            false => session.model().tokenizer().end_of_generation().to_vec(),
        };
        Ok(Self {
            text: Utf8Stream::default(),
            stop,
            left: request.max_tokens.unwrap_or(usize::MAX),
            ends,
            finish: None,
            tokens: Tokens::new(session, sampler, request.window),
        })
    }

    /// Why it ended; `Cancelled` as long as it has not.
    pub fn finish(&self) -> Finish {
        self.finish.unwrap_or(Finish::Cancelled)
    }

    /// Tokens sampled so far.
    pub fn generated(&self) -> usize {
        self.tokens.drawn()
    }

    /// Ends with the text that was held back.
    fn end(&mut self, finish: Finish, token: Option<u32>) -> Result<Piece> {
        self.finish = Some(finish);
        let mut text = String::new();
        if !matches!(finish, Finish::Stop(_)) {
            let tail = self.stop.push(&self.text.finish());
            text = tail.emit;
            match tail.matched {
                Some(i) => self.finish = Some(Finish::Stop(i)),
                None => text += &self.stop.finish(),
            }
        }
        self.tokens.settle()?;
        Ok(Piece { text, token })
    }

    /// The next piece; an empty one without a token if there is nothing left to say.
    fn piece(&mut self) -> Result<Piece> {
        if self.left == 0 {
            return self.end(Finish::Length, None);
        }
        if self.tokens.seen() >= self.tokens.session.model().context() {
            return self.end(Finish::Context, None);
        }
        let token = self.tokens.next(self.left, &self.ends)?;
        self.left -= 1;
        let tokenizer = self.tokens.session.model().tokenizer();
        let is_end = tokenizer.end_of_generation().contains(&token);
        let text = match is_end || tokenizer.is_special(token) {
            true => String::new(),
            false => self.text.push(&tokenizer.token_bytes(token).unwrap_or_default()),
        };
        if self.ends.contains(&token) {
            return self.end(Finish::End(token), Some(token));
        }
        let out = self.stop.push(&text);
        if let Some(i) = out.matched {
            self.finish = Some(Finish::Stop(i));
            self.tokens.settle()?;
        }
        Ok(Piece { text: out.emit, token: Some(token) })
    }
}

impl Iterator for Generation<'_> {
    type Item = Result<Piece>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.finish.is_some() {
            return None;
        }
        match self.piece() {
            Ok(piece) if piece.text.is_empty() && piece.token.is_none() => None,
            Ok(piece) => Some(Ok(piece)),
            Err(e) => {
                self.finish = Some(Finish::Cancelled);
                Some(Err(e))
            }
        }
    }
}

impl Drop for Generation<'_> {
    fn drop(&mut self) {
        // If the device fails now, the session has no logits, and says so when it is
        // continued.
        let _ = self.tokens.settle();
    }
}
