//! What differs between a terminal and a pipe: colors, progress, and which
//! characters are let through.

use anstyle::{AnsiColor, Style};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
pub use ingot_runtime::{TextOut, printable};
use std::io::{self, IsTerminal};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

/// The word `error:`.
pub const ERROR: Style = AnsiColor::Red.on_default().bold();
/// The word `hint:`, and what the user may type.
pub const HINT: Style = AnsiColor::Cyan.on_default().bold();
/// The word `warning:`.
pub const WARNING: Style = AnsiColor::Yellow.on_default().bold();
/// Headings.
pub const HEADING: Style = Style::new().bold();
/// What is said beside the text.
pub const DIM: Style = Style::new().dimmed();

/// Prints a line on standard error. Unlike `eprintln!` it does not panic if nobody
/// reads that any more.
#[macro_export]
macro_rules! say {
    ($($arg:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(anstream::stderr(), $($arg)*); // there is nobody to tell
    }};
}

/// Shows that something takes long, once it does: nothing for the first second
/// and nothing ever if standard error is not a terminal.
pub struct Progress {
    bar: ProgressBar,
    /// Dropping the sender wakes the thread that waits to show the bar.
    done: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What is done within this time needs no progress bar.
const PATIENCE: Duration = Duration::from_secs(1);

impl Progress {
    /// `total` steps of `what`; a spinner if there are none to count.
    pub fn new(what: &'static str, total: usize) -> Self {
        let bar = ProgressBar::with_draw_target(Some(total as u64), ProgressDrawTarget::hidden());
        bar.set_style(style(match total {
            0 => "{spinner} {msg}",
            _ => "{msg} [{bar:30}] {pos}/{len} tokens",
        }));
        bar.set_message(what);
        let mut progress = Self { bar, done: None, thread: None };
        if io::stderr().is_terminal() {
            let (done, wait) = mpsc::channel();
            let bar = progress.bar.clone();
            progress.done = Some(done);
            progress.thread = Some(std::thread::spawn(move || {
                if wait.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                    bar.set_draw_target(ProgressDrawTarget::stderr());
                    bar.enable_steady_tick(Duration::from_millis(100));
                }
            }));
        }
        progress
    }

    /// So many steps are done.
    pub fn set(&self, steps: usize) {
        self.bar.set_position(steps as u64);
    }

    /// So many bytes are done: from now on it counts these.
    pub fn set_bytes(&self, bytes: u64, total: u64) {
        if self.bar.length() != Some(total) {
            self.bar.set_style(style("{msg} [{bar:30}] {decimal_bytes}/{decimal_total_bytes}"));
            self.bar.set_length(total);
        }
        self.bar.set_position(bytes);
    }

    /// So many bytes came over the network, or were there already when it is called
    /// first: from then on it shows how fast they come and when all of them are there.
    pub fn set_transfer(&self, bytes: u64, total: u64) {
        if self.bar.length() == Some(total) {
            return self.bar.set_position(bytes);
        }
        let size = "{decimal_bytes}/{decimal_total_bytes}";
        self.bar.set_style(style(&format!(
            "{{msg}} [{{bar:30}}] {size}, {{decimal_bytes_per_sec}}, {{eta}} left"
        )));
        self.bar.set_length(total);
        self.bar.set_position(bytes);
        self.bar.reset_eta();
    }

    /// From now on it is about something else.
    pub fn set_message(&self, what: &'static str) {
        self.bar.set_message(what);
    }

    /// Prints a line above it.
    pub fn say(&self, line: &str) {
        self.bar.suspend(|| say!("{line}"));
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("a valid template")
}

impl Drop for Progress {
    fn drop(&mut self) {
        drop(self.done.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // it cannot panic, and if it did there is nothing to clean up
        }
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_become_visible() {
        assert_eq!(printable("a\tb\n"), "a\tb\n");
        assert_eq!(printable("\u{1b}[2Jx\u{9b}y\r"), "\u{fffd}[2Jx\u{fffd}y\u{fffd}");
    }
}
