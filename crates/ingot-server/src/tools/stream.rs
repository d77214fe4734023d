//! Splits an answer into text and calls while it arrives.

use super::format::{Syntax, ToolFormat};
use super::header::{Header, Seen};
use super::request::Tools;
use super::scan::{Scanned, Scanner};
use ingot_engine::rng::Rng;
use serde_json::Value;
use std::collections::HashSet;

/// What an answer goes on with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToolDelta {
    /// Text.
    Content(String),
    /// A call begins.
    Call {
        /// Its number within the answer, from 0.
        index: usize,
        /// A name for it that is new.
        id: String,
        /// The tool.
        name: String,
    },
    /// The arguments of a call go on, as JSON.
    Arguments {
        /// Its number.
        index: usize,
        /// The next characters.
        fragment: String,
    },
}

/// Finds calls of a request's tools in an answer, however that is cut.
///
/// Only what may still become a call is held back; once the tool is known and its arguments begin, they are given
/// out as they come. What turns out to be no call is text, with all that was held back. White space around
/// calls is neither. Takes time in proportion to the text.
#[derive(Debug)]
pub struct ToolStream {
    syntax: &'static Syntax,
    tools: HashSet<String>,
    ids: Rng,
    state: State,
    /// Text that was not given out yet.
    held: String,
    /// Whether a call may begin here without being announced.
    fresh: bool,
    calls: usize,
    out: Vec<ToolDelta>,
}

#[derive(Debug)]
enum State {
    /// In text, with so many bytes of the opening marker at its end.
    Text(usize),
    /// The object of a call comes next, or the list of calls.
    Start { list: bool },
    /// Within the object, which begins at this byte of what is held back.
    Call { start: usize, scanner: Scanner, header: Option<Header> },
    /// Within the arguments, which are given out.
    Arguments(Scanner),
    /// Between the end of the arguments and that of the object.
    Rest(Scanner),
    /// Behind a call, with so many bytes of the closing marker.
    End(usize),
}

impl ToolStream {
    /// For an answer to a request with `tools`; `ids` makes the names of calls.
    pub fn new(format: ToolFormat, tools: &Tools, ids: Rng) -> Self {
        Self {
            syntax: format.syntax(),
            tools: tools.list().iter().map(|tool| tool.function.name.clone()).collect(),
            ids,
            state: State::Text(0),
            held: String::new(),
            fresh: format.syntax().bare,
            calls: 0,
            out: Vec::new(),
        }
    }

    /// Calls that have begun.
    pub fn calls(&self) -> usize {
        self.calls
    }

    /// Takes the next piece of the answer.
    pub fn push(&mut self, text: &str) -> Vec<ToolDelta> {
        text.chars().for_each(|c| self.step(c));
        std::mem::take(&mut self.out)
    }

    /// Ends the answer.
    pub fn finish(&mut self) -> Vec<ToolDelta> {
        match self.state {
            // White space behind the last call.
            State::Text(0) if self.calls > 0 => self.held.clear(),
            // A call that is as good as complete.
            State::Rest(_) | State::End(_) => self.held.clear(),
            _ => {}
        }
        self.release();
        std::mem::take(&mut self.out)
    }

    fn step(&mut self, c: char) {
        match &mut self.state {
            State::Text(matched) => {
                let matched = *matched;
                self.text(matched, c);
            }
            State::Start { list } => match c {
                ' ' | '\t' | '\r' | '\n' => self.held.push(c),
                '[' if self.syntax.list && !*list => {
                    *list = true;
                    self.held.push(c);
                }
                '{' if !self.syntax.list || *list => {
                    let header = Some(Header::new(self.syntax.arguments));
                    self.state = State::Call { start: self.held.len(), scanner: Scanner::default(), header };
                    self.step(c);
                }
                _ => self.no_call(c),
            },
            State::Call { start, scanner, header } => {
                let (start, scanned) = (*start, scanner.push(c));
                let seen = header.as_mut().map_or(Seen::Other, |header| header.push(c));
                match (scanned, seen) {
                    (Scanned::Stray, _) => self.no_call(c),
                    (Scanned::Complete, _) => {
                        self.held.push(c);
                        self.whole(start);
                    }
                    (Scanned::Inside, Seen::More) => self.held.push(c),
                    (Scanned::Inside, Seen::Other) => {
                        *header = None;
                        self.held.push(c);
                    }
                    (Scanned::Inside, Seen::Arguments) => {
                        let name = header.take().map_or(String::new(), |header| header.name().to_owned());
                        let scanner = std::mem::take(scanner);
                        if self.tools.contains(&name) {
                            self.held.clear();
                            self.begin(name);
                            self.argument(c);
                            self.state = State::Arguments(scanner);
                        } else {
                            self.held.push(c);
                            self.state = State::Call { start, scanner, header: None };
                        }
                    }
                }
            }
            State::Arguments(scanner) => match scanner.push(c) {
                Scanned::Stray => {
                    self.state = State::End(0);
                    self.step(c);
                }
                _ => {
                    if scanner.depth() == 1 {
                        self.state = State::Rest(std::mem::take(scanner));
                    }
                    self.argument(c);
                }
            },
            State::Rest(scanner) => match scanner.push(c) {
                Scanned::Inside => self.held.push(c),
                Scanned::Complete => {
                    self.held.clear();
                    self.state = State::End(0);
                }
                Scanned::Stray => {
                    self.held = self.held.trim_start().to_owned();
                    self.state = State::End(0);
                    if self.held.is_empty() { self.step(c) } else { self.no_call(c) }
                }
            },
            State::End(matched) => {
                let matched = *matched;
                self.end(matched, c);
            }
        }
    }

    /// In text of which the last `matched` bytes begin the opening marker.
    fn text(&mut self, matched: usize, c: char) {
        if self.syntax.open[matched..].starts_with(c) {
            self.held.push(c);
            let matched = matched + c.len_utf8();
            let complete = matched == self.syntax.open.len();
            self.state = if complete { State::Start { list: false } } else { State::Text(matched) };
        } else if matched > 0 {
            // The rest of a marker does not look like its beginning: no other one has begun in what is held.
            let first = if self.syntax.list { '[' } else { '{' };
            let bare = self.fresh && matched == first.len_utf8() && self.syntax.open.starts_with(first);
            if bare {
                self.state = State::Start { list: true };
                self.step(c);
            } else {
                self.no_call(c);
            }
        } else if c.is_whitespace() {
            self.held.push(c);
        } else if self.fresh && c == '{' && !self.syntax.list {
            self.state = State::Start { list: false };
            self.step(c);
        } else if self.fresh && self.calls > 0 && c == ';' {
            // Between calls of Llama's.
            self.held.push(c);
        } else {
            self.held.push(c);
            self.release();
        }
    }

    /// Behind a call, of whose closing marker `matched` bytes were there.
    fn end(&mut self, matched: usize, c: char) {
        if self.syntax.list && c == ',' {
            self.held.push(c);
            self.state = State::Start { list: true };
            return;
        }
        if self.syntax.list && c == ']' {
            self.held.clear();
            self.state = State::Text(0);
            return;
        }
        if let Some(close) = self.syntax.close
            && close[matched..].starts_with(c)
        {
            self.held.push(c);
            self.state = State::End(matched + c.len_utf8());
            if matched + c.len_utf8() == close.len() {
                self.held.clear();
                self.state = State::Text(0);
            }
        } else if matched == 0 && c.is_whitespace() {
            self.held.push(c);
        } else {
            // The marker is missing; what looked like one may be the beginning of the next call.
            let held = std::mem::take(&mut self.held);
            self.fresh = self.syntax.bare && !self.syntax.list;
            self.state = State::Text(0);
            held.chars().for_each(|c| self.step(c));
            self.step(c);
        }
    }

    /// The object of a call is complete, and its arguments did not come out on the way.
    fn whole(&mut self, start: usize) {
        match self.parse(start) {
            Some((name, arguments)) => {
                self.held.clear();
                self.begin(name);
                arguments.chars().for_each(|c| self.argument(c));
                self.state = State::End(0);
            }
            None => self.release(),
        }
    }

    /// The call in what is held back.
    fn parse(&self, start: usize) -> Option<(String, String)> {
        let call: Value = serde_json::from_str(&self.held[start..]).ok()?;
        let name = call.get("name")?.as_str().filter(|name| self.tools.contains(*name))?;
        let arguments = match call.get(self.syntax.arguments) {
            None | Some(Value::Null) => "{}".into(),
            Some(arguments @ Value::Object(_)) => arguments.to_string(),
            // JSON as text within JSON.
            Some(Value::String(text)) => {
                serde_json::from_str::<Value>(text).ok()?.is_object().then(|| text.clone())?
            }
            Some(_) => return None,
        };
        Some((name.to_owned(), arguments))
    }

    /// What is held back is text, and `c` goes on.
    fn no_call(&mut self, c: char) {
        self.release();
        self.step(c);
    }

    /// Gives out what is held back as text.
    fn release(&mut self) {
        let held = std::mem::take(&mut self.held);
        self.state = State::Text(0);
        if held.is_empty() {
            return;
        }
        self.fresh = false;
        match self.out.last_mut() {
            Some(ToolDelta::Content(content)) => content.push_str(&held),
            _ => self.out.push(ToolDelta::Content(held)),
        }
    }

    fn begin(&mut self, name: String) {
        let id = call_id(&mut self.ids);
        self.out.push(ToolDelta::Call { index: self.calls, id, name });
        self.calls += 1;
    }

    /// The next character of the last call's arguments.
    fn argument(&mut self, c: char) {
        match self.out.last_mut() {
            Some(ToolDelta::Arguments { fragment, .. }) => fragment.push(c),
            _ => self.out.push(ToolDelta::Arguments { index: self.calls - 1, fragment: c.into() }),
        }
    }
}

/// `call_` and 24 letters and digits.
fn call_id(ids: &mut Rng) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let letters = (0..24).map(|_| char::from(LETTERS[(ids.next_u64() % LETTERS.len() as u64) as usize]));
    "call_".chars().chain(letters).collect()
}
