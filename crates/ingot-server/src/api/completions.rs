//! `/v1/completions`: texts are continued as they are.

use super::answer::Answer;
use super::fields::{Common, within};
use super::form;
use super::inputs::Inputs;
use super::logprobs::Lists;
use super::sse::{self, Pieces};
use crate::app::App;
use crate::error::{ApiError, Result};
use crate::http::{Body, Client, parse};
use crate::texts::{Order, Part, Texts};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::Arc;

/// What the answer calls itself.
const OBJECT: &str = "text_completion";
/// Length of texts where a request does not say, as OpenAI has it.
const MAX_TOKENS: usize = 16;

#[derive(Deserialize)]
struct Fields {
    model: Option<String>,
    prompt: Inputs,
    #[serde(default)]
    echo: bool,
    logprobs: Option<usize>,
}

pub(super) async fn create(
    State(app): State<Arc<App>>,
    Extension(Client(client)): Extension<Client>,
    Body(body): Body,
) -> Result<Response> {
    let fields: Fields = parse(&body)?;
    app.check_model(fields.model.as_deref())?;
    let mut common = Common::parse(&app, &body)?;
    // A length of -1 is one that was asked for: as many as fit.
    if body["max_tokens"].is_null() && body["max_completion_tokens"].is_null() {
        common.request.max_tokens = Some(common.request.max_tokens.unwrap_or(MAX_TOKENS).min(MAX_TOKENS));
    }
    if fields.echo && fields.logprobs.is_some() {
        return Err(ApiError::unsupported("echo", "log-probabilities of the prompt are not supported"));
    }
    if let Some(top) = fields.logprobs {
        within("logprobs", top, app.config.limits.logprobs)?;
    }
    within("prompt", fields.prompt.count() * common.choices.len(), app.config.limits.choices)?;

    let form = form::wanted(&body)?;
    let encoding = app.clone();
    let (prompts, echoes, grammar) = super::blocking(move || {
        let tokenizer = encoding.scheduler()?.model().tokenizer();
        let prompts = fields.prompt.encode(tokenizer, "prompt")?;
        let echoes = prompts.iter().map(|p| if fields.echo { tokenizer.decode(p) } else { String::new() });
        let echoes: Vec<_> = echoes.collect();
        let grammar = form.map(|form| form::compile(&encoding, &form)).transpose()?;
        Ok((prompts, echoes, grammar))
    })
    .await?;
    super::check_prompts(&app, &prompts, "prompt")?;
    let each = common.choices.len();
    let order = Order {
        prompts,
        choices: common.choices,
        request: common.request,
        logprobs: fields.logprobs,
        grammar,
        client,
    };
    let texts = Texts::begin(app.clone(), order).await?;
    let answer = Answer::new(app, "cmpl-", fields.logprobs.is_some());
    let mut writing = Writing::new(answer, texts, &echoes, each, common.include_usage);
    if common.stream {
        return Ok(sse::respond(writing));
    }
    Ok(Json(writing.whole().await?).into_response())
}

struct Writing {
    answer: Answer,
    texts: Texts,
    choices: Vec<Choice>,
    include_usage: bool,
}

/// One of the texts, as far as it was not sent.
struct Choice {
    text: String,
    lists: Lists,
    finish: Option<&'static str>,
}

impl Writing {
    fn new(answer: Answer, texts: Texts, echoes: &[String], each: usize, include_usage: bool) -> Self {
        let choice = |text: &String| Choice { text: text.clone(), lists: Lists::default(), finish: None };
        let choices = echoes.iter().flat_map(|echo| (0..each).map(move |_| choice(echo))).collect();
        Self { answer, texts, choices, include_usage }
    }

    /// Takes in what happens next: to which choice. `None` at the end.
    async fn take(&mut self) -> Result<Option<usize>> {
        let Some(part) = self.texts.next().await.transpose()? else { return Ok(None) };
        Ok(Some(match part {
            Part::Token(token) => {
                let choice = &mut self.choices[token.choice];
                choice.text += &token.text;
                choice.lists.push(&token, self.texts.model().tokenizer());
                token.choice
            }
            Part::End { choice: index, text, finish } => {
                let choice = &mut self.choices[index];
                choice.text += &text;
                choice.finish = Some(finish.reason());
                index
            }
        }))
    }

    /// What there is of a choice, as JSON.
    fn give(&mut self, index: usize) -> Value {
        let choice = &mut self.choices[index];
        json!({
            "index": index,
            "text": std::mem::take(&mut choice.text),
            "logprobs": self.answer.logprobs.then(|| choice.lists.take()),
            "finish_reason": choice.finish,
        })
    }

    /// Everything at once.
    async fn whole(&mut self) -> Result<Value> {
        while self.take().await?.is_some() {}
        let choices = (0..self.choices.len()).map(|i| self.give(i)).collect();
        Ok(self.answer.with_usage(OBJECT, choices, &self.texts.usage))
    }
}

impl Pieces for Writing {
    async fn next(&mut self, out: &mut VecDeque<Value>) -> Result<bool> {
        match self.take().await? {
            Some(index) => {
                let choice = &self.choices[index];
                if !choice.text.is_empty() || choice.finish.is_some() || self.answer.logprobs {
                    let choice = self.give(index);
                    out.push_back(self.answer.body(OBJECT, json!([choice])));
                }
                Ok(true)
            }
            None if std::mem::take(&mut self.include_usage) => {
                out.push_back(self.answer.with_usage(OBJECT, json!([]), &self.texts.usage));
                Ok(true)
            }
            None => Ok(false),
        }
    }
}
