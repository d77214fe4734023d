//! A safetensors file: the JSON header and the ranges it names.
//!
//! What `read` accepts must have the bytes that type and shape ask for, under
//! names that differ.
#![no_main]

use std::collections::HashSet;

use ingot_format::safetensors;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(tensors) = safetensors::read(&data.to_vec().into()) else { return };
    let mut names = HashSet::new();
    for tensor in &tensors {
        assert!(names.insert(tensor.name()));
        assert_eq!(tensor.data().len(), tensor.rows() * tensor.row_bytes());
    }
});
