//! Hostile files: an error within a second and little memory, never a panic.

mod common;

use common::fixture;
use ingot_engine::{Model, Options};
use ingot_tokenizer::Message;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Counts what the tests allocate, to see that no size field is believed.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is handed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        PEAK.fetch_max(NOW.fetch_add(layout.size(), Relaxed) + layout.size(), Relaxed);
        // SAFETY: the caller's promises are handed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, p: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(p, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const MEMORY: usize = 100 << 20;
const TIME: Duration = Duration::from_secs(1);

/// Opens the file and renders its template as the case's stage asks.
fn use_file(path: &std::path::Path, stage: &str) -> Result<(), String> {
    let options = Options { threads: Some(1), ..Options::default() };
    let model = Model::open(path, &options).map_err(|e| e.to_string())?;
    if stage == "render" {
        let messages = [Message::new("user", "hello")];
        model.tokenizer().encode_chat(&messages, true, &Default::default()).map_err(|e| e.to_string())?;
        return Ok(());
    }
    let mut session = model.session().map_err(|e| e.to_string())?;
    session.feed(&[1, 2, 3]).map_err(|e| e.to_string())
}

#[test]
fn every_malformed_file_behaves_as_its_index_says() {
    let index = std::fs::read_to_string(fixture("malformed/index.json")).unwrap();
    let index: serde_json::Value = serde_json::from_str(&index).unwrap();
    let cases = index["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 115);
    for case in cases {
        let [file, stage, expect] = ["file", "stage", "expect"].map(|k| case[k].as_str().unwrap());
        PEAK.store(NOW.load(Relaxed), Relaxed);
        let (before, start) = (NOW.load(Relaxed), Instant::now());
        let result = use_file(&fixture(&format!("malformed/{file}")), stage);
        let (time, memory) = (start.elapsed(), PEAK.load(Relaxed) - before);
        assert!(time < TIME, "{file}: {time:?}");
        assert!(memory < MEMORY, "{file}: {memory} bytes");
        match expect {
            "ok" => assert!(result.is_ok(), "{file}: {result:?}"),
            "error" => {
                let message = result.expect_err(file);
                assert!(message.len() > 20 && message.len() < 500, "{file}: {message}");
            }
            _ => {}
        }
    }
}
