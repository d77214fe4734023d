//! The tokenizer in a GGUF file's metadata: building it, text to ids and back,
//! and the conversation template that the file brings along.
//!
//! The text is the end of the file, so that it varies with the vocabulary.
#![no_main]

use ingot_format::Gguf;
use ingot_tokenizer::{EncodeOptions, Message, Tokenizer};
use libfuzzer_sys::fuzz_target;

const TEXT_BYTES: usize = 256;

fuzz_target!(|data: &[u8]| {
    let Ok(gguf) = Gguf::from_bytes(data.to_vec().into()) else { return };
    let Ok(tokenizer) = Tokenizer::from_gguf(&gguf) else { return };
    let text = String::from_utf8_lossy(&data[data.len().saturating_sub(TEXT_BYTES)..]);

    for special in [false, true] {
        let Ok(ids) = tokenizer.encode(&text, EncodeOptions { special, bos: true }) else { continue };
        assert!(ids.iter().all(|&id| (id as usize) < tokenizer.vocab_size()));
        let _ = tokenizer.decode_with(&ids, true);
        let mut stream = tokenizer.stream();
        for &id in &ids {
            stream.push(id);
        }
        stream.finish();
    }
    let conversation = [Message::new("system", "Be brief."), Message::new("user", text)];
    let _ = tokenizer.encode_chat(&conversation, true, &Default::default());

    // Models may have more rows than the vocabulary has tokens.
    let beyond = [0, tokenizer.vocab_size() as u32, u32::MAX];
    let _ = tokenizer.decode(&beyond);
    let _ = beyond.map(|id| tokenizer.token_text(id));
});
