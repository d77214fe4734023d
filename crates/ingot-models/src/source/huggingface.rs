//! Transformers' names for the tensors of decoder models.

/// The Hugging Face name of a tensor with this GGUF name.
pub(crate) fn name(gguf: &str) -> Option<String> {
    let whole = match gguf {
        "token_embd.weight" => "model.embed_tokens.weight",
        "output_norm.weight" => "model.norm.weight",
        "output.weight" => "lm_head.weight",
        _ => "",
    };
    if !whole.is_empty() {
        return Some(whole.to_string());
    }
    let (block, rest) = gguf.strip_prefix("blk.")?.split_once('.')?;
    let (module, kind) = rest.rsplit_once('.')?;
    let module = match module {
        "attn_norm" => "input_layernorm",
        "attn_q" => "self_attn.q_proj",
        "attn_k" => "self_attn.k_proj",
        "attn_v" => "self_attn.v_proj",
        "attn_output" => "self_attn.o_proj",
        "attn_q_norm" => "self_attn.q_norm",
        "attn_k_norm" => "self_attn.k_norm",
        "ffn_norm" => "post_attention_layernorm",
        "ffn_gate" => "mlp.gate_proj",
        "ffn_up" => "mlp.up_proj",
        "ffn_down" => "mlp.down_proj",
        _ => return None,
    };
    Some(format!("model.layers.{block}.{module}.{kind}"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn names() {
        let name = |n| super::name(n).unwrap_or_default();
        assert_eq!(name("blk.11.attn_q.bias"), "model.layers.11.self_attn.q_proj.bias");
        assert_eq!(name("output.weight"), "lm_head.weight");
        assert_eq!(super::name("rope_freqs.weight"), None);
    }
}
