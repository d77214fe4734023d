//! How large a JSON schema gets when what has to hold together is merged.
//!
//! Where several conditions hold for one value (`allOf`, `anyOf` beside other keywords, `$ref` beside other
//! keywords) the compiler makes one schema of them: it copies what is referred to, and pairs the alternatives of
//! one condition with those of the others. A short schema can ask for gigabytes that way.

use super::schema::target;
use super::spec::refuse;
use crate::Result;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// Schemas there may be after merging, of some hundred bytes each.
const MAX_SCHEMAS: u64 = 50_000;

/// Keywords of conditions that hold beside all others.
const CONDITIONS: [&str; 6] = ["allOf", "anyOf", "oneOf", "enum", "const", "$ref"];
/// Keywords that are no conditions.
const NOTES: [&str; 12] = [
    "$anchor",
    "$comment",
    "$defs",
    "$id",
    "$schema",
    "default",
    "definitions",
    "deprecated",
    "description",
    "examples",
    "title",
    "x-guidance",
];

/// Refuses a schema that gets too large. `references` are all that it has.
pub(super) fn check(schema: &Value, references: &BTreeSet<&str>) -> Result<()> {
    let mut expansion = Expansion { root: schema, targets: BTreeMap::new() };
    let mut size = expansion.schema(schema, false)?.size;
    for reference in references {
        size = size.saturating_add(expansion.schema(target(schema, reference)?, false)?.size);
    }
    if size > MAX_SCHEMAS {
        return refuse(
            "JSON schema",
            "its conditions (allOf, anyOf, oneOf, $ref with other keywords) make it too large",
        );
    }
    Ok(())
}

/// An upper bound of what a schema becomes.
#[derive(Clone, Copy)]
struct Bound {
    /// Schemas within it, with itself.
    size: u64,
    /// Alternatives that may be chosen on the way to one of them.
    choices: u64,
}

impl Bound {
    const ONE: Self = Self { size: 1, choices: 1 };

    /// Both conditions hold: each schema of one meets every choice of the other.
    fn and(self, other: Self) -> Self {
        let size =
            self.size.saturating_mul(other.choices).saturating_add(other.size.saturating_mul(self.choices));
        Self { size, choices: self.choices.saturating_mul(other.choices) }
    }

    /// One of several, for which `start` is nothing.
    fn or(self, other: Self) -> Self {
        Self {
            size: self.size.saturating_add(other.size),
            choices: self.choices.saturating_add(other.choices),
        }
    }

    /// A part beside others, of which each has its own choices.
    fn beside(self, other: Self) -> Self {
        Self { size: self.size.saturating_add(other.size), choices: self.choices.max(other.choices) }
    }
}

struct Expansion<'a> {
    root: &'a Value,
    /// Bounds of what is referred to, when merged; none while it is computed.
    targets: BTreeMap<&'a str, Option<Bound>>,
}

impl<'a> Expansion<'a> {
    /// A bound of `schema`, of which references are followed if it is `merged` with others.
    fn schema(&mut self, schema: &'a Value, merged: bool) -> Result<Bound> {
        let Value::Object(map) = schema else { return Ok(Bound::ONE) };
        let others = map.keys().any(|key| !CONDITIONS.contains(&&**key) && !NOTES.contains(&&**key));
        let conditions = map.iter().map(|(key, value)| match (key.as_str(), value) {
            ("allOf", Value::Array(items)) => items.len(),
            (key, _) => usize::from(CONDITIONS.contains(&key)),
        });
        let merged = merged || conditions.sum::<usize>() + usize::from(others) > 1;

        let mut bound = if others { self.keywords(map, merged)? } else { Bound::ONE };
        for (key, value) in map {
            match (key.as_str(), value) {
                ("allOf", Value::Array(items)) => {
                    for item in items {
                        bound = bound.and(self.schema(item, merged)?);
                    }
                }
                ("anyOf" | "oneOf", Value::Array(options)) => {
                    let mut any = Bound { size: 1, choices: 0 };
                    for option in options {
                        any = any.or(self.schema(option, merged)?);
                    }
                    bound = bound.and(any);
                }
                ("enum", Value::Array(options)) => {
                    let size = options.iter().map(values).sum();
                    bound = bound.and(Bound { size, choices: options.len() as u64 });
                }
                ("const", value) => bound = bound.and(Bound { size: values(value), choices: 1 }),
                ("$ref", Value::String(reference)) if merged => bound = bound.and(self.target(reference)?),
                _ => {}
            }
        }
        Ok(bound)
    }

    /// The keywords that describe one type of values or several.
    fn keywords(&mut self, map: &'a Map<String, Value>, merged: bool) -> Result<Bound> {
        // A property can have to fit a pattern as well.
        let patterns = map.get("patternProperties").and_then(Value::as_object);
        let merged = merged || patterns.is_some_and(|patterns| !patterns.is_empty());
        let mut bound = Bound::ONE;
        for (key, value) in map {
            let parts: Box<dyn Iterator<Item = &'a Value>> = match (key.as_str(), value) {
                ("properties" | "patternProperties", Value::Object(parts)) => Box::new(parts.values()),
                ("items" | "prefixItems", Value::Array(parts)) => Box::new(parts.iter()),
                ("items" | "additionalItems" | "additionalProperties", part) => {
                    Box::new(std::iter::once(part))
                }
                _ => continue,
            };
            for part in parts {
                bound = bound.beside(self.schema(part, merged)?);
            }
        }
        if let Some(patterns) = patterns {
            let properties = map.get("properties").and_then(Value::as_object).map_or(0, Map::len) as u64;
            for pattern in patterns.values() {
                let pattern = self.schema(pattern, true)?;
                bound = bound.and(Bound { size: pattern.size.saturating_mul(properties), ..pattern });
            }
        }
        // Without a type there is an alternative for each of the six.
        let types = match map.get("type") {
            Some(Value::Array(types)) => types.len() as u64,
            Some(_) => 1,
            None => 6,
        };
        Ok(Bound {
            size: bound.size.saturating_add(types),
            choices: bound.choices.saturating_mul(types.max(1)),
        })
    }

    fn target(&mut self, reference: &'a str) -> Result<Bound> {
        match self.targets.get(reference) {
            Some(Some(bound)) => Ok(*bound),
            Some(None) => refuse(
                "JSON schema",
                format!("$ref {reference:?} leads back to itself and stands with other conditions"),
            ),
            None => {
                self.targets.insert(reference, None);
                let bound = self.schema(target(self.root, reference)?, true)?;
                self.targets.insert(reference, Some(bound));
                Ok(bound)
            }
        }
    }
}

/// Values within a JSON value, with itself.
fn values(value: &Value) -> u64 {
    match value {
        Value::Array(items) => 1 + items.iter().map(values).sum::<u64>(),
        Value::Object(map) => 1 + map.values().map(values).sum::<u64>(),
        _ => 1,
    }
}
