//! A text on its way: its tokens, and who is told about it.

use super::{Demand, Event, Logprobs, Sink, Token};
use crate::grammar::Grammar;
use crate::text::Text;
use crate::{Finish, Result, Sampler, Session, sampler};
use ingot_plan::Draw;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What one of several texts from the same prompt has to itself.
pub(super) struct Choice {
    pub(super) index: usize,
    pub(super) sampler: Sampler,
    pub(super) text: Text,
    pub(super) grammar: Option<Grammar>,
}

impl Choice {
    /// Chooses the next token.
    ///
    /// # Errors
    /// If the grammar came to its limits.
    fn sample(
        &mut self,
        logits: &[f32], // [vocab]
    ) -> Result<u32> {
        let id = match &mut self.grammar {
            None => self.sampler.sample(logits),
            Some(grammar) => {
                let mut allowed = logits.to_vec();
                grammar.mask()?.apply(&mut allowed);
                let id = self.sampler.sample(&allowed);
                grammar.accept(id)?;
                id
            }
        };
        self.sampler.accept(id);
        Ok(id)
    }
}

/// A sequence of tokens that grows.
pub(super) struct Sequence {
    /// The prompt, and what was drawn.
    pub(super) tokens: Vec<u32>,
    pub(super) client: u64,
    /// Place in the order in which jobs came.
    pub(super) arrival: u64,
    choice: Choice,
    /// Texts that begin when the prompt has been read.
    siblings: Vec<Choice>,
    logprobs: Option<usize>,
    sink: Arc<dyn Sink>,
    begun: Progress,
    /// Since when the reader has not been reading.
    stalled: Option<Instant>,
}

/// How far a sequence has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// It waits for the first time.
    New,
    /// It reads its prompt, of which so much was known.
    Reading(usize),
    /// Its reader knows that it writes.
    Writing,
}

impl Sequence {
    /// # Panics
    /// If there are no choices.
    pub(super) fn new(
        prompt: Vec<u32>,
        mut choices: Vec<Choice>,
        logprobs: Option<usize>,
        client: u64,
        arrival: u64,
        sink: Arc<dyn Sink>,
    ) -> Self {
        let siblings = choices.split_off(1);
        let choice = choices.pop().expect("a job has choices");
        let begun = Progress::New;
        Self { tokens: prompt, client, arrival, choice, siblings, logprobs, sink, begun, stalled: None }
    }

    /// Notes that so many tokens of it are known. True the first time, if it is one that
    /// has yet to read its prompt.
    pub(super) fn begin(&mut self, known: usize) -> bool {
        let new = self.begun == Progress::New;
        if new {
            self.begun = Progress::Reading(known);
        }
        new
    }

    /// It has yet to read its prompt.
    pub(super) fn is_reading(&self) -> bool {
        matches!(self.begun, Progress::Reading(_))
    }

    /// Whether it may go on: its reader wants more, and did so within `patience`.
    pub(super) fn demand(&mut self, patience: Duration) -> Demand {
        let demand = self.sink.demand();
        if demand != Demand::Later {
            self.stalled = None;
            return demand;
        }
        let since = *self.stalled.get_or_insert_with(Instant::now);
        if since.elapsed() < patience { Demand::Later } else { Demand::Nothing }
    }

    /// Its reader is behind.
    pub(super) fn is_stalled(&self) -> bool {
        self.sink.demand() == Demand::Later
    }

    /// To be called when all tokens have been read: tells the reader if that was the
    /// prompt, and returns the texts that begin here as well.
    pub(super) fn prompt_read(&mut self) -> Vec<Self> {
        let Progress::Reading(cached) = self.begun else { return Vec::new() };
        self.begun = Progress::Writing;
        self.sink.send(Event::Read { cached });
        for &token in &self.tokens {
            self.choice.sampler.accept(token);
        }
        let sibling = |mut choice: Choice| {
            for &token in &self.tokens {
                choice.sampler.accept(token);
            }
            Self {
                tokens: self.tokens.clone(),
                client: self.client,
                arrival: self.arrival,
                choice,
                siblings: Vec::new(),
                logprobs: self.logprobs,
                sink: self.sink.clone(),
                begun: Progress::Writing,
                stalled: None,
            }
        };
        std::mem::take(&mut self.siblings).into_iter().map(sibling).collect()
    }

    /// The tokens, and what restricts the next one.
    pub(super) fn split(&mut self) -> (&[u32], Option<&mut Grammar>) {
        (&self.tokens, self.choice.grammar.as_mut())
    }

    /// Draws the next token from the session's logits; true if it is the last.
    pub(super) fn draw(&mut self, session: &Session) -> bool {
        if self.choice.text.left() == 0 {
            return self.end(Finish::Length);
        }
        let id = match self.choice.sample(session.logits()) {
            Ok(id) => id,
            Err(e) => {
                self.fail(e);
                return true;
            }
        };
        let logprobs = self.logprobs.map(|top| {
            let (token, top) = sampler::logprobs(session.logits(), id, top);
            Logprobs { token, top }
        });
        self.push(id, logprobs, session)
    }

    /// How a device would draw the next tokens in its place. Only the most probable ones:
    /// others it would draw by other random numbers, and a text must not depend on who
    /// drew.
    pub(super) fn device_draw(&self) -> Option<Draw> {
        let free = self.logprobs.is_none() && self.choice.grammar.is_none();
        let greedy = self.choice.sampler.options().temperature == 0.0;
        self.choice.sampler.device_draw(0).filter(|_| free && greedy && self.begun == Progress::Writing)
    }

    /// The most tokens that it may still get, and those that end it.
    pub(super) fn left(&self) -> (usize, &[u32]) {
        (self.choice.text.left(), self.choice.text.ends())
    }

    /// Appends a token; true if it is the last.
    pub(super) fn push(&mut self, id: u32, logprobs: Option<Logprobs>, session: &Session) -> bool {
        self.tokens.push(id);
        let (text, finish) = self.choice.text.push(id, session.model().tokenizer());
        let choice = self.choice.index;
        self.sink.send(Event::Token(Token { choice, id, text, logprobs }));
        match finish {
            Some(finish) => {
                self.sink.send(Event::End { choice, text: String::new(), finish });
                true
            }
            None if self.choice.grammar.as_ref().is_some_and(Grammar::is_finished) => {
                self.end(Finish::Complete)
            }
            None if self.choice.text.left() == 0 => self.end(Finish::Length),
            None if self.tokens.len() >= session.model().context() => self.end(Finish::Context),
            None => false,
        }
    }

    fn end(&mut self, finish: Finish) -> bool {
        let (text, finish) = self.choice.text.close(finish);
        self.sink.send(Event::End { choice: self.choice.index, text, finish });
        true
    }

    /// Tells the reader that nothing will follow.
    pub(super) fn fail(&self, error: crate::Error) {
        self.sink.send(Event::Failed(error));
    }
}
