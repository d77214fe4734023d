//! What logits say of the token that came next.

use std::num::NonZeroUsize;
use std::thread;

/// One prediction.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// `-ln p(next)`, in nats.
    pub loss: f64,
    /// Against the original, if there is one.
    pub against: Option<Against>,
}

/// A prediction and the original's.
#[derive(Clone, Debug, PartialEq)]
pub struct Against {
    /// The original's loss, in nats.
    pub loss: f64,
    /// `sum p ln(p / q)`: p the original's distribution, q the model's, in nats.
    pub divergence: f64,
    /// Whether both find the same token the likeliest.
    pub same_top: bool,
}

/// Scores `[rows, vocab]` logits and the original's, if given, for `[rows]` next tokens, on
/// all processors.
pub fn rows(logits: &[f32], original: Option<&[f32]>, next: &[u32]) -> Vec<Prediction> {
    let vocab = logits.len() / next.len();
    let row = |i: usize| {
        let here = i * vocab..(i + 1) * vocab;
        one(&logits[here.clone()], original.map(|logits| &logits[here]), next[i] as usize)
    };
    let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get).min(next.len());
    let share = next.len().div_ceil(threads);
    thread::scope(|scope| {
        let work = |t: usize| t * share..((t + 1) * share).min(next.len());
        let threads: Vec<_> =
            (0..threads).map(|t| scope.spawn(move || work(t).map(row).collect::<Vec<_>>())).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("arithmetic does not panic")).collect()
    })
}

fn one(logits: &[f32], original: Option<&[f32]>, next: usize) -> Prediction {
    let (_, log_total) = normalizer(logits);
    let loss = log_total - f64::from(logits[next]);
    let against = original.map(|original| {
        let (_, their_total) = normalizer(original);
        let mut divergence = 0.0;
        for (&theirs, &ours) in original.iter().zip(logits) {
            let (ln_p, ln_q) = (f64::from(theirs) - their_total, f64::from(ours) - log_total);
            let p = ln_p.exp();
            // A masked token is impossible, and adds nothing.
            if p > 0.0 {
                divergence += p * (ln_p - ln_q);
            }
        }
        Against {
            loss: their_total - f64::from(original[next]),
            divergence: divergence.max(0.0),
            same_top: normalizer(logits).0 == normalizer(original).0,
        }
    });
    Prediction { loss, against }
}

/// The index of the largest logit, the lowest one of several, and the logarithm of the
/// sum of all exponentials.
fn normalizer(logits: &[f32]) -> (usize, f64) {
    let largest = |(a, max), (i, &x): (usize, &f32)| if x > max { (i, x) } else { (a, max) };
    let (top, max) = logits.iter().enumerate().fold((0, f32::NEG_INFINITY), largest);
    let total: f64 = logits.iter().map(|&x| f64::from(x - max).exp()).sum();
    (top, f64::from(max) + total.ln())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        // p = 1/2, 1/4, 1/4 and q = 1/4, 1/4, 1/2, whatever is added to the logits.
        let (p, q) = ([2f32.ln() + 30.0, 30.0, 30.0], [-50.0, -50.0, 2f32.ln() - 50.0]);
        let [first, second]: [Prediction; 2] =
            rows(&[q, p].concat(), Some(&[p, p].concat()), &[0, 1]).try_into().unwrap();
        let near = |a: f64, b: f64| (a - b).abs() < 1e-5;
        let against = first.against.unwrap();
        assert!(near(first.loss, 4f64.ln()) && near(against.loss, 2f64.ln()));
        assert!(near(against.divergence, 0.25 * 2f64.ln()), "{}", against.divergence);
        assert!(!against.same_top);
        let against = second.against.unwrap();
        assert!(near(second.loss, 4f64.ln()) && against.divergence == 0.0 && against.same_top);
    }

    #[test]
    fn impossible_tokens() {
        let masked = [0.0, f32::NEG_INFINITY];
        let same = rows(&masked, Some(&masked), &[0]).remove(0);
        assert_eq!((same.loss, same.against.unwrap().divergence), (0.0, 0.0));
        assert_eq!(rows(&masked, None, &[1])[0].loss, f64::INFINITY);
        assert!(rows(&[f32::NAN, 1.0], None, &[1])[0].loss.is_nan());
    }

    #[test]
    fn order_is_kept_by_threads() {
        let logits: Vec<f32> = (0..100).flat_map(|i| [0.0, i as f32]).collect();
        let losses: Vec<f64> = rows(&logits, None, &[0; 100]).into_iter().map(|p| p.loss).collect();
        assert!(losses.is_sorted() && losses[0] < losses[99]);
    }
}
