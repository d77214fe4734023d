//! Rotary embeddings as files describe them.
//!
//! GGUF has a base, optionally a linear factor, and tensors of divisors: one for Llama 3, which the
//! converter worked out, or two for Phi-3, for short and for long contexts. Hugging Face describes
//! the scaling in `rope_scaling` (`rope_parameters` in newer files, where it may be one for each
//! type of layer).

use crate::source::{Source, key};
use crate::{Error, Result};
use ingot_plan::ops::{Pairing, Rotary};
use serde_json::Value;
use std::f32::consts::TAU;

/// The heads that are turned.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    pub(crate) pairing: Pairing,
    /// Values of a head.
    pub(crate) size: usize,
    /// The context that the model is to be run with; without one as it was first trained.
    pub(crate) context: Option<usize>,
}

/// What is done to plain frequencies.
struct Scaling {
    /// What each frequency is divided by.
    divisors: Vec<f32>,
    /// Factor on sine and cosine.
    scale: f32,
}

/// A rotary embedding without any scaling.
pub(crate) fn plain(pairing: Pairing, base: f32, pairs: usize) -> Rotary {
    let turn = |j: usize| f64::from(base).powf(-(j as f64) / pairs as f64) as f32;
    Rotary { pairing, frequencies: (0..pairs).map(turn).collect(), scale: 1.0 }
}

/// The rotary embedding of a model, or of those of its layers that see everything.
pub(crate) fn read(source: &Source, head: Head) -> Result<Rotary> {
    let base = source.float_or_absent(key::ROPE_BASE)?;
    let (base, scaling) = match source {
        Source::Gguf { .. } => (base, None),
        Source::HuggingFace { config, .. } => {
            let described = described(config, "full_attention");
            (base.or(described.and_then(|d| d["rope_theta"].as_f64()).map(|b| b as f32)), described)
        }
        Source::Rwkv(_) => (base, None),
    };
    let mut rotary = plain(head.pairing, checked_base(base.unwrap_or(10_000.0))?, pairs(source, head)?);
    let scaling = match (source, scaling) {
        (Source::Gguf { file, arch }, _) => in_gguf(source, file, arch, head, rotary.frequencies.len())?,
        (Source::HuggingFace { config, .. }, Some(described)) => {
            in_config(config, described, head, &rotary.frequencies)?
        }
        _ => None,
    };
    if let Some(Scaling { divisors, scale }) = scaling {
        rotary.frequencies.iter_mut().zip(divisors).for_each(|(f, d)| *f /= d);
        rotary.scale = scale;
    }
    Ok(rotary)
}

/// That of the layers with a window, if the file says that it is another: it is never scaled.
pub(crate) fn read_local(source: &Source, head: Head) -> Result<Option<Rotary>> {
    let described = match source {
        Source::HuggingFace { config, .. } => {
            described(config, "sliding_attention").and_then(|d| d["rope_theta"].as_f64()).map(|b| b as f32)
        }
        Source::Gguf { .. } | Source::Rwkv(_) => None,
    };
    match source.positive(key::ROPE_LOCAL_BASE)?.or(described) {
        None => Ok(None),
        Some(base) => Ok(Some(plain(head.pairing, checked_base(base)?, pairs(source, head)?))),
    }
}

/// How a folder describes the rotary embedding, in the numbers that GGUF has for it.
pub(crate) struct Described {
    /// Pairs of a head that are turned.
    pub(crate) pairs: usize,
    pub(crate) base: f32,
    /// The base of layers with a window, if it is another.
    pub(crate) local_base: Option<f32>,
    /// What each frequency is divided by, and the factor on sine and cosine.
    pub(crate) scaling: Option<(Vec<f32>, f32)>,
}

/// The description of a folder, for contexts of `head.context`.
pub(crate) fn of_folder(source: &Source, config: &Value, head: Head) -> Result<Described> {
    let theta = |of: Option<&Value>| of.and_then(|d| d["rope_theta"].as_f64()).map(|b| b as f32);
    let all = described(config, "full_attention");
    let base = checked_base(source.float_or_absent(key::ROPE_BASE)?.or(theta(all)).unwrap_or(10_000.0))?;
    let pairs = pairs(source, head)?;
    let plain = plain(head.pairing, base, pairs);
    let scaling = match all {
        Some(scaling) => in_config(config, scaling, head, &plain.frequencies)?.map(|s| (s.divisors, s.scale)),
        None => None,
    };
    let local = source.positive(key::ROPE_LOCAL_BASE)?.or(theta(described(config, "sliding_attention")));
    Ok(Described { pairs, base, local_base: local, scaling })
}

fn checked_base(base: f32) -> Result<f32> {
    if base.is_finite() && base > 0.0 {
        Ok(base)
    } else {
        Err(Error::inconsistent(format!("rope base {base}")))
    }
}

/// How many pairs of a head are turned.
fn pairs(source: &Source, head: Head) -> Result<usize> {
    let part = match source {
        Source::HuggingFace { config, .. } => {
            let new = described(config, "full_attention").map(|d| &d["partial_rotary_factor"]);
            new.into_iter().chain([&config["partial_rotary_factor"]]).find_map(Value::as_f64)
        }
        Source::Gguf { .. } | Source::Rwkv(_) => None,
    };
    let size = match (source.size_or_absent(key::ROPE_SIZE)?, part) {
        (Some(size), _) => size,
        (None, Some(part)) => (head.size as f64 * part) as usize,
        (None, None) => head.size,
    };
    if !size.is_multiple_of(2) || size > head.size {
        let what = format!("{size} rotated values in a head of {}", head.size);
        return Err(Error::inconsistent(format!("{what}: expected an even number that fits")));
    }
    Ok(size / 2)
}

fn in_gguf(
    source: &Source,
    file: &ingot_format::Gguf,
    arch: &str,
    head: Head,
    pairs: usize,
) -> Result<Option<Scaling>> {
    if let Some(divisors) = stored(source, "rope_freqs.weight", pairs)? {
        return Ok(Some(Scaling { divisors, scale: 1.0 }));
    }
    let old = source.size_or_absent(key::OLD_CONTEXT)?;
    let of_length = if is_long(head, old) { "rope_factors_long.weight" } else { "rope_factors_short.weight" };
    if let Some(divisors) = stored(source, of_length, pairs)? {
        let key = format!("{arch}.rope.scaling.attn_factor");
        let scale = file.f32(&key)?.map_or(Ok(1.0), |f| positive(&key, Some(f64::from(f))))?;
        return Ok(Some(Scaling { divisors, scale }));
    }
    match file.str(&format!("{arch}.rope.scaling.type"))? {
        None | Some("none") => Ok(None),
        Some("linear") => {
            let key = format!("{arch}.rope.scaling.factor");
            let factor = positive(&key, file.f32(&key)?.map(f64::from))?;
            Ok(Some(Scaling { divisors: vec![factor; pairs], scale: 1.0 }))
        }
        Some(other) => Err(unsupported(other)),
    }
}

/// The divisors that a tensor holds, if there is one of this name.
fn stored(source: &Source, name: &str, pairs: usize) -> Result<Option<Vec<f32>>> {
    let Some(tensor) = source.tensor(name)? else { return Ok(None) };
    if tensor.len() != pairs {
        let n = tensor.len();
        return Err(Error::inconsistent(format!("{name} has {n} values, expected {pairs}")));
    }
    let mut divisors = vec![0.0; pairs];
    tensor.dtype().dequantize(tensor.data(), &mut divisors);
    if divisors.iter().any(|d| !d.is_finite() || *d <= 0.0) {
        return Err(Error::inconsistent(format!("{name} holds a value that is not positive")));
    }
    Ok(Some(divisors))
}

/// Whether the context is longer than the one the model was first trained with, if that is known.
fn is_long(head: Head, old: Option<usize>) -> bool {
    head.context.zip(old).is_some_and(|(context, old)| context > old)
}

/// Where config.json describes the rotary embedding of this type of layer.
fn described<'c>(config: &'c Value, layer_type: &str) -> Option<&'c Value> {
    let parameters = &config["rope_parameters"];
    if parameters[layer_type].is_object() {
        return Some(&parameters[layer_type]);
    }
    let of_all = ["rope_scaling", "rope_parameters"].into_iter().map(|k| &config[k]).find(|v| v.is_object());
    of_all.filter(|_| layer_type == "full_attention")
}

fn in_config(config: &Value, scaling: &Value, head: Head, frequencies: &[f32]) -> Result<Option<Scaling>> {
    let pairs = frequencies.len();
    let number = |key: &str| positive(key, scaling[key].as_f64());
    let divided = |divisors| Ok(Some(Scaling { divisors, scale: 1.0 }));
    match scaling["rope_type"].as_str().or(scaling["type"].as_str()) {
        None | Some("default") => Ok(None),
        Some("linear") => divided(vec![number("factor")?; pairs]),
        Some("llama3") => {
            let [factor, low, high, old] =
                ["factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"]
                    .map(number);
            let (factor, low, high, old) = (factor?, low?, high?, old?);
            divided(frequencies.iter().map(|f| llama3_divisor(TAU / f, factor, low, high, old)).collect())
        }
        Some("longrope" | "su") => longrope(config, scaling, head, pairs).map(Some),
        Some(other) => Err(unsupported(other)),
    }
}

/// Phi-3's divisors, of which there are two sets, and its factor.
fn longrope(config: &Value, scaling: &Value, head: Head, pairs: usize) -> Result<Scaling> {
    let number = |key: &str| [&scaling[key], &config[key]].into_iter().find_map(Value::as_f64);
    let old = number("original_max_position_embeddings");
    let which = if is_long(head, old.map(|old| old as usize)) { "long_factor" } else { "short_factor" };
    let listed = scaling[which].as_array().map(Vec::as_slice).unwrap_or_default();
    if listed.len() != pairs {
        let n = listed.len();
        return Err(Error::inconsistent(format!("{which} has {n} values, expected {pairs}")));
    }
    let divisors: Result<Vec<f32>> = listed.iter().map(|v| positive(which, v.as_f64())).collect();
    let scale = match (number("attention_factor"), number("max_position_embeddings").zip(old)) {
        (Some(factor), _) => factor,
        (None, Some((context, old))) if old > 1.0 && context > old => {
            (1.0 + (context / old).ln() / old.ln()).sqrt()
        }
        (None, _) => 1.0,
    };
    Ok(Scaling { divisors: divisors?, scale: positive("attention_factor", Some(scale))? })
}

/// Llama 3.1's scaling of a frequency of this wavelength: short waves are kept,
/// long ones stretched by `factor`, those between blended.
fn llama3_divisor(wavelength: f32, factor: f32, low: f32, high: f32, old_context: f32) -> f32 {
    let kept = ((old_context / wavelength - low) / (high - low)).clamp(0.0, 1.0);
    1.0 / ((1.0 - kept) / factor + kept)
}

fn positive(key: &str, value: Option<f64>) -> Result<f32> {
    match value.map(|v| v as f32) {
        Some(v) if v.is_finite() && v > 0.0 => Ok(v),
        Some(v) => Err(Error::inconsistent(format!("{key} is {v}, expected a positive number"))),
        None => Err(Error::inconsistent(format!("rope scaling does not say {key}"))),
    }
}

fn unsupported(kind: &str) -> Error {
    Error::unsupported(format!("unsupported rope scaling '{kind}'; ingot knows linear, llama3 and longrope"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn llama3_scaling() {
        let divisor = |wavelength| llama3_divisor(wavelength, 32.0, 1.0, 4.0, 8192.0);
        assert_eq!(divisor(100.0), 1.0); // shorter than 8192 / 4
        assert!((divisor(10_000.0) - 32.0).abs() < 1e-4); // longer than 8192 / 1
        let half = 8192.0 / 2.5; // halfway between the two limits
        assert!((divisor(half) - 1.0 / (0.5 / 32.0 + 0.5)).abs() < 1e-4);
    }

    #[test]
    fn longrope_by_the_context() {
        let config = json!({
            "max_position_embeddings": 4096, "original_max_position_embeddings": 512,
            "rope_scaling": { "type": "longrope", "short_factor": [1.0, 1.5], "long_factor": [2.0, 8] },
        });
        let scaling = |context| {
            let head = Head { pairing: Pairing::Halves, size: 4, context };
            let described = described(&config, "full_attention").unwrap();
            in_config(&config, described, head, &[1.0, 0.1]).unwrap().unwrap()
        };
        assert_eq!(scaling(Some(512)).divisors, [1.0, 1.5]);
        assert_eq!(scaling(Some(513)).divisors, [2.0, 8.0]);
        assert_eq!(scaling(None).divisors, [1.0, 1.5]);
        // 1 + ln 8 / ln 512 is 4 / 3.
        assert!((scaling(None).scale - (4.0f32 / 3.0).sqrt()).abs() < 1e-6);
    }

    #[test]
    fn what_is_wrong_with_a_scaling_is_said() {
        let head = Head { pairing: Pairing::Halves, size: 4, context: None };
        for (scaling, part) in [
            (json!({ "rope_type": "yarn" }), "'yarn'"),
            (json!({ "rope_type": "linear" }), "does not say factor"),
            (json!({ "rope_type": "linear", "factor": -1 }), "factor is -1"),
            (
                json!({ "rope_type": "longrope", "short_factor": [1.0] }),
                "short_factor has 1 values, expected 2",
            ),
            (json!({ "rope_type": "longrope", "short_factor": [1.0, 0.0] }), "short_factor is 0"),
        ] {
            let error = in_config(&json!({}), &scaling, head, &[1.0, 0.1]).err().unwrap().to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn one_description_for_all_layers_or_for_each_type() {
        let old = json!({ "rope_scaling": { "rope_type": "linear", "factor": 8 } });
        assert_eq!(described(&old, "full_attention").unwrap()["factor"], 8);
        assert!(described(&old, "sliding_attention").is_none());
        let new = json!({ "rope_parameters": {
            "full_attention": { "rope_theta": 1e6 }, "sliding_attention": { "rope_theta": 1e4 },
        }});
        assert_eq!(described(&new, "full_attention").unwrap()["rope_theta"], 1e6);
        assert_eq!(described(&new, "sliding_attention").unwrap()["rope_theta"], 1e4);
    }
}
