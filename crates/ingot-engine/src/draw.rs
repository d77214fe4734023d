//! Where the tokens of a generation come from.
//!
//! The host draws from the session's logits; or, where the executor can draw by
//! itself, tokens come in windows: several steps in one submission, without the
//! logits ever leaving the device. A window may run ahead of what is wanted. When
//! the generation ends, [`Tokens::settle`] leaves a session that has seen exactly
//! the tokens that were handed out.

use crate::{Error, Result, Sampler, Session};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Most steps of a window, unless the request says otherwise.
const MOST_STEPS: usize = 8;
/// About how long a window may keep its tokens back, unless the request says how
/// many they may be.
const PATIENCE: Duration = Duration::from_millis(50);

pub(crate) struct Tokens<'a> {
    pub(crate) session: &'a mut Session,
    sampler: &'a mut Sampler,
    /// Drawn and not handed out yet. The session has seen all but the last of them.
    ahead: VecDeque<u32>,
    /// The last token handed out, if the session has not seen it.
    unseen: Option<u32>,
    windows: Windows,
    drawn: usize,
}

/// Whether windows are used.
enum Windows {
    Never,
    Yes(Ahead),
}

/// How far windows may run ahead, and the way back.
pub(crate) struct Ahead {
    /// Most steps of a window; absent, as many as [`PATIENCE`] allows.
    most: Option<usize>,
    /// The session before the last window, if it cannot be cut back.
    pub(crate) before: Option<Box<Session>>,
    /// Time of a step in the last window.
    pub(crate) pace: Duration,
    /// What the session made of the last window may be something else than its tokens:
    /// it came to an end before its last step, or failed.
    spoiled: bool,
}

impl<'a> Tokens<'a> {
    /// Tokens that continue a session; `most` is the number of steps of a window.
    pub(crate) fn new(session: &'a mut Session, sampler: &'a mut Sampler, most: Option<usize>) -> Self {
        let windows = match sampler.device_draw(0) {
            Some(_) => Windows::Yes(Ahead::new(most)),
            None => Windows::Never,
        };
        Self { session, sampler, ahead: VecDeque::new(), unseen: None, windows, drawn: 0 }
    }

    /// Number of tokens that are part of the text: what the session has seen, less
    /// what it has seen too much, and what it has not seen yet.
    pub(crate) fn seen(&self) -> usize {
        let too_many = self.ahead.len().saturating_sub(1);
        self.session.tokens().len() - too_many + usize::from(self.unseen.is_some())
    }

    /// Tokens handed out so far.
    pub(crate) fn drawn(&self) -> usize {
        self.drawn
    }

    /// The next token. At most `left` will be asked for, this one included; after one
    /// of `ends` none will.
    pub(crate) fn next(&mut self, left: usize, ends: &[u32]) -> Result<u32> {
        if let Some(token) = self.unseen
            && self.ahead.is_empty()
        {
            self.window(token, left, ends)?;
        }
        let token = match self.ahead.pop_front() {
            Some(token) => {
                self.unseen = self.ahead.is_empty().then_some(token);
                token
            }
            None => {
                let token = self.sampler.sample(self.session.logits());
                match self.windows {
                    Windows::Never => self.session.feed(&[token])?,
                    Windows::Yes(_) => self.unseen = Some(token),
                }
                token
            }
        };
        self.sampler.accept(token);
        self.drawn += 1;
        Ok(token)
    }

    /// Fills `ahead` by a window that begins with a token the session has not seen;
    /// if the executor has no windows, shows the session that token.
    fn window(&mut self, token: u32, left: usize, ends: &[u32]) -> Result<()> {
        let Windows::Yes(ahead) = &mut self.windows else { return Ok(()) };
        // The last token of a full context is never followed by another.
        let room = self.session.model().context().saturating_sub(self.session.tokens().len() + 1);
        let steps = ahead.steps(left.min(room));
        let draw = self.sampler.device_draw(self.drawn).expect("checked at the beginning");
        let start = Instant::now();
        let drawn = match ahead.remember(self.session) {
            Ok(()) => {
                ahead.spoiled = true; // until it went well
                self.session.window(token, &draw, ends, steps)?
            }
            // No room for a way back: one token after the other. It is the first one's that
            // is missing, so that no text has begun with the device's numbers.
            Err(Error::OutOfMemory(_)) if ahead.before.is_none() => None,
            Err(e) => return Err(e),
        };
        match drawn {
            Some(tokens) => {
                ahead.pace = start.elapsed() / steps as u32;
                ahead.spoiled = tokens.len() < steps;
                self.ahead.extend(tokens);
            }
            None => {
                self.windows = Windows::Never;
                self.session.feed(&[token])?;
            }
        }
        self.unseen = None;
        Ok(())
    }

    /// Leaves a session that has seen all tokens handed out and no other, and has the
    /// logits of what comes next.
    pub(crate) fn settle(&mut self) -> Result<()> {
        let waiting = self.ahead.len();
        if waiting == 0 && self.unseen.is_none() {
            return Ok(());
        }
        self.ahead.clear();
        let mut tokens = self.session.tokens().to_vec();
        // Of those that wait the session has seen all but the last.
        tokens.truncate(tokens.len() - waiting.saturating_sub(1));
        tokens.extend(self.unseen.take());
        // A window leaves no logits: at least the last token is read, again if need be.
        let mut known = tokens.len() - 1;
        if let Windows::Yes(Ahead { before: Some(before), spoiled, .. }) = &mut self.windows
            && (waiting > 0 || *spoiled)
        {
            std::mem::swap(self.session, before);
            known = self.session.tokens().len();
        }
        self.session.truncate(known)?;
        self.session.feed(&tokens[known..])
    }
}

impl Ahead {
    /// For windows of at most so many steps.
    pub(crate) fn new(most: Option<usize>) -> Self {
        Self { most, before: None, pace: PATIENCE / 2, spoiled: false }
    }

    /// Steps of the next window if there is use for so many tokens: a power of two, so
    /// that few lengths have to be recorded.
    pub(crate) fn steps(&self, wanted: usize) -> usize {
        let most = self.most.unwrap_or_else(|| {
            let patient = PATIENCE.as_secs_f64() / self.pace.as_secs_f64().max(1e-6);
            MOST_STEPS.min(patient as usize)
        });
        1 << wanted.min(most).max(1).ilog2()
    }

    /// Keeps what a session is now, if it could not be cut back to it.
    pub(crate) fn remember(&mut self, session: &Session) -> Result<()> {
        match &mut self.before {
            _ if !session.is_recurrent() => {}
            Some(before) => before.become_like(session)?,
            none => *none = Some(Box::new(session.fork()?)),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ExecutorKind, Finish, Model, Options, Request, SamplerOptions};
    use ingot_format::{DType, ModelFile};
    use ingot_plan::{ExecError, Executor, Place, Plan, Reference, Step, Window};
    use std::sync::{Arc, Mutex};

    /// Draws the most probable tokens in windows and leaves as little behind as it may.
    struct Drawing {
        reference: Reference,
        /// Steps of all windows so far.
        windows: Arc<Mutex<Vec<usize>>>,
        /// The window of this number fails.
        fails: usize,
    }

    impl Drawing {
        fn spoil(&mut self, slot: u32) -> Result<(), ExecError> {
            let bytes = vec![0xff; self.read(Place::Slot(slot))?.len()];
            self.write(Place::Slot(slot), &bytes)
        }
    }

    impl Executor for Drawing {
        fn plan(&self) -> &Plan {
            self.reference.plan()
        }
        fn cache_type(&self) -> DType {
            self.reference.cache_type()
        }
        fn reserve(&mut self, pages: usize, slots: usize) -> Result<(), ExecError> {
            self.reference.reserve(pages, slots)
        }
        fn run(&mut self, step: &Step, logits: &mut Vec<f32>) -> Result<(), ExecError> {
            self.reference.run(step, logits)
        }
        fn window(&mut self, w: &Window, told: &mut dyn FnMut(usize, u32)) -> Result<bool, ExecError> {
            self.windows.lock().unwrap().push(w.steps);
            let (mut step, mut logits) = (w.first.clone(), Vec::new());
            let slot = step.sequences[0].slot;
            for i in 0..w.steps {
                self.run(&step, &mut logits)?;
                let token = ingot_golden::argmax(&logits);
                told(0, token);
                step.tokens[0] = token;
                step.sequences[0].past += 1;
                if w.ends.contains(&token) && i + 1 < w.steps {
                    self.spoil(slot)?;
                    break;
                }
            }
            if self.windows.lock().unwrap().len() == self.fails {
                self.spoil(slot)?;
                return Err(ExecError::Device("fell over".into()));
            }
            Ok(true)
        }
        fn copy(&mut self, from: Place, to: Place) -> Result<(), ExecError> {
            self.reference.copy(from, to)
        }
        fn clear_slot(&mut self, slot: u32) -> Result<(), ExecError> {
            self.reference.clear_slot(slot)
        }
        fn read(&self, place: Place) -> Result<Vec<u8>, ExecError> {
            self.reference.read(place)
        }
        fn write(&mut self, place: Place, bytes: &[u8]) -> Result<(), ExecError> {
            self.reference.write(place, bytes)
        }
    }

    const PROMPT: [u32; 3] = [7, 11, 13];

    /// A recurrent model on such an executor, with the steps of its windows.
    fn model(fails: usize) -> (Model, Arc<Mutex<Vec<usize>>>) {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/models/rwkv7-s-q8_0.gguf");
        let file = ModelFile::open(path.as_ref()).unwrap();
        let options = Options { executor: ExecutorKind::Reference, ..Options::default() };
        let model = Model::from_file(&file, path.as_ref(), &options).unwrap();
        let loaded = ingot_models::Model::load(&file, Default::default()).unwrap();
        let windows = Arc::default();
        let reference = Reference::new(loaded.plan, loaded.weights);
        let executor = Drawing { reference, windows: Arc::clone(&windows), fails };
        model.runtime().executor = Box::new(executor);
        (model, windows)
    }

    fn prompted(model: &Model) -> Session {
        let mut session = model.session().unwrap();
        session.feed(&PROMPT).unwrap();
        session
    }

    fn greedy() -> Sampler {
        Sampler::new(SamplerOptions { temperature: 0.0, ..SamplerOptions::default() }).unwrap()
    }

    /// The session is one that was fed its tokens.
    fn check(session: &Session) {
        let mut fed = session.model().session().unwrap();
        fed.feed(session.tokens()).unwrap();
        assert_eq!(session.logits(), fed.logits());
        assert_eq!(session.recurrent_state().unwrap(), fed.recurrent_state().unwrap());
    }

    #[test]
    fn windows_are_as_long_as_there_is_use_for() {
        let lengths = |max_tokens, window| {
            let (model, windows) = model(0);
            let mut session = prompted(&model);
            let request =
                Request { max_tokens: Some(max_tokens), ignore_end: true, window, ..Request::default() };
            let mut sampler = greedy();
            let pieces = session.generate(&mut sampler, &request).unwrap();
            assert_eq!(pieces.filter(|p| p.as_ref().unwrap().token.is_some()).count(), max_tokens);
            check(&session);
            windows.lock().unwrap().clone()
        };
        // The first token is drawn from the prompt's logits.
        assert_eq!(lengths(1, Some(8)), [] as [usize; 0]);
        assert_eq!(lengths(2, Some(8)), [1]);
        assert_eq!(lengths(22, Some(8)), [8, 8, 4, 1]);
        assert_eq!(lengths(10, Some(5)), [4, 4, 1]);
        assert_eq!(lengths(3, Some(0)), [1, 1]);
        assert_eq!(lengths(40, Some(64)), [32, 4, 2, 1]);
        assert_eq!(lengths(20, None)[0], 2, "until the pace is known");
    }

    #[test]
    fn an_end_within_a_window_spoils_nothing() {
        let (model, windows) = model(0);
        let mut session = prompted(&model);
        let mut text = Vec::new();
        for _ in 0..6 {
            text.push(ingot_golden::argmax(session.logits()));
            session.feed(&text[text.len() - 1..]).unwrap();
        }
        for i in (1..6).filter(|&i| !text[..i].contains(&text[i])) {
            let mut session = prompted(&model);
            let mut sampler = greedy();
            let mut drawing = Tokens::new(&mut session, &mut sampler, Some(8));
            let drawn: Vec<u32> = (0..=i).map(|_| drawing.next(99, &text[i..=i]).unwrap()).collect();
            drawing.settle().unwrap();
            assert_eq!(drawn, text[..=i]);
            assert_eq!(session.tokens(), [&PROMPT[..], &drawn].concat());
            check(&session);
        }
        assert!(windows.lock().unwrap().len() > 2, "{text:?}");
    }

    #[test]
    fn a_window_that_fails_takes_nothing_with_it() {
        let (model, windows) = model(2);
        let mut session = prompted(&model);
        let request = Request { ignore_end: true, window: Some(4), ..Request::default() };
        let mut sampler = greedy();
        let mut generation = session.generate(&mut sampler, &request).unwrap();
        let pieces: Vec<_> = generation.by_ref().collect();
        assert_eq!(generation.finish(), Finish::Cancelled);
        drop(generation);
        assert_eq!(*windows.lock().unwrap(), [4, 4]);
        let (last, whole) = pieces.split_last().unwrap();
        assert!(last.as_ref().is_err_and(|e| e.to_string().contains("fell over")), "{last:?}");
        let tokens: Vec<u32> = whole.iter().map(|p| p.as_ref().unwrap().token.unwrap()).collect();
        assert_eq!(tokens.len(), 5);
        assert_eq!(session.tokens(), [&PROMPT[..], &tokens].concat());
        check(&session);
    }
}
