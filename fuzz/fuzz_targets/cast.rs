//! A cast file, and what one could be made of: opening it, its index, Mach-O programs.
//!
//! The index of a file is only read when its checksum is right, which no mutation gets
//! past; so the input is also taken for an index by itself.
#![no_main]

use ingot_cast::file::{CastFile, Index, Runtime};
use libfuzzer_sys::fuzz_target;
use std::path::Path;

fuzz_target!(|data: &[u8]| {
    let path = Path::new("fuzz");
    if let Ok(Some(cast)) = CastFile::from_bytes(path, data.to_vec().into()) {
        assert_eq!(cast.model().len() as u64, cast.index().model_bytes);
        let _ = cast.verify(&mut |_, _| true);
    }
    if let Ok(runtime) = Runtime::from_bytes(path, data.to_vec().into()) {
        assert!(runtime.len() <= data.len());
    }
    let end = data.len() as u64;
    for start in [0, 2000, end] {
        if let Ok(index) = Index::parse(data, &(start..start + end), path) {
            assert_eq!(index.model_start + index.model_bytes, start);
        }
    }
});
