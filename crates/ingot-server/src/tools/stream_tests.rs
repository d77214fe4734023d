//! Answers of every format, cut at every place.

use super::{ToolDelta, ToolFormat, ToolStream, Tools};
use ToolFormat::{Hermes, Llama3, Mistral, Prompted};
use ingot_engine::rng::Rng;
use serde_json::json;

fn tools() -> Tools {
    let tool = |name: &str| json!({"type": "function", "function": {"name": name}});
    Tools::new(serde_json::from_value(json!([tool("a"), tool("b")])).unwrap(), None, None).unwrap().unwrap()
}

/// What an answer in pieces becomes: text as it is, calls as `[index name arguments]`, which is one string
/// whatever the pieces are.
fn run<'t>(format: ToolFormat, pieces: impl IntoIterator<Item = &'t str>) -> String {
    let mut stream = ToolStream::new(format, &tools(), Rng::new(7));
    let mut deltas: Vec<ToolDelta> = pieces.into_iter().flat_map(|piece| stream.push(piece)).collect();
    deltas.extend(stream.finish());
    let mut text = String::new();
    let mut ids = Vec::new();
    for delta in deltas {
        match delta {
            ToolDelta::Content(content) => {
                assert!(!content.is_empty());
                text += &content;
            }
            ToolDelta::Call { index, id, name } => {
                assert_eq!(index, ids.len());
                assert!(id.len() == 29 && id.starts_with("call_") && !ids.contains(&id), "{id}");
                ids.push(id);
                text += &format!("[{index} {name}]");
            }
            ToolDelta::Arguments { index, fragment } => {
                assert!(index + 1 == ids.len() && !fragment.is_empty());
                text += &fragment;
            }
        }
    }
    text
}

fn check(format: ToolFormat, answer: &str, expected: &str) {
    assert_eq!(run(format, [answer]), expected, "{format:?}: {answer}");
    for (cut, _) in answer.char_indices() {
        assert_eq!(
            run(format, [&answer[..cut], &answer[cut..]]),
            expected,
            "{format:?}: {answer} cut at {cut}"
        );
    }
    let single = answer.char_indices().map(|(at, c)| &answer[at..at + c.len_utf8()]);
    assert_eq!(run(format, single), expected, "{format:?}: {answer} in single characters");
}

#[test]
fn hermes() {
    for format in [Hermes, Prompted] {
        check(
            format,
            "Let me see.\n\n<tool_call>\n{\"name\": \"a\", \"arguments\": {\"x\": [1, {\"y\": \"}\"}]}}\n</tool_call>\n\
             <tool_call>{\"name\":\"b\",\"arguments\":{}}</tool_call>\nDone, \n ok.\n",
            "Let me see.[0 a]{\"x\": [1, {\"y\": \"}\"}]}[1 b]{}\nDone, \n ok.",
        );
    }
    // Another order, arguments as text, none, more keys than needed.
    let call = |object: &str| format!("<tool_call>\n{object}\n</tool_call>");
    check(Hermes, &call(r#"{"arguments": {"x": 1}, "name": "a"}"#), r#"[0 a]{"x":1}"#);
    check(Hermes, &call(r#"{"name": "a", "arguments": "{\"x\": 1}"}"#), r#"[0 a]{"x": 1}"#);
    check(Hermes, &call(r#"{"name": "b"}"#), "[0 b]{}");
    check(Hermes, &call(r#"{"name": "b", "arguments": null}"#), "[0 b]{}");
    check(Hermes, &call(r#"{"name": "a", "arguments": {"x": 1}, "id": 3}"#), r#"[0 a]{"x": 1}"#);
    check(Hermes, &call(r#"{"name": "\u0061", "arguments": {"x": "é😀\"<"}}"#), r#"[0 a]{"x": "é😀\"<"}"#);
}

#[test]
fn llama() {
    let call = r#"{"name": "a", "parameters": {"x": 1}}"#;
    check(Llama3, call, r#"[0 a]{"x": 1}"#);
    check(Llama3, &format!("\n <|python_tag|>{call}"), r#"[0 a]{"x": 1}"#);
    check(Llama3, &format!("{call}; {call}\n{call}"), r#"[0 a]{"x": 1}[1 a]{"x": 1}[2 a]{"x": 1}"#);
    check(Llama3, &format!("I will.<|python_tag|>{call}"), r#"I will.[0 a]{"x": 1}"#);
    check(Llama3, &format!("{call} Yes {call}"), &format!("[0 a]{{\"x\": 1}} Yes {call}"));
    // Not a call: in the middle of text, of something else, or of no tool.
    check(Llama3, &format!("So: {call}"), &format!("So: {call}"));
    check(Llama3, r#"{"name": "Ann", "age": 3} "#, r#"{"name": "Ann", "age": 3} "#);
    check(Llama3, r#"{"name": "c", "parameters": {}}"#, r#"{"name": "c", "parameters": {}}"#);
    check(Llama3, "{}", "{}");
}

#[test]
fn mistral() {
    let call = r#"{"name": "a", "arguments": {"x": 1}}"#;
    check(Mistral, &format!("[TOOL_CALLS] [{call}, {call}]"), r#"[0 a]{"x": 1}[1 a]{"x": 1}"#);
    check(Mistral, &format!("[TOOL_CALLS][{call}]\nBye [1]"), "[0 a]{\"x\": 1}\nBye [1]");
    check(Mistral, &format!(" [{call}]"), r#"[0 a]{"x": 1}"#);
    check(Mistral, &format!("Ok. [TOOL_CALLS] [{call}]"), r#"Ok.[0 a]{"x": 1}"#);
    for text in
        ["[1] is a source", "[[TOOL", "[TOOL_CALLS] none", "[ ]", "[TOOL_CALLS] [7]", "x [{\"name\": \"a\""]
    {
        check(Mistral, text, text);
    }
}

/// What is no call comes out as it was.
#[test]
fn malformed() {
    for text in [
        "",
        " \n",
        "a < b <tool <tool_cal",
        "<tool_call>",
        "<tool_call>\nnone</tool_call>",
        "<tool_call>[]</tool_call>",
        "<tool_call>{\"name\": \"a\"",
        "<tool_call>{\"name\": \"a\", \"arguments\"",
        "<tool_call>{\"name\": \"c\", \"arguments\": {}}</tool_call>",
        "<tool_call>{\"name\": \"a\", \"arguments\": [1]}</tool_call>",
        "<tool_call>{\"name\": \"a\", \"arguments\": \"x\"}</tool_call>",
        "<tool_call>{name: \"a\"}</tool_call>",
        "<tool_call>{\"name\": \"a\\",
        "</tool_call>",
    ] {
        check(Hermes, text, text);
    }
    // The call after such a thing is found.
    let call = "<tool_call>{\"name\": \"a\", \"arguments\": {}}</tool_call>";
    check(Hermes, &format!("<tool_call>{call}"), "<tool_call>[0 a]{}");
    check(Hermes, &format!("<tool_call>{{x{call}"), "<tool_call>{x[0 a]{}");
    check(Hermes, &format!("<<{call}<"), "<<[0 a]{}<");
    // Arguments that are given out already stay a call; what follows them is text.
    check(Hermes, "<tool_call>{\"name\": \"a\", \"arguments\": {\"x\": ", "[0 a]{\"x\": ");
    check(
        Hermes,
        &format!("<tool_call>{{\"name\": \"a\", \"arguments\": {{\"x\": 1{call}"),
        "[0 a]{\"x\": 1[1 a]{}",
    );
    check(Hermes, "<tool_call>{\"name\": \"a\", \"arguments\": {}</tool_call>", "[0 a]{}");
    check(Hermes, "<tool_call>{\"name\": \"a\", \"arguments\": {}} so", "[0 a]{} so");
    check(Hermes, "<tool_call>{\"name\": \"a\", \"arguments\": {}, x}", "[0 a]{}, x}");
}

/// Nothing is held back that cannot become a call any more.
#[test]
fn text_comes_at_once() {
    let mut stream = ToolStream::new(Hermes, &tools(), Rng::new(0));
    let content = |text: &str| vec![ToolDelta::Content(text.into())];
    assert_eq!(stream.push("Hello"), content("Hello"));
    assert_eq!(stream.push(" <tool"), []);
    assert_eq!(stream.push("s> and"), content(" <tools> and"));
    assert_eq!(stream.push("<tool_call>{\"name\": \"a\", \"arguments\": "), []);
    assert_eq!(stream.push("{\"x\"").len(), 2);
    let fragment = |text: &str| vec![ToolDelta::Arguments { index: 0, fragment: text.into() }];
    assert_eq!(stream.push(": 1"), fragment(": 1"));
    assert_eq!(stream.push("}}</tool"), fragment("}"));
    assert_eq!(stream.push("_call>\n"), []);
    assert_eq!(stream.finish(), []);
}

/// Answers of megabytes, of which nothing is read twice: a stream that did would take hours.
#[test]
fn huge() {
    let n = 300_000;
    let arguments = format!("{{\"x\": \"{}\"}}", "é".repeat(n));
    let call = format!("<tool_call>{{\"name\": \"a\", \"arguments\": {arguments}}}</tool_call>");
    assert_eq!(run(Hermes, call.split_inclusive('é')), format!("[0 a]{arguments}"));
    for text in [
        "<tool_call>".repeat(n / 10),
        "<tool_call>{".repeat(n / 10),
        format!("<tool_call>{}", "{\"\":".repeat(n)),
        "<".repeat(n),
    ] {
        assert_eq!(run(Hermes, text.split_inclusive('<')), text);
    }
    let deep = format!("<tool_call>{{\"x\": {}{}}}</tool_call>", "[".repeat(n), "]".repeat(n));
    assert_eq!(run(Hermes, [deep.as_str()]), deep);
    let many = "<tool_call>{\"arguments\": {}, \"name\": \"b\"}</tool_call>\n".repeat(2000);
    let expected: String = (0..2000).map(|i| format!("[{i} b]{{}}")).collect();
    assert_eq!(run(Hermes, many.split_inclusive(' ')), expected);
}
