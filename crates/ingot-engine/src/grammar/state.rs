//! A grammar within one text.

use super::mask::Mask;
use crate::{Error, Result};
use llguidance::Matcher;
use llguidance::toktrie::TokEnv;

/// Where a text is in its grammar. Clones are independent of each other.
pub struct Grammar {
    matcher: Matcher,
    vocabulary: TokEnv,
    /// That of the current state, once it was asked for.
    mask: Option<Mask>,
}

impl Clone for Grammar {
    fn clone(&self) -> Self {
        // An ordinary clone shares the automaton, which grows up to a limit as texts go through it: whether one
        // text meets that limit would depend on the others.
        Self {
            matcher: self.matcher.deep_clone(),
            vocabulary: self.vocabulary.clone(),
            mask: self.mask.clone(),
        }
    }
}

impl Grammar {
    pub(super) fn new(matcher: Matcher, vocabulary: TokEnv) -> Self {
        Self { matcher, vocabulary, mask: None }
    }

    /// The tokens that may come next, of which there is at least one. It is computed once for a state, which can
    /// take milliseconds and is best done while the model runs.
    ///
    /// # Errors
    /// [`Error::BadRequest`] if it would cost more than the limits of the grammar, or if no token continues the
    /// text; the grammar is of no more use then.
    pub fn mask(&mut self) -> Result<&Mask> {
        if self.mask.is_none() {
            let tokens = if self.is_finished() {
                self.vocabulary.tok_trie().eos_token_set()
            } else {
                self.matcher.compute_mask().map_err(|e| failed(&e))?
            };
            self.mask = Some(Mask::new(tokens));
        }
        Ok(self.mask.as_ref().expect("it was computed above"))
    }

    /// Takes the next token of the text.
    ///
    /// # Errors
    /// [`Error::BadRequest`] if the grammar does not allow it, which changes nothing, and as for
    /// [`Grammar::mask`].
    pub fn accept(&mut self, token: u32) -> Result<()> {
        if !self.mask()?.allows(token) {
            return Err(Error::BadRequest(format!("the grammar does not allow token {token} here")));
        }
        if self.is_finished() {
            return Ok(());
        }
        self.mask = None;
        self.matcher.consume_token(token).map_err(|e| failed(&e))
    }

    /// Whether the text is complete: nothing but its end may follow.
    pub fn is_finished(&self) -> bool {
        self.matcher.is_stopped() && !self.matcher.is_error()
    }
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::BadRequest(format!("grammar: {}", super::compile::message(error)))
}
