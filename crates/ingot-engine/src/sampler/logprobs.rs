//! Log-probabilities of the model's own distribution, for reports to the user.

use super::candidates::top_k;
use super::math::{exp, ln};

/// Natural log-probabilities under the softmax of the raw logits: that of `token`, and the `top_n` most
/// probable tokens with theirs, most probable first and lower ids first among equals.
///
/// Biases, penalties and temperature play no part. NaN counts as impossible; a token that is impossible or
/// outside the vocabulary has negative infinity and is never among the most probable, of which there can
/// therefore be fewer than `top_n`.
pub fn logprobs(
    logits: &[f32], // [vocabulary]
    token: u32,
    top_n: usize,
) -> (f32, Vec<(u32, f32)>) {
    let mut top = Vec::new();
    // At least one: the highest logit is needed in any case.
    top_k(logits, top_n.max(1), &mut top);
    let Some(best) = top.first() else {
        return (f32::NEG_INFINITY, Vec::new());
    };
    let normalizer = log_sum_exp(logits, usable(best.logit));
    let logprob = |logit: f32| (usable(logit) - normalizer) as f32;
    let of_token = logits.get(token as usize).map_or(f32::NEG_INFINITY, |&logit| logprob(logit));
    (of_token, top.iter().take(top_n).map(|candidate| (candidate.id, logprob(candidate.logit))).collect())
}

/// ln(sum of e^logit), where `max` is the highest logit.
fn log_sum_exp(logits: &[f32], max: f64) -> f64 {
    /// Partial sums side by side: one alone would make every addition wait for the one before.
    const LANES: usize = 8;

    let term = |&logit: &f32| exp(usable(logit) - max);
    let mut sums = [0.0; LANES];
    let (blocks, rest) = logits.as_chunks::<LANES>();
    for block in blocks {
        for (sum, logit) in sums.iter_mut().zip(block) {
            *sum += term(logit);
        }
    }
    max + ln(sums.iter().sum::<f64>() + rest.iter().map(term).sum::<f64>())
}

/// The logit as it counts: NaN is impossible, and infinity is the largest finite number.
fn usable(logit: f32) -> f64 {
    f64::from(if logit.is_nan() { f32::NEG_INFINITY } else { logit.min(f32::MAX) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const IMPOSSIBLE: f32 = f32::NEG_INFINITY;

    #[test]
    fn are_the_logarithms_of_the_softmax() {
        // Probabilities 1/4, 1/2, 1/8, 1/8 and a common factor of e^3.
        let logits = [0.25f32.ln() + 3.0, 0.5f32.ln() + 3.0, 0.125f32.ln() + 3.0, 0.125f32.ln() + 3.0];
        let (token, top) = logprobs(&logits, 2, 3);
        assert!((token - 0.125f32.ln()).abs() < 1e-6);
        let expected = [(1, 0.5f32.ln()), (0, 0.25f32.ln()), (2, 0.125f32.ln())];
        assert_eq!(top.len(), expected.len());
        for (got, want) in top.iter().zip(expected) {
            assert!(got.0 == want.0 && (got.1 - want.1).abs() < 1e-6, "{top:?}");
        }
        assert_eq!(logprobs(&logits, 2, 0), (token, vec![]));
    }

    #[test]
    fn impossible_tokens_have_negative_infinity() {
        let logits = [f32::NAN, IMPOSSIBLE, 2.0];
        assert_eq!(logprobs(&logits, 0, 5), (IMPOSSIBLE, vec![(2, 0.0)]));
        assert_eq!(logprobs(&logits, 1, 5).0, IMPOSSIBLE);
        assert_eq!(logprobs(&logits, 2, 5).0, 0.0);
        assert_eq!(logprobs(&logits, 3, 5).0, IMPOSSIBLE);
        assert_eq!(logprobs(&logits[..2], 1, 5), (IMPOSSIBLE, vec![]));
        assert_eq!(logprobs(&[], 0, 5), (IMPOSSIBLE, vec![]));
    }

    #[test]
    fn every_token_of_any_vocabulary_size_counts() {
        for n in 1..40 {
            let expected = -(n as f32).ln();
            let (last, _) = logprobs(&vec![1.5; n], n as u32 - 1, 0);
            assert!((last - expected).abs() < 1e-6, "{last}, not {expected}, among {n} equals");
        }
    }

    #[test]
    fn infinite_logits_give_numbers() {
        assert_eq!(logprobs(&[f32::INFINITY, 0.0], 0, 1), (0.0, vec![(0, 0.0)]));
    }
}
