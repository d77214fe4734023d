//! Reads GBNF.

use super::{Expr, MAX_GROUPS, Rules};
use crate::Result;
use crate::grammar::GrammarLimits;
use crate::grammar::spec::refuse;
use std::fmt::Write;

/// The rules of `source`. There is a `root`, and every rule that is named is there.
pub(super) fn parse(source: &str, limits: &GrammarLimits) -> Result<Rules> {
    let mut parser = Parser { source, at: 0, names: Vec::new(), limits };
    let mut rules = Rules::new();
    parser.skip_space();
    while parser.at < source.len() {
        let start = parser.at;
        let name = parser.name()?;
        parser.skip_space();
        if !parser.take("::=") {
            return parser.fail("expected '::=' after the name of a rule");
        }
        let rule = parser.choice(0)?;
        if rules.insert(name.clone(), rule).is_some() {
            parser.at = start;
            return parser.fail(&format!("a second rule {name:?}"));
        }
        if rules.len() > limits.rules {
            return parser.fail(&format!("more than {} rules", limits.rules));
        }
    }
    if let Some((at, name)) = parser.names.iter().find(|(_, name)| !rules.contains_key(name)) {
        return Parser { at: *at, names: Vec::new(), ..parser }.fail(&format!("there is no rule {name:?}"));
    }
    if !rules.contains_key("root") {
        return refuse("grammar", "there is no rule 'root', with which a text begins");
    }
    Ok(rules)
}

struct Parser<'s> {
    source: &'s str,
    /// The byte that comes next.
    at: usize,
    /// The rules that are named, and where.
    names: Vec<(usize, String)>,
    limits: &'s GrammarLimits,
}

impl Parser<'_> {
    /// Alternatives, up to the end of the rule or group.
    fn choice(&mut self, depth: usize) -> Result<Expr> {
        if depth > MAX_GROUPS {
            return self.fail(&format!("groups nested deeper than {MAX_GROUPS} levels"));
        }
        let mut options = vec![self.sequence(depth)?];
        while self.take("|") {
            options.push(self.sequence(depth)?);
        }
        Ok(if options.len() == 1 { options.remove(0) } else { Expr::Choice(options) })
    }

    fn sequence(&mut self, depth: usize) -> Result<Expr> {
        let mut items = Vec::new();
        loop {
            self.skip_space();
            let item = match self.peek() {
                Some('"') => self.literal()?,
                Some('[') => self.class()?,
                Some('.') => {
                    self.at += 1;
                    Expr::Class(r"[\s\S]".into())
                }
                Some('(') => {
                    self.at += 1;
                    let group = self.choice(depth + 1)?;
                    if !self.take(")") {
                        return self.fail("expected ')'");
                    }
                    group
                }
                Some(c) if is_name(c) && !self.at_rule() => {
                    let at = self.at;
                    let name = self.name()?;
                    self.names.push((at, name.clone()));
                    Expr::Rule(name)
                }
                Some('<' | '!') => return self.fail("tokens in grammars are not supported"),
                Some('*' | '+' | '?' | '{') => return self.fail("there is nothing to repeat here"),
                Some(c) if !is_name(c) && !matches!(c, '|' | ')') => {
                    return self.fail(&format!("unexpected {c:?}"));
                }
                Some(')') if depth == 0 => return self.fail("there is no '(' to this ')'"),
                _ => break,
            };
            items.push(self.repeated(item)?);
        }
        Ok(if items.len() == 1 { items.remove(0) } else { Expr::Sequence(items) })
    }

    /// `item` with the repetition that follows it.
    fn repeated(&mut self, item: Expr) -> Result<Expr> {
        self.skip_space();
        let (least, most) = match self.peek() {
            Some('*') => (0, None),
            Some('+') => (1, None),
            Some('?') => (0, Some(1)),
            Some('{') => self.counts()?,
            _ => return Ok(item),
        };
        // What stands there is the operator or the closing brace.
        self.at += 1;
        Ok(Expr::Repeat(Box::new(item), least, most))
    }

    /// `{n}`, `{n,}` or `{n,m}`, up to the closing brace.
    fn counts(&mut self) -> Result<(u32, Option<u32>)> {
        self.at += 1;
        let least = self.count()?;
        let Some(least) = least else { return self.fail("expected a number of repetitions") };
        let most = if self.take(",") { self.count()? } else { Some(least) };
        self.skip_space();
        if self.peek() != Some('}') {
            return self.fail("expected '}'");
        }
        if most.is_some_and(|most| most < least) {
            return self.fail("the most repetitions are fewer than the least");
        }
        Ok((least, most))
    }

    fn count(&mut self) -> Result<Option<u32>> {
        self.skip_space();
        let rest = &self.source[self.at..];
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        if digits == 0 {
            return Ok(None);
        }
        match rest[..digits].parse() {
            Ok(n) if u64::from(n) <= self.limits.repetitions => {
                self.at += digits;
                Ok(Some(n))
            }
            _ => self.fail(&format!("at most {} repetitions are supported", self.limits.repetitions)),
        }
    }

    fn literal(&mut self) -> Result<Expr> {
        let start = self.at;
        self.at += 1;
        let mut text = String::new();
        loop {
            match self.peek() {
                Some('"') => break,
                Some('\n') | None => {
                    self.at = start;
                    return self.fail("this string does not end on its line");
                }
                Some(_) => text.push(self.char()?),
            }
        }
        self.at += 1;
        Ok(Expr::Literal(text))
    }

    /// `[a-z_]` or `[^a-z_]`. An empty set is no character, its complement any.
    fn class(&mut self) -> Result<Expr> {
        let start = self.at;
        self.at += 1;
        let negated = self.peek() == Some('^');
        self.at += usize::from(negated);
        let mut set = String::new();
        loop {
            match self.peek() {
                Some(']') => break,
                Some('\n') | None => {
                    self.at = start;
                    return self.fail("this set of characters does not end on its line");
                }
                Some(_) => {}
            }
            let first = self.char()?;
            let mut last = first;
            // A '-' at the end is a character.
            if self.source[self.at..].starts_with('-') && !self.source[self.at..].starts_with("-]") {
                self.at += 1;
                last = self.char()?;
            }
            if last < first {
                return self.fail(&format!("the range from {first:?} to {last:?} is empty"));
            }
            let (first, last) = (u32::from(first), u32::from(last));
            write!(set, "\\x{{{first:X}}}-\\x{{{last:X}}}").expect("a string takes everything");
        }
        self.at += 1;
        Ok(Expr::Class(match (set.is_empty(), negated) {
            (true, false) => return self.fail("this set has no characters"),
            (true, true) => r"[\s\S]".into(),
            (false, false) => format!("[{set}]"),
            (false, true) => format!("[^{set}]"),
        }))
    }

    /// A character of a string or set, which may be escaped.
    fn char(&mut self) -> Result<char> {
        let rest = &self.source[self.at..];
        let Some(c) = rest.chars().next() else { return self.fail("unexpected end") };
        if c != '\\' {
            self.at += c.len_utf8();
            return Ok(c);
        }
        let digits = match rest[1..].chars().next() {
            Some('x') => 2,
            Some('u') => 4,
            Some('U') => 8,
            escaped => {
                let c = match escaped {
                    Some('n') => '\n',
                    Some('r') => '\r',
                    Some('t') => '\t',
                    Some(c @ ('\\' | '"' | '[' | ']' | '-' | '^')) => c,
                    _ => return self.fail("unknown escape"),
                };
                self.at += 2;
                return Ok(c);
            }
        };
        let code = rest.get(2..2 + digits).filter(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()));
        match code.and_then(|hex| u32::from_str_radix(hex, 16).ok()).and_then(char::from_u32) {
            Some(c) => {
                self.at += 2 + digits;
                Ok(c)
            }
            None => self.fail(&format!("expected {digits} hexadecimal digits that are a character")),
        }
    }

    fn name(&mut self) -> Result<String> {
        let rest = &self.source[self.at..];
        let end = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
        if end == 0 {
            return self.fail("expected the name of a rule");
        }
        self.at += end;
        Ok(rest[..end].to_owned())
    }

    /// Whether a new rule begins here.
    fn at_rule(&self) -> bool {
        let rest = self.source[self.at..].trim_start_matches(is_name);
        rest.trim_start_matches([' ', '\t']).starts_with("::=")
    }

    /// White space, ends of lines and comments.
    fn skip_space(&mut self) {
        loop {
            let rest = self.source[self.at..].trim_start();
            self.at = self.source.len() - rest.len();
            if !rest.starts_with('#') {
                return;
            }
            self.at += rest.find('\n').unwrap_or(rest.len());
        }
    }

    fn peek(&self) -> Option<char> {
        self.source[self.at..].chars().next()
    }

    fn take(&mut self, text: &str) -> bool {
        let found = self.source[self.at..].starts_with(text);
        self.at += if found { text.len() } else { 0 };
        found
    }

    fn fail<T>(&self, what: &str) -> Result<T> {
        let before = &self.source[..self.at];
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|&c| c != '\n').count() + 1;
        refuse("grammar", format!("line {line}, column {column}: {what}"))
    }
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_')
}
