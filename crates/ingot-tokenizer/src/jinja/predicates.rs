//! Jinja's tests: the words after `is`, also used by `select` and `selectattr`.

use super::budget::Budget;
use super::ops;
use super::value::Value;

pub(super) fn test(name: &str, value: &Value, args: &[Value], budget: &mut Budget) -> Result<bool, String> {
    let argument = || args.first().ok_or_else(|| format!("test '{name}' needs an argument"));
    let order = |budget: &mut Budget| ops::compare(value, argument()?, budget);
    let case = |f: fn(char) -> bool, budget: &mut Budget| -> Result<bool, String> {
        let text = value.as_str()?;
        budget.scan(text.len())?;
        let mut letters = text.chars().filter(|c| c.is_alphabetic()).peekable();
        Ok(letters.peek().is_some() && letters.all(f))
    };
    Ok(match name {
        "defined" => !matches!(value, Value::Undefined),
        "undefined" => matches!(value, Value::Undefined),
        "none" => matches!(value, Value::None),
        "boolean" => matches!(value, Value::Bool(_)),
        "true" => matches!(value, Value::Bool(true)),
        "false" => matches!(value, Value::Bool(false)),
        "integer" => matches!(value, Value::Int(_)),
        "float" => matches!(value, Value::Float(_)),
        "number" => value.as_float().is_some(),
        "string" => matches!(value, Value::Str(_)),
        "mapping" => matches!(value, Value::Map(_)),
        "sequence" | "iterable" => {
            matches!(value, Value::List(_) | Value::Map(_) | Value::Str(_) | Value::Undefined)
        }
        "callable" => matches!(value, Value::Macro(_)),
        "odd" => value.as_int()?.rem_euclid(2) == 1,
        "even" => value.as_int()?.rem_euclid(2) == 0,
        "divisibleby" => value.as_int()?.checked_rem(argument()?.as_int()?) == Some(0),
        "equalto" | "eq" | "==" | "sameas" => ops::equal(value, argument()?, budget)?,
        "ne" | "!=" => !ops::equal(value, argument()?, budget)?,
        "lt" | "lessthan" | "<" => order(budget)?.is_lt(),
        "le" | "<=" => order(budget)?.is_le(),
        "gt" | "greaterthan" | ">" => order(budget)?.is_gt(),
        "ge" | ">=" => order(budget)?.is_ge(),
        "in" => ops::contains(argument()?, value, budget)?,
        "lower" => case(char::is_lowercase, budget)?,
        "upper" => case(char::is_uppercase, budget)?,
        other => return Err(format!("test '{other}' does not exist")),
    })
}
