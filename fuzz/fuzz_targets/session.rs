//! A saved session: everything behind a header and a checksum that are right,
//! since the fuzzer would hardly get past wrong ones.
#![no_main]

use ingot_engine::{Model, Options, Session};
use libfuzzer_sys::fuzz_target;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// Magic, version, model and cache type.
const HEADER: usize = 20;

struct Fixture {
    model: Model,
    header: Vec<u8>,
    path: PathBuf,
}

static FIXTURE: LazyLock<Fixture> = LazyLock::new(|| {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/malformed/ok-rwkv7.gguf");
    let options = Options { threads: Some(1), ..Options::default() };
    let model = Model::open(file, &options).expect("the tiny model");
    let path = std::env::temp_dir().join(format!("ingot-fuzz-session-{}", std::process::id()));
    model.session().and_then(|s| s.save(&path, "")).expect("an empty session");
    let header = std::fs::read(&path).expect("what was just saved")[..HEADER].to_vec();
    Fixture { model, header, path }
});

fuzz_target!(|data: &[u8]| {
    let Fixture { model, header, path } = &*FIXTURE;
    let mut bytes = [header, data].concat();
    bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
    std::fs::write(path, bytes).expect("a temporary file");
    if let Ok((mut session, _)) = Session::load(model, path) {
        let _ = session.feed(&[1]);
    }
});
