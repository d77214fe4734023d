//! Checks of JSON schemas before they are compiled.

use super::GrammarLimits;
use super::expansion;
use super::spec::refuse;
use crate::Result;
use serde_json::{Number, Value, json};
use std::collections::BTreeSet;

/// Levels of JSON that the compiler may be deep in. It takes up to four kilobytes of stack for each.
const MAX_LEVELS: usize = 8192;
/// Alternatives of a `oneOf`: each is compared with each.
const MAX_ONE_OF: usize = 256;
/// Patterns of a `patternProperties`: each is compared with each, which is slow.
const MAX_PATTERNS: usize = 16;
/// Largest number that whatever fits every `multipleOf` of a schema is a multiple of, in units of the last digit
/// that one of them has after the point. The automaton has a state for each remainder.
const MAX_MULTIPLE: u128 = 10_000;
/// Keywords that count something.
const COUNTS: [&str; 6] =
    ["minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"];

/// What may stand between two parts of a JSON text: a space, or a new line and its indent.
/// More of it is where small models get lost.
const WHITESPACE: &str = r"[ \t]|\r?\n[ \t]{0,24}";

/// `schema` with the options under which it is compiled.
///
/// Between two parts of JSON there is only so much white space: models have been seen to write nothing else for
/// the rest of a text. What has to fit one of several schemas is often written as `oneOf`, which is taken as `anyOf`.
pub(super) fn with_options(mut schema: Value) -> Value {
    if schema == Value::Bool(true) {
        schema = json!({});
    }
    if let Value::Object(map) = &mut schema {
        let options = json!({"whitespace_pattern": WHITESPACE, "coerce_one_of": true});
        map.insert("x-guidance".into(), options);
    }
    schema
}

/// Refuses schemas that could not be compiled in bounded time and memory.
///
/// The compiler follows a reference when it meets it for the first time, in the middle of what it is doing. So it
/// never gets deeper than the schema and everything that is referred to are together.
pub(super) fn check(schema: &Value, limits: &GrammarLimits) -> Result<()> {
    let mut whole = Found::default();
    let mut levels = height(schema, limits, &mut whole)?;
    check_multiples(&whole.multiples)?;
    let references = whole.references;
    for reference in &references {
        levels += height(target(schema, reference)?, limits, &mut Found::default())?;
        if levels > MAX_LEVELS {
            return refuse("JSON schema", format!("deeper than {MAX_LEVELS} levels with its references"));
        }
    }
    expansion::check(schema, &references)
}

/// What is looked for in a schema.
#[derive(Default)]
struct Found<'a> {
    references: BTreeSet<&'a str>,
    /// The numbers of `multipleOf`.
    multiples: Vec<&'a Number>,
}

/// Levels of `schema`. Adds what is found in it.
fn height<'a>(schema: &'a Value, limits: &GrammarLimits, found: &mut Found<'a>) -> Result<usize> {
    let (mut bytes, mut height) = (0, 0);
    let mut todo = vec![(schema, 1)];
    while let Some((value, depth)) = todo.pop() {
        height = height.max(depth);
        bytes += 2;
        match value {
            Value::String(text) => bytes += text.len(),
            Value::Array(items) => todo.extend(items.iter().map(|item| (item, depth + 1))),
            Value::Object(map) => {
                for (key, value) in map {
                    bytes += key.len() + 3;
                    check_keyword(key, value, limits)?;
                    match (key.as_str(), value) {
                        ("$ref", Value::String(reference)) => drop(found.references.insert(reference)),
                        ("multipleOf", Value::Number(number)) => found.multiples.push(number),
                        _ => {}
                    }
                    todo.push((value, depth + 1));
                }
            }
            _ => {}
        }
        if depth > limits.nesting {
            return refuse("JSON schema", format!("nested deeper than {} levels", limits.nesting));
        }
        if bytes > limits.source_bytes {
            return refuse("JSON schema", format!("larger than {} bytes", limits.source_bytes));
        }
    }
    Ok(height)
}

fn check_keyword(key: &str, value: &Value, limits: &GrammarLimits) -> Result<()> {
    let fail = |most: u64| refuse("JSON schema", format!("{key}: at most {most} are supported"));
    match (key, value) {
        ("oneOf", Value::Array(options)) if options.len() > MAX_ONE_OF => fail(MAX_ONE_OF as u64),
        ("patternProperties", Value::Object(map)) if map.len() > MAX_PATTERNS => fail(MAX_PATTERNS as u64),
        (_, Value::Number(n))
            if COUNTS.contains(&key) && n.as_u64().is_some_and(|n| n > limits.repetitions) =>
        {
            fail(limits.repetitions)
        }
        _ => Ok(()),
    }
}

/// Refuses multiples whose automaton would be too large, even if all had to fit one number.
fn check_multiples(multiples: &[&Number]) -> Result<()> {
    let texts: Vec<String> = multiples.iter().map(|n| n.to_string()).collect();
    let decimals =
        |text: &str| text.split_once('.').map_or(0, |(_, digits)| digits.trim_end_matches('0').len());
    let places = texts.iter().map(|text| decimals(text)).max().unwrap_or(0);
    // In units of the last place; 18 digits cannot overflow below.
    let scaled = |text: &str| {
        let (whole, digits) = text.split_once('.').unwrap_or((text, ""));
        let digits = digits.trim_end_matches('0');
        let number = format!("{whole}{digits:0<places$}");
        (number.len() <= 18).then(|| number.trim_start_matches('-').parse::<u128>().ok()).flatten()
    };
    let mut common = 1;
    for text in &texts {
        common = match scaled(text) {
            Some(0) => return refuse("JSON schema", "multipleOf: expected more than 0"),
            Some(n) => common / gcd(common, n) * n,
            None => u128::MAX,
        };
        if common > MAX_MULTIPLE {
            return refuse(
                "JSON schema",
                format!("multipleOf {text}: too many digits, also with the others"),
            );
        }
    }
    Ok(())
}

fn gcd(mut a: u128, mut b: u128) -> u128 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// The part of `schema` that `reference` names.
///
/// # Errors
/// If it is anywhere else, or nowhere.
pub(super) fn target<'a>(schema: &'a Value, reference: &str) -> Result<&'a Value> {
    let part = match reference {
        "#" | "#/" => Some(schema),
        _ => {
            reference.strip_prefix('#').filter(|path| !path.is_empty()).and_then(|path| schema.pointer(path))
        }
    };
    match part {
        Some(part) => Ok(part),
        None => refuse(
            "JSON schema",
            format!("$ref {reference:?}: there is no such part of this schema; expected '#/...'"),
        ),
    }
}
