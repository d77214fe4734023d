//! llama.cpp's grammars, translated to Lark.
//!
//! GBNF speaks of characters, Lark of terminals that a lexer finds: always the longest. So rules that do not lead
//! back to themselves become terminals, and in other rules whatever stands together without such a rule becomes
//! one terminal. A grammar without recursion is thus one regular expression and means exactly the same. In one
//! with recursion, a terminal takes all the characters it can: after `[0-9]+` no digit begins the next part.

mod lark;
mod parse;

use super::GrammarLimits;
use crate::Result;
use std::collections::BTreeMap;

/// Levels of groups within a rule. Each is one level of brackets in Lark, which takes 30.
const MAX_GROUPS: usize = 25;

/// What a rule stands for.
#[derive(Debug, Clone, PartialEq)]
enum Expr {
    /// A text, in quotes.
    Literal(String),
    /// A set of characters, as a regular expression.
    Class(String),
    /// What another rule stands for.
    Rule(String),
    /// One after the other; nothing, if empty.
    Sequence(Vec<Expr>),
    /// One of several.
    Choice(Vec<Expr>),
    /// So many times, at least and at most.
    Repeat(Box<Expr>, u32, Option<u32>),
}

/// Rules by name.
type Rules = BTreeMap<String, Expr>;

/// The Lark grammar of the same texts.
///
/// # Errors
/// [`crate::Error::BadRequest`] with line and column of what is wrong.
pub(super) fn to_lark(source: &str, limits: &GrammarLimits) -> Result<String> {
    let rules = parse::parse(source, limits)?;
    Ok(lark::write(&rules))
}
