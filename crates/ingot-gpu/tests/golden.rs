//! Every golden file on a GPU executor: on the simulator, or on the device that
//! `INGOT_TEST_DEVICE` names (`cuda`, `cuda:1`, `metal`).

mod common;

use common::executor;
use ingot_format::DType;
use ingot_golden::{Difference, Feeder, Golden, argmax, compare};
use ingot_gpu::sim::{Options, SimDevice};
use ingot_gpu::{DeviceKind, Gpu, GpuExecutor, GpuOptions};
use ingot_models::Model;
use ingot_plan::{Draw, PAGE, Precision, Sequence, Step, Window};

/// Runs a golden file; checks the greedy text as far as the margins decide it.
fn run(golden: &Golden, precision: Precision, options: &GpuOptions) -> Difference {
    golden.check(&mut *executor(golden.load(precision), options), 512)
}

#[test]
fn float_activations_and_f32_cache() {
    for golden in Golden::all() {
        let d = run(&golden, Precision::F32, &GpuOptions { cache: DType::F32, exact: true });
        assert!(d.max_abs < 1e-3, "{}: {d:?}", golden.name);
    }
}

#[test]
fn half_tiles_and_f16_cache() {
    for golden in Golden::all() {
        let d = run(&golden, Precision::F32, &GpuOptions { cache: DType::F16, exact: false });
        assert!(d.max_abs < 3e-2, "{}: {d:?}", golden.name);
    }
}

/// Devices that copy weights have blocks of some types in eights; the simulator too, if it is told
/// that it shares no memory.
#[test]
fn weights_in_memory_of_the_device() {
    for name in ["llama-s-q8_0", "llama-k-q4_k_m", "rwkv7-k-q4_k_m", "qwen3moe-k-q4_k_m"] {
        let golden = Golden::all().into_iter().find(|g| g.name == name).unwrap();
        let device = || SimDevice::with(Options { shares_memory: false, ..Options::default() }).unwrap();
        let run = |precision, options: GpuOptions, chunk| {
            let Model { plan, weights, .. } = golden.load(precision);
            let executor = GpuExecutor::new(device(), plan, &weights, &options, &mut |_, _| ());
            golden.check(&mut executor.unwrap(), chunk)
        };
        let d = run(Precision::F32, GpuOptions { cache: DType::F32, exact: true }, 512);
        assert!(d.max_abs < 1e-3, "{name}: {d:?}");
        golden.check_eight_bits(run(Precision::Q8, GpuOptions::default(), 1));
    }
}

/// What runs by default where there are 8-bit dot products; fed token by token, so
/// that all of it goes through them. The error may not be much above llama.cpp's.
#[test]
fn eight_bit_activations() {
    let compared = |golden: &&Golden| {
        let mut executor = executor(golden.load(Precision::Q8), &GpuOptions::default());
        golden.check_eight_bits(golden.check(&mut *executor, 1))
    };
    let compared = Golden::all().iter().filter(compared).count();
    assert!(compared >= 35, "only {compared} files compared with llama.cpp");
}

#[test]
fn recurrent_state() {
    let exact = GpuOptions { cache: DType::F32, exact: true };
    let mut compared = 0;
    for golden in Golden::all().iter().filter(|g| g.state.is_some()) {
        for chunk in [1, 7, 64] {
            let mut executor = executor(golden.load(Precision::F32), &exact);
            let d = golden.check_state(&mut *executor, chunk).expect("a state");
            assert!(d.max_abs < 1e-3, "{} in chunks of {chunk}: {d:?}", golden.name);
            compared += 1;
        }
    }
    assert!(compared >= 15, "only {compared} states compared");
}

/// Three sequences of different lengths, first their prompts and then some decoded
/// tokens, alone and together: the same bits.
#[test]
fn company_changes_nothing() {
    for golden in Golden::all() {
        // One file of each family and kind of types is enough.
        if ![
            "llama-k-q4_k_m",
            "qwen3-s-q8_0",
            "mistral-sw16-s-f16",
            "qwen3moe-k-q4_k_m",
            "rwkv7-k-q4_k_m",
            "gemma3-s-q8_0",
            "gemma2-s-f16",
            "phi3-k-q4_k_m",
        ]
        .contains(&golden.name.as_str())
        {
            continue;
        }
        let lengths = [5, 1, 17];
        let prompts: Vec<&[u32]> =
            [0, 9, 20].iter().zip(lengths).map(|(&at, n)| &golden.prompt[at..at + n]).collect();
        let mut alone = Vec::new();
        for prompt in &prompts {
            let mut executor = executor(golden.load(Precision::Q8), &GpuOptions::default());
            let mut feeder = Feeder::new(&mut *executor);
            let first = feeder.feed(prompt, 512);
            let next: Vec<f32> = [3, 1].iter().flat_map(|&t| feeder.feed(&[t], 1)).collect();
            alone.push([first, next].concat());
        }
        let mut executor = executor(golden.load(Precision::Q8), &GpuOptions::default());
        let mut together = vec![Vec::new(); prompts.len()];
        executor.reserve(prompts.len(), prompts.len()).unwrap();
        (0..prompts.len()).for_each(|slot| executor.clear_slot(slot as u32).unwrap());
        let vocab = executor.plan().vocab();
        let mut past = [0; 3];
        for inputs in [prompts.clone(), vec![&[3][..]; 3], vec![&[1][..]; 3]] {
            let step = join(&inputs, &past);
            let mut logits = Vec::new();
            executor.run(&step, &mut logits).unwrap();
            for (i, s) in step.sequences.iter().enumerate() {
                together[i].extend_from_slice(&logits[s.rows.start * vocab..s.rows.end * vocab]);
                past[i] += s.rows.len();
            }
        }
        for (i, (alone, together)) in alone.iter().zip(&together).enumerate() {
            let bits = |x: &Vec<f32>| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert!(bits(alone) == bits(together), "{}: sequence {i}", golden.name);
        }
    }
}

const FEW: [&str; 5] =
    ["llama-k-q4_k_m", "qwen3-s-q8_0", "mistral-sw16-s-f16", "rwkv7-k-q4_k_m", "gemma3-s-q8_0"];

/// An executor with so many fresh sequences, of which products share weights from four on.
fn sharing(golden: &Golden, precision: Precision, sequences: usize) -> Box<dyn Gpu> {
    let mut executor: Box<dyn Gpu> = match common::device() {
        DeviceKind::Sim => {
            let options = Options { few_from: Some(4), shares_memory: false, ..Options::default() };
            let Model { plan, weights, .. } = golden.load(precision);
            let device = SimDevice::with(options).unwrap();
            let options = GpuOptions::default();
            Box::new(GpuExecutor::new(device, plan, &weights, &options, &mut |_, _| ()).unwrap())
        }
        _ => executor(golden.load(precision), &GpuOptions::default()),
    };
    executor.reserve(sequences, sequences).unwrap();
    (0..sequences).for_each(|slot| executor.clear_slot(slot as u32).unwrap());
    executor
}

/// One token of each sequence after so many.
fn singles(tokens: &[u32], past: usize) -> Step {
    join(&tokens.chunks(1).collect::<Vec<_>>(), &vec![past; tokens.len()])
}

/// Several sequences whose products share weights: as exact as one alone, and the same bits
/// whoever else there is.
#[test]
fn few_sequences_share_weights() {
    for golden in Golden::all().iter().filter(|g| FEW.contains(&g.name.as_str())) {
        let run = |sequences: usize, precision| {
            let mut executor = sharing(golden, precision, sequences);
            let mut first_of_all = Vec::new();
            for (past, token) in golden.prompt.iter().enumerate().take(20) {
                // The others write something else.
                let other = |i: usize| if i == 0 { *token } else { i as u32 };
                let step = singles(&(0..sequences).map(other).collect::<Vec<_>>(), past);
                let mut logits = Vec::new();
                executor.run(&step, &mut logits).unwrap();
                let kernels = executor.describe(&step).unwrap();
                assert_eq!(kernels.iter().any(|d| d.kernel == "linear_few"), sequences >= 4);
                first_of_all.extend_from_slice(&logits[..executor.plan().vocab()]);
            }
            first_of_all
        };
        let alone = run(1, Precision::Q8);
        let few = run(4, Precision::Q8);
        let exact = &golden.logits[..few.len()];
        let [error_alone, error_few] = [&alone, &few].map(|logits| compare(logits, exact).rel_rms);
        println!("{}: {error_alone} alone, {error_few} with others", golden.name);
        assert!(error_few <= 1.1 * error_alone + 1e-3, "{}", golden.name);
        assert!(few == run(37, Precision::Q8), "{}: company", golden.name);
        let d = compare(&run(5, Precision::F32), exact);
        assert!(d.max_abs < 3e-2, "{}: {d:?}", golden.name);
    }
}

/// Windows of several sequences write what single steps do.
#[test]
fn windows_of_few_sequences() {
    for golden in Golden::all().iter().filter(|g| FEW.contains(&g.name.as_str())) {
        let (steps, first) = (5, &golden.prompt[..6]);
        let mut executor = sharing(golden, Precision::Q8, first.len());
        let (mut tokens, mut expected, mut logits) = (first.to_vec(), Vec::new(), Vec::new());
        for past in 0..steps {
            executor.run(&singles(&tokens, past), &mut logits).unwrap();
            tokens = logits.chunks_exact(executor.plan().vocab()).map(argmax).collect();
            expected.push(tokens.clone());
        }
        let mut executor = sharing(golden, Precision::Q8, first.len());
        let mut written = vec![Vec::new(); first.len()];
        let window =
            Window { first: &singles(first, 0), draws: &vec![Draw::GREEDY; first.len()], ends: &[], steps };
        assert!(executor.window(&window, &mut |sequence, token| written[sequence].push(token)).unwrap());
        let written: Vec<Vec<u32>> =
            (0..steps).map(|step| written.iter().map(|tokens| tokens[step]).collect()).collect();
        assert_eq!(written, expected, "{}", golden.name);
    }
}

/// One step of several sequences, each with a page and a slot of its own and all
/// logits wanted.
fn join(inputs: &[&[u32]], past: &[usize]) -> Step {
    let mut step = Step::default();
    for (i, tokens) in inputs.iter().enumerate() {
        let first = step.tokens.len();
        step.tokens.extend_from_slice(tokens);
        assert!(past[i] + tokens.len() <= PAGE);
        step.sequences.push(Sequence {
            rows: first..step.tokens.len(),
            past: past[i],
            slot: i as u32,
            pages: vec![i as u32],
        });
    }
    step.outputs = (0..step.tokens.len() as u32).collect();
    step
}

/// How a prompt is cut changes nothing, as long as no piece is a single row, and where there
/// is a recurrence as long as pieces begin at multiples of 16 positions.
#[test]
fn pieces_change_nothing() {
    for golden in Golden::all() {
        if !["llama-k-q4_k_m", "qwen2-s-q8_0", "rwkv7-s-f16", "gemma3-s-q8_0"].contains(&golden.name.as_str())
        {
            continue;
        }
        let feed = |chunk| {
            let mut executor = executor(golden.load(Precision::Q8), &GpuOptions::default());
            Feeder::new(&mut *executor).feed(&golden.prompt, chunk)
        };
        let whole: Vec<u32> = feed(48).iter().map(|x| x.to_bits()).collect();
        let chunks = if golden.state.is_some() { [16, 32] } else { [3, 46] };
        for chunk in chunks {
            let cut: Vec<u32> = feed(chunk).iter().map(|x| x.to_bits()).collect();
            assert!(cut == whole, "{} in pieces of {chunk}", golden.name);
        }
    }
}

/// Host synchronisations, submissions and launches of a decode step.
#[test]
fn one_submission_a_step() {
    for (name, most) in [
        ("llama-k-q4_k_m", 7),
        ("qwen3-s-q8_0", 7),
        ("phi3-k-q4_k_m", 7),
        ("smollm3-s-q8_0", 7),
        ("gemma3-k-q4_k_m", 9),
        ("rwkv7-k-q4_k_m", 10),
    ] {
        let golden = Golden::all().into_iter().find(|g| g.name == name).unwrap();
        let model = golden.load(Precision::Q8);
        let layers = model.info.layers;
        let mut executor = executor(model, &GpuOptions::default());
        Feeder::new(&mut *executor).feed(&golden.prompt[..3], 512);
        executor.take_counts();
        let step = Step::single(&golden.prompt[3..4], 3, 0, &[0]);
        executor.run(&step, &mut Vec::new()).unwrap();
        let counts = executor.take_counts();
        assert_eq!((counts.steps, counts.submissions, counts.waits), (1, 1, 1), "{name}");
        let described = executor.describe(&step).unwrap();
        assert_eq!(counts.launches as usize, described.len());
        for layer in 0..layers {
            let launches = described.iter().filter(|d| d.layer == Some(layer)).count();
            assert!(launches <= most, "{name}: {launches} launches in layer {layer}");
        }
        // No launch without a purpose: its results are read, or they are logits or state.
        let needed: Vec<usize> = described.iter().flat_map(|d| d.after.clone()).collect();
        let idle = (0..described.len() - 1).filter(|i| !needed.contains(i)).count();
        assert_eq!(idle, 0, "{name}: {described:#?}");
    }
}
