//! `/v1/messages`: Anthropic's form of a conversation.

use super::conversation::{Ended, Question, Reply, Said, What};
use super::fields::Common;
use super::messages;
use super::sse::{self, Pieces};
use crate::app::App;
use crate::error::{ApiError, Result};
use crate::http::{Body, Client, parse};
use crate::texts::Usage;
use crate::tools::{Tool, ToolChoice, ToolDelta, Tools};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use ingot_tokenizer::Message;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::VecDeque;
use std::sync::Arc;

#[derive(Deserialize)]
struct Fields {
    model: Option<String>,
    messages: Vec<Turn>,
    system: Option<Content>,
    max_tokens: usize,
    #[serde(default)]
    stop_sequences: Vec<String>,
    #[serde(default)]
    tools: Vec<ToolDescription>,
    tool_choice: Option<Choice>,
}

#[derive(Deserialize)]
struct Turn {
    role: String,
    content: Content,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a string or a list of blocks")]
enum Content {
    Text(String),
    Blocks(Vec<Value>),
}

#[derive(Deserialize)]
struct ToolDescription {
    name: String,
    description: Option<String>,
    input_schema: Option<Value>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(rename = "type")]
    kind: String,
    name: Option<String>,
    disable_parallel_tool_use: Option<bool>,
}

pub(super) async fn create(
    State(app): State<Arc<App>>,
    Extension(Client(client)): Extension<Client>,
    Body(mut body): Body,
) -> Result<Response> {
    let fields: Fields = parse(&body)?;
    app.check_model(fields.model.as_deref())?;
    if fields.max_tokens == 0 {
        return Err(ApiError::param("max_tokens", "max_tokens has to be 1 or more"));
    }
    body["stop"] = fields.stop_sequences.clone().into();
    body["max_tokens"] = fields.max_tokens.into();
    let common = Common::parse(&app, &body)?;
    let question = Question {
        messages: conversation(fields.system, fields.messages)?,
        tools: tools(fields.tools, fields.tool_choice)?,
        form: None,
        variables: Map::new(),
        choices: common.choices.into_iter().take(1).collect(),
        request: common.request,
        logprobs: None,
        client,
    };
    let stops = fields.stop_sequences;
    let reply = Reply::begin(app.clone(), question).await?;
    let mut writing = Writing {
        id: app.id("msg_"),
        model: app.name().into(),
        stops,
        reply,
        blocks: Vec::new(),
        begun: false,
    };
    match common.stream {
        true => Ok(sse::respond_named(writing)),
        false => Ok(Json(writing.whole().await?).into_response()),
    }
}

/// The conversation as templates know it.
fn conversation(system: Option<Content>, turns: Vec<Turn>) -> Result<Vec<Message>> {
    let mut messages = Vec::new();
    if let Some(system) = system {
        let text = match system {
            Content::Text(text) => text,
            Content::Blocks(blocks) => texts(&blocks, "system")?,
        };
        messages.push(Message::new("system", text));
    }
    for (i, Turn { role, content }) in turns.into_iter().enumerate() {
        match content {
            Content::Text(text) => messages.push(Message::new(role, text)),
            Content::Blocks(blocks) => of_blocks(&role, blocks, &format!("messages[{i}]"), &mut messages)?,
        }
    }
    match messages.is_empty() {
        true => Err(ApiError::param("messages", "there are no messages")),
        false => Ok(messages),
    }
}

/// Results of calls are messages of their own, calls are fields of one.
fn of_blocks(role: &str, blocks: Vec<Value>, place: &str, messages: &mut Vec<Message>) -> Result<()> {
    let (mut plain, mut calls) = (Vec::new(), Vec::new());
    for block in blocks {
        match block["type"].as_str() {
            Some("tool_use") => {
                let function = json!({ "name": block["name"], "arguments": block["input"] });
                calls.push(json!({ "id": block["id"], "type": "function", "function": function }));
            }
            Some("tool_result") => {
                let content = match &block["content"] {
                    Value::Array(blocks) => texts(blocks, place)?,
                    Value::String(text) => text.clone(),
                    _ => String::new(),
                };
                let mut result = Message::new("tool", content);
                result.extra.insert("tool_call_id".into(), block["tool_use_id"].clone());
                messages.push(result);
            }
            _ => plain.push(block),
        }
    }
    if plain.is_empty() && calls.is_empty() {
        return Ok(());
    }
    let mut message = Message::new(role, texts(&plain, place)?);
    if !calls.is_empty() {
        message.extra.insert("tool_calls".into(), calls.into());
    }
    messages.push(message);
    Ok(())
}

fn texts(blocks: &[Value], place: &str) -> Result<String> {
    let text = |block: &Value| match (block["type"].as_str(), block["text"].as_str()) {
        (Some("text"), Some(text)) => Ok(text.to_owned()),
        (kind, _) => Err(messages::not_text(place, kind.unwrap_or("unknown"))),
    };
    Ok(blocks.iter().map(text).collect::<Result<Vec<_>>>()?.join("\n"))
}

fn tools(list: Vec<ToolDescription>, choice: Option<Choice>) -> Result<Option<Tools>> {
    let tool = |tool: ToolDescription| {
        let ToolDescription { name, description, input_schema } = tool;
        let function = json!({ "name": name, "description": description, "parameters": input_schema });
        serde_json::from_value::<Tool>(json!({ "type": "function", "function": function }))
            .map_err(|e| ApiError::param("tools", e))
    };
    let list = list.into_iter().map(tool).collect::<Result<_>>()?;
    let parallel = choice.as_ref().and_then(|choice| choice.disable_parallel_tool_use).map(|not| !not);
    let choice = match choice {
        None => None,
        Some(choice) => Some(match (choice.kind.as_str(), choice.name) {
            ("auto", _) => ToolChoice::Auto,
            ("any", _) => ToolChoice::Required,
            ("none", _) => ToolChoice::None,
            ("tool", Some(name)) => ToolChoice::Function(name),
            _ => return Err(ApiError::param("tool_choice", "expected auto, any, none, or tool with a name")),
        }),
    };
    Ok(Tools::new(list, choice, parallel)?)
}

struct Writing {
    id: String,
    model: String,
    stops: Vec<String>,
    reply: Reply,
    blocks: Vec<Block>,
    begun: bool,
}

/// A part of the answer.
enum Block {
    Text(String),
    Call { id: String, name: String, input: String },
}

impl Block {
    fn to_json(&self) -> Value {
        match self {
            Self::Text(text) => json!({ "type": "text", "text": text }),
            Self::Call { id, name, input } => {
                let input: Value = serde_json::from_str(input).unwrap_or_else(|_| json!({}));
                json!({ "type": "tool_use", "id": id, "name": name, "input": input })
            }
        }
    }

    /// What a stream says of it before its content.
    fn opening(&self) -> Value {
        match self {
            Self::Text(_) => json!({ "type": "text", "text": "" }),
            Self::Call { id, name, .. } => json!({ "type": "tool_use", "id": id, "name": name, "input": {} }),
        }
    }
}

fn usage(usage: &Usage) -> Value {
    json!({
        "input_tokens": usage.prompt - usage.cached,
        "cache_read_input_tokens": usage.cached,
        "output_tokens": usage.generated,
    })
}

impl Writing {
    fn message(&self, content: Vec<Value>, ended: Option<Ended>) -> Value {
        let (reason, stop) = self.ending(ended);
        json!({
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": content,
            "stop_reason": reason,
            "stop_sequence": stop,
            "usage": usage(self.reply.usage()),
        })
    }

    fn ending(&self, ended: Option<Ended>) -> (Option<&'static str>, Option<&str>) {
        match ended {
            None => (None, None),
            Some(Ended::Stop) => (Some("end_turn"), None),
            Some(Ended::StopString(i)) => (Some("stop_sequence"), self.stops.get(i).map(String::as_str)),
            Some(Ended::Length) => (Some("max_tokens"), None),
            Some(Ended::Calls) => (Some("tool_use"), None),
        }
    }

    async fn whole(&mut self) -> Result<Value> {
        let mut ended = None;
        let mut ignored = VecDeque::new();
        while let Some(said) = self.reply.next().await? {
            for Said { what, .. } in said {
                match what {
                    What::Delta(delta) => self.take(delta, &mut ignored),
                    What::End(end) => ended = Some(end),
                    What::Logprobs(_) => {}
                }
            }
            ignored.clear();
        }
        Ok(self.message(self.blocks.iter().map(Block::to_json).collect(), ended))
    }

    /// Adds to the blocks, and says so.
    fn take(&mut self, delta: ToolDelta, out: &mut VecDeque<Value>) {
        let new = match (&delta, self.blocks.last()) {
            (ToolDelta::Content(_), Some(Block::Text(_))) | (ToolDelta::Arguments { .. }, _) => None,
            (ToolDelta::Content(_), _) => Some(Block::Text(String::new())),
            (ToolDelta::Call { id, name, .. }, _) => {
                Some(Block::Call { id: id.clone(), name: name.clone(), input: String::new() })
            }
        };
        if let Some(block) = new {
            self.close(out);
            let index = self.blocks.len();
            out.push_back(json!({
                "type": "content_block_start", "index": index, "content_block": block.opening(),
            }));
            self.blocks.push(block);
        }
        let index = self.blocks.len().saturating_sub(1);
        let piece = match (delta, self.blocks.last_mut()) {
            (ToolDelta::Content(text), Some(Block::Text(all))) => {
                *all += &text;
                json!({ "type": "text_delta", "text": text })
            }
            (ToolDelta::Arguments { fragment, .. }, Some(Block::Call { input, .. })) => {
                *input += &fragment;
                json!({ "type": "input_json_delta", "partial_json": fragment })
            }
            _ => return,
        };
        out.push_back(json!({ "type": "content_block_delta", "index": index, "delta": piece }));
    }

    fn close(&self, out: &mut VecDeque<Value>) {
        if let Some(index) = self.blocks.len().checked_sub(1) {
            out.push_back(json!({ "type": "content_block_stop", "index": index }));
        }
    }
}

impl Pieces for Writing {
    async fn next(&mut self, out: &mut VecDeque<Value>) -> Result<bool> {
        if !std::mem::replace(&mut self.begun, true) {
            let message = self.message(Vec::new(), None);
            out.push_back(json!({ "type": "message_start", "message": message }));
            return Ok(true);
        }
        let Some(said) = self.reply.next().await? else { return Ok(false) };
        for Said { what, .. } in said {
            match what {
                What::Delta(delta) => self.take(delta, out),
                What::Logprobs(_) => {}
                What::End(ended) => {
                    self.close(out);
                    let (reason, stop) = self.ending(Some(ended));
                    let delta = json!({ "stop_reason": reason, "stop_sequence": stop });
                    let usage = usage(self.reply.usage());
                    out.push_back(json!({ "type": "message_delta", "delta": delta, "usage": usage }));
                    out.push_back(json!({ "type": "message_stop" }));
                }
            }
        }
        Ok(true)
    }
}
