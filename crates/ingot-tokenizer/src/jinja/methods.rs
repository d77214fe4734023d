//! Python's methods of strings and maps that templates call.

use super::budget::Budget;
use super::eval::CallArgs;
use super::ops;
use super::value::{Map, Str, Value};

pub(super) fn call(
    receiver: &Value,
    method: &Str,
    args: &CallArgs,
    budget: &mut Budget,
) -> Result<Value, String> {
    let result = match receiver {
        Value::Str(text) => string(text, method, args, budget),
        Value::Map(map) => map_method(map, method, args, budget),
        Value::List(list) => match &**method {
            "index" | "count" => {
                let mut count = 0;
                for (i, item) in list.items.iter().enumerate() {
                    if ops::equal(item, args.require(0, "value")?, budget)? {
                        if &**method == "index" {
                            return Ok(Value::Int(i as i64));
                        }
                        count += 1;
                    }
                }
                if &**method == "index" {
                    Err("the value is not in the list".into())
                } else {
                    Ok(Value::Int(count))
                }
            }
            // Templates may not change their input, and lists are values here.
            "append" | "extend" | "insert" | "pop" | "remove" | "clear" => {
                Err("lists cannot be changed in place; write 'list = list + [item]'".into())
            }
            _ => Err(String::new()),
        },
        _ => Err(String::new()),
    };
    result.map_err(|message| match message.as_str() {
        "" => format!("{} has no method '{method}'", receiver.kind()),
        _ => format!("method '{method}': {message}"),
    })
}

/// The text that a method of strings gives; an empty message if there is none.
fn string(text: &str, method: &str, args: &CallArgs, budget: &mut Budget) -> Result<Value, String> {
    match method {
        // Changing the case of a letter can make it three times as long.
        "lower" | "upper" | "title" | "capitalize" => budget.bytes(text.len().saturating_mul(3))?,
        "strip" | "lstrip" | "rstrip" | "removeprefix" | "removesuffix" => budget.bytes(text.len())?,
        _ => budget.scan(text.len())?,
    }
    let affix = || -> Result<Vec<Str>, String> {
        match args.require(0, "prefix")? {
            Value::List(list) => list.items.iter().map(|item| item.as_str().cloned()).collect(),
            value => Ok(vec![value.as_str()?.clone()]),
        }
    };
    Ok(match method {
        "strip" | "lstrip" | "rstrip" => {
            let chars: Option<Vec<char>> = match args.get(0, "chars") {
                None | Some(Value::None) => None,
                Some(chars) => Some(chars.as_str()?.chars().collect()),
            };
            if let Some(chars) = &chars {
                budget.steps(text.len().saturating_mul(chars.len() / 16 + 1))?;
            }
            let strips = |c: char| chars.as_ref().map_or(c.is_whitespace(), |chars| chars.contains(&c));
            Value::text(match method {
                "strip" => text.trim_matches(strips),
                "lstrip" => text.trim_start_matches(strips),
                _ => text.trim_end_matches(strips),
            })
        }
        "lower" => Value::text(text.to_lowercase()),
        "upper" => Value::text(text.to_uppercase()),
        "title" => Value::text(title(text)),
        "capitalize" => Value::text(capitalize(text)),
        "startswith" => Value::Bool(affix()?.iter().any(|prefix| text.starts_with(&**prefix))),
        "endswith" => Value::Bool(affix()?.iter().any(|suffix| text.ends_with(&**suffix))),
        "removeprefix" => {
            let prefix = args.require(0, "prefix")?.as_str()?;
            Value::text(text.strip_prefix(&**prefix).unwrap_or(text))
        }
        "removesuffix" => {
            let suffix = args.require(0, "suffix")?.as_str()?;
            Value::text(text.strip_suffix(&**suffix).unwrap_or(text))
        }
        "find" | "rfind" => {
            let needle = args.require(0, "sub")?.as_str()?;
            let at = if method == "find" { text.find(&**needle) } else { text.rfind(&**needle) };
            Value::Int(at.map_or(-1, |at| text[..at].chars().count() as i64))
        }
        "count" => {
            let needle = args.require(0, "sub")?.as_str()?;
            Value::Int(text.matches(&**needle).count() as i64)
        }
        "replace" => replace(
            text,
            args.require(0, "old")?.as_str()?,
            args.require(1, "new")?.as_str()?,
            args.get(2, "count"),
            budget,
        )?,
        "split" | "rsplit" => split(text, method == "rsplit", args, budget)?,
        "splitlines" => {
            budget.entries(text.lines().count())?;
            pieces(text.lines().collect(), budget)?
        }
        "join" => {
            let items = args.require(0, "iterable")?.iterate(budget)?;
            super::filters::join(&items.items, text, budget)?
        }
        "isdigit" => Value::Bool(!text.is_empty() && text.chars().all(|c| c.is_ascii_digit())),
        "isalpha" => Value::Bool(!text.is_empty() && text.chars().all(char::is_alphabetic)),
        "isalnum" => Value::Bool(!text.is_empty() && text.chars().all(char::is_alphanumeric)),
        "isspace" => Value::Bool(!text.is_empty() && text.chars().all(char::is_whitespace)),
        _ => return Err(String::new()),
    })
}

pub(super) fn capitalize(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(chars.flat_map(char::to_lowercase)).collect()
    })
}

pub(super) fn title(text: &str) -> String {
    let mut inside_word = false;
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if inside_word {
            out.extend(c.to_lowercase());
        } else {
            out.extend(c.to_uppercase());
        }
        inside_word = c.is_alphabetic();
    }
    out
}

/// `text` with the first `count` (or all) occurrences of `old` made `new`.
pub(super) fn replace(
    text: &str,
    old: &str,
    new: &str,
    count: Option<&Value>,
    budget: &mut Budget,
) -> Result<Value, String> {
    let limit = match count {
        None | Some(Value::None) => usize::MAX,
        Some(count) => usize::try_from(count.as_int()?).unwrap_or(usize::MAX),
    };
    budget.scan(text.len())?;
    let found = text.matches(old).count().min(limit);
    budget.bytes(text.len().saturating_add(found.saturating_mul(new.len())))?;
    Ok(Value::text(text.replacen(old, new, found)))
}

fn split(text: &str, from_right: bool, args: &CallArgs, budget: &mut Budget) -> Result<Value, String> {
    let limit = match args.get(1, "maxsplit") {
        None => usize::MAX,
        Some(limit) => usize::try_from(limit.as_int()?).map_or(usize::MAX, |n| n.saturating_add(1)),
    };
    let separator = match args.get(0, "sep") {
        None | Some(Value::None) => {
            if limit != usize::MAX {
                return Err("a limit needs a separator".into());
            }
            budget.entries(text.split_whitespace().count())?;
            return pieces(text.split_whitespace().collect(), budget);
        }
        Some(separator) => separator.as_str()?.clone(),
    };
    if separator.is_empty() {
        return Err("the separator is empty".into());
    }
    budget.entries(text.matches(&*separator).count() + 1)?;
    if from_right {
        let mut parts: Vec<_> = text.rsplitn(limit, &*separator).collect();
        parts.reverse();
        return pieces(parts, budget);
    }
    pieces(text.splitn(limit, &*separator).collect(), budget)
}

fn pieces(parts: Vec<&str>, budget: &mut Budget) -> Result<Value, String> {
    budget.bytes(parts.iter().map(|part| part.len()).sum())?;
    Value::list(parts.into_iter().map(Value::text).collect())
}

fn map_method(map: &Map, method: &str, args: &CallArgs, budget: &mut Budget) -> Result<Value, String> {
    match method {
        "get" => {
            let key = args.require(0, "key")?.as_str()?;
            let default = || args.get(1, "default").cloned().unwrap_or(Value::None);
            Ok(map.get(key, budget)?.cloned().unwrap_or_else(default))
        }
        "items" => items(map, budget),
        "keys" => {
            budget.entries(map.entries.len())?;
            Value::list(map.entries.iter().map(|(key, _)| Value::Str(key.clone())).collect())
        }
        "values" => {
            budget.entries(map.entries.len())?;
            Value::list(map.entries.iter().map(|(_, value)| value.clone()).collect())
        }
        "copy" => {
            budget.entries(map.entries.len())?;
            Value::map(map.entries.clone())
        }
        _ => Err(String::new()),
    }
}

/// The entries of a map as a list of pairs.
pub(super) fn items(map: &Map, budget: &mut Budget) -> Result<Value, String> {
    budget.entries(map.entries.len().saturating_mul(3))?;
    let pairs: Result<Vec<_>, String> = map
        .entries
        .iter()
        .map(|(key, value)| Value::list(vec![Value::Str(key.clone()), value.clone()]))
        .collect();
    Value::list(pairs?)
}
