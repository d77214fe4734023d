//! Which type each tensor of a file gets: the mixtures that llama.cpp made usual,
//! so that a file of a given name is what everybody expects of it.

use crate::{Error, Model, Result, Weight};
use ingot_format::DType;

/// A mixture of types, named by what most of a file has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(non_camel_case_types, missing_docs)] // the names are the usual ones
pub enum Mix {
    F32,
    F16,
    BF16,
    Q8_0,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q2_K,
    Q2_K_S,
    Q3_K_S,
    Q3_K_M,
    Q3_K_L,
    Q4_K_S,
    Q4_K_M,
    Q5_K_S,
    Q5_K_M,
    Q6_K,
    IQ4_NL,
    IQ4_XS,
    MXFP4,
}

use DType as T;

impl Mix {
    /// Every mixture, from the most bits to the fewest.
    pub const ALL: [Mix; 21] = [
        Self::F32,
        Self::F16,
        Self::BF16,
        Self::Q8_0,
        Self::Q6_K,
        Self::Q5_1,
        Self::Q5_0,
        Self::Q5_K_M,
        Self::Q5_K_S,
        Self::Q4_1,
        Self::Q4_K_M,
        Self::Q4_K_S,
        Self::Q4_0,
        Self::IQ4_NL,
        Self::IQ4_XS,
        Self::MXFP4,
        Self::Q3_K_L,
        Self::Q3_K_M,
        Self::Q3_K_S,
        Self::Q2_K,
        Self::Q2_K_S,
    ];

    /// (name, `general.file_type`, the type that most tensors get)
    const fn row(self) -> (&'static str, u32, DType) {
        match self {
            Self::F32 => ("F32", 0, T::F32),
            Self::F16 => ("F16", 1, T::F16),
            Self::BF16 => ("BF16", 32, T::BF16),
            Self::Q8_0 => ("Q8_0", 7, T::Q8_0),
            Self::Q4_0 => ("Q4_0", 2, T::Q4_0),
            Self::Q4_1 => ("Q4_1", 3, T::Q4_1),
            Self::Q5_0 => ("Q5_0", 8, T::Q5_0),
            Self::Q5_1 => ("Q5_1", 9, T::Q5_1),
            Self::Q2_K => ("Q2_K", 10, T::Q2_K),
            Self::Q2_K_S => ("Q2_K_S", 21, T::Q2_K),
            Self::Q3_K_S => ("Q3_K_S", 11, T::Q3_K),
            Self::Q3_K_M => ("Q3_K_M", 12, T::Q3_K),
            Self::Q3_K_L => ("Q3_K_L", 13, T::Q3_K),
            Self::Q4_K_S => ("Q4_K_S", 14, T::Q4_K),
            Self::Q4_K_M => ("Q4_K_M", 15, T::Q4_K),
            Self::Q5_K_S => ("Q5_K_S", 16, T::Q5_K),
            Self::Q5_K_M => ("Q5_K_M", 17, T::Q5_K),
            Self::Q6_K => ("Q6_K", 18, T::Q6_K),
            Self::IQ4_NL => ("IQ4_NL", 25, T::IQ4_NL),
            Self::IQ4_XS => ("IQ4_XS", 30, T::IQ4_XS),
            Self::MXFP4 => ("MXFP4", 38, T::MXFP4),
        }
    }

    /// The usual name.
    pub const fn name(self) -> &'static str {
        self.row().0
    }

    /// The number in `general.file_type`.
    pub const fn file_type(self) -> u32 {
        self.row().1
    }

    /// The type that most tensors get.
    pub const fn main(self) -> DType {
        self.row().2
    }

    /// The mixture of this name, in small or large letters. A K type alone stands
    /// for its mixture of medium size.
    pub fn named(name: &str) -> Option<Self> {
        let name = name.to_ascii_uppercase();
        let medium = format!("{name}_M");
        Self::ALL.into_iter().find(|mix| mix.name() == name || mix.name() == medium)
    }

    /// The mixture that keeps float weights as they are.
    pub fn of_float(dtype: DType) -> Option<Self> {
        [Self::F32, Self::F16, Self::BF16].into_iter().find(|mix| mix.main() == dtype)
    }

    /// The type of each of the model's weights, in order. That it is known what matters
    /// decides a few of them.
    ///
    /// # Errors
    /// If weights that are quantized already would be quantized again, unless that is
    /// chosen.
    pub fn plan(self, model: &Model, options: Choices) -> Result<Vec<DType>> {
        let shape = ModelShape::of(model);
        let plan: Vec<DType> = model.weights().iter().map(|w| self.choose(w, &shape, options)).collect();
        let is_float = |t: DType| t.block_len() == 1;
        let twice = |(w, to): &(&Weight, &DType)| !is_float(w.dtype()) && **to != w.dtype();
        match model.weights().iter().zip(&plan).find(twice) {
            Some((weight, &to)) if !options.again => {
                Err(Error::Quantized { tensor: weight.name().into(), from: weight.dtype(), to })
            }
            _ => Ok(plan),
        }
    }

    fn choose(self, weight: &Weight, model: &ModelShape, options: Choices) -> DType {
        if !is_quantized(weight) {
            return weight.kept();
        }
        let wanted = match options.pure || self.main().block_len() == 1 {
            true => self.main(),
            false => self.by_role(weight, model, options.importance),
        };
        fitting(wanted, weight.cols())
    }

    fn by_role(self, weight: &Weight, model: &ModelShape, importance: bool) -> DType {
        let (role, layer, layers) = (Role::of(weight.name()), layer(weight.name()), model.layers);
        let main = self.main();
        let more = layer < layers / 8 || layer >= 7 * layers / 8 || (layer - layers / 8) % 3 == 2;
        let many_heads_a_key = model.group >= 4;
        let eight_experts = model.experts == 8;
        match role {
            Role::Output => output(main, weight.cols()),
            Role::Embedding if model.tied => output(main, weight.cols()),
            Role::Value => {
                let chosen = match self {
                    Self::Q2_K | Self::Q2_K_S if many_heads_a_key => T::Q4_K,
                    Self::Q2_K => T::Q3_K,
                    Self::Q3_K_M if layer < 2 => T::Q5_K,
                    Self::Q3_K_M => T::Q4_K,
                    Self::Q3_K_L => T::Q5_K,
                    Self::IQ4_NL | Self::IQ4_XS if many_heads_a_key => T::Q5_K,
                    Self::Q4_K_M | Self::Q5_K_M if more => T::Q6_K,
                    Self::Q4_K_S if layer < 4 => T::Q5_K,
                    _ => main,
                };
                match chosen {
                    _ if eight_experts => T::Q8_0,
                    T::Q3_K | T::Q4_K if model.is_70b => T::Q5_K,
                    chosen => chosen,
                }
            }
            Role::Key if eight_experts => T::Q8_0,
            Role::Down => match self {
                Self::Q2_K => T::Q3_K,
                Self::Q2_K_S if layer < layers / 8 => T::Q4_K,
                Self::Q3_K_M if layer < layers / 16 => T::Q5_K,
                Self::Q3_K_M => T::Q4_K,
                Self::Q3_K_L => T::Q5_K,
                Self::Q4_K_M | Self::Q5_K_M if more => T::Q6_K,
                Self::IQ4_NL | Self::IQ4_XS | Self::Q4_K_S if layer < layers / 8 => match self {
                    Self::Q4_K_S => T::Q5_K,
                    _ if importance => main,
                    _ => T::Q5_K,
                },
                Self::Q4_0 if importance && layer < layers / 8 => T::Q4_1,
                Self::Q5_0 if importance && layer < layers / 8 => T::Q5_1,
                _ => main,
            },
            Role::AttentionOutput => match self {
                Self::Q2_K
                | Self::Q3_K_S
                | Self::Q3_K_M
                | Self::Q4_K_S
                | Self::Q4_K_M
                | Self::IQ4_NL
                | Self::IQ4_XS
                    if eight_experts =>
                {
                    T::Q5_K
                }
                _ if eight_experts => main,
                Self::Q2_K => T::Q3_K,
                Self::Q3_K_M => T::Q4_K,
                Self::Q3_K_L => T::Q5_K,
                _ => main,
            },
            Role::Embedding | Role::Key | Role::Other => main,
        }
    }
}

/// What else decides about types.
#[derive(Clone, Copy, Debug, Default)]
pub struct Choices {
    /// Every matrix gets the mixture's main type.
    pub pure: bool,
    /// It is known what matters.
    pub importance: bool,
    /// Quantized weights may be quantized again.
    pub again: bool,
}

/// The numbers of a model that decide about types.
struct ModelShape {
    layers: usize,
    /// Heads that share keys and values.
    group: usize,
    experts: usize,
    /// The embedding table is the output matrix as well.
    tied: bool,
    is_70b: bool,
}

impl ModelShape {
    fn of(model: &Model) -> Self {
        let size = |key: &str| model.uint(key).unwrap_or(0) as usize;
        let (layers, heads) = (size("block_count"), size("attention.head_count"));
        let kv_heads = model.uint("attention.head_count_kv").map_or(heads, |n| n as usize);
        let group = heads.checked_div(kv_heads).unwrap_or(1);
        Self {
            layers,
            group,
            experts: size("expert_count"),
            tied: !model.weights().iter().any(|w| w.name() == "output.weight"),
            is_70b: layers == 80 && group > 1 && matches!(model.architecture(), "llama" | "qwen2"),
        }
    }
}

/// What a matrix is for, as far as mixtures tell it apart.
enum Role {
    Output,
    Embedding,
    Value,
    Key,
    AttentionOutput,
    Down,
    Other,
}

impl Role {
    fn of(name: &str) -> Self {
        let has = |part: &str| name.contains(part);
        match name {
            "output.weight" => Self::Output,
            "token_embd.weight" => Self::Embedding,
            _ if has("attn_v.weight") || has("attn_qkv.weight") => Self::Value,
            _ if has("attn_k.weight") => Self::Key,
            _ if has("attn_output.weight") => Self::AttentionOutput,
            _ if has("ffn_down") => Self::Down,
            _ => Self::Other,
        }
    }
}

/// The number of a tensor's block.
fn layer(name: &str) -> usize {
    let number = name.strip_prefix("blk.").and_then(|rest| rest.split('.').next());
    number.and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// The output matrix decides about every token, so it gets more bits.
fn output(main: DType, cols: usize) -> DType {
    match main {
        _ if !cols.is_multiple_of(main.block_len()) => T::Q8_0,
        T::Q8_0 => T::Q8_0,
        _ => T::Q6_K,
    }
}

/// The wanted type, or the next larger one of shorter blocks if rows are not whole
/// blocks.
fn fitting(wanted: DType, cols: usize) -> DType {
    let fits = |t: DType| cols.is_multiple_of(t.block_len());
    let smaller = match wanted {
        t if fits(t) => t,
        T::Q2_K | T::Q3_K => T::Q4_0,
        T::IQ4_XS => T::IQ4_NL,
        T::Q4_K => T::Q5_0,
        T::Q5_K => T::Q5_1,
        T::Q6_K => T::Q8_0,
        t => t,
    };
    if fits(smaller) { smaller } else { T::F16 }
}

/// Whether mixtures quantize a tensor: matrices, but norms, routers of experts and
/// RWKV's small ones, which would save nothing and cost much.
fn is_quantized(weight: &Weight) -> bool {
    const KEPT: [&str; 2] = ["ffn_gate_inp.weight", "time_mix_lerp_fused.weight"];
    let name = weight.name();
    let small = name.rsplit_once("time_mix_").is_some_and(|(_, part)| {
        let (branch, number) =
            part.strip_suffix(".weight").unwrap_or_default().split_at_checked(1).unwrap_or_default();
        matches!(branch, "w" | "a" | "v" | "g") && matches!(number, "0" | "1" | "2")
    });
    weight.rows() > 1
        && name.ends_with(".weight")
        && !name.ends_with("_norm.weight")
        && !small
        && !KEPT.iter().any(|kept| name.ends_with(kept))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ingot_format::{Bytes, Tensor};
    use serde_json::Value;

    /// A model of a fixture's tensors, all zeros.
    fn model(described: &Value) -> Model {
        let architecture = described["architecture"].as_str().unwrap();
        let size = |key: &str| described[key].as_u64().unwrap_or(0) as u32;
        let metadata = [
            ("block_count", size("layers")),
            ("attention.head_count", size("heads")),
            ("attention.head_count_kv", size("kv_heads")),
            ("expert_count", size("experts")),
        ];
        let metadata = metadata.map(|(key, value)| (format!("{architecture}.{key}"), value.into()));
        let zeros = Bytes::from(vec![0; 1 << 24]);
        let weight = |tensor: &Value| {
            let shape: Vec<usize> =
                tensor[1].as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as usize).collect();
            let name = tensor[0].as_str().unwrap();
            let small = ["lerp", "gate_inp", "mix_w1", "mix_w2"].iter().any(|s| name.contains(s));
            let dtype = if shape.len() > 1 && !small { T::F16 } else { T::F32 };
            let bytes = dtype.block_bytes() * shape.iter().product::<usize>();
            let data = zeros.slice(0..bytes).unwrap();
            Weight::as_stored(&Tensor::new(name, dtype, shape, data).unwrap())
        };
        let weights = described["tensors"].as_array().unwrap().iter().map(weight).collect();
        Model::new(architecture, metadata.to_vec(), weights)
    }

    #[test]
    fn the_same_types_as_llama_cpp() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/mixes.json");
        let fixture: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let mut compared = 0;
        for described in fixture.as_array().unwrap() {
            let model = model(described);
            for (name, runs) in described["mixes"].as_object().unwrap() {
                let expected = runs.as_str().unwrap().split(' ').flat_map(|run| {
                    let (dtype, n) = run.split_once('*').unwrap();
                    std::iter::repeat_n(dtype, n.parse().unwrap())
                });
                let mix = Mix::named(name).unwrap();
                let plan = mix.plan(&model, Choices::default()).unwrap();
                assert_eq!(expected.clone().count(), plan.len());
                for ((weight, chosen), expected) in model.weights().iter().zip(plan).zip(expected) {
                    let title = &described["title"];
                    assert_eq!(chosen.name(), expected, "{title}, {mix:?}, {}", weight.name());
                    compared += 1;
                }
            }
        }
        assert!(compared > 10_000, "{compared}");
    }

    #[test]
    fn names() {
        for mix in Mix::ALL {
            assert_eq!(Mix::named(&mix.name().to_lowercase()), Some(mix));
            assert_eq!(Mix::ALL.iter().filter(|m| m.file_type() == mix.file_type()).count(), 1);
        }
        assert_eq!((Mix::named("q4_k"), Mix::named("Q2_K")), (Some(Mix::Q4_K_M), Some(Mix::Q2_K)));
        assert_eq!(Mix::named("Q9"), None);
    }
}
