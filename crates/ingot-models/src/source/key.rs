//! Hyper-parameters under their two names.

/// A hyper-parameter: in GGUF `ARCH.gguf`, in config.json `hf`. Some are known to one of them only; their
/// names for the other are not in use.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key {
    gguf: &'static str,
    pub(super) hf: &'static str,
}

impl Key {
    pub(super) fn in_gguf(self, arch: &str) -> String {
        format!("{arch}.{}", self.gguf)
    }
}

/// The key that is `ARCH.name` in GGUF.
pub(crate) fn with_gguf_name(name: &str) -> Option<Key> {
    ALL.iter().copied().find(|key| key.gguf == name)
}

macro_rules! keys {
    ($($name:ident: $gguf:literal, $hf:literal;)*) => {
        $(pub(crate) const $name: Key = Key { gguf: $gguf, hf: $hf };)*
        const ALL: &[Key] = &[$($name),*];
    };
}

keys! {
    HIDDEN: "embedding_length", "hidden_size";
    LAYERS: "block_count", "num_hidden_layers";
    FFN: "feed_forward_length", "intermediate_size";
    CONTEXT: "context_length", "max_position_embeddings";
    HEADS: "attention.head_count", "num_attention_heads";
    KV_HEADS: "attention.head_count_kv", "num_key_value_heads";
    HEAD_SIZE: "attention.key_length", "head_dim";
    VALUE_SIZE: "attention.value_length", "head_dim";
    WINDOW: "attention.sliding_window", "sliding_window";
    RMS_EPS: "attention.layer_norm_rms_epsilon", "rms_norm_eps";
    ROPE_SIZE: "rope.dimension_count", "rope_dim";
    ROPE_BASE: "rope.freq_base", "rope_theta";
    WINDOW_PERIOD: "attention.sliding_window_pattern", "sliding_window_pattern";
    LAYER_TYPES: "attention.layer_types", "layer_types";
    FIRST_WINDOWED: "attention.max_window_layers", "max_window_layers";
    USE_WINDOW: "attention.use_sliding_window", "use_sliding_window";
    ROPE_LAYERS: "rope.layers", "no_rope_layers";
    ROPE_PERIOD: "rope.layer_period", "no_rope_layer_interval";
    ROPE_LOCAL_BASE: "rope.freq_base_swa", "rope_local_base_freq";
    OLD_CONTEXT: "rope.scaling.original_context_length", "original_max_position_embeddings";
    ATTENTION_SCALE: "attention.scale", "attention_multiplier";
    QUERY_SCALAR: "attention.query_pre_attn_scalar", "query_pre_attn_scalar";
    SCORE_CAP: "attn_logit_softcapping", "attn_logit_softcapping";
    LOGIT_CAP: "final_logit_softcapping", "final_logit_softcapping";
    EXPERTS: "expert_count", "num_experts";
    EXPERTS_USED: "expert_used_count", "num_experts_per_tok";
    NORM_EXPERTS: "expert_weights_norm", "norm_topk_prob";
    EXPERT_FFN: "expert_feed_forward_length", "moe_intermediate_size";
    LAYER_NORM_EPS: "attention.layer_norm_epsilon", "layer_norm_epsilon";
    WKV_HEAD_SIZE: "wkv.head_size", "head_size";
}
