//! How a command ends when it does not end well: one line that says what is
//! wrong, where possible one that says what to do, and an exit code.

use crate::term::{ERROR, HINT};
use ingot_gpu::device::DeviceError;
use std::fmt::Display;
use std::io;
use std::process::ExitCode;

/// Result of everything in the program that can fail.
pub type Result<T = (), E = Failure> = std::result::Result<T, E>;

/// What can be opened.
pub const ACCEPTED: &str =
    "a model is a .gguf file, a .safetensors file, a Hugging Face folder or hf:ORG/REPO";

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub enum Failure {
    /// Something to tell.
    Error {
        /// What is wrong.
        message: String,
        /// What can be done about it.
        hint: Option<String>,
        /// 2 if the command line itself is at fault, otherwise 1.
        code: u8,
    },
    /// Ctrl-C; whatever there was to say has been said.
    Interrupted,
    /// Whoever read the output has left (`ingot run ... | head`): no error.
    ReaderLeft,
}

impl Failure {
    /// A failure with exit code 1.
    pub fn new(message: impl Display) -> Self {
        Self::Error { message: message.to_string(), hint: None, code: 1 }
    }

    /// A command line that makes no sense, exit code 2.
    pub fn usage(message: impl Display) -> Self {
        Self::Error { message: message.to_string(), hint: None, code: 2 }
    }

    /// Adds what can be done about it, unless that was said already.
    pub fn hint(mut self, text: impl Display) -> Self {
        if let Self::Error { hint, .. } = &mut self {
            hint.get_or_insert_with(|| text.to_string());
        }
        self
    }

    /// Tells the user, without ending the program.
    pub fn show(&self) {
        if let Self::Error { message, hint, .. } = self {
            let message = crate::term::printable(message);
            crate::say!("{ERROR}error:{ERROR:#} {message}");
            if let Some(hint) = hint {
                crate::say!("{HINT}hint:{HINT:#} {}", crate::term::printable(hint));
            }
        }
    }

    /// Tells the user; the exit code of the program.
    pub fn report(self) -> ExitCode {
        self.show();
        match self {
            Self::Error { code, .. } => ExitCode::from(code),
            Self::Interrupted => ExitCode::from(130), // 128 + SIGINT, as shells have it
            Self::ReaderLeft => ExitCode::SUCCESS,
        }
    }
}

/// Errors of the standard streams; those of files are given their path where
/// they happen.
impl From<io::Error> for Failure {
    fn from(e: io::Error) -> Self {
        match e.kind() {
            io::ErrorKind::BrokenPipe => Self::ReaderLeft,
            _ => Self::new(format!("reading or writing failed: {e}")),
        }
    }
}

impl From<ingot::Error> for Failure {
    fn from(e: ingot::Error) -> Self {
        use ingot::Error;
        let failure = Self::new(&e);
        match e {
            Error::BadModel { source, .. } if source.is::<ingot_format::Error>() => failure.hint(ACCEPTED),
            Error::BadModel { path, .. } => {
                failure.hint(format!("`ingot inspect {}` shows what can be read of it", path.display()))
            }
            Error::BadSession { .. } => failure
                .hint("a session continues only on the model and with the cache type it was saved with"),
            Error::ContextFull { .. } => failure.hint("--ctx sets the size of the context"),
            Error::Gpu { source: DeviceError::OutOfMemory(_), .. } => {
                failure.hint("a smaller model needs less; --device cpu uses the computer's own memory")
            }
            Error::Gpu { .. } => {
                failure.hint("`ingot doctor` shows what there is; --device cpu works everywhere")
            }
            Error::OutOfMemory(_) => failure.hint("a smaller --ctx or a smaller model needs less"),
            _ => failure,
        }
    }
}

impl From<ingot_hub::Error> for Failure {
    fn from(e: ingot_hub::Error) -> Self {
        let failure = match e {
            ingot_hub::Error::BadName { .. } => Self::usage(&e),
            _ => Self::new(&e),
        };
        match e.hint() {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

/// Names the option as it was typed.
impl From<ingot::SamplerError> for Failure {
    fn from(e: ingot::SamplerError) -> Self {
        let option = match e.option {
            "temperature" => "temp",
            "typical_p" => "typical",
            "repetition_penalty" => "repeat-penalty",
            other => other,
        };
        let option = option.replace('_', "-");
        Self::usage(format!("--{option} is {}: expected {}", e.value, e.expected))
    }
}
