//! What all requests share.

use crate::config::Config;
use crate::error::{ApiError, Result};
use crate::metrics::Metrics;
use ingot_engine::grammar::Grammars;
use ingot_engine::{Model, Scheduler};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::Semaphore;

pub(crate) struct App {
    pub(crate) config: Config,
    pub(crate) metrics: Metrics,
    /// Absent while the model is being opened.
    scheduler: OnceLock<Scheduler>,
    /// Made when they are first asked for.
    grammars: OnceLock<Grammars>,
    draining: AtomicBool,
    /// Whose turn it is to make embeddings.
    pub(crate) embedding: Arc<Semaphore>,
    /// Requests that are being answered.
    pub(crate) active: AtomicUsize,
    /// Seconds since 1970 when it started.
    pub(crate) created: u64,
    /// How many ids were given, and what they are mixed with.
    ids: AtomicU64,
    random: RandomState,
}

/// What the server is at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Loading,
    Ready,
    Draining,
    /// The scheduler has ended by itself.
    Failed,
}

impl App {
    pub(crate) fn new(config: Config) -> Self {
        Self {
            config,
            metrics: Metrics::new(),
            scheduler: OnceLock::new(),
            grammars: OnceLock::new(),
            draining: AtomicBool::new(false),
            embedding: Arc::new(Semaphore::new(1)),
            active: AtomicUsize::new(0),
            created: now(),
            ids: AtomicU64::new(0),
            random: RandomState::new(),
        }
    }

    /// Begins to answer with a model.
    pub(crate) fn open(&self, model: Model) {
        let scheduler = Scheduler::start(model, self.config.scheduler.clone());
        assert!(self.scheduler.set(scheduler).is_ok(), "a server has one model");
    }

    /// Takes no new requests for texts.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
    }

    pub(crate) fn state(&self) -> State {
        match (self.draining.load(Ordering::SeqCst), self.scheduler.get()) {
            (true, _) => State::Draining,
            (false, None) => State::Loading,
            (false, Some(scheduler)) if scheduler.is_alive() => State::Ready,
            (false, Some(_)) => State::Failed,
        }
    }

    /// The scheduler, if the server is ready.
    pub(crate) fn scheduler(&self) -> Result<&Scheduler> {
        match (self.state(), self.scheduler.get()) {
            (State::Ready, Some(scheduler)) => Ok(scheduler),
            (State::Draining, _) => Err(ApiError::busy("the server is shutting down").code("draining")),
            (State::Failed, _) => {
                Err(ApiError::busy("the model has failed; restart the server").code("failed"))
            }
            _ => Err(ApiError::busy("the model is still being loaded").code("loading")),
        }
    }

    /// The scheduler, if there is one, whatever the server is doing.
    pub(crate) fn running(&self) -> Option<&Scheduler> {
        self.scheduler.get()
    }

    /// What makes grammars for the model. The first time takes up to half a second.
    pub(crate) fn grammars(&self) -> Result<&Grammars> {
        let tokenizer = self.scheduler()?.model().tokenizer();
        match self.grammars.get() {
            Some(grammars) => Ok(grammars),
            // If somebody else was faster, theirs.
            None => {
                let grammars = Grammars::new(tokenizer)?;
                Ok(self.grammars.get_or_init(|| grammars))
            }
        }
    }

    /// How the model presents itself.
    pub(crate) fn name(&self) -> &str {
        self.config.names.first().map_or("model", String::as_str)
    }

    /// Refuses a request for another model.
    pub(crate) fn check_model(&self, name: Option<&str>) -> Result<()> {
        match name {
            Some(name) if !name.is_empty() && !self.config.names.iter().any(|n| n == name || n == "*") => {
                let message = format!("there is no model '{name}' here, only '{}'", self.name());
                let missing = ApiError::new(axum::http::StatusCode::NOT_FOUND, message);
                Err(missing.code("model_not_found"))
            }
            _ => Ok(()),
        }
    }

    /// A name for something that nothing else has.
    pub(crate) fn id(&self, prefix: &str) -> String {
        let count = self.ids.fetch_add(1, Ordering::Relaxed);
        let [a, b] = [0, 1].map(|half| self.random.hash_one((count, half)));
        format!("{prefix}{a:016x}{b:016x}")
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_secs())
}
