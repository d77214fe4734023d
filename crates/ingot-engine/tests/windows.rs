//! Text that a device draws by itself, in windows of several steps: the same text as
//! step by step, and however it ends, a session that has seen exactly what was handed
//! out. All of it in the simulator of a GPU.

mod common;

use common::{fixture, tokens};
use ingot_engine::{
    CacheType, ExecutorKind, Finish, Model, Options, Request, Sampler, SamplerOptions, Session,
};
use ingot_golden::{argmax, compare};
use ingot_gpu::DeviceKind;
use std::path::Path;

/// A transformer, whose past can be cut back, and a recurrent model, whose past cannot.
const MODELS: [&str; 2] = ["llama-s-q8_0", "rwkv7-s-q8_0"];
const TRANSFORMER: &str = MODELS[0];

/// Everything in f32, so that the two ways of computing a row differ by rounding only.
fn options() -> Options {
    let executor = ExecutorKind::Gpu(DeviceKind::Sim);
    Options { executor, cache: CacheType::F32, exact: true, ..Options::default() }
}

fn open(name: &str) -> Model {
    open_file(&fixture(&format!("models/{name}.gguf")), &options())
}

fn open_file(path: &Path, options: &Options) -> Model {
    Model::open(path, options).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn greedy() -> Sampler {
    Sampler::new(SamplerOptions { temperature: 0.0, ..SamplerOptions::default() }).unwrap()
}

fn warm(seed: u64) -> Sampler {
    let options = SamplerOptions { temperature: 1.5, top_k: 50, top_p: 0.95, seed, ..Default::default() };
    Sampler::new(options).unwrap()
}

/// A session that has seen a prompt.
fn prompted(model: &Model, prompt: &[u32]) -> Session {
    let mut session = model.session().unwrap();
    session.feed(prompt).unwrap();
    session
}

/// The text of so many tokens, drawn by the host from a session's logits and fed one by one.
fn step_by_step(model: &Model, prompt: &[u32], n: usize, sampler: &mut Sampler) -> Vec<u32> {
    let mut session = prompted(model, prompt);
    let mut text = Vec::new();
    for _ in 0..n {
        text.push(sampler.sample(session.logits()));
        session.feed(&text[text.len() - 1..]).unwrap();
    }
    text
}

/// Tokens, text and end of a generation of which at most `pieces` are taken.
fn generate(
    session: &mut Session,
    sampler: &mut Sampler,
    request: &Request,
    pieces: usize,
) -> (Vec<u32>, Vec<String>, Finish) {
    let mut generation = session.generate(sampler, request).unwrap();
    let (mut tokens, mut text) = (Vec::new(), Vec::new());
    for piece in generation.by_ref().take(pieces) {
        let piece = piece.unwrap();
        tokens.extend(piece.token);
        text.push(piece.text);
    }
    let finish = generation.finish();
    (tokens, text, finish)
}

fn request(max_tokens: usize, window: Option<usize>) -> Request {
    Request { max_tokens: Some(max_tokens), ignore_end: true, window, ..Request::default() }
}

/// The session has seen the prompt and then `text`, and is about to go on as one that
/// was fed them does. A transformer reads single rows in windows as well as here.
#[track_caller]
fn check(name: &str, session: &Session, prompt: &[u32], text: &[u32]) {
    assert_eq!(session.tokens(), [prompt, text].concat(), "{name}");
    let mut fresh = prompted(session.model(), prompt);
    text.iter().for_each(|&t| fresh.feed(&[t]).unwrap());
    let d = compare(session.logits(), fresh.logits());
    match name == TRANSFORMER {
        true => assert!(session.logits() == fresh.logits(), "{name}: {d:?}"),
        false => {
            assert!(d.max_abs < 1e-4, "{name}: {d:?}");
            let state = |s: &Session| -> Vec<f32> {
                let bytes = s.recurrent_state().unwrap().unwrap();
                bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
            };
            let d = compare(&state(session), &state(&fresh));
            assert!(d.max_abs < 1e-4, "{name}: state {d:?}");
        }
    }
}

#[test]
fn greedy_text_is_that_of_single_steps() {
    for name in MODELS {
        let model = open(name);
        let prompt = tokens(1, 9);
        let mut session = prompted(&model, &prompt);
        let mut expected = Vec::new();
        for _ in 0..21 {
            expected.push(argmax(session.logits()));
            session.feed(&expected[expected.len() - 1..]).unwrap();
        }
        for window in [None, Some(3), Some(8), Some(64)] {
            let mut session = prompted(&model, &prompt);
            let (text, _, finish) = generate(&mut session, &mut greedy(), &request(21, window), usize::MAX);
            assert_eq!((&text, finish), (&expected, Finish::Length), "{name}: {window:?}");
            check(name, &session, &prompt, &text);
        }
    }
}

#[test]
fn a_generation_that_is_dropped_leaves_what_it_returned() {
    for name in MODELS {
        let model = open(name);
        let prompt = tokens(2, 7);
        for pieces in [0, 1, 2, 3, 5, 9, 10] {
            let mut session = prompted(&model, &prompt);
            let (text, _, finish) = generate(&mut session, &mut greedy(), &request(30, Some(8)), pieces);
            assert_eq!((text.len(), finish), (pieces, Finish::Cancelled));
            check(name, &session, &prompt, &text);
        }
    }
}

#[test]
fn as_many_tokens_as_were_asked_for() {
    for name in MODELS {
        let model = open(name);
        let prompt = tokens(3, 12);
        let expected = step_by_step(&model, &prompt, 13, &mut greedy());
        for n in [0, 1, 2, 9, 13] {
            let mut session = prompted(&model, &prompt);
            let (text, _, finish) = generate(&mut session, &mut greedy(), &request(n, Some(8)), usize::MAX);
            assert_eq!((&text[..], finish), (&expected[..n], Finish::Length), "{name}: {n}");
            check(name, &session, &prompt, &text);
        }
    }
}

#[test]
fn a_full_context() {
    for name in MODELS {
        let prompt = tokens(4, 20);
        for room in [0, 1, 2, 9] {
            let options = Options { context: Some(prompt.len() + room), ..options() };
            let model = open_file(&fixture(&format!("models/{name}.gguf")), &options);
            let expected = step_by_step(&model, &prompt, room, &mut greedy());
            let mut session = prompted(&model, &prompt);
            let (text, _, finish) = generate(&mut session, &mut greedy(), &request(99, Some(8)), usize::MAX);
            assert_eq!((&text, finish), (&expected, Finish::Context), "{name}: {room}");
            check(name, &session, &prompt, &text);
        }
    }
}

#[test]
fn stop_strings_within_a_window() {
    for name in MODELS {
        let model = open(name);
        let prompt = tokens(5, 11);
        let mut session = prompted(&model, &prompt);
        let (all, pieces, _) = generate(&mut session, &mut greedy(), &request(20, Some(8)), usize::MAX);
        let whole = pieces.concat();
        let mut tried = 0;
        for (i, piece) in pieces.iter().enumerate() {
            let before = pieces[..i].concat();
            if piece.is_empty() || whole.find(piece) != Some(before.len()) {
                continue; // it would stop earlier
            }
            if tried == 5 {
                break;
            }
            tried += 1;
            let mut session = prompted(&model, &prompt);
            let request = Request { stop: vec!["\0none".into(), piece.clone()], ..request(20, Some(8)) };
            let (text, pieces, finish) = generate(&mut session, &mut greedy(), &request, usize::MAX);
            assert_eq!((pieces.concat(), finish), (before, Finish::Stop(1)), "{name}: {piece:?}");
            assert_eq!(text, all[..=i], "{name}: {piece:?}");
            check(name, &session, &prompt, &text);
        }
        assert_eq!(tried, 5, "{name}: stop strings in {pieces:?}");
    }
}

/// A copy of a model whose text ends with another token.
fn with_end(name: &str, end: u32, folder: &Path) -> Model {
    let mut bytes = std::fs::read(fixture(&format!("models/{name}.gguf"))).unwrap();
    let mut found = 0;
    for key in [&b"tokenizer.ggml.eos_token_id\x04\0\0\0"[..], b"tokenizer.ggml.eot_token_id\x04\0\0\0"] {
        let Some(at) = bytes.windows(key.len()).position(|w| w == key) else { continue };
        bytes[at + key.len()..][..4].copy_from_slice(&end.to_le_bytes());
        found += 1;
    }
    assert!(found > 0, "{name} has no end token");
    let path = folder.join(format!("{name}-{end}.gguf"));
    std::fs::write(&path, bytes).unwrap();
    open_file(&path, &options())
}

#[test]
fn end_tokens_within_a_window() {
    let folder = tempfile::tempdir().unwrap();
    for name in MODELS {
        let prompt = tokens(6, 10);
        let all = step_by_step(&open(name), &prompt, 12, &mut greedy());
        let firsts: Vec<usize> = (0..all.len()).filter(|&i| !all[..i].contains(&all[i])).collect();
        assert!(firsts.len() > 5, "{name}: {all:?}");
        // The first token, those about the middle of a window, and the last that is new.
        for i in [0, firsts[2], firsts[3], firsts[4], firsts[firsts.len() - 1]] {
            let model = with_end(name, all[i], folder.path());
            let until_end = Request { ignore_end: false, ..request(12, Some(8)) };
            let mut session = prompted(&model, &prompt);
            let (text, _, finish) = generate(&mut session, &mut greedy(), &until_end, usize::MAX);
            assert_eq!((&text[..], finish), (&all[..=i], Finish::End(all[i])), "{name}: {i}");
            check(name, &session, &prompt, &text);
            let mut session = prompted(&model, &prompt);
            let (text, ..) = generate(&mut session, &mut greedy(), &request(12, Some(8)), usize::MAX);
            assert_eq!(text, all, "{name}: {i}, ends ignored");
        }
    }
}

#[test]
fn sampled_text_depends_on_the_seed_alone() {
    for name in MODELS {
        let model = open(name);
        let prompt = tokens(7, 8);
        let text = |seed, n, window| {
            let mut session = prompted(&model, &prompt);
            let (text, ..) = generate(&mut session, &mut warm(seed), &request(n, window), usize::MAX);
            if n == 13 {
                check(name, &session, &prompt, &text);
            }
            text
        };
        let whole = text(1, 20, Some(8));
        for (n, window) in [(20, Some(1)), (20, None), (13, Some(8)), (6, Some(2)), (1, None)] {
            assert_eq!(text(1, n, window), whole[..n], "{name}: {n} tokens, {window:?}");
        }
        assert_ne!(text(2, 20, Some(8)), whole, "{name}: another seed");
        // The device puts tokens in another order before it draws, which shows that it drew.
        let of_the_host = step_by_step(&model, &prompt, 20, &mut warm(1));
        assert_eq!(of_the_host[0], whole[0], "{name}: the first token is the host's");
        assert_ne!(of_the_host, whole, "{name}");
    }
}

#[test]
fn what_devices_do_not_know_is_drawn_by_the_host() {
    let penalized = || {
        let options =
            SamplerOptions { temperature: 0.8, frequency_penalty: 0.5, seed: 3, ..Default::default() };
        Sampler::new(options).unwrap()
    };
    for name in MODELS {
        let model = open(name);
        let prompt = tokens(8, 5);
        let (mut session, mut sampler) = (prompted(&model, &prompt), penalized());
        prompt.iter().for_each(|&t| sampler.accept(t));
        let mut expected = Vec::new();
        for _ in 0..9 {
            expected.push(sampler.sample(session.logits()));
            sampler.accept(expected[expected.len() - 1]);
            session.feed(&expected[expected.len() - 1..]).unwrap();
        }
        let mut session = prompted(&model, &prompt);
        let (text, ..) = generate(&mut session, &mut penalized(), &request(9, Some(8)), usize::MAX);
        assert_eq!(text, expected, "{name}");
        check(name, &session, &prompt, &text);
    }
}

#[test]
fn forks_and_later_turns_are_not_disturbed() {
    for name in MODELS {
        let model = open(name);
        let (prompt, turn) = (tokens(9, 61), tokens(10, 4)); // a page ends within the first window
        let mut session = prompted(&model, &prompt);
        let fork = session.fork().unwrap();
        let (first, ..) = generate(&mut session, &mut greedy(), &request(30, Some(8)), 6);
        check(name, &fork, &prompt, &[]);
        session.feed(&turn).unwrap();
        let (second, ..) = generate(&mut session, &mut greedy(), &request(7, Some(8)), usize::MAX);
        let mut fed = prompted(&model, &prompt);
        first.iter().for_each(|&t| fed.feed(&[t]).unwrap());
        fed.feed(&turn).unwrap();
        for &token in &second {
            assert_eq!(token, argmax(fed.logits()), "{name}");
            fed.feed(&[token]).unwrap();
        }
        assert_eq!(session.tokens(), fed.tokens());
        let d = compare(session.logits(), fed.logits());
        assert!(d.max_abs < 1e-4, "{name}: {d:?}");
    }
}

/// Windows reserve pages for more positions than are used in the end.
#[test]
fn a_session_can_be_saved_after_a_window() {
    let folder = tempfile::tempdir().unwrap();
    for executor in [options().executor, ExecutorKind::Cpu] {
        for name in MODELS {
            let options = Options { executor, ..options() };
            let model = open_file(&fixture(&format!("models/{name}.gguf")), &options);
            let path = folder.path().join("session");
            let mut session = prompted(&model, &tokens(11, 58));
            generate(&mut session, &mut greedy(), &request(30, Some(8)), 3);
            session.save(&path, "").unwrap();
            let (loaded, _) = Session::load(&model, &path).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert!(loaded.tokens() == session.tokens() && loaded.logits() == session.logits(), "{name}");
        }
    }
}
