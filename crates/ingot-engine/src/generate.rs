//! From logits to a stream of text, until something says stop.

use crate::draw::Tokens;
use crate::text::Text;
use crate::{Error, Result, Sampler, Session};

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
    /// It has the form that was asked for, and nothing may follow.
    Complete,
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
            Self::End(_) | Self::Stop(_) | Self::Complete => "stop",
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
    text: Text,
    finish: Option<Finish>,
}

impl<'a> Generation<'a> {
    pub(crate) fn new(session: &'a mut Session, sampler: &'a mut Sampler, request: &Request) -> Result<Self> {
        if session.logits().is_empty() {
            return Err(Error::BadRequest(
                "there is nothing to continue: feed the session a prompt first".into(),
            ));
        }
        let text = Text::new(request, session.model().tokenizer())?;
        sampler.reset();
        session.tokens().iter().for_each(|&t| sampler.accept(t));
        Ok(Self { text, finish: None, tokens: Tokens::new(session, sampler, request.window) })
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
    fn end(&mut self, finish: Finish) -> Result<Piece> {
        let (text, finish) = self.text.close(finish);
        self.finish = Some(finish);
        self.tokens.settle()?;
        Ok(Piece { text, token: None })
    }

    /// The next piece; an empty one without a token if there is nothing left to say.
    fn piece(&mut self) -> Result<Piece> {
        if self.text.left() == 0 {
            return self.end(Finish::Length);
        }
        if self.tokens.seen() >= self.tokens.session.model().context() {
            return self.end(Finish::Context);
        }
        let token = self.tokens.next(self.text.left(), self.text.ends())?;
        let (text, finish) = self.text.push(token, self.tokens.session.model().tokenizer());
        self.finish = finish;
        if finish.is_some() {
            self.tokens.settle()?;
        }
        Ok(Piece { text, token: Some(token) })
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
