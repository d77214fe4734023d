//! A vocabulary of the right size that tokenizers accept.

use super::shapes::{Arch, Shape};
use ingot_format::GgufWriter;
use ingot_format::gguf::Array;

/// Token types of the format.
const NORMAL: i32 = 1;
const CONTROL: i32 = 3;

/// Writes the vocabulary.
pub fn describe(s: &Shape, writer: &mut GgufWriter) {
    match s.arch {
        Arch::Rwkv7 => trie(s.vocab, writer),
        _ => byte_level(s, writer),
    }
}

/// RWKV's: every byte as an escape, then dummies.
fn trie(n: usize, writer: &mut GgufWriter) {
    let mut tokens = vec!["<s>".to_string()];
    tokens.extend((0..256).map(|b| format!("\\x{b:02x}")));
    fill_up(&mut tokens, n);
    writer.set("tokenizer.ggml.model", "rwkv");
    writer.set("tokenizer.ggml.tokens", Array::from_strings(tokens));
    writer.set("tokenizer.ggml.token_type", Array::from_i32s(vec![NORMAL; n]));
}

/// Byte pairs: every byte, every pair of small letters with its merge, then
/// dummies and two special tokens.
fn byte_level(s: &Shape, writer: &mut GgufWriter) {
    let pairs = || ('a'..='z').flat_map(|a| ('a'..='z').map(move |b| (a, b)));
    let mut tokens = byte_alphabet();
    tokens.extend(pairs().map(|(a, b)| format!("{a}{b}")));
    let mut types = vec![NORMAL; s.vocab];
    let (bos, eos) = (s.vocab - 2, s.vocab - 1);
    fill_up(&mut tokens, bos);
    tokens.extend(["<|bos|>".to_string(), "<|eos|>".to_string()]);
    types[bos..].fill(CONTROL);
    writer.set("tokenizer.ggml.model", "gpt2");
    writer.set("tokenizer.ggml.pre", if s.arch == Arch::Llama { "llama-bpe" } else { "qwen2" });
    writer.set("tokenizer.ggml.tokens", Array::from_strings(tokens));
    writer.set("tokenizer.ggml.token_type", Array::from_i32s(types));
    writer.set("tokenizer.ggml.merges", Array::from_strings(pairs().map(|(a, b)| format!("{a} {b}"))));
    writer.set("tokenizer.ggml.bos_token_id", bos as u32);
    writer.set("tokenizer.ggml.eos_token_id", eos as u32);
    writer.set("tokenizer.ggml.add_bos_token", s.arch == Arch::Llama);
}

fn fill_up(tokens: &mut Vec<String>, n: usize) {
    tokens.extend((tokens.len()..n).map(|i| format!("<t{i}>")));
}

/// Each byte as one visible character: itself if it is printable, otherwise one
/// from U+0100 on.
fn byte_alphabet() -> Vec<String> {
    let printable = |b: u8| matches!(b, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let mut extra = '\u{100}'..;
    let character = |b: u8| {
        if printable(b) { char::from(b) } else { extra.next().expect("there are enough characters") }
    };
    (0..=255).map(character).map(String::from).collect()
}
