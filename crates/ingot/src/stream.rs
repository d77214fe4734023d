//! Reading a prompt and writing its continuation, with everything a person in
//! front of a terminal expects: progress, text as it comes, ctrl-C.

use crate::failure::Result;
use crate::interrupt::Catching;
use crate::term::Progress;
use ingot::{Finish, Request, Sampler, Session};
use std::io;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

/// A prompt that was read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Read {
    /// Tokens that the session had not seen before.
    pub tokens: usize,
    /// How long it took.
    pub time: Duration,
}

/// Makes the session one that has seen exactly `tokens`, or fewer after ctrl-C.
pub fn read(session: &mut Session, tokens: &[u32], interrupt: &Catching) -> Result<Read> {
    let start = Instant::now();
    let unseen = tokens.strip_prefix(session.tokens()).unwrap_or(tokens).len();
    let progress = Progress::new("reading", unseen);
    let mut read = 0;
    session.advance_to(tokens, |done| {
        read = done;
        progress.set(done);
        if interrupt.pressed() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    Ok(Read { tokens: read, time: start.elapsed() })
}

/// A text that was written.
#[derive(Debug)]
pub struct Written {
    /// The text without what stopped it.
    pub text: String,
    /// Its tokens, with the one that ended it.
    pub tokens: Vec<u32>,
    /// Why it ended.
    pub finish: Finish,
    /// How long it took.
    pub time: Duration,
}

impl Written {
    /// Nothing, because the prompt was broken off.
    pub fn nothing() -> Self {
        Self { text: String::new(), tokens: Vec::new(), finish: Finish::Cancelled, time: Duration::ZERO }
    }
}

/// Continues the session's text and gives each piece to `show` at once.
pub fn write(
    session: &mut Session,
    sampler: &mut Sampler,
    request: &Request,
    interrupt: &Catching,
    mut show: impl FnMut(&str) -> io::Result<()>,
) -> Result<Written> {
    let start = Instant::now();
    let (mut text, mut tokens) = (String::new(), Vec::new());
    let mut generation = session.generate(sampler, request)?;
    while !interrupt.pressed()
        && let Some(piece) = generation.next()
    {
        let piece = piece?;
        show(&piece.text)?;
        text += &piece.text;
        tokens.extend(piece.token);
    }
    Ok(Written { text, tokens, finish: generation.finish(), time: start.elapsed() })
}
