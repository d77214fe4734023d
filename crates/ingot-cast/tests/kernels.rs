//! The manifest of a model's kernels, followed to the letter by a program that knows nothing
//! else, on the simulator: the logits are those of ingot.

use ingot_cast::{Error, kernels};
use ingot_format::{ModelFile, Tensor};
use ingot_golden::fixtures;
use ingot_gpu::device::{Bound, Device, Recorded};
use ingot_gpu::launch::{Access, Constant, Kernel};
use ingot_gpu::sim::SimDevice;
use ingot_gpu::{DeviceKind, GpuOptions, source};
use ingot_models::Model;
use ingot_plan::{Precision, Step};
use serde_json::Value;
use std::fs;
use std::path::Path;

type Buffer = <SimDevice as Device>::Buffer;

/// A program made after `README.md`.
struct Program {
    manifest: Value,
    kind: &'static str,
    device: SimDevice,
    weights: Vec<Buffer>,
    states: Vec<Buffer>,
    step: Buffer,
}

fn number(value: &Value) -> usize {
    value.as_u64().expect("a number") as usize
}

/// A number or a formula.
fn count(value: &Value, size: usize) -> usize {
    match value.is_number() {
        true => number(value),
        false => number(&value["times"]) * (size.div_ceil(number(&value["per"])) + number(&value["more"])),
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

/// The first whose `most` is at least the size.
fn fitting(all: &Value, size: usize) -> &Value {
    list(all).iter().find(|x| size <= number(&x["most"])).expect("for every size")
}

impl Program {
    fn new(folder: &Path, kind: &'static str, tensors: &[Tensor]) -> Self {
        let text = fs::read_to_string(folder.join("manifest.json")).unwrap();
        let manifest: Value = serde_json::from_str(&text).unwrap();
        let device = SimDevice::new().unwrap();
        let filled = |bytes: &[u8]| {
            let buffer = device.alloc(bytes.len()).unwrap();
            device.write(&buffer, 0, bytes).unwrap();
            buffer
        };
        let weight = |(decl, tensor): (&Value, &Tensor)| {
            assert_eq!(decl["name"], tensor.name());
            if decl["on_device"] == decl["in_file"] {
                return filled(tensor.data());
            }
            assert_eq!(decl["on_device"], "F32");
            let mut values = vec![0.0f32; tensor.len()];
            tensor.dtype().dequantize(tensor.data(), &mut values);
            filled(&values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>())
        };
        let weights = list(&manifest["weights"]).iter().zip(tensors).map(weight).collect();
        // One page, or one slot.
        let state = |decl: &Value| {
            let bytes = decl.get("bytes_of_a_page").unwrap_or(&decl["bytes_of_a_slot"]);
            filled(&vec![0; number(bytes)])
        };
        let states = list(&manifest["states"]).iter().map(state).collect();
        let step = device.alloc(4 * 1024).unwrap();
        Self { kind, weights, states, step, manifest, device }
    }

    /// The logits after the last of the tokens.
    fn run(&self, tokens: &[u32], past: usize) -> Vec<u32> {
        let rows = tokens.len();
        let (name, size) =
            if rows == 1 { ("decode", (past + 1).next_power_of_two().max(256)) } else { ("prompt", rows) };
        let list_of = fitting(&self.manifest[self.kind][name], size);
        self.write_step(tokens, past);
        let arena = self.device.alloc(number(&list_of["arena_bytes"])).unwrap();
        let tables: Vec<(usize, Buffer, usize)> =
            list(&list_of["tables"]).iter().map(|t| self.table(t)).collect();
        let launches = list(&list_of["launches"]);
        let forms: Vec<&Value> = launches.iter().map(|launch| fitting(&launch["forms"], size)).collect();
        let pipelines: Vec<_> = forms.iter().map(|form| self.compile(number(&form["kernel"]))).collect();
        let recorded = launches.iter().zip(&forms).zip(&pipelines).map(|((launch, form), pipeline)| {
            let nothing = Bound { buffer: &self.step, at: 0, bytes: 0, access: Access::Read };
            let mut operands = vec![nothing; number(&launch["bindings"])];
            for operand in list(&launch["operands"]) {
                operands[number(&operand["binding"])] =
                    self.bind(operand, list_of, &arena, &tables, rows, size);
            }
            Recorded {
                pipeline,
                operands,
                grid: [0, 1, 2].map(|d| count(&form["threadgroups"][d], size) as u32),
                threads: number(&form["threads"]) as u32,
                after: list(&launch["after"]).iter().map(number).collect(),
            }
        });
        let recording = self.device.record(&recorded.collect::<Vec<_>>()).unwrap();
        self.device.wait(self.device.submit(&recording).unwrap()).unwrap();
        let logits = number(&self.manifest["logits"]);
        let at = place(list_of, "buffer", logits);
        let mut bytes = vec![0; 4 * number(&self.manifest["buffers"][logits]["width"])];
        self.device.read(&arena, at, &mut bytes).unwrap();
        bytes.as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b)).collect()
    }

    fn table(&self, table: &Value) -> (usize, Buffer, usize) {
        let values = list(&table["values"]).iter().map(|x| x.as_f64().expect("a number") as f32);
        let bytes: Vec<u8> = values.flat_map(|x| x.to_le_bytes()).collect();
        let buffer = self.device.alloc(bytes.len()).unwrap();
        self.device.write(&buffer, 0, &bytes).unwrap();
        (number(&table["scratch"]), buffer, bytes.len())
    }

    fn write_step(&self, tokens: &[u32], past: usize) {
        let rows = tokens.len() as u32;
        let mut words = vec![rows, 1, 1, 1, 8 + 8 * rows, 0, 0, 0];
        for (position, token) in (past as u32..).zip(tokens) {
            words.extend([*token, position, 0, 0, 0, 0, 0, 0]);
        }
        words[8 + 3] = rows - 1;
        words[8 + 4..][..4].copy_from_slice(&[0, rows, past as u32, 0]);
        words.push(0); // the only page
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.device.write(&self.step, 0, &bytes).unwrap();
    }

    fn bind<'a>(
        &'a self,
        operand: &Value,
        list_of: &Value,
        arena: &'a Buffer,
        tables: &'a [(usize, Buffer, usize)],
        rows: usize,
        size: usize,
    ) -> Bound<'a, Buffer> {
        let (kind, index) = (operand["memory"].as_str().unwrap(), number(&operand["index"]));
        let decl = &self.manifest[format!("{kind}s")][index];
        let (buffer, at, bytes) = match kind {
            "weight" => (&self.weights[index], 0, number(&decl["bytes"])),
            "state" => {
                let bytes = decl.get("bytes_of_a_page").unwrap_or(&decl["bytes_of_a_slot"]);
                (&self.states[index], 0, number(bytes))
            }
            "step" => (&self.step, 0, 4 * 1024),
            "buffer" => {
                let rows = if decl["rows"] == "T" { rows } else { 1 };
                (arena, place(list_of, kind, index), 4 * rows * number(&decl["width"]))
            }
            "scratch" => match tables.iter().find(|(id, ..)| *id == index) {
                Some((_, buffer, bytes)) => (buffer, 0, *bytes),
                None => (arena, place(list_of, kind, index), count(&list_of["scratch_bytes"][index], size)),
            },
            other => panic!("{other}"),
        };
        let (from, to) = match operand.get("bytes") {
            Some(range) => (count(&range[0], size), count(&range[1], size)),
            None => (0, bytes),
        };
        let access = match operand["access"].as_str().unwrap() {
            "read" => Access::Read,
            "write" => Access::Write,
            "update" => Access::Update,
            other => panic!("{other}"),
        };
        Bound { buffer, at: at + from, bytes: to - from, access }
    }

    /// The simulator compiles ingot's own kernels: the one that the manifest names.
    fn compile(&self, index: usize) -> <SimDevice as Device>::Pipeline {
        let described = &self.manifest[self.kind]["kernels"][index];
        let function = described["function"].as_str().unwrap();
        let name = source::kernels().find(|k| *k == function.trim_start_matches("ingot_")).expect("a kernel");
        let mut kernel = Kernel::new(name);
        for (option, value) in described["options"].as_object().unwrap() {
            kernel = kernel.option(option, value.as_i64().unwrap());
        }
        for constant in list(&described["constants"]) {
            let value = match constant["type"].as_str().unwrap() {
                "uint" => Constant::Uint(number(&constant["value"]) as u32),
                "int" => Constant::Int(constant["value"].as_i64().unwrap() as i32),
                "bool" => Constant::Bool(constant["value"].as_bool().unwrap()),
                "float" => Constant::Float((constant["value"].as_f64().unwrap() as f32).to_bits()),
                other => panic!("{other}"),
            };
            kernel.constants.push((constant["name"].as_str().unwrap().to_string().leak(), value));
        }
        kernel.constants.sort();
        self.device.compile(&kernel).unwrap()
    }
}

/// Where a memory lies in the arena.
fn place(list_of: &Value, kind: &str, index: usize) -> usize {
    let all = list(&list_of["places"]);
    let found = all.iter().find(|p| p["memory"] == kind && number(&p["index"]) == index);
    number(&found.expect("a place")["at"])
}

#[test]
fn the_manifest_is_all_it_takes() {
    for name in ["llama-k-q4_k_m", "qwen3moe-s-q4_0", "rwkv7-k-q4_k_m"] {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("kernels");
        let file = ModelFile::open(&fixtures().join(format!("models/{name}.gguf"))).unwrap();
        let made = kernels::make(&file, &folder, None, false, &mut || true).unwrap();
        assert!(made.metal > 5 && made.cuda >= made.metal);
        for (kind, precision) in [("metal", Precision::F32), ("cuda", Precision::Q8)] {
            let model = Model::load(&file, precision).unwrap();
            let program = Program::new(&folder, kind, &model.weights);
            let options = GpuOptions::default();
            let mut ours =
                ingot_gpu::open(DeviceKind::Sim, model.plan, model.weights, &options, &mut |_, _| ())
                    .unwrap();
            ours.reserve(1, 1).unwrap();
            ours.clear_slot(0).unwrap();
            let mut past = 0;
            for tokens in [&[5, 6, 7, 8, 9][..], &[3], &[4], &[1, 2]] {
                let mut logits = Vec::new();
                ours.run(&Step::single(tokens, past, 0, &[0]), &mut logits).unwrap();
                let bits: Vec<u32> = logits.iter().map(|x| x.to_bits()).collect();
                assert!(program.run(tokens, past) == bits, "{name}, {kind}, {} tokens", tokens.len());
                past += tokens.len();
            }
        }
    }
}

/// The files are the kernels that the manifest describes: options come first, and what is
/// included is in place.
#[test]
fn files_are_complete() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("kernels");
    let file = ModelFile::open(&fixtures().join("models/llama-k-q4_k_m.gguf")).unwrap();
    let stopped = kernels::make(&file, &folder, None, false, &mut || false);
    assert!(matches!(stopped, Err(Error::Stopped)));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "something is left");
    kernels::make(&file, &folder, None, false, &mut || true).unwrap();
    let manifest: Value =
        serde_json::from_str(&fs::read_to_string(folder.join("manifest.json")).unwrap()).unwrap();
    for kind in ["metal", "cuda"] {
        for kernel in list(&manifest[kind]["kernels"]) {
            let text = fs::read_to_string(folder.join(kernel["file"].as_str().unwrap())).unwrap();
            assert!(text.contains(kernel["function"].as_str().unwrap()) && !text.contains("#include \""));
            for (option, value) in kernel["options"].as_object().unwrap() {
                assert!(text.contains(&format!("#define {option} {value}\n")), "{option}");
            }
            if kind == "cuda" {
                let constants = list(&kernel["constants"]);
                assert!(
                    constants.iter().all(|c| text.contains(&format!(" {} = ", c["name"].as_str().unwrap())))
                );
            }
        }
    }
}
