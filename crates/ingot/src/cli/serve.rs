//! What `ingot serve` takes.

use super::{EngineArgs, ModelArgument, SamplingArgs};
use clap::{Args, ValueEnum};
use std::net::IpAddr;
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  ingot serve --open                     the small model in the program, and its chat page
  ingot serve model.gguf
  ingot serve model.gguf --port 9000 --parallel 16 --ctx 8192
  INGOT_API_KEY=secret ingot serve model.gguf --host 0.0.0.0
  ingot serve model.gguf --port 0 --json --log-format json     for programs that start it

  curl localhost:8080/v1/chat/completions -d '{\"messages\": [{\"role\": \"user\", \"content\": \"Hello\"}]}'

Programs made for OpenAI's API work with the base URL http://127.0.0.1:8080/v1 and any
API key. GET /openapi.json lists the endpoints, GET /metrics is for Prometheus. Ctrl-C
lets answers that have begun end; a second one does not.";

/// Serves a model over HTTP.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct ServeArgs {
    /// The model.
    #[command(flatten)]
    pub model: ModelArgument,
    /// Address to listen on; 0.0.0.0 for all of this computer's
    #[arg(long, value_name = "IP", default_value = "127.0.0.1", help_heading = "Network")]
    pub host: IpAddr,
    /// Port to listen on; 0 for any that is free
    #[arg(short, long, default_value_t = 8080, help_heading = "Network")]
    pub port: u16,
    /// Open the chat page in a browser
    #[arg(long, help_heading = "Network")]
    pub open: bool,
    /// Key that requests have to bring (repeatable; better from the environment: others
    /// can see command lines)
    #[arg(
        long = "api-key",
        value_name = "KEY",
        env = "INGOT_API_KEY",
        hide_env_values = true,
        help_heading = "Access"
    )]
    pub keys: Vec<String>,
    /// File with such keys, one in a line
    #[arg(long, value_name = "FILE", help_heading = "Access")]
    pub api_key_file: Option<PathBuf>,
    /// Host name by which browsers may know the server, beside addresses and localhost
    /// (repeatable; * for any)
    #[arg(long, value_name = "NAME", help_heading = "Access")]
    pub allow_host: Vec<String>,
    /// Other server whose pages may use this one, such as https://chat.example (repeatable;
    /// * for any)
    #[arg(long, value_name = "ORIGIN", help_heading = "Access")]
    pub allow_origin: Vec<String>,
    /// Further name of the model (repeatable; * for any)
    #[arg(long, value_name = "NAME")]
    pub alias: Vec<String>,
    /// Most texts written at the same time
    #[arg(long, value_name = "N", default_value_t = 64, help_heading = "Limits")]
    pub parallel: usize,
    /// Most texts that wait for a place
    #[arg(long, value_name = "N", default_value_t = 256, help_heading = "Limits")]
    pub queue: usize,
    /// Memory for all texts and what is remembered of them, in MB [default: half of what is
    /// left beside the model]
    #[arg(long, value_name = "MB", help_heading = "Limits")]
    pub memory: Option<u64>,
    /// Ends of texts that are remembered for those who continue them
    #[arg(long, value_name = "N", default_value_t = 64, help_heading = "Limits")]
    pub prefixes: usize,
    /// Most tokens of a prompt [default: what the context holds]
    #[arg(long, value_name = "TOKENS", help_heading = "Limits")]
    pub max_prompt: Option<usize>,
    /// Most tokens of an answer [default: what the context holds]
    #[arg(long, value_name = "TOKENS", help_heading = "Limits")]
    pub max_tokens: Option<usize>,
    /// Most texts of one request
    #[arg(long, value_name = "N", default_value_t = 16, help_heading = "Limits")]
    pub max_choices: usize,
    /// Most bytes of a request
    #[arg(long, value_name = "BYTES", default_value_t = 4 << 20, help_heading = "Limits")]
    pub max_body: usize,
    /// Seconds that an answer may take
    #[arg(long, value_name = "SECONDS", default_value_t = 3600, help_heading = "Limits")]
    pub timeout: u64,
    /// Print a line of JSON on standard output when the model is ready: address, model, device
    #[arg(long, help_heading = "Log")]
    pub json: bool,
    /// What the log looks like
    #[arg(long, value_enum, default_value_t = LogFormat::Text, help_heading = "Log")]
    pub log_format: LogFormat,
    /// How tokens are chosen where requests do not say.
    #[command(flatten)]
    pub sampling: SamplingArgs,
    /// Where and how it is run.
    #[command(flatten)]
    pub engine: EngineArgs,
}

/// What a log looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs: an object in a line.
    Json,
    /// Only problems.
    Quiet,
}
