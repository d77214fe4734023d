//! Text that appears as it is written.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};

/// Text from a model or a file, safe to show: control characters, which could
/// make a terminal do things, become visible.
pub fn printable(text: &str) -> Cow<'_, str> {
    let is_control = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    if !text.contains(is_control) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().map(|c| if is_control(c) { '\u{fffd}' } else { c }).collect())
}

/// Standard output for a model's text: exactly as it is into a pipe or file. On a terminal
/// control characters, which could make it do things, become visible.
pub struct TextOut {
    terminal: bool,
    mid_line: bool,
}

impl TextOut {
    /// Looks at where standard output goes.
    #[allow(clippy::new_without_default)] // it looks at the world
    pub fn new() -> Self {
        Self { terminal: io::stdout().is_terminal(), mid_line: false }
    }

    /// Shows a piece of text at once.
    pub fn write(&mut self, text: &str) -> io::Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        self.mid_line = !text.ends_with('\n');
        let text = if self.terminal { printable(text) } else { Cow::Borrowed(text) };
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }

    /// Ends the line if it has begun.
    pub fn end_line(&mut self) -> io::Result<()> {
        if self.mid_line { self.write("\n") } else { Ok(()) }
    }
}
