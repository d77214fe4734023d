//! The filters that look at probabilities: typical, top-p and min-p. Each keeps at least one candidate.

use std::cmp::Ordering;

use super::SamplerOptions;
use super::candidates::{Candidate, max_logit, total_weight, weigh};
use super::math::ln;

/// Applies the filters that are on, in their order, to the probabilities at temperature 1. Leaves the
/// weights in any state.
pub(super) fn apply(candidates: &mut Vec<Candidate>, options: &SamplerOptions) {
    if options.typical_p < 1.0 || options.top_p < 1.0 || options.min_p > 0.0 {
        weigh(candidates, 1.0);
        typical(candidates, options.typical_p);
        top_p(candidates, options.top_p);
        min_p(candidates, options.min_p);
    }
}

/// Keeps the most probable candidates that together reach the probability `p`.
fn top_p(candidates: &mut Vec<Candidate>, p: f32) {
    if p < 1.0 {
        keep_share(candidates, p, Candidate::by_logit);
    }
}

/// Keeps the candidates at least `p` times as probable as the most probable one.
fn min_p(candidates: &mut Vec<Candidate>, p: f32) {
    let max = candidates.iter().fold(0.0, |max: f64, candidate| max.max(candidate.weight));
    if p > 0.0 {
        candidates.retain(|candidate| candidate.weight >= f64::from(p) * max);
    }
}

/// Keeps the candidates whose surprise, -ln(probability), is nearest to its expectation, the entropy, and
/// that together reach the probability `p`.
fn typical(candidates: &mut Vec<Candidate>, p: f32) {
    if p >= 1.0 || candidates.is_empty() {
        return;
    }
    let total = total_weight(candidates);
    let log_total = max_logit(candidates) + ln(total);
    let surprise = |candidate: &Candidate| log_total - f64::from(candidate.logit);
    let entropy =
        candidates.iter().map(|candidate| candidate.weight * surprise(candidate)).sum::<f64>() / total;
    let oddness = |candidate: &Candidate| (surprise(candidate) - entropy).abs();
    keep_share(candidates, p, |a, b| oddness(a).total_cmp(&oddness(b)).then(a.id.cmp(&b.id)));
}

/// Sorts by `order` and keeps the shortest beginning that has at least the share `p` of the total weight.
///
/// That beginning is mostly a few dozen of many thousands, so the front is selected and sorted in growing
/// portions until the share is reached.
fn keep_share(candidates: &mut Vec<Candidate>, p: f32, order: impl Fn(&Candidate, &Candidate) -> Ordering) {
    let wanted = f64::from(p) * total_weight(candidates);
    let mut reached = 0.0;
    let (mut start, mut portion) = (0, 128);
    while start < candidates.len() {
        let rest = &mut candidates[start..];
        if portion < rest.len() {
            rest.select_nth_unstable_by(portion, &order);
        }
        let end = rest.len().min(portion);
        rest[..end].sort_unstable_by(&order);
        for (index, candidate) in rest[..end].iter().enumerate() {
            reached += candidate.weight;
            if reached >= wanted {
                candidates.truncate(start + index + 1);
                return;
            }
        }
        start += end;
        portion *= 4;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use crate::sampler::candidates::top_k;

    /// Candidates with these probabilities, exactly; ids count from 0.
    fn with(probabilities: &[f64]) -> Vec<Candidate> {
        let candidate = |(id, &p): (u32, &f64)| Candidate { id, logit: p.ln() as f32, weight: p };
        (0..).zip(probabilities).map(candidate).collect()
    }

    fn ids(candidates: &[Candidate]) -> Vec<u32> {
        candidates.iter().map(|candidate| candidate.id).collect()
    }

    type Filter = fn(&mut Vec<Candidate>, f32);

    fn expect(filter: Filter, probabilities: &[f64], p: f32, kept: &[u32]) {
        let mut candidates = with(probabilities);
        filter(&mut candidates, p);
        assert_eq!(ids(&candidates), kept, "p = {p}");
    }

    const HALVES: [f64; 5] = [0.125, 0.5, 0.0625, 0.25, 0.0625];

    #[test]
    fn top_p_stops_as_soon_as_the_share_is_reached() {
        for (p, kept) in [
            (0.0, &[1][..]),
            (0.5, &[1]),
            (0.51, &[1, 3]),
            (0.75, &[1, 3]),
            (0.76, &[1, 3, 0]),
            (0.9, &[1, 3, 0, 2]),
            (0.99, &[1, 3, 0, 2, 4]),
        ] {
            expect(top_p, &HALVES, p, kept);
        }
        expect(top_p, &HALVES, 1.0, &[0, 1, 2, 3, 4]);
    }

    #[test]
    fn top_p_looks_at_what_earlier_filters_left() {
        // 0.25 and 0.125 alone are 2/3 and 1/3.
        expect(top_p, &[0.25, 0.125], 0.66, &[0]);
        expect(top_p, &[0.25, 0.125], 0.67, &[0, 1]);
    }

    #[test]
    fn min_p_compares_with_the_most_probable() {
        // Limits: 0.5 * p.
        for (p, kept) in [
            (0.0, &[0, 1, 2, 3, 4][..]),
            (0.125, &[0, 1, 2, 3, 4]),
            (0.126, &[0, 1, 3]),
            (0.5, &[1, 3]),
            (0.51, &[1]),
            (1.0, &[1]),
        ] {
            expect(min_p, &HALVES, p, kept);
        }
    }

    #[test]
    fn typical_prefers_the_expected_surprise() {
        // In bits: the entropy of 1/2 1/4 1/8 1/16 1/16 is 1.875, so token 3 (2 bits, off by 0.125) is the
        // most typical, then 1 (1 bit, 0.875), 0 (3 bits, 1.125), then 2 and 4 (4 bits, 2.125).
        for (p, kept) in [
            (0.0, &[3][..]),
            (0.25, &[3]),
            (0.26, &[3, 1]),
            (0.75, &[3, 1]),
            (0.8, &[3, 1, 0]),
            (0.9, &[3, 1, 0, 2]),
        ] {
            expect(typical, &HALVES, p, kept);
        }
        expect(typical, &HALVES, 1.0, &[0, 1, 2, 3, 4]);
    }

    #[test]
    fn no_candidates_stay_none() {
        for filter in [top_p as Filter, min_p, typical] {
            expect(filter, &[], 0.5, &[]);
        }
    }

    #[test]
    fn sorting_in_portions_agrees_with_a_full_sort() {
        let mut rng = Rng::new(9);
        let logits: Vec<f32> = (0..5000).map(|_| rng.next_f64() as f32 * 8.0).collect();
        let mut all = Vec::new();
        top_k(&logits, 0, &mut all);
        weigh(&mut all, 1.0);
        let total = total_weight(&all);
        let mut sorted = all.clone();
        sorted.sort_by(Candidate::by_logit);
        for p in [0.01, 0.1, 0.3, 0.6, 0.95, 0.9999] {
            let mut candidates = all.clone();
            top_p(&mut candidates, p);
            let n = candidates.len();
            assert_eq!(candidates, sorted[..n]);
            let share = |n: usize| total_weight(&sorted[..n]) / total;
            assert!(share(n - 1) < f64::from(p) && f64::from(p) <= share(n), "{n} kept for {p}");
        }
    }
}
