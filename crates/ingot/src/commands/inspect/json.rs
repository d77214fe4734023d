//! Everything `ingot inspect` knows, for scripts.

use super::step::Steps;
use super::tensors::{self, Group};
use super::{View, cache_of_thousand, contexts, metadata, scratch};
use crate::cli::InspectArgs;
use ingot::{Memory, Tokenizer};
use ingot_format::DType;
use ingot_models::Model;
use serde_json::{Value, json};

pub fn describe(view: &View, steps: Option<&Steps>, args: &InspectArgs) -> Value {
    let tensors = view.file.tensors();
    let groups = tensors::groups(tensors, false);
    let shares = tensors::shares(tensors);
    json!({
        "path": view.name,
        "supported": view.model.is_ok(),
        "error": view.model.as_ref().err(),
        "model": view.model.as_ref().ok().map(model),
        "tokenizer": match &view.tokenizer {
            Ok(found) => tokenizer(found),
            Err(e) => json!({ "error": e }),
        },
        "metadata": metadata::json(&view.file),
        "tensors": groups.iter().map(tensor).collect::<Value>(),
        "types": shares
            .iter()
            .map(|s| json!({ "type": s.dtype.name(), "tensors": s.tensors, "bytes": s.bytes }))
            .collect::<Value>(),
        "memory": view.model.as_ref().ok().map(|model| memory(model, args)),
        "plan": args.plan.then(|| view.model.as_ref().ok().map(|model| model.plan.to_string())),
        "step": steps.map(Steps::json),
    })
}

fn model(model: &Model) -> Value {
    let info = &model.info;
    json!({
        "name": info.name,
        "family": info.family.name(),
        "parameters": info.parameters,
        "layers": info.layers,
        "hidden": info.hidden,
        "vocab": info.vocab,
        "context": info.context,
        "operations": model.plan.ops().len(),
    })
}

fn tokenizer(tokenizer: &Tokenizer) -> Value {
    json!({
        "kind": tokenizer.kind(),
        "tokens": tokenizer.vocab_size(),
        "bos": tokenizer.bos(),
        "end_of_generation": tokenizer.end_of_generation(),
        "chat_template": tokenizer.chat_template().is_some(),
    })
}

fn tensor(group: &Group) -> Value {
    json!({ "name": group.name, "type": group.dtype.name(), "shape": group.shape, "bytes": group.bytes })
}

fn memory(model: &Model, args: &InspectArgs) -> Value {
    let memory = Memory::of(&model.plan, DType::F16);
    let sessions: Vec<_> = contexts(model.info.context, &args.ctx)
        .into_iter()
        .map(|tokens| {
            let bytes = memory.sequence(tokens);
            let resident = memory.weights.saturating_add(bytes).saturating_add(scratch(model));
            json!({ "tokens": tokens, "bytes": bytes, "resident_bytes": resident })
        })
        .collect();
    json!({
        "weights_bytes": memory.weights,
        "bytes_per_token": model.plan.bytes_per_token(),
        "state_bytes": memory.slot_bytes,
        "cache_bytes_per_1000_tokens": cache_of_thousand(&memory),
        "buffer_bytes": scratch(model),
        "sessions": sessions,
    })
}
