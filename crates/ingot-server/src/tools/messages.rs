//! Conversations with tools, as a model's template takes them.

use super::format::ToolFormat;
use super::request::{ToolError, Tools};
use ingot_tokenizer::Message;
use serde_json::{Map, Value, json};
use std::fmt::Write;

/// Length of the ids that Mistral's templates insist on.
const MISTRAL_ID: usize = 9;

impl ToolFormat {
    /// Makes a request's messages into those for the template, and gives the template's further variables.
    /// `tool_calls` and `tool_call_id` are in [`Message::extra`] as the request has them; the arguments of
    /// calls, which are JSON as text there, become JSON.
    ///
    /// # Errors
    /// If `tool_calls` are malformed.
    pub fn prepare(
        self,
        tools: Option<&Tools>,
        mut messages: Vec<Message>,
    ) -> Result<(Vec<Message>, Map<String, Value>), ToolError> {
        for (number, message) in messages.iter_mut().enumerate() {
            if let Some(calls) = message.extra.get_mut("tool_calls") {
                check_calls(calls).map_err(|what| ToolError {
                    param: "messages",
                    message: format!("[{number}].tool_calls{what}"),
                })?;
            }
            if self == Self::Mistral {
                shorten_ids(&mut message.extra);
            }
        }
        let mut variables = Map::new();
        if self == Self::Prompted {
            messages = in_words(messages);
            if let Some(tools) = tools {
                explain(tools, &mut messages);
            }
        } else if let Some(tools) = tools {
            variables.insert("tools".into(), tools.to_json());
        }
        Ok((messages, variables))
    }
}

/// Checks calls of an earlier answer and parses their arguments.
fn check_calls(calls: &mut Value) -> Result<(), String> {
    let Value::Array(calls) = calls else { return Err(": expected a list".into()) };
    for (number, call) in calls.iter_mut().enumerate() {
        let function = call.get_mut("function").and_then(Value::as_object_mut);
        let Some(function) = function.filter(|function| function.get("name").is_some_and(Value::is_string))
        else {
            return Err(format!("[{number}].function: expected an object with a name"));
        };
        let arguments = function.entry("arguments").or_insert(Value::Null);
        let parsed = match &*arguments {
            Value::Null => Some(json!({})),
            Value::String(text) if text.trim().is_empty() => Some(json!({})),
            Value::String(text) => serde_json::from_str(text).ok(),
            other => Some(other.clone()),
        };
        match parsed.filter(Value::is_object) {
            Some(parsed) => *arguments = parsed,
            None => return Err(format!("[{number}].function.arguments: expected a JSON object as text")),
        }
    }
    Ok(())
}

fn shorten_ids(extra: &mut Map<String, Value>) {
    let shorten = |id: &mut Value| {
        if let Value::String(id) = id
            && id.is_ascii()
            && id.len() > MISTRAL_ID
        {
            id.drain(..id.len() - MISTRAL_ID);
        }
    };
    if let Some(id) = extra.get_mut("tool_call_id") {
        shorten(id);
    }
    let calls = extra.get_mut("tool_calls").and_then(Value::as_array_mut);
    calls.into_iter().flatten().filter_map(|call| call.get_mut("id")).for_each(shorten);
}

/// Messages with calls and results as text, for templates that know neither.
fn in_words(messages: Vec<Message>) -> Vec<Message> {
    let mut words: Vec<Message> = Vec::with_capacity(messages.len());
    // Templates often insist on turns that alternate.
    let mut after_result = false;
    for mut message in messages {
        if let Some(Value::Array(calls)) = message.extra.remove("tool_calls") {
            for call in calls {
                let call =
                    json!({"name": call["function"]["name"], "arguments": call["function"]["arguments"]});
                let gap = if message.content.is_empty() { "" } else { "\n" };
                write!(message.content, "{gap}<tool_call>\n{call}\n</tool_call>")
                    .expect("a string takes everything");
            }
        }
        let is_result = message.role == "tool";
        if is_result {
            let content = format!("<tool_response>\n{}\n</tool_response>", message.content);
            message = Message::new("user", content);
        }
        match words.last_mut() {
            Some(last) if after_result && message.role == "user" => {
                last.content.push('\n');
                last.content.push_str(&message.content);
            }
            _ => words.push(message),
        }
        after_result = is_result;
    }
    words
}

/// Tells the model about its tools, in the first message if that is the system's.
fn explain(tools: &Tools, messages: &mut Vec<Message>) {
    let mut text = String::from("You can call these functions. Each line describes one as JSON:\n");
    for tool in tools.to_json().as_array().into_iter().flatten() {
        writeln!(text, "{}", tool["function"]).expect("a string takes everything");
    }
    text.push_str(
        "To call a function, write its name and its arguments as JSON between these two tags:\n\
         <tool_call>\n{\"name\": \"the function\", \"arguments\": {}}\n</tool_call>\n\
         Then stop. You get what it returns between <tool_response> and </tool_response>.",
    );
    text.push_str(if tools.parallel() {
        " You may make several calls at once."
    } else {
        " Make one call at a time."
    });
    match messages.first_mut().filter(|first| first.role == "system") {
        Some(first) => {
            first.content.push_str("\n\n");
            first.content.push_str(&text);
        }
        None => messages.insert(0, Message::new("system", text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conversation() -> Vec<Message> {
        let mut call = Message::new("assistant", "");
        let calls = json!([
            {"id": "call_0123456789abcdef", "type": "function", "function": {"name": "add", "arguments": "{\"a\": 1}"}},
            {"id": "call_0123456789abcdeX", "type": "function", "function": {"name": "now", "arguments": ""}},
        ]);
        call.extra.insert("tool_calls".into(), calls);
        let result = |id: &str, content: &str| {
            let mut message = Message::new("tool", content);
            message.extra.insert("tool_call_id".into(), id.into());
            message
        };
        let results = [result("call_0123456789abcdef", "2"), result("call_0123456789abcdeX", "noon")];
        [Message::new("user", "Hi"), call]
            .into_iter()
            .chain(results)
            .chain([Message::new("user", "And?")])
            .collect()
    }

    fn tools() -> Tools {
        let list = json!([{"type": "function", "function": {"name": "add", "description": "Adds 1."}}]);
        Tools::new(serde_json::from_value(list).unwrap(), None, None).unwrap().unwrap()
    }

    #[test]
    fn arguments_become_json() {
        let (messages, variables) = ToolFormat::Hermes.prepare(Some(&tools()), conversation()).unwrap();
        let calls = &messages[1].extra["tool_calls"];
        assert_eq!(calls[0]["function"]["arguments"], json!({"a": 1}));
        assert_eq!(calls[1]["function"]["arguments"], json!({}));
        assert_eq!(calls[0]["id"], "call_0123456789abcdef");
        assert_eq!(
            variables["tools"],
            json!([{"type": "function", "function": {"name": "add", "description": "Adds 1."}}])
        );
        assert_eq!(messages.len(), 5);
    }

    #[test]
    fn mistral_has_short_ids() {
        let (messages, _) = ToolFormat::Mistral.prepare(None, conversation()).unwrap();
        assert_eq!(messages[1].extra["tool_calls"][1]["id"], "789abcdeX");
        assert_eq!(messages[3].extra["tool_call_id"], "789abcdeX");
    }

    #[test]
    fn in_words_for_templates_without_tools() {
        let (messages, variables) = ToolFormat::Prompted.prepare(Some(&tools()), conversation()).unwrap();
        assert!(variables.is_empty());
        let roles: Vec<&str> = messages.iter().map(|message| message.role.as_str()).collect();
        assert_eq!(roles, ["system", "user", "assistant", "user"]);
        assert!(messages[0].content.contains(r#"{"name":"add","description":"Adds 1."}"#));
        assert_eq!(
            messages[2].content,
            "<tool_call>\n{\"name\":\"add\",\"arguments\":{\"a\":1}}\n</tool_call>\n\
             <tool_call>\n{\"name\":\"now\",\"arguments\":{}}\n</tool_call>"
        );
        assert_eq!(
            messages[3].content,
            "<tool_response>\n2\n</tool_response>\n<tool_response>\nnoon\n</tool_response>\nAnd?"
        );
        assert!(messages.iter().all(|message| message.extra.is_empty()));

        let system = vec![Message::new("system", "Be brief."), Message::new("user", "Hi")];
        let (messages, _) = ToolFormat::Prompted.prepare(Some(&tools()), system).unwrap();
        assert!(messages.len() == 2 && messages[0].content.starts_with("Be brief.\n\nYou can call"));
    }

    #[test]
    fn malformed_calls() {
        for (calls, expected) in [
            (json!({}), "messages: [0].tool_calls: expected a list"),
            (json!([{}]), "[0].tool_calls[0].function: expected an object with a name"),
            (
                json!([{"function": {"name": "a", "arguments": "{"}}]),
                "[0].function.arguments: expected a JSON object",
            ),
            (json!([{"function": {"name": "a", "arguments": "[1]"}}]), "expected a JSON object as text"),
        ] {
            let mut message = Message::new("assistant", "");
            message.extra.insert("tool_calls".into(), calls);
            let error = ToolFormat::Hermes.prepare(None, vec![message]).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
