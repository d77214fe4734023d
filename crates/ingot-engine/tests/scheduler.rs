//! Many texts at once: each is what it would be alone, whatever else happens.

mod common;

use common::{MODELS, open, tokens};
use ingot_engine::grammar::{GrammarSpec, Grammars};
use ingot_engine::scheduler::{Demand, Event, Job, Limits, Refused, Sink, Token};
use ingot_engine::{Error, ExecutorKind, Finish, Model, Request, Sampler, SamplerOptions, Scheduler};
use ingot_gpu::DeviceKind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(300);

/// Keeps all events, and wants as many as it is told to.
struct Reader {
    events: Mutex<Vec<Event>>,
    arrived: Condvar,
    appetite: AtomicUsize,
}

impl Reader {
    fn new() -> Arc<Self> {
        let appetite = AtomicUsize::new(usize::MAX);
        Arc::new(Self { events: Mutex::default(), arrived: Condvar::new(), appetite })
    }

    /// Waits until `enough` of the events.
    fn wait(&self, enough: impl Fn(&[Event]) -> bool) {
        let events = self.events.lock().unwrap();
        let (_events, timeout) = self.arrived.wait_timeout_while(events, PATIENCE, |e| !enough(e)).unwrap();
        assert!(!timeout.timed_out(), "nothing happens");
    }

    /// Waits for the ends of `choices` texts.
    fn finish(&self, choices: usize) -> Vec<Text> {
        let is_end = |e: &&Event| matches!(e, Event::End { .. } | Event::Failed(_));
        self.wait(|events| events.iter().filter(is_end).count() >= choices);
        let mut texts: Vec<Text> = (0..choices).map(|_| Text::default()).collect();
        for event in self.events.lock().unwrap().drain(..) {
            match event {
                Event::Read { cached } => texts.iter_mut().for_each(|t| t.cached = cached),
                Event::Token(Token { choice, id, text, .. }) => {
                    texts[choice].tokens.push(id);
                    texts[choice].text += &text;
                }
                Event::End { choice, text, finish } => {
                    texts[choice].text += &text;
                    texts[choice].finish = Some(finish);
                }
                Event::Failed(e) => panic!("{e}"),
            }
        }
        texts
    }

    fn tokens(&self) -> usize {
        self.events.lock().unwrap().iter().filter(|e| matches!(e, Event::Token(_))).count()
    }
}

impl Sink for Reader {
    fn send(&self, event: Event) {
        self.events.lock().unwrap().push(event);
        self.arrived.notify_all();
    }
    fn demand(&self) -> Demand {
        match self.appetite.load(Ordering::SeqCst) {
            0 => Demand::Nothing,
            appetite if self.tokens() < appetite => Demand::More,
            _ => Demand::Later,
        }
    }
}

#[derive(Debug, Default, PartialEq)]
struct Text {
    tokens: Vec<u32>,
    text: String,
    finish: Option<Finish>,
    cached: usize,
}

fn sampling(seed: u64) -> SamplerOptions {
    SamplerOptions { temperature: 0.9, repetition_penalty: 1.1, seed, ..SamplerOptions::default() }
}

fn request(max_tokens: usize) -> Request {
    Request { max_tokens: Some(max_tokens), ignore_end: true, ..Request::default() }
}

fn submit(scheduler: &Scheduler, prompt: &[u32], seeds: &[u64], max_tokens: usize) -> Arc<Reader> {
    let reader = Reader::new();
    let job = Job {
        prompt: prompt.to_vec(),
        choices: seeds.iter().map(|&seed| sampling(seed)).collect(),
        request: request(max_tokens),
        logprobs: None,
        grammar: None,
        client: 0,
        sink: reader.clone(),
    };
    scheduler.submit(job).unwrap();
    reader
}

/// What a session makes of it, without a scheduler.
fn alone(model: &Model, prompt: &[u32], seed: u64, max_tokens: usize) -> (Vec<u32>, String) {
    let mut session = model.session().unwrap();
    session.feed(prompt).unwrap();
    let mut sampler = Sampler::new(sampling(seed)).unwrap();
    let pieces: Vec<_> = session.generate(&mut sampler, &request(max_tokens)).unwrap().collect();
    let pieces: Vec<_> = pieces.into_iter().map(Result::unwrap).collect();
    (pieces.iter().filter_map(|p| p.token).collect(), pieces.iter().map(|p| p.text.as_str()).collect())
}

/// Prompts of many lengths, some of which begin alike.
fn prompts() -> Vec<Vec<u32>> {
    let lengths = [1, 2, 17, 64, 65, 130, 300, 5];
    let of_length = |(i, &n): (usize, &usize)| tokens(if i % 2 == 0 { 7 } else { i as u32 }, n);
    lengths.iter().enumerate().map(of_length).collect()
}

#[test]
fn company_changes_nothing() {
    for name in MODELS {
        let model = open(name, ExecutorKind::Cpu);
        let scheduler = Scheduler::start(model.clone(), Limits::default());
        let prompts = prompts();
        let readers: Vec<_> =
            (0..16).map(|i| submit(&scheduler, &prompts[i % prompts.len()], &[i as u64], 20 + i)).collect();
        for (i, reader) in readers.iter().enumerate() {
            let text = reader.finish(1).remove(0);
            let expected = alone(&model, &prompts[i % prompts.len()], i as u64, 20 + i);
            assert_eq!((text.tokens, text.text), expected, "{name}: {i}");
            assert_eq!(text.finish, Some(Finish::Length));
        }
        assert!(scheduler.stats().steps < 300, "they did not run together");
    }
}

/// A scheduler on kernels for GPUs, in the simulator.
#[test]
fn company_changes_nothing_on_a_gpu() {
    for name in ["qwen2-s-q4_k_m", "rwkv7-s-q4_0"] {
        let model = open(name, ExecutorKind::Gpu(DeviceKind::Sim));
        // Without memory of what was read: a GPU reads single tokens with other kernels.
        let limits = Limits { prefixes: 0, ..Limits::default() };
        let scheduler = Scheduler::start(model, limits);
        let prompts: Vec<_> = (0..4).map(|i| tokens(i, 3 + 5 * i as usize)).collect();
        let run = |i: usize| submit(&scheduler, &prompts[i % 4], &[i as u64], 5);
        let alone: Vec<_> = (0..17).map(|i| run(i).finish(1)).collect();
        let readers: Vec<_> = (0..17).map(run).collect();
        let together: Vec<_> = readers.iter().map(|reader| reader.finish(1)).collect();
        assert_eq!(alone, together, "{name}");
    }
}

/// Several steps at a time while there is one text, one at a time when others come, and
/// the same text in both cases.
#[test]
fn windows_change_nothing() {
    for name in ["qwen2-s-q4_k_m", "rwkv7-s-q4_0"] {
        let model = open(name, ExecutorKind::Gpu(DeviceKind::Sim));
        let scheduler = Scheduler::start(model.clone(), Limits { prefixes: 0, ..Limits::default() });
        let greedy = |prompt: &[u32], request: Request| {
            let sink = Reader::new();
            let (prompt, choices) = (prompt.to_vec(), vec![SamplerOptions::greedy()]);
            let job = Job {
                prompt,
                choices,
                request,
                logprobs: None,
                grammar: None,
                client: 0,
                sink: sink.clone(),
            };
            scheduler.submit(job).unwrap();
            sink
        };
        let prompt = tokens(1, 9);
        let mut session = model.session().unwrap();
        session.feed(&prompt).unwrap();
        let mut sampler = Sampler::new(SamplerOptions::greedy()).unwrap();
        let pieces = session.generate(&mut sampler, &request(30)).unwrap().map(Result::unwrap);
        let expected: Vec<u32> = pieces.filter_map(|piece| piece.token).collect();

        let alone = greedy(&prompt, request(30)).finish(1).remove(0);
        assert_eq!(alone.tokens, expected, "{name}");
        let first = greedy(&prompt, request(30));
        first.wait(|events| events.len() > 8);
        let second = greedy(&prompt, request(30));
        assert_eq!(first.finish(1)[0].tokens, expected, "{name}");
        assert_eq!(second.finish(1)[0].tokens, expected, "{name}");
        // A text that ends within a window leaves nothing behind that others would notice.
        let stop = vec![alone.text.chars().skip(12).take(3).collect::<String>()];
        let stopped = greedy(&prompt, Request { stop, ..request(30) }).finish(1).remove(0);
        assert!(matches!(stopped.finish, Some(Finish::Stop(0))), "{stopped:?}");
        assert!(alone.text.starts_with(&stopped.text));
        assert_eq!(greedy(&prompt, request(30)).finish(1)[0].tokens, expected, "{name}");
    }
}

#[test]
fn choices_share_a_prompt_and_differ_by_seed() {
    for name in MODELS {
        let model = open(name, ExecutorKind::Cpu);
        let scheduler = Scheduler::start(model.clone(), Limits::default());
        let prompt = tokens(3, 100);
        let texts = submit(&scheduler, &prompt, &[5, 6, 7], 12).finish(3);
        for (text, seed) in texts.iter().zip([5, 6, 7]) {
            assert_eq!(text.tokens, alone(&model, &prompt, seed, 12).0, "{name}: {seed}");
        }
        assert_eq!(scheduler.stats().prompt_tokens, 100, "the prompt was read once");
    }
}

#[test]
fn making_room_loses_nothing() {
    for name in MODELS {
        let model = open(name, ExecutorKind::Cpu);
        let memory = model.memory();
        // Enough for the largest alone, and not for all.
        model.limit_memory(memory.sequence(200) + 2 * memory.slot_bytes);
        let scheduler = Scheduler::start(model.clone(), Limits::default());
        let readers: Vec<_> =
            (0..6).map(|i| submit(&scheduler, &tokens(i, 60), &[u64::from(i)], 130)).collect();
        let texts: Vec<_> = readers.iter().map(|reader| reader.finish(1).remove(0)).collect();
        let stats = scheduler.stats();
        assert!(stats.preemptions > 0 || memory.page_bytes == 0, "{name}: {stats:?}");
        assert!(stats.memory <= memory.sequence(200) + 2 * memory.slot_bytes, "{name}: {stats:?}");
        model.limit_memory(u64::MAX);
        for (i, text) in texts.iter().enumerate() {
            let expected = alone(&model, &tokens(i as u32, 60), i as u64, 130);
            assert_eq!((&text.tokens, &text.text), (&expected.0, &expected.1), "{name}: {i}");
        }
    }
}

#[test]
fn what_fits_nowhere_is_refused_alone() {
    let model = open("qwen2-s-q4_k_m", ExecutorKind::Cpu);
    model.limit_memory(model.memory().sequence(128));
    let scheduler = Scheduler::start(model, Limits::default());
    let (large, small) = (submit(&scheduler, &tokens(1, 200), &[1], 5), submit(&scheduler, &[1, 2], &[1], 5));
    large.wait(|events| matches!(events.last(), Some(Event::Failed(Error::OutOfMemory(_)))));
    assert_eq!(small.finish(1)[0].tokens.len(), 5);
}

#[test]
fn a_second_turn_reads_only_what_is_new() {
    for name in MODELS {
        let model = open(name, ExecutorKind::Cpu);
        let scheduler = Scheduler::start(model.clone(), Limits::default());
        let first = tokens(4, 600);
        let answer = submit(&scheduler, &first, &[1], 10).finish(1).remove(0);
        assert_eq!(answer.cached, 0);
        // The last token was drawn and not read.
        let second = [&first[..], &answer.tokens, &tokens(5, 10)].concat();
        let text = submit(&scheduler, &second, &[2], 10).finish(1).remove(0);
        assert_eq!(text.cached, 609, "{name}");
        assert_eq!(text.tokens, alone(&model, &second, 2, 10).0, "{name}");
        // The same again: everything but its last token, or what a state was kept of.
        let again = submit(&scheduler, &second, &[2], 10).finish(1).remove(0);
        assert!(again.cached >= 609, "{name}: {}", again.cached);
        assert_eq!(again.tokens, text.tokens);
        // Another end to the first prompt.
        let branch = [&first[..590], &tokens(6, 30)].concat();
        let text = submit(&scheduler, &branch, &[3], 10).finish(1).remove(0);
        assert_eq!(text.cached, if name.starts_with("rwkv") { 512 } else { 590 }, "{name}");
        assert_eq!(text.tokens, alone(&model, &branch, 3, 10).0, "{name}");
    }
}

#[test]
fn who_leaves_is_let_go_and_who_pauses_is_waited_for() {
    let model = open("rwkv7-s-q4_0", ExecutorKind::Cpu);
    let limits = Limits { stall: PATIENCE, ..Limits::default() };
    let scheduler = Scheduler::start(model.clone(), limits);
    let prompt = tokens(8, 20);

    let (leaving, pausing) =
        (submit(&scheduler, &prompt, &[1], 1 << 20), submit(&scheduler, &prompt, &[2], 40));
    pausing.appetite.store(5, Ordering::SeqCst);
    leaving.wait(|events| events.len() > 50);
    leaving.appetite.store(0, Ordering::SeqCst);
    let other = submit(&scheduler, &prompt, &[3], 60);
    other.finish(1);
    assert!(pausing.tokens() <= 6, "{}", pausing.tokens());
    pausing.appetite.store(usize::MAX, Ordering::SeqCst);
    assert_eq!(pausing.finish(1)[0].tokens, alone(&model, &prompt, 2, 40).0);
    wait_for(|| scheduler.stats().running == 0);
    let count = leaving.tokens();
    assert!(count < 1 << 20);
}

#[test]
fn who_does_not_read_at_all_is_given_up() {
    let model = open("rwkv7-s-q4_0", ExecutorKind::Cpu);
    let scheduler = Scheduler::start(model, Limits { stall: Duration::from_millis(20), ..Limits::default() });
    let reader = submit(&scheduler, &tokens(8, 20), &[1], 40);
    reader.appetite.store(3, Ordering::SeqCst);
    wait_for(|| scheduler.stats().steps > 0 && scheduler.stats().running == 0);
    assert!(reader.tokens() < 40);
}

fn wait_for(condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "nothing happens");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn too_many_are_refused() {
    let model = open("rwkv7-s-q4_0", ExecutorKind::Cpu);
    let limits = Limits { running: 1, waiting: 2, ..Limits::default() };
    let scheduler = Scheduler::start(model, limits);
    let job = |max_tokens| {
        let sink = Reader::new();
        let (choices, request) = (vec![sampling(1)], request(max_tokens));
        (
            Job {
                prompt: vec![1, 2],
                choices,
                request,
                logprobs: None,
                grammar: None,
                client: 0,
                sink: sink.clone(),
            },
            sink,
        )
    };
    let (first, reader) = job(1 << 20);
    scheduler.submit(first).unwrap();
    reader.wait(|events| !events.is_empty());
    let others: Vec<_> = (0..2).map(|_| job(2)).collect();
    let readers: Vec<_> = others.iter().map(|(_, reader)| reader.clone()).collect();
    others.into_iter().for_each(|(job, _)| scheduler.submit(job).unwrap());
    assert!(matches!(scheduler.submit(job(2).0), Err(Refused::Busy { waiting: 2 })));
    reader.appetite.store(0, Ordering::SeqCst);
    readers.iter().for_each(|reader| assert_eq!(reader.finish(1)[0].tokens.len(), 2));
    scheduler.submit(job(2).0).unwrap();
}

#[test]
fn clients_with_few_sequences_come_first() {
    let model = open("rwkv7-s-q4_0", ExecutorKind::Cpu);
    let scheduler = Scheduler::start(model, Limits { running: 2, ..Limits::default() });
    let order = Arc::new(Mutex::new(Vec::new()));
    struct Named(u64, Arc<Mutex<Vec<u64>>>);
    impl Sink for Named {
        fn send(&self, event: Event) {
            if let Event::Read { .. } = event {
                self.1.lock().unwrap().push(self.0);
            }
        }
        fn demand(&self) -> Demand {
            Demand::More
        }
    }
    for client in [1, 1, 1, 1, 2] {
        let sink = Arc::new(Named(client, order.clone()));
        let (choices, request) = (vec![sampling(1)], request(200));
        let job =
            Job { prompt: tokens(1, 400), choices, request, logprobs: None, grammar: None, client, sink };
        scheduler.submit(job).unwrap();
    }
    wait_for(|| order.lock().unwrap().len() == 5);
    let order = order.lock().unwrap();
    let second = order.iter().position(|&client| client == 2).unwrap();
    assert!(second <= 2, "{order:?}");
}

#[test]
fn nonsense_is_refused_at_once() {
    let model = open("qwen2-s-q4_k_m", ExecutorKind::Cpu);
    let scheduler = Scheduler::start(model.clone(), Limits::default());
    let refused = |prompt: Vec<u32>, sampling: SamplerOptions, stop: &str| {
        let request = Request { stop: vec![stop.into()], ..request(1) };
        let (choices, sink) = (vec![sampling], Reader::new());
        let job = Job { prompt, choices, request, logprobs: None, grammar: None, client: 0, sink };
        scheduler.submit(job).unwrap_err().to_string()
    };
    let vocab = model.info().vocab as u32;
    assert!(refused(vec![], sampling(1), "x").contains("no tokens"));
    assert!(refused(vec![vocab], sampling(1), "x").contains("vocabulary"));
    assert!(refused(vec![1; model.context()], sampling(1), "x").contains("context"));
    assert!(refused(vec![1], SamplerOptions { top_p: 2.0, ..sampling(1) }, "x").contains("top_p"));
    assert!(refused(vec![1], sampling(1), "").contains("stop"));
}

#[test]
fn texts_keep_to_their_grammars() {
    let model = open("qwen2-s-q4_k_m", ExecutorKind::Cpu);
    let grammars = Grammars::new(model.tokenizer()).unwrap();
    let digits = GrammarSpec::Regex("[0-9]{3}-[ab]{2}".into());
    let grammar = grammars.compile(&digits, &Default::default()).unwrap();
    let scheduler = Scheduler::start(model, Limits::default());
    let free: Vec<_> = (0..3).map(|i| submit(&scheduler, &tokens(i, 30), &[1], 30)).collect();
    let sink = Reader::new();
    let choices: Vec<_> = (0..4).map(sampling).collect();
    let job = Job {
        prompt: tokens(1, 30),
        choices,
        request: request(30),
        logprobs: None,
        grammar: Some(grammar),
        client: 0,
        sink: sink.clone(),
    };
    scheduler.submit(job).unwrap();
    for text in sink.finish(4) {
        let (number, letters) = text.text.split_once('-').unwrap();
        assert!(number.len() == 3 && number.parse::<u32>().is_ok(), "{text:?}");
        assert!(letters.len() == 2 && letters.chars().all(|c| "ab".contains(c)), "{text:?}");
        assert_eq!(text.finish, Some(Finish::Complete));
    }
    free.iter().for_each(|reader| assert_eq!(reader.finish(1)[0].tokens.len(), 30));
}

/// A reader with a bug.
struct Broken;

impl Sink for Broken {
    fn send(&self, _: Event) {
        panic!("on purpose");
    }
    fn demand(&self) -> Demand {
        Demand::More
    }
}

#[test]
fn a_panic_is_seen_from_outside() {
    let scheduler = Scheduler::start(open(MODELS[0], ExecutorKind::Cpu), Limits::default());
    submit(&scheduler, &tokens(3, 8), &[1], 2).finish(1);
    assert!(scheduler.is_alive());
    let job = || Job {
        prompt: tokens(3, 8),
        choices: vec![sampling(1)],
        request: request(1),
        logprobs: None,
        grammar: None,
        client: 0,
        sink: Arc::new(Broken),
    };
    scheduler.submit(job()).unwrap();
    let end = Instant::now() + PATIENCE;
    while scheduler.is_alive() {
        assert!(Instant::now() < end, "it goes on as if nothing had been");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(matches!(scheduler.submit(job()), Err(Refused::Ended)));
}
