//! What the user types: with line editing and history on a terminal, line by
//! line from a pipe.

use crate::failure::{Failure, Result};
use etcetera::BaseStrategy;
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;
use std::fs;
use std::io::{self, IsTerminal, StdinLock};
use std::path::PathBuf;

/// Where messages come from.
pub enum Input {
    /// A terminal.
    Editor {
        /// Reads lines.
        editor: Box<DefaultEditor>,
        /// Keeps them.
        history: Option<PathBuf>,
    },
    /// A pipe or file.
    Piped(StdinLock<'static>),
}

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// A line, or several that belong together.
    Text(String),
    /// Ctrl-C.
    Interrupted,
    /// Ctrl-D, or the end of the pipe.
    End,
}

const PROMPT: &str = ">>> ";
const CONTINUED: &str = "... ";
const QUOTES: &str = "\"\"\"";

impl Input {
    /// Looks at where standard input comes from.
    pub fn open() -> Result<Self> {
        if !io::stdin().is_terminal() {
            return Ok(Self::Piped(io::stdin().lock()));
        }
        let mut editor =
            DefaultEditor::new().map_err(|e| Failure::new(format!("cannot use the terminal: {e}")))?;
        let history = history_file();
        if let Some(path) = &history {
            let _ = editor.load_history(path); // there is none the first time
        }
        Ok(Self::Editor { editor: Box::new(editor), history })
    }

    /// True if a person types.
    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::Editor { .. })
    }

    /// The next message.
    pub fn message(&mut self) -> Result<Line> {
        let message = gather(|prompt| self.line(prompt))?;
        if let (Self::Editor { editor, history }, Line::Text(text)) = (&mut *self, &message) {
            let added = editor.add_history_entry(text.as_str()).unwrap_or(false);
            if let Some(path) = history.as_ref().filter(|_| added) {
                let _ = editor.append_history(path); // a chat without history is still a chat
            }
        }
        Ok(message)
    }

    fn line(&mut self, prompt: &str) -> Result<Line> {
        match self {
            Self::Editor { editor, .. } => match editor.readline(prompt) {
                Ok(line) => Ok(Line::Text(line)),
                Err(ReadlineError::Interrupted) => Ok(Line::Interrupted),
                Err(ReadlineError::Eof) => Ok(Line::End),
                Err(e) => Err(Failure::new(format!("cannot read from the terminal: {e}"))),
            },
            Self::Piped(stdin) => {
                let mut bytes = Vec::new();
                match io::BufRead::read_until(stdin, b'\n', &mut bytes)? {
                    0 => Ok(Line::End),
                    _ => {
                        Ok(Line::Text(String::from_utf8_lossy(&bytes).trim_end_matches(['\n', '\r']).into()))
                    }
                }
            }
        }
    }
}

/// Joins lines that belong together: those after one that ends in `\`, and those
/// between triple quotes.
fn gather(mut next: impl FnMut(&str) -> Result<Line>) -> Result<Line> {
    let mut text = match next(PROMPT)? {
        Line::Text(text) => text,
        other => return Ok(other),
    };
    let quoted = text.trim_start().starts_with(QUOTES);
    if quoted {
        text = text.trim_start()[QUOTES.len()..].to_string();
    }
    loop {
        if quoted {
            if let Some(inner) = text.trim_end().strip_suffix(QUOTES) {
                return Ok(Line::Text(inner.trim_matches('\n').to_string()));
            }
        } else {
            match text.strip_suffix('\\') {
                Some(begun) => text = begun.to_string(),
                None => return Ok(Line::Text(text)),
            }
        }
        match next(CONTINUED)? {
            Line::Text(line) => {
                text.push('\n');
                text += &line;
            }
            Line::End => return Ok(Line::Text(text)),
            Line::Interrupted => return Ok(Line::Interrupted),
        }
    }
}

/// Where earlier messages are kept; `None` if there is no place for them.
fn history_file() -> Option<PathBuf> {
    let folder = etcetera::choose_base_strategy().ok()?.data_dir().join("ingot");
    fs::create_dir_all(&folder).ok()?;
    Some(folder.join("history.txt"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gathered(lines: &[&str]) -> Line {
        let mut lines = lines.iter();
        gather(|_| Ok(lines.next().map_or(Line::End, |line| Line::Text(line.to_string())))).unwrap()
    }

    fn text(text: &str) -> Line {
        Line::Text(text.into())
    }

    #[test]
    fn lines_that_belong_together() {
        assert_eq!(gathered(&["one", "two"]), text("one"));
        assert_eq!(gathered(&["one\\", "two\\", "three", "four"]), text("one\ntwo\nthree"));
        assert_eq!(gathered(&["\"\"\"one", "two\\", "three\"\"\"", "four"]), text("one\ntwo\\\nthree"));
        assert_eq!(gathered(&["\"\"\"", "one", "", "two", "\"\"\""]), text("one\n\ntwo"));
        assert_eq!(gathered(&["\"\"\"one\"\"\""]), text("one"));
        assert_eq!(gathered(&["one\\"]), text("one"));
        assert_eq!(gathered(&[]), Line::End);
    }

    #[test]
    fn an_unfinished_message_can_be_thrown_away() {
        let mut lines = [text("one\\"), Line::Interrupted].into_iter();
        assert_eq!(gather(|_| Ok(lines.next().unwrap())).unwrap(), Line::Interrupted);
    }
}
