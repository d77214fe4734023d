//! From a conversation to what the model says next, whatever the endpoint's form is.

use super::form;
use super::logprobs;
use crate::app::App;
use crate::error::Result;
use crate::texts::{Order, Part, Texts, Usage};
use crate::tools::{ToolDelta, ToolFormat, ToolStream, Tools};
use ingot_engine::grammar::GrammarSpec;
use ingot_engine::rng::Rng;
use ingot_engine::{Finish, Prompt, Request, SamplerOptions};
use ingot_tokenizer::{Message, Tokenizer};
use serde_json::{Map, Value};
use std::sync::Arc;

/// What is to be answered, and how.
pub(super) struct Question {
    pub(super) messages: Vec<Message>,
    pub(super) tools: Option<Tools>,
    /// The form of the answer, if it has to have one.
    pub(super) form: Option<GrammarSpec>,
    /// Further variables of the chat template.
    pub(super) variables: Map<String, Value>,
    pub(super) choices: Vec<SamplerOptions>,
    pub(super) request: Request,
    pub(super) logprobs: Option<usize>,
    pub(super) client: u64,
}

/// Something that is said.
pub(super) struct Said {
    pub(super) choice: usize,
    pub(super) what: What,
}

pub(super) enum What {
    /// Text or a part of a call.
    Delta(ToolDelta),
    /// A token's entry in the list of log-probabilities.
    Logprobs(Value),
    /// Nothing follows, for this reason.
    End(Ended),
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Stop,
    /// At this one of the stop strings of the request.
    StopString(usize),
    Length,
    Calls,
}

/// Answers that are being given.
pub(super) struct Reply {
    texts: Texts,
    /// Stop strings of the request; what follows them is the model's own.
    stops: usize,
    /// What finds calls in each of the texts.
    calls: Vec<Option<ToolStream>>,
    /// The control token that announces a call.
    announcement: Option<&'static str>,
}

impl Reply {
    /// Begins to answer.
    pub(super) async fn begin(app: Arc<App>, question: Question) -> Result<Self> {
        let Question { messages, tools, form, variables, choices, mut request, logprobs, client } = question;
        let seed = choices.first().map_or(0, |c| c.seed) ^ app.created;
        let encoding = app.clone();
        let (prompt, grammar, format, tools) = super::blocking(move || {
            let tokenizer = encoding.scheduler()?.model().tokenizer();
            let format = format_of(tokenizer);
            let (messages, mut more) = format.prepare(tools.as_ref(), messages)?;
            more.extend(variables);
            let prompt = Prompt::of(tokenizer, &messages, &more)?;
            let forced = tools.as_ref().and_then(|tools| format.grammar(tools, tokenizer));
            let grammar = forced.or(form).map(|spec| form::compile(&encoding, &spec)).transpose()?;
            Ok((prompt, grammar, format, tools))
        })
        .await?;
        let stops = request.stop.len();
        request.stop.extend(prompt.stop.map(str::to_owned));
        let prompts = vec![prompt.tokens];
        super::check_prompts(&app, &prompts, "messages")?;
        let stream = |i| tools.as_ref().map(|t| ToolStream::new(format, t, Rng::new(seed.wrapping_add(i))));
        let calls = (0..choices.len() as u64).map(stream).collect();
        let order = Order { prompts, choices, request, logprobs, grammar, client };
        let texts = Texts::begin(app, order).await?;
        Ok(Self { texts, stops, calls, announcement: format.control_token().filter(|_| tools.is_some()) })
    }

    pub(super) fn usage(&self) -> &Usage {
        &self.texts.usage
    }

    /// What is said next; `None` when all is said.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Said>>> {
        let Some(part) = self.texts.next().await.transpose()? else { return Ok(None) };
        let mut said = Vec::new();
        match part {
            Part::Token(mut token) => {
                let (choice, tokenizer) = (token.choice, self.texts.model().tokenizer());
                if let Some(name) = self.announcement
                    && tokenizer.is_special(token.id)
                    && tokenizer.token_text(token.id) == name
                {
                    token.text += name;
                }
                let entry = logprobs::chat(&token, tokenizer);
                said.extend(entry.map(|entry| Said { choice, what: What::Logprobs(entry) }));
                self.say(choice, &token.text, &mut said);
            }
            Part::End { choice, text, finish } => {
                self.say(choice, &text, &mut said);
                let calls = &mut self.calls[choice];
                let rest = calls.as_mut().map(ToolStream::finish).unwrap_or_default();
                said.extend(rest.into_iter().map(|delta| Said { choice, what: What::Delta(delta) }));
                let called = calls.as_ref().is_some_and(|calls| calls.calls() > 0);
                let ended = match finish {
                    Finish::Length | Finish::Context => Ended::Length,
                    _ if called => Ended::Calls,
                    Finish::Stop(i) if i < self.stops => Ended::StopString(i),
                    _ => Ended::Stop,
                };
                said.push(Said { choice, what: What::End(ended) });
            }
        }
        Ok(Some(said))
    }

    fn say(&mut self, choice: usize, text: &str, said: &mut Vec<Said>) {
        let deltas = match &mut self.calls[choice] {
            _ if text.is_empty() => return,
            Some(calls) => calls.push(text),
            None => vec![ToolDelta::Content(text.to_owned())],
        };
        said.extend(deltas.into_iter().map(|delta| Said { choice, what: What::Delta(delta) }));
    }
}

fn format_of(tokenizer: &Tokenizer) -> ToolFormat {
    ToolFormat::detect(tokenizer.chat_template().map_or("", |template| template.source()))
}
