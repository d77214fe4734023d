//! `tools`, `tool_choice` and `parallel_tool_calls` of a chat request.

use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::HashSet;

/// Most tools of a request.
const MAX_TOOLS: usize = 128;
/// Longest name of a tool, in bytes.
const MAX_NAME: usize = 64;
/// Bytes of all tools of a request as JSON.
const MAX_BYTES: usize = 256 << 10;

/// Something is wrong with the tools of a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{param}: {message}")]
pub struct ToolError {
    /// The field of the request.
    pub param: &'static str,
    /// What is wrong with it.
    pub message: String,
}

/// A tool as a request describes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tool {
    /// `function`.
    pub r#type: String,
    /// What can be called.
    pub function: Function,
}

/// A function that a model may call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Function {
    /// Letters, digits, `_` and `-`; at most 64.
    pub name: String,
    /// What it is good for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// JSON schema of the arguments; none are taken without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Value>,
    /// Whether arguments have to fit the schema, as they have to where calls are forced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strict: Option<bool>,
}

/// Whether and what the model has to call.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ToolChoice {
    /// Nothing.
    None,
    /// What it likes.
    #[default]
    Auto,
    /// Any tool, but one.
    Required,
    /// This one.
    Function(String),
}

impl<'de> Deserialize<'de> for ToolChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let name = || value.get("function")?.get("name")?.as_str();
        match (value.as_str(), value.get("type").and_then(Value::as_str)) {
            (Some("none"), _) => Ok(Self::None),
            (Some("auto"), _) => Ok(Self::Auto),
            (Some("required"), _) => Ok(Self::Required),
            (None, Some("function")) if name().is_some() => {
                Ok(Self::Function(name().unwrap_or_default().into()))
            }
            _ => Err(D::Error::custom(
                "expected \"none\", \"auto\", \"required\" or {\"type\": \"function\", \"function\": {\"name\": ...}}",
            )),
        }
    }
}

/// The tools that a model may use for an answer: at least one, all in order.
#[derive(Debug, Clone, PartialEq)]
pub struct Tools {
    list: Vec<Tool>,
    choice: ToolChoice,
    parallel: bool,
}

impl Tools {
    /// The tools of a request; `None` if there are none or none is to be called. `parallel`: whether the model
    /// may call several at once, as it may if the request does not say.
    ///
    /// # Errors
    /// If one of the three fields makes no sense, or they exceed limits.
    pub fn new(
        list: Vec<Tool>,
        choice: Option<ToolChoice>,
        parallel: Option<bool>,
    ) -> Result<Option<Self>, ToolError> {
        let fail = |message: String| Err(ToolError { param: "tools", message });
        if list.len() > MAX_TOOLS {
            return fail(format!("{} tools; at most {MAX_TOOLS} are taken", list.len()));
        }
        let mut names = HashSet::new();
        for (number, tool) in list.iter().enumerate() {
            let Function { name, parameters, .. } = &tool.function;
            let is_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
            if tool.r#type != "function" {
                return fail(format!("[{number}].type: expected \"function\", got {:?}", tool.r#type));
            }
            if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(is_name) {
                return fail(format!(
                    "[{number}].function.name: expected 1 to {MAX_NAME} letters, digits, '_' or '-', got {name:?}"
                ));
            }
            if !names.insert(name) {
                return fail(format!("[{number}].function.name: a second {name:?}"));
            }
            if parameters.as_ref().is_some_and(|schema| !schema.is_object()) {
                return fail(format!("[{number}].function.parameters: expected a JSON schema, an object"));
            }
        }
        let bytes = serde_json::to_string(&list).map_or(usize::MAX, |text| text.len());
        if bytes > MAX_BYTES {
            return fail(format!("{bytes} bytes; at most {MAX_BYTES} are taken"));
        }
        let choice = choice.unwrap_or_default();
        let missing = match &choice {
            ToolChoice::Function(name) if !names.contains(name) => Some(format!("there is no tool {name:?}")),
            ToolChoice::Required if list.is_empty() => Some("there are no tools".into()),
            _ => None,
        };
        match missing {
            Some(message) => Err(ToolError { param: "tool_choice", message }),
            None if list.is_empty() || choice == ToolChoice::None => Ok(None),
            None => Ok(Some(Self { list, choice, parallel: parallel.unwrap_or(true) })),
        }
    }

    /// All tools, in the request's order.
    pub fn list(&self) -> &[Tool] {
        &self.list
    }

    /// Whether and what the model has to call.
    pub fn choice(&self) -> &ToolChoice {
        &self.choice
    }

    /// Whether the model may call several tools in one answer.
    pub fn parallel(&self) -> bool {
        self.parallel
    }

    /// The tools as templates take them.
    pub(super) fn to_json(&self) -> Value {
        serde_json::to_value(&self.list).expect("tools came from JSON")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn tool(name: &str) -> Value {
        json!({"type": "function", "function": {"name": name, "parameters": {"type": "object"}}})
    }

    fn tools(list: Value, choice: Value) -> Result<Option<Tools>, String> {
        let list = serde_json::from_value(list).map_err(|e| e.to_string())?;
        let choice = serde_json::from_value(choice).map_err(|e| e.to_string())?;
        Tools::new(list, choice, None).map_err(|e| e.to_string())
    }

    #[test]
    fn choices() {
        let both = json!([tool("a"), tool("b-2_C")]);
        assert_eq!(tools(both.clone(), json!(null)).unwrap().unwrap().choice(), &ToolChoice::Auto);
        assert_eq!(tools(both.clone(), json!("required")).unwrap().unwrap().choice(), &ToolChoice::Required);
        assert_eq!(tools(both.clone(), json!("none")).unwrap(), None);
        assert_eq!(tools(json!([]), json!("auto")).unwrap(), None);
        let named = |name| json!({"type": "function", "function": {"name": name}});
        let choice = tools(both.clone(), named("a")).unwrap().unwrap();
        assert_eq!(choice.choice(), &ToolChoice::Function("a".into()));
        for wrong in [named("c"), json!("any"), json!({"type": "function"}), json!(3)] {
            assert!(tools(both.clone(), wrong.clone()).is_err(), "{wrong}");
        }
        assert!(tools(json!([]), json!("required")).unwrap_err().contains("tool_choice: there are no tools"));
    }

    #[test]
    fn checks() {
        let many: Vec<Value> = (0..129).map(|i| tool(&format!("t{i}"))).collect();
        let mut large = tool("large");
        large["function"]["description"] = "x".repeat(300_000).into();
        let mut schema = tool("schema");
        schema["function"]["parameters"] = json!("string");
        let mut kind = tool("kind");
        kind["type"] = "retrieval".into();
        for (list, expected) in [
            (json!([tool("a"), tool("a")]), "[1].function.name: a second \"a\""),
            (json!([tool("")]), "[0].function.name: expected 1 to 64"),
            (json!([tool(&"a".repeat(65))]), "[0].function.name: expected 1 to 64"),
            (json!([tool("a b")]), "[0].function.name: expected 1 to 64"),
            (json!([tool("é")]), "[0].function.name: expected 1 to 64"),
            (json!([{"type": "function"}]), "missing field `function`"),
            (json!([schema]), "[0].function.parameters: expected a JSON schema"),
            (json!([kind]), "[0].type: expected \"function\""),
            (json!(many), "129 tools; at most 128"),
            (json!([large]), "at most 262144 are taken"),
        ] {
            let error = tools(list, json!(null)).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
