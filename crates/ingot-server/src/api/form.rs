//! The form that an answer must have: `response_format`, `grammar`, `regex`.

use crate::app::App;
use crate::error::{ApiError, Result};
use crate::http::parse;
use ingot_engine::grammar::{Grammar, GrammarSpec};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Fields {
    response_format: Option<ResponseFormat>,
    /// In the notation of llama.cpp (GBNF) or of Lark.
    grammar: Option<String>,
    regex: Option<String>,
    /// As others have it, beside `response_format`.
    json_schema: Option<Value>,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ResponseFormat {
    Text,
    JsonObject {
        /// As llama.cpp has it.
        schema: Option<Value>,
    },
    JsonSchema {
        json_schema: Schema,
    },
}

#[derive(Deserialize)]
struct Schema {
    schema: Option<Value>,
}

/// What a request asks for, if it does.
pub(super) fn wanted(body: &Value) -> Result<Option<GrammarSpec>> {
    let fields: Fields = parse(body)?;
    let format = fields.response_format.and_then(|format| match format {
        ResponseFormat::Text => None,
        ResponseFormat::JsonObject { schema: None } => Some(GrammarSpec::JsonObject),
        ResponseFormat::JsonObject { schema: Some(schema) } => Some(GrammarSpec::JsonSchema(schema)),
        ResponseFormat::JsonSchema { json_schema } => Some(match json_schema.schema {
            Some(schema) => GrammarSpec::JsonSchema(schema),
            None => GrammarSpec::JsonObject,
        }),
    });
    let is_gbnf = |grammar: &str| grammar.contains("::=");
    let grammar =
        fields.grammar.filter(|grammar| !grammar.is_empty()).map(|grammar| match is_gbnf(&grammar) {
            true => GrammarSpec::Gbnf(grammar),
            false => GrammarSpec::Lark(grammar),
        });
    let schema = fields.json_schema.map(GrammarSpec::JsonSchema);
    let all = [format, grammar, fields.regex.map(GrammarSpec::Regex), schema];
    let mut all = all.into_iter().flatten();
    match (all.next(), all.next()) {
        (_, Some(_)) => {
            let message = "only one of response_format, grammar, regex and json_schema can be obeyed";
            Err(ApiError::param("response_format", message))
        }
        (wanted, None) => Ok(wanted),
    }
}

/// The grammar for it. To be called where it may take a while.
pub(super) fn compile(app: &App, spec: &GrammarSpec) -> Result<Grammar> {
    let grammar = app.grammars()?.compile(spec, &app.config.limits.grammar);
    grammar.map_err(|e| match spec {
        GrammarSpec::Gbnf(_) | GrammarSpec::Lark(_) => ApiError::param("grammar", e),
        GrammarSpec::Regex(_) => ApiError::param("regex", e),
        GrammarSpec::JsonObject | GrammarSpec::JsonSchema(_) => ApiError::param("response_format", e),
        GrammarSpec::Framed(_) => ApiError::param("tools", e),
    })
}
