//! State: however tokens arrive, alone or in company, and wherever a session
//! has been in between, what follows is the same to the last bit.

mod common;

use common::{MODELS, open, tokens};
use ingot_engine::{Error, ExecutorKind, Model, Session};

fn logits_after(model: &Model, chunks: &[&[u32]]) -> Vec<f32> {
    let mut session = model.session().unwrap();
    chunks.iter().for_each(|c| session.feed(c).unwrap());
    session.logits().to_vec()
}

/// Continues greedily and returns the tokens and the last logits.
fn continuation(session: &mut Session, n: usize) -> (Vec<u32>, Vec<f32>) {
    let mut out = Vec::new();
    for _ in 0..n {
        out.push(ingot_golden::argmax(session.logits()));
        session.feed(&out[out.len() - 1..]).unwrap();
    }
    (out, session.logits().to_vec())
}

#[test]
fn chunks_of_any_size_agree() {
    let prompt = tokens(1, 700);
    for name in MODELS {
        let model = open(name, ExecutorKind::Cpu);
        let whole = logits_after(&model, &[&prompt]);
        for size in [1, 7, 64, 512] {
            let chunks: Vec<&[u32]> = prompt.chunks(size).collect();
            assert!(logits_after(&model, &chunks) == whole, "{name}: chunks of {size}");
        }
    }
}

#[test]
fn logits_of_every_token_are_those_of_its_prefix() {
    let prompt = tokens(2, 70);
    for name in MODELS {
        let model = open(name, ExecutorKind::Cpu);
        let all = model.session().unwrap().feed_all(&prompt).unwrap();
        let vocab = model.info().vocab;
        for n in [1, 2, 64, 65, 70] {
            assert!(all[(n - 1) * vocab..n * vocab] == logits_after(&model, &[&prompt[..n]]), "{name}: {n}");
        }
    }
}

#[test]
fn sequences_in_one_step_do_not_see_each_other() {
    for name in MODELS {
        let model = open(name, ExecutorKind::Cpu);
        let (a, b, c) = (tokens(3, 90), tokens(4, 17), tokens(5, 1));
        let alone = [&a, &b, &c].map(|t| logits_after(&model, &[t]));

        let [mut x, mut y, mut z] = [(); 3].map(|()| model.session().unwrap());
        x.feed(&a[..40]).unwrap();
        model.step(&mut [(&mut y, &b[..16]), (&mut x, &a[40..89])]).unwrap(); // two prompt chunks
        model.step(&mut [(&mut x, &a[89..]), (&mut z, &c), (&mut y, &b[16..])]).unwrap(); // decodes and a prompt
        for (session, alone) in [&x, &y, &z].into_iter().zip(&alone) {
            assert!(session.logits() == alone, "{name}");
        }
    }
}

#[test]
fn forks_go_their_own_ways() {
    for name in MODELS {
        let model = open(name, ExecutorKind::Cpu);
        let (prompt, left, right) = (tokens(6, 100), tokens(7, 50), tokens(8, 50));
        let mut one = model.session().unwrap();
        one.feed(&prompt).unwrap();
        let mut two = one.fork().unwrap();
        assert!(one.logits() == two.logits());
        two.feed(&right).unwrap();
        one.feed(&left).unwrap();
        assert!(one.logits() == logits_after(&model, &[&prompt, &left]), "{name}: left");
        assert!(two.logits() == logits_after(&model, &[&prompt, &right]), "{name}: right");
        drop(one);
        let mut three = two.fork().unwrap();
        assert_eq!(continuation(&mut two, 8), continuation(&mut three, 8), "{name}: after the first is gone");
    }
}

#[test]
fn truncation_goes_back_or_says_that_it_cannot() {
    for name in MODELS {
        let model = open(name, ExecutorKind::Cpu);
        let prompt = tokens(9, 130);
        let mut session = model.session().unwrap();
        session.feed(&prompt).unwrap();
        let whole = session.logits().to_vec();
        let shared = session.fork().unwrap();
        match session.truncate(70) {
            Ok(()) => {
                session.feed(&tokens(10, 60)).unwrap(); // over a page that the fork still has
                session.truncate(70).unwrap();
                assert!(session.logits().is_empty());
                session.feed(&prompt[70..]).unwrap();
            }
            Err(Error::BadRequest(_)) if name.starts_with("rwkv") => {
                assert_eq!(session.tokens(), prompt);
                session.truncate(0).unwrap();
                session.feed(&prompt).unwrap();
            }
            Err(e) => panic!("{name}: {e}"),
        }
        assert!(session.logits() == whole, "{name}");
        assert!(shared.logits() == whole && shared.tokens() == prompt, "{name}: the fork");
    }
}

#[test]
fn advancing_reads_only_what_is_new() {
    for name in MODELS {
        let model = open(name, ExecutorKind::Cpu);
        let (a, b) = (tokens(11, 40), tokens(12, 20));
        let mut session = model.session().unwrap();
        session.feed(&a).unwrap();
        let mut read = 0;
        let count = |read: &mut usize, n| {
            *read = n;
            std::ops::ControlFlow::Continue(())
        };
        let longer = [&a[..], &b[..]].concat();
        session.advance_to(&longer, |n| count(&mut read, n)).unwrap();
        assert_eq!(read, 20);
        assert!(session.logits() == logits_after(&model, &[&longer]), "{name}");
        let other = [&a[..30], &b[..]].concat();
        session.advance_to(&other, |n| count(&mut read, n)).unwrap();
        assert_eq!(read, if name.starts_with("rwkv") { 50 } else { 20 }, "{name}");
        assert!(session.logits() == logits_after(&model, &[&other]), "{name}");
        session.advance_to(&other, |n| count(&mut read, n)).unwrap();
        assert!(session.logits() == logits_after(&model, &[&other]), "{name}: nothing new");
    }
}

#[test]
fn saved_sessions_continue_alike() {
    let dir = tempfile::tempdir().unwrap();
    for name in MODELS {
        let path = dir.path().join(name);
        let mut session = open(name, ExecutorKind::Cpu).session().unwrap();
        session.feed(&tokens(13, 90)).unwrap();
        session.save(&path, "notes: \u{1F98A}").unwrap();
        let expected = continuation(&mut session, 12);

        let again = open(name, ExecutorKind::Cpu); // another model object, as in another process
        let (mut loaded, notes) = Session::load(&again, &path).unwrap();
        assert_eq!(notes, "notes: \u{1F98A}");
        assert_eq!(loaded.tokens(), tokens(13, 90));
        assert_eq!(continuation(&mut loaded, 12), expected, "{name}");
        assert_eq!(
            std::fs::read_dir(dir.path())
                .unwrap()
                .filter(|e| { e.as_ref().unwrap().file_name().to_string_lossy().ends_with(".partial") })
                .count(),
            0,
            "a temporary file is left"
        );
    }
}

#[test]
fn damaged_sessions_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("session");
    let model = open("rwkv7-s-q4_0", ExecutorKind::Cpu);
    let mut session = model.session().unwrap();
    session.feed(&tokens(14, 5)).unwrap();
    session.save(&path, "").unwrap();
    let good = std::fs::read(&path).unwrap();

    let refused = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        match Session::load(&model, &path) {
            Err(Error::BadSession { what, .. }) => what,
            Err(e) => panic!("{e}"),
            Ok(_) => panic!("loaded"),
        }
    };
    for len in (0..good.len()).step_by(97).chain([good.len() - 1]) {
        refused(&good[..len]);
    }
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 1;
    assert!(refused(&flipped).contains("damaged"));
    // Lengths that lie, under a correct checksum.
    for at in (20..good.len().min(400) - 8).step_by(4) {
        let mut lying = good[..good.len() - 4].to_vec();
        lying[at..at + 8].copy_from_slice(&u64::MAX.to_le_bytes());
        lying.extend(crc32fast::hash(&lying).to_le_bytes());
        std::fs::write(&path, &lying).unwrap();
        let _ = Session::load(&model, &path); // logits may be any number; it must only not panic
    }
    let other = open("qwen2-s-q4_k_m", ExecutorKind::Cpu);
    std::fs::write(&path, &good).unwrap();
    let e = Session::load(&other, &path).err().expect("another model").to_string();
    assert!(e.contains("another model"), "{e}");
}

#[test]
fn requests_that_make_no_sense() {
    let model = open("qwen2-s-q4_k_m", ExecutorKind::Cpu);
    let mut session = model.session().unwrap();
    assert!(matches!(session.feed(&[]), Err(Error::BadRequest(_))));
    assert!(matches!(session.feed(&[0, 320]), Err(Error::BadRequest(_))));
    let too_long = tokens(15, model.context() + 1);
    assert!(matches!(session.feed(&too_long), Err(Error::ContextFull { needed: 1025, context: 1024 })));
    assert!(session.tokens().is_empty() && session.logits().is_empty());
    let mut stranger = open("qwen2-s-q4_k_m", ExecutorKind::Cpu).session().unwrap();
    assert!(matches!(model.step(&mut [(&mut stranger, &[1])]), Err(Error::BadRequest(_))));
}

#[test]
fn the_reference_runs_sessions_too() {
    for name in MODELS {
        let model = open(name, ExecutorKind::Reference);
        let prompt = tokens(16, 80);
        let mut session = model.session().unwrap();
        session.feed(&prompt[..66]).unwrap();
        let mut fork = session.fork().unwrap();
        session.feed(&prompt[66..]).unwrap();
        fork.feed(&prompt[66..]).unwrap();
        assert!(session.logits() == fork.logits() && session.logits() == logits_after(&model, &[&prompt]));
    }
}
