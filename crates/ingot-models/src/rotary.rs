//! Rotary embeddings as files describe them.
//!
//! GGUF has a base, optionally a linear factor, and for Llama 3 a tensor of
//! divisors that were worked out by the converter. Hugging Face describes the
//! scaling in `rope_scaling` (`rope_parameters` in newer files).

use crate::source::{Source, key};
use crate::{Error, Result};
use ingot_plan::ops::{Pairing, Rotary};
use serde_json::Value;
use std::f32::consts::TAU;

/// The rotary embedding of a model with heads of `head_size`.
pub(crate) fn read(source: &Source, pairing: Pairing, head_size: usize) -> Result<Rotary> {
    let size = source.size_or_absent(key::ROPE_SIZE)?.unwrap_or(head_size);
    if !size.is_multiple_of(2) || size > head_size {
        let what = format!("{size} rotated values in a head of {head_size}");
        return Err(Error::inconsistent(format!("{what}: expected an even number that fits")));
    }
    let base = source.float_or_absent(key::ROPE_BASE)?.unwrap_or(10_000.0);
    if base <= 0.0 {
        return Err(Error::inconsistent(format!("rope base {base}")));
    }
    let mut frequencies: Vec<f32> =
        (0..size / 2).map(|j| f64::from(base).powf(-2.0 * j as f64 / size as f64) as f32).collect();
    let divisors = match source {
        Source::Gguf { file, arch } => in_gguf(source, file, arch, frequencies.len())?,
        Source::HuggingFace { config, .. } => in_config(config, &frequencies)?,
        Source::Rwkv(_) => None,
    };
    for (f, d) in frequencies.iter_mut().zip(divisors.iter().flatten()) {
        *f /= d;
    }
    Ok(Rotary { pairing, frequencies, scale: 1.0 })
}

fn in_gguf(source: &Source, file: &ingot_format::Gguf, arch: &str, pairs: usize) -> Result<Option<Vec<f32>>> {
    if let Some(tensor) = source.tensor("rope_freqs.weight")? {
        let mut divisors = vec![0.0; tensor.len()];
        if tensor.len() != pairs {
            let n = tensor.len();
            return Err(Error::inconsistent(format!("rope_freqs.weight has {n} values, expected {pairs}")));
        }
        tensor.dtype().dequantize(tensor.data(), &mut divisors);
        if divisors.iter().any(|d| !d.is_finite() || *d <= 0.0) {
            return Err(Error::inconsistent("rope_freqs.weight holds a value that is not positive"));
        }
        return Ok(Some(divisors));
    }
    match file.str(&format!("{arch}.rope.scaling.type"))? {
        None | Some("none") => Ok(None),
        Some("linear") => {
            let key = format!("{arch}.rope.scaling.factor");
            Ok(Some(vec![positive(&key, file.f32(&key)?.map(f64::from))?; pairs]))
        }
        Some(other) => Err(unsupported(other)),
    }
}

pub(crate) fn in_config(config: &Value, frequencies: &[f32]) -> Result<Option<Vec<f32>>> {
    let scaling = ["rope_scaling", "rope_parameters"].iter().map(|k| &config[*k]).find(|v| v.is_object());
    let Some(scaling) = scaling else { return Ok(None) };
    let number = |key: &str| positive(key, scaling[key].as_f64());
    match scaling["rope_type"].as_str().or(scaling["type"].as_str()) {
        None | Some("default") => Ok(None),
        Some("linear") => Ok(Some(vec![number("factor")?; frequencies.len()])),
        Some("llama3") => {
            let [factor, low, high, old] =
                ["factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"]
                    .map(number);
            let (factor, low, high, old) = (factor?, low?, high?, old?);
            Ok(Some(frequencies.iter().map(|f| llama3_divisor(TAU / f, factor, low, high, old)).collect()))
        }
        Some(other) => Err(unsupported(other)),
    }
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
    Error::unsupported(format!("unsupported rope scaling '{kind}'; ingot knows linear and llama3"))
}

#[cfg(test)]
mod tests {
    use super::llama3_divisor;

    #[test]
    fn llama3_scaling() {
        let divisor = |wavelength| llama3_divisor(wavelength, 32.0, 1.0, 4.0, 8192.0);
        assert_eq!(divisor(100.0), 1.0); // shorter than 8192 / 4
        assert!((divisor(10_000.0) - 32.0).abs() < 1e-4); // longer than 8192 / 1
        let half = 8192.0 / 2.5; // halfway between the two limits
        assert!((divisor(half) - 1.0 / (0.5 / 32.0 + 0.5)).abs() < 1e-4);
    }
}
