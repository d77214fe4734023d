//! The text of `src/model.rs`: what the model is.

use super::Facts;
use super::names::literal;
use super::weights::Written;

/// The text.
pub fn text(facts: &Facts, weights: Written) -> String {
    let info = &facts.info;
    let optional = |value: Option<String>| value.map_or("None".into(), |value| format!("Some({value})"));
    let ends: Vec<String> = facts.ends.iter().map(u32::to_string).collect();
    format!(
        "\
//! What the model is, and how it is usually sampled.

use ingot_runtime::{{Description, Family, SamplerOptions, WeightsFile}};

/// The model.
#[rustfmt::skip] // its name and template may be long
pub const MODEL: Description = Description {{
    name: {name},
    family: Family::{family:?},
    vocab: {vocab},
    hidden: {hidden},
    layers: {layers},
    parameters: {parameters},
    context: {context},
    bos: {bos},
    ends: &[{ends}],
    chat_template: {template},
    weights: WeightsFile {{ bytes: {bytes}, crc32: 0x{crc:08x} }},
    plan: crate::plan::plan,
    launches: crate::launches::launches,
}};

/// How tokens are chosen unless the arguments say otherwise.
pub fn sampling() -> SamplerOptions {{
    SamplerOptions {{ temperature: 0.7, top_k: 40, top_p: 0.95, min_p: 0.05, ..SamplerOptions::default() }}
}}
",
        name = literal(&facts.name),
        family = info.family,
        vocab = info.vocab,
        hidden = info.hidden,
        layers = info.layers,
        parameters = info.parameters,
        context = optional(facts.context.map(|n| n.to_string())),
        bos = optional(facts.bos.map(|id| id.to_string())),
        ends = ends.join(", "),
        template = optional(facts.template.as_deref().map(literal)),
        bytes = weights.bytes,
        crc = weights.crc32,
    )
}
