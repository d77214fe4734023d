//! Running the real program.

#![allow(dead_code)] // each file of tests uses a part of it

use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// What a run of the program left behind.
pub struct Run {
    /// Exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Run {
    /// Standard output, if all went well.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{}", self.err);
        self.out
    }

    /// Standard output as JSON, if all went well.
    #[track_caller]
    pub fn json(self) -> Value {
        serde_json::from_str(&self.ok()).expect("JSON on standard output")
    }

    /// Checks that it failed with this code and that the one line of error, with
    /// its hint, has all of these words.
    #[track_caller]
    pub fn fails(self, code: i32, words: &[&str]) {
        assert!(self.err.starts_with("error: "), "{}", self.err);
        self.fails_later(code, words);
    }

    /// The same for what goes wrong after something else was said.
    #[track_caller]
    pub fn fails_later(self, code: i32, words: &[&str]) {
        assert_eq!(self.code, Some(code), "{}{}", self.out, self.err);
        let error = self.err.split_once("error: ").map_or("", |(_, error)| error);
        for word in words {
            assert!(error.contains(word), "{word:?} is not in: {}", self.err);
        }
        assert!(!self.err.contains("panicked"), "{}", self.err);
        assert!(!self.err.contains('\u{1b}'), "colors in a pipe: {:?}", self.err);
    }
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}

/// The program, in the folder of the fixtures. It computes on the processor unless
/// told otherwise, whatever the machine has.
pub fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ingot"));
    command.args(args).current_dir(fixtures()).stdin(Stdio::null());
    command.env_remove("INGOT_CPU").env("INGOT_DEVICE", "cpu");
    command
}

/// Runs the program without input.
pub fn ingot(args: &[&str]) -> Run {
    command(args).output().expect("the program starts").into()
}

/// Runs the program with this text piped in.
pub fn ingot_with(input: &str, args: &[&str]) -> Run {
    let mut command = command(args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_string();
    let writer = std::thread::spawn(move || {
        let _ = stdin.write_all(input.as_bytes()); // the program may end without reading all
    });
    let output = child.wait_with_output().expect("the program ends");
    writer.join().expect("writing does not panic");
    output.into()
}

/// The repository's fixtures.
pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures")
}

/// A folder of its own for a test, removed afterwards.
pub struct Folder(PathBuf);

impl Folder {
    /// An empty folder; `name` is the test's.
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ingot-test-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a temporary folder");
        Self(path)
    }

    /// A file in it, as an argument.
    pub fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("UTF-8").to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0); // the system cleans up as well
    }
}
