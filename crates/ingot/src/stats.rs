//! What a run took: for people, for scripts, and for finding out whether a
//! change made it faster.

use crate::stream::Written;
use crate::term::DIM;
use crate::units;
use ingot::Finish;
use serde_json::{Value, json};
use std::time::Duration;

/// Times and counts of one run.
#[derive(Clone, Debug)]
pub struct Stats {
    /// Opening the model.
    pub load: Duration,
    /// Tokens that were read.
    pub prompt_tokens: usize,
    /// Reading them.
    pub prefill: Duration,
    /// Tokens that were written.
    pub generated: usize,
    /// Writing them.
    pub decode: Duration,
    /// Why the text ended.
    pub finish: Finish,
    /// Start of the random numbers; `None` if there were none.
    pub seed: Option<u64>,
}

impl Stats {
    /// Shows them on standard error.
    pub fn show(&self) {
        let rate = |n, t| match n {
            0 => "0 tokens".to_string(),
            _ => format!("{} at {:.1} tok/s", units::plural(n, "token"), units::rate(n, t)),
        };
        let end = match self.finish {
            Finish::End(_) => "the model ended it",
            Finish::Stop(_) => "a stop string ended it",
            Finish::Complete => "it has the form that was asked for",
            Finish::Length => "as long as asked for",
            Finish::Context => "the context is full",
            Finish::Cancelled => "interrupted",
        };
        let mut rest =
            vec![format!("load {}", units::time(self.load)), format!("read {}", units::time(self.prefill))];
        rest.push(format!("write {}", units::time(self.decode)));
        rest.extend(peak_memory().map(|n| format!("memory {}", units::bytes(n))));
        rest.extend(self.seed.map(|seed| format!("seed {seed}")));
        crate::say!(
            "{DIM}prompt {} · text {} · {end}{DIM:#}\n{DIM}{}{DIM:#}",
            rate(self.prompt_tokens, self.prefill),
            rate(self.generated, self.decode),
            rest.join(" · "),
        );
    }

    /// For scripts: a text by this model, and what it took.
    pub fn json(&self, model: &str, written: &Written) -> Value {
        json!({
            "model": model,
            "text": written.text,
            "tokens": written.tokens,
            "finish_reason": written.finish.reason(),
            "seed": self.seed,
            "usage": self.usage(),
            "timings": self.timings(),
        })
    }

    fn timings(&self) -> Value {
        json!({
            "load_s": self.load.as_secs_f64(),
            "prefill_s": self.prefill.as_secs_f64(),
            "decode_s": self.decode.as_secs_f64(),
            "prefill_tokens_per_s": units::rate(self.prompt_tokens, self.prefill),
            "decode_tokens_per_s": units::rate(self.generated, self.decode),
            "peak_memory_bytes": peak_memory(),
        })
    }

    fn usage(&self) -> Value {
        json!({
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.generated,
            "total_tokens": self.prompt_tokens + self.generated,
        })
    }
}

/// Most memory this process has had resident, in bytes.
#[cfg(target_os = "linux")]
pub fn peak_memory() -> Option<u64> {
    // What `getrusage` says is at least what the process had that started this one.
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

/// Most memory this process has had resident, in bytes.
#[cfg(all(unix, not(target_os = "linux")))]
pub fn peak_memory() -> Option<u64> {
    use nix::sys::resource::{UsageWho, getrusage};
    let usage = getrusage(UsageWho::RUSAGE_SELF).ok()?;
    let unit = if cfg!(target_vendor = "apple") { 1 } else { 1024 };
    u64::try_from(usage.max_rss()).ok()?.checked_mul(unit)
}

/// Most memory this process has had resident, in bytes; not known here.
#[cfg(not(unix))]
pub fn peak_memory() -> Option<u64> {
    None
}
