//! What a user can set about sampling, and the ranges in which it makes sense.

use std::fmt;

/// How the next token is chosen. [`Default`] suits chat; the order of the stages is described with
/// [`Sampler`](super::Sampler).
#[derive(Clone, Debug, PartialEq)]
pub struct SamplerOptions {
    /// Divides the logits: below 1 sharpens the distribution, above 1 flattens it. 0 always takes the most
    /// probable token.
    pub temperature: f32,
    /// Keeps the `top_k` most probable tokens. 0 keeps all.
    pub top_k: usize,
    /// Keeps the most probable tokens that together reach this probability. 1 keeps all.
    pub top_p: f32,
    /// Keeps the tokens at least this fraction as probable as the most probable one. 0 keeps all.
    pub min_p: f32,
    /// Keeps the tokens whose surprise is nearest to the expected surprise and that together reach this
    /// probability (locally typical sampling). 1 keeps all.
    pub typical_p: f32,
    /// Makes tokens in the penalty window less likely: positive logits are divided by it, negative ones
    /// multiplied. 1 changes nothing.
    pub repetition_penalty: f32,
    /// Subtracted from a token's logit once for each time it is in the penalty window.
    pub frequency_penalty: f32,
    /// Subtracted from a token's logit if it is in the penalty window at all.
    pub presence_penalty: f32,
    /// Length of the penalty window: the penalties look at this many of the last accepted tokens.
    pub penalty_last_n: usize,
    /// (token, amount) pairs added to the logits; negative infinity bans a token. Tokens outside the
    /// vocabulary are ignored.
    pub logit_bias: Vec<(u32, f32)>,
    /// Replaces top-k, typical, top-p and min-p by a feedback loop on the surprise.
    pub mirostat: Option<Mirostat>,
    /// Start of the random numbers: equal seeds and logits give equal tokens, on every platform.
    pub seed: u64,
}

/// Mirostat, version 2: cuts off tokens above a surprise limit that is steered so that the surprise of the
/// chosen tokens stays near `tau`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mirostat {
    /// Target surprise in bits a token.
    pub tau: f32,
    /// How much of the last token's error is corrected by the next limit.
    pub eta: f32,
}

impl Default for SamplerOptions {
    fn default() -> Self {
        Self {
            temperature: 0.8,
            top_k: 40,
            top_p: 0.95,
            min_p: 0.05,
            typical_p: 1.0,
            repetition_penalty: 1.0,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            penalty_last_n: 64,
            logit_bias: Vec::new(),
            mirostat: None,
            seed: 0,
        }
    }
}

impl SamplerOptions {
    /// Always the most probable token, without penalties or biases.
    pub fn greedy() -> Self {
        Self { temperature: 0.0, ..Self::default() }
    }

    /// Checks every value against its range.
    ///
    /// # Errors
    /// The first option that is out of range, with the range.
    pub fn validate(&self) -> Result<(), SamplerError> {
        let fraction = |x: f32| (0.0..=1.0).contains(&x);
        let positive = |x: f32| x > 0.0 && x.is_finite();
        let not_negative = |x: f32| x >= 0.0 && x.is_finite();
        let bias = |x: f32| x.is_finite() || x == f32::NEG_INFINITY;

        check("temperature", self.temperature, not_negative, "a finite number, 0 or more")?;
        check("top_p", self.top_p, fraction, "a number from 0 to 1")?;
        check("min_p", self.min_p, fraction, "a number from 0 to 1")?;
        check("typical_p", self.typical_p, fraction, "a number from 0 to 1")?;
        check("repetition_penalty", self.repetition_penalty, positive, "a finite number above 0")?;
        check("frequency_penalty", self.frequency_penalty, f32::is_finite, "a finite number")?;
        check("presence_penalty", self.presence_penalty, f32::is_finite, "a finite number")?;
        for &(_, amount) in &self.logit_bias {
            check("logit_bias", amount, bias, "a finite number or negative infinity")?;
        }
        if let Some(Mirostat { tau, eta }) = self.mirostat {
            check("mirostat.tau", tau, positive, "a finite number of bits above 0")?;
            check("mirostat.eta", eta, positive, "a finite number above 0")?;
        }
        Ok(())
    }
}

/// A sampling option outside its range.
#[derive(Clone, Debug, PartialEq)]
pub struct SamplerError {
    /// Name of the option, as the field of [`SamplerOptions`].
    pub option: &'static str,
    /// The value that was given.
    pub value: f32,
    /// What would have been right.
    pub expected: &'static str,
}

impl fmt::Display for SamplerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {}: expected {}", self.option, self.value, self.expected)
    }
}

impl std::error::Error for SamplerError {}

fn check(
    option: &'static str,
    value: f32,
    in_range: impl Fn(f32) -> bool,
    expected: &'static str,
) -> Result<(), SamplerError> {
    if in_range(value) { Ok(()) } else { Err(SamplerError { option, value, expected }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_and_borders_are_valid() {
        let border = SamplerOptions {
            temperature: 0.0,
            top_p: 0.0,
            min_p: 1.0,
            typical_p: 0.0,
            frequency_penalty: -2.0,
            penalty_last_n: usize::MAX,
            logit_bias: vec![(u32::MAX, f32::NEG_INFINITY), (0, 100.0)],
            ..SamplerOptions::default()
        };
        for options in [SamplerOptions::default(), SamplerOptions::greedy(), border] {
            assert_eq!(options.validate(), Ok(()));
        }
    }

    #[test]
    fn every_option_is_checked() {
        type Change = fn(&mut SamplerOptions, f32);
        let cases: [(&str, Change, &[f32]); 10] = [
            ("temperature", |o, x| o.temperature = x, &[-0.1, f32::INFINITY]),
            ("top_p", |o, x| o.top_p = x, &[-0.1, 1.1]),
            ("min_p", |o, x| o.min_p = x, &[-0.1, 1.1]),
            ("typical_p", |o, x| o.typical_p = x, &[-0.1, 1.1]),
            ("repetition_penalty", |o, x| o.repetition_penalty = x, &[0.0, -1.0, f32::INFINITY]),
            ("frequency_penalty", |o, x| o.frequency_penalty = x, &[f32::INFINITY]),
            ("presence_penalty", |o, x| o.presence_penalty = x, &[f32::NEG_INFINITY]),
            ("logit_bias", |o, x| o.logit_bias = vec![(1, 0.0), (2, x)], &[f32::INFINITY]),
            ("mirostat.tau", |o, x| o.mirostat = Some(Mirostat { tau: x, eta: 0.1 }), &[0.0, f32::INFINITY]),
            ("mirostat.eta", |o, x| o.mirostat = Some(Mirostat { tau: 5.0, eta: x }), &[-0.1, f32::INFINITY]),
        ];
        for (name, change, values) in cases {
            for &value in values.iter().chain(&[f32::NAN]) {
                let mut options = SamplerOptions::default();
                change(&mut options, value);
                let error = options.validate().expect_err(name);
                assert_eq!(error.option, name);
            }
        }
    }

    #[test]
    fn messages_name_option_value_and_range() {
        let options = SamplerOptions { temperature: -1.0, ..SamplerOptions::default() };
        let message = options.validate().unwrap_err().to_string();
        assert_eq!(message, "temperature is -1: expected a finite number, 0 or more");
    }
}
