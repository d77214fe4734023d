//! From what a request asks for to texts: jobs for the scheduler, and what comes back.

use crate::app::App;
use crate::error::{ApiError, Result};
use ingot_engine::grammar::Grammar;
use ingot_engine::scheduler::{Demand, Event, Job, Sink, Token};
use ingot_engine::{Finish, Model, Request, SamplerOptions};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::{Instant, timeout, timeout_at};

/// Events that may lie unread before the scheduler waits for their reader.
const BACKLOG: usize = 1024;
/// How long a request may wait for its turn before its answer begins: an error until
/// then has a status of its own.
const HEAD_START: Duration = Duration::from_secs(5);

/// What to write.
pub(crate) struct Order {
    /// Each is continued on its own.
    pub(crate) prompts: Vec<Vec<u32>>,
    /// Texts for each of the prompts.
    pub(crate) choices: Vec<SamplerOptions>,
    pub(crate) request: Request,
    pub(crate) logprobs: Option<usize>,
    pub(crate) grammar: Option<Grammar>,
    /// Whose request it is.
    pub(crate) client: u64,
}

/// Texts that are being written. Dropping it ends them.
pub(crate) struct Texts {
    app: Arc<App>,
    model: Model,
    events: Receiver<Event>,
    /// The first one, if it was waited for.
    early: Option<Event>,
    /// Texts without an end.
    open: usize,
    arrival: Instant,
    /// When each of the texts had its last token.
    last: Vec<Option<Instant>>,
    deadline: Instant,
    pub(crate) usage: Usage,
}

/// Tokens of a request.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    pub(crate) prompt: usize,
    pub(crate) cached: usize,
    pub(crate) generated: usize,
}

/// What happens to texts.
pub(crate) enum Part {
    Token(Token),
    End { choice: usize, text: String, finish: Finish },
}

impl Texts {
    /// Begins to write.
    pub(crate) async fn begin(app: Arc<App>, order: Order) -> Result<Self> {
        let scheduler = app.scheduler()?;
        let each = order.choices.len();
        let open = each * order.prompts.len();
        let (sender, events) = channel(BACKLOG + 4 * open);
        let prompt = order.prompts.iter().map(Vec::len).sum();
        for (i, prompt) in order.prompts.into_iter().enumerate() {
            scheduler.submit(Job {
                prompt,
                choices: order.choices.clone(),
                request: order.request.clone(),
                logprobs: order.logprobs,
                grammar: order.grammar.clone(),
                client: order.client,
                sink: Arc::new(Pipe { sender: sender.clone(), first: i * each }),
            })?;
        }
        let arrival = Instant::now();
        let mut texts = Self {
            deadline: arrival + app.config.limits.request,
            model: scheduler.model().clone(),
            app,
            events,
            early: None,
            open,
            arrival,
            last: vec![None; open],
            usage: Usage { prompt, ..Usage::default() },
        };
        match timeout(HEAD_START, texts.events.recv()).await {
            Ok(Some(Event::Failed(e))) => return Err(e.into()),
            Ok(Some(event)) => texts.early = Some(event),
            Ok(None) => return Err(lost()),
            Err(_) => {}
        }
        Ok(texts)
    }

    /// Who writes them.
    pub(crate) fn model(&self) -> &Model {
        &self.model
    }

    /// What happens next; `None` after the end of the last text.
    pub(crate) async fn next(&mut self) -> Option<Result<Part>> {
        while self.open > 0 {
            let event = match self.early.take() {
                Some(event) => event,
                None => match timeout_at(self.deadline, self.events.recv()).await {
                    Ok(Some(event)) => event,
                    Ok(None) => return self.fail(lost()),
                    Err(_) => return self.fail(ApiError::busy("the request took too long").code("timeout")),
                },
            };
            match event {
                Event::Read { cached } => self.usage.cached += cached,
                Event::Token(token) => {
                    self.count(token.choice);
                    return Some(Ok(Part::Token(token)));
                }
                Event::End { choice, text, finish } => {
                    self.open -= 1;
                    return Some(Ok(Part::End { choice, text, finish }));
                }
                Event::Failed(e) => return self.fail(e.into()),
            }
        }
        None
    }

    fn fail(&mut self, e: ApiError) -> Option<Result<Part>> {
        self.open = 0;
        self.events.close();
        Some(Err(e))
    }

    /// Measures when a token came.
    fn count(&mut self, choice: usize) {
        let now = Instant::now();
        match self.last[choice].replace(now) {
            Some(before) => self.app.metrics.next_token.observe((now - before).as_secs_f64()),
            None => self.app.metrics.first_token.observe((now - self.arrival).as_secs_f64()),
        }
        self.usage.generated += 1;
    }
}

impl Drop for Texts {
    fn drop(&mut self) {
        if self.open > 0 {
            self.app.metrics.cancelled.inc();
        }
    }
}

fn lost() -> ApiError {
    ApiError::new(axum::http::StatusCode::INTERNAL_SERVER_ERROR, "the model is not running any more")
}

/// Leads from the scheduler to a request.
struct Pipe {
    sender: Sender<Event>,
    /// Index of the job's first text among those of the request.
    first: usize,
}

impl Sink for Pipe {
    fn send(&self, mut event: Event) {
        match &mut event {
            Event::Token(Token { choice, .. }) | Event::End { choice, .. } => *choice += self.first,
            Event::Read { .. } | Event::Failed(_) => {}
        }
        // There is room as long as `demand` is obeyed; a reader who has gone misses nothing.
        let _ = self.sender.try_send(event);
    }

    fn demand(&self) -> Demand {
        match self.sender.capacity() {
            _ if self.sender.is_closed() => Demand::Nothing,
            free if free < self.sender.max_capacity() - BACKLOG / 2 => Demand::Later,
            _ => Demand::More,
        }
    }
}
