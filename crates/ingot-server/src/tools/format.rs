//! How models write calls.

/// The way in which a model was trained to call tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToolFormat {
    /// Hermes and Qwen: `<tool_call>{"name": .., "arguments": ..}</tool_call>`, several after each other.
    Hermes,
    /// Llama 3: `{"name": .., "parameters": ..}`, which is all of the answer or follows `<|python_tag|>`.
    Llama3,
    /// Mistral: `[TOOL_CALLS]` and a list of calls.
    Mistral,
    /// Nothing that the template knows: Hermes' way, which a message of ours explains.
    Prompted,
}

/// What calls look like in text.
#[derive(Debug)]
pub(super) struct Syntax {
    /// What calls begin with. Its first character is nowhere else in it.
    pub open: &'static str,
    /// What a call ends with, if anything.
    pub close: Option<&'static str>,
    /// Whether an answer may begin with a call and do without `open`.
    pub bare: bool,
    /// Whether calls are items of a JSON list.
    pub list: bool,
    /// The name of the arguments.
    pub arguments: &'static str,
}

const HERMES: Syntax = Syntax {
    open: "<tool_call>",
    close: Some("</tool_call>"),
    bare: false,
    list: false,
    arguments: "arguments",
};

const LLAMA3: Syntax =
    Syntax { open: "<|python_tag|>", close: None, bare: true, list: false, arguments: "parameters" };

const MISTRAL: Syntax =
    Syntax { open: "[TOOL_CALLS]", close: None, bare: true, list: true, arguments: "arguments" };

impl ToolFormat {
    /// The format that a chat template shows its model.
    pub fn detect(template: &str) -> Self {
        let has = |text: &str| template.contains(text);
        if has(HERMES.open) && has("arguments") && !has("<function=") {
            Self::Hermes
        } else if has(MISTRAL.open) && has("arguments") && !has("[ARGS]") {
            Self::Mistral
        } else if has("ipython") && has("parameters") && has("tools") {
            Self::Llama3
        } else {
            Self::Prompted
        }
    }

    /// The control token with which the model announces calls, if it does: its text has to be in what
    /// [`super::ToolStream`] gets, though control tokens are not text otherwise.
    pub fn control_token(self) -> Option<&'static str> {
        match self {
            Self::Llama3 => Some(LLAMA3.open),
            Self::Mistral => Some(MISTRAL.open),
            Self::Hermes | Self::Prompted => None,
        }
    }

    pub(super) fn syntax(self) -> &'static Syntax {
        match self {
            Self::Hermes | Self::Prompted => &HERMES,
            Self::Llama3 => &LLAMA3,
            Self::Mistral => &MISTRAL,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_restart_only_at_their_beginning() {
        for syntax in [&HERMES, &LLAMA3, &MISTRAL] {
            for marker in [Some(syntax.open), syntax.close].into_iter().flatten() {
                let first = marker.chars().next().unwrap();
                assert!(!marker[first.len_utf8()..].contains(first), "{marker}");
            }
        }
    }

    #[test]
    fn templates() {
        let hermes = "{%- if tools %}<tool_call>\n{\"name\": <function-name>, \"arguments\": <args-json-object>}\n</tool_call>";
        let llama = "{%- if tools is not none %}{{ '{\"name\": function name, \"parameters\": ..}' }}{% if message.role == 'tool' %}ipython";
        let mistral = "{{- \"[TOOL_CALLS] [\" }}{{ tool_call.function|tojson }} {# name, arguments #}";
        let other_qwen = "<tool_call>\n<function=name>\n<parameter=x>arguments";
        for (template, format) in [
            (hermes, ToolFormat::Hermes),
            (llama, ToolFormat::Llama3),
            (mistral, ToolFormat::Mistral),
            (other_qwen, ToolFormat::Prompted),
            ("{% for message in messages %}{{ message.content }}{% endfor %}", ToolFormat::Prompted),
        ] {
            assert_eq!(ToolFormat::detect(template), format, "{template}");
        }
    }
}
