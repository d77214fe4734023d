//! RWKV-7 under its official names.
//!
//! The low-rank matrices are stored for `x @ w1`, transposed against what a
//! linear op wants, and the six mixes of the time mix are tensors of their own.
//! Both are small, so they are rearranged once at load.

use super::{Key, key};
use crate::{Error, Result};
use ingot_format::{Bytes, HfFolder, Tensor};

pub(super) fn is_rwkv7(folder: &HfFolder) -> bool {
    ["emb.weight", "blocks.0.att.r_k", "blocks.0.att.x_r"].iter().all(|n| folder.tensor(n).is_some())
}

/// Sizes as the shapes of the tensors tell them.
pub(super) fn size(folder: &HfFolder, key: Key) -> Option<u64> {
    let dim = |name: &str, axis: usize| folder.tensor(name).and_then(|t| t.shape().get(axis).copied());
    let size = match key {
        key::HIDDEN => dim("emb.weight", 1),
        key::FFN => dim("blocks.0.ffn.key.weight", 0),
        key::WKV_HEAD_SIZE => dim("blocks.0.att.r_k", 1),
        key::LAYERS => {
            let has = |i: &usize| folder.tensor(&format!("blocks.{i}.ln1.weight")).is_some();
            Some((0..).take_while(has).count())
        }
        _ => None,
    };
    size.map(|s| s as u64)
}

/// The official names of what GGUF keeps under one name.
pub(crate) fn names(gguf: &str) -> Option<Vec<String>> {
    let (stem, kind) = gguf.rsplit_once('.')?;
    let one = |name: String| Some(vec![name]);
    match stem {
        "token_embd" => return one("emb.weight".into()),
        "token_embd_norm" => return one(format!("blocks.0.ln0.{kind}")),
        "output_norm" => return one(format!("ln_out.{kind}")),
        "output" => return one("head.weight".into()),
        _ => {}
    }
    let (block, module) = stem.strip_prefix("blk.")?.split_once('.')?;
    let block = format!("blocks.{block}");
    match module {
        "attn_norm" => one(format!("{block}.ln1.{kind}")),
        "attn_norm_2" => one(format!("{block}.ln2.{kind}")),
        "time_mix_ln" => one(format!("{block}.att.ln_x.{kind}")),
        "time_mix_lerp_fused" => Some("rwkvag".chars().map(|c| format!("{block}.att.x_{c}")).collect()),
        "channel_mix_lerp_k" => one(format!("{block}.ffn.x_k")),
        "channel_mix_key" | "channel_mix_value" => {
            one(format!("{block}.ffn.{}.{kind}", &module["channel_mix_".len()..]))
        }
        "time_mix_receptance" | "time_mix_key" | "time_mix_value" | "time_mix_output" => {
            one(format!("{block}.att.{}.{kind}", &module["time_mix_".len()..]))
        }
        _ => one(format!("{block}.att.{}", module.strip_prefix("time_mix_")?)),
    }
}

/// A tensor by its GGUF name, rearranged to what GGUF would hold.
pub(super) fn tensor(folder: &HfFolder, gguf: &str) -> Result<Option<Tensor>> {
    let Some(names) = names(gguf) else { return Ok(None) };
    let parts: Option<Vec<&Tensor>> = names.iter().map(|n| folder.tensor(n)).collect();
    let Some(parts) = parts else { return Ok(None) };
    let stem = gguf.trim_end_matches(".weight");
    let low_rank = stem.contains(".time_mix_") && stem.ends_with(['1', '2']);
    match parts[..] {
        [one] if low_rank => transpose(one).map(Some),
        [one] => Ok(Some(one.clone())),
        _ => concatenate(gguf, &parts).map(Some),
    }
}

/// `[rows, cols]` to `[cols, rows]`; only float types are stored like this.
fn transpose(tensor: &Tensor) -> Result<Tensor> {
    let (&[rows, cols], size) = (tensor.shape(), tensor.dtype().block_bytes()) else {
        let (name, shape) = (tensor.name(), tensor.shape());
        return Err(Error::inconsistent(format!("tensor '{name}' {shape:?} is not a matrix")));
    };
    let mut out = Vec::with_capacity(tensor.data().len());
    for c in 0..cols {
        for r in 0..rows {
            out.extend_from_slice(&tensor.data()[(r * cols + c) * size..][..size]);
        }
    }
    Ok(Tensor::new(tensor.name(), tensor.dtype(), vec![cols, rows], Bytes::from(out))?)
}

fn concatenate(name: &str, parts: &[&Tensor]) -> Result<Tensor> {
    let (dtype, len) = (parts[0].dtype(), parts[0].len());
    if parts.iter().any(|p| p.dtype() != dtype || p.len() != len) {
        return Err(Error::inconsistent(format!("the parts of '{name}' differ in type or size")));
    }
    let data: Vec<u8> = parts.iter().flat_map(|p| p.data().iter().copied()).collect();
    Ok(Tensor::new(name, dtype, vec![parts.len(), len], Bytes::from(data))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ingot_format::DType;

    #[test]
    fn official_names() {
        let names = |n| super::names(n).unwrap_or_default().join(" ");
        assert_eq!(names("blk.3.time_mix_w1.weight"), "blocks.3.att.w1");
        assert_eq!(names("blk.3.time_mix_key.weight"), "blocks.3.att.key.weight");
        assert_eq!(names("blk.3.time_mix_ln.bias"), "blocks.3.att.ln_x.bias");
        assert_eq!(names("blk.0.channel_mix_lerp_k.weight"), "blocks.0.ffn.x_k");
        assert_eq!(names("token_embd_norm.bias"), "blocks.0.ln0.bias");
        let mixes = names("blk.0.time_mix_lerp_fused.weight");
        assert!(
            mixes.starts_with("blocks.0.att.x_r blocks.0.att.x_w") && mixes.ends_with("x_a blocks.0.att.x_g")
        );
    }

    #[test]
    fn transposition() {
        let values: Vec<u8> = (0u8..6).flat_map(|x| f32::from(x).to_le_bytes()).collect();
        let t = Tensor::new("m", DType::F32, vec![2, 3], Bytes::from(values)).unwrap();
        let t = transpose(&t).unwrap();
        let mut out = [0.0; 6];
        t.dtype().dequantize(t.data(), &mut out);
        assert_eq!((t.shape(), out), (&[3, 2][..], [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]));
    }
}
