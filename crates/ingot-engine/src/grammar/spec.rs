//! What a request asks for.

use super::{GrammarLimits, gbnf, schema};
use crate::{Error, Result};
use llguidance::api::TopLevelGrammar;
use serde_json::{Value, json};

/// The form a text must have.
#[derive(Debug, Clone, PartialEq)]
pub enum GrammarSpec {
    /// A JSON object.
    JsonObject,
    /// JSON by a schema (draft 2020-12 or earlier; properties in the schema's order). References are found within
    /// the schema, as `#/...`, and never fetched. A text that fits several branches of a `oneOf` is accepted.
    JsonSchema(Value),
    /// The whole text matches a regular expression in the syntax of the `regex` crate, without look-around.
    Regex(String),
    /// llguidance's variant of Lark; begins with `start`.
    Lark(String),
    /// llama.cpp's grammars; begins with `root`.
    Gbnf(String),
    /// JSON values in frames of fixed text.
    Framed(Framed),
}

/// JSON values in frames of fixed text, which is how models write tool calls.
#[derive(Debug, Clone, PartialEq)]
pub struct Framed {
    /// A control token in front of everything. It is not part of the text.
    pub token: Option<u32>,
    /// The beginning of `before` by which a value is announced, where any text may stand around values as long as
    /// it does not have that in it. There may then be no value at all.
    pub marker: Option<String>,
    /// What stands before each value.
    pub before: String,
    /// The schema of a value.
    pub schema: Value,
    /// What stands after each value.
    pub after: String,
    /// What stands between one framed value and the next, if not any text; there is only one without.
    pub between: Option<String>,
}

impl GrammarSpec {
    /// What llguidance gets to see, if it is within limits. Errors as for [`super::Grammars::compile`].
    pub(super) fn check(&self, limits: &GrammarLimits) -> Result<TopLevelGrammar> {
        let source = |text: &str, what| {
            if text.len() > limits.source_bytes {
                return refuse(
                    what,
                    format!("{} bytes; at most {} are taken", text.len(), limits.source_bytes),
                );
            }
            Ok(())
        };
        match self {
            Self::JsonObject => {
                Ok(TopLevelGrammar::from_json_schema(schema::with_options(json!({"type": "object"}))))
            }
            Self::JsonSchema(value) => {
                schema::check(value, limits)?;
                Ok(TopLevelGrammar::from_json_schema(schema::with_options(value.clone())))
            }
            Self::Regex(regex) => {
                source(regex, "regular expression")?;
                Ok(TopLevelGrammar::from_regex(regex))
            }
            Self::Lark(lark) => {
                source(lark, "grammar")?;
                // Errors are wrapped by every rule on the way to where they happened.
                let lines = lark.lines().count();
                if lines > limits.rules {
                    return refuse("grammar", format!("{lines} lines; at most {} are taken", limits.rules));
                }
                Ok(TopLevelGrammar::from_lark(lark.clone()))
            }
            Self::Gbnf(text) => {
                source(text, "grammar")?;
                Ok(TopLevelGrammar::from_lark(gbnf::to_lark(text, limits)?))
            }
            Self::Framed(framed) => {
                schema::check(&framed.schema, limits)?;
                Ok(TopLevelGrammar::from_lark(framed.to_lark()))
            }
        }
    }
}

impl Framed {
    fn to_lark(&self) -> String {
        // JSON's strings are Lark's, but for characters of four bytes, which JSON need not escape either.
        let literal = |text: &str| Value::from(text).to_string();
        let start = self.token.map_or(String::new(), |id| format!("<[{id}]> "));
        let (before, after) = (literal(&self.before), literal(&self.after));
        let schema = schema::with_options(self.schema.clone());
        let Some(marker) = &self.marker else {
            let more = match &self.between {
                Some(between) => format!(" ({} value)*", literal(between)),
                None => String::new(),
            };
            return format!(
                "start: {start}value{more}\nvalue: {before} json {after}\njson: %json {schema}\n"
            );
        };
        // Text before a value ends with the first marker. The last text has none.
        let rest = literal(self.before.strip_prefix(marker.as_str()).unwrap_or_default());
        let marker = literal(marker);
        let times = if self.between.is_some() { "*" } else { "?" };
        format!(
            "start: {start}value{times} TEXT?\nvalue: announced {rest} json {after}\n\
             announced[suffix={marker}]: ANY\nANY: /(?s:.*)/\nTEXT: ANY & ~(ANY {marker} ANY)\njson: %json {schema}\n"
        )
    }
}

/// An error about what was asked for.
pub(super) fn refuse<T>(what: &str, why: impl std::fmt::Display) -> Result<T> {
    Err(Error::BadRequest(format!("{what}: {why}")))
}
