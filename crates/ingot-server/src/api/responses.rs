//! `/v1/responses`: OpenAI's newer form of a conversation. Nothing is stored: what went
//! before has to come with the request.

use super::conversation::{Ended, Question, Reply, Said, What};
use super::fields::Common;
use super::messages;
use super::sse::{self, Pieces};
use crate::app::{App, now};
use crate::error::{ApiError, Result};
use crate::http::{Body, Client, parse};
use crate::texts::Usage;
use crate::tools::{Tool, ToolChoice, ToolDelta, Tools};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use ingot_engine::grammar::GrammarSpec;
use ingot_tokenizer::Message;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::VecDeque;
use std::sync::Arc;

#[derive(Deserialize)]
struct Fields {
    model: Option<String>,
    input: Input,
    instructions: Option<String>,
    max_output_tokens: Option<usize>,
    previous_response_id: Option<String>,
    background: Option<bool>,
    #[serde(default)]
    tools: Vec<Value>,
    tool_choice: Option<Value>,
    parallel_tool_calls: Option<bool>,
    text: Option<TextOptions>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a string or a list of items")]
enum Input {
    Text(String),
    Items(Vec<Value>),
}

#[derive(Deserialize)]
struct TextOptions {
    format: Option<Value>,
}

pub(super) async fn create(
    State(app): State<Arc<App>>,
    Extension(Client(client)): Extension<Client>,
    Body(mut body): Body,
) -> Result<Response> {
    let fields: Fields = parse(&body)?;
    app.check_model(fields.model.as_deref())?;
    if fields.previous_response_id.is_some() {
        let message = "responses are not stored: send what went before as input";
        return Err(ApiError::unsupported("previous_response_id", message));
    }
    if fields.background == Some(true) {
        return Err(ApiError::unsupported("background", "answers are not given in the background"));
    }
    body["max_tokens"] = fields.max_output_tokens.map_or(Value::Null, Value::from);
    let common = Common::parse(&app, &body)?;
    let question = Question {
        messages: conversation(fields.instructions, fields.input)?,
        tools: tools(fields.tools, fields.tool_choice, fields.parallel_tool_calls)?,
        form: form(fields.text.and_then(|text| text.format))?,
        variables: Map::new(),
        choices: common.choices.into_iter().take(1).collect(),
        request: common.request,
        logprobs: None,
        client,
    };
    let reply = Reply::begin(app.clone(), question).await?;
    let mut writing = Writing {
        id: app.id("resp_"),
        created: now(),
        app,
        reply,
        items: Vec::new(),
        number: 0,
        begun: false,
    };
    match common.stream {
        true => Ok(sse::respond_named(writing)),
        false => Ok(Json(writing.whole().await?).into_response()),
    }
}

/// The conversation as templates know it.
fn conversation(instructions: Option<String>, input: Input) -> Result<Vec<Message>> {
    let mut said: Vec<Message> = instructions.into_iter().map(|text| Message::new("system", text)).collect();
    match input {
        Input::Text(text) => said.push(Message::new("user", text)),
        Input::Items(items) => {
            for (i, item) in items.into_iter().enumerate() {
                add_item(i, item, &mut said)?;
            }
        }
    }
    match said.iter().any(|message| message.role != "system") {
        true => Ok(said),
        false => Err(ApiError::param("input", "there is nothing to answer")),
    }
}

fn add_item(i: usize, item: Value, said: &mut Vec<Message>) -> Result<()> {
    let text = |name: &str| item[name].as_str().unwrap_or_default().to_owned();
    match item["type"].as_str().unwrap_or("message") {
        "message" => {
            let message = parse(&item).map_err(|e| e.within(&format!("input[{i}]")))?;
            said.extend(messages::convert(vec![message])?);
        }
        "function_call" => {
            let function = json!({ "name": item["name"], "arguments": item["arguments"] });
            let call = json!({ "id": item["call_id"], "type": "function", "function": function });
            match said.last_mut().filter(|last| last.role == "assistant").map(|last| &mut last.extra) {
                Some(extra) if extra.get("tool_calls").is_some_and(Value::is_array) => {
                    extra["tool_calls"].as_array_mut().expect("an array").push(call);
                }
                Some(extra) => _ = extra.insert("tool_calls".into(), json!([call])),
                None => {
                    let mut message = Message::new("assistant", "");
                    message.extra.insert("tool_calls".into(), json!([call]));
                    said.push(message);
                }
            }
        }
        "function_call_output" => {
            let mut message = Message::new("tool", text("output"));
            message.extra.insert("tool_call_id".into(), item["call_id"].clone());
            said.push(message);
        }
        "reasoning" => {}
        kind => return Err(messages::not_text(&format!("input[{i}]"), kind)),
    }
    Ok(())
}

/// Here the fields of a function are those of the tool.
fn tools(list: Vec<Value>, choice: Option<Value>, parallel: Option<bool>) -> Result<Option<Tools>> {
    let tool = |mut tool: Value| {
        if tool["type"] == "function" && tool["function"].is_null() {
            tool = json!({ "type": "function", "function": tool });
        }
        serde_json::from_value::<Tool>(tool).map_err(|e| ApiError::param("tools", e))
    };
    let list = list.into_iter().map(tool).collect::<Result<_>>()?;
    let choice = choice.map(|mut choice| {
        if let Some(name) = choice.get("name").cloned() {
            choice["function"] = json!({ "name": name });
        }
        serde_json::from_value::<ToolChoice>(choice).map_err(|e| ApiError::param("tool_choice", e))
    });
    Ok(Tools::new(list, choice.transpose()?, parallel)?)
}

fn form(format: Option<Value>) -> Result<Option<GrammarSpec>> {
    let Some(format) = format else { return Ok(None) };
    match (format["type"].as_str(), &format["schema"]) {
        (Some("text"), _) => Ok(None),
        (Some("json_object"), _) => Ok(Some(GrammarSpec::JsonObject)),
        (Some("json_schema"), schema) if schema.is_object() => {
            Ok(Some(GrammarSpec::JsonSchema(schema.clone())))
        }
        _ => Err(ApiError::param("text.format", "expected text, json_object, or json_schema with a schema")),
    }
}

struct Writing {
    app: Arc<App>,
    id: String,
    created: u64,
    reply: Reply,
    items: Vec<Item>,
    /// Of the next event.
    number: u64,
    begun: bool,
}

/// A part of the answer.
struct Item {
    id: String,
    /// The tool and the id of its call, if it is one.
    call: Option<(String, String)>,
    /// What was said, or the arguments.
    text: String,
}

impl Item {
    fn part(&self) -> Value {
        json!({ "type": "output_text", "text": self.text, "annotations": [], "logprobs": [] })
    }

    fn to_json(&self, status: &str) -> Value {
        match &self.call {
            None => {
                let content = if status == "completed" { json!([self.part()]) } else { json!([]) };
                json!({
                    "type": "message", "id": self.id, "status": status, "role": "assistant",
                    "content": content,
                })
            }
            Some((name, call)) => json!({
                "type": "function_call", "id": self.id, "status": status, "call_id": call,
                "name": name, "arguments": self.text,
            }),
        }
    }
}

fn usage(usage: &Usage) -> Value {
    json!({
        "input_tokens": usage.prompt,
        "input_tokens_details": { "cached_tokens": usage.cached },
        "output_tokens": usage.generated,
        "output_tokens_details": { "reasoning_tokens": 0 },
        "total_tokens": usage.prompt + usage.generated,
    })
}

impl Writing {
    fn response(&self, ended: Option<Ended>) -> Value {
        let (status, incomplete) = match ended {
            None => ("in_progress", Value::Null),
            Some(Ended::Length) => ("incomplete", json!({ "reason": "max_output_tokens" })),
            Some(_) => ("completed", Value::Null),
        };
        json!({
            "id": self.id,
            "object": "response",
            "created_at": self.created,
            "status": status,
            "error": null,
            "incomplete_details": incomplete,
            "instructions": null,
            "metadata": {},
            "model": self.app.name(),
            "output": self.items.iter().map(|item| item.to_json("completed")).collect::<Vec<_>>(),
            "parallel_tool_calls": true,
            "tool_choice": "auto",
            "tools": [],
            "store": false,
            "usage": ended.map(|_| usage(self.reply.usage())),
        })
    }

    async fn whole(&mut self) -> Result<Value> {
        let mut ended = None;
        let mut unsent = VecDeque::new();
        while let Some(said) = self.reply.next().await? {
            for Said { what, .. } in said {
                match what {
                    What::Delta(delta) => self.take(delta, &mut unsent),
                    What::End(end) => ended = Some(end),
                    What::Logprobs(_) => {}
                }
            }
            unsent.clear();
        }
        Ok(self.response(Some(ended.unwrap_or(Ended::Stop))))
    }

    fn event(&mut self, out: &mut VecDeque<Value>, kind: &str, mut event: Value) {
        event["type"] = kind.into();
        event["sequence_number"] = self.number.into();
        self.number += 1;
        out.push_back(event);
    }

    /// Adds to the items, and says so.
    fn take(&mut self, delta: ToolDelta, out: &mut VecDeque<Value>) {
        let in_text = self.items.last().is_some_and(|item| item.call.is_none());
        let call = match delta {
            ToolDelta::Content(_) if in_text => None,
            ToolDelta::Content(_) => Some((self.app.id("msg_"), None)),
            ToolDelta::Call { ref id, ref name, .. } => {
                Some((self.app.id("fc_"), Some((name.clone(), id.clone()))))
            }
            ToolDelta::Arguments { .. } => None,
        };
        if let Some((id, call)) = call {
            self.close(out);
            let item = Item { id, call, text: String::new() };
            let (index, json, part) = (self.items.len(), item.to_json("in_progress"), item.part());
            let (id, is_text) = (item.id.clone(), item.call.is_none());
            self.items.push(item);
            self.event(out, "response.output_item.added", json!({ "output_index": index, "item": json }));
            if is_text {
                let event = json!({ "item_id": id, "output_index": index, "content_index": 0, "part": part });
                self.event(out, "response.content_part.added", event);
            }
        }
        let index = self.items.len().saturating_sub(1);
        let Some(item) = self.items.last_mut() else { return };
        let id = item.id.clone();
        match delta {
            ToolDelta::Content(text) => {
                item.text += &text;
                let event = json!({
                    "item_id": id, "output_index": index, "content_index": 0, "delta": text, "logprobs": [],
                });
                self.event(out, "response.output_text.delta", event);
            }
            ToolDelta::Arguments { fragment, .. } => {
                item.text += &fragment;
                let event = json!({ "item_id": id, "output_index": index, "delta": fragment });
                self.event(out, "response.function_call_arguments.delta", event);
            }
            ToolDelta::Call { .. } => {}
        }
    }

    /// Says that the last item is complete.
    fn close(&mut self, out: &mut VecDeque<Value>) {
        let Some(item) = self.items.last() else { return };
        let (id, index) = (item.id.clone(), self.items.len() - 1);
        let (json, part, text) = (item.to_json("completed"), item.part(), item.text.clone());
        if item.call.is_some() {
            let event = json!({ "item_id": id, "output_index": index, "arguments": text });
            self.event(out, "response.function_call_arguments.done", event);
        } else {
            let place = json!({ "item_id": id, "output_index": index, "content_index": 0 });
            let mut done = place.clone();
            (done["text"], done["logprobs"]) = (text.into(), json!([]));
            self.event(out, "response.output_text.done", done);
            let mut done = place;
            done["part"] = part;
            self.event(out, "response.content_part.done", done);
        }
        self.event(out, "response.output_item.done", json!({ "output_index": index, "item": json }));
    }
}

impl Pieces for Writing {
    async fn next(&mut self, out: &mut VecDeque<Value>) -> Result<bool> {
        if !std::mem::replace(&mut self.begun, true) {
            let response = self.response(None);
            self.event(out, "response.created", json!({ "response": response }));
            self.event(out, "response.in_progress", json!({ "response": response }));
            return Ok(true);
        }
        let Some(said) = self.reply.next().await? else { return Ok(false) };
        for Said { what, .. } in said {
            match what {
                What::Delta(delta) => self.take(delta, out),
                What::Logprobs(_) => {}
                What::End(ended) => {
                    self.close(out);
                    let kind = match ended {
                        Ended::Length => "response.incomplete",
                        _ => "response.completed",
                    };
                    let response = self.response(Some(ended));
                    self.event(out, kind, json!({ "response": response }));
                }
            }
        }
        Ok(true)
    }
}
