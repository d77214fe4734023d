//! How many kernels there are to compile. Sizes of the model are constants in them;
//! sizes of the step must not be, or every new length of a prompt would have to wait
//! for a compiler.

use ingot_format::{Bytes, DType, ModelFile, Tensor};
use ingot_gpu::launch::Kernel;
use ingot_gpu::launches::{Shape, Target};
use ingot_gpu::lower::{self, Path};
use ingot_plan::ops::Gate;
use ingot_plan::{Plan, PlanBuilder, Precision};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A model of each family.
const MODELS: [&str; 7] = [
    "llama-s-q8_0",
    "llama3-k-q4_k_m",
    "mistral-sw16-s-f16",
    "qwen2-s-q4_k_m",
    "qwen3-k-q4_k_m",
    "qwen3moe-k-q4_k_m",
    "rwkv7-k-q4_k_m",
];

fn fixture(name: &str) -> Arc<Plan> {
    let path = ingot_golden::fixtures().join(format!("models/{name}.gguf"));
    ingot_models::Model::load(&ModelFile::open(&path).unwrap(), Precision::Q8).unwrap().plan
}

/// The products of a layer as large as they are in models that people use. Nothing
/// touches the weights, so that they take no memory.
fn large() -> Arc<Plan> {
    let mut b = PlanBuilder::new(Precision::Q8);
    let mut weight = |name: &str, dtype: DType, shape: &[usize]| {
        let bytes = shape.iter().product::<usize>() / dtype.block_len() * dtype.block_bytes();
        b.weight(&Tensor::new(name, dtype, shape.to_vec(), Bytes::from(vec![0; bytes])).unwrap())
    };
    let table = weight("embed", DType::Q4_K, &[32768, 4096]);
    let norms = ["a", "b", "c"].map(|name| weight(name, DType::F32, &[4096]));
    let [q, k, v] = [("q", 4096), ("k", 1024), ("v", 1024)].map(|(n, r)| weight(n, DType::Q4_K, &[r, 4096]));
    let out = weight("out", DType::Q4_K, &[4096, 4096]);
    let [gate, up] = ["gate", "up"].map(|name| weight(name, DType::Q4_K, &[14336, 4096]));
    let down = weight("down", DType::Q6_K, &[4096, 14336]);
    let head = weight("head", DType::Q6_K, &[32768, 4096]);
    let x = b.embed(table);
    let h = b.rms_norm(x, norms[0], 1e-5);
    let qkv = b.linears(h, [q, k, v].map(|w| w.into()));
    let y = b.attention(qkv, [32, 8], 0.1, None);
    let y = b.linear(y, out);
    let x = b.add(x, y);
    let h = b.rms_norm(x, norms[1], 1e-5);
    let [gate, up] = b.linears(h, [gate, up].map(|w| w.into()));
    let y = b.glu(gate, up, Gate::Silu);
    let y = b.linear(y, down);
    let x = b.add(x, y);
    let x = b.select(x);
    let x = b.rms_norm(x, norms[2], 1e-5);
    let logits = b.linear(x, head);
    Arc::new(b.finish(logits))
}

/// Contexts as the executor asks for them: 256 positions to 128 k.
fn contexts() -> impl Iterator<Item = usize> {
    (8..=17).map(|bits| 1 << bits)
}

/// Steps of all lengths, with few and many sequences.
fn shapes(path: Path) -> Vec<Shape> {
    let shape = |rows, sequences, context| Shape { rows, outputs: sequences, sequences, context };
    match path {
        Path::Vector => {
            (1..=64).flat_map(|rows| contexts().map(move |context| shape(rows, rows, context))).collect()
        }
        Path::Few => (4..=130).map(|rows| shape(rows, rows, 256)).collect(),
        Path::Tile => {
            let sequences = |rows: usize| [1, 2, 7, 64].into_iter().filter(move |s| 2 * s <= rows);
            (2..=512)
                .flat_map(|rows| sequences(rows).map(move |s| (rows, s)))
                .flat_map(|(rows, s)| contexts().step_by(9).map(move |context| shape(rows, s, context)))
                .collect()
        }
    }
}

/// Kernels by name, all of a step or of many.
type Kernels = BTreeMap<&'static str, BTreeSet<Kernel>>;

/// How many times as many kernels of this name all steps may need as one step does.
fn most(kernel: &str) -> usize {
    match kernel {
        // How many chunks there is room for; whether it is one, and whether there are many in all.
        "attention_merge" => contexts().count() - 1,
        "attention_vec" => 3,
        // For few rows and for many.
        "rope_store" => 2,
        // The sizes of tiles.
        "linear_tile" => 4,
        // 16, 32 or 64 tokens.
        "linear_few" => 3,
        _ => 1,
    }
}

/// Most sets of options, for both paths of a model: each is a file for Apple's
/// compiler, and a second of waiting for the simulator.
const OPTION_SETS: usize = 32;

#[test]
fn kernels_are_made_for_models_and_not_for_steps() {
    let models = MODELS.iter().map(|name| (*name, fixture(name))).chain([("large", large())]);
    for (name, plan) in models {
        for cores in [4, 10, 132] {
            let target = Target::of_cores(cores);
            let mut options = BTreeSet::new();
            for path in [Path::Vector, Path::Tile, Path::Few] {
                let (mut all, mut of_a_step) = (Kernels::new(), BTreeMap::new());
                for shape in shapes(path) {
                    let mut step = Kernels::new();
                    for node in lower::lower(&plan, &target, &shape, path, false).unwrap().launches {
                        step.entry(node.launch.kernel.name).or_default().insert(node.launch.kernel);
                    }
                    for (kernel, set) in step {
                        let n = of_a_step.entry(kernel).or_insert(0);
                        *n = set.len().max(*n);
                        all.entry(kernel).or_default().extend(set);
                    }
                }
                let total: usize = all.values().map(BTreeSet::len).sum();
                let one: usize = of_a_step.values().sum();
                println!("{name}, {cores} cores, {path:?}: {total} kernels, {one} of them for one step");
                for (kernel, set) in &all {
                    let (n, one) = (set.len(), of_a_step[kernel]);
                    println!("    {kernel}: {n}, {one}");
                    assert!(
                        n <= most(kernel) * one,
                        "{name}, {cores} cores: {n} of {kernel} instead of {one}"
                    );
                }
                // Apple's devices do not take the path of few rows.
                if path != Path::Few {
                    options.extend(all.into_values().flatten().map(|kernel| (kernel.name, kernel.options)));
                }
            }
            println!("    {} sets of options", options.len());
            assert!(options.len() <= OPTION_SETS, "{name}, {cores} cores: {options:#?}");
        }
    }
}
