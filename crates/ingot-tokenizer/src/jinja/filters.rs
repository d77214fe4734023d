//! Jinja's filters, and the text and list work behind them.

use super::budget::Budget;
use super::eval::CallArgs;
use super::json::{self, Layout};
use super::predicates::test;
use super::value::{Value, push};
use super::{methods, ops};

pub(super) fn apply(
    name: &str,
    value: &Value,
    args: &CallArgs,
    budget: &mut Budget,
) -> Result<Value, String> {
    Ok(match name {
        "default" | "d" => {
            let falsy_too = args.get(1, "boolean").is_some_and(Value::is_true);
            if matches!(value, Value::Undefined) || (falsy_too && !value.is_true()) {
                args.get(0, "default_value").cloned().unwrap_or_else(|| Value::text(""))
            } else {
                value.clone()
            }
        }
        "length" | "count" => Value::Int(length(value, budget)? as i64),
        "string" => Value::Str(value.to_text(budget)?),
        "safe" => value.clone(),
        "trim" | "upper" | "lower" | "title" | "capitalize" | "replace" => {
            text_filter(name, value, args, budget)?
        }
        "escape" | "e" => {
            let text = value.to_text(budget)?;
            budget.bytes(text.len().saturating_mul(6))?;
            let mut out = String::new();
            for c in text.chars() {
                match c {
                    '&' => out.push_str("&amp;"),
                    '<' => out.push_str("&lt;"),
                    '>' => out.push_str("&gt;"),
                    '"' => out.push_str("&#34;"),
                    '\'' => out.push_str("&#39;"),
                    c => out.push(c),
                }
            }
            Value::text(out)
        }
        "indent" => indent(value, args, budget)?,
        "tojson" => {
            let indent = match args.get(0, "indent") {
                None | Some(Value::None) => None,
                Some(indent) => Some(usize::try_from(indent.as_int()?).unwrap_or(0)),
            };
            let sort_keys = args.get(usize::MAX, "sort_keys").is_some_and(Value::is_true);
            let mut out = String::new();
            json::write(value, &Layout { indent, sort_keys }, 0, &mut out, budget)?;
            Value::text(out)
        }
        "int" => int(value, args, budget)?,
        "float" => match value {
            Value::Str(text) => Value::Float(text.trim().parse().unwrap_or(0.0)),
            other => Value::Float(other.as_float().unwrap_or(0.0)),
        },
        "abs" => match value {
            Value::Float(f) => Value::Float(f.abs()),
            other => Value::Int(other.as_int()?.checked_abs().ok_or("integer overflow")?),
        },
        "round" => {
            let digits = args.get(0, "precision").map_or(Ok(0), Value::as_int)?.clamp(0, 15);
            let scale = 10f64.powi(digits as i32);
            Value::Float((value.as_float().ok_or("expected a number")? * scale).round() / scale)
        }
        "items" => match value {
            Value::Map(map) => methods::items(map, budget)?,
            Value::Undefined => Value::list(Vec::new())?,
            other => return Err(format!("expected a map, found {}", other.kind())),
        },
        _ => return list_filter(name, value, args, budget),
    })
}

fn text_filter(name: &str, value: &Value, args: &CallArgs, budget: &mut Budget) -> Result<Value, String> {
    let text = value.to_text(budget)?;
    let method = if name == "trim" { "strip" } else { name };
    methods::call(&Value::Str(text), &method.into(), args, budget)
}

fn list_filter(name: &str, value: &Value, args: &CallArgs, budget: &mut Budget) -> Result<Value, String> {
    if let ("reverse", Value::Str(text)) = (name, value) {
        budget.bytes(text.len())?;
        return Ok(Value::text(text.chars().rev().collect::<String>()));
    }
    if name == "dictsort" {
        let Value::Map(map) = value else { return Err(format!("expected a map, found {}", value.kind())) };
        let pairs = methods::items(map, budget)?.iterate(budget)?;
        return sorted(&pairs.items, Some(&Value::Int(0)), false, budget);
    }
    let list = value.iterate(budget)?;
    let items = &list.items;
    budget.entries(items.len())?;
    Ok(match name {
        "first" => items.first().cloned().unwrap_or(Value::Undefined),
        "last" => items.last().cloned().unwrap_or(Value::Undefined),
        "list" => Value::list(items.clone())?,
        "reverse" => Value::list(items.iter().rev().cloned().collect())?,
        "join" => {
            let separator = match args.get(0, "d") {
                Some(separator) => separator.to_text(budget)?,
                None => "".into(),
            };
            match args.get(1, "attribute") {
                Some(attribute) => {
                    let picked = pick(items, attribute, None, budget)?;
                    join(&picked, &separator, budget)?
                }
                None => join(items, &separator, budget)?,
            }
        }
        "map" => map(items, args, budget)?,
        "select" | "reject" | "selectattr" | "rejectattr" => select(name, items, args, budget)?,
        "sort" => {
            let reverse = args.get(0, "reverse").is_some_and(Value::is_true);
            sorted(items, args.get(2, "attribute"), reverse, budget)?
        }
        "unique" => {
            let mut unique: Vec<Value> = Vec::new();
            'items: for item in items {
                for seen in &unique {
                    if ops::equal(seen, item, budget)? {
                        continue 'items;
                    }
                }
                unique.push(item.clone());
            }
            Value::list(unique)?
        }
        "min" | "max" => {
            let sorted = sorted(items, None, name == "max", budget)?.iterate(budget)?;
            sorted.items.first().cloned().unwrap_or(Value::Undefined)
        }
        "sum" => {
            let picked = match args.get(0, "attribute") {
                Some(attribute) => pick(items, attribute, None, budget)?,
                None => items.clone(),
            };
            let add = super::ast::BinaryOp::Add;
            picked.iter().try_fold(Value::Int(0), |sum, item| ops::binary(add, &sum, item, budget))?
        }
        _ => return Err("does not exist".into()),
    })
}

fn length(value: &Value, budget: &mut Budget) -> Result<usize, String> {
    Ok(match value {
        Value::Str(text) => {
            budget.scan(text.len())?;
            text.chars().count()
        }
        Value::List(list) => list.items.len(),
        Value::Map(map) => map.entries.len(),
        Value::Undefined => 0,
        other => return Err(format!("{} has no length", other.kind())),
    })
}

/// The printed items with `separator` between them.
pub(super) fn join(items: &[Value], separator: &str, budget: &mut Budget) -> Result<Value, String> {
    let mut out = String::new();
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            push(&mut out, separator, budget)?;
        }
        item.write(&mut out, budget)?;
    }
    Ok(Value::text(out))
}

fn indent(value: &Value, args: &CallArgs, budget: &mut Budget) -> Result<Value, String> {
    let text = value.to_text(budget)?;
    let prefix = match args.get(0, "width") {
        Some(Value::Str(prefix)) => prefix.to_string(),
        width => {
            let width = usize::try_from(width.map_or(Ok(4), Value::as_int)?).unwrap_or(0);
            budget.bytes(width)?;
            " ".repeat(width)
        }
    };
    let first = args.get(1, "first").is_some_and(Value::is_true);
    let blank = args.get(2, "blank").is_some_and(Value::is_true);
    let mut out = String::new();
    for (i, line) in text.split('\n').enumerate() {
        push(&mut out, if i > 0 { "\n" } else { "" }, budget)?;
        let indented = if i == 0 { first } else { blank || !line.is_empty() };
        push(&mut out, if indented { &prefix } else { "" }, budget)?;
        push(&mut out, line, budget)?;
    }
    Ok(Value::text(out))
}

fn int(value: &Value, args: &CallArgs, budget: &mut Budget) -> Result<Value, String> {
    let default = || args.get(0, "default").cloned().unwrap_or(Value::Int(0));
    Ok(match value {
        Value::Str(text) => {
            budget.scan(text.len())?;
            let text = text.trim();
            let float = || text.parse::<f64>().ok().map(|f| Value::Int(f as i64));
            text.parse().ok().map(Value::Int).or_else(float).unwrap_or_else(default)
        }
        Value::Float(f) => Value::Int(*f as i64),
        other => other.as_int().map_or_else(|_| default(), Value::Int),
    })
}

/// The attribute of every item; `a.b` goes two levels down.
fn pick(
    items: &[Value],
    attribute: &Value,
    default: Option<&Value>,
    budget: &mut Budget,
) -> Result<Vec<Value>, String> {
    let mut picked = Vec::with_capacity(items.len());
    for item in items {
        let mut value = item.clone();
        match attribute {
            Value::Str(path) => {
                for name in path.split('.') {
                    value = ops::item(
                        &value,
                        &name.parse().map_or_else(|_| Value::text(name), Value::Int),
                        budget,
                    )?;
                }
            }
            index => value = ops::item(&value, index, budget)?,
        }
        if let (Value::Undefined, Some(default)) = (&value, default) {
            value = default.clone();
        }
        picked.push(value);
    }
    Ok(picked)
}

fn map(items: &[Value], args: &CallArgs, budget: &mut Budget) -> Result<Value, String> {
    if let Some(attribute) = args.get(usize::MAX, "attribute") {
        return Value::list(pick(items, attribute, args.get(usize::MAX, "default"), budget)?);
    }
    let filter = args.require(0, "filter")?.as_str()?.clone();
    if &*filter == "map" {
        return Err("'map' cannot be mapped".into());
    }
    let rest = CallArgs { positional: args.positional[1..].to_vec(), named: args.named.clone() };
    let mapped: Result<Vec<_>, String> =
        items.iter().map(|item| apply(&filter, item, &rest, budget)).collect();
    Value::list(mapped?)
}

fn select(name: &str, items: &[Value], args: &CallArgs, budget: &mut Budget) -> Result<Value, String> {
    let by_attribute = name.ends_with("attr");
    let wanted = name.starts_with("select");
    let keys =
        if by_attribute { pick(items, args.require(0, "attribute")?, None, budget)? } else { items.to_vec() };
    let rest = args.positional.get(usize::from(by_attribute)..).unwrap_or_default();
    let mut kept = Vec::new();
    for (item, key) in items.iter().zip(&keys) {
        let holds = match rest {
            [] => key.is_true(),
            [test_name, arguments @ ..] => test(test_name.as_str()?, key, arguments, budget)?,
        };
        if holds == wanted {
            kept.push(item.clone());
        }
    }
    Value::list(kept)
}

fn sorted(
    items: &[Value],
    attribute: Option<&Value>,
    reverse: bool,
    budget: &mut Budget,
) -> Result<Value, String> {
    let keys = match attribute {
        Some(attribute) => pick(items, attribute, None, budget)?,
        None => items.to_vec(),
    };
    // Strings are compared without regard to case.
    let mut folded = Vec::with_capacity(keys.len());
    for key in keys {
        folded.push(match &key {
            Value::Str(text) => {
                budget.bytes(text.len().saturating_mul(3))?;
                Value::text(text.to_lowercase())
            }
            _ => key,
        });
    }
    let order = merge_sort(items.len(), |a, b| {
        let order = ops::compare(&folded[a], &folded[b], budget)?;
        Ok(if reverse { order.is_ge() } else { order.is_le() })
    })?;
    Value::list(order.into_iter().map(|i| items[i].clone()).collect())
}

/// The indices below `count` in stable order. The standard sort would do, but
/// it may panic where the order is not total (`1 < 'a'`), and cannot fail.
fn merge_sort(
    count: usize,
    mut in_order: impl FnMut(usize, usize) -> Result<bool, String>,
) -> Result<Vec<usize>, String> {
    let mut order: Vec<usize> = (0..count).collect();
    let mut width = 1;
    while width < count {
        let mut merged = Vec::with_capacity(count);
        for pair in order.chunks(2 * width) {
            let (mut left, mut right) = pair.split_at(width.min(pair.len()));
            while let ([a, left_rest @ ..], [b, right_rest @ ..]) = (left, right) {
                if in_order(*a, *b)? {
                    merged.push(*a);
                    left = left_rest;
                } else {
                    merged.push(*b);
                    right = right_rest;
                }
            }
            merged.extend_from_slice(left);
            merged.extend_from_slice(right);
        }
        order = merged;
        width *= 2;
    }
    Ok(order)
}
