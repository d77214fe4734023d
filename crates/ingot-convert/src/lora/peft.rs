//! Adapters as PEFT saves them: `adapter_config.json` beside the weights, modules
//! under transformers' names.

use super::{Part, scale};
use crate::{Error, Result};
use ingot_format::HfFolder;
use regex::{Regex, RegexBuilder};
use serde_json::Value;

const CONFIG: &str = "adapter_config.json";
/// Weights as PEFT saved them once.
pub(super) const OLD_WEIGHTS: &str = "adapter_model.bin";
/// What PEFT wraps around the model.
const PREFIX: &str = "base_model.model.";

/// Settings that make an adapter more than a product to be added, and what the
/// settings are when they do not.
const PLAIN: [(&str, Value); 6] = [
    ("use_dora", Value::Bool(false)),
    ("fan_in_fan_out", Value::Bool(false)),
    ("lora_bias", Value::Bool(false)),
    ("modules_to_save", Value::Null),
    ("trainable_token_indices", Value::Null),
    ("megatron_config", Value::Null),
];

pub(super) fn read(folder: &HfFolder) -> Result<Vec<Part>> {
    let config = folder.json(CONFIG)?.ok_or_else(|| {
        Error::refused(format!(
            "there is no {CONFIG}; an adapter is a folder that PEFT saved, or a GGUF adapter"
        ))
    })?;
    let scaling = Scaling::read(&config)?;
    let mut parts = Vec::new();
    for tensor in folder.tensors() {
        let name = tensor.name();
        let Some((module, side, rest)) = split(name) else { return Err(unknown(name)) };
        match side {
            "lora_A" => {
                let name = format!("{PREFIX}{module}.lora_B.{rest}");
                let b = folder.tensor(&name).ok_or_else(|| Error::refused(format!("'{name}' is missing")))?;
                let scale = scaling.of(module, tensor.rows())?;
                parts.push(Part { module: module.into(), a: tensor.clone(), b: b.clone(), scale });
            }
            "lora_B" if folder.tensor(&format!("{PREFIX}{module}.lora_A.{rest}")).is_some() => {}
            "lora_magnitude_vector" => return Err(more_than_lora("DoRA (lora_magnitude_vector)")),
            "lora_embedding_A" | "lora_embedding_B" => {
                return Err(Error::refused(format!(
                    "the adapter changes the embedding '{module}', which ingot does not merge"
                )));
            }
            _ => return Err(unknown(name)),
        }
    }
    Ok(parts)
}

/// `base_model.model.MODULE.SIDE.REST`: REST is `weight`, or the adapter's name
/// and `weight`.
fn split(name: &str) -> Option<(&str, &str, &str)> {
    let name = name.strip_prefix(PREFIX)?;
    let (module, rest) = name.split_at_checked(name.find(".lora_")?)?;
    let (side, rest) = rest[1..].split_once('.').unwrap_or((&rest[1..], ""));
    Some((module, side, rest))
}

/// How the factors of the parts follow from the configuration.
struct Scaling {
    alpha: f64,
    rank: usize,
    /// Modules with an alpha or a rank of their own.
    alphas: Vec<(Regex, f64)>,
    ranks: Vec<(Regex, f64)>,
    root: bool,
}

impl Scaling {
    fn read(config: &Value) -> Result<Self> {
        if let Some(kind) = config["peft_type"].as_str().filter(|kind| *kind != "LORA") {
            return Err(Error::refused(format!("the adapter is of the kind {kind:?}; ingot merges LoRA")));
        }
        for (key, plain) in &PLAIN {
            let value = &config[*key];
            let empty = value.as_array().is_some_and(Vec::is_empty)
                || value.as_object().is_some_and(|o| o.is_empty());
            if !value.is_null() && value != plain && !empty {
                return Err(more_than_lora(&format!("{key}: {value}")));
            }
        }
        if let Some(bias) = config["bias"].as_str().filter(|bias| *bias != "none") {
            return Err(more_than_lora(&format!("bias: {bias:?}")));
        }
        // These begin by changing the model itself, so what they add is of no use to it.
        let changes_base = ["pissa", "olora", "loftq", "corda"];
        let init = config["init_lora_weights"].as_str().unwrap_or_default();
        if changes_base.iter().any(|kind| init.to_lowercase().starts_with(kind)) {
            return Err(more_than_lora(&format!("init_lora_weights: {init:?}")));
        }
        let number = |key: &str| {
            let value = config[key].as_f64().filter(|v| v.is_finite());
            value.ok_or_else(|| Error::refused(format!("{CONFIG} does not say {key}, a number")))
        };
        let rank = config["r"].as_u64().and_then(|r| usize::try_from(r).ok()).filter(|r| *r > 0);
        Ok(Self {
            alpha: number("lora_alpha")?,
            rank: rank.ok_or_else(|| Error::refused(format!("{CONFIG} does not say r, the rank")))?,
            alphas: patterns(config, "alpha_pattern")?,
            ranks: patterns(config, "rank_pattern")?,
            root: config["use_rslora"] == true,
        })
    }

    /// The factor of a module whose part has this rank.
    fn of(&self, module: &str, rank: usize) -> Result<f32> {
        let find =
            |all: &[(Regex, f64)]| all.iter().find(|(r, _)| r.is_match(module)).map(|(_, value)| *value);
        let expected = find(&self.ranks).unwrap_or(self.rank as f64);
        if expected != rank as f64 {
            return Err(Error::refused(format!(
                "'{module}' has rank {rank}, but {CONFIG} says {expected}; they do not belong together"
            )));
        }
        Ok(scale(find(&self.alphas).unwrap_or(self.alpha), rank, self.root))
    }
}

/// Numbers by module. As in PEFT a key stands for the modules whose names end with
/// what it matches.
fn patterns(config: &Value, key: &str) -> Result<Vec<(Regex, f64)>> {
    /// Compiled patterns of a file that nobody has checked stay this small.
    const MAX_COMPILED: usize = 1 << 20;
    let Some(map) = config[key].as_object() else { return Ok(Vec::new()) };
    let read = |(pattern, value): (&String, &Value)| {
        let regex = RegexBuilder::new(&format!(r"^(.*\.)?({pattern})$")).size_limit(MAX_COMPILED).build();
        match (regex, value.as_f64()) {
            (Ok(regex), Some(value)) if value.is_finite() => Ok((regex, value)),
            _ => Err(Error::refused(format!(
                "{key} of {CONFIG}: {pattern:?} and {value} are not a pattern and a number"
            ))),
        }
    };
    map.iter().map(read).collect()
}

fn more_than_lora(what: &str) -> Error {
    Error::refused(format!(
        "the adapter is more than a LoRA that is added ({what}); merge it with PEFT itself"
    ))
}

fn unknown(name: &str) -> Error {
    Error::refused(format!("the adapter has '{name}', which is no part of a LoRA"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_are_taken_apart() {
        let name = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight";
        assert_eq!(split(name), Some(("model.layers.0.self_attn.q_proj", "lora_A", "weight")));
        assert_eq!(
            split("base_model.model.x.lora_B.default.weight"),
            Some(("x", "lora_B", "default.weight"))
        );
        assert_eq!(
            split("base_model.model.x.lora_magnitude_vector"),
            Some(("x", "lora_magnitude_vector", ""))
        );
        assert_eq!(split("model.x.lora_A.weight"), None);
        assert_eq!(split("base_model.model.lm_head.weight"), None);
    }

    #[test]
    fn factors() {
        let config = json!({"r": 8, "lora_alpha": 16, "rank_pattern": {"down_proj": 4},
            "alpha_pattern": {r"layers\.1\..*q_proj": 32, "o_proj": 2}});
        let scaling = Scaling::read(&config).unwrap();
        let of = |module: &str, rank| scaling.of(module, rank).unwrap();
        assert_eq!(of("model.layers.0.self_attn.q_proj", 8), 2.0);
        assert_eq!(of("model.layers.1.self_attn.q_proj", 8), 4.0);
        assert_eq!(of("model.layers.0.self_attn.o_proj", 8), 0.25);
        assert_eq!(of("model.layers.0.mlp.down_proj", 4), 4.0);
        assert_eq!(of("model.layers.0.mlp.xo_proj", 8), 2.0); // no name ends within a word
        assert!(scaling.of("model.layers.0.mlp.down_proj", 8).is_err());
        let config = json!({"r": 16, "lora_alpha": 16, "use_rslora": true});
        assert_eq!(Scaling::read(&config).unwrap().of("x", 16).unwrap(), 4.0);
    }

    #[test]
    fn what_is_more_than_lora_is_refused() {
        let plain = json!({"r": 8, "lora_alpha": 16, "bias": "none", "modules_to_save": null, "use_dora": false,
            "peft_type": "LORA", "init_lora_weights": true});
        assert!(Scaling::read(&plain).is_ok());
        for (key, value) in [
            ("use_dora", json!(true)),
            ("modules_to_save", json!(["lm_head"])),
            ("bias", json!("all")),
            ("peft_type", json!("LOHA")),
            ("fan_in_fan_out", json!(true)),
            ("init_lora_weights", json!("pissa_niter_4")),
            ("r", json!(null)),
            ("r", json!(0)),
            ("lora_alpha", json!("x")),
            ("alpha_pattern", json!({"(": 1})),
            ("alpha_pattern", json!({"x": "y"})),
            ("rank_pattern", json!({"(a{1000}){1000}": 1})),
        ] {
            let mut config = plain.clone();
            config[key] = value;
            let message = Scaling::read(&config).err().map(|e| e.to_string()).unwrap_or_default();
            assert!(message.contains(key) || message.contains("kind"), "{key}: {message}");
        }
    }
}
