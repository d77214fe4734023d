//! Writes a GGUF model of a standard shape with random weights and a dummy
//! vocabulary: `synthetic SHAPE TYPE OUT [LAYERS]`.
//!
//! The file loads in any program that knows the architecture and costs the same
//! time and memory as the real model of that shape, but it says nothing
//! sensible. It is meant for measurements where the real weights cannot be had.
//! Types are mixed as llama.cpp mixes them. To be as fast as the disk, random
//! blocks are made once for each type and scale and written again and again from
//! random places on; so some rows of a matrix are the same, which costs the same.
//! The same call gives the same file everywhere.

mod generator;

use generator::{Mix, Shape, shapes, write};
use std::path::Path;

fn main() -> Result<(), String> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (words, layers) = match &args[..] {
        [shape, mix, out] => ([shape, mix, out], None),
        [shape, mix, out, layers] => ([shape, mix, out], Some(layers)),
        _ => return Err(format!("SHAPE TYPE OUT [LAYERS]\n{}", known())),
    };
    let mut shape = Shape::named(words[0]).ok_or_else(known)?;
    let mix = Mix::named(words[1]).ok_or_else(known)?;
    if let Some(layers) = layers {
        shape.layers = layers.parse().map_err(|e| format!("{layers}: {e}"))?;
    }
    let out = Path::new(words[2]);
    let parameters = write(&shape, mix, out).map_err(|e| e.to_string())?;
    println!("{}: {} {}, {parameters} parameters", out.display(), shape.name, mix.name());
    Ok(())
}

fn known() -> String {
    let shapes: Vec<_> = shapes::ALL.iter().map(|shape| shape.name).collect();
    let mixes: Vec<_> = Mix::ALL.iter().map(|mix| mix.name()).collect();
    format!("SHAPE is one of {}\nTYPE is one of {}", shapes.join(", "), mixes.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ingot::{Model, Options};
    use ingot_format::{DType, Gguf};
    use shapes::Arch;

    /// Small enough for a test, with rows that are whole blocks of 256 or not.
    fn small(arch: Arch, hidden: usize) -> Shape {
        let shape = match arch {
            Arch::Rwkv7 => "rwkv7-0.4b",
            Arch::Llama => "llama-3.1-8b",
            Arch::Qwen2 => "qwen2.5-0.5b",
            Arch::Qwen3 => "qwen3-0.6b",
        };
        let shape = Shape::named(shape).unwrap();
        let kv_heads = if shape.heads == 0 { 0 } else { 2 };
        Shape { hidden, layers: 9, heads: 2 * kv_heads, kv_heads, ffn: 512, vocab: 1024, ..shape }
    }

    fn written(shape: &Shape, mix: Mix, look: impl FnOnce(&Path)) {
        let name = format!("ingot-synthetic-{}-{}-{}", std::process::id(), shape.hidden, mix.name());
        let path = std::env::temp_dir().join(format!("{name}-{:?}.gguf", shape.arch));
        write(shape, mix, &path).unwrap();
        look(&path);
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn every_model_runs() {
        for arch in [Arch::Llama, Arch::Qwen2, Arch::Qwen3, Arch::Rwkv7] {
            for mix in Mix::ALL {
                written(&small(arch, 256), mix, |path| {
                    let model = Model::open(path, &Options::default()).unwrap();
                    let mut session = model.session().unwrap();
                    session.feed(&model.tokenizer().encode("hello", Default::default()).unwrap()).unwrap();
                    let n = session.logits().len() as f32;
                    let size = (session.logits().iter().map(|x| x * x).sum::<f32>() / n).sqrt();
                    assert!(size > 0.1 && size < 10.0, "{arch:?} {}: logits of {size}", mix.name());
                });
            }
        }
    }

    #[test]
    fn types_are_mixed_as_they_usually_are() {
        let types = |hidden, names: &[&str]| -> Vec<DType> {
            let mut found = Vec::new();
            written(&small(Arch::Llama, hidden), Mix::Q4KM, |path| {
                let file = Gguf::open(path).unwrap();
                found.extend(names.iter().map(|name| file.tensor(name).unwrap().dtype()));
            });
            found
        };
        let names = [
            "blk.0.attn_q.weight",
            "blk.0.attn_v.weight",
            "blk.1.attn_v.weight",
            "blk.8.ffn_down.weight",
            "output.weight",
            "token_embd.weight",
            "blk.0.attn_norm.weight",
        ];
        use DType::*;
        assert_eq!(types(256, &names), [Q4_K, Q6_K, Q4_K, Q6_K, Q6_K, Q4_K, F32]);
        assert_eq!(types(96, &names), [Q5_0, Q8_0, Q5_0, Q6_K, Q8_0, Q5_0, F32]);
    }

    #[test]
    fn weights_have_the_size_they_should() {
        for mix in Mix::ALL {
            let shape = Shape { ffn: 4096, layers: 4, ..small(Arch::Rwkv7, 256) };
            written(&shape, mix, |path| {
                let file = Gguf::open(path).unwrap();
                let tensor = file.tensor("blk.3.channel_mix_key.weight").unwrap();
                let mut values = vec![0.0; tensor.len()];
                tensor.dtype().dequantize(tensor.data(), &mut values);
                let size = (values.iter().map(|x| x * x).sum::<f32>() / values.len() as f32).sqrt();
                assert!((size * 16.0 - 1.0).abs() < 0.1, "{}: {size}", mix.name());
                let rows: std::collections::HashSet<_> = tensor.data().chunks(tensor.row_bytes()).collect();
                assert!(rows.len() > tensor.rows() / 2, "{} of {} rows differ", rows.len(), tensor.rows());
            });
        }
    }
}
