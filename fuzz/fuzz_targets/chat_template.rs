//! A chat template: parsing any source and rendering a conversation with it.
//!
//! Templates come from model files, so they are programs by strangers; rendering
//! must end soon, within bounded memory, whatever they say.
#![no_main]

use ingot_tokenizer::{ChatTemplate, Message};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|source: &str| {
    let conversation = [
        Message::new("system", "Be brief."),
        Message::new("user", "  Grüß dich <|im_end|>\n"),
        Message::new("assistant", "<think>\nHm.\n</think>\nHello."),
        Message::new("user", "Bye"),
    ];
    let template = ChatTemplate::new(source, "<s>", "</s>");
    let _ = template.render(&conversation, true, &Default::default());
});
