//! Penalties for tokens that were used lately, over a sliding window.

use std::collections::{HashMap, VecDeque};

use super::SamplerOptions;

/// The last accepted tokens and how often each of them occurs.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    /// Oldest first, at most `window` long. Grows with use: the window may be far longer than any text.
    tokens: VecDeque<u32>,
    /// Token to number of occurrences in `tokens`, never 0.
    counts: HashMap<u32, u32>,
}

impl History {
    /// Adds a token; beyond `window` tokens the oldest is forgotten.
    pub(super) fn push(&mut self, token: u32, window: usize) {
        if window == 0 {
            return;
        }
        if self.tokens.len() == window {
            self.forget_oldest();
        }
        self.tokens.push_back(token);
        *self.counts.entry(token).or_insert(0) += 1;
    }

    pub(super) fn clear(&mut self) {
        self.tokens.clear();
        self.counts.clear();
    }

    /// Whether [`History::penalize`] would change anything.
    pub(super) fn has_effect(&self, options: &SamplerOptions) -> bool {
        let neutral = options.repetition_penalty == 1.0
            && options.frequency_penalty == 0.0
            && options.presence_penalty == 0.0;
        !neutral && !self.tokens.is_empty()
    }

    /// Lowers the logits (`[vocabulary]`) of the tokens in the window.
    pub(super) fn penalize(&self, logits: &mut [f32], options: &SamplerOptions) {
        for (&token, &count) in &self.counts {
            if let Some(logit) = logits.get_mut(token as usize) {
                *logit = penalized(*logit, count, options);
            }
        }
    }

    fn forget_oldest(&mut self) {
        let Some(token) = self.tokens.pop_front() else { return };
        if let Some(count) = self.counts.get_mut(&token) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&token);
            }
        }
    }
}

/// The logit of a token that is in the window `count` times.
fn penalized(logit: f32, count: u32, options: &SamplerOptions) -> f32 {
    // Dividing a negative logit would make the token more likely.
    let repeated =
        if logit > 0.0 { logit / options.repetition_penalty } else { logit * options.repetition_penalty };
    repeated - (count as f32 * options.frequency_penalty + options.presence_penalty)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(tokens: &[u32], window: usize) -> History {
        let mut history = History::default();
        for &token in tokens {
            history.push(token, window);
        }
        history
    }

    fn apply(history: &History, options: &SamplerOptions) -> Vec<f32> {
        let mut logits = vec![4.0, -4.0, 0.0, 2.0];
        history.penalize(&mut logits, options);
        logits
    }

    #[test]
    fn repetition_divides_positive_and_multiplies_negative_logits() {
        let options = SamplerOptions { repetition_penalty: 2.0, ..SamplerOptions::default() };
        // However often a token occurs; token 9 is outside the vocabulary.
        assert_eq!(apply(&history(&[0, 1, 1, 2, 9], 64), &options), [2.0, -8.0, 0.0, 2.0]);
    }

    #[test]
    fn frequency_counts_and_presence_does_not() {
        let options =
            SamplerOptions { frequency_penalty: 0.5, presence_penalty: 0.25, ..SamplerOptions::default() };
        // Token 0 three times: 4 - (3 * 0.5 + 0.25); token 3 once: 2 - (0.5 + 0.25).
        assert_eq!(apply(&history(&[0, 3, 0, 0], 64), &options), [2.25, -4.0, 0.0, 1.25]);
    }

    #[test]
    fn all_three_together() {
        let options = SamplerOptions {
            repetition_penalty: 2.0,
            frequency_penalty: 0.5,
            presence_penalty: 0.25,
            ..SamplerOptions::default()
        };
        // -4 * 2 - (2 * 0.5 + 0.25)
        assert_eq!(apply(&history(&[1, 1], 64), &options), [4.0, -9.25, 0.0, 2.0]);
    }

    #[test]
    fn window_forgets_the_oldest() {
        let options = SamplerOptions { frequency_penalty: 1.0, ..SamplerOptions::default() };
        // Of 0 0 1 3 the window holds 0 1 3.
        let short = history(&[0, 0, 1, 3], 3);
        assert_eq!(apply(&short, &options), [3.0, -5.0, 0.0, 1.0]);
        assert_eq!((short.tokens.len(), short.counts.len()), (3, 3));
        // Nothing of a forgotten token stays behind.
        let repeated = history(&[0, 1, 2, 2, 2, 2], 3);
        assert_eq!(repeated.counts, HashMap::from([(2, 3)]));
    }

    #[test]
    fn no_window_no_effect() {
        let options = SamplerOptions { presence_penalty: 1.0, ..SamplerOptions::default() };
        assert!(!history(&[0, 1], 0).has_effect(&options));
        assert!(history(&[0, 1], 1).has_effect(&options));
        assert!(!history(&[0, 1], 64).has_effect(&SamplerOptions::default()));
    }
}
