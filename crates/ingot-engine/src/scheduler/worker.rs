//! The loop: admit, step, draw.

use super::prefixes::Prefixes;
use super::sequence::Sequence;
use super::shares::shares;
use super::{Demand, Limits, Shared, Stats};
use crate::draw::Ahead;
use crate::{Error, Model, Session};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::thread;
use std::time::{Duration, Instant};

/// How long to wait when all readers are behind.
const PAUSE: Duration = Duration::from_millis(5);
/// Fewest rows of prompts in a step: prompts have to get on, however slow the machine is.
const FEWEST: usize = 16;
/// Recurrent states are remembered every so many tokens.
const SNAPSHOT: usize = 256;

/// A sequence that has a place.
struct Running {
    sequence: Sequence,
    session: Session,
    /// It took part in the last step.
    stepped: bool,
}

impl Running {
    fn unread(&self) -> &[u32] {
        &self.sequence.tokens[self.session.tokens().len()..]
    }

    /// How many tokens it would read now.
    fn wanted(&mut self, patience: Duration) -> usize {
        match self.sequence.demand(patience) {
            Demand::More => self.unread().len(),
            Demand::Later | Demand::Nothing => 0,
        }
    }

    /// It has read everything there is.
    fn is_through(&self) -> bool {
        self.unread().is_empty()
    }
}

pub(super) struct Worker {
    model: Model,
    limits: Limits,
    jobs: Receiver<Sequence>,
    shared: Arc<Shared>,
    waiting: Vec<Sequence>,
    /// In the order in which they arrived.
    running: Vec<Running>,
    prefixes: Prefixes,
    /// Memory ran out: nobody is admitted before somebody has ended.
    full: bool,
    /// Seconds that a row of a prompt takes.
    pace: f64,
    /// Absent when the executor does not draw tokens itself.
    ahead: Option<Ahead>,
    stats: Stats,
}

impl Worker {
    pub(super) fn new(model: Model, limits: Limits, jobs: Receiver<Sequence>, shared: Arc<Shared>) -> Self {
        let prefixes = Prefixes::new(limits.prefixes);
        let (waiting, running) = (Vec::new(), Vec::new());
        let (full, pace, stats) = (false, 0.0, Stats::default());
        let ahead = Some(Ahead::new(None));
        Self { model, limits, jobs, shared, waiting, running, prefixes, full, pace, ahead, stats }
    }

    pub(super) fn run(mut self) {
        while self.receive() {
            self.drop_unwanted();
            self.admit();
            if !self.window() {
                self.step();
            }
            self.report();
        }
    }

    /// Takes in new sequences, and waits for one if there is nothing to do. False when
    /// there will be none any more.
    fn receive(&mut self) -> bool {
        if self.waiting.is_empty() && self.running.is_empty() {
            match self.jobs.recv() {
                Ok(sequence) => self.waiting.push(sequence),
                Err(_) => return false,
            }
        }
        loop {
            match self.jobs.try_recv() {
                Ok(sequence) => self.waiting.push(sequence),
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    /// Lets go of the sequences whose readers have gone.
    fn drop_unwanted(&mut self) {
        let patience = self.limits.stall;
        let before = self.waiting.len();
        self.waiting.retain_mut(|s| s.demand(patience) != Demand::Nothing);
        self.shared.waiting.fetch_sub(before - self.waiting.len(), Ordering::Relaxed);
        for i in (0..self.running.len()).rev() {
            if self.running[i].sequence.demand(patience) == Demand::Nothing {
                self.retire(i);
            }
        }
    }

    /// Gives places to those that wait: first to whom has the fewest, then to whom came first.
    fn admit(&mut self) {
        self.full &= !self.running.is_empty();
        while !self.full && self.running.len() < self.limits.running {
            let places = |s: &Sequence| self.running.iter().filter(|r| r.sequence.client == s.client).count();
            let order = self.waiting.iter().enumerate().min_by_key(|(_, s)| (places(s), s.arrival));
            let Some((index, sequence)) = order else { return };
            match self.prefixes.find(&self.model, &sequence.tokens) {
                Ok(session) => {
                    let mut sequence = self.waiting.remove(index);
                    self.shared.waiting.fetch_sub(1, Ordering::Relaxed);
                    if sequence.begin(session.tokens().len()) {
                        self.stats.prompt_tokens += sequence.tokens.len() as u64;
                        self.stats.cached_tokens += session.tokens().len() as u64;
                    }
                    self.place(Running { sequence, session, stepped: false });
                }
                Err(Error::OutOfMemory(_)) if self.prefixes.forget() => self.stats.evictions += 1,
                Err(Error::OutOfMemory(_)) if !self.running.is_empty() => self.full = true,
                Err(e) => {
                    self.waiting.remove(index).fail(e);
                    self.shared.waiting.fetch_sub(1, Ordering::Relaxed);
                }
            }
        }
    }

    fn place(&mut self, new: Running) {
        let index = self.running.partition_point(|r| r.sequence.arrival <= new.sequence.arrival);
        self.running.insert(index, new);
    }

    /// One step of all sequences whose readers want more.
    fn step(&mut self) {
        let patience = self.limits.stall;
        let unread: Vec<usize> = self.running.iter_mut().map(|r| r.wanted(patience)).collect();
        let rows = shares(&unread, self.budget(unread.contains(&1)));
        let mut batch = Vec::with_capacity(rows.len());
        let mut grammars = Vec::new();
        for (running, rows) in self.running.iter_mut().zip(rows) {
            let Running { sequence, session, stepped } = running;
            let seen = session.tokens().len();
            let to_snapshot = if session.is_recurrent() { SNAPSHOT - seen % SNAPSHOT } else { rows };
            let rows = rows.min(to_snapshot);
            *stepped = rows > 0;
            if rows > 0 {
                let (tokens, grammar) = sequence.split();
                grammars.extend(grammar.filter(|_| seen + rows == tokens.len()));
                batch.push((session, &tokens[seen..seen + rows]));
            }
        }
        if batch.is_empty() {
            self.pause();
            return;
        }
        let (start, count) = (Instant::now(), batch.iter().map(|(_, tokens)| tokens.len()).sum::<usize>());
        let reading = count > batch.len();
        let done = thread::scope(|scope| {
            if !grammars.is_empty() {
                // What goes wrong is said again when the mask is used.
                scope.spawn(|| grammars.into_iter().for_each(|grammar| _ = grammar.mask()));
            }
            self.model.step(&mut batch)
        });
        drop(batch);
        match done {
            Ok(()) => {
                if reading {
                    let pace = start.elapsed().as_secs_f64() / count as f64;
                    self.pace = if self.pace == 0.0 { pace } else { 0.7 * self.pace + 0.3 * pace };
                }
                self.stats.steps += 1;
                self.stats.rows += count as u64;
                self.stats.batch = count;
                self.after_step();
            }
            Err(Error::OutOfMemory(what)) => self.make_room(what),
            Err(e) => self.fail_all(&e),
        }
    }

    /// Several steps in one go, if there is one text to write and nothing else to do, and
    /// its tokens can be drawn where the model runs. False if not.
    fn window(&mut self) -> bool {
        let ([Running { sequence, session, .. }], Some(ahead)) = (&mut self.running[..], &mut self.ahead)
        else {
            return false;
        };
        let (Some(draw), &[.., token]) = (sequence.device_draw(), &sequence.tokens[..]) else { return false };
        let (seen, (left, ends)) = (session.tokens().len(), sequence.left());
        let room = self.model.context().saturating_sub(sequence.tokens.len());
        let steps = ahead.steps(left.min(room));
        let alone = self.waiting.is_empty() && sequence.tokens.len() == seen + 1;
        // Memory for the way back, or for the steps, is made room for by an ordinary step.
        if !alone || steps < 2 || sequence.is_stalled() || ahead.remember(session).is_err() {
            return false;
        }
        let start = Instant::now();
        let drawn = match session.window(token, &draw, ends, steps) {
            Ok(Some(drawn)) => drawn,
            Ok(None) => {
                self.ahead = None;
                return false;
            }
            Err(Error::OutOfMemory(_)) => return false,
            Err(e) => {
                self.fail_all(&e);
                return true;
            }
        };
        ahead.pace = start.elapsed() / steps as u32;
        (self.stats.steps, self.stats.rows) =
            (self.stats.steps + steps as u64, self.stats.rows + steps as u64);
        self.stats.batch = 1;
        let count = drawn.len();
        let end = drawn.into_iter().position(|id| {
            self.stats.generated_tokens += 1;
            sequence.push(id, None, session)
        });
        let Some(end) = end else { return true };
        if session.truncate(seen + 1 + end).is_err() && end + 1 < count
            || session.is_recurrent() && count < steps
        {
            // It has read too much, or what is in its slot is something else.
            if let Some(before) = &mut ahead.before {
                std::mem::swap(session, before);
            }
        }
        self.retire(0);
        true
    }

    /// Rows of prompts that the next step may have.
    fn budget(&self, writing: bool) -> usize {
        let chunk = self.model.chunk();
        match writing && self.pace > 0.0 {
            true => ((self.limits.step.as_secs_f64() / self.pace) as usize).clamp(FEWEST, chunk),
            false => chunk,
        }
    }

    /// Draws for those that have read all of their tokens.
    fn after_step(&mut self) {
        self.snapshot();
        // There are more of them on the way: siblings are placed behind the one they begin from.
        let mut i = 0;
        while i < self.running.len() {
            let running = &mut self.running[i];
            if running.is_through() {
                let siblings = running.sequence.prompt_read();
                siblings.into_iter().for_each(|sibling| self.begin_sibling(sibling, i));
            }
            i += 1;
        }
        for i in (0..self.running.len()).rev() {
            let Running { sequence, session, .. } = &mut self.running[i];
            if session.tokens().len() == sequence.tokens.len() {
                let before = sequence.tokens.len();
                let ended = sequence.draw(session);
                self.stats.generated_tokens += (sequence.tokens.len() - before) as u64;
                if ended {
                    self.retire(i);
                }
            }
        }
    }

    /// Remembers recurrent states that others may begin with: at the ends of prompts and
    /// at regular places.
    fn snapshot(&mut self) {
        for running in &self.running {
            let session = &running.session;
            let at_place = session.tokens().len() % SNAPSHOT == 0;
            let wanted = running.stepped && session.is_recurrent();
            if wanted && (at_place || running.sequence.is_reading() && running.is_through()) {
                // Without memory for it nothing is lost.
                if let Ok(copy) = session.fork() {
                    self.stats.evictions += self.prefixes.keep(copy);
                }
            }
        }
    }

    /// A text that goes on from where the running one of this index is.
    fn begin_sibling(&mut self, sequence: Sequence, index: usize) {
        match self.running[index].session.fork() {
            Ok(session) => self.place(Running { sequence, session, stepped: false }),
            // It will read the prompt by itself, when there is room.
            Err(_) => self.wait(sequence),
        }
    }

    fn wait(&mut self, sequence: Sequence) {
        self.shared.waiting.fetch_add(1, Ordering::Relaxed);
        self.waiting.push(sequence);
    }

    /// Takes a sequence's place, and remembers what it read.
    fn retire(&mut self, index: usize) {
        let Running { session, .. } = self.running.remove(index);
        self.stats.evictions += self.prefixes.keep(session);
        self.full = false;
    }

    /// Forgets what was only remembered; or else makes the sequence that came last wait,
    /// to read its tokens again later; or else there is no way.
    fn make_room(&mut self, what: String) {
        if self.prefixes.forget() {
            self.stats.evictions += 1;
            return;
        }
        let Some(Running { sequence, .. }) = self.running.pop() else { return };
        if self.running.is_empty() {
            sequence.fail(Error::OutOfMemory(what));
        } else {
            self.stats.preemptions += 1;
            self.full = true;
            self.wait(sequence);
        }
    }

    /// The machine failed, and with it everything that it had.
    fn fail_all(&mut self, error: &Error) {
        for running in self.running.drain(..) {
            running.sequence.fail(Error::Device(error.to_string()));
        }
        while self.prefixes.forget() {}
    }

    /// Waits for readers, or for someone new.
    fn pause(&mut self) {
        if self.running.is_empty() {
            return;
        }
        if let Ok(sequence) = self.jobs.recv_timeout(PAUSE) {
            self.waiting.push(sequence);
        }
    }

    fn report(&mut self) {
        self.stats.running = self.running.len();
        self.stats.prefixes = self.prefixes.len();
        self.stats.memory = self.model.memory_in_use();
        *self.shared.stats.lock().unwrap_or_else(|e| e.into_inner()) = self.stats;
    }
}
