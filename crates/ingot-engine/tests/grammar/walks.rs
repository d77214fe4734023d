//! Whatever is drawn under a grammar is a text of it.

use crate::common::{MODELS, Vocabulary};
use ingot_engine::grammar::{Framed, GrammarSpec};
use serde_json::{Value, json};

const SEEDS: u64 = 8;

fn each_text(spec: &GrammarSpec, check: impl Fn(&str)) {
    for model in MODELS {
        let vocabulary = Vocabulary::open(model);
        let grammar = vocabulary.compile(spec);
        for seed in 0..SEEDS {
            check(&vocabulary.walk(&mut grammar.clone(), seed));
        }
    }
}

fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{text}: {e}"))
}

#[test]
fn json_objects() {
    each_text(&GrammarSpec::JsonObject, |text| assert!(parse(text).is_object(), "{text}"));
}

#[test]
fn schemas() {
    let schema = json!({
        "type": "object",
        "properties": {
            "name": {"type": "string", "minLength": 1, "maxLength": 12},
            "age": {"type": "integer", "minimum": 0, "maximum": 150},
            "mood": {"enum": ["glad", "sad", null, 7]},
            "tags": {"type": "array", "items": {"type": "string", "pattern": "^[a-z]{2,4}$"}, "minItems": 1, "maxItems": 3},
            "shape": {"oneOf": [{"$ref": "#/$defs/circle"}, {"$ref": "#/$defs/square"}]},
        },
        "required": ["name", "mood", "tags", "shape"],
        "additionalProperties": false,
        "$defs": {
            "circle": {
                "type": "object",
                "properties": {"kind": {"const": "circle"}, "radius": {"type": "number", "exclusiveMinimum": 0}},
                "required": ["kind", "radius"],
                "additionalProperties": false,
            },
            "square": {
                "type": "object",
                "properties": {"kind": {"const": "square"}, "side": {"type": "integer", "minimum": 0, "maximum": 1000, "multipleOf": 5}},
                "required": ["kind", "side"],
                "additionalProperties": false,
            },
        },
    });
    each_text(&GrammarSpec::JsonSchema(schema), |text| {
        let value = parse(text);
        let object = value.as_object().unwrap();
        // In the schema's order.
        let order = ["name", "age", "mood", "tags", "shape"];
        assert!(
            object.keys().map(String::as_str).eq(order.into_iter().filter(|key| object.contains_key(*key))),
            "{text}"
        );
        assert!((1..=12).contains(&object["name"].as_str().unwrap().chars().count()), "{text}");
        assert!(object.get("age").is_none_or(|age| (0..=150).contains(&age.as_i64().unwrap())), "{text}");
        assert!([json!("glad"), json!("sad"), json!(null), json!(7)].contains(&object["mood"]), "{text}");
        let tags = object["tags"].as_array().unwrap();
        assert!((1..=3).contains(&tags.len()), "{text}");
        for tag in tags {
            let tag = tag.as_str().unwrap();
            assert!((2..=4).contains(&tag.len()) && tag.bytes().all(|b| b.is_ascii_lowercase()), "{text}");
        }
        let shape = object["shape"].as_object().unwrap();
        assert_eq!(shape.len(), 2, "{text}");
        match shape["kind"].as_str().unwrap() {
            "circle" => assert!(shape["radius"].as_f64().unwrap() > 0.0, "{text}"),
            "square" => {
                assert_eq!(shape["side"].as_u64().unwrap() % 5, 0, "{text}")
            }
            other => panic!("{other}"),
        }
    });
}

/// A tree: a schema that refers to itself.
#[test]
fn recursive_schemas() {
    fn check(value: &Value) {
        let object = value.as_object().unwrap();
        assert!(object["leaf"].is_boolean());
        object["children"].as_array().unwrap().iter().for_each(check);
    }
    let schema = json!({
        "type": "object",
        "properties": {"leaf": {"type": "boolean"}, "children": {"type": "array", "items": {"$ref": "#"}}},
        "required": ["leaf", "children"],
        "additionalProperties": false,
    });
    each_text(&GrammarSpec::JsonSchema(schema), |text| check(&parse(text)));
}

#[test]
fn regular_expressions() {
    let date = |text: &str| {
        let parts: Vec<&str> = text.split('-').collect();
        let digits = |part: &str, n| part.len() == n && part.bytes().all(|b| b.is_ascii_digit());
        parts.len() == 3 && digits(parts[0], 4) && digits(parts[1], 2) && digits(parts[2], 2)
    };
    each_text(&GrammarSpec::Regex("[0-9]{4}-[0-9]{2}-[0-9]{2}".into()), |text| assert!(date(text), "{text}"));
    // A slash ends a regular expression in Lark.
    each_text(&GrammarSpec::Regex(r#"(/[a-z]{1,3})+\.txt"#.into()), |text| {
        assert!(text.starts_with('/') && text.ends_with(".txt"), "{text}");
    });
}

/// Characters of which no token of these vocabularies is more than a part.
#[test]
fn characters_in_pieces() {
    each_text(&GrammarSpec::Regex("[\u{1F600}-\u{1F64F}]{5}\u{4E2D}é".into()), |text| {
        let chars: Vec<char> = text.chars().collect();
        assert_eq!(chars.len(), 7);
        assert!(
            chars[..5].iter().all(|c| ('\u{1F600}'..='\u{1F64F}').contains(c)) && text.ends_with("中é"),
            "{text}"
        );
    });
}

#[test]
fn framed_values() {
    let framed = Framed {
        token: None,
        marker: None,
        before: "<call \"x\">\n".into(),
        schema: json!({"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 9}, "maxItems": 4}),
        after: "\n</call>".into(),
        between: Some("\n".into()),
    };
    for between in [None, framed.between.clone()] {
        let single = between.is_none();
        each_text(&GrammarSpec::Framed(Framed { between, ..framed.clone() }), |text| {
            let calls: Vec<&str> = text.split("</call>").collect();
            assert!(!single || calls.len() == 2, "{text}");
            assert_eq!(*calls.last().unwrap(), "", "{text}");
            for (number, call) in calls[..calls.len() - 1].iter().enumerate() {
                let call = if number > 0 { call.strip_prefix('\n').unwrap() } else { call };
                assert!(parse(call.strip_prefix("<call \"x\">\n").unwrap()).is_array(), "{text}");
            }
        });
    }
}

/// Text may be anything but a marker without its value.
#[test]
fn announced_values() {
    let framed = |between: Option<&str>| Framed {
        token: None,
        marker: Some("<n>".into()),
        before: "<n>\n".into(),
        schema: json!({"type": "integer"}),
        after: "\n</n>".into(),
        between: between.map(str::to_owned),
    };
    let vocabulary = Vocabulary::open(MODELS[0]);
    let many = vocabulary.compile(&GrammarSpec::Framed(framed(Some(""))));
    let one = vocabulary.compile(&GrammarSpec::Framed(framed(None)));
    for (text, in_one, in_many) in [
        ("", true, true),
        ("So, a <n", true, true),
        ("So\n<n>\n7\n</n>", true, true),
        ("<n>\n7\n</n>, so.", true, true),
        ("<n>\n7\n</n> and <n>\n8\n</n>", false, true),
        ("<n>", false, false),
        ("<n>7</n>", false, false),
        ("<n>\nseven\n</n>", false, false),
        ("<n>\n7\n", false, false),
    ] {
        assert_eq!(vocabulary.matches(&one, text), in_one, "{text:?}");
        assert_eq!(vocabulary.matches(&many, text), in_many, "{text:?}");
    }
}

#[test]
fn control_tokens_by_id() {
    let vocabulary = Vocabulary::open(MODELS[2]);
    let tokenizer = &vocabulary.tokenizer;
    let control = (0..tokenizer.vocab_size() as u32)
        .find(|&id| tokenizer.is_special(id) && tokenizer.end_of_generation().binary_search(&id).is_err())
        .unwrap();
    let framed = Framed {
        token: Some(control),
        marker: None,
        before: String::new(),
        schema: json!({"type": "null"}),
        after: String::new(),
        between: None,
    };
    let mut grammar = vocabulary.compile(&GrammarSpec::Framed(framed));
    assert!(grammar.mask().unwrap().iter().eq([control]));
    grammar.accept(control).unwrap();
    assert_eq!(vocabulary.walk(&mut grammar, 1).trim(), "null");
}

/// Tokens that do not fit are refused and change nothing; clones go their own ways.
#[test]
fn clones_and_refusals() {
    let vocabulary = Vocabulary::open(MODELS[0]);
    let mut grammar = vocabulary.compile(&GrammarSpec::JsonObject);
    let forbidden = vocabulary.tokenizer.encode("x", Default::default()).unwrap()[0];
    let before = grammar.mask().unwrap().clone();
    assert!(grammar.accept(forbidden).unwrap_err().to_string().contains("does not allow"));
    assert!(grammar.accept(u32::MAX).is_err());
    assert_eq!(*grammar.mask().unwrap(), before);

    let texts: Vec<String> = (0..5).map(|seed| vocabulary.walk(&mut grammar.clone(), seed)).collect();
    assert_eq!(*grammar.mask().unwrap(), before);
    let states: Vec<_> = (0..5).map(|_| grammar.clone()).collect();
    std::thread::scope(|scope| {
        for (seed, (mut state, text)) in states.into_iter().zip(&texts).enumerate() {
            let vocabulary = &vocabulary;
            scope.spawn(move || assert_eq!(vocabulary.walk(&mut state, seed as u64), *text));
        }
    });
}

/// A finished text stays finished, and only an end may follow.
#[test]
fn the_end() {
    let vocabulary = Vocabulary::open(MODELS[0]);
    let ends = vocabulary.tokenizer.end_of_generation();
    let mut grammar = vocabulary.compile(&GrammarSpec::Regex("a".into()));
    assert!(!grammar.is_finished() && !vocabulary.can_end(&mut grammar));
    grammar.accept(vocabulary.tokenizer.encode("a", Default::default()).unwrap()[0]).unwrap();
    assert!(grammar.is_finished());
    for _ in 0..2 {
        assert!(grammar.mask().unwrap().iter().eq(ends.iter().copied()));
        grammar.accept(ends[0]).unwrap();
        assert!(grammar.is_finished());
    }
}
