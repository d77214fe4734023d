//! The whole chain: what the stages give together, and how their results are distributed.

use super::*;

/// Everything off: a plain draw from the softmax.
fn plain() -> SamplerOptions {
    SamplerOptions {
        temperature: 1.0,
        top_k: 0,
        top_p: 1.0,
        min_p: 0.0,
        seed: 42,
        ..SamplerOptions::default()
    }
}

fn greedy(change: impl Fn(&mut SamplerOptions)) -> Sampler {
    let mut options = SamplerOptions::greedy();
    change(&mut options);
    Sampler::new(options).unwrap()
}

/// Logits of the probabilities 1/2, 1/4, 1/8, 1/16, 1/16.
fn halves() -> [f32; 5] {
    [0.5f32, 0.25, 0.125, 0.0625, 0.0625].map(f32::ln)
}

/// Draws 100 000 tokens and compares how often each came with its probability, within 4 standard deviations.
fn expect_distribution(options: SamplerOptions, logits: &[f32], probabilities: &[f64]) {
    let draws = 100_000;
    let mut counts = vec![0u32; logits.len()];
    let mut sampler = Sampler::new(options).unwrap();
    for _ in 0..draws {
        counts[sampler.sample(logits) as usize] += 1;
    }
    for (token, (&count, &p)) in counts.iter().zip(probabilities).enumerate() {
        let deviation = (f64::from(count) - f64::from(draws) * p).abs();
        let sigma = (f64::from(draws) * p * (1.0 - p)).sqrt();
        assert!(deviation <= 4.0 * sigma, "token {token}: {count} of {draws}, probability {p}");
    }
}

#[test]
fn plain_draws_follow_the_softmax() {
    expect_distribution(plain(), &halves(), &[0.5, 0.25, 0.125, 0.0625, 0.0625]);
}

#[test]
fn temperature_sharpens() {
    // Squares of the probabilities, divided by their sum 86 / 256.
    let options = SamplerOptions { temperature: 0.5, ..plain() };
    expect_distribution(options, &halves(), &[64.0, 16.0, 4.0, 1.0, 1.0].map(|square| square / 86.0));
}

#[test]
fn filters_renormalize() {
    let top_two = [2.0 / 3.0, 1.0 / 3.0, 0.0, 0.0, 0.0];
    for options in [
        SamplerOptions { top_k: 2, ..plain() },
        SamplerOptions { top_p: 0.7, ..plain() },
        SamplerOptions { min_p: 0.4, ..plain() },
        // The entropy is 1.875 bits; nearest to it are token 1 (2 bits) and then token 0 (1 bit).
        SamplerOptions { typical_p: 0.7, ..plain() },
    ] {
        expect_distribution(options, &halves(), &top_two);
    }
}

#[test]
fn filters_come_before_the_temperature() {
    // At temperature 2 the first token has 0.34, but top-p sees the 0.5 of temperature 1.
    let options = SamplerOptions { temperature: 2.0, top_p: 0.49, ..plain() };
    expect_distribution(options, &halves(), &[1.0, 0.0, 0.0, 0.0, 0.0]);
}

#[test]
fn penalties_come_before_the_filters() {
    let options = SamplerOptions { top_k: 1, presence_penalty: 10.0, ..plain() };
    let mut sampler = Sampler::new(options).unwrap();
    let tokens: Vec<u32> = (0..3)
        .map(|_| {
            let token = sampler.sample(&halves());
            sampler.accept(token);
            token
        })
        .collect();
    assert_eq!(tokens, [0, 1, 2]);
}

#[test]
fn greedy_takes_the_lowest_of_equal_ids() {
    let mut sampler = greedy(|_| ());
    assert_eq!(sampler.sample(&[1.0, 7.0, 7.0, 0.0]), 1);
    assert_eq!(sampler.sample(&[f32::NAN, -7.0, f32::NAN, f32::NEG_INFINITY]), 1);
    assert_eq!(sampler.sample(&[0.0, f32::INFINITY]), 1);
}

#[test]
fn bias_bans_and_forces() {
    let logits = [5.0, 4.0, 3.0];
    let ban = |o: &mut SamplerOptions| o.logit_bias = vec![(0, f32::NEG_INFINITY), (77, 1.0)];
    assert_eq!(greedy(ban).sample(&logits), 1);
    assert_eq!(greedy(|o| o.logit_bias = vec![(2, 100.0)]).sample(&logits), 2);
    assert_eq!(greedy(|o| o.logit_bias = vec![(2, 1.5), (2, 1.0)]).sample(&logits), 2);

    let banned = SamplerOptions { logit_bias: vec![(0, f32::NEG_INFINITY)], ..plain() };
    expect_distribution(banned, &halves(), &[0.0, 0.5, 0.25, 0.125, 0.125]);
    let forced = SamplerOptions { logit_bias: vec![(3, 100.0)], ..plain() };
    expect_distribution(forced, &halves(), &[0.0, 0.0, 0.0, 1.0, 0.0]);
}

#[test]
fn impossible_logits_are_never_drawn() {
    let logits = [f32::NAN, 0.0, f32::NEG_INFINITY, 0.0, f32::NAN];
    expect_distribution(plain(), &logits, &[0.0, 0.5, 0.0, 0.5, 0.0]);
}

#[test]
fn nothing_to_choose_from_has_a_defined_result() {
    let mirostat = Some(Mirostat { tau: 5.0, eta: 0.1 });
    for options in [plain(), SamplerOptions::greedy(), SamplerOptions { mirostat, ..plain() }] {
        let mut sampler = Sampler::new(options).unwrap();
        assert_eq!(sampler.sample(&[f32::NAN, f32::NEG_INFINITY, f32::NEG_INFINITY]), 1);
        assert_eq!(sampler.sample(&[f32::NAN; 3]), 0);
        assert_eq!(sampler.sample(&[]), 0);
    }
}

#[test]
fn extreme_logits_and_temperatures_are_survived() {
    let logits = [f32::MAX, -f32::MAX, f32::INFINITY, 0.0];
    for temperature in [f32::from_bits(1), 1.0, f32::MAX] {
        for typical_p in [0.0, 1.0] {
            let mut sampler = Sampler::new(SamplerOptions { temperature, typical_p, ..plain() }).unwrap();
            assert!(sampler.sample(&logits) < 4);
        }
    }
}

#[test]
fn temperature_is_relative_to_what_the_filters_left() {
    // Entropy 2.17 bits: the surprise of 0.15 (2.74 bits) is nearer to it than that of 0.4 (1.32 bits), so
    // the typical filter removes the most probable token. Measured against it, the others would have e^-980
    // each.
    let logits = [0.4f32, 0.15, 0.15, 0.15, 0.15].map(f32::ln);
    let options = SamplerOptions { typical_p: 0.59, temperature: 0.001, ..plain() };
    expect_distribution(options, &logits, &[0.0, 0.25, 0.25, 0.25, 0.25]);
}

/// 24 tokens with the history they make, over made-up logits.
fn tokens(sampler: &mut Sampler) -> Vec<u32> {
    let mut source = Rng::new(100);
    (0..24)
        .map(|_| {
            let logits: Vec<f32> = (0..2000).map(|_| source.next_f64() as f32 * 12.0).collect();
            let token = sampler.sample(&logits);
            sampler.accept(token);
            token
        })
        .collect()
}

#[test]
fn seed_and_reset_reproduce_the_tokens() {
    for mirostat in [None, Some(Mirostat { tau: 5.0, eta: 0.1 })] {
        let with_seed = |seed| {
            let options =
                SamplerOptions { seed, mirostat, frequency_penalty: 0.5, ..SamplerOptions::default() };
            Sampler::new(options).unwrap()
        };
        let mut sampler = with_seed(1);
        let first = tokens(&mut sampler);
        assert_ne!(first, tokens(&mut sampler));
        sampler.reset();
        assert_eq!(first, tokens(&mut sampler));
        assert_eq!(first, tokens(&mut with_seed(1)));
        assert_ne!(first, tokens(&mut with_seed(2)));
    }
}

#[test]
fn tokens_are_the_same_on_every_platform() {
    let mut sampler =
        Sampler::new(SamplerOptions { top_k: 0, min_p: 0.0, typical_p: 0.9, ..plain() }).unwrap();
    assert_eq!(tokens(&mut sampler)[..6], [13, 491, 571, 1045, 1478, 276]);
    let mirostat = Some(Mirostat { tau: 5.0, eta: 0.1 });
    let mut sampler = Sampler::new(SamplerOptions { mirostat, ..plain() }).unwrap();
    assert_eq!(tokens(&mut sampler)[..6], [1210, 377, 259, 61, 1944, 564]);
}

#[test]
fn invalid_options_are_refused() {
    let error = Sampler::new(SamplerOptions { top_p: 1.5, ..plain() }).unwrap_err();
    assert_eq!(error.to_string(), "top_p is 1.5: expected a number from 0 to 1");
}
