//! A LoRA adapter in either form, and what it makes of a tiny model.
//!
//! An input that does not begin like GGUF is a PEFT folder: `adapter_config.json` up
//! to the first zero byte, the safetensors file after it.
#![no_main]

use ingot_convert::{Adapter, Merge};
use ingot_format::ModelFile;
use libfuzzer_sys::fuzz_target;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

struct Fixture {
    model: ModelFile,
    /// Where the adapter is written.
    folder: PathBuf,
}

static FIXTURE: LazyLock<Fixture> = LazyLock::new(|| {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/malformed/ok-base.gguf");
    let model = ModelFile::open(&file).expect("the tiny model");
    let folder = std::env::temp_dir().join(format!("ingot-fuzz-adapter-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    Fixture { model, folder }
});

fuzz_target!(|data: &[u8]| {
    let Fixture { model, folder } = &*FIXTURE;
    let put = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        std::fs::write(&path, bytes).expect("a temporary file");
        path
    };
    let path = if data.starts_with(b"GGUF") {
        put("adapter.gguf", data)
    } else {
        let mut parts = data.splitn(2, |byte| *byte == 0);
        put("adapter_config.json", parts.next().unwrap_or_default());
        put("adapter_model.safetensors", parts.next().unwrap_or_default());
        folder.clone()
    };
    let Ok(adapter) = Adapter::open(&path) else { return };
    let mut file = model.clone();
    let mut merge = Merge::new(&file).expect("the tiny model is one");
    if merge.add(&adapter, 1.0).is_ok() && merge.apply(&mut file, 1, &mut |_| true).is_ok() {
        assert!(file.replaced().count() > 0);
    }
});
