//! The shapes of well-known models.

use ingot_format::GgufWriter;

/// Which architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arch {
    Llama,
    Qwen2,
    Qwen3,
    Rwkv7,
}

/// The sizes of a model.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub name: &'static str,
    pub arch: Arch,
    pub hidden: usize,
    pub layers: usize,
    /// 0 for a recurrent model.
    pub heads: usize,
    pub kv_heads: usize,
    /// Size of a head; the hidden size over the heads if 0.
    pub head: usize,
    /// Inner width of the feed-forward layers.
    pub ffn: usize,
    pub vocab: usize,
    pub context: u32,
    pub rope_base: f32,
    /// Factor of Llama 3's scaling of long waves; 0 for none.
    pub rope_factor: f32,
    /// The embedding table is the head as well.
    pub tied: bool,
    /// Ranks of RWKV-7's branches w, a, v and g.
    pub lora: [usize; 4],
}

const TRANSFORMER: Shape = Shape {
    name: "",
    arch: Arch::Llama,
    hidden: 0,
    layers: 0,
    heads: 0,
    kv_heads: 0,
    head: 0,
    ffn: 0,
    vocab: 0,
    context: 131_072,
    rope_base: 5e5,
    rope_factor: 0.0,
    tied: false,
    lora: [0; 4],
};

const QWEN2: Shape =
    Shape { arch: Arch::Qwen2, vocab: 151_936, context: 32_768, rope_base: 1e6, tied: true, ..TRANSFORMER };

const QWEN3: Shape = Shape { arch: Arch::Qwen3, head: 128, context: 40_960, ..QWEN2 };

const LLAMA3: Shape = Shape { vocab: 128_256, rope_factor: 32.0, tied: true, ..TRANSFORMER };

const RWKV7: Shape = Shape { arch: Arch::Rwkv7, head: 64, vocab: 65_536, context: 1 << 20, ..TRANSFORMER };

/// What can be asked for.
#[rustfmt::skip]
pub const ALL: [Shape; 14] = [
    Shape { name: "qwen2.5-0.5b", hidden: 896, layers: 24, heads: 14, kv_heads: 2, ffn: 4864, ..QWEN2 },
    Shape { name: "qwen2.5-1.5b", hidden: 1536, layers: 28, heads: 12, kv_heads: 2, ffn: 8960, ..QWEN2 },
    Shape { name: "qwen2.5-7b", hidden: 3584, layers: 28, heads: 28, kv_heads: 4, ffn: 18_944,
            vocab: 152_064, tied: false, ..QWEN2 },
    Shape { name: "qwen3-0.6b", hidden: 1024, layers: 28, heads: 16, kv_heads: 8, ffn: 3072, ..QWEN3 },
    Shape { name: "qwen3-8b", hidden: 4096, layers: 36, heads: 32, kv_heads: 8, ffn: 12_288,
            tied: false, ..QWEN3 },
    Shape { name: "llama-3.2-1b", hidden: 2048, layers: 16, heads: 32, kv_heads: 8, ffn: 8192, ..LLAMA3 },
    Shape { name: "llama-3.2-3b", hidden: 3072, layers: 28, heads: 24, kv_heads: 8, ffn: 8192, ..LLAMA3 },
    Shape { name: "llama-3.1-8b", hidden: 4096, layers: 32, heads: 32, kv_heads: 8, ffn: 14_336,
            rope_factor: 8.0, tied: false, ..LLAMA3 },
    Shape { name: "llama-2-7b", hidden: 4096, layers: 32, heads: 32, kv_heads: 32, ffn: 11_008,
            vocab: 32_000, context: 4096, rope_base: 1e4, ..TRANSFORMER },
    Shape { name: "rwkv7-0.1b", hidden: 768, layers: 12, ffn: 3072, lora: [64, 64, 32, 128], ..RWKV7 },
    Shape { name: "rwkv7-0.4b", hidden: 1024, layers: 24, ffn: 4096, lora: [64, 64, 32, 128], ..RWKV7 },
    Shape { name: "rwkv7-1.5b", hidden: 2048, layers: 24, ffn: 8192, lora: [96, 96, 64, 256], ..RWKV7 },
    Shape { name: "rwkv7-2.9b", hidden: 2560, layers: 32, ffn: 10_240, lora: [96, 96, 64, 320], ..RWKV7 },
    Shape { name: "rwkv7-7.2b", hidden: 4096, layers: 32, ffn: 16_384, lora: [128, 128, 96, 480], ..RWKV7 },
];

impl Shape {
    /// The shape of this name.
    pub fn named(name: &str) -> Option<Self> {
        ALL.into_iter().find(|shape| shape.name == name)
    }

    /// Values of a head.
    pub fn head_size(&self) -> usize {
        if self.head > 0 { self.head } else { self.hidden / self.heads }
    }

    /// Writes the sizes as a file of this architecture says them.
    pub fn describe(&self, writer: &mut GgufWriter) {
        let arch = match self.arch {
            Arch::Llama => "llama",
            Arch::Qwen2 => "qwen2",
            Arch::Qwen3 => "qwen3",
            Arch::Rwkv7 => "rwkv7",
        };
        writer.set("general.architecture", arch);
        writer.set("general.name", format!("synthetic {}", self.name).as_str());
        let mut size = |key: &str, n: usize| writer.set(format!("{arch}.{key}"), n as u32);
        size("context_length", self.context as usize);
        size("embedding_length", self.hidden);
        size("block_count", self.layers);
        size("feed_forward_length", self.ffn);
        size("vocab_size", self.vocab);
        size("attention.head_count", self.heads);
        if self.arch == Arch::Rwkv7 {
            size("wkv.head_size", self.head_size());
            let ranks = ["decay", "iclr", "value_residual_mix", "gate"];
            for (name, rank) in ranks.into_iter().zip(self.lora) {
                size(&format!("attention.{name}_lora_rank"), rank);
            }
            writer.set("rwkv7.attention.layer_norm_epsilon", 1e-5f32);
            return;
        }
        size("attention.head_count_kv", self.kv_heads);
        size("attention.key_length", self.head_size());
        size("attention.value_length", self.head_size());
        size("rope.dimension_count", self.head_size());
        let eps = if self.arch == Arch::Llama { 1e-5f32 } else { 1e-6 };
        writer.set(format!("{arch}.attention.layer_norm_rms_epsilon"), eps);
        writer.set(format!("{arch}.rope.freq_base"), self.rope_base);
    }
}
