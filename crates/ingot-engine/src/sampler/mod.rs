//! From the logits of a position to the next token.
//!
//! The stages run in the customary order, each on what the one before left:
//!
//! 1. logit bias, then repetition, frequency and presence penalties;
//! 2. at temperature 0: the highest logit, the lowest id among equals, and that is all;
//! 3. either mirostat at the given temperature, or top-k, typical, top-p, min-p, temperature and a draw.
//!
//! The filters see probabilities at temperature 1: raising the temperature flattens the choice among the
//! tokens that were kept but lets no further ones in.
//!
//! Equal logits, options and history give equal tokens on every platform: the arithmetic is IEEE throughout,
//! sums run in a fixed order, and `exp` and `ln` are this module's own. (Logits computed on different devices
//! differ in their last bits and need not lead to the same tokens.)

mod candidates;
mod filters;
mod logprobs;
mod math;
mod mirostat;
mod options;
mod penalties;

pub use logprobs::logprobs;
pub use options::{Mirostat, SamplerError, SamplerOptions};

use crate::rng::Rng;
use candidates::{Candidate, draw, top_k, weigh};
use ingot_plan::Draw;
use mirostat::MirostatState;
use penalties::History;

/// Chooses the tokens of one sequence.
///
/// Works within buffers it keeps: once they have grown to the size of the vocabulary, sampling allocates
/// nothing.
#[derive(Clone, Debug)]
pub struct Sampler {
    options: SamplerOptions,
    history: History,
    mirostat: Option<MirostatState>,
    rng: Rng,
    adjusted: Vec<f32>,
    candidates: Vec<Candidate>,
}

impl Sampler {
    /// A sampler before its first token.
    ///
    /// # Errors
    /// An option is outside its range, see [`SamplerOptions::validate`].
    pub fn new(options: SamplerOptions) -> Result<Self, SamplerError> {
        options.validate()?;
        Ok(Self {
            history: History::default(),
            mirostat: options.mirostat.map(MirostatState::new),
            rng: Rng::new(options.seed),
            adjusted: Vec::new(),
            candidates: Vec::new(),
            options,
        })
    }

    /// The options it was made with.
    pub fn options(&self) -> &SamplerOptions {
        &self.options
    }

    /// Chooses the next token. The choice is not yet part of the history: see [`Sampler::accept`].
    ///
    /// Except at temperature 0, call number `i` uses random number `i` of the seed, whatever the options.
    /// Logits of NaN or negative infinity are never chosen; if nothing else is there, the result is the
    /// first token that is not NaN, or else 0.
    pub fn sample(
        &mut self,
        logits: &[f32], // [vocabulary]
    ) -> u32 {
        let Self { options, history, mirostat, rng, adjusted, candidates } = self;
        let logits = adjust(logits, options, history, adjusted);

        let greedy = options.temperature == 0.0;
        let point = if greedy { 0.0 } else { rng.next_f64() };
        let k = match mirostat {
            _ if greedy => 1,
            Some(_) => 0,
            None => options.top_k,
        };
        top_k(logits, k, candidates);
        let Some(first) = candidates.first() else {
            return logits.iter().position(|logit| !logit.is_nan()).unwrap_or(0) as u32;
        };
        if greedy {
            return first.id;
        }
        if let Some(mirostat) = mirostat {
            return mirostat.sample(candidates, options.temperature, point);
        }
        filters::apply(candidates, options);
        weigh(candidates, options.temperature);
        draw(candidates, point).id
    }

    /// How a device draws token number `count` of a text in this sampler's place, if all
    /// of the options are ones that devices know. The device's random numbers are
    /// others than the sampler's.
    pub(crate) fn device_draw(&self, count: usize) -> Option<Draw> {
        let o = &self.options;
        let neutral = o.repetition_penalty == 1.0 && o.frequency_penalty == 0.0 && o.presence_penalty == 0.0;
        let known = neutral && o.logit_bias.is_empty() && o.mirostat.is_none() && o.typical_p >= 1.0;
        known.then(|| Draw {
            temperature: o.temperature,
            top_k: u32::try_from(o.top_k).unwrap_or(0),
            top_p: o.top_p,
            min_p: o.min_p,
            seed: o.seed,
            counter: count as u64,
        })
    }

    /// Makes a token part of the history that the penalties look at. To be called for every sampled token
    /// that is kept, and for the tokens of the prompt if they are to count as well.
    pub fn accept(&mut self, token: u32) {
        self.history.push(token, self.options.penalty_last_n);
    }

    /// Back to the state after [`Sampler::new`]: no history, first random number.
    pub fn reset(&mut self) {
        self.history.clear();
        self.mirostat = self.options.mirostat.map(MirostatState::new);
        self.rng = Rng::new(self.options.seed);
    }
}

/// The logits with biases and penalties: the given ones if there are none, otherwise a changed copy in
/// `buffer`.
fn adjust<'a>(
    logits: &'a [f32], // [vocabulary]
    options: &SamplerOptions,
    history: &History,
    buffer: &'a mut Vec<f32>,
) -> &'a [f32] {
    let penalized = history.has_effect(options);
    if options.logit_bias.is_empty() && !penalized {
        return logits;
    }
    buffer.clear();
    buffer.extend_from_slice(logits);
    for &(token, amount) in &options.logit_bias {
        if let Some(logit) = buffer.get_mut(token as usize) {
            *logit += amount;
        }
    }
    if penalized {
        history.penalize(buffer, options);
    }
    buffer
}

#[cfg(test)]
mod tests;
