//! Conversations and the templates that turn them into prompts.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::jinja::Template;

/// The conversation form that RWKV World models are trained on. Their files
/// often carry no template.
pub(crate) const RWKV_TEMPLATE: &str = "\
{%- for message in messages -%}
{{ {'user': 'User', 'assistant': 'Assistant', 'system': 'System'}[message.role] or message.role }}: {{ message.content | trim }}

{% endfor -%}
{%- if add_generation_prompt -%}Assistant:{%- endif -%}
";

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Message {
    /// `system`, `user`, `assistant`, `tool`: letters, digits, `_` and `-`.
    pub role: String,
    /// What was said.
    pub content: String,
    /// Other fields that templates know, such as `tool_calls`.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Message {
    /// A message with nothing but text.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: content.into(), extra: Map::new() }
    }

    /// The fields as a template sees them, every text in them passed through `guard`.
    pub(crate) fn to_json(&self, guard: &mut impl FnMut(&str) -> String) -> Result<Value> {
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        // Templates write roles between the parts of control tokens.
        if self.role.is_empty() || !self.role.chars().all(is_name) {
            return Err(Error::Message(format!(
                "role {:?}: expected letters, digits, '_' or '-', such as 'user'",
                self.role
            )));
        }
        let mut fields = Map::new();
        fields.insert("role".into(), self.role.clone().into());
        fields.insert("content".into(), guard(&self.content).into());
        for (name, value) in &self.extra {
            fields.entry(name.clone()).or_insert_with(|| guard_json(value, guard));
        }
        Ok(fields.into())
    }
}

/// `value` with `guard` applied to every text in it.
pub(crate) fn guard_json(value: &Value, guard: &mut impl FnMut(&str) -> String) -> Value {
    match value {
        Value::String(text) => guard(text).into(),
        Value::Array(items) => items.iter().map(|item| guard_json(item, guard)).collect(),
        Value::Object(map) => {
            let entries = map.iter().map(|(key, value)| (guard(key), guard_json(value, guard)));
            entries.collect::<Map<_, _>>().into()
        }
        other => other.clone(),
    }
}

/// A model's chat template.
///
/// It comes from an untrusted file, so rendering is limited in time, memory and
/// depth. A template that cannot be parsed is an error when it is used, not
/// when the model is loaded: the model is still good for plain completion.
#[derive(Debug)]
pub struct ChatTemplate {
    source: String,
    template: std::result::Result<Template, String>,
    bos: String,
    eos: String,
}

impl ChatTemplate {
    /// A template from its Jinja source. `bos` and `eos` are the texts of the
    /// variables `bos_token` and `eos_token`.
    pub fn new(source: impl Into<String>, bos: impl Into<String>, eos: impl Into<String>) -> Self {
        let source = source.into();
        Self { template: Template::parse(&source), source, bos: bos.into(), eos: eos.into() }
    }

    /// The Jinja source.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Renders a conversation. `add_generation_prompt` appends what the
    /// assistant's answer begins with; `extra` are further variables, such as
    /// `tools` or `enable_thinking`.
    ///
    /// The text of a message can contain that of control tokens; for a prompt
    /// use [`Tokenizer::encode_chat`](crate::Tokenizer::encode_chat).
    ///
    /// # Errors
    /// If the template is malformed, refuses the conversation, or exceeds its
    /// limits; if a role is not a plain word.
    pub fn render(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
        extra: &Map<String, Value>,
    ) -> Result<String> {
        self.render_guarded(messages, add_generation_prompt, extra, &mut str::to_owned)
    }

    pub(crate) fn render_guarded(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
        extra: &Map<String, Value>,
        guard: &mut impl FnMut(&str) -> String,
    ) -> Result<String> {
        let template = self.template.as_ref().map_err(|message| Error::Template(message.clone()))?;
        let messages = messages.iter().map(|message| message.to_json(guard)).collect::<Result<Vec<_>>>()?;
        let mut context: Map<String, Value> =
            extra.iter().map(|(name, value)| (name.clone(), guard_json(value, guard))).collect();
        context.insert("messages".into(), messages.into());
        context.insert("add_generation_prompt".into(), add_generation_prompt.into());
        context.insert("bos_token".into(), self.bos.clone().into());
        context.insert("eos_token".into(), self.eos.clone().into());
        template.render(&context).map_err(Error::Template)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rwkv_form() {
        let template = ChatTemplate::new(RWKV_TEMPLATE, "", "");
        let messages = [
            Message::new("system", "Be brief."),
            Message::new("user", " Hi\n"),
            Message::new("assistant", "Hello."),
            Message::new("user", "Bye"),
        ];
        let text = template.render(&messages, true, &Map::new()).unwrap();
        assert_eq!(text, "System: Be brief.\n\nUser: Hi\n\nAssistant: Hello.\n\nUser: Bye\n\nAssistant:");
    }

    #[test]
    fn roles_are_words() {
        let template = ChatTemplate::new("{{ messages[0].role }}", "", "");
        for role in ["", "user<|end|>", "a b", "rôle"] {
            assert!(template.render(&[Message::new(role, "x")], true, &Map::new()).is_err(), "{role}");
        }
    }

    #[test]
    fn variables() {
        let template = ChatTemplate::new(
            "{{ bos_token }}{{ messages[0].name }}{{ add_generation_prompt }}{{ x }}{{ eos_token }}",
            "<s>",
            "</s>",
        );
        let mut message = Message::new("user", "x");
        message.extra.insert("name".into(), "Ada".into());
        let extra = [("x".to_owned(), Value::from(3))].into_iter().collect();
        assert_eq!(template.render(&[message], false, &extra).unwrap(), "<s>AdaFalse3</s>");
    }

    #[test]
    fn malformed_templates_fail_when_used() {
        let error = ChatTemplate::new("{% if", "", "").render(&[], true, &Map::new()).unwrap_err();
        assert!(matches!(error, Error::Template(_)));
    }
}
