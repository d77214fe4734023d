//! Writes rules as Lark.

use super::{Expr, Rules};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// A Lark grammar of `rules`, which is complete.
pub(super) fn write(rules: &Rules) -> String {
    let recursive = recursive(rules);
    // Names of GBNF may be anything in Lark; terminals are in capitals there.
    let names = rules.keys().enumerate().map(|(number, name)| {
        let kind = if recursive.contains(name.as_str()) { "r" } else { "T" };
        (name.as_str(), format!("{kind}{number}"))
    });
    let mut writer = Writer { names: names.collect(), recursive, lark: String::new(), hoisted: 0 };
    let root = writer.names["root"].clone();
    writeln!(writer.lark, "start: {root}").expect(INFALLIBLE);
    for (name, rule) in rules {
        let rule =
            if writer.recursive.contains(name.as_str()) { writer.rule(rule) } else { writer.terminal(rule) };
        let name = &writer.names[name.as_str()];
        writeln!(writer.lark, "{name}: {rule}").expect(INFALLIBLE);
    }
    writer.lark
}

const INFALLIBLE: &str = "a string takes everything";

/// The rules that lead to themselves, or to one that does.
fn recursive(rules: &Rules) -> BTreeSet<&str> {
    let mut uses: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut users: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, rule) in rules {
        let used = uses.entry(name).or_default();
        names_in(rule, used);
        for used in used.iter() {
            users.entry(used).or_default().push(name);
        }
    }
    // Taking away those that use nothing that is left, only what leads into a circle remains.
    let mut done: Vec<&str> =
        uses.iter().filter(|(_, used)| used.is_empty()).map(|(name, _)| *name).collect();
    while let Some(name) = done.pop() {
        for user in users.remove(name).unwrap_or_default() {
            let left = uses.get_mut(user).expect("users are rules");
            left.remove(name);
            if left.is_empty() {
                done.push(user);
            }
        }
    }
    uses.into_iter().filter(|(_, left)| !left.is_empty()).map(|(name, _)| name).collect()
}

fn names_in<'r>(expr: &'r Expr, names: &mut BTreeSet<&'r str>) {
    match expr {
        Expr::Literal(_) | Expr::Class(_) => {}
        Expr::Rule(name) => {
            names.insert(name);
        }
        Expr::Sequence(items) | Expr::Choice(items) => items.iter().for_each(|item| names_in(item, names)),
        Expr::Repeat(item, ..) => names_in(item, names),
    }
}

struct Writer<'r> {
    /// Lark's names by those of the rules.
    names: BTreeMap<&'r str, String>,
    recursive: BTreeSet<&'r str>,
    lark: String,
    /// Terminals made of parts of rules.
    hoisted: usize,
}

impl Writer<'_> {
    /// A part of a recursive rule.
    fn rule(&mut self, expr: &Expr) -> String {
        if self.is_terminal(expr) {
            return self.hoist(expr);
        }
        match expr {
            Expr::Sequence(items) => {
                let runs = items.chunk_by(|a, b| self.is_terminal(a) && self.is_terminal(b));
                let runs: Vec<&[Expr]> = runs.collect();
                let parts = runs.into_iter().map(|run| match run {
                    [single] => self.rule(single),
                    run => self.hoist(&Expr::Sequence(run.to_vec())),
                });
                parts.collect::<Vec<_>>().join(" ")
            }
            Expr::Choice(options) => {
                let options: Vec<String> = options.iter().map(|option| self.rule(option)).collect();
                format!("({})", options.join(" | "))
            }
            Expr::Repeat(item, least, most) => repeat(item, &self.rule(item), *least, *most),
            Expr::Rule(name) => self.names[name.as_str()].clone(),
            Expr::Literal(_) | Expr::Class(_) => unreachable!("these are terminals"),
        }
    }

    /// A part of a terminal.
    fn terminal(&self, expr: &Expr) -> String {
        let all = |items: &[Expr]| items.iter().map(|item| self.terminal(item)).collect::<Vec<_>>();
        match expr {
            Expr::Literal(text) => literal(text),
            Expr::Class(set) => format!("/{set}/"),
            Expr::Rule(name) => self.names[name.as_str()].clone(),
            Expr::Sequence(items) if items.is_empty() => literal(""),
            Expr::Sequence(items) => all(items).join(" "),
            Expr::Choice(options) => format!("({})", all(options).join(" | ")),
            Expr::Repeat(item, least, most) => repeat(item, &self.terminal(item), *least, *most),
        }
    }

    /// Makes a terminal of `expr` and returns its name.
    fn hoist(&mut self, expr: &Expr) -> String {
        if let Expr::Rule(name) = expr {
            return self.names[name.as_str()].clone();
        }
        let name = format!("X{}", self.hoisted);
        self.hoisted += 1;
        let terminal = self.terminal(expr);
        writeln!(self.lark, "{name}: {terminal}").expect(INFALLIBLE);
        name
    }

    fn is_terminal(&self, expr: &Expr) -> bool {
        match expr {
            Expr::Literal(_) | Expr::Class(_) => true,
            Expr::Rule(name) => !self.recursive.contains(name.as_str()),
            Expr::Sequence(items) | Expr::Choice(items) => items.iter().all(|item| self.is_terminal(item)),
            Expr::Repeat(item, ..) => self.is_terminal(item),
        }
    }
}

fn repeat(item: &Expr, lark: &str, least: u32, most: Option<u32>) -> String {
    let most = most.map_or(String::new(), |most| most.to_string());
    match item {
        Expr::Sequence(_) | Expr::Repeat(..) => format!("({lark}){{{least},{most}}}"),
        // Choices have their own brackets.
        _ => format!("{lark}{{{least},{most}}}"),
    }
}

/// A text as Lark writes it: as JSON, without the character that JSON may leave as it is and Lark may not.
fn literal(text: &str) -> String {
    Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}
