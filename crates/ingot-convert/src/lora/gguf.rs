//! Adapters as llama.cpp's GGUF files: `NAME.lora_a` and `NAME.lora_b` for the
//! weight `NAME`, in GGUF's order of rows.

use super::{Part, scale};
use crate::{Error, Result};
use ingot_format::Gguf;

pub(super) fn read(file: &Gguf) -> Result<Vec<Part>> {
    let says = |key: &str| Ok::<_, Error>(file.str(key)?.unwrap_or("nothing").to_string());
    if says("general.type")? != "adapter" || says("adapter.type")? != "lora" {
        let kind = (says("general.type")?, says("adapter.type")?);
        return Err(Error::refused(format!(
            "expected a LoRA adapter, it says it is {} ({})",
            kind.0, kind.1
        )));
    }
    let alpha = file.f32("adapter.lora.alpha")?.filter(|a| a.is_finite()).ok_or_else(|| {
        Error::refused("the adapter does not say adapter.lora.alpha, by which it is to be scaled")
    })?;
    let mut parts = Vec::new();
    for tensor in file.tensors() {
        let name = tensor.name();
        let Some((weight, side)) = name.rsplit_once('.') else { return Err(unknown(name)) };
        let Some(module) = weight.strip_suffix(".weight") else { return Err(unknown(name)) };
        match side {
            "lora_a" if module == "token_embd" => {
                return Err(Error::refused(
                    "the adapter changes the embedding table, which ingot does not merge",
                ));
            }
            "lora_a" => {
                let Some(b) = file.tensor(&format!("{weight}.lora_b")) else {
                    return Err(Error::refused(format!("'{weight}.lora_b' is missing")));
                };
                let scale = scale(alpha.into(), tensor.rows(), false);
                parts.push(Part { module: module.into(), a: tensor.clone(), b: b.clone(), scale });
            }
            "lora_b" if file.tensor(&format!("{weight}.lora_a")).is_some() => {}
            _ => return Err(unknown(name)),
        }
    }
    Ok(parts)
}

fn unknown(name: &str) -> Error {
    Error::refused(format!("the adapter has '{name}', which is neither side of a LoRA pair"))
}
