//! The tokens that are still in the running, their weights, and the draw among them.
//!
//! Their order is always fully determined (by id, or by the key of the stage that sorted last with the id
//! deciding ties), because the order decides which token a random number falls on.

use std::cmp::Ordering;

use super::math::exp;

/// A token that may be chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Candidate {
    pub(super) id: u32,
    /// Finite, and not negative zero.
    pub(super) logit: f32,
    /// Probability up to a factor common to all candidates; 0 until [`weigh`].
    pub(super) weight: f64,
}

impl Candidate {
    fn new(id: usize, logit: f32) -> Self {
        // The sum turns -0 into 0, so that the total order used for sorting sees the two as equal.
        Self { id: id as u32, logit: logit.min(f32::MAX) + 0.0, weight: 0.0 }
    }

    /// Most probable first, lower id first among equals.
    pub(super) fn by_logit(&self, other: &Self) -> Ordering {
        other.logit.total_cmp(&self.logit).then(self.id.cmp(&other.id))
    }
}

/// Puts the tokens with the `k` highest logits into `out`, most probable first; with `k` 0, all tokens in
/// order of id. NaN and negative infinity cannot be chosen and never become candidates.
pub(super) fn top_k(
    logits: &[f32], // [vocabulary]
    k: usize,
    out: &mut Vec<Candidate>,
) {
    /// Logits compared at a time: nearly all blocks hold nothing of interest, and one vector loop shows it.
    const BLOCK: usize = 64;

    out.clear();
    let sorted = k != 0;
    let k = if sorted { k.min(logits.len()) } else { logits.len() };
    // Once `out` has twice the wanted number it is cut back to it, and the lowest logit that survived is the
    // one to beat. Comparisons are strict: an equal logit further on has a higher id and loses anyway.
    let mut floor = f32::NEG_INFINITY;
    for (block, values) in logits.chunks(BLOCK).enumerate() {
        if !values.iter().fold(false, |any, &logit| any | (logit > floor)) {
            continue;
        }
        for (offset, &logit) in values.iter().enumerate() {
            if logit > floor {
                out.push(Candidate::new(block * BLOCK + offset, logit));
                if out.len() == 2 * k {
                    out.select_nth_unstable_by(k - 1, Candidate::by_logit);
                    out.truncate(k);
                    floor = out[k - 1].logit;
                }
            }
        }
    }
    if sorted {
        out.sort_unstable_by(Candidate::by_logit);
        out.truncate(k);
    }
}

/// Sets the weights to softmax(logit / temperature), up to a factor that makes the largest weight 1.
/// `temperature` is positive. The factor is chosen anew each time, so that at least one weight is not 0
/// however low the temperature and whatever was removed before.
pub(super) fn weigh(candidates: &mut [Candidate], temperature: f32) {
    let max = max_logit(candidates);
    for candidate in candidates {
        candidate.weight = exp((f64::from(candidate.logit) - max) / f64::from(temperature));
    }
}

/// The highest logit; negative infinity if there is no candidate.
pub(super) fn max_logit(candidates: &[Candidate]) -> f64 {
    f64::from(candidates.iter().fold(f32::NEG_INFINITY, |max, candidate| max.max(candidate.logit)))
}

pub(super) fn total_weight(candidates: &[Candidate]) -> f64 {
    candidates.iter().map(|candidate| candidate.weight).sum()
}

/// Picks a candidate with a probability proportional to its weight: the one on whose stretch of the line
/// `point`, in `[0, 1)`, falls. At least one weight is positive.
pub(super) fn draw(candidates: &[Candidate], point: f64) -> Candidate {
    let mut rest = point * total_weight(candidates);
    let mut chosen = candidates[0];
    // Rounding may let `rest` outlast every stretch; then it is the last one that is not empty.
    for candidate in candidates.iter().filter(|candidate| candidate.weight > 0.0) {
        chosen = *candidate;
        rest -= candidate.weight;
        if rest < 0.0 {
            break;
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    fn ids(candidates: &[Candidate]) -> Vec<u32> {
        candidates.iter().map(|candidate| candidate.id).collect()
    }

    fn top(logits: &[f32], k: usize) -> Vec<u32> {
        let mut out = Vec::new();
        top_k(logits, k, &mut out);
        ids(&out)
    }

    #[test]
    fn top_k_sorts_and_prefers_low_ids() {
        let logits = [1.0, 3.0, 2.0, 3.0, 0.0];
        assert_eq!(top(&logits, 1), [1]);
        assert_eq!(top(&logits, 3), [1, 3, 2]);
        assert_eq!(top(&logits, 4), [1, 3, 2, 0]);
        assert_eq!(top(&logits, usize::MAX), [1, 3, 2, 0, 4]);
        assert_eq!(top(&logits, 0), [0, 1, 2, 3, 4]);
        assert_eq!(top(&[-0.0, 0.0], 1), [0]);
        assert_eq!(top(&[], 3), [0u32; 0]);
    }

    #[test]
    fn impossible_tokens_are_left_out_and_infinity_is_finite() {
        let logits = [f32::NAN, f32::NEG_INFINITY, -1.0, f32::INFINITY];
        assert_eq!(top(&logits, 0), [2, 3]);
        assert_eq!(top(&logits, 4), [3, 2]);
        let mut out = Vec::new();
        top_k(&logits, 1, &mut out);
        assert_eq!(out[0].logit, f32::MAX);
    }

    #[test]
    fn top_k_agrees_with_a_full_sort() {
        let mut rng = Rng::new(5);
        for case in 0..300 {
            // Few distinct values: many ties, also across the border.
            let logits: Vec<f32> = (0..case * 3).map(|_| (rng.next_u64() % 50) as f32 - 25.0).collect();
            let mut sorted: Vec<u32> = (0..logits.len() as u32).collect();
            sorted.sort_by(|&a, &b| logits[b as usize].total_cmp(&logits[a as usize]).then(a.cmp(&b)));
            for k in [1, 2, 7, 40, 500] {
                assert_eq!(top(&logits, k), sorted[..k.min(logits.len())], "{k} of {logits:?}");
            }
        }
    }

    #[test]
    fn weights_are_the_softmax() {
        let ln2 = std::f32::consts::LN_2;
        let mut candidates = Vec::new();
        top_k(&[5.0 - ln2, 5.0, 5.0 - 2.0 * ln2], 0, &mut candidates);
        let close = |candidates: &[Candidate], expected: [f64; 3]| {
            for (candidate, weight) in candidates.iter().zip(expected) {
                assert!((candidate.weight - weight).abs() < 1e-6, "{candidates:?}");
            }
        };
        weigh(&mut candidates, 1.0);
        close(&candidates, [0.5, 1.0, 0.25]);
        weigh(&mut candidates, 0.5);
        close(&candidates, [0.25, 1.0, 0.0625]);
        weigh(&mut candidates, 2.0);
        close(&candidates, [0.5f64.sqrt(), 1.0, 0.5]);
    }

    #[test]
    fn extreme_logits_and_temperatures_stay_finite() {
        let mut candidates = Vec::new();
        top_k(&[f32::INFINITY, f32::MAX, -f32::MAX], 0, &mut candidates);
        for temperature in [f32::from_bits(1), 1.0, f32::MAX] {
            weigh(&mut candidates, temperature);
            assert_eq!((candidates[0].weight, candidates[1].weight), (1.0, 1.0));
            assert!((0.0..=1.0).contains(&candidates[2].weight));
        }
    }

    #[test]
    fn draw_walks_the_stretches() {
        let weights = [0.0, 2.0, 0.0, 1.0, 1.0, 0.0];
        let candidates: Vec<Candidate> =
            (0..).zip(weights).map(|(id, weight)| Candidate { id, logit: 0.0, weight }).collect();
        for (point, id) in
            [(0.0, 1), (0.49, 1), (0.5, 3), (0.74, 3), (0.75, 4), (1.0 - f64::EPSILON / 2.0, 4)]
        {
            assert_eq!(draw(&candidates, point).id, id, "{point}");
        }
        // What rounding could make of a point just below 1.
        assert_eq!(draw(&candidates, 1.0).id, 4);
    }
}
