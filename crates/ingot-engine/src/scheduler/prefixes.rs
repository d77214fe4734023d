//! What sequences had read when they ended, for those that begin alike.
//!
//! A remembered session costs little: pages are shared with whoever continues it, and
//! the longest of several sessions that continue each other stands for all of them.
//! A recurrent state cannot be cut back, so of recurrent models several places of a
//! sequence are remembered. There are few entries, and most differ from what is looked
//! for within their first tokens, so a list will do.

use crate::{Model, Result, Session};

/// Beginnings shorter than this are read again.
const LEAST: usize = 8;

/// Remembered sessions.
pub(super) struct Prefixes {
    /// The least recently used one first.
    sessions: Vec<Session>,
    most: usize,
}

impl Prefixes {
    /// Room for so many.
    pub(super) fn new(most: usize) -> Self {
        Self { sessions: Vec::new(), most }
    }

    pub(super) fn len(&self) -> usize {
        self.sessions.len()
    }

    /// A session that has read as much as is known of the beginning of `tokens`, but
    /// not all of it: the last one has to be read for its logits.
    pub(super) fn find(&mut self, model: &Model, tokens: &[u32]) -> Result<Session> {
        let usable = |session: &Session| {
            let common = common(session.tokens(), &tokens[..tokens.len() - 1]);
            let whole = common == session.tokens().len();
            if whole || !session.is_recurrent() { common } else { 0 }
        };
        let lengths = self.sessions.iter().map(usable).enumerate();
        match lengths.max_by_key(|&(_, length)| length) {
            Some((index, length)) if length >= LEAST => {
                self.touch(index);
                let mut session = self.sessions.last().expect("touched").fork()?;
                session.truncate(length)?;
                Ok(session)
            }
            _ => model.session(),
        }
    }

    /// Remembers a session; how many were forgotten for it.
    pub(super) fn keep(&mut self, mut session: Session) -> u64 {
        if session.tokens().len() < LEAST || self.most == 0 {
            return 0;
        }
        session.forget_logits();
        let tokens = session.tokens();
        let covered = |known: &Session| {
            let common = common(known.tokens(), tokens);
            common == tokens.len() && (known.tokens().len() == common || !known.is_recurrent())
        };
        if let Some(index) = self.sessions.iter().position(covered) {
            self.touch(index);
            return 0;
        }
        if !session.is_recurrent() {
            self.sessions.retain(|known| !tokens.starts_with(known.tokens()));
        }
        self.sessions.push(session);
        match self.sessions.len() > self.most {
            true => u64::from(self.forget()),
            false => 0,
        }
    }

    /// Forgets the one that was not used for longest, if there is one.
    pub(super) fn forget(&mut self) -> bool {
        let any = !self.sessions.is_empty();
        self.sessions.drain(..usize::from(any));
        any
    }

    fn touch(&mut self, index: usize) {
        let session = self.sessions.remove(index);
        self.sessions.push(session);
    }
}

/// Length of what two lists have in common.
fn common(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}
