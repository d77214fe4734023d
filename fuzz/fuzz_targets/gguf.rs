//! A GGUF file: opening it and reading all there is to read.
//!
//! `from_bytes` may refuse the input; what it accepts must be readable without
//! a panic, and every tensor must have the bytes its type and shape ask for.
#![no_main]

use ingot_format::Gguf;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(gguf) = Gguf::from_bytes(data.to_vec().into()) else { return };
    let _ = gguf.architecture();
    for (key, value) in gguf.entries() {
        let _ = value.to_string();
        let _ = (gguf.str(key), gguf.uint(key), gguf.f32(key), gguf.bool(key));
        let _ = (gguf.ints(key), gguf.f32s(key));
        if let Ok(Some(strings)) = gguf.strings(key) {
            let len = strings.len();
            assert_eq!(strings.count(), len);
        }
    }
    for tensor in gguf.tensors() {
        assert!(gguf.tensor(tensor.name()).is_some());
        assert_eq!(tensor.data().len(), tensor.rows() * tensor.row_bytes());
        tensor.dtype().dequantize(tensor.data(), &mut vec![0.0; tensor.len()]);
    }
});
