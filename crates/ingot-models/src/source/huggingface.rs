//! Transformers' names for the tensors of decoder models, and what a model with vision keeps where.

use ingot_format::HfFolder;
use serde_json::{Value, json};
use std::borrow::Cow;

/// How a folder names its tensors.
pub(crate) struct Names {
    /// What comes before the names of the text model.
    prefix: &'static str,
    /// What comes before that of the head.
    head_prefix: &'static str,
    /// A block has norms before and after both halves, so `post_attention_layernorm` is
    /// what it says.
    four_norms: bool,
}

impl Names {
    /// As models without vision have them; norms may be called otherwise.
    pub(crate) const USUAL: Self = Self { prefix: "model.", head_prefix: "", four_norms: false };

    pub(super) fn of(folder: &HfFolder) -> Self {
        // Models with vision, as they were and as newer versions save them.
        let prefixes =
            [("language_model.model.", "language_model."), ("model.language_model.", ""), ("model.", "")];
        let has = |name: String| folder.tensor(&name).is_some();
        let found = prefixes.into_iter().find(|(prefix, _)| has(format!("{prefix}embed_tokens.weight")));
        let (prefix, head_prefix) = found.unwrap_or(("model.", ""));
        let four_norms = has(format!("{prefix}layers.0.pre_feedforward_layernorm.weight"));
        Self { prefix, head_prefix, four_norms }
    }

    /// The Hugging Face name of a tensor with this GGUF name.
    pub(crate) fn name(&self, gguf: &str) -> Option<String> {
        let Self { prefix, head_prefix, four_norms } = self;
        match gguf {
            "token_embd.weight" => return Some(format!("{prefix}embed_tokens.weight")),
            "output_norm.weight" => return Some(format!("{prefix}norm.weight")),
            "output.weight" => return Some(format!("{head_prefix}lm_head.weight")),
            _ => {}
        }
        let (block, rest) = gguf.strip_prefix("blk.")?.split_once('.')?;
        let (module, kind) = rest.rsplit_once('.')?;
        let module = match module {
            "attn_norm" => "input_layernorm",
            "attn_q" => "self_attn.q_proj",
            "attn_k" => "self_attn.k_proj",
            "attn_v" => "self_attn.v_proj",
            "attn_qkv" => "self_attn.qkv_proj",
            "attn_output" => "self_attn.o_proj",
            "attn_q_norm" => "self_attn.q_norm",
            "attn_k_norm" => "self_attn.k_norm",
            "post_attention_norm" if *four_norms => "post_attention_layernorm",
            "ffn_norm" if *four_norms => "pre_feedforward_layernorm",
            "ffn_norm" => "post_attention_layernorm",
            "post_ffw_norm" => "post_feedforward_layernorm",
            "ffn_gate_inp" => "mlp.gate",
            "ffn_gate_up" => "mlp.gate_up_proj",
            other => return expert_or_dense(other).map(|m| format!("{prefix}layers.{block}.{m}.{kind}")),
        };
        Some(format!("{prefix}layers.{block}.{module}.{kind}"))
    }

    /// Whether a tensor is part of the text model.
    pub(crate) fn is_text(&self, name: &str) -> bool {
        self.prefix == "model." || name.starts_with(self.prefix) || name.ends_with("lm_head.weight")
    }
}

/// `ffn_gate` or, of one expert, `ffn_gate.7`.
fn expert_or_dense(module: &str) -> Option<String> {
    let (module, expert) = module.split_once('.').map_or((module, None), |(m, e)| (m, Some(e)));
    let projection = match module {
        "ffn_gate" => "gate_proj",
        "ffn_up" => "up_proj",
        "ffn_down" => "down_proj",
        _ => return None,
    };
    Some(match expert {
        None => format!("mlp.{projection}"),
        Some(expert) => format!("mlp.experts.{expert}.{projection}"),
    })
}

/// The part of config.json about text, completed by what transformers assumes of it where the
/// published models with vision say nothing.
pub(super) fn text_config<'c>(class: &str, config: &'c Value) -> Cow<'c, Value> {
    let Some(text) = config["text_config"].as_object() else { return Cow::Borrowed(config) };
    let mut whole = match class {
        "Gemma3ForConditionalGeneration" => json!({
            "num_attention_heads": 8,
            "num_key_value_heads": 4,
            "head_dim": 256,
            "query_pre_attn_scalar": 256,
            "rms_norm_eps": 1e-6,
            "rope_theta": 1e6,
            "max_position_embeddings": 131_072,
            "sliding_window": 4096,
        }),
        _ => json!({}),
    };
    for (key, value) in text {
        whole[key] = value.clone();
    }
    Cow::Owned(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let two = Names { prefix: "model.", head_prefix: "", four_norms: false };
        let name = |n| two.name(n).unwrap_or_default();
        assert_eq!(name("blk.11.attn_q.bias"), "model.layers.11.self_attn.q_proj.bias");
        assert_eq!(name("output.weight"), "lm_head.weight");
        assert_eq!(name("blk.1.ffn_norm.weight"), "model.layers.1.post_attention_layernorm.weight");
        assert_eq!(name("blk.1.ffn_up.weight"), "model.layers.1.mlp.up_proj.weight");
        assert_eq!(name("blk.1.ffn_up.17.weight"), "model.layers.1.mlp.experts.17.up_proj.weight");
        assert_eq!(two.name("blk.1.post_attention_norm.weight"), None);
        assert_eq!(two.name("rope_freqs.weight"), None);
        assert_eq!(two.name("blk.1.ffn_gate_exps.weight"), None);

        let four =
            Names { prefix: "language_model.model.", head_prefix: "language_model.", four_norms: true };
        let name = |n| four.name(n).unwrap_or_default();
        assert_eq!(name("token_embd.weight"), "language_model.model.embed_tokens.weight");
        assert_eq!(name("output.weight"), "language_model.lm_head.weight");
        let block = "language_model.model.layers.0.";
        assert_eq!(name("blk.0.ffn_norm.weight"), format!("{block}pre_feedforward_layernorm.weight"));
        assert_eq!(
            name("blk.0.post_attention_norm.weight"),
            format!("{block}post_attention_layernorm.weight")
        );
        assert!(four.is_text(&name("output.weight")) && !four.is_text("vision_tower.embeddings.weight"));
    }

    #[test]
    fn text_configs() {
        let plain = json!({ "hidden_size": 3 });
        assert_eq!(*text_config("LlamaForCausalLM", &plain), plain);
        let vision = json!({ "text_config": { "hidden_size": 2560, "head_dim": 128 }, "hidden_size": 1 });
        let text = text_config("Gemma3ForConditionalGeneration", &vision);
        assert_eq!((&text["hidden_size"], &text["head_dim"]), (&json!(2560), &json!(128)));
        assert_eq!(text["num_key_value_heads"], 4);
    }
}
