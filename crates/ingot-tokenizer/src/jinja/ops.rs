//! Operators on values.

use super::ast::BinaryOp;
use super::budget::Budget;
use super::value::{Str, Value};

/// Applies every operator except `and` and `or`, which do not evaluate both sides.
pub(super) fn binary(op: BinaryOp, a: &Value, b: &Value, budget: &mut Budget) -> Result<Value, String> {
    use BinaryOp::*;
    match op {
        Equal => equal(a, b, budget).map(Value::Bool),
        NotEqual => equal(a, b, budget).map(|equal| Value::Bool(!equal)),
        Less => compare(a, b, budget).map(|o| Value::Bool(o.is_lt())),
        LessEqual => compare(a, b, budget).map(|o| Value::Bool(o.is_le())),
        Greater => compare(a, b, budget).map(|o| Value::Bool(o.is_gt())),
        GreaterEqual => compare(a, b, budget).map(|o| Value::Bool(o.is_ge())),
        In => contains(b, a, budget).map(Value::Bool),
        NotIn => contains(b, a, budget).map(|found| Value::Bool(!found)),
        Concat => {
            let (a, b) = (a.to_text(budget)?, b.to_text(budget)?);
            concat(&a, &b, budget)
        }
        Add => match (a, b) {
            (Value::Str(a), Value::Str(b)) => concat(a, b, budget),
            (Value::List(a), Value::List(b)) => {
                budget.entries(a.items.len() + b.items.len())?;
                Value::list(a.items.iter().chain(&b.items).cloned().collect())
            }
            _ => arithmetic(op, a, b),
        },
        Multiply => match (a, b) {
            (Value::Str(text), count) | (count, Value::Str(text)) => {
                let count = usize::try_from(count.as_int()?).unwrap_or(0);
                budget.bytes(text.len().saturating_mul(count))?;
                Ok(Value::text(text.repeat(count)))
            }
            (Value::List(list), count) | (count, Value::List(list)) => {
                let count = usize::try_from(count.as_int()?).unwrap_or(0);
                budget.entries(list.items.len().saturating_mul(count))?;
                Value::list(std::iter::repeat_n(&list.items, count).flatten().cloned().collect())
            }
            _ => arithmetic(op, a, b),
        },
        And | Or => unreachable!("evaluated by the interpreter"),
        Subtract | Divide | FloorDivide | Remainder | Power => arithmetic(op, a, b),
    }
}

fn concat(a: &str, b: &str, budget: &mut Budget) -> Result<Value, String> {
    budget.bytes(a.len() + b.len())?;
    Ok(Value::text([a, b].concat()))
}

fn arithmetic(op: BinaryOp, a: &Value, b: &Value) -> Result<Value, String> {
    let integers = matches!((a, b), (Value::Int(_) | Value::Bool(_), Value::Int(_) | Value::Bool(_)));
    if integers && op != BinaryOp::Divide {
        let (x, y) = (a.as_int()?, b.as_int()?);
        let result = match op {
            BinaryOp::Add => x.checked_add(y),
            BinaryOp::Subtract => x.checked_sub(y),
            BinaryOp::Multiply => x.checked_mul(y),
            BinaryOp::FloorDivide => floor_divide(x, y),
            BinaryOp::Remainder => floor_divide(x, y).map(|q| x - q * y),
            _ => u32::try_from(y).ok().and_then(|y| x.checked_pow(y)),
        };
        return result.map(Value::Int).ok_or_else(|| "integer overflow or division by zero".into());
    }
    let (Some(x), Some(y)) = (a.as_float(), b.as_float()) else {
        return Err(format!("cannot compute with {} and {}", a.kind(), b.kind()));
    };
    Ok(Value::Float(match op {
        BinaryOp::Add => x + y,
        BinaryOp::Subtract => x - y,
        BinaryOp::Multiply => x * y,
        BinaryOp::Power => x.powf(y),
        _ if y == 0.0 => return Err("division by zero".into()),
        BinaryOp::Divide => x / y,
        BinaryOp::FloorDivide => (x / y).floor(),
        _ => x - y * (x / y).floor(),
    }))
}

fn floor_divide(x: i64, y: i64) -> Option<i64> {
    let quotient = x.checked_div(y)?;
    Some(if x % y != 0 && (x < 0) != (y < 0) { quotient - 1 } else { quotient })
}

pub(super) fn negate(value: &Value) -> Result<Value, String> {
    match value {
        Value::Float(f) => Ok(Value::Float(-f)),
        other => other.as_int()?.checked_neg().map(Value::Int).ok_or_else(|| "integer overflow".into()),
    }
}

/// Equality; values of different kinds are different.
pub(super) fn equal(a: &Value, b: &Value, budget: &mut Budget) -> Result<bool, String> {
    budget.steps(1)?;
    Ok(match (a, b) {
        (Value::Undefined, Value::Undefined) | (Value::None, Value::None) => true,
        (Value::Str(a), Value::Str(b)) => {
            budget.scan(a.len().min(b.len()))?;
            a == b
        }
        (Value::List(a), Value::List(b)) => {
            if a.items.len() != b.items.len() {
                return Ok(false);
            }
            for (a, b) in a.items.iter().zip(&b.items) {
                if !equal(a, b, budget)? {
                    return Ok(false);
                }
            }
            true
        }
        (Value::Map(a), Value::Map(b)) => {
            if a.entries.len() != b.entries.len() {
                return Ok(false);
            }
            for (key, value) in &a.entries {
                match b.get(key, budget)? {
                    Some(other) if equal(value, other, budget)? => {}
                    _ => return Ok(false),
                }
            }
            true
        }
        (Value::Int(a), Value::Int(b)) => a == b,
        _ => matches!((a.as_float(), b.as_float()), (Some(a), Some(b)) if a == b),
    })
}

/// Order of two numbers, two strings, or two lists of these.
pub(super) fn compare(a: &Value, b: &Value, budget: &mut Budget) -> Result<std::cmp::Ordering, String> {
    budget.steps(1)?;
    match (a, b) {
        (Value::Str(a), Value::Str(b)) => {
            budget.scan(a.len().min(b.len()))?;
            Ok(a.cmp(b))
        }
        (Value::Int(a), Value::Int(b)) => Ok(a.cmp(b)),
        (Value::List(a), Value::List(b)) => {
            for (a, b) in a.items.iter().zip(&b.items) {
                let order = compare(a, b, budget)?;
                if order.is_ne() {
                    return Ok(order);
                }
            }
            Ok(a.items.len().cmp(&b.items.len()))
        }
        _ => match (a.as_float(), b.as_float()) {
            (Some(a), Some(b)) => Ok(a.total_cmp(&b)),
            _ => Err(format!("cannot order {} and {}", a.kind(), b.kind())),
        },
    }
}

/// Whether `needle in container`.
pub(super) fn contains(container: &Value, needle: &Value, budget: &mut Budget) -> Result<bool, String> {
    match container {
        Value::Str(text) => {
            budget.scan(text.len())?;
            Ok(text.contains(&**needle.as_str()?))
        }
        Value::List(list) => {
            for item in &list.items {
                if equal(item, needle, budget)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        Value::Map(map) => match needle {
            Value::Str(key) => Ok(map.get(key, budget)?.is_some()),
            _ => Ok(false),
        },
        Value::Undefined => Ok(false),
        other => Err(format!("cannot search in {}", other.kind())),
    }
}

/// `value.name`: a field, or undefined.
pub(super) fn attribute(value: &Value, name: &Str, budget: &mut Budget) -> Result<Value, String> {
    match value {
        Value::Map(map) => Ok(map.get(name, budget)?.cloned().unwrap_or(Value::Undefined)),
        Value::Namespace(fields) => {
            budget.steps(fields.borrow().len() / 8)?;
            Ok(fields.borrow().iter().find(|(n, _)| n == name).map_or(Value::Undefined, |(_, v)| v.clone()))
        }
        Value::Loop(state) => {
            let (index, length) = (state.index, state.items.items.len());
            let neighbor = |i: Option<usize>| {
                i.and_then(|i| state.items.items.get(i)).cloned().unwrap_or(Value::Undefined)
            };
            let number = |n: usize| Value::Int(n as i64);
            Ok(match &**name {
                "index" => number(index + 1),
                "index0" => number(index),
                "revindex" => number(length - index),
                "revindex0" => number(length - index - 1),
                "first" => Value::Bool(index == 0),
                "last" => Value::Bool(index + 1 == length),
                "length" => number(length),
                "previtem" => neighbor(index.checked_sub(1)),
                "nextitem" => neighbor(Some(index + 1)),
                _ => return Err(format!("loop.{name} is not supported")),
            })
        }
        Value::Undefined => Err(format!("'.{name}' of an undefined value")),
        _ => Ok(Value::Undefined),
    }
}

/// `value[index]`: an item, a field, or undefined.
pub(super) fn item(value: &Value, index: &Value, budget: &mut Budget) -> Result<Value, String> {
    match (value, index) {
        (Value::Map(_) | Value::Namespace(_) | Value::Loop(_), Value::Str(name)) => {
            attribute(value, name, budget)
        }
        (Value::List(list), index) => {
            let found = position(index.as_int()?, list.items.len()).map(|i| list.items[i].clone());
            Ok(found.unwrap_or(Value::Undefined))
        }
        (Value::Str(text), index) => {
            budget.scan(text.len())?;
            let length = text.chars().count();
            let found = position(index.as_int()?, length).and_then(|i| text.chars().nth(i));
            Ok(found.map_or(Value::Undefined, |c| Value::text(c.encode_utf8(&mut [0; 4]) as &str)))
        }
        (Value::Undefined, _) => Err("an item of an undefined value".into()),
        _ => Ok(Value::Undefined),
    }
}

/// The position that a possibly negative index means.
fn position(index: i64, length: usize) -> Option<usize> {
    let index = if index < 0 { index.checked_add_unsigned(length as u64)? } else { index };
    usize::try_from(index).ok().filter(|&i| i < length)
}

/// `value[start:stop:step]` of a list or string, as in Python.
pub(super) fn slice(value: &Value, bounds: [Option<i64>; 3], budget: &mut Budget) -> Result<Value, String> {
    match value {
        Value::List(list) => {
            let picked = slice_positions(bounds, list.items.len())?;
            budget.entries(list.items.len())?;
            Value::list(picked.map(|i| list.items[i].clone()).collect())
        }
        Value::Str(text) => {
            budget.bytes(text.len().saturating_mul(size_of::<char>() + 1))?;
            let chars: Vec<char> = text.chars().collect();
            let text: String = slice_positions(bounds, chars.len())?.map(|i| chars[i]).collect();
            Ok(Value::text(text))
        }
        Value::Undefined => Value::list(Vec::new()),
        other => Err(format!("cannot slice {}", other.kind())),
    }
}

fn slice_positions(
    [start, stop, step]: [Option<i64>; 3],
    length: usize,
) -> Result<impl Iterator<Item = usize>, String> {
    let length = length as i64;
    let step = step.unwrap_or(1);
    if step == 0 {
        return Err("a slice cannot have step 0".into());
    }
    // Going backwards, the positions are one lower: from the last item to before the first.
    let (low, high) = if step > 0 { (0, length) } else { (-1, length - 1) };
    let clamp =
        |bound: i64| if bound < 0 { (bound.saturating_add(length)).max(low) } else { bound.min(high) };
    let start = start.map_or(if step > 0 { low } else { high }, clamp);
    let stop = stop.map_or(if step > 0 { high } else { low }, clamp);
    let mut at = Some(start);
    Ok(std::iter::from_fn(move || {
        let here = at.filter(|&i| if step > 0 { i < stop } else { i > stop })?;
        at = here.checked_add(step);
        usize::try_from(here).ok()
    }))
}
