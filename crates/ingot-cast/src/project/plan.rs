//! The text of `src/plan.rs`: one step of a model as data.

use super::names::{literal, plain};
use ingot_plan::ops::{Activation, Op, Part, Rotary, Stack};
use ingot_plan::{Buf, Plan, Rows, StateDecl, StateId, WeightId};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::Arc;

/// The text. Products see their inputs in a precision that is decided when the program runs.
pub fn text(plan: &Plan) -> String {
    let mut writer = Writer { plan, rotaries: rotaries(plan), used: BTreeSet::new() };
    let layers = writer.layers();
    let mut out = String::from(HEAD);
    let arc = if writer.rotaries.is_empty() { "" } else { "use std::sync::Arc;\n" };
    let _ = write!(
        out,
        "{}use ingot_runtime::{{Buf, DType, Op, Plan, Precision, Rows, StateDecl, StateId, WeightId}};\n\
         use ingot_runtime::{{buffer, weight}};\n{arc}\n\
         use Rows::{{Outputs as O, Tokens as T}};\n\n",
        import("ingot_runtime::ops", &writer.used)
    );
    out += &writer.buffers();
    out += &writer.weights();
    out += &writer.states();
    out += &writer.rotary_functions();
    out += &writer.plan_function(&layers);
    for layer in &layers {
        out += &writer.layer_function(layer);
    }
    out += NUMBERS;
    if layers.iter().any(|layer| layer.lines.iter().any(|line| line.contains("part("))) {
        out += PART;
    }
    out
}

const HEAD: &str = "\
//! One step of the model as data.
//!
//! Each op reads and writes buffers `[T, width]`, a row for each token of the step, or
//! `[O, width]`, a row for each token whose logits are wanted. No op depends on how many
//! there are.

#![allow(clippy::approx_constant)] // what comes near a constant does so by chance

";

const NUMBERS: &str = "\
/// A buffer by its position in [`BUFFERS`].
const fn b(position: u32) -> Buf {
    Buf::new(position)
}

/// A weight by its position in [`WEIGHTS`].
const fn w(position: u32) -> WeightId {
    WeightId::new(position)
}

/// A state by its position in [`STATES`].
#[allow(dead_code)] // a model may keep nothing
const fn s(position: u32) -> StateId {
    StateId::new(position)
}
";

/// `use PATH::{NAMES};`, in lines as rustfmt breaks them.
fn import(path: &str, names: &BTreeSet<&str>) -> String {
    const WIDTH: usize = 110;
    let all: Vec<&str> = names.iter().copied().collect();
    let line = format!("use {path}::{{{}}};\n", all.join(", "));
    if line.len() <= WIDTH + 1 {
        return line;
    }
    let mut lines = vec![String::from("   ")];
    for name in all {
        let last = lines.last_mut().expect("there is one");
        match last.len() + 2 + name.len() <= WIDTH {
            true => _ = write!(last, " {name},"),
            false => lines.push(format!("    {name},")),
        }
    }
    format!("use {path}::{{\n{}\n}};\n", lines.join("\n"))
}

const PART: &str = "
/// A product without bias and activation.
const fn part(weight: WeightId, out: Buf) -> Part {
    Part { weight, bias: None, activation: Activation::Identity, out }
}
";

/// Every rotary embedding of a plan once.
fn rotaries(plan: &Plan) -> Vec<Arc<Rotary>> {
    let mut all: Vec<Arc<Rotary>> = Vec::new();
    for op in plan.ops() {
        if let Op::Rope(op) = op
            && !all.contains(&op.rotary)
        {
            all.push(op.rotary.clone());
        }
    }
    all
}

struct Writer<'a> {
    plan: &'a Plan,
    rotaries: Vec<Arc<Rotary>>,
    /// Names of `ops` that the text mentions.
    used: BTreeSet<&'static str>,
}

/// The ops of a layer, or of what comes before or after all of them.
struct Layer {
    function: String,
    what: String,
    lines: Vec<String>,
}

impl Writer<'_> {
    fn buffers(&self) -> String {
        let mut out = format!(
            "/// Buffers: name, rows, values in a row.\n#[rustfmt::skip]\n\
             pub static BUFFERS: [(&str, Rows, usize); {}] = [\n",
            self.plan.buffers().len()
        );
        for (i, decl) in self.plan.buffers().iter().enumerate() {
            let _ =
                writeln!(out, "    ({}, {}, {}), // {i}", literal(&decl.name), letter(decl.rows), decl.width);
        }
        out + "];\n\n"
    }

    fn weights(&self) -> String {
        let mut out = format!(
            "/// Weights: name in the file, type, sizes with the outermost first.\n#[rustfmt::skip]\n\
             pub static WEIGHTS: [(&str, DType, &[usize]); {}] = [\n",
            self.plan.weights().len()
        );
        for (i, decl) in self.plan.weights().iter().enumerate() {
            let (name, dtype, shape) = (literal(&decl.name), decl.dtype, &decl.shape);
            let _ = writeln!(out, "    ({name}, DType::{dtype:?}, &{shape:?}), // {i}");
        }
        out + "];\n\n"
    }

    fn states(&self) -> String {
        let mut out = format!(
            "/// What a sequence keeps from step to step.\n#[rustfmt::skip]\n\
             pub static STATES: [StateDecl; {}] = [\n",
            self.plan.states().len()
        );
        for (i, decl) in self.plan.states().iter().enumerate() {
            let _ = match decl {
                StateDecl::Kv { width } => {
                    writeln!(out, "    StateDecl::Kv {{ width: {width} }}, // {i}")
                }
                StateDecl::Recurrent { len } => {
                    writeln!(out, "    StateDecl::Recurrent {{ len: {len} }}, // {i}")
                }
            };
        }
        out + "];\n\n"
    }

    fn rotary_functions(&self) -> String {
        let mut out = String::new();
        for (i, rotary) in self.rotaries.iter().enumerate() {
            let _ = write!(
                out,
                "/// Radians per position by which pairs of a head's values are turned.\n\
                 #[rustfmt::skip]\n\
                 fn rotary_{i}() -> Arc<Rotary> {{\n    Arc::new(Rotary {{\n        \
                 pairing: Pairing::{:?},\n        frequencies: vec![\n",
                rotary.pairing
            );
            for line in rotary.frequencies.chunks(8) {
                let numbers: Vec<String> = line.iter().map(|&x| float(x)).collect();
                let _ = writeln!(out, "            {},", numbers.join(", "));
            }
            let _ = write!(out, "        ],\n        scale: {},\n    }})\n}}\n\n", float(rotary.scale));
        }
        out
    }

    fn plan_function(&self, layers: &[Layer]) -> String {
        let mut out = String::from(
            "/// The step, with matrices that are quantized seeing their inputs in this precision.\n\
             pub fn plan(inputs: Precision) -> Plan {\n    let mut ops = Vec::new();\n",
        );
        for i in 0..self.rotaries.len() {
            let _ = writeln!(out, "    let rotary_{i} = rotary_{i}();");
        }
        for layer in layers {
            let arguments: String = self.parameters(layer).iter().map(|i| format!(", &rotary_{i}")).collect();
            let inputs = if uses_inputs(layer) { ", inputs" } else { "" };
            let _ = writeln!(out, "    {}(&mut ops{inputs}{arguments});", layer.function);
        }
        let _ = write!(
            out,
            "    let buffers = BUFFERS.iter().map(buffer).collect();\n    \
             let weights = WEIGHTS.iter().map(weight).collect();\n    \
             Plan::of_data(buffers, weights, STATES.to_vec(), ops, b({}))\n}}\n\n",
            self.plan.logits().index()
        );
        match self.plan.ops().iter().any(|op| matches!(op, Op::Linear(_) | Op::Experts(_))) {
            true => out,
            false => out.replace("inputs: Precision", "_: Precision"),
        }
    }

    fn layer_function(&self, layer: &Layer) -> String {
        let rotaries: String =
            self.parameters(layer).iter().map(|i| format!(", rotary_{i}: &Arc<Rotary>")).collect();
        let inputs = if uses_inputs(layer) { ", inputs: Precision" } else { "" };
        format!(
            "/// {}\n#[rustfmt::skip]\nfn {}(ops: &mut Vec<Op>{inputs}{rotaries}) {{\n{}}}\n\n",
            layer.what,
            layer.function,
            layer.lines.concat()
        )
    }

    /// The rotary embeddings that a layer names.
    fn parameters(&self, layer: &Layer) -> Vec<usize> {
        let names = |i: &usize| layer.lines.iter().any(|line| line.contains(&format!("rotary_{i}.clone()")));
        (0..self.rotaries.len()).filter(names).collect()
    }

    /// The ops as lines, layer by layer: an op without weights belongs to the one before.
    fn layers(&mut self) -> Vec<Layer> {
        let mut layers: Vec<(Option<usize>, Layer)> = Vec::new();
        for op in self.plan.ops() {
            let numbers = op.uses().weights.into_iter().map(|id| number(&self.plan.weight(id).name));
            let is_end = op.uses().writes.iter().any(|buf| self.plan.buffer(*buf).rows == Rows::Outputs);
            let layer = match is_end {
                true => None,
                false => numbers.max().or(layers.last().map(|(layer, _)| *layer)).flatten(),
            };
            if layers.last().is_none_or(|(last, _)| *last != layer) {
                let (function, what) = match layer {
                    Some(n) => (format!("layer_{n}"), format!("Layer {n}.")),
                    None if layers.is_empty() => ("begin".into(), "Before the layers.".into()),
                    None => ("end".into(), "After the layers.".into()),
                };
                layers.push((layer, Layer { function, what, lines: Vec::new() }));
            }
            let line = format!("    ops.push({}.into()); // {}\n", self.op(op), self.shapes(op));
            layers.last_mut().expect("just pushed").1.lines.push(line);
        }
        layers.into_iter().map(|(_, layer)| layer).collect()
    }

    /// An op as an expression.
    fn op(&mut self, op: &Op) -> String {
        self.used.insert(type_name(op));
        match op {
            Op::Add(o) => format!("Add {{ a: {}, b: {}, out: {} }}", b(o.a), b(o.b), b(o.out)),
            Op::Attention(o) => format!(
                "Attention {{ q: {}, cache: {}, heads: {}, kv_heads: {}, scale: {}, cap: {}, window: {:?}, out: {} }}",
                b(o.q),
                s(o.cache),
                o.heads,
                o.kv_heads,
                float(o.scale),
                o.cap.map_or("None".into(), |cap| format!("Some({})", float(cap))),
                o.window,
                b(o.out)
            ),
            Op::Blend(o) => {
                format!(
                    "Blend {{ from: {}, to: {}, by: {}, out: {} }}",
                    b(o.from),
                    b(o.to),
                    b(o.by),
                    b(o.out)
                )
            }
            Op::Bonus(o) => format!(
                "Bonus {{ y: {}, r: {}, k: {}, v: {}, g: {}, r_k: {}, heads: {}, out: {} }}",
                b(o.y),
                b(o.r),
                b(o.k),
                b(o.v),
                b(o.g),
                w(o.r_k),
                o.heads,
                b(o.out)
            ),
            Op::Embed(o) => {
                format!("Embed {{ table: {}, scale: {}, out: {} }}", w(o.table), float(o.scale), b(o.out))
            }
            Op::Experts(o) => {
                self.used.insert("Stack");
                format!(
                    "Experts {{ x: {}, router: {}, gate: {}, up: {}, down: {}, experts: {}, chosen: {}, \
                     renormalise: {}, inputs, out: {} }}",
                    b(o.x),
                    b(o.router),
                    stack(&o.gate),
                    stack(&o.up),
                    stack(&o.down),
                    o.experts,
                    o.chosen,
                    o.renormalise,
                    b(o.out)
                )
            }
            Op::Glu(o) => {
                self.used.insert("Gate");
                format!(
                    "Glu {{ gate: {}, up: {}, f: Gate::{:?}, out: {} }}",
                    b(o.gate),
                    b(o.up),
                    o.f,
                    b(o.out)
                )
            }
            Op::LayerNorm(o) => format!(
                "LayerNorm {{ x: {}, weight: {}, bias: {}, groups: {}, eps: {}, out: {} }}",
                b(o.x),
                w(o.weight),
                w(o.bias),
                o.groups,
                float(o.eps),
                b(o.out)
            ),
            Op::Linear(o) => {
                self.used.extend(["Activation", "Part"]);
                let part = |p: &Part| {
                    if *p == (Part { bias: None, activation: Activation::Identity, ..p.clone() }) {
                        return format!("part({}, {})", w(p.weight), b(p.out));
                    }
                    let bias = p.bias.map_or("None".into(), |id| format!("Some({})", w(id)));
                    format!(
                        "Part {{ weight: {}, bias: {bias}, activation: Activation::{:?}, out: {} }}",
                        w(p.weight),
                        p.activation,
                        b(p.out)
                    )
                };
                let parts: Vec<String> = o.parts.iter().map(part).collect();
                format!("Linear {{ x: {}, inputs, parts: vec![{}] }}", b(o.x), parts.join(", "))
            }
            Op::RmsNorm(o) => format!(
                "RmsNorm {{ x: {}, weight: {}, eps: {}, out: {} }}",
                b(o.x),
                w(o.weight),
                float(o.eps),
                b(o.out)
            ),
            Op::Rope(o) => {
                self.used.extend(["Pairing", "Rotary"]);
                let i = self.rotaries.iter().position(|known| *known == o.rotary).expect("collected before");
                format!(
                    "Rope {{ x: {}, heads: {}, rotary: rotary_{i}.clone(), out: {} }}",
                    b(o.x),
                    o.heads,
                    b(o.out)
                )
            }
            Op::RwkvKeys(o) => format!(
                "RwkvKeys {{ w: {}, k: {}, a: {}, k_k: {}, k_a: {}, heads: {}, decay: {}, removal: {}, key: {} }}",
                b(o.w),
                b(o.k),
                b(o.a),
                w(o.k_k),
                w(o.k_a),
                o.heads,
                b(o.decay),
                b(o.removal),
                b(o.key)
            ),
            Op::Select(o) => format!("Select {{ x: {}, out: {} }}", b(o.x), b(o.out)),
            Op::Softcap(o) => {
                format!("Softcap {{ x: {}, cap: {}, out: {} }}", b(o.x), float(o.cap), b(o.out))
            }
            Op::StoreKv(o) => format!("StoreKv {{ k: {}, v: {}, cache: {} }}", b(o.k), b(o.v), s(o.cache)),
            Op::TokenShift(o) => {
                let outs: Vec<String> = o.outs.iter().map(|&out| b(out)).collect();
                format!(
                    "TokenShift {{ x: {}, mix: {}, state: {}, outs: vec![{}] }}",
                    b(o.x),
                    w(o.mix),
                    s(o.state),
                    outs.join(", ")
                )
            }
            Op::Wkv7(o) => format!(
                "Wkv7 {{ r: {}, decay: {}, key: {}, v: {}, removal: {}, a: {}, heads: {}, state: {}, out: {} }}",
                b(o.r),
                b(o.decay),
                b(o.key),
                b(o.v),
                b(o.removal),
                b(o.a),
                o.heads,
                s(o.state),
                b(o.out)
            ),
        }
    }

    /// `[T, 64] -> [T, 64]`, and which weights.
    fn shapes(&self, op: &Op) -> String {
        let uses = op.uses();
        let shape = |buf: &Buf| {
            let decl = self.plan.buffer(*buf);
            format!("[{}, {}]", letter(decl.rows), decl.width)
        };
        let all = |bufs: &[Buf]| bufs.iter().map(shape).collect::<Vec<_>>().join(" ");
        let mut out = [all(&uses.reads), all(&uses.writes)].join(" -> ").trim().to_string();
        const SHOWN: usize = 4;
        for id in uses.weights.iter().take(SHOWN) {
            let decl = self.plan.weight(*id);
            let _ = write!(out, ", {} {}", plain(&decl.name), decl.dtype);
        }
        if uses.weights.len() > SHOWN {
            let _ = write!(out, " and {} more", uses.weights.len() - SHOWN);
        }
        out
    }
}

/// True if an op of the layer multiplies.
fn uses_inputs(layer: &Layer) -> bool {
    layer.lines.iter().any(|line| line.contains(" inputs,"))
}

/// The number of the layer in a weight's name.
fn number(name: &str) -> Option<usize> {
    name.split('.').find_map(|part| part.parse().ok())
}

fn type_name(op: &Op) -> &'static str {
    match op {
        Op::Add(_) => "Add",
        Op::Attention(_) => "Attention",
        Op::Blend(_) => "Blend",
        Op::Bonus(_) => "Bonus",
        Op::Embed(_) => "Embed",
        Op::Experts(_) => "Experts",
        Op::Glu(_) => "Glu",
        Op::LayerNorm(_) => "LayerNorm",
        Op::Linear(_) => "Linear",
        Op::RmsNorm(_) => "RmsNorm",
        Op::Rope(_) => "Rope",
        Op::RwkvKeys(_) => "RwkvKeys",
        Op::Select(_) => "Select",
        Op::Softcap(_) => "Softcap",
        Op::StoreKv(_) => "StoreKv",
        Op::TokenShift(_) => "TokenShift",
        Op::Wkv7(_) => "Wkv7",
    }
}

fn letter(rows: Rows) -> &'static str {
    match rows {
        Rows::Tokens => "T",
        Rows::Outputs => "O",
    }
}

fn b(buf: Buf) -> String {
    format!("b({})", buf.index())
}

fn w(id: WeightId) -> String {
    format!("w({})", id.index())
}

fn s(id: StateId) -> String {
    format!("s({})", id.index())
}

fn stack(stack: &Stack) -> String {
    match stack.ids() {
        [all] => format!("Stack::from({})", w(*all)),
        each => {
            let each: Vec<String> = each.iter().map(|&id| w(id)).collect();
            format!("Stack::of(vec![{}])", each.join(", "))
        }
    }
}

/// A number that reads back as the same.
pub fn float(x: f32) -> String {
    match x {
        x if x.is_nan() => "f32::NAN".into(),
        x if x == f32::INFINITY => "f32::INFINITY".into(),
        x if x == f32::NEG_INFINITY => "f32::NEG_INFINITY".into(),
        x => format!("{x:?}"),
    }
}
