//! Hugging Face folders as GGUF: the metadata, the order and shape of tensors.
//! What they are called and where they are is known to `ingot_models`.

use crate::weight::Order;
use crate::{Error, Model, Result, Weight};
use ingot_format::ModelFile;
use ingot_format::gguf::Value;
use ingot_format::{Bytes, DType, Tensor};
use ingot_models::{Contents, Family};
use std::collections::HashSet;

/// Sizes and numbers of transformers, by their GGUF keys, as far as config.json has them.
const SIZES: [&str; 9] = [
    "context_length",
    "embedding_length",
    "block_count",
    "feed_forward_length",
    "attention.head_count",
    "attention.head_count_kv",
    "expert_count",
    "expert_used_count",
    "expert_feed_forward_length",
];
const NUMBERS: [&str; 3] =
    ["attention.layer_norm_rms_epsilon", "attn_logit_softcapping", "final_logit_softcapping"];

/// Tensors outside of blocks.
const BEFORE: [&str; 3] = ["token_embd.weight", "token_embd_norm.weight", "token_embd_norm.bias"];
const AFTER: [&str; 3] = ["output_norm.weight", "output_norm.bias", "output.weight"];
/// Tensors of a transformer's block; each may have a bias.
const BLOCK: [&str; 18] = [
    "attn_norm",
    "attn_q",
    "attn_k",
    "attn_v",
    "attn_qkv",
    "attn_q_norm",
    "attn_k_norm",
    "attn_output",
    "post_attention_norm",
    "ffn_norm",
    "ffn_gate_inp",
    "ffn_gate",
    "ffn_up",
    "ffn_down",
    "ffn_gate_exps",
    "ffn_up_exps",
    "ffn_down_exps",
    "post_ffw_norm",
];
/// Tensors of a block of RWKV-7.
const RWKV_NORMS: [&str; 3] = ["attn_norm", "attn_norm_2", "time_mix_ln"];
const RWKV_BLOCK: [&str; 22] = [
    "time_mix_lerp_fused",
    "time_mix_w0",
    "time_mix_w1",
    "time_mix_w2",
    "time_mix_a0",
    "time_mix_a1",
    "time_mix_a2",
    "time_mix_v0",
    "time_mix_v1",
    "time_mix_v2",
    "time_mix_g1",
    "time_mix_g2",
    "time_mix_k_k",
    "time_mix_k_a",
    "time_mix_r_k",
    "time_mix_key",
    "time_mix_value",
    "time_mix_receptance",
    "time_mix_output",
    "channel_mix_lerp_k",
    "channel_mix_key",
    "channel_mix_value",
];

/// What RWKV's GGUF files say of the length that it does not limit.
const RWKV_CONTEXT: u32 = 1 << 20;
const RWKV_NORM_EPS: f32 = 1e-5;

pub(crate) fn open(file: &ModelFile) -> Result<Model> {
    let folder = Folder::new(file)?;
    let (mut weights, used) = folder.weights()?;
    folder.check_all_used(&used)?;
    let metadata = folder.metadata(&mut weights)?;
    Ok(Model::new(folder.contents.family().architecture(), metadata, weights))
}

/// The weights, and of the metadata what adapters ask for. Folders that run are not
/// refused, even if a GGUF file could not say all that they say.
pub(crate) fn open_to_merge(file: &ModelFile) -> Result<Model> {
    let folder = Folder::new(file)?;
    let architecture = folder.contents.family().architecture();
    let heads = [("head_count", folder.heads), ("head_count_kv", folder.kv_heads)];
    let metadata = heads.map(|(key, n)| Ok((format!("{architecture}.attention.{key}"), whole(n)?)));
    let metadata = metadata.into_iter().collect::<Result<_>>()?;
    Ok(Model::new(architecture, metadata, folder.weights()?.0))
}

struct Folder<'a> {
    contents: Contents<'a>,
    blocks: usize,
    heads: usize,
    kv_heads: usize,
    /// The output matrix is the embedding table, even if the folder has one.
    tied: bool,
}

impl<'a> Folder<'a> {
    fn new(file: &'a ModelFile) -> Result<Self> {
        let contents = Contents::new(file)?;
        let size = |key: &str| contents.size(key);
        let blocks = size("block_count")?.ok_or_else(|| {
            Error::refused("config.json does not say num_hidden_layers, the number of blocks")
        })?;
        let rwkv = contents.family() == Family::Rwkv7;
        let heads = match size("attention.head_count")? {
            None if !rwkv => return Err(Error::refused("config.json does not say num_attention_heads")),
            heads => heads.unwrap_or(0),
        };
        let kv_heads = size("attention.head_count_kv")?.unwrap_or(heads);
        let tied = contents.folder().config().is_some_and(|config| config["tie_word_embeddings"] == true);
        Ok(Self { blocks, heads, kv_heads, tied, contents })
    }

    fn is_rwkv(&self) -> bool {
        self.contents.family() == Family::Rwkv7
    }

    /// The names that may be there, in the order of the file.
    fn names(&self) -> impl Iterator<Item = String> {
        let rwkv = self.is_rwkv();
        let outside = |names: [&'static str; 3]| names.into_iter().map(String::from);
        let affine = move |i, part| ["weight", "bias"].map(|kind| format!("blk.{i}.{part}.{kind}"));
        let block = move |i| {
            let norms = RWKV_NORMS.into_iter().flat_map(move |part| affine(i, part));
            let others = RWKV_BLOCK.into_iter().map(move |part| format!("blk.{i}.{part}.weight"));
            let rwkv_parts = rwkv.then(|| norms.chain(others)).into_iter().flatten();
            let parts = BLOCK.into_iter().flat_map(move |part| affine(i, part));
            rwkv_parts.chain((!rwkv).then_some(parts).into_iter().flatten())
        };
        outside(BEFORE).chain((0..self.blocks).flat_map(block)).chain(outside(AFTER))
    }

    /// The weights of the file to be, and the stored names of what they are made of.
    fn weights(&self) -> Result<(Vec<Weight>, HashSet<String>)> {
        let mut used = HashSet::new();
        let mut weights = Vec::new();
        for name in self.names() {
            if self.tied && name == "output.weight" {
                continue;
            }
            // Block 0 has no value of an earlier block to mix in, but readers of GGUF
            // expect the tensors; they ignore what is in them.
            let dummy = self.is_rwkv() && name.starts_with("blk.0.time_mix_v") && !name.contains("value");
            let from = if dummy { name.replace("mix_v", "mix_a") } else { name.clone() };
            let mut parts = Vec::new();
            for part in self.parts(&from)? {
                parts.extend(self.contents.tensor(&part)?);
                used.extend(self.contents.stored_names(&part));
            }
            if !parts.is_empty() {
                weights.push(self.weight(name, parts)?);
            }
        }
        Ok((weights, used))
    }

    /// Refuses a folder with a tensor that would get lost.
    fn check_all_used(&self, used: &HashSet<String>) -> Result<()> {
        let is_used = |name: &str| used.contains(name) || self.is_left_out(name);
        match self.contents.folder().tensors().iter().find(|t| !is_used(t.name())) {
            Some(tensor) => Err(Error::refused(format!(
                "tensor '{}' has no place in a GGUF file of the family {}",
                tensor.name(),
                self.contents.family()
            ))),
            None => Ok(()),
        }
    }

    /// Under which names the rows of a tensor are, one after the other; none if there
    /// is no such tensor.
    fn parts(&self, name: &str) -> Result<Vec<String>> {
        let has = |name: &str| self.contents.tensor(name).map(|t| t.is_some());
        if has(name)? {
            return Ok(vec![name.into()]);
        }
        // Phi-3's gate and up are one matrix, which GGUF calls by the second name.
        let both = name.replace("ffn_up", "ffn_gate_up");
        if both != name && has(&both)? {
            return Ok(vec![both]);
        }
        let Some(module) = name.strip_suffix("_exps.weight") else { return Ok(Vec::new()) };
        let mut experts = Vec::new();
        while has(&format!("{module}.{}.weight", experts.len()))? {
            experts.push(format!("{module}.{}.weight", experts.len()));
        }
        Ok(experts)
    }

    /// Tensors that nobody needs: tables that follow from sizes, copies, and what
    /// RWKV's first block does not use.
    fn is_left_out(&self, name: &str) -> bool {
        let unused_value_mix =
            name.strip_prefix("blocks.0.att.v").is_some_and(|n| matches!(n, "0" | "1" | "2"));
        name.ends_with("rotary_emb.inv_freq")
            || !self.contents.is_text(name)
            || self.tied && name == "lm_head.weight"
            || unused_value_mix
    }

    /// A tensor in the shape that GGUF gives it; `parts` has one tensor, or one for
    /// each expert.
    fn weight(&self, name: String, parts: Vec<Tensor>) -> Result<Weight> {
        let (tensor, experts) = (&parts[0], parts.len());
        let len = tensor.len();
        let part = name.rsplit_once('.').map_or(name.as_str(), |(stem, _)| stem);
        let is_vector = tensor.rows() == 1 || part.ends_with("time_mix_r_k");
        let shape = match () {
            () if part.ends_with("_exps") => vec![experts, tensor.rows(), tensor.cols()],
            () if is_vector => vec![len],
            () if part.ends_with("lerp_fused") => vec![tensor.rows(), 1, 1, tensor.cols()],
            () => tensor.shape().to_vec(),
        };
        let is_small = ["ffn_gate_inp", "lerp_fused", "time_mix_w1", "time_mix_w2", "_norm"];
        let needs_f32 = is_vector || is_small.iter().any(|small| part.ends_with(small));
        let rows = if is_vector { len } else { tensor.rows() };
        let order = order(self.contents.family().architecture(), &name, rows, [self.heads, self.kv_heads]);
        let weight = Weight::new(name, shape, parts)?.with_order(order);
        Ok(if needs_f32 { weight.in_f32() } else { weight })
    }

    fn metadata(&self, weights: &mut Vec<Weight>) -> Result<Vec<(String, Value)>> {
        let architecture = self.contents.family().architecture();
        let mut metadata: Vec<(String, Value)> = vec![
            ("general.architecture".into(), architecture.into()),
            ("general.type".into(), "model".into()),
        ];
        if let Some(name) = self.contents.name() {
            metadata.push(("general.name".into(), name.as_str().into()));
        }
        let embedding = weights.iter().find(|w| w.name() == "token_embd.weight");
        let vocabulary =
            embedding.map(Weight::rows).ok_or_else(|| Error::refused("there is no embedding table"))?;
        let mut set = |key: &str, value: Value| metadata.push((format!("{architecture}.{key}"), value));
        set("vocab_size", whole(vocabulary)?);
        match self.is_rwkv() {
            true => self.rwkv(weights, &mut set)?,
            false => self.transformer(weights, &mut set)?,
        }
        metadata.extend(ingot_tokenizer::gguf_metadata(self.contents.folder(), vocabulary)?);
        Ok(metadata)
    }

    fn transformer(&self, weights: &mut Vec<Weight>, set: &mut impl FnMut(&str, Value)) -> Result<()> {
        for key in SIZES {
            let default = if key == "attention.head_count_kv" { Some(self.kv_heads) } else { None };
            if let Some(size) = self.contents.size(key)?.or(default) {
                set(key, whole(size)?);
            }
        }
        for key in NUMBERS {
            if let Some(number) = self.contents.float(key)? {
                set(key, number.into());
            }
        }
        if let Some(normed) = self.contents.flag("expert_weights_norm")? {
            set("expert_weights_norm", normed.into());
        }
        let hidden = self.contents.size("embedding_length")?.unwrap_or(0);
        let head = self.contents.size("attention.key_length")?.unwrap_or(hidden / self.heads);
        for key in ["attention.key_length", "attention.value_length"] {
            set(key, whole(head)?);
        }
        // GGUF leaves out the usual one.
        let scalar = self.contents.float("attention.query_pre_attn_scalar")?;
        if let Some(scalar) = scalar.filter(|s| *s > 0.0 && *s != head as f32) {
            set("attention.scale", (1.0 / scalar.sqrt()).into());
        }
        self.layers(set)?;
        self.rope(head, weights, set)
    }

    /// What differs from layer to layer: GGUF has a window, and knows for each family
    /// which layers it is for.
    fn layers(&self, set: &mut impl FnMut(&str, Value)) -> Result<()> {
        let family = self.contents.family();
        let every = |period: usize| move |i: usize| !(i + 1).is_multiple_of(period);
        let listed = |key: &str, period: usize| -> Result<()> {
            let list = self.contents.layers(key, "sliding_attention")?.unwrap_or_default();
            match list.iter().take(self.blocks).enumerate().all(|(i, set)| *set == every(period)(i)) {
                true => Ok(()),
                false => Err(Error::refused(format!(
                    "config.json lists layers ({key}) in a way that GGUF files of {family} do not express"
                ))),
            }
        };
        match family {
            Family::Gemma2 => listed("attention.layer_types", 2)?,
            Family::Gemma3 => listed("attention.layer_types", 6)?,
            Family::SmolLm3 => listed("rope.layers", 4)?,
            _ => {}
        }
        let used = self.contents.flag("attention.use_sliding_window")?;
        match self.contents.size("attention.sliding_window")? {
            // Qwen's and SmolLM's config.json name a window that they do not use.
            None => Ok(()),
            Some(_) if used == Some(false) => Ok(()),
            Some(_) if used == Some(true) => {
                Err(Error::refused("the window of some layers (use_sliding_window) is not expressed in GGUF"))
            }
            Some(window) => {
                set("attention.sliding_window", whole(window)?);
                Ok(())
            }
        }
    }

    /// The rotary embedding, of which some numbers are tensors.
    fn rope(&self, head: usize, weights: &mut Vec<Weight>, set: &mut impl FnMut(&str, Value)) -> Result<()> {
        let Some(rope) = self.contents.rope(head)? else { return Ok(()) };
        set("rope.dimension_count", whole(rope.size)?);
        set("rope.freq_base", rope.base.into());
        if let Some(base) = rope.local_base {
            set("rope.freq_base_swa", base.into());
        }
        let Some([short, long]) = rope.divisors else { return Ok(()) };
        let mut tensor = |name: &str, values: &[f32]| -> Result<()> {
            let bytes: Vec<u8> = values.iter().flat_map(|d| d.to_le_bytes()).collect();
            let tensor = Tensor::new(name, DType::F32, vec![values.len()], Bytes::from(bytes))?;
            weights.insert(1, Weight::as_stored(&tensor));
            Ok(())
        };
        if short != long {
            tensor("rope_factors_short.weight", &short)?;
            tensor("rope_factors_long.weight", &long)?;
            set("rope.scaling.attn_factor", rope.factor.into());
            if let Some(size) = self.contents.size("rope.scaling.original_context_length")? {
                set("rope.scaling.original_context_length", whole(size)?);
            }
        } else if short.windows(2).all(|pair| pair[0] == pair[1]) {
            set("rope.scaling.type", "linear".into());
            set("rope.scaling.factor", short.first().copied().unwrap_or(1.0).into());
        } else {
            tensor("rope_freqs.weight", &short)?;
        }
        Ok(())
    }

    fn rwkv(&self, weights: &[Weight], set: &mut impl FnMut(&str, Value)) -> Result<()> {
        set("context_length", RWKV_CONTEXT.into());
        for key in ["embedding_length", "block_count", "feed_forward_length", "wkv.head_size"] {
            let size =
                self.contents.size(key)?.ok_or_else(|| Error::refused(format!("there is no {key}")))?;
            set(key, whole(size)?);
        }
        set("attention.layer_norm_epsilon", RWKV_NORM_EPS.into());
        for (key, branch) in [("decay", "w1"), ("iclr", "a1"), ("value_residual_mix", "v1"), ("gate", "g1")] {
            // Block 0 has no value mix of its own.
            let name = format!(".time_mix_{branch}.weight");
            if let Some(weight) = weights.iter().rev().find(|w| w.name().ends_with(&name)) {
                set(&format!("attention.{key}_lora_rank"), whole(weight.rows())?);
            }
        }
        set("attention.head_count", 0u32.into()); // there are none, and readers insist on being told
        Ok(())
    }
}

/// In which order rows that were trained with transformers come in GGUF: of
/// Llama's queries and keys, rotary pairs are neighbours. `heads` are those of
/// queries and of keys.
pub(crate) fn order(architecture: &str, name: &str, rows: usize, heads: [usize; 2]) -> Order {
    let part = name.rsplit('.').nth(1).unwrap_or_default();
    let heads = match part {
        "attn_q" => heads[0],
        "attn_k" => heads[1],
        _ => 0,
    };
    match rows.checked_div(heads) {
        Some(head) if Family::stores_pairs(architecture) && head % 2 == 0 && head * heads == rows => {
            Order::Pairs { head }
        }
        _ => Order::AsStored,
    }
}

fn whole(size: usize) -> Result<Value> {
    match u32::try_from(size) {
        Ok(size) => Ok(size.into()),
        Err(_) => Err(Error::refused(format!("a size of {size} does not fit into GGUF's metadata"))),
    }
}
