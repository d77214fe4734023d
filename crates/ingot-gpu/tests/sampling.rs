//! Sampling on the device against its definition: sorting, sums in f64, and the random numbers of the host.

#[allow(dead_code, reason = "other tests use the rest")]
mod bench;

use bench::{Bench, Random, sequences};
use ingot_format::{Bytes, DType, Tensor};
use ingot_gpu::launch::What;
use ingot_gpu::launches::Shape;
use ingot_gpu::launches::advance::advance;
use ingot_gpu::launches::sample::{
    AFTER_END, ALL_TOKENS, SampleParams, Sampling, candidates_bytes, counts_len, sample,
};
use ingot_gpu::sim::{Options, SimDevice};
use ingot_plan::{Plan, PlanBuilder, Precision, Step};

const HISTORY: usize = 8;
const RING: usize = 4;

fn sampling(penalties: bool) -> Sampling {
    Sampling {
        params: 0,
        penalties,
        counts: 1,
        history: 2,
        history_len: HISTORY,
        ends: 3,
        candidates: 4,
        result: 5,
        ring: 6,
        ring_len: RING,
    }
}

fn plan(vocab: usize) -> Plan {
    let mut b = PlanBuilder::new(Precision::F32);
    let bytes = Bytes::from(vec![0; 4 * vocab]);
    let table = b.weight(&Tensor::new("table", DType::F32, vec![1, vocab], bytes).unwrap());
    let x = b.embed(table);
    let logits = b.select(x);
    b.finish(logits)
}

/// A step of n sequences with a row each.
fn step(n: usize) -> Step {
    let mut step = sequences(&(0..n as u32).map(|slot| (slot, 1)).collect::<Vec<_>>());
    step.outputs = (0..n as u32).collect();
    step
}

fn shape(n: usize) -> Shape {
    Shape { rows: n, outputs: n, sequences: n, context: 1 }
}

fn put_words(bench: &mut Bench<SimDevice>, id: u32, words: impl IntoIterator<Item = u32>) {
    bench.bytes(What::Scratch(id), &words.into_iter().flat_map(u32::to_le_bytes).collect::<Vec<_>>());
}

fn words(bench: &Bench<SimDevice>, what: What) -> Vec<u32> {
    bench.get(what).into_iter().map(f32::to_bits).collect()
}

/// One row and how it is sampled; counts are (token, occurrences).
#[derive(Clone)]
struct Case {
    logits: Vec<f32>,
    params: SampleParams,
    counts: Vec<(u32, u16)>,
}

/// Samples all rows: tokens and log-probabilities.
fn run(cases: &[Case], seed: u64) -> Vec<(u32, f32)> {
    let (vocab, n) = (cases[0].logits.len(), cases.len());
    let (plan, sampling) = (plan(vocab), sampling(cases.iter().any(|c| !c.counts.is_empty())));
    let mut bench = Bench::new(SimDevice::with(Options { seed, ..Options::default() }).unwrap());
    bench.step(&step(n));
    bench.put(plan.logits(), &cases.iter().flat_map(|c| c.logits.iter().copied()).collect::<Vec<_>>());
    let params =
        |(i, case): (usize, &Case)| SampleParams { table: (n - 1 - i) as u32, ..case.params }.to_words();
    put_words(&mut bench, sampling.params, cases.iter().enumerate().flat_map(params));
    let mut counts = vec![0u16; n * counts_len(vocab)];
    for (i, case) in cases.iter().enumerate() {
        for &(token, count) in &case.counts {
            counts[(n - 1 - i) * counts_len(vocab) + token as usize] = count;
        }
    }
    let counts: Vec<u8> = counts.iter().flat_map(|c| c.to_le_bytes()).collect();
    bench.bytes(What::Scratch(sampling.counts), &counts);
    bench.room(What::Scratch(sampling.candidates), candidates_bytes(&plan, shape(n)) / 4);
    bench.room(What::Scratch(sampling.result), 2 * n);
    bench.run(&[sample(&plan, shape(n), &sampling)]);
    let result = words(&bench, What::Scratch(sampling.result));
    result.as_chunks::<2>().0.iter().map(|&[token, logprob]| (token, f32::from_bits(logprob))).collect()
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn usable(x: f32) -> f32 {
    if x.is_nan() { f32::NEG_INFINITY } else { x.min(f32::MAX) }
}

fn adjusted(case: &Case) -> Vec<f32> {
    let (mut logits, p) = (case.logits.clone(), &case.params);
    for &(token, count) in &case.counts {
        let x = logits[token as usize];
        let x = if x > 0.0 { x / p.repetition } else { x * p.repetition };
        logits[token as usize] = x - (f32::from(count) * p.frequency + p.presence);
    }
    logits
}

/// The tokens that are kept and their probabilities, in order of id.
fn kept(case: &Case) -> Vec<(u32, f64)> {
    let p = &case.params;
    let mut all: Vec<(u32, f32)> = (0..).zip(adjusted(case).into_iter().map(usable)).collect();
    all.retain(|(_, x)| *x > f32::NEG_INFINITY);
    all.sort_by(|a, b| (b.1 + 0.0).total_cmp(&(a.1 + 0.0)).then(a.0.cmp(&b.0)));
    let max = f64::from(all[0].1);
    let weight = |x: f32, t: f32| ((f64::from(x) - max) / f64::from(t)).exp();
    if p.top_k != 0 {
        all.truncate(p.top_k as usize);
    }
    if p.top_p < 1.0 {
        let wanted = f64::from(p.top_p) * all.iter().map(|a| weight(a.1, 1.0)).sum::<f64>();
        let mut reached = 0.0;
        let n = all.iter().position(|a| {
            reached += weight(a.1, 1.0);
            reached >= wanted
        });
        all.truncate(n.map_or(all.len(), |n| n + 1));
    }
    all.retain(|a| weight(a.1, 1.0) >= f64::from(p.min_p));
    all.sort_by_key(|a| a.0);
    let total: f64 = all.iter().map(|a| weight(a.1, p.temperature)).sum();
    all.iter().map(|a| (a.0, weight(a.1, p.temperature) / total)).collect()
}

/// The token on which the case's random number falls.
fn drawn(case: &Case) -> u32 {
    let p = &case.params;
    let step = 0x9e37_79b9_7f4a_7c15u64.wrapping_mul(u64::from(p.counter) + 1);
    let mut rest = (mix(mix(p.seed).wrapping_add(step)) >> 11) as f64 / (1u64 << 53) as f64;
    let kept = kept(case);
    let hit = kept.iter().find(|(_, weight)| {
        rest -= weight;
        rest < 0.0
    });
    hit.unwrap_or(kept.last().unwrap()).0
}

/// Logits of different kinds, with ties, impossible ones and extremes.
fn logits(kind: usize, vocab: usize, random: &mut Random) -> Vec<f32> {
    let mut x = random.values(vocab, 0.0, 3.0);
    match kind % 7 {
        0 => {}
        1 => x.iter_mut().for_each(|x| *x = x.round()),
        2 => x.fill(-7.25),
        3 => x.iter_mut().for_each(|x| *x *= 0.01),
        4 => x.iter_mut().enumerate().filter(|(i, _)| i % 3 != 1).for_each(|(_, x)| *x = f32::NEG_INFINITY),
        5 => {
            x[vocab / 2] = f32::INFINITY;
            x[vocab / 3] = f32::MAX;
            x[0] = f32::NAN;
        }
        // All the high ones in one thread's range.
        _ => x.iter_mut().take(8).for_each(|x| *x += 20.0),
    }
    x
}

#[test]
fn filters_keep_what_sorting_says() {
    let mut random = Random(11);
    for (round, vocab) in [50, 1003, 4096, 9001].into_iter().enumerate() {
        let mut cases = Vec::new();
        for i in 0..56 {
            let params = SampleParams {
                temperature: [0.8, 1.0, 0.1, 3.0][i % 4],
                top_k: [0, 1, 40, 3, 700, 2000, 0, 5][i / 3 % 8],
                top_p: [1.0, 0.95, 0.5, 0.0, 0.999][i % 5],
                min_p: [0.0, 0.0, 0.05, 1.0][i / 5 % 4],
                seed: (1234 + i as u64) << 20,
                counter: i as u32,
                ..SampleParams::default()
            };
            cases.push(Case { logits: logits(i, vocab, &mut random), params, counts: Vec::new() });
        }
        for (i, (case, (token, _))) in cases.iter().zip(run(&cases, round as u64)).enumerate() {
            assert_eq!(token, drawn(case), "case {i} of {vocab}: {:?}", case.params);
        }
    }
}

#[test]
fn greedy_takes_the_first_of_the_highest() {
    let vocab = 515;
    let of = |set: &[(usize, f32)], rest: f32| {
        let mut logits = vec![rest; vocab];
        set.iter().for_each(|&(i, x)| logits[i] = x);
        Case { logits, params: SampleParams::default(), counts: Vec::new() }
    };
    let (nan, inf) = (f32::NAN, f32::INFINITY);
    let cases = [
        (of(&[(7, 1.0), (300, 1.0), (514, 1.0)], 0.5), 7),
        (of(&[(300, -0.0), (514, 0.0)], -1.0), 300),
        (of(&[(400, inf), (401, f32::MAX)], 2.0), 400),
        (of(&[(400, f32::MAX), (401, inf)], 2.0), 400),
        (of(&[(0, nan), (90, -3e38)], -inf), 90),
        (of(&[], -inf), 0),
        (of(&[(0, nan), (1, nan)], -inf), 2),
        (of(&[], nan), 0),
        (of(&[(514, -inf)], nan), 514),
        (of(&[(514, 1e-45)], 0.0), 514),
    ];
    let mut all: Vec<Case> = cases.iter().map(|c| c.0.clone()).collect();
    let greedy = run(&all, 1);
    // Nothing to choose from: the same at any temperature.
    all.iter_mut().for_each(|c| (c.params.temperature, c.params.top_k) = (1.0, 1));
    for (i, ((got, warm), (_, expected))) in greedy.iter().zip(run(&all, 2)).zip(&cases).enumerate() {
        assert_eq!((got.0, warm.0), (*expected, *expected), "case {i}");
        assert_eq!(got.1, f32::NEG_INFINITY);
    }
}

#[test]
fn draws_are_as_frequent_as_they_should_be() {
    let logits = vec![0.0, 2.0, -1.0, 1.0, 1.5, -4.0, 0.5, f32::NEG_INFINITY, 1.9];
    let params =
        SampleParams { temperature: 1.3, top_k: 7, top_p: 0.97, seed: 99, ..SampleParams::default() };
    let of =
        |counter| Case { logits: logits.clone(), params: SampleParams { counter, ..params }, counts: vec![] };
    let cases: Vec<Case> = (0..600).map(of).collect();
    let mut counts = vec![0.0; logits.len()];
    run(&cases, 5).iter().for_each(|(token, _)| counts[*token as usize] += 1.0);
    let expected = kept(&cases[0]);
    let n = cases.len() as f64;
    let chi: f64 = expected.iter().map(|&(id, p)| (counts[id as usize] - n * p).powi(2) / (n * p)).sum();
    let outside: f64 = n - expected.iter().map(|&(id, _)| counts[id as usize]).sum::<f64>();
    // Five degrees of freedom at least: above 20 with a probability of about a thousandth; the seed is fixed.
    assert!(expected.len() >= 5 && outside == 0.0 && chi < 20.0, "{counts:?}, chi^2 {chi}");
}

#[test]
fn penalties_and_log_probabilities() {
    let mut random = Random(8);
    let cases: Vec<Case> = (0..24)
        .map(|i| {
            let mut logits = logits(i, 777, &mut random);
            logits[5] = 9.0;
            let params = SampleParams {
                logprob: i % 3 != 0,
                temperature: if i % 2 == 0 { 0.0 } else { 0.9 },
                top_k: 20,
                repetition: 1.3,
                frequency: 0.4,
                presence: -0.2,
                window: 64,
                seed: i as u64,
                ..SampleParams::default()
            };
            let counts = if i % 5 == 0 { vec![] } else { vec![(5, 9), (6, 1), (776, 300), (400, 2)] };
            Case { logits, params, counts }
        })
        .collect();
    for (i, (case, (token, logprob))) in cases.iter().zip(run(&cases, 3)).enumerate() {
        let mut greedy = case.clone();
        greedy.params.top_k = 1;
        greedy.params.temperature = 1.0;
        let expected = if case.params.temperature == 0.0 { kept(&greedy)[0].0 } else { drawn(case) };
        assert_eq!(token, expected, "case {i}");
        let usable = |x: f32| f64::from(usable(x));
        let max = case.logits.iter().map(|&x| usable(x)).fold(f64::NEG_INFINITY, f64::max);
        let total: f64 = case.logits.iter().map(|&x| (usable(x) - max).exp()).sum();
        let expected = (usable(case.logits[token as usize]) - max - total.ln()) as f32;
        match case.params.logprob {
            true => assert!(
                (logprob - expected).abs() <= 2e-5 * expected.abs().max(1.0),
                "case {i}: {logprob}, {expected}"
            ),
            false => assert_eq!(logprob, f32::NEG_INFINITY),
        }
    }
}

#[test]
fn a_window_advances_without_the_host() {
    let vocab = 21;
    let (plan, sampling) = (plan(vocab), sampling(true));
    let n = 3;
    let base = SampleParams { temperature: 1.0, window: 2, ends_at: 1, ..SampleParams::default() };
    let params = [
        SampleParams { table: 2, counter: 7, ..base },
        SampleParams { table: 0, temperature: 0.0, window: ALL_TOKENS, ends_at: 0, ..base },
        SampleParams { table: 1, window: 0, ..base },
    ];
    let mut first = step(n);
    first.sequences.iter_mut().zip([10, 20, 63]).for_each(|(s, past)| s.past = past);
    let mut bench = Bench::new(SimDevice::new().unwrap());
    bench.step(&first);
    let before = words(&bench, What::Step);
    put_words(&mut bench, sampling.params, params.iter().flat_map(SampleParams::to_words));
    put_words(&mut bench, sampling.ends, [0, 2, 13, 14]);
    put_words(&mut bench, sampling.history, vec![0; 3 * HISTORY]);
    put_words(&mut bench, sampling.ring, vec![0; 2 * RING * n]);
    bench.bytes(What::Scratch(sampling.counts), &vec![0; 2 * 3 * counts_len(vocab)]);
    // Sequence 2 ends with its second token; sequence 1 has no end tokens.
    for tokens in [[1u32, 14, 3], [1, 14, 14], [2, 13, 5]] {
        let result = tokens.into_iter().flat_map(|t| [t, (-(t as f32)).to_bits()]);
        put_words(&mut bench, sampling.result, result);
        bench.run(&[advance(&plan, shape(n), &sampling)]);
    }

    let after = words(&bench, What::Step);
    let row = |words: &[u32], t: usize| [words[8 + 8 * t], words[8 + 8 * t + 1]];
    assert_eq!([0, 1, 2].map(|t| row(&before, t)), [[0, 10], [0, 20], [0, 63]]);
    assert_eq!([0, 1, 2].map(|t| row(&after, t)), [[2, 13], [13, 23], [3, 64]]);
    assert_eq!([0, 1, 2].map(|s| after[8 + 8 * s + 6]), [13, 23, 64]);

    let ring = words(&bench, What::Scratch(sampling.ring));
    let entry = |i, s| {
        let at = Sampling::ring_word(i, n, s);
        (ring[at], f32::from_bits(ring[at - 1]))
    };
    assert_eq!([entry(0, 0), entry(1, 0), entry(2, 0)], [(2, -1.0), (2, -1.0), (3, -2.0)]);
    assert_eq!([entry(0, 1), entry(1, 1), entry(2, 1)], [(15, -14.0), (15, -14.0), (14, -13.0)]);
    assert_eq!([entry(0, 2).0, entry(1, 2).0, entry(2, 2).0], [4, 15, AFTER_END]);
    assert_eq!([0, 1, 2].map(|s| entry(3, s).0), [0, 0, 0]);

    let written = words(&bench, What::Scratch(sampling.params));
    let expected = [
        SampleParams { counter: 10, filled: 2, cursor: 1, written: 3, ..params[0] },
        SampleParams { written: 3, ..params[1] },
        SampleParams { counter: 2, ended: true, written: 3, ..params[2] },
    ];
    assert_eq!(written, expected.iter().flat_map(SampleParams::to_words).collect::<Vec<_>>());
    let bytes = bench.get_bytes(What::Scratch(sampling.counts));
    let counts: Vec<u16> = bytes.as_chunks::<2>().0.iter().map(|b| u16::from_le_bytes(*b)).collect();
    let of = |table: usize| -> Vec<(usize, u16)> {
        let row = &counts[table * counts_len(vocab)..][..vocab];
        row.iter().copied().enumerate().filter(|(_, c)| *c > 0).collect()
    };
    // The window of two has forgotten the first of the ones.
    assert_eq!((of(2), of(0), of(1)), (vec![(1, 1), (2, 1)], vec![(13, 1), (14, 2)], vec![]));
}
