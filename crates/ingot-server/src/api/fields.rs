//! Fields that several endpoints have: how tokens are chosen, and when to stop.

use crate::app::App;
use crate::config::Config;
use crate::error::{ApiError, Result};
use crate::http::parse;
use ingot_engine::{Mirostat, Request, SamplerOptions};
use serde::Deserialize;
use serde_json::Value;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};

/// How tokens are chosen, with the names that OpenAI and others use.
#[derive(Deserialize)]
struct Sampling {
    temperature: Option<f32>,
    top_k: Option<i64>,
    top_p: Option<f32>,
    min_p: Option<f32>,
    #[serde(alias = "typical")]
    typical_p: Option<f32>,
    #[serde(alias = "repeat_penalty")]
    repetition_penalty: Option<f32>,
    frequency_penalty: Option<f32>,
    presence_penalty: Option<f32>,
    #[serde(alias = "repeat_last_n")]
    penalty_last_n: Option<usize>,
    logit_bias: Option<HashMap<String, f32>>,
    mirostat: Option<u8>,
    mirostat_tau: Option<f32>,
    mirostat_eta: Option<f32>,
    seed: Option<i64>,
    n: Option<usize>,
}

/// When to stop.
#[derive(Deserialize)]
struct Ending {
    max_tokens: Option<i64>,
    max_completion_tokens: Option<i64>,
    stop: Option<Strings>,
    ignore_eos: Option<bool>,
}

/// How the answer is sent.
#[derive(Deserialize)]
struct Sending {
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
}

#[derive(Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
}

/// One string or several.
#[derive(Deserialize)]
#[serde(untagged, expecting = "a string or a list of strings")]
enum Strings {
    One(String),
    Several(Vec<String>),
}

/// Fields that are known and not supported, with the values that ask for nothing.
const REFUSED: [(&str, &[&str]); 9] = [
    ("suffix", &["null", "\"\""]),
    ("audio", &["null"]),
    ("functions", &["null", "[]"]),
    ("function_call", &["null", "\"none\""]),
    ("prediction", &["null"]),
    ("web_search_options", &["null"]),
    ("best_of", &["null", "1"]),
    ("use_beam_search", &["null", "false"]),
    ("modalities", &["null", "[\"text\"]"]),
];

/// What all requests for texts have in common.
pub(super) struct Common {
    /// Options for each of the `n` texts.
    pub(super) choices: Vec<SamplerOptions>,
    pub(super) request: Request,
    pub(super) stream: bool,
    pub(super) include_usage: bool,
}

impl Common {
    pub(super) fn parse(app: &App, body: &Value) -> Result<Self> {
        for (field, neutral) in REFUSED {
            if !body[field].is_null() && !neutral.contains(&body[field].to_string().as_str()) {
                return Err(ApiError::unsupported(field, format!("'{field}' is not supported")));
            }
        }
        let sending: Sending = parse(body)?;
        Ok(Self {
            choices: choices(app, parse(body)?)?,
            request: request(&app.config, parse(body)?)?,
            stream: sending.stream.unwrap_or(false),
            include_usage: sending.stream_options.is_some_and(|o| o.include_usage.unwrap_or(false)),
        })
    }
}

fn choices(app: &App, s: Sampling) -> Result<Vec<SamplerOptions>> {
    let (config, vocab) = (&app.config, app.scheduler()?.model().info().vocab);
    let d = &config.sampling;
    let n = s.n.unwrap_or(1);
    within("n", n, config.limits.choices)?;
    if n == 0 {
        return Err(ApiError::param("n", "n has to be 1 or more"));
    }
    let biases = s.logit_bias.unwrap_or_default();
    within("logit_bias", biases.len(), config.limits.biases)?;
    let bias = |(id, amount): (String, f32)| match id.parse::<u32>() {
        // OpenAI's word for a ban is -100.
        Ok(id) if (id as usize) < vocab => {
            Ok((id, if amount <= -100.0 { f32::NEG_INFINITY } else { amount }))
        }
        _ => {
            let id: String = id.chars().take(40).collect();
            Err(ApiError::param("logit_bias", format!("logit_bias: '{id}' is not the id of a token")))
        }
    };
    let default = Mirostat { tau: 5.0, eta: 0.1 };
    let mirostat = match s.mirostat {
        None => d.mirostat,
        Some(0) => None,
        Some(2) => Some(Mirostat {
            tau: s.mirostat_tau.unwrap_or(default.tau),
            eta: s.mirostat_eta.unwrap_or(default.eta),
        }),
        Some(_) => return Err(ApiError::param("mirostat", "mirostat is 0 (off) or 2")),
    };
    let options = SamplerOptions {
        temperature: s.temperature.unwrap_or(d.temperature),
        // Some clients write -1 for "all".
        top_k: s.top_k.map_or(d.top_k, |k| usize::try_from(k).unwrap_or(0)),
        top_p: s.top_p.unwrap_or(d.top_p),
        min_p: s.min_p.unwrap_or(d.min_p),
        typical_p: s.typical_p.unwrap_or(d.typical_p),
        repetition_penalty: s.repetition_penalty.unwrap_or(d.repetition_penalty),
        frequency_penalty: s.frequency_penalty.unwrap_or(d.frequency_penalty),
        presence_penalty: s.presence_penalty.unwrap_or(d.presence_penalty),
        penalty_last_n: s.penalty_last_n.unwrap_or(d.penalty_last_n),
        logit_bias: biases.into_iter().map(bias).collect::<Result<_>>()?,
        mirostat,
        seed: 0,
    };
    options.validate().map_err(|e| ApiError::param(e.option, &e))?;
    let seed = s.seed.map_or_else(|| RandomState::new().build_hasher().finish(), |seed| seed as u64);
    Ok((0..n as u64).map(|i| SamplerOptions { seed: seed.wrapping_add(i), ..options.clone() }).collect())
}

fn request(config: &Config, ending: Ending) -> Result<Request> {
    let limits = &config.limits;
    let stop = match ending.stop {
        None => Vec::new(),
        Some(Strings::One(stop)) => vec![stop],
        Some(Strings::Several(stops)) => stops,
    };
    within("stop", stop.len(), limits.stops)?;
    if let Some(long) = stop.iter().find(|s| s.len() > limits.stop_bytes) {
        let message = format!("a stop string of {} bytes; {} are allowed", long.len(), limits.stop_bytes);
        return Err(ApiError::param("stop", message));
    }
    if stop.iter().any(String::is_empty) {
        return Err(ApiError::param("stop", "a stop string is empty"));
    }
    let asked = match ending.max_completion_tokens.or(ending.max_tokens) {
        // Some clients write -1 for "as many as fit".
        None | Some(-1) => None,
        Some(n) => Some(usize::try_from(n).map_err(|_| {
            ApiError::param("max_tokens", format!("max_tokens has to be 0 or more, not {n}"))
        })?),
    };
    Ok(Request {
        max_tokens: [asked, limits.answer].into_iter().flatten().min(),
        stop,
        ignore_end: ending.ignore_eos.unwrap_or(false),
        window: None,
    })
}

/// Refuses more than is allowed.
pub(super) fn within(param: &str, count: usize, most: usize) -> Result<()> {
    match count <= most {
        true => Ok(()),
        false => {
            Err(ApiError::param(param, format!("{param}: {count} is more than the {most} that are allowed")))
        }
    }
}
