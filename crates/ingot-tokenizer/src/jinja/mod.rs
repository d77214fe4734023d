//! A small Jinja engine for chat templates that come from untrusted files.
//!
//! A template in a model file is a program written by a stranger. General
//! engines count the instructions it runs, but not the bytes that one
//! instruction may ask for (`x ~ x` in a loop doubles a string each time), and
//! their values can be nested until dropping them exhausts the stack. Here
//! every step and every byte is charged to one [`Budget`] before it is spent,
//! and the depth of source, calls and values is limited, so rendering ends in
//! bounded time, memory and stack whatever the file says. There is no include,
//! no import, and no access to files, network or environment.
//!
//! The language is the subset that published templates use, with the settings
//! that they are written for: `trim_blocks`, `lstrip_blocks`, `break` and
//! `continue`, Python's string methods, and `tojson` without HTML escapes.

mod ast;
mod budget;
mod eval;
mod filters;
mod functions;
mod json;
mod lexer;
mod methods;
mod ops;
mod parser;
mod predicates;
mod value;

use budget::Budget;
use serde_json::{Map as JsonMap, Value as Json};

/// Longest source accepted, in bytes. The longest published ones are near 20 KB.
const MAX_SOURCE: usize = 256 * 1024;

/// A parsed template.
#[derive(Debug)]
pub(crate) struct Template {
    body: Vec<ast::Stmt>,
}

impl Template {
    /// Parses `source`; the error says the line and what is wrong with it.
    pub(crate) fn parse(source: &str) -> Result<Self, String> {
        if source.len() > MAX_SOURCE {
            return Err(format!("{} bytes long, the limit is {MAX_SOURCE}", source.len()));
        }
        let source = source.replace("\r\n", "\n").replace('\r', "\n");
        Ok(Self { body: parser::parse(lexer::lex(&source)?)? })
    }

    /// Runs the template with the entries of `context` as its variables.
    pub(crate) fn render(&self, context: &JsonMap<String, Json>) -> Result<String, String> {
        let mut budget = Budget::new();
        let mut variables = Vec::with_capacity(context.len());
        for (name, json) in context {
            budget.grant(json::weight(json));
            variables.push((name.as_str().into(), json::to_value(json, &mut budget)?));
        }
        eval::Interpreter::new(variables, budget).run(&self.body)
    }
}

#[cfg(test)]
mod tests;
