//! JSON in and out: the variables of a template, and `tojson`.

use serde_json::Value as Json;

use super::budget::Budget;
use super::value::{Value, push};

/// Roughly the bytes `json` takes, by which the budget grows.
pub(super) fn weight(json: &Json) -> usize {
    let own = 64;
    match json {
        Json::String(text) => own + text.len(),
        Json::Array(items) => own + items.iter().map(weight).sum::<usize>(),
        Json::Object(map) => {
            own + map.iter().map(|(key, value)| own + key.len() + weight(value)).sum::<usize>()
        }
        _ => own,
    }
}

pub(super) fn to_value(json: &Json, budget: &mut Budget) -> Result<Value, String> {
    Ok(match json {
        Json::Null => Value::None,
        Json::Bool(b) => Value::Bool(*b),
        Json::Number(n) => {
            n.as_i64().map_or_else(|| Value::Float(n.as_f64().unwrap_or(f64::NAN)), Value::Int)
        }
        Json::String(text) => {
            budget.bytes(text.len())?;
            Value::text(text.as_str())
        }
        Json::Array(items) => {
            budget.entries(items.len())?;
            let items: Result<Vec<_>, String> = items.iter().map(|item| to_value(item, budget)).collect();
            Value::list(items?)?
        }
        Json::Object(map) => {
            budget.entries(map.len())?;
            let mut entries = Vec::with_capacity(map.len());
            for (key, value) in map {
                entries.push((key.as_str().into(), to_value(value, budget)?));
            }
            Value::map(entries)?
        }
    })
}

/// How `tojson` lays its output out.
pub(super) struct Layout {
    /// Spaces per level; without, everything is on one line.
    pub indent: Option<usize>,
    pub sort_keys: bool,
}

/// Appends `value` as JSON in the style of Python's `json.dumps`, without
/// escaping letters beyond ASCII.
pub(super) fn write(
    value: &Value,
    layout: &Layout,
    level: usize,
    out: &mut String,
    budget: &mut Budget,
) -> Result<(), String> {
    budget.steps(1)?;
    match value {
        Value::Undefined => Err("an undefined value cannot be written as JSON".into()),
        Value::None => push(out, "null", budget),
        Value::Bool(b) => push(out, if *b { "true" } else { "false" }, budget),
        Value::Int(i) => push(out, &i.to_string(), budget),
        Value::Float(f) => push(out, &format!("{f:?}"), budget),
        Value::Str(text) => write_string(text, out, budget),
        Value::List(list) => {
            push(out, "[", budget)?;
            for (i, item) in list.items.iter().enumerate() {
                separate(i, layout, level + 1, out, budget)?;
                write(item, layout, level + 1, out, budget)?;
            }
            close(list.items.is_empty(), "]", layout, level, out, budget)
        }
        Value::Map(map) => {
            push(out, "{", budget)?;
            let mut entries: Vec<_> = map.entries.iter().collect();
            if layout.sort_keys {
                budget.steps(entries.len().saturating_mul(8))?;
                entries.sort_by(|a, b| a.0.cmp(&b.0));
            }
            for (i, (key, value)) in entries.into_iter().enumerate() {
                separate(i, layout, level + 1, out, budget)?;
                write_string(key, out, budget)?;
                push(out, ": ", budget)?;
                write(value, layout, level + 1, out, budget)?;
            }
            close(map.entries.is_empty(), "}", layout, level, out, budget)
        }
        other => Err(format!("{} cannot be written as JSON", other.kind())),
    }
}

fn separate(
    index: usize,
    layout: &Layout,
    level: usize,
    out: &mut String,
    budget: &mut Budget,
) -> Result<(), String> {
    match layout.indent {
        Some(_) => {
            push(out, if index > 0 { "," } else { "" }, budget)?;
            new_line(layout, level, out, budget)
        }
        None => push(out, if index > 0 { ", " } else { "" }, budget),
    }
}

fn close(
    empty: bool,
    bracket: &str,
    layout: &Layout,
    level: usize,
    out: &mut String,
    budget: &mut Budget,
) -> Result<(), String> {
    if !empty {
        new_line(layout, level, out, budget)?;
    }
    push(out, bracket, budget)
}

fn new_line(layout: &Layout, level: usize, out: &mut String, budget: &mut Budget) -> Result<(), String> {
    let Some(indent) = layout.indent else { return Ok(()) };
    let spaces = indent.saturating_mul(level);
    budget.bytes(spaces.saturating_add(1))?;
    out.push('\n');
    out.extend(std::iter::repeat_n(' ', spaces));
    Ok(())
}

fn write_string(text: &str, out: &mut String, budget: &mut Budget) -> Result<(), String> {
    // A control character takes six bytes as \u00XX.
    budget.bytes(text.len().saturating_mul(6))?;
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if c < ' ' => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    Ok(())
}
