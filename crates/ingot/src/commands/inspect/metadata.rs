//! A file's metadata, for people and as JSON. Long arrays (vocabularies) are
//! abbreviated in both.

use ingot::ModelFile;
use ingot_format::Gguf;
use ingot_format::gguf::{Array, Value};
use serde_json::{Map, json};

/// Arrays with more elements are only described.
const MAX_SHOWN: usize = 64;

/// Keys and values as short texts, in the order of the file.
pub fn entries(file: &ModelFile) -> Vec<(String, String)> {
    match file {
        ModelFile::Gguf(gguf) => {
            gguf.entries().map(|(key, value)| (key.to_string(), value.to_string())).collect()
        }
        ModelFile::HuggingFace(folder) => {
            let config = folder.config().and_then(|config| config.as_object());
            config.into_iter().flatten().map(|(key, value)| (key.clone(), value.to_string())).collect()
        }
    }
}

/// The same as a JSON object.
pub fn json(file: &ModelFile) -> serde_json::Value {
    match file {
        ModelFile::Gguf(gguf) => {
            let entries = gguf.entries().map(|(key, value)| (key.to_string(), json_value(gguf, key, value)));
            entries.collect::<Map<_, _>>().into()
        }
        ModelFile::HuggingFace(folder) => folder.config().cloned().unwrap_or_default(),
    }
}

fn json_value(gguf: &Gguf, key: &str, value: &Value) -> serde_json::Value {
    match value {
        Value::U8(v) => json!(v),
        Value::I8(v) => json!(v),
        Value::U16(v) => json!(v),
        Value::I16(v) => json!(v),
        Value::U32(v) => json!(v),
        Value::I32(v) => json!(v),
        Value::U64(v) => json!(v),
        Value::I64(v) => json!(v),
        Value::F32(v) => short_float(*v),
        Value::F64(v) => json!(v),
        Value::Bool(v) => json!(v),
        Value::String(text) => json!(String::from_utf8_lossy(text.as_bytes())),
        Value::Array(array) => json_array(gguf, key, array),
    }
}

fn json_array(gguf: &Gguf, key: &str, array: &Array) -> serde_json::Value {
    let strings = || array.strings()?.collect::<Result<Vec<_>, _>>().ok().map(|strings| json!(strings));
    let floats = || Some(gguf.f32s(key).ok()??.into_iter().map(short_float).collect());
    let ints = || gguf.ints(key).ok()?.map(|ints| json!(ints));
    let elements = match array.len() {
        0..=MAX_SHOWN => strings().or_else(ints).or_else(floats),
        _ => None,
    };
    let kind = || format!("{:?}", array.element_type()).to_lowercase();
    elements.unwrap_or_else(|| json!({ "array_of": kind(), "length": array.len() }))
}

/// The shortest number that is the same f32: 0.1, not 0.10000000149011612.
fn short_float(v: f32) -> serde_json::Value {
    json!(v.to_string().parse::<f64>().unwrap_or(f64::NAN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_short() {
        assert_eq!(short_float(0.1).to_string(), "0.1");
        assert_eq!(short_float(f32::NAN), serde_json::Value::Null);
    }

    #[test]
    fn vocabularies_are_abbreviated() {
        let gguf = ingot_format::Gguf::from_bytes(ingot::embedded_bytes()).unwrap();
        let json = json(&ModelFile::Gguf(gguf.clone()));
        assert_eq!(json["tokenizer.ggml.tokens"]["array_of"], "string");
        assert_eq!(json["general.name"], "tale-llama");
        assert_eq!(entries(&ModelFile::Gguf(gguf)).len(), json.as_object().unwrap().len());
    }
}
