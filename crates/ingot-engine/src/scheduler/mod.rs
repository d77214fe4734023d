//! Many texts from one model at once.
//!
//! A [`Scheduler`] owns a thread that puts tokens of all running sequences into one
//! step after the other: a token of each text that is being written, and pieces of
//! the prompts that are being read. A sequence is nothing but its tokens and how many
//! of them its session has read; whoever has read all of them gets another one. So
//! reading a prompt, writing, and coming back after having had to make room are the
//! same thing.
//!
//! * `worker` is the loop: admit, step, draw.
//! * `shares` says how many rows of a step each sequence gets.
//! * `sequence` is a text on its way.
//! * `prefixes` remembers what sequences had read when they ended.

mod prefixes;
mod sequence;
mod shares;
mod worker;

use crate::grammar::Grammar;
use crate::text::Text;
use crate::{Error, Finish, Model, Request, Result, Sampler, SamplerOptions};
use sequence::{Choice, Sequence};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;
use worker::Worker;

/// What a scheduler allows itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most sequences that run at the same time.
    pub running: usize,
    /// Most sequences that wait for a place.
    pub waiting: usize,
    /// About how long a step may take while texts are being written: prompts are read
    /// in pieces that fit into it.
    pub step: Duration,
    /// Most ends of sequences that are remembered for those who continue them.
    pub prefixes: usize,
    /// How long a reader may leave its events lying before its sequences are ended.
    pub stall: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let (step, stall) = (Duration::from_millis(100), Duration::from_secs(60));
        Self { running: 64, waiting: 256, step, prefixes: 64, stall }
    }
}

/// Texts to be generated from one prompt.
pub struct Job {
    /// What is continued; not empty.
    pub prompt: Vec<u32>,
    /// How each of the texts chooses its tokens.
    pub choices: Vec<SamplerOptions>,
    /// When to stop. (The length of windows is the scheduler's business.)
    pub request: Request,
    /// Report the log-probability of each token, and of so many of the most probable.
    pub logprobs: Option<usize>,
    /// The form that the texts must have.
    pub grammar: Option<Grammar>,
    /// Whose job it is: those with few running sequences come first.
    pub client: u64,
    /// Who is told.
    pub sink: Arc<dyn Sink>,
}

/// Someone who reads events.
pub trait Sink: Send + Sync {
    /// Takes an event. It must not block.
    fn send(&self, event: Event);
    /// Whether more is wanted.
    fn demand(&self) -> Demand;
}

/// What a reader wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    /// To go on.
    More,
    /// To read what there is first.
    Later,
    /// Nothing: it has gone.
    Nothing,
}

/// What becomes of a job.
#[derive(Debug)]
pub enum Event {
    /// The prompt was read.
    Read {
        /// So many of its tokens had been read before, for another job.
        cached: usize,
    },
    /// Another token.
    Token(Token),
    /// A choice is complete.
    End {
        /// Which one.
        choice: usize,
        /// Text that was held back until now.
        text: String,
        /// Why.
        finish: Finish,
    },
    /// There will be nothing more.
    Failed(Error),
}

/// A token of a choice.
#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    /// Index of the choice.
    pub choice: usize,
    /// Its id.
    pub id: u32,
    /// The characters that it completes; empty while a character or a stop string is
    /// incomplete, and for control tokens.
    pub text: String,
    /// If they were asked for.
    pub logprobs: Option<Logprobs>,
}

/// Natural log-probabilities of the model's own distribution.
#[derive(Clone, Debug, PartialEq)]
pub struct Logprobs {
    /// Of the token.
    pub token: f32,
    /// Of the most probable ones.
    pub top: Vec<(u32, f32)>,
}

/// Figures since the start, and of the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Sequences that wait for a place.
    pub waiting: usize,
    /// Sequences that have one.
    pub running: usize,
    /// Steps so far.
    pub steps: u64,
    /// Rows of all steps.
    pub rows: u64,
    /// Rows of the last step.
    pub batch: usize,
    /// Tokens of prompts.
    pub prompt_tokens: u64,
    /// Those of them that did not have to be read again.
    pub cached_tokens: u64,
    /// Tokens drawn.
    pub generated_tokens: u64,
    /// Sequences that had to make room and read their tokens again.
    pub preemptions: u64,
    /// Remembered ends of sequences.
    pub prefixes: usize,
    /// Those that were forgotten to make room.
    pub evictions: u64,
    /// Memory of running and remembered sequences, in bytes.
    pub memory: u64,
}

/// Why a job was not taken.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// It makes no sense for this model.
    #[error(transparent)]
    Bad(#[from] Error),
    /// Too many others wait.
    #[error("{waiting} requests are waiting already; try again later")]
    Busy {
        /// How many.
        waiting: usize,
    },
    /// The scheduler has ended.
    #[error("the model is not running any more")]
    Ended,
}

/// A model that works for many.
pub struct Scheduler {
    model: Model,
    limits: Limits,
    jobs: mpsc::Sender<Sequence>,
    arrivals: AtomicU64,
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

/// What the thread and those outside of it both see.
#[derive(Default)]
struct Shared {
    /// Sequences that were sent or wait.
    waiting: AtomicUsize,
    stats: Mutex<Stats>,
}

impl Scheduler {
    /// Starts the thread. It ends when the scheduler is dropped.
    pub fn start(model: Model, limits: Limits) -> Self {
        let (jobs, received) = mpsc::channel();
        let shared = Arc::<Shared>::default();
        let worker = Worker::new(model.clone(), limits.clone(), received, shared.clone());
        let thread = std::thread::Builder::new()
            .name("scheduler".into())
            .spawn(move || worker.run())
            .expect("the system has threads");
        Self { model, limits, jobs, arrivals: AtomicU64::new(0), shared, thread }
    }

    /// Whether jobs are done. If not, the thread has panicked, and only another process helps.
    pub fn is_alive(&self) -> bool {
        !self.thread.is_finished()
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Takes a job.
    ///
    /// # Errors
    /// If it makes no sense, or too many wait.
    pub fn submit(&self, job: Job) -> Result<(), Refused> {
        self.check(&job)?;
        let tokenizer = self.model.tokenizer();
        let mut choices = Vec::with_capacity(job.choices.len());
        for (index, options) in job.choices.into_iter().enumerate() {
            let sampler = Sampler::new(options).map_err(|e| Error::BadRequest(e.to_string()))?;
            let (text, grammar) = (Text::new(&job.request, tokenizer)?, job.grammar.clone());
            choices.push(Choice { index, sampler, text, grammar });
        }
        let waiting = self.shared.waiting.fetch_add(1, Ordering::Relaxed);
        if waiting >= self.limits.waiting {
            self.shared.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(Refused::Busy { waiting });
        }
        let arrival = self.arrivals.fetch_add(1, Ordering::Relaxed);
        let sequence = Sequence::new(job.prompt, choices, job.logprobs, job.client, arrival, job.sink);
        self.jobs.send(sequence).map_err(|_| Refused::Ended)
    }

    fn check(&self, job: &Job) -> Result<()> {
        if job.choices.is_empty() {
            return Err(Error::BadRequest("there is nothing to write".into()));
        }
        // There has to be room for an answer.
        self.model.check_room(1, &job.prompt)
    }

    /// What is going on.
    pub fn stats(&self) -> Stats {
        let stats = *self.shared.stats.lock().unwrap_or_else(|e| e.into_inner());
        Stats { waiting: self.shared.waiting.load(Ordering::Relaxed), ..stats }
    }
}
