//! The values a template computes with, cheap to clone.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use super::ast::Macro;
use super::budget::Budget;

/// Text shared between the tree and the values.
pub(super) type Str = Arc<str>;

/// How deep lists and maps may be nested. Comparing, printing and dropping a
/// value recurse this far and no further.
pub(super) const MAX_DEPTH: u16 = 160;

#[derive(Debug, Clone)]
pub(super) enum Value {
    Undefined,
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(Str),
    List(Rc<List>),
    Map(Rc<Map>),
    /// The one kind of value that changes in place.
    Namespace(Rc<RefCell<Vec<(Str, Value)>>>),
    Macro(Arc<Macro>),
    /// The `loop` variable.
    Loop(Rc<Loop>),
}

#[derive(Debug)]
pub(super) struct List {
    pub items: Vec<Value>,
    depth: u16,
}

#[derive(Debug)]
pub(super) struct Map {
    /// In insertion order; maps in templates are small.
    pub entries: Vec<(Str, Value)>,
    depth: u16,
}

#[derive(Debug)]
pub(super) struct Loop {
    pub index: usize,
    pub items: Rc<List>,
}

impl Value {
    pub(super) fn text(text: impl Into<Str>) -> Self {
        Self::Str(text.into())
    }

    /// A list of `items`, which the budget has been charged for.
    pub(super) fn list(items: Vec<Value>) -> Result<Self, String> {
        Ok(Self::List(Rc::new(List { depth: depth_above(items.iter())?, items })))
    }

    /// A map of `entries`, which the budget has been charged for.
    pub(super) fn map(entries: Vec<(Str, Value)>) -> Result<Self, String> {
        Ok(Self::Map(Rc::new(Map { depth: depth_above(entries.iter().map(|(_, v)| v))?, entries })))
    }

    /// Checks that this value may be stored in a list, map or namespace.
    /// Namespaces may not: they could then contain themselves.
    pub(super) fn storable(&self) -> Result<u16, String> {
        match self {
            Self::List(list) => Ok(list.depth),
            Self::Map(map) => Ok(map.depth),
            Self::Namespace(_) => Err("a namespace cannot be stored in another value".into()),
            Self::Loop(_) => Err("the loop variable cannot be stored in another value".into()),
            _ => Ok(0),
        }
    }

    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Undefined => "an undefined value",
            Self::None => "none",
            Self::Bool(_) => "a boolean",
            Self::Int(_) => "an integer",
            Self::Float(_) => "a float",
            Self::Str(_) => "a string",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
            Self::Namespace(_) => "a namespace",
            Self::Macro(_) => "a macro",
            Self::Loop(_) => "the loop variable",
        }
    }

    pub(super) fn is_true(&self) -> bool {
        match self {
            Self::Undefined | Self::None => false,
            Self::Bool(b) => *b,
            Self::Int(i) => *i != 0,
            Self::Float(f) => *f != 0.0,
            Self::Str(s) => !s.is_empty(),
            Self::List(list) => !list.items.is_empty(),
            Self::Map(map) => !map.entries.is_empty(),
            Self::Namespace(_) | Self::Macro(_) | Self::Loop(_) => true,
        }
    }

    pub(super) fn as_str(&self) -> Result<&Str, String> {
        match self {
            Self::Str(s) => Ok(s),
            other => Err(format!("expected a string, found {}", other.kind())),
        }
    }

    /// The integer this is; booleans count as 0 and 1, as in Python.
    pub(super) fn as_int(&self) -> Result<i64, String> {
        match self {
            Self::Int(i) => Ok(*i),
            Self::Bool(b) => Ok(i64::from(*b)),
            other => Err(format!("expected an integer, found {}", other.kind())),
        }
    }

    /// The number this is, if any.
    pub(super) fn as_float(&self) -> Option<f64> {
        match self {
            Self::Int(i) => Some(*i as f64),
            Self::Bool(b) => Some(f64::from(u8::from(*b))),
            Self::Float(f) => Some(*f),
            _ => None,
        }
    }

    /// The items that iterating yields: of a list, the characters of a string,
    /// the keys of a map, nothing for an undefined value.
    pub(super) fn iterate(&self, budget: &mut Budget) -> Result<Rc<List>, String> {
        let items = match self {
            Self::List(list) => return Ok(list.clone()),
            Self::Undefined => Vec::new(),
            Self::Str(s) => {
                let count = s.chars().count();
                budget.entries(count.saturating_mul(2))?;
                s.chars().map(|c| Self::text(c.encode_utf8(&mut [0; 4]) as &str)).collect()
            }
            Self::Map(map) => {
                budget.entries(map.entries.len())?;
                map.entries.iter().map(|(key, _)| Self::Str(key.clone())).collect()
            }
            other => return Err(format!("cannot iterate over {}", other.kind())),
        };
        Ok(Rc::new(List { items, depth: 1 }))
    }

    /// Appends the text that printing this value gives.
    pub(super) fn write(&self, out: &mut String, budget: &mut Budget) -> Result<(), String> {
        match self {
            Self::Undefined => Ok(()),
            Self::Str(s) => push(out, s, budget),
            other => other.write_literal(out, budget),
        }
    }

    /// Appends this value as Python's `repr` writes it.
    fn write_literal(&self, out: &mut String, budget: &mut Budget) -> Result<(), String> {
        budget.steps(1)?;
        match self {
            Self::Undefined => push(out, "Undefined", budget),
            Self::None => push(out, "None", budget),
            Self::Bool(true) => push(out, "True", budget),
            Self::Bool(false) => push(out, "False", budget),
            Self::Int(i) => push(out, &i.to_string(), budget),
            Self::Float(f) => push(out, &format!("{f:?}"), budget),
            Self::Str(s) => {
                budget.bytes(s.len().saturating_mul(2))?;
                let quote = if s.contains('\'') && !s.contains('"') { '"' } else { '\'' };
                out.push(quote);
                for c in s.chars() {
                    match c {
                        '\n' => out.push_str("\\n"),
                        '\t' => out.push_str("\\t"),
                        '\r' => out.push_str("\\r"),
                        '\\' => out.push_str("\\\\"),
                        c if c == quote => out.extend(['\\', c]),
                        c => out.push(c),
                    }
                }
                out.push(quote);
                Ok(())
            }
            Self::List(list) => {
                push(out, "[", budget)?;
                for (i, item) in list.items.iter().enumerate() {
                    push(out, if i > 0 { ", " } else { "" }, budget)?;
                    item.write_literal(out, budget)?;
                }
                push(out, "]", budget)
            }
            Self::Map(map) => {
                push(out, "{", budget)?;
                for (i, (key, value)) in map.entries.iter().enumerate() {
                    push(out, if i > 0 { ", " } else { "" }, budget)?;
                    Self::Str(key.clone()).write_literal(out, budget)?;
                    push(out, ": ", budget)?;
                    value.write_literal(out, budget)?;
                }
                push(out, "}", budget)
            }
            Self::Namespace(_) | Self::Macro(_) | Self::Loop(_) => {
                Err(format!("cannot print {}", self.kind()))
            }
        }
    }

    /// The text that printing this value gives, shared if it is a string.
    pub(super) fn to_text(&self, budget: &mut Budget) -> Result<Str, String> {
        if let Self::Str(s) = self {
            return Ok(s.clone());
        }
        let mut out = String::new();
        self.write(&mut out, budget)?;
        Ok(out.into())
    }
}

impl Map {
    pub(super) fn get(&self, key: &str, budget: &mut Budget) -> Result<Option<&Value>, String> {
        budget.steps(self.entries.len() / 8 + 1)?;
        Ok(self.entries.iter().find(|(k, _)| &**k == key).map(|(_, v)| v))
    }
}

/// Appends `text` to `out` after charging for it.
pub(super) fn push(out: &mut String, text: &str, budget: &mut Budget) -> Result<(), String> {
    budget.bytes(text.len())?;
    out.push_str(text);
    Ok(())
}

fn depth_above<'v>(children: impl Iterator<Item = &'v Value>) -> Result<u16, String> {
    let mut depth = 0;
    for child in children {
        depth = depth.max(child.storable()?);
    }
    if depth >= MAX_DEPTH {
        return Err(format!("lists and maps are nested more than {MAX_DEPTH} deep"));
    }
    Ok(depth + 1)
}
