//! `/v1/chat/completions`: the next message of a conversation.

use super::answer::Answer;
use super::conversation::{Ended, Question, Reply, Said, What};
use super::fields::{Common, within};
use super::form;
use super::messages::{self, ChatMessage};
use super::sse::{self, Pieces};
use crate::app::App;
use crate::error::{ApiError, Result};
use crate::http::{Body, Client, parse};
use crate::tools::{Tool, ToolChoice, ToolDelta, Tools};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
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
    tools: Option<Vec<Tool>>,
    tool_choice: Option<ToolChoice>,
    parallel_tool_calls: Option<bool>,
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
    let common = Common::parse(&app, &body)?;
    let logprobs = logprobs_wanted(&app, &fields)?;
    let tools = Tools::new(fields.tools.unwrap_or_default(), fields.tool_choice, fields.parallel_tool_calls)?;
    let count = common.choices.len();
    let question = Question {
        messages: messages::convert(fields.messages)?,
        tools,
        form: form::wanted(&body)?,
        variables: fields.chat_template_kwargs,
        choices: common.choices,
        request: common.request,
        logprobs,
        client,
    };
    let reply = Reply::begin(app.clone(), question).await?;
    let answer = Answer::new(app, "chatcmpl-", logprobs.is_some());
    if common.stream {
        let include_usage = common.include_usage;
        return Ok(sse::respond(Streaming { answer, reply, begun: vec![false; count], include_usage }));
    }
    Ok(Json(whole(&answer, reply, count).await?).into_response())
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

/// The `logprobs` of a choice with these entries.
fn logprobs_of(answer: &Answer, entries: Vec<Value>) -> Value {
    match answer.logprobs {
        true => json!({ "content": entries, "refusal": null }),
        false => Value::Null,
    }
}

/// One of the texts of an answer that is sent as a whole.
#[derive(Default)]
struct Choice {
    text: String,
    calls: Vec<Value>,
    logprobs: Vec<Value>,
    finish: Option<&'static str>,
}

impl Choice {
    fn take(&mut self, what: What) {
        match what {
            What::Delta(ToolDelta::Content(text)) => self.text += &text,
            What::Delta(ToolDelta::Call { id, name, .. }) => {
                let function = json!({ "name": name, "arguments": "" });
                self.calls.push(json!({ "id": id, "type": "function", "function": function }));
            }
            What::Delta(ToolDelta::Arguments { index, fragment }) => {
                if let Value::String(arguments) = &mut self.calls[index]["function"]["arguments"] {
                    *arguments += &fragment;
                }
            }
            What::Logprobs(entry) => self.logprobs.push(entry),
            What::End(ended) => self.finish = Some(reason(ended)),
        }
    }

    fn message(&mut self) -> Value {
        let calls = std::mem::take(&mut self.calls);
        let content = (calls.is_empty() || !self.text.is_empty()).then(|| std::mem::take(&mut self.text));
        let mut message = json!({ "role": "assistant", "content": content, "refusal": null });
        if !calls.is_empty() {
            message["tool_calls"] = calls.into();
        }
        message
    }
}

/// The word for it.
fn reason(ended: Ended) -> &'static str {
    match ended {
        Ended::Stop | Ended::StopString(_) => "stop",
        Ended::Length => "length",
        Ended::Calls => "tool_calls",
    }
}

async fn whole(answer: &Answer, mut reply: Reply, count: usize) -> Result<Value> {
    let mut choices: Vec<Choice> = (0..count).map(|_| Choice::default()).collect();
    while let Some(said) = reply.next().await? {
        said.into_iter().for_each(|Said { choice, what }| choices[choice].take(what));
    }
    let choice = |(index, mut choice): (usize, Choice)| {
        json!({
            "index": index,
            "message": choice.message(),
            "logprobs": logprobs_of(answer, choice.logprobs),
            "finish_reason": choice.finish,
        })
    };
    let choices = choices.into_iter().enumerate().map(choice).collect();
    Ok(answer.with_usage("chat.completion", choices, reply.usage()))
}

/// An answer that is sent piece by piece.
struct Streaming {
    answer: Answer,
    reply: Reply,
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
        let Some(said) = self.reply.next().await? else {
            if std::mem::take(&mut self.include_usage) {
                out.push_back(self.answer.with_usage("chat.completion.chunk", json!([]), self.reply.usage()));
                return Ok(true);
            }
            return Ok(false);
        };
        // Of one token: its log-probabilities go with the text that it brings.
        let mut entry = None;
        for Said { choice, what } in said {
            if !std::mem::replace(&mut self.begun[choice], true) {
                let role = json!({ "role": "assistant", "content": "" });
                out.push_back(self.piece(choice, role, Value::Null, None));
            }
            let (delta, ended) = match what {
                What::Logprobs(new) => {
                    entry = Some((choice, new));
                    continue;
                }
                What::Delta(delta) => (chunk(delta), None),
                What::End(ended) => (json!({}), Some(reason(ended))),
            };
            let entry = entry.take().map(|(_, entry)| logprobs_of(&self.answer, vec![entry]));
            out.push_back(self.piece(choice, delta, entry.unwrap_or_default(), ended));
        }
        if let Some((choice, entry)) = entry {
            out.push_back(self.piece(
                choice,
                json!({ "content": "" }),
                logprobs_of(&self.answer, vec![entry]),
                None,
            ));
        }
        Ok(true)
    }
}

fn chunk(delta: ToolDelta) -> Value {
    match delta {
        ToolDelta::Content(text) => json!({ "content": text }),
        ToolDelta::Call { index, id, name } => {
            let function = json!({ "name": name, "arguments": "" });
            json!({ "tool_calls": [{ "index": index, "id": id, "type": "function", "function": function }] })
        }
        ToolDelta::Arguments { index, fragment } => {
            json!({ "tool_calls": [{ "index": index, "function": { "arguments": fragment } }] })
        }
    }
}
