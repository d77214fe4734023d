//! The text of `src/launches/DEVICE.rs`: a model's launches as data.

use super::plan::float;
use crate::lists::Made;
use ingot_gpu::launch::{Access, Constant, What};
use ingot_gpu::listed::{Count, Form, List, Listed, Part, Specialised};
use ingot_plan::{Plan, Rows};
use std::fmt::Write;

/// The text; `devices` are what the launches are for.
pub fn text(plan: &Plan, made: &Made, devices: &str) -> String {
    let mut out = HEAD.replace("DEVICES", devices);
    let (decode, prompt) = (made.lists.decode, made.lists.prompt);
    let names = |kind: &str, lists: &[List]| -> Vec<String> {
        (0..lists.len()).map(|i| format!("{kind}_{i}")).collect()
    };
    let (decode_names, prompt_names) = (names("DECODE", decode), names("PROMPT", prompt));
    let _ = write!(
        out,
        "/// All launches.\n#[rustfmt::skip]\npub static LISTS: Lists = Lists {{\n    eights: {},\n    decode: &[{}],\n    \
         prompt: &[{}],\n}};\n\n",
        made.lists.eights,
        decode_names.join(", "),
        prompt_names.join(", ")
    );
    out += &kernels(decode[0].kernels);
    let whats = decode.iter().map(|list| ("One row, up to", list.most, "positions."));
    let whats = whats.chain(prompt.iter().map(|list| ("A piece of a prompt, up to", list.most, "rows.")));
    let lists = decode.iter().chain(prompt).zip(decode_names.iter().chain(&prompt_names));
    for ((list, name), ((begin, most, end), ops)) in lists.zip(whats.zip(&made.ops)) {
        let _ = write!(out, "/// {begin} {most} {end}\n#[rustfmt::skip]\nconst {name}: List = List {{\n");
        let _ = write!(out, "    most: {most},\n    kernels: KERNELS,\n    launches: &[\n");
        for (i, (listed, ops)) in list.launches.iter().zip(ops).enumerate() {
            out += &launch(plan, i, listed, ops);
        }
        out += "    ],\n";
        out += &memory(plan, list);
        out += "};\n\n";
    }
    out.trim_end().to_string() + "\n"
}

const HEAD: &str = "\
//! Launches for DEVICES, as data.
//!
//! A launch names its kernel, the threadgroups in each dimension, and what the kernel's
//! buffers are, by index: `read(weight(3))` is the whole weight 3 of the plan. Where a number
//! depends on the size of a step, the list's `most` says which size: `per(4, 32)` is 4 for
//! every begun 32 of it. Buffers and scratch memory live in one arena, at `places`. Which
//! launch waits for which follows from what they read and write.

#![allow(clippy::approx_constant)] // what comes near a constant does so by chance

use ingot_runtime::launches::*;

";

fn kernels(all: &[Specialised]) -> String {
    let mut out = String::from(
        "/// Every kernel once: its file, the options and the constants it is compiled with.\n\
         #[rustfmt::skip]\nconst KERNELS: &[Specialised] = &[\n",
    );
    for (i, kernel) in all.iter().enumerate() {
        let options: Vec<String> =
            kernel.options.iter().map(|(name, n)| format!("({name:?}, {n})")).collect();
        let constant = |(name, constant): &(&str, Constant)| match constant {
            Constant::Uint(n) => format!("uint({name:?}, {n})"),
            Constant::Int(n) => format!("int({name:?}, {n})"),
            Constant::Bool(n) => format!("boolean({name:?}, {n})"),
            Constant::Float(bits) => format!("float({name:?}, {})", float(f32::from_bits(*bits))),
        };
        let constants: Vec<String> = kernel.constants.iter().map(constant).collect();
        let _ = write!(
            out,
            "    // {i}\n    Specialised {{\n        name: {:?},\n        options: &[{}],\n        \
             constants: &[{}],\n    }},\n",
            kernel.name,
            options.join(", "),
            constants.join(", ")
        );
    }
    out + "];\n\n"
}

fn launch(plan: &Plan, i: usize, listed: &Listed, ops: &[usize]) -> String {
    let layer = listed.layer.map_or(String::new(), |layer| format!("layer {layer}, "));
    let names: Vec<&str> = ops.iter().map(|&op| plan.ops()[op].name()).collect();
    let names = if names.is_empty() { "state".into() } else { names.join(" + ") };
    let mut out = format!("        // {i}: {layer}{names}: {}\n        Listed {{\n", shapes(plan, listed));
    let forms: Vec<String> = listed.forms.iter().map(form).collect();
    match &forms[..] {
        [one] => _ = writeln!(out, "            forms: &[{one}],"),
        several => {
            let lines: String = several.iter().map(|form| format!("                {form},\n")).collect();
            let _ = write!(out, "            forms: &[\n{lines}            ],\n");
        }
    }
    let operands: Vec<String> =
        listed.operands.iter().map(|(binding, what)| format!("({binding}, {})", part(what))).collect();
    let _ = write!(
        out,
        "            bindings: {},\n            operands: &[{}],\n            layer: {:?},\n        }},\n",
        listed.bindings,
        operands.join(", "),
        listed.layer
    );
    out
}

/// `[T, 64] -> [T, 32]`
fn shapes(plan: &Plan, listed: &Listed) -> String {
    let of = |written: bool| {
        let chosen = listed.operands.iter().filter(|(_, p)| (p.access != Access::Read) == written);
        let shape = |part: &Part| match part.what {
            What::Buffer(buf) => {
                let decl = plan.buffer(buf);
                let rows = if decl.rows == Rows::Tokens { "T" } else { "O" };
                Some(format!("[{rows}, {}]", decl.width))
            }
            What::State(_) => Some("state".into()),
            What::Scratch(_) if written => Some("scratch".into()),
            _ => None,
        };
        chosen.filter_map(|(_, part)| shape(part)).collect::<Vec<_>>().join(" ")
    };
    [of(false), of(true)].join(" -> ").trim().to_string()
}

fn form(form: &Form) -> String {
    let [x, y, z] = form.grid.map(count);
    format!(
        "Form {{ most: {}, kernel: {}, grid: [{x}, {y}, {z}], threads: {} }}",
        form.most, form.kernel, form.threads
    )
}

fn part(part: &Part) -> String {
    let access = match part.access {
        Access::Read => "read",
        Access::Write => "write",
        Access::Update => "update",
    };
    let range = part.range.map(|(from, to)| format!(".bytes({}, {})", count(from), count(to)));
    format!("{access}({}){}", what(part.what), range.unwrap_or_default())
}

fn what(what: What) -> String {
    match what {
        What::Weight(id) => format!("weight({})", id.index()),
        What::Buffer(buf) => format!("buffer({})", buf.index()),
        What::State(id) => format!("state({})", id.index()),
        What::Scratch(number) => format!("scratch({number})"),
        What::Step => "STEP".into(),
    }
}

fn count(count: Count) -> String {
    match count {
        Count::Is(n) => format!("is({n})"),
        Count::Per { times, per, more: 0 } => format!("per({times}, {per})"),
        Count::Per { times, per, more } => format!("per_and({times}, {per}, {more})"),
    }
}

/// Scratch, tables, places and the arena.
fn memory(plan: &Plan, list: &List) -> String {
    let mut out = String::from("    // Bytes of scratch memory, by number.\n    scratch: &[\n");
    for (i, bytes) in list.scratch.iter().enumerate() {
        let _ = writeln!(out, "        {}, // {i}", count(*bytes));
    }
    out += "    ],\n    tables: &[\n";
    for (id, values) in list.tables {
        let _ = writeln!(out, "        ({id}, &[");
        for line in values.chunks(8) {
            let line: Vec<String> = line.iter().map(|&x| float(x)).collect();
            let _ = writeln!(out, "            {},", line.join(", "));
        }
        out += "        ]),\n";
    }
    out += "    ],\n    places: &[\n";
    for (place, at) in list.places {
        let name = match place {
            What::Buffer(buf) => format!(" // {}", super::names::plain(&plan.buffer(*buf).name)),
            _ => String::new(),
        };
        let _ = writeln!(out, "        ({}, {at}),{name}", what(*place));
    }
    let _ = write!(out, "    ],\n    arena: {},\n", list.arena);
    out
}
