//! One sequence: the tokens it has seen and what the model made of them.

use crate::generate::{Generation, Request};
use crate::runtime::{Lease, Rows};
use crate::{Error, Model, Result, Sampler, saved};
use ingot_plan::Draw;
use std::ops::ControlFlow;
use std::path::Path;

/// One sequence of tokens on a model.
pub struct Session {
    model: Model,
    lease: Lease,
    tokens: Vec<u32>,
    logits: Vec<f32>,
}

impl Session {
    pub(crate) fn new(model: Model) -> Result<Self> {
        let lease = model.runtime().lease()?;
        Ok(Self { model, lease, tokens: Vec::new(), logits: Vec::new() })
    }

    /// The model it runs on.
    pub fn model(&self) -> &Model {
        &self.model
    }
    /// The tokens seen so far.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }
    /// Logits of what comes next: `[vocab]`, empty before the first token.
    pub fn logits(&self) -> &[f32] {
        &self.logits
    }

    /// Reads tokens, after which [`Session::logits`] are about the next one.
    ///
    /// # Errors
    /// If they do not fit into the context (then nothing was read), an id is not
    /// in the vocabulary, or the machine fails.
    pub fn feed(&mut self, tokens: &[u32]) -> Result<()> {
        self.feed_with(tokens, |_| ControlFlow::Continue(()))
    }

    /// Like [`Session::feed`]; after each piece `progress` is told how many of the
    /// tokens were read and may break off, which leaves the session with those.
    pub fn feed_with(
        &mut self,
        tokens: &[u32],
        mut progress: impl FnMut(usize) -> ControlFlow<()>,
    ) -> Result<()> {
        self.model.check_room(self.tokens.len(), tokens)?;
        let mut done = 0;
        for chunk in tokens.chunks(self.model.chunk()) {
            self.read(chunk, false)?;
            done += chunk.len();
            if progress(done).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Reads tokens and returns the logits after each: `[T, vocab]`.
    pub fn feed_all(&mut self, tokens: &[u32]) -> Result<Vec<f32>> {
        self.model.check_room(self.tokens.len(), tokens)?;
        let mut all = Vec::new();
        for chunk in tokens.chunks(self.model.chunk()) {
            all.extend(self.read(chunk, true)?);
        }
        Ok(all)
    }

    fn read(&mut self, tokens: &[u32], all: bool) -> Result<Vec<f32>> {
        let model = self.model.clone();
        let mut runtime = model.runtime();
        let logits = runtime.step(&mut [self.rows(tokens)], all)?;
        let out = if all { logits.to_vec() } else { Vec::new() };
        self.fed(tokens, &logits[logits.len() - model.info().vocab..]);
        Ok(out)
    }

    /// Makes the session one that has seen exactly `tokens`, reading only what it
    /// has not seen yet where its past is a prefix of them, or can be cut to one.
    pub fn advance_to(
        &mut self,
        tokens: &[u32],
        progress: impl FnMut(usize) -> ControlFlow<()>,
    ) -> Result<()> {
        if self.tokens == tokens && !self.logits.is_empty() {
            return Ok(());
        }
        let common = self.tokens.iter().zip(tokens).take_while(|(a, b)| a == b).count();
        if common < self.tokens.len() || common == tokens.len() {
            // The logits belong to the last token, so at least that is read again.
            let keep = common.min(tokens.len().saturating_sub(1));
            if self.truncate(keep).is_err() {
                self.truncate(0)?;
            }
        }
        let seen = self.tokens.len();
        self.feed_with(&tokens[seen..], progress)
    }

    /// Forgets everything after the first `len` tokens; the logits are gone until
    /// the next token is read.
    ///
    /// # Errors
    /// If the model is recurrent: its state cannot go back, except to nothing.
    pub fn truncate(&mut self, len: usize) -> Result<()> {
        if len >= self.tokens.len() {
            return Ok(());
        }
        let mut runtime = self.model.runtime();
        if let Some(slot) = self.lease.slot {
            if len > 0 {
                return Err(Error::BadRequest("a recurrent state cannot be cut back; fork it before".into()));
            }
            runtime.executor.clear_slot(slot)?;
        }
        runtime.truncate(&mut self.lease, len);
        drop(runtime);
        self.tokens.truncate(len);
        self.logits.clear();
        Ok(())
    }

    /// A second session with the same past. What they have in common is stored
    /// once as long as neither changes it.
    pub fn fork(&self) -> Result<Self> {
        let lease = self.model.runtime().fork(&self.lease)?;
        Ok(Self {
            model: self.model.clone(),
            lease,
            tokens: self.tokens.clone(),
            logits: self.logits.clone(),
        })
    }

    /// Takes over the past of `other`, which is of the same model.
    pub(crate) fn become_like(&mut self, other: &Self) -> Result<()> {
        self.model.runtime().assign(&other.lease, &mut self.lease)?;
        self.tokens.clone_from(&other.tokens);
        self.logits.clone_from(&other.logits);
        Ok(())
    }

    /// Writes the session to a file, under a temporary name first, so that an
    /// earlier file is never lost. `notes` are kept with it.
    pub fn save(&self, path: impl AsRef<Path>, notes: &str) -> Result<()> {
        saved::save(self, path.as_ref(), notes)
    }

    /// Reads a session that was saved with the same model, and its notes.
    pub fn load(model: &Model, path: impl AsRef<Path>) -> Result<(Self, String)> {
        saved::load(model, path.as_ref())
    }

    /// The recurrent state as little-endian f32, layer by layer; `None` if the
    /// model has none.
    pub fn recurrent_state(&self) -> Result<Option<Vec<u8>>> {
        let Some(slot) = self.lease.slot else { return Ok(None) };
        Ok(Some(self.model.runtime().executor.read(ingot_plan::Place::Slot(slot))?))
    }

    /// Continues the text: an iterator over pieces of it.
    pub fn generate<'a>(&'a mut self, sampler: &'a mut Sampler, request: &Request) -> Result<Generation<'a>> {
        Generation::new(self, sampler, request)
    }

    pub(crate) fn rows<'a>(&'a mut self, tokens: &'a [u32]) -> Rows<'a> {
        Rows { past: self.tokens.len(), lease: &mut self.lease, tokens }
    }

    /// True if what the model made of the past cannot be cut back.
    pub(crate) fn is_recurrent(&self) -> bool {
        self.lease.slot.is_some()
    }

    /// Reads a token and then draws up to `steps` tokens on the device, reading all but
    /// the last of them; `None` if the executor does not draw. There are no logits
    /// afterwards.
    pub(crate) fn window(
        &mut self,
        token: u32,
        draw: &Draw,
        ends: &[u32],
        steps: usize,
    ) -> Result<Option<Vec<u32>>> {
        let past = self.tokens.len();
        let drawn = self.model.runtime().window(&mut self.lease, past, token, draw, ends, steps)?;
        if let Some(drawn) = &drawn {
            self.tokens.push(token);
            self.tokens.extend_from_slice(&drawn[..drawn.len().saturating_sub(1)]);
            self.logits.clear();
        }
        Ok(drawn)
    }

    pub(crate) fn fed(&mut self, tokens: &[u32], logits: &[f32]) {
        self.tokens.extend_from_slice(tokens);
        self.logits.clear();
        self.logits.extend_from_slice(logits);
    }

    /// Gives back the memory of the logits: there are none until the next token is read.
    #[cfg(feature = "serving")]
    pub(crate) fn forget_logits(&mut self) {
        self.logits = Vec::new();
    }

    pub(crate) fn lease(&self) -> &Lease {
        &self.lease
    }

    pub(crate) fn restore(&mut self, lease: Lease, tokens: Vec<u32>, logits: Vec<f32>) {
        self.model.runtime().release(&mut self.lease);
        (self.lease, self.tokens, self.logits) = (lease, tokens, logits);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.model.runtime().release(&mut self.lease);
    }
}
