//! The pieces of a step: what runs between two points at which everything has to be
//! there. On the processor ops that run as one, on a GPU a launch.

use ingot_plan::{Cost, Load, Op, Plan, Rows};
use std::ops::Range;

/// A piece of a step.
#[derive(Clone, Debug)]
pub struct Piece {
    /// The ops and weights it stands for; the same in every layer.
    pub name: String,
    pub kind: Kind,
    /// The layer its weights belong to, or those before it.
    pub layer: Option<usize>,
    /// By index in the plan.
    pub ops: Vec<usize>,
    pub cost: Cost,
    /// Median of the runs.
    pub seconds: f64,
    /// Begin and end in the run that is shown, the fastest, in seconds since that began.
    pub span: Range<f64>,
}

/// What a piece mostly is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Products,
    Head,
    Attention,
    Recurrence,
    Experts,
    Rows,
    Embedding,
}

impl Kind {
    /// All, in the order in which they are shown.
    pub const ALL: [Self; 7] = [
        Self::Products,
        Self::Head,
        Self::Attention,
        Self::Recurrence,
        Self::Experts,
        Self::Rows,
        Self::Embedding,
    ];

    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Products => "products",
            Self::Head => "head",
            Self::Attention => "attention",
            Self::Recurrence => "recurrence",
            Self::Experts => "experts",
            Self::Rows => "norms, sums, gates",
            Self::Embedding => "embedding",
        }
    }

    /// That of ops which run together: of the one that takes most.
    fn of(plan: &Plan, ops: &[usize]) -> Self {
        let kind = |&i: &usize| match &plan.ops()[i] {
            Op::Linear(op) if plan.buffer(op.x).rows == Rows::Outputs => Self::Head,
            Op::Linear(_) => Self::Products,
            Op::Experts(_) => Self::Experts,
            Op::Attention(_) => Self::Attention,
            Op::Wkv7(_) | Op::Bonus(_) | Op::RwkvKeys(_) | Op::TokenShift(_) => Self::Recurrence,
            Op::Embed(_) => Self::Embedding,
            Op::Add(_) | Op::Blend(_) | Op::Glu(_) | Op::LayerNorm(_) | Op::RmsNorm(_) => Self::Rows,
            Op::Rope(_) | Op::Select(_) | Op::Softcap(_) | Op::StoreKv(_) => Self::Rows,
        };
        let kinds: Vec<Self> = ops.iter().map(kind).collect();
        let order =
            [Self::Experts, Self::Attention, Self::Head, Self::Products, Self::Recurrence, Self::Embedding];
        order.into_iter().find(|kind| kinds.contains(kind)).unwrap_or(Self::Rows)
    }
}

/// The pieces that stand for these ops of a plan, in their order, without times. `kernels`
/// has a name for each where that says something, as on GPUs, and the bytes of its weights.
pub fn pieces(plan: &Plan, load: &Load, ops: Vec<Vec<usize>>, kernels: &[(&str, usize)]) -> Vec<Piece> {
    let mut layer = None;
    // An op in several launches is counted at the first of those that read most weights.
    let weights = |i: usize| kernels.get(i).map_or(0, |(_, bytes)| *bytes);
    let mut counted: Vec<Option<usize>> = vec![None; plan.ops().len()];
    for (i, ops) in ops.iter().enumerate() {
        for &op in ops {
            if counted[op].is_none_or(|other| weights(i) > weights(other)) {
                counted[op] = Some(i);
            }
        }
    }
    let piece = |(i, ops): (usize, Vec<usize>)| {
        layer = layer_of(plan, &ops).unwrap_or(layer);
        let new = ops.iter().filter(|&&op| counted[op] == Some(i));
        let name = match (kernels.get(i), name(plan, &ops)) {
            (None, name) => name,
            (Some((kernel, _)), name) if name.is_empty() => kernel.to_string(),
            (Some((kernel, _)), name) => format!("{kernel}: {name}"),
        };
        Piece {
            name,
            kind: Kind::of(plan, &ops),
            layer,
            cost: new.map(|&op| plan.ops()[op].cost(plan, load)).sum(),
            ops,
            seconds: 0.0,
            span: 0.0..0.0,
        }
    };
    ops.into_iter().enumerate().map(piece).collect()
}

/// The layer that the ops' weights name; `Some(None)` for weights outside of all
/// layers, `None` if there are no weights.
fn layer_of(plan: &Plan, ops: &[usize]) -> Option<Option<usize>> {
    let weights = ops.iter().flat_map(|&i| plan.ops()[i].uses().weights);
    let names = weights.map(|id| plan.weight(id).name.as_str());
    names.map(|name| name.split('.').find_map(|part| part.parse().ok())).max()
}

/// The weights of products, and other ops by their names.
fn name(plan: &Plan, ops: &[usize]) -> String {
    let mut others: Vec<String> = Vec::new();
    let mut products: Vec<&str> = Vec::new();
    for &i in ops {
        match &plan.ops()[i] {
            Op::Linear(op) => {
                products.extend(op.parts.iter().map(|part| role(&plan.weight(part.weight).name)))
            }
            op => {
                let name = op.name().to_string();
                if !others.contains(&name) {
                    others.push(name);
                }
            }
        }
    }
    // What all begin with is said once.
    let first = products.first().copied().unwrap_or_default();
    let shared =
        |n: &usize| products.len() > 1 && products.iter().all(|p| p.len() > *n && p[..*n] == first[..*n]);
    let ends = first.match_indices('_').map(|(at, _)| at + 1);
    let prefix = ends.rev().find(shared).unwrap_or(0);
    let roles: Vec<&str> = products.iter().map(|p| &p[prefix..]).collect();
    let products = match prefix {
        0 => roles.join(" "),
        n => format!("{}: {}", first[..n].trim_end_matches('_'), roles.join(" ")),
    };
    let parts = [others.join(", "), products];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ")
}

/// What a weight is in its layer: `attn_q` of `blk.0.attn_q.weight`.
fn role(name: &str) -> &str {
    let parts: Vec<&str> = name.split('.').filter(|part| *part != "weight").collect();
    parts.last().copied().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ingot_format::DType;

    fn plan(name: &str) -> std::sync::Arc<Plan> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/models/");
        let file = ingot::ModelFile::open(format!("{folder}{name}.gguf").as_ref()).unwrap();
        ingot_models::Model::load(&file, Default::default()).unwrap().plan
    }

    #[test]
    fn names_layers_and_kinds() {
        let plan = plan("llama-s-q8_0");
        let each: Vec<Vec<usize>> = (0..plan.ops().len()).map(|i| vec![i]).collect();
        let load = Load::token(9, DType::F16);
        let pieces = pieces(&plan, &load, each, &[]);
        let find = |name: &str| pieces.iter().find(|p| p.name == name).unwrap_or_else(|| panic!("no {name}"));
        assert_eq!((find("embed").kind, find("embed").layer), (Kind::Embedding, None));
        let qkv = find("attn: q k v");
        assert_eq!((qkv.kind, qkv.layer), (Kind::Products, Some(0)));
        assert_eq!(find("rope").layer, Some(0), "that of the product before");
        let last = pieces.last().unwrap();
        assert_eq!((last.kind, last.layer), (Kind::Head, None));
        let all: Cost = pieces.iter().map(|p| p.cost).sum();
        assert_eq!(all, plan.cost(&load));
    }

    #[test]
    fn what_several_launches_do_is_counted_once() {
        let plan = plan("rwkv7-s-f16");
        let head = plan.ops().len() - 1;
        let load = Load::token(0, DType::F16);
        let launches = |bytes: [usize; 3]| {
            let kernels = std::iter::zip(["split", "join", "draw"], bytes).collect::<Vec<_>>();
            pieces(&plan, &load, vec![vec![head], vec![head], vec![]], &kernels)
        };
        let alike = launches([7, 7, 0]);
        assert!(alike[0].cost.weights > 0 && alike[1].cost == Cost::default());
        assert!(alike[0].name.starts_with("split: "), "{}", alike[0].name);
        assert_eq!(alike[2].name, "draw");
        let second = launches([0, 7, 0]);
        assert!(second[0].cost == Cost::default() && second[1].cost == alike[0].cost);
    }
}
