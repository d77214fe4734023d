//! `manifest.json`: how a step is launched.

use crate::Error;
use crate::lists::Made;
use ingot_format::DType;
use ingot_gpu::launch::{Access, Constant, What};
use ingot_gpu::launches::Shape;
use ingot_gpu::listed::{Count, List, Listed, Part, Specialised};
use ingot_gpu::lower::buffer_bytes;
use ingot_gpu::lower::hazards::{Touch, after};
use ingot_gpu::{msl, source};
use ingot_models::Info;
use ingot_plan::{PAGE, Plan, Rows, StateDecl};
use serde_json::{Value, json};

/// Its name.
pub const FILE: &str = "manifest.json";
/// What its format is called.
pub const FORMAT: &str = "\"ingot-kernels\"";

/// The launches for a kind of device.
pub struct Device<'a> {
    pub name: &'static str,
    pub plan: &'a Plan,
    pub launches: &'a Made,
    /// The file of each kernel.
    pub files: &'a [String],
}

/// The text: one line for each weight, buffer, kernel and launch.
pub fn text(info: &Info, devices: &[Device]) -> Result<String, Error> {
    let plan = devices[0].plan;
    let model = json!({
        "name": info.name, "family": info.family.name(), "layers": info.layers, "hidden": info.hidden,
        "vocab": info.vocab,
    });
    let mut members = vec![
        format!("\"format\": {FORMAT}"),
        "\"version\": 1".into(),
        format!("\"model\": {model}"),
        format!("\"positions_of_a_page\": {PAGE}"),
        lines("weights", &weights(plan)),
        lines("states", &states(plan)),
        lines("buffers", &buffers(plan)),
        format!("\"logits\": {}", plan.logits().index()),
    ];
    for device in devices {
        let decode = device.launches.lists.decode;
        let mut own = vec![lines("kernels", &kernels(decode[0].kernels, device)?)];
        let mut ops = device.launches.ops.iter();
        for (name, lists) in [("decode", decode), ("prompt", device.launches.lists.prompt)] {
            let of_size =
                lists.iter().zip(ops.by_ref()).map(|(list, ops)| self::list(device.plan, list, ops, name));
            own.push(format!("\"{name}\": [{}]", of_size.collect::<Vec<_>>().join(", ")));
        }
        members.push(format!("\"{}\": {{\n{}\n}}", device.name, own.join(",\n")));
    }
    Ok(format!("{{\n{}\n}}\n", members.join(",\n")))
}

/// A member that is a list, an element on each line.
fn lines(name: &str, all: &[Value]) -> String {
    let all: Vec<String> = all.iter().map(|value| format!("  {value}")).collect();
    format!("\"{name}\": [\n{}\n]", all.join(",\n"))
}

fn weights(plan: &Plan) -> Vec<Value> {
    let matrices = ingot_gpu::matrices(plan);
    let weight = |(i, decl): (usize, &ingot_plan::WeightDecl)| {
        let stored = if matrices.contains(&i) { decl.dtype } else { DType::F32 };
        let bytes = if matrices.contains(&i) { decl.bytes } else { 4 * decl.shape.iter().product::<usize>() };
        json!({
            "index": i, "name": decl.name, "in_file": decl.dtype.to_string(), "shape": decl.shape,
            "on_device": stored.to_string(), "bytes": bytes,
        })
    };
    plan.weights().iter().enumerate().map(weight).collect()
}

fn states(plan: &Plan) -> Vec<Value> {
    let state = |(i, decl): (usize, &StateDecl)| match decl {
        StateDecl::Kv { width } => {
            json!({ "index": i, "kind": "keys_values", "width": width, "type": "F16", "bytes_of_a_page": 4 * PAGE * width })
        }
        StateDecl::Recurrent { len } => {
            json!({ "index": i, "kind": "recurrent", "values": len, "type": "F32", "bytes_of_a_slot": 4 * len })
        }
    };
    plan.states().iter().enumerate().map(state).collect()
}

fn buffers(plan: &Plan) -> Vec<Value> {
    let buffer = |(i, decl): (usize, &ingot_plan::BufferDecl)| {
        let rows = if decl.rows == Rows::Tokens { "T" } else { "O" };
        json!({ "index": i, "name": decl.name, "rows": rows, "width": decl.width, "type": "F32" })
    };
    plan.buffers().iter().enumerate().map(buffer).collect()
}

fn kernels(all: &[Specialised], device: &Device) -> Result<Vec<Value>, Error> {
    let kernel = |(i, specialised): (usize, &Specialised)| {
        let kernel = specialised.kernel();
        let text = source::expand(&kernel)?;
        let tokens = msl::tokens(&text);
        let (signature, declared) = (msl::signature(&tokens)?, msl::constants(&tokens)?);
        let function = if device.name == "cuda" { msl::cuda(&kernel)?.entry } else { signature.name };
        let value = |name: &str| {
            let found = kernel.constants.iter().find(|(n, _)| *n == name);
            found.map(|(_, constant)| match *constant {
                Constant::Uint(n) => json!(n),
                Constant::Int(n) => json!(n),
                Constant::Bool(n) => json!(n),
                Constant::Float(bits) => json!(f32::from_bits(bits)),
            })
        };
        let constant = |d: &msl::ConstantDecl| json!({ "index": d.index, "name": d.name, "type": d.kind, "value": value(&d.name) });
        let buffers: Vec<&str> = signature.buffers.iter().map(|b| b.name.as_str()).collect();
        let options: serde_json::Map<String, Value> =
            kernel.options.iter().map(|(name, n)| (name.clone(), json!(n))).collect();
        Ok(json!({
            "index": i, "file": device.files[i], "function": function, "options": options,
            "constants": declared.iter().map(constant).collect::<Vec<_>>(), "buffers": buffers,
        }))
    };
    all.iter().enumerate().map(kernel).collect()
}

fn list(plan: &Plan, list: &List, ops: &[Vec<usize>], kind: &str) -> String {
    let after = hazards(plan, list, kind);
    let launches: Vec<Value> = list
        .launches
        .iter()
        .zip(ops)
        .zip(after)
        .map(|((l, ops), after)| launch(plan, l, ops, after))
        .collect();
    let place = |&(memory, at): &(What, usize)| {
        let (kind, index) = named(memory);
        json!({ "memory": kind, "index": index, "at": at })
    };
    let places: Vec<Value> = list.places.iter().map(place).collect();
    let table = |(id, values): &(u32, &[f32])| json!({ "scratch": id, "values": values });
    let tables: Vec<Value> = list.tables.iter().map(table).collect();
    let size = if kind == "decode" { "positions of the context" } else { "rows" };
    let members = [
        format!("\"size\": \"{size}\""),
        format!("\"most\": {}", list.most),
        format!("\"arena_bytes\": {}", list.arena),
        format!("\"scratch_bytes\": {}", json!(list.scratch.iter().map(|c| count(*c)).collect::<Vec<_>>())),
        lines("tables", &tables),
        lines("places", &places),
        lines("launches", &launches),
    ];
    format!("{{\n{}\n}}", members.join(",\n"))
}

fn launch(plan: &Plan, listed: &Listed, ops: &[usize], after: Vec<usize>) -> Value {
    let ops: Vec<&str> = ops.iter().map(|&op| plan.ops()[op].name()).collect();
    let form = |form: &ingot_gpu::listed::Form| json!({ "most": form.most, "kernel": form.kernel, "threadgroups": form.grid.map(count), "threads": form.threads });
    let operand = |(binding, part): &(usize, Part)| {
        let (kind, index) = named(part.what);
        let access = match part.access {
            Access::Read => "read",
            Access::Write => "write",
            Access::Update => "update",
        };
        let mut operand = json!({ "binding": binding, "memory": kind, "index": index, "access": access });
        if let Some((from, to)) = part.range {
            operand["bytes"] = json!([count(from), count(to)]);
        }
        operand
    };
    json!({
        "layer": listed.layer, "ops": ops, "forms": listed.forms.iter().map(form).collect::<Vec<_>>(),
        "bindings": listed.bindings, "operands": listed.operands.iter().map(operand).collect::<Vec<_>>(),
        "after": after,
    })
}

/// Which launch waits for which, at the list's largest size: at smaller ones parts are smaller
/// and begin at the same places, so that none meets another that it does not meet there.
fn hazards(plan: &Plan, list: &List, kind: &str) -> Vec<Vec<usize>> {
    let rows = if kind == "decode" { 1 } else { list.most };
    let shape = Shape { rows, outputs: 1, sequences: 1, context: list.most };
    let is_table = |s: u32| list.tables.iter().any(|(id, _)| *id == s);
    let touch = |part: &Part| {
        let whole = match part.what {
            What::Buffer(buf) => buffer_bytes(plan, &shape, buf),
            What::Scratch(s) => list.scratch[s as usize].of(list.most),
            _ => usize::MAX,
        };
        let range = part.range.map_or(0..whole, |(from, to)| from.of(list.most)..to.of(list.most));
        let in_arena = match part.what {
            What::Buffer(_) => true,
            What::Scratch(s) => !is_table(s),
            _ => false,
        };
        let at = list.places.iter().find(|(what, _)| *what == part.what).map_or(0, |(_, at)| *at);
        // All of the arena is one memory.
        let (memory, at) = if in_arena { (None, at) } else { (Some(part.what), 0) };
        Touch { memory, range: range.start + at..range.end.saturating_add(at), access: part.access }
    };
    let touches: Vec<Vec<_>> =
        list.launches.iter().map(|l| l.operands.iter().map(|(_, part)| touch(part)).collect()).collect();
    after(&touches)
}

/// A memory's kind and index.
fn named(what: What) -> (&'static str, usize) {
    match what {
        What::Weight(id) => ("weight", id.index()),
        What::Buffer(buf) => ("buffer", buf.index()),
        What::State(id) => ("state", id.index()),
        What::Scratch(number) => ("scratch", number as usize),
        What::Step => ("step", 0),
    }
}

fn count(count: Count) -> Value {
    match count {
        Count::Is(n) => json!(n),
        Count::Per { times, per, more } => json!({ "times": times, "per": per, "more": more }),
    }
}
