//! Mirostat version 2: sampling with a limit on surprise, steered towards a target.

use std::f64::consts::LN_2;

use super::Mirostat;
use super::candidates::{Candidate, draw, total_weight, weigh};
use super::math::{exp, ln};

/// The feedback loop.
#[derive(Clone, Debug)]
pub(super) struct MirostatState {
    settings: Mirostat,
    /// The current limit in bits: candidates with more surprise than this are cut off.
    limit: f64,
}

impl MirostatState {
    /// The loop before the first token; the limit starts at twice the target.
    pub(super) fn new(settings: Mirostat) -> Self {
        Self { settings, limit: 2.0 * f64::from(settings.tau) }
    }

    /// Picks one of the candidates (at least one) and moves the limit.
    ///
    /// The surprise that is fed back is the one within the cut and renormalized distribution, the usual
    /// convention among inference engines, for which the customary values of `tau` and `eta` hold.
    pub(super) fn sample(&mut self, candidates: &mut Vec<Candidate>, temperature: f32, point: f64) -> u32 {
        weigh(candidates, temperature);
        cut(candidates, self.limit);
        let chosen = draw(candidates, point);
        let surprise = (ln(total_weight(candidates)) - ln(chosen.weight)) / LN_2;
        self.limit -= f64::from(self.settings.eta) * (surprise - f64::from(self.settings.tau));
        chosen.id
    }
}

/// Removes the candidates with a surprise of more than `limit` bits; if that is all, the most probable stays.
fn cut(candidates: &mut Vec<Candidate>, limit: f64) {
    let least = exp((-limit * LN_2).min(0.0)) * total_weight(candidates);
    let best = candidates.iter().copied().min_by(Candidate::by_logit);
    candidates.retain(|candidate| candidate.weight >= least);
    if candidates.is_empty() {
        candidates.extend(best);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use crate::sampler::candidates::top_k;

    fn candidates(logits: &[f32]) -> Vec<Candidate> {
        let mut candidates = Vec::new();
        top_k(logits, 0, &mut candidates);
        candidates
    }

    fn kept(limit: f64) -> Vec<u32> {
        // Surprises of 3, 1, 2 and 3 bits.
        let mut all = candidates(&[0.125f32.ln(), 0.5f32.ln(), 0.25f32.ln(), 0.125f32.ln()]);
        weigh(&mut all, 1.0);
        cut(&mut all, limit);
        all.iter().map(|candidate| candidate.id).collect()
    }

    #[test]
    fn cuts_by_bits_of_surprise() {
        assert_eq!(kept(3.01), [0, 1, 2, 3]);
        assert_eq!(kept(2.99), [1, 2]);
        assert_eq!(kept(1.5), [1]);
        assert_eq!(kept(0.5), [1]);
        assert_eq!(kept(-4.0), [1]);
    }

    #[test]
    fn limit_moves_by_the_error() {
        let mut state = MirostatState::new(Mirostat { tau: 3.0, eta: 0.5 });
        assert_eq!(state.limit, 6.0);
        // Two equally probable tokens: 1 bit of surprise, 2 less than wanted.
        let id = state.sample(&mut candidates(&[0.0, 0.0]), 1.0, 0.6);
        assert_eq!(id, 1);
        assert!((state.limit - (6.0 - 0.5 * (1.0 - 3.0))).abs() < 1e-12, "{}", state.limit);
    }

    #[test]
    fn surprise_settles_at_the_target() {
        // Zipf-like: p(i) proportional to 1 / (i + 1), about 9 bits of entropy over 10 000 tokens.
        let logits: Vec<f32> = (0..10_000).map(|i| -((i + 1) as f32).ln()).collect();
        for tau in [2.0, 4.0, 6.0] {
            let mut state = MirostatState::new(Mirostat { tau, eta: 0.1 });
            let mut rng = Rng::new(1);
            let (mut sum, mut scratch) = (0.0, Vec::new());
            let (warm_up, steps) = (200, 1000);
            for step in 0..warm_up + steps {
                top_k(&logits, 0, &mut scratch);
                let before = state.limit;
                state.sample(&mut scratch, 1.0, rng.next_f64());
                let surprise = f64::from(tau) + (before - state.limit) / f64::from(0.1f32);
                sum += if step < warm_up { 0.0 } else { surprise };
            }
            let mean = sum / f64::from(steps);
            assert!((mean - f64::from(tau)).abs() < 0.1, "mean surprise {mean} for a target of {tau}");
        }
    }
}
