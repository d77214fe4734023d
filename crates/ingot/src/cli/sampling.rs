//! How tokens are chosen.

use clap::Args;
use ingot::{Mirostat, SamplerOptions};
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

/// How tokens are chosen.
#[derive(Args)]
#[command(next_help_heading = "Sampling")]
pub struct SamplingArgs {
    /// 0 always takes the likeliest token, 1 follows the model's probabilities
    #[arg(
        long,
        visible_alias = "temperature",
        value_name = "X",
        default_value_t = 0.7,
        allow_negative_numbers = true
    )]
    temp: f32,
    /// Choose among the K likeliest tokens; 0 for all
    #[arg(long, value_name = "K", default_value_t = 40)]
    top_k: usize,
    /// Choose among the likeliest tokens that together have this probability
    #[arg(long, value_name = "P", default_value_t = 0.95, allow_negative_numbers = true)]
    top_p: f32,
    /// Choose among tokens at least this fraction as likely as the likeliest
    #[arg(long, value_name = "P", default_value_t = 0.05, allow_negative_numbers = true)]
    min_p: f32,
    /// Locally typical sampling with this probability; 1 for none
    #[arg(long, value_name = "P", default_value_t = 1.0, allow_negative_numbers = true)]
    typical: f32,
    /// Make tokens of the recent text less likely; 1 for no penalty
    #[arg(long, value_name = "X", default_value_t = 1.0, allow_negative_numbers = true)]
    repeat_penalty: f32,
    /// Lower the logit of a token once for every time it was used
    #[arg(long, value_name = "X", default_value_t = 0.0, allow_negative_numbers = true)]
    frequency_penalty: f32,
    /// Lower the logit of a token that was used at all
    #[arg(long, value_name = "X", default_value_t = 0.0, allow_negative_numbers = true)]
    presence_penalty: f32,
    /// How many tokens back the penalties look
    #[arg(long, value_name = "N", default_value_t = 64)]
    penalty_last_n: usize,
    /// Add V to the logit of token ID; -inf bans it (repeatable)
    #[arg(long, value_name = "ID=V", value_parser = logit_bias)]
    logit_bias: Vec<(u32, f32)>,
    /// Mirostat 2 instead of the filters above: target surprise in bits, learning rate
    #[arg(long, value_name = "TAU[,ETA]", value_parser = mirostat)]
    mirostat: Option<Mirostat>,
    /// Always take the likeliest token
    #[arg(long, conflicts_with_all = ["temp", "mirostat"])]
    greedy: bool,
    /// Repeats what had this seed [default: random]
    #[arg(short, long, value_name = "N")]
    seed: Option<u64>,
}

impl SamplingArgs {
    /// The sampler's options; without `--seed` with another seed each time.
    pub fn options(&self) -> SamplerOptions {
        SamplerOptions {
            temperature: if self.greedy { 0.0 } else { self.temp },
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            typical_p: self.typical,
            repetition_penalty: self.repeat_penalty,
            frequency_penalty: self.frequency_penalty,
            presence_penalty: self.presence_penalty,
            penalty_last_n: self.penalty_last_n,
            logit_bias: self.logit_bias.clone(),
            mirostat: self.mirostat,
            seed: self.seed.unwrap_or_else(random_seed),
        }
    }
}

/// Short enough to be typed again.
fn random_seed() -> u64 {
    RandomState::new().build_hasher().finish() >> 32
}

fn logit_bias(text: &str) -> Result<(u32, f32), String> {
    let expected = || format!("expected a token id and a number, such as 42=-1.5, not '{text}'");
    let (id, amount) = text.split_once('=').ok_or_else(expected)?;
    Ok((id.trim().parse().map_err(|_| expected())?, amount.trim().parse().map_err(|_| expected())?))
}

fn mirostat(text: &str) -> Result<Mirostat, String> {
    let expected = || format!("expected one or two numbers, such as 5 or 5,0.1, not '{text}'");
    let (tau, eta) = text.split_once(',').unwrap_or((text, "0.1"));
    let number = |text: &str| text.trim().parse::<f32>().map_err(|_| expected());
    Ok(Mirostat { tau: number(tau)?, eta: number(eta)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs() {
        assert_eq!(logit_bias("42=-1.5"), Ok((42, -1.5)));
        assert_eq!(logit_bias("0=-inf"), Ok((0, f32::NEG_INFINITY)));
        assert!(logit_bias("x=1").is_err() && logit_bias("1").is_err() && logit_bias("-1=1").is_err());
        assert_eq!(mirostat("5"), Ok(Mirostat { tau: 5.0, eta: 0.1 }));
        assert_eq!(mirostat("4.5, 0.2"), Ok(Mirostat { tau: 4.5, eta: 0.2 }));
        assert!(mirostat("a").is_err() && mirostat("1,b").is_err());
    }
}
