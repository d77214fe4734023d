//! Launches that are listed, on the simulator against those that are made of the plan: the
//! same bits for prompts, single tokens and windows, for every family.

use ingot_cast::lists::{self, CUDA, Device, METAL};
use ingot_golden::Golden;
use ingot_gpu::sim::{Options, SimDevice};
use ingot_gpu::{DeviceKind, Gpu, GpuExecutor, GpuOptions};
use ingot_models::Model;
use ingot_plan::{Draw, ExecError, PAGE, Precision, Step, Window};

/// One file of each family, with different types.
const MODELS: [&str; 10] = [
    "llama-k-q4_k_m",
    "mistral-sw16-s-f16",
    "smollm3-s-q8_0",
    "qwen2-s-q4_0",
    "qwen3-s-q8_0",
    "qwen3moe-k-q4_k_m",
    "gemma2-s-f16",
    "gemma3-k-q4_k",
    "phi3-k-q4_k_m",
    "rwkv7-k-q4_k_m",
];

/// What a GPU that runs lists has, and what one that plans has.
fn pair(model: &Model, device: Device, context: usize) -> [Box<dyn Gpu>; 2] {
    let lists = lists::make(&model.plan, device, Some(context)).expect("kernels for everything").lists;
    let (plan, weights) = (&model.plan, &model.weights);
    let listed = ingot_gpu::open_listed(
        DeviceKind::Sim,
        plan.clone(),
        weights.clone(),
        Box::leak(Box::new(lists)),
        &mut |_, _| (),
    );
    let options = GpuOptions::default();
    // Weights are arranged where they are copied.
    let simulator = SimDevice::with(Options { shares_memory: !device.eights, ..Options::default() });
    let planned =
        GpuExecutor::new(simulator.expect("a compiler"), plan.clone(), weights, &options, &mut |_, _| ());
    [listed.expect("a simulator"), Box::new(planned.expect("kernels for everything"))]
}

/// The logits after a prompt and after some more tokens, and what a window draws then.
fn run(executor: &mut dyn Gpu, prompt: &[u32], tokens: &[u32]) -> (Vec<u32>, Vec<u32>) {
    const STEPS: usize = 4;
    let pages: Vec<u32> = (0..(prompt.len() + tokens.len() + STEPS).div_ceil(PAGE) as u32).collect();
    executor.reserve(pages.len(), 1).unwrap();
    executor.clear_slot(0).unwrap();
    let (mut bits, mut logits) = (Vec::new(), Vec::new());
    executor.run(&Step::single(prompt, 0, 0, &pages), &mut logits).unwrap();
    bits.extend(logits.iter().map(|x| x.to_bits()));
    let (last, before) = tokens.split_last().unwrap();
    for (past, token) in (prompt.len()..).zip(before) {
        executor.run(&Step::single(&[*token], past, 0, &pages), &mut logits).unwrap();
        bits.extend(logits.iter().map(|x| x.to_bits()));
    }
    let first = Step::single(&[*last], prompt.len() + before.len(), 0, &pages);
    let window = Window { first: &first, draws: &[Draw::GREEDY], ends: &[], steps: STEPS };
    let mut drawn = Vec::new();
    assert!(executor.window(&window, &mut |_, token| drawn.push(token)).unwrap());
    (bits, drawn)
}

fn golden(name: &str) -> Golden {
    Golden::all().into_iter().find(|golden| golden.name == name).expect("a fixture")
}

#[test]
fn the_same_bits_as_what_is_planned() {
    for name in MODELS {
        let golden = golden(name);
        for (precision, device) in [(Precision::Q8, CUDA), (Precision::F32, METAL)] {
            let model = golden.load(precision);
            for rows in [2, 19] {
                let (prompt, tokens) = golden.prompt.split_at(rows);
                let results = pair(&model, device, 512).map(|mut gpu| run(&mut *gpu, prompt, &tokens[..3]));
                assert!(results[0] == results[1], "{name}, {precision:?}, {rows} rows");
            }
        }
    }
}

/// Attention in several chunks, of which there is a list of its own.
#[test]
fn long_contexts() {
    let golden = golden("llama-k-q4_k_m");
    let model = golden.load(Precision::Q8);
    let prompt: Vec<u32> = golden.prompt.iter().copied().cycle().take(257).collect();
    let results = pair(&model, CUDA, 1024).map(|mut gpu| run(&mut *gpu, &prompt, &[1, 2]));
    assert!(results[0] == results[1]);
}

#[test]
fn what_is_not_listed_is_refused() {
    let model = golden("llama-k-q4_k_m").load(Precision::Q8);
    let [mut gpu, _] = pair(&model, CUDA, 256);
    let pages: Vec<u32> = (0..5).collect();
    gpu.reserve(5, 1).unwrap();
    let mut logits = Vec::new();
    let refused = gpu.run(&Step::single(&[1], 256, 0, &pages), &mut logits);
    assert!(matches!(refused, Err(ExecError::Request(what)) if what.contains("no launches")));
    let two = Step { outputs: vec![0, 1], ..Step::single(&[1, 2], 0, 0, &pages) };
    assert!(matches!(gpu.run(&two, &mut logits), Err(ExecError::Request(_))));
}
