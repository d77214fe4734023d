//! The grammar of forced calls.

use super::format::ToolFormat;
use super::request::{Tool, ToolChoice, Tools};
use ingot_engine::grammar::{Framed, GrammarSpec};
use ingot_tokenizer::{EncodeOptions, Tokenizer};
use serde_json::{Value, json};

impl ToolFormat {
    /// What an answer has to look like. If a call is required: nothing but calls, with arguments that fit their
    /// schemas. If the model may choose and a tool is strict: calls as the model was trained to write them, with
    /// arguments that fit the schemas of strict tools, and any text around them; for Hermes' way only. Else `None`.
    pub fn grammar(self, tools: &Tools, tokenizer: &Tokenizer) -> Option<GrammarSpec> {
        let allowed: Vec<&Tool> = match tools.choice() {
            ToolChoice::None => return None,
            ToolChoice::Auto if !tools.list().iter().any(|tool| tool.function.strict == Some(true)) => {
                return None;
            }
            ToolChoice::Auto | ToolChoice::Required => tools.list().iter().collect(),
            ToolChoice::Function(name) => {
                tools.list().iter().filter(|tool| tool.function.name == *name).collect()
            }
        };
        // Who names a tool wants one call of it.
        let several = tools.parallel() && !matches!(tools.choice(), ToolChoice::Function(_));
        let syntax = self.syntax();
        let auto = *tools.choice() == ToolChoice::Auto;
        if auto && syntax.close.is_none() {
            return None;
        }
        // References within a schema begin at its root, which moves.
        let root = if syntax.list { "#/items" } else { "#" };
        let mut call = match allowed.as_slice() {
            [tool] => call(tool, auto, syntax.arguments, root),
            tools => {
                let options = tools.iter().enumerate();
                let options =
                    options.map(|(i, tool)| call(tool, auto, syntax.arguments, &format!("{root}/anyOf/{i}")));
                json!({"anyOf": options.collect::<Vec<_>>()})
            }
        };
        if syntax.list {
            call = json!({"type": "array", "items": call, "minItems": 1});
            if !several {
                call["maxItems"] = 1.into();
            }
        }
        let framed = |before: &str, after: &str| Framed {
            token: None,
            marker: None,
            before: before.into(),
            schema: call.clone(),
            after: after.into(),
            between: None,
        };
        Some(GrammarSpec::Framed(match syntax.close {
            Some(close) => Framed {
                marker: auto.then(|| syntax.open.into()),
                between: several.then(|| "\n".into()),
                ..framed(&format!("{}\n", syntax.open), &format!("\n{close}"))
            },
            // Llama writes the marker only before calls of tools of its own.
            None if !syntax.list => framed("", ""),
            None => Framed { token: control_token(syntax.open, tokenizer), ..framed("", "") },
        }))
    }
}

/// The schema of a call of `tool`, at `root` of a larger schema. If the model is free to call it, arguments have to
/// fit only if the tool is strict.
fn call(tool: &Tool, auto: bool, key: &str, root: &str) -> Value {
    let mut arguments = match &tool.function.parameters {
        _ if auto && tool.function.strict != Some(true) => json!({}),
        Some(schema) => schema.clone(),
        None => json!({"additionalProperties": false}),
    };
    move_references(&mut arguments, &format!("{root}/properties/{key}"));
    if let Value::Object(schema) = &mut arguments {
        schema.entry("type").or_insert("object".into());
    }
    json!({
        "type": "object",
        "properties": {"name": {"const": tool.function.name}, key: arguments},
        "required": ["name", key],
        "additionalProperties": false,
    })
}

/// Makes references to the root of `schema` such to `root`. The nesting of schemas is limited by their parser.
fn move_references(schema: &mut Value, root: &str) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(|item| move_references(item, root)),
        Value::Object(map) => {
            for (key, value) in map {
                match (key.as_str(), &mut *value) {
                    ("$ref", Value::String(reference)) => {
                        if let Some(path) = reference.strip_prefix('#') {
                            *reference = format!("{root}{}", path.strip_suffix('/').unwrap_or(path));
                        }
                    }
                    // These are values; a property may have such a name, and its schema is an object.
                    ("const" | "default", _) | ("enum" | "examples", Value::Array(_)) => {}
                    (_, value) => move_references(value, root),
                }
            }
        }
        _ => {}
    }
}

/// The control token with this text.
fn control_token(text: &str, tokenizer: &Tokenizer) -> Option<u32> {
    let ids = tokenizer.encode(text, EncodeOptions { special: true, bos: false }).ok()?;
    ids.into_iter()
        .find(|&id| tokenizer.is_special(id) && tokenizer.token_bytes(id).as_deref() == Some(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::super::{ToolDelta, ToolStream};
    use super::*;
    use ingot_engine::grammar::{GrammarLimits, Grammars};
    use ingot_engine::rng::Rng;
    use ingot_format::ModelFile;
    use std::path::Path;

    fn tools(choice: Value, parallel: bool) -> Tools {
        let list = json!([
            {"type": "function", "function": {"name": "weather", "parameters": {
                "type": "object",
                "properties": {"where": {"$ref": "#/$defs/place"}},
                "required": ["where"],
                "additionalProperties": false,
                "$defs": {"place": {"enum": ["Rome", "Oslo"]}},
            }}},
            {"type": "function", "function": {"name": "now"}},
        ]);
        let list = serde_json::from_value(list).unwrap();
        Tools::new(list, serde_json::from_value(choice).unwrap(), Some(parallel)).unwrap().unwrap()
    }

    /// A free model's calls fit the schemas of strict tools.
    #[test]
    fn strict_tools() {
        let mut list = tools(json!("auto"), true).list().to_vec();
        list[0].function.strict = Some(true);
        let tools = Tools::new(list, None, Some(false)).unwrap().unwrap();
        let tokenizer = tokenizer();
        assert!(ToolFormat::Llama3.grammar(&tools, &tokenizer).is_none());
        let spec = ToolFormat::Hermes.grammar(&tools, &tokenizer).unwrap();
        let grammar = Grammars::new(&tokenizer).unwrap().compile(&spec, &GrammarLimits::default()).unwrap();
        let accepts = |text: &str| {
            let mut grammar = grammar.clone();
            let ids = tokenizer.encode(text, EncodeOptions::default()).unwrap();
            ids.into_iter().all(|id| grammar.accept(id).is_ok())
        };
        let call = |object: &str| format!("Well.\n<tool_call>\n{object}\n</tool_call>");
        assert!(accepts("No call."));
        assert!(accepts(&call(r#"{"name": "weather", "arguments": {"where": "Rome"}}"#)));
        assert!(accepts(&call(r#"{"name": "now", "arguments": {"any": [1]}}"#)));
        assert!(!accepts(&call(r#"{"name": "weather", "arguments": {"where": "Paris"}}"#)));
        assert!(!accepts(&call(r#"{"name": "other", "arguments": {}}"#)));
    }

    fn tokenizer() -> Tokenizer {
        let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/tale-llama-q8_0.gguf"));
        Tokenizer::open(&ModelFile::open(path).unwrap()).unwrap()
    }

    /// Whatever is drawn under the grammar is understood as calls and nothing else.
    #[test]
    fn forced_calls_are_calls() {
        let tokenizer = tokenizer();
        let grammars = Grammars::new(&tokenizer).unwrap();
        let named = json!({"type": "function", "function": {"name": "weather"}});
        for format in [ToolFormat::Hermes, ToolFormat::Llama3, ToolFormat::Mistral, ToolFormat::Prompted] {
            assert!(format.grammar(&tools(json!("auto"), true), &tokenizer).is_none());
            let mut most = 0;
            for (choice, parallel) in
                [(json!("required"), true), (json!("required"), false), (named.clone(), false)]
            {
                let tools = tools(choice.clone(), parallel);
                let spec = format.grammar(&tools, &tokenizer).unwrap();
                let grammar = grammars.compile(&spec, &GrammarLimits::default()).unwrap();
                for seed in 0..10 {
                    let (mut grammar, mut rng, mut text) = (grammar.clone(), Rng::new(seed), String::new());
                    loop {
                        let ids: Vec<u32> = grammar.mask().unwrap().iter().collect();
                        let end = ids.iter().any(|id| tokenizer.end_of_generation().contains(id));
                        if end && rng.next_f64() < 0.3 {
                            break;
                        }
                        let id = ids[(rng.next_u64() % ids.len() as u64) as usize];
                        text += &tokenizer.decode_with(&[id], false);
                        grammar.accept(id).unwrap();
                        if grammar.is_finished() {
                            break;
                        }
                    }
                    let mut stream = ToolStream::new(format, &tools, Rng::new(1));
                    let mut deltas = stream.push(&text);
                    deltas.extend(stream.finish());
                    let calls = stream.calls();
                    most = most.max(calls);
                    assert!(calls == 1 || calls > 1 && parallel, "{format:?} {text}");
                    for delta in deltas {
                        match delta {
                            ToolDelta::Content(content) => panic!("{format:?}: {content:?} of {text}"),
                            ToolDelta::Call { name, .. } => {
                                assert!(name == "weather" || choice == "required")
                            }
                            ToolDelta::Arguments { fragment, .. } => {
                                let arguments: Value = serde_json::from_str(&fragment).unwrap();
                                let place = arguments.get("where").map(|place| place.as_str().unwrap());
                                assert!([None, Some("Rome"), Some("Oslo")].contains(&place), "{text}");
                            }
                        }
                    }
                }
            }
            assert_eq!(most > 1, format != ToolFormat::Llama3, "{format:?}");
        }
    }
}
