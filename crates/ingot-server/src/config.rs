//! What a server allows, and whom.

use ingot_engine::grammar::GrammarLimits;
use ingot_engine::{SamplerOptions, scheduler};
use std::time::Duration;

/// How a model is served; the defaults suit one computer.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Names of the model: the first is how it presents itself, the others are aliases.
    /// `*` stands for any name.
    pub names: Vec<String>,
    /// Keys of which every request has to bring one; none are asked for if there are none.
    pub keys: Vec<String>,
    /// Host names by which browsers may know the server, beside addresses and localhost.
    pub hosts: Vec<String>,
    /// Pages of other servers that may use this one, such as `https://chat.example`; `*`
    /// for all of them.
    pub origins: Vec<String>,
    /// What a request does not say about sampling.
    pub sampling: SamplerOptions,
    /// What requests may ask for.
    pub limits: Limits,
    /// What runs at the same time.
    pub scheduler: scheduler::Limits,
}

/// What requests may ask for, and how long they may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request's body.
    pub body: usize,
    /// Tokens of a prompt; as many as the context holds if absent.
    pub prompt: Option<usize>,
    /// Tokens of an answer; as many as the context holds if absent.
    pub answer: Option<usize>,
    /// Texts of one request.
    pub choices: usize,
    /// Stop strings.
    pub stops: usize,
    /// Bytes of a stop string.
    pub stop_bytes: usize,
    /// Most probable tokens that are reported for each one.
    pub logprobs: usize,
    /// Entries of `logit_bias`.
    pub biases: usize,
    /// What the form of an answer may cost.
    pub grammar: GrammarLimits,
    /// Texts of one request for embeddings.
    pub inputs: usize,
    /// Connections at the same time.
    pub connections: usize,
    /// How long a request's head, and then its body, may take to arrive.
    pub arrival: Duration,
    /// How long an answer may take.
    pub request: Duration,
    /// How long a connection may not take what is sent.
    pub write: Duration,
    /// How long requests may go on after the server was asked to end.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: 4 << 20,
            prompt: None,
            answer: None,
            choices: 16,
            stops: 16,
            stop_bytes: 1024,
            logprobs: 20,
            biases: 1024,
            grammar: GrammarLimits::default(),
            inputs: 256,
            connections: 1024,
            arrival: Duration::from_secs(30),
            request: Duration::from_secs(3600),
            write: Duration::from_secs(60),
            drain: Duration::from_secs(60),
        }
    }
}
