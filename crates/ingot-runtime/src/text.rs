//! Text that appears as it is written.

use std::io::{self, IsTerminal, Write};

/// Standard output for a model's text: exactly as it is into a pipe or file. On a terminal
/// control characters, which could make it do things, become visible.
pub struct TextOut {
    terminal: bool,
}

impl TextOut {
    /// Looks at where standard output goes.
    #[allow(clippy::new_without_default)] // it looks at the world
    pub fn new() -> Self {
        Self { terminal: io::stdout().is_terminal() }
    }

    /// Shows a piece of text at once.
    pub fn write(&mut self, text: &str) -> io::Result<()> {
        let visible = |c: char| if c.is_control() && !matches!(c, '\n' | '\t') { '\u{fffd}' } else { c };
        let mut out = io::stdout().lock();
        match self.terminal {
            true => out.write_all(text.chars().map(visible).collect::<String>().as_bytes())?,
            false => out.write_all(text.as_bytes())?,
        }
        out.flush()
    }
}
