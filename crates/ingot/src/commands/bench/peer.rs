//! Another program on the same file, in alternation with our rounds: llama.cpp through
//! its Python package, which a script of ours drives over pipes.

use crate::failure::{Failure, Result};
use crate::models::Place;
use ingot_format::DType;
use serde_json::{Value, json};
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::Duration;

/// The other program, with the model open.
pub struct Peer {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    /// Its name and version.
    pub name: String,
}

/// What it is opened with.
pub struct Setup {
    pub threads: usize,
    /// Positions it needs.
    pub context: usize,
    pub cache: DType,
    /// Whether it is to use a GPU.
    pub gpu: bool,
}

/// Work for it, after the context it was given.
#[derive(Clone, Copy, Debug)]
pub enum Work {
    /// Reads a context of so many tokens.
    Begin(usize),
    /// Reads so many tokens.
    Read(usize),
    /// Writes so many, one at a time.
    Write(usize),
}

const SCRIPT: &str = include_str!("peer.py");

/// Most bytes of an answer.
const ANSWER: u64 = 1 << 16;

/// How long both are left alone when they change places: threads that wait for more work
/// of the one would take time from the other.
const PAUSE: Duration = Duration::from_millis(60);

impl Peer {
    /// Starts it and opens the model.
    ///
    /// # Errors
    /// If there is no Python or no package, or it cannot open the model.
    pub fn open(python: &OsStr, place: &Place, setup: &Setup) -> Result<Self> {
        let path = gguf(place)?;
        let failed = |e| {
            let python = Path::new(python).display();
            Failure::new(format!("cannot run {python}: {e}")).hint("--python PATH names another Python")
        };
        let mut command = Command::new(python);
        command.args(["-u", "-c", SCRIPT]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().map_err(failed)?;
        let (input, output) = (child.stdin.take(), child.stdout.take().expect("piped"));
        let mut peer = Self { child, input, output: BufReader::new(output), name: String::new() };
        let answer = peer.ask(&json!({
            "model": path.to_string_lossy(),
            "threads": setup.threads,
            "context": setup.context,
            "cache": number(setup.cache),
            "gpu_layers": if setup.gpu { -1 } else { 0 },
        }))?;
        peer.name =
            format!("llama.cpp (llama-cpp-python {})", answer["version"].as_str().unwrap_or("unknown"));
        Ok(peer)
    }

    /// Does some work; how long it took.
    ///
    /// # Errors
    /// With what it says if it fails, or if it ends.
    pub fn run(&mut self, work: Work) -> Result<Duration> {
        let (todo, tokens) = match work {
            Work::Begin(tokens) => ("begin", tokens),
            Work::Read(tokens) => ("read", tokens),
            Work::Write(tokens) => ("write", tokens),
        };
        thread::sleep(PAUSE);
        let answer = self.ask(&json!({ "do": todo, "tokens": tokens }))?;
        thread::sleep(PAUSE);
        let seconds = answer["seconds"].as_f64().and_then(|s| Duration::try_from_secs_f64(s).ok());
        seconds.ok_or_else(|| Failure::new(format!("llama.cpp answered {answer}")))
    }

    fn ask(&mut self, question: &Value) -> Result<Value> {
        let ended = || {
            Failure::new("llama.cpp ended before it answered")
                .hint("what `python3 -c 'import llama_cpp'` says may help")
        };
        let input = self.input.as_mut().expect("open until the end");
        writeln!(input, "{question}").and_then(|()| input.flush()).map_err(|_| ended())?;
        let mut line = String::new();
        let read = self.output.by_ref().take(ANSWER).read_line(&mut line);
        read.ok().filter(|&n| n > 0).ok_or_else(ended)?;
        let answer: Value = serde_json::from_str(&line).map_err(|_| {
            Failure::new(format!("llama.cpp answered {}", crate::units::shortened(line.trim())))
        })?;
        match answer["error"].as_str() {
            None => Ok(answer),
            Some(e) if answer["missing"] == true => Err(Failure::new(format!("--peer llama-cpp: {e}")).hint(
                "`pip install llama-cpp-python` installs it; --python PATH names the Python that has it",
            )),
            Some(e) => Err(Failure::new(format!("--peer llama-cpp: {e}"))),
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It ends when nothing more can come; not even that helps if it hangs.
        drop(self.input.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The file, if llama.cpp can read such.
fn gguf(place: &Place) -> Result<&Path> {
    match place {
        Place::Path(path) if path.extension().is_some_and(|e| e == "gguf") => Ok(path),
        _ => Err(Failure::usage("--peer llama-cpp takes a GGUF file")
            .hint("name one, for example `ingot bench model.gguf --peer llama-cpp`")),
    }
}

/// A type's number in ggml.
fn number(cache: DType) -> u32 {
    match cache {
        DType::F32 => 0,
        DType::Q8_0 => 8,
        _ => 1,
    }
}
