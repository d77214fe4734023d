//! `/v1/chat/completions`: the next message of a conversation.

use super::fields::{Common, within};
use super::messages::{self, ChatMessage};
use super::sse::{self, Pieces};
use super::{logprobs, usage};
use crate::app::{App, now};
use crate::error::{ApiError, Result};
use crate::http::{Body, Client, parse};
use crate::texts::{Order, Part, Texts};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use ingot_engine::Prompt;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::VecDeque;
use std::sync::Arc;

#[derive(Deserialize)]
struct Fields {
    model: Option<String>,
    messages: Vec<ChatMessage>,
    logprobs: Option<bool>,
    top_logprobs: Option<usize>,
    /// Further variables of the chat template, such as `enable_thinking`.
    #[serde(default)]
    chat_template_kwargs: Map<String, Value>,
}

pub(super) async fn create(
    State(app): State<Arc<App>>,
    Extension(Client(client)): Extension<Client>,
    Body(body): Body,
) -> Result<Response> {
    let fields: Fields = parse(&body)?;
    app.check_model(fields.model.as_deref())?;
    let mut common = Common::parse(&app, &body)?;
    let logprobs = logprobs_wanted(&app, &fields)?;
    let conversation = messages::convert(fields.messages)?;

    let encoding = app.clone();
    let prompt = super::blocking(move || {
        let tokenizer = encoding.scheduler()?.model().tokenizer();
        Ok(Prompt::of(tokenizer, &conversation, &fields.chat_template_kwargs)?)
    })
    .await?;
    let prompts = vec![prompt.tokens];
    super::check_prompts(&app, &prompts)?;
    common.request.stop.extend(prompt.stop.map(str::to_owned));

    let count = common.choices.len();
    let (choices, request) = (common.choices, common.request);
    let texts = Texts::begin(app.clone(), Order { prompts, choices, request, logprobs, client }).await?;
    let id = app.id("chatcmpl-");
    let answer = Answer { id, created: now(), app, logprobs: logprobs.is_some() };
    if common.stream {
        let include_usage = common.include_usage;
        return Ok(sse::respond(Streaming { answer, texts, begun: vec![false; count], include_usage }));
    }
    Ok(Json(whole(&answer, texts, count).await?).into_response())
}

fn logprobs_wanted(app: &App, fields: &Fields) -> Result<Option<usize>> {
    let top = fields.top_logprobs.unwrap_or(0);
    within("top_logprobs", top, app.config.limits.logprobs)?;
    match fields.logprobs.unwrap_or(false) {
        true => Ok(Some(top)),
        false if top > 0 => Err(ApiError::param("top_logprobs", "top_logprobs needs \"logprobs\": true")),
        false => Ok(None),
    }
}

/// What all pieces of an answer have in common.
struct Answer {
    app: Arc<App>,
    id: String,
    created: u64,
    logprobs: bool,
}

impl Answer {
    fn body(&self, object: &str, choices: Value) -> Value {
        json!({
            "id": self.id,
            "object": object,
            "created": self.created,
            "model": self.app.name(),
            "choices": choices,
        })
    }

    /// The `logprobs` of a choice with these entries.
    fn logprobs(&self, entries: Vec<Value>) -> Value {
        match self.logprobs {
            true => json!({ "content": entries, "refusal": null }),
            false => Value::Null,
        }
    }
}

/// One of the texts of an answer that is sent as a whole.
#[derive(Default)]
struct Choice {
    text: String,
    logprobs: Vec<Value>,
    finish: Option<&'static str>,
}

async fn whole(answer: &Answer, mut texts: Texts, count: usize) -> Result<Value> {
    let mut choices: Vec<Choice> = (0..count).map(|_| Choice::default()).collect();
    while let Some(part) = texts.next().await.transpose()? {
        match part {
            Part::Token(token) => {
                let choice = &mut choices[token.choice];
                choice.text += &token.text;
                choice.logprobs.extend(logprobs::chat(&token, texts.model().tokenizer()));
            }
            Part::End { choice, text, finish } => {
                choices[choice].text += &text;
                choices[choice].finish = Some(finish.reason());
            }
        }
    }
    let choice = |(index, choice): (usize, Choice)| {
        json!({
            "index": index,
            "message": { "role": "assistant", "content": choice.text, "refusal": null },
            "logprobs": answer.logprobs(choice.logprobs),
            "finish_reason": choice.finish,
        })
    };
    let mut body = answer.body("chat.completion", choices.into_iter().enumerate().map(choice).collect());
    body["usage"] = usage(&texts.usage);
    Ok(body)
}

/// An answer that is sent piece by piece.
struct Streaming {
    answer: Answer,
    texts: Texts,
    /// Which choices have said who speaks.
    begun: Vec<bool>,
    include_usage: bool,
}

impl Streaming {
    fn piece(&self, index: usize, delta: Value, logprobs: Value, finish: Option<&str>) -> Value {
        let choice = json!({ "index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish });
        self.answer.body("chat.completion.chunk", json!([choice]))
    }
}

impl Pieces for Streaming {
    async fn next(&mut self, out: &mut VecDeque<Value>) -> Result<bool> {
        let Some(part) = self.texts.next().await.transpose()? else {
            if std::mem::take(&mut self.include_usage) {
                let mut body = self.answer.body("chat.completion.chunk", json!([]));
                body["usage"] = usage(&self.texts.usage);
                out.push_back(body);
                return Ok(true);
            }
            return Ok(false);
        };
        let (index, text, entry, finish) = match part {
            Part::Token(token) => {
                let entry = logprobs::chat(&token, self.texts.model().tokenizer());
                (token.choice, token.text, entry, None)
            }
            Part::End { choice, text, finish } => (choice, text, None, Some(finish.reason())),
        };
        if !std::mem::replace(&mut self.begun[index], true) {
            let role = json!({ "role": "assistant", "content": "" });
            out.push_back(self.piece(index, role, Value::Null, None));
        }
        if !text.is_empty() || entry.is_some() {
            let logprobs = self.answer.logprobs(entry.into_iter().collect());
            out.push_back(self.piece(index, json!({ "content": text }), logprobs, None));
        }
        if finish.is_some() {
            out.push_back(self.piece(index, json!({}), Value::Null, finish));
        }
        Ok(true)
    }
}
