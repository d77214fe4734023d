//! Broken and hostile GGUF files. Opening one never panics or takes long; every
//! defect of the container is an error. Defects of the model described in it
//! (a missing tensor, a head count of 0, an unknown family, a chat template that
//! loops) are none of this crate's business: those files open here, and the
//! crates that read them have the rest of this test.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use ingot_format::{Gguf, ModelFile};

const DIR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/malformed/");

/// Files that are well-formed GGUF, and bad models.
const LEFT_TO_THE_MODEL: &[&str] = &[
    "arch-not-string.gguf",
    "arch-unknown.gguf",
    "block-count-2.gguf",
    "block-count-huge.gguf",
    "embedding-length-0.gguf",
    "embedding-length-huge.gguf",
    "embedding-length-mismatch.gguf",
    "embedding-length-string.gguf",
    "eps-inf.gguf",
    "eps-nan.gguf",
    "eps-negative.gguf",
    "ffn-length-mismatch.gguf",
    "head-count-0.gguf",
    "head-count-huge.gguf",
    "head-count-not-dividing.gguf",
    "kv-heads-0.gguf",
    "kv-heads-more-than-heads.gguf",
    "kv-heads-not-dividing.gguf",
    "missing-architecture.gguf",
    "missing-block-count.gguf",
    "missing-embedding-length.gguf",
    "missing-head-count.gguf",
    "missing-layer-norm-rms-epsilon.gguf",
    "missing-tokens.gguf",
    "no-tensors.gguf", // what vocabulary-only files look like
    "rope-dim-odd.gguf",
    "rope-dim-too-large.gguf",
    "tensor-missing.gguf",
    "tensor-transposed.gguf",
    "token-type-short.gguf",
    "tokens-i32.gguf",
    "tokens-not-array.gguf",
    "vocab-tokens-long.gguf",
    "vocab-tokens-short.gguf",
];

#[test]
fn every_defect_of_the_container_is_an_error() {
    let index = std::fs::read(format!("{DIR}index.json")).unwrap();
    let index: serde_json::Value = serde_json::from_slice(&index).unwrap();
    let cases = index["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 115);
    let mut left = Vec::new();
    for case in cases {
        let text = |key: &str| case[key].as_str().unwrap();
        let (file, path) = (text("file"), PathBuf::from(DIR).join(text("file")));
        let start = Instant::now();
        let opened = Gguf::open(&path);
        assert!(start.elapsed() < Duration::from_millis(500), "{file} took {:?}", start.elapsed());
        match (text("stage"), text("expect"), &opened) {
            ("load", "error", Ok(_)) => left.push(file),
            ("load", "error", Err(error)) => {
                let message = error.to_string();
                println!("{}", message.replace(DIR, ""));
                assert!(message.contains(file), "{message}");
                assert!(message.len() < 600, "{file}: a message of {} bytes", message.len());
            }
            ("load", "any_bounded", _) => {}
            (_, _, opened) => assert!(opened.is_ok(), "{file}: {opened:?}"),
        }
        assert_eq!(ModelFile::open(&path).is_ok(), opened.is_ok(), "{file}");
        // Printing metadata must survive anything that opens.
        for (key, value) in opened.iter().flat_map(Gguf::entries) {
            assert!(format!("{key} = {value}").len() < 2000);
        }
    }
    left.sort();
    assert_eq!(left, LEFT_TO_THE_MODEL);
}

/// Every prefix of a good file, and every byte of its structure changed.
#[test]
fn damaged_files_never_panic() {
    let good = std::fs::read(format!("{DIR}ok-base.gguf")).unwrap();
    let opened = Gguf::from_bytes(good.clone().into()).unwrap();
    let data_bytes: usize = opened.tensors().iter().map(|t| t.data().len().next_multiple_of(32)).sum();
    let structure = good.len() - data_bytes;
    for len in 0..structure {
        assert!(Gguf::from_bytes(good[..len].to_vec().into()).is_err(), "{len} bytes");
    }
    for at in 0..structure {
        for change in [0x01, 0x80, 0xff] {
            let mut bad = good.clone();
            bad[at] ^= change;
            if let Ok(gguf) = Gguf::from_bytes(bad.into()) {
                for (key, value) in gguf.entries() {
                    let _ = (value.to_string(), gguf.ints(key), gguf.f32s(key), gguf.str(key));
                    gguf.strings(key)
                        .into_iter()
                        .flatten()
                        .for_each(|strings| assert!(strings.count() < 1000));
                }
            }
        }
    }
}
