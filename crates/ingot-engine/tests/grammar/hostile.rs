//! Grammars of people who mean no good: a clear error, or a grammar with cheap masks.
//!
//! There are no clocks here. A check that is missing shows as a test that runs for minutes, a stack overflow or a
//! process that is out of memory.

use crate::common::{MODELS, Vocabulary};
use ingot_engine::grammar::{Grammar, GrammarSpec};
use serde_json::{Map, Value, json};

fn each_refused(cases: impl IntoIterator<Item = (GrammarSpec, &'static str)>) {
    let vocabulary = Vocabulary::open(MODELS[0]);
    for (spec, expected) in cases {
        let error = vocabulary.error(&spec);
        assert!(error.contains(expected), "{error}");
        assert!(error.chars().count() < 1000, "{error}");
    }
}

/// Tokens until the text ends or costs too much, of at most 200.
fn walk(grammar: &mut Grammar) -> usize {
    for taken in 0..200 {
        let Ok(mask) = grammar.mask() else { return taken };
        let last = mask.iter().last().expect("a mask allows something");
        if grammar.is_finished() || grammar.accept(last).is_err() {
            return taken;
        }
    }
    200
}

fn nested(levels: usize) -> Value {
    let mut schema = json!({"type": "string"});
    for _ in 0..levels {
        schema = json!({"type": "object", "properties": {"a": schema}, "required": ["a"]});
    }
    schema
}

/// Definitions `0` to `count`, each made from the name of the next, and a schema that is the first.
fn chain(count: usize, link: impl Fn(Value) -> Value) -> Value {
    let next = |i: usize| json!({"$ref": format!("#/$defs/{i}")});
    let mut defs: Map<String, Value> = (0..count).map(|i| (i.to_string(), link(next(i + 1)))).collect();
    defs.insert(count.to_string(), json!({"type": "object"}));
    json!({"$defs": defs, "$ref": "#/$defs/0"})
}

#[test]
fn schemas() {
    let schema = |value| GrammarSpec::JsonSchema(value);
    let doubled = |next: Value| json!({"properties": {"l": {"allOf": [next, {"type": "object"}]}, "r": {"allOf": [next, {"type": "object"}]}}});
    let options = |n: usize| (0..n).map(|i| json!({"required": [format!("r{i}")]})).collect::<Vec<_>>();
    each_refused([
        (schema(nested(1_000)), "nested deeper than 64 levels"),
        (schema(chain(5_000, |next| json!({"items": next}))), "deeper than 8192 levels"),
        (schema(json!({"title": "x".repeat(1 << 20)})), "larger than 262144 bytes"),
        (schema(chain(30, doubled)), "too large"),
        (schema(json!({"allOf": [{"anyOf": options(500)}, {"anyOf": options(500)}]})), "too large"),
        (schema(json!({"oneOf": options(1000)})), "oneOf: at most 256"),
        (
            schema(
                json!({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}),
            ),
            "matches nothing",
        ),
        (schema(json!({"allOf": [{"$ref": "#"}, {"$ref": "#"}]})), "leads back to itself"),
        (schema(json!({"$ref": "#/$defs/none"})), "no such part of this schema"),
        (schema(json!({"$ref": "http://localhost/schema.json"})), "no such part of this schema"),
        (schema(json!({"$ref": "file:///etc/passwd"})), "no such part of this schema"),
        (schema(json!({"type": "string", "maxLength": 1_000_000_000})), "maxLength: at most 100000"),
        (schema(json!({"type": "array", "minItems": u64::MAX})), "minItems: at most 100000"),
        (schema(json!({"type": "integer", "multipleOf": 1_000_003})), "multipleOf 1000003: too many digits"),
        (
            schema(json!({"items": {"multipleOf": 997}, "not": {"multipleOf": 0.001}})),
            "too many digits, also with the others",
        ),
        (schema(json!({"multipleOf": 1e300})), "too many digits"),
        (schema(json!({"multipleOf": 0})), "expected more than 0"),
        (schema(json!({"not": {"type": "string"}})), "Unimplemented keys: [\"not\"]"),
        (schema(json!({"type": "date"})), "Invalid type: date"),
        (schema(json!({"type": "string", "pattern": "a(?=b)"})), "look-ahead"),
        (schema(json!({"type": "string", "minLength": "é".repeat(99)})), "the parser of grammars failed"),
        (schema(json!(false)), "schema is false"),
        (schema(json!(7)), "schema must be an object"),
    ]);
}

#[test]
fn expressions_and_grammars() {
    let regex = |text: &str| GrammarSpec::Regex(text.into());
    let lark = |text: String| GrammarSpec::Lark(text);
    let gbnf = |text: String| GrammarSpec::Gbnf(text);
    let chain =
        |n: usize| (0..n).fold("start: r0\n".to_owned(), |s, i| format!("{s}r{i}: \"(\" r{} \")\"\n", i + 1));
    each_refused([
        (regex(&format!("{}a{}", "(".repeat(100_000), ")".repeat(100_000))), "invalid regex"),
        (regex(&"a".repeat(1 << 20)), "1048576 bytes; at most 262144"),
        (regex("a(?!b)"), "look-around"),
        (regex("[^\\s\\S]"), "matches nothing"),
        (regex("("), "unclosed group"),
        (lark(format!("start: {}\"a\"{}", "(".repeat(10_000), ")".repeat(10_000))), "too deeply nested"),
        (lark(chain(10_000)), "10001 lines; at most 2000"),
        (lark("start: a\na: b\nb: a\n".into()), "matches nothing"),
        (lark("start: @other".into()), "unknown grammar @other"),
        (lark(format!("start: {}\"a\"", "~".repeat(100_000))), "Expected value"),
        (
            gbnf(format!("root ::= {}\"a\"{}", "(".repeat(10_000), ")".repeat(10_000))),
            "groups nested deeper than 25",
        ),
        (
            gbnf((0..5000).fold("root ::= r0\n".to_owned(), |s, i| format!("{s}r{i} ::= r{}\n", i + 1))),
            "more than 2000 rules",
        ),
    ]);
}

/// What is large but within limits can be used, until a mask costs too much.
#[test]
fn large_ones_run() {
    let vocabulary = Vocabulary::open(MODELS[0]);
    let exploding = [
        GrammarSpec::Regex("(a{1000}){1000}".into()),
        GrammarSpec::Regex("((a{0,100}){0,100}){0,100}".into()),
        GrammarSpec::Regex("(a|b)*a(a|b){30}".into()),
        GrammarSpec::Regex(format!("{}a{}", "(".repeat(50), "{2,9})".repeat(50))),
        GrammarSpec::Regex((0..20_000).map(|i| format!("w{i}|")).collect::<String>() + "end"),
        GrammarSpec::Lark("start: a{50000}\na: b{50000}\nb: c{50000}\nc: \"x\"{50000}\n".into()),
        GrammarSpec::Lark("start: s\ns: s s | s s s | \"a\" | \n".into()),
        GrammarSpec::Gbnf("root ::= s\ns ::= s s s | \"a\"{0,99999} | [^b]{3,}".into()),
        GrammarSpec::JsonSchema(chain(1000, |next| json!({"type": "object", "properties": {"x": next}}))),
        GrammarSpec::JsonSchema(nested(20)),
        GrammarSpec::JsonSchema(
            json!({"enum": (0..10_000).map(|i| format!("value {i}")).collect::<Vec<_>>()}),
        ),
        GrammarSpec::JsonSchema(
            json!({"type": "array", "minItems": 100_000, "items": {"type": "array", "minItems": 99_999}}),
        ),
        GrammarSpec::JsonSchema(json!({"type": "string", "minLength": 100_000})),
        GrammarSpec::JsonSchema(json!({"type": "integer", "multipleOf": 99_991})),
    ];
    for spec in exploding {
        assert!(walk(&mut vocabulary.compile(&spec)) > 0);
    }
    // So many alternatives are too many as soon as they can be told apart.
    let mut grammar = vocabulary.compile(&GrammarSpec::JsonSchema(
        json!({"enum": (0..3_000).map(|i| json!({"a": i})).collect::<Vec<_>>()}),
    ));
    let brace = vocabulary.tokenizer.encode("{", Default::default()).unwrap()[0];
    assert!(grammar.accept(brace).unwrap_err().to_string().contains("3000 items"));
    assert!(grammar.mask().is_err() && !grammar.is_finished());
}
