//! The CUDA device, where there is one. Elsewhere these tests say that nothing was checked.

#![cfg(not(target_os = "macos"))]

use ingot_gpu::cuda::{self, CudaBuffer, CudaDevice, CudaPipeline};
use ingot_gpu::device::{Bound, Device, DeviceError, Recorded};
use ingot_gpu::launch::{Access, Kernel};

fn device() -> Option<CudaDevice> {
    match CudaDevice::open(0) {
        Ok(device) => Some(device),
        Err(DeviceError::Unavailable(why)) => {
            eprintln!("NOT CHECKED on an NVIDIA GPU: {why}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn floats(device: &CudaDevice, values: &[f32]) -> CudaBuffer {
    let buffer = device.alloc(4 * values.len()).unwrap();
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    device.write(&buffer, 0, &bytes).unwrap();
    buffer
}

fn read(device: &CudaDevice, buffer: &CudaBuffer, count: usize) -> Vec<f32> {
    let mut bytes = vec![0; 4 * count];
    device.read(buffer, 0, &mut bytes).unwrap();
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

/// A launch whose operands are all of the buffers, the last one written.
fn launch<'a>(
    pipeline: &'a CudaPipeline,
    buffers: &[(&'a CudaBuffer, usize)],
    groups: u32,
    after: Vec<usize>,
) -> Recorded<'a, CudaDevice> {
    let bound = |&(buffer, bytes)| Bound { buffer, at: 0, bytes, access: Access::Update };
    let operands = buffers.iter().map(bound).collect();
    Recorded { pipeline, operands, grid: [groups, 1, 1], threads: 64, after }
}

fn run(device: &CudaDevice, launches: &[Recorded<'_, CudaDevice>]) {
    let recording = device.record(launches).unwrap();
    let fence = device.submit(&recording).unwrap();
    let seconds = device.wait(fence).unwrap();
    assert!(seconds.is_none_or(|s| s > 0.0 && s < 60.0), "{seconds:?}");
}

/// The address of every element is checked by what is in it.
const SCALE: &str = "constant float FACTOR [[function_constant(0)]];
kernel void scale(device const float* x [[buffer(0)]], device float* y [[buffer(1)]],
    uint group [[threadgroup_position_in_grid]], uint thread_index [[thread_index_in_threadgroup]]) {
    const uint i = 64 * group + thread_index;
    y[i] = x[i] * FACTOR;
}";

#[test]
fn a_machine_without_gpu_says_so() {
    match (cuda::list(), CudaDevice::open(usize::MAX)) {
        (_, Ok(device)) => panic!("there cannot be so many: {:?}", device.info()),
        (Ok(all), Err(DeviceError::Unavailable(why))) => {
            assert!(
                !all.is_empty() && all.iter().all(|(_, info)| info.kind == "cuda" && info.memory > 0),
                "{all:?}"
            );
            assert!(why.contains("none has number"), "{why}");
        }
        (Err(DeviceError::Unavailable(list)), Err(DeviceError::Unavailable(open))) => {
            assert!(!list.contains('\n') && !list.is_empty() && !open.is_empty());
            eprintln!("no NVIDIA GPU: {list}");
        }
        (list, Err(open)) => panic!("{list:?}, {open}"),
    }
}

#[test]
fn bytes_go_there_and_back() {
    let Some(device) = device() else { return };
    // Longer than two of the pieces that copies are made of.
    let len = (80 << 20) + 12_345;
    let bytes: Vec<u8> = (0..len).map(|i: usize| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let (a, b) = (device.alloc(len).unwrap(), device.alloc(len).unwrap());
    device.write(&a, 0, &bytes).unwrap();
    device.clear(&b, 0, len).unwrap();
    device.copy((&a, 1000), (&b, 500), len - 1000).unwrap();
    device.write(&b, 3, b"abc").unwrap();
    let mut back = vec![1; len];
    device.read(&b, 0, &mut back).unwrap();
    assert_eq!(&back[..8], b"\0\0\0abc\0\0");
    assert!(back[500..len - 500] == bytes[1000..], "copied bytes differ");
    assert!(back[8..500].iter().chain(&back[len - 500..]).all(|b| *b == 0), "cleared bytes are not zero");

    let mut one = [0];
    assert!(matches!(device.read(&b, len, &mut one), Err(DeviceError::Failed(_))));
    assert!(device.write(&b, usize::MAX, &one).is_err());
    assert!(device.copy((&a, 1), (&b, 0), len).is_err());
    assert!(device.clear(&a, len, 1).is_err());
    device.read(&b, len, &mut []).unwrap();
    device.alloc(0).unwrap();
}

#[test]
fn nothing_is_adopted_and_too_much_is_refused() {
    let Some(device) = device() else { return };
    assert!(device.adopt(&vec![0u8; 4096].into()).unwrap().is_none());
    for bytes in [1 << 44, usize::MAX / 2] {
        match device.alloc(bytes) {
            Err(DeviceError::OutOfMemory(message)) => {
                assert!(message.contains(&bytes.to_string()), "{message}")
            }
            other => panic!("{:?}", other.err()),
        }
    }
    device.alloc(1 << 20).expect("there is memory after a refusal");
}

#[test]
fn a_kernel_runs_on_what_it_is_given() {
    let Some(device) = device() else { return };
    let kernel = Kernel::new("scale").float("FACTOR", 0.1);
    let pipeline = device.compile_source(SCALE, &kernel).unwrap();
    let values: Vec<f32> = (0..6400).map(|i| i as f32 - 3.5).collect();
    let (x, y) = (floats(&device, &values), floats(&device, &vec![7.0; 6400]));
    run(&device, &[launch(&pipeline, &[(&x, 25600), (&y, 25600)], 99, vec![])]);
    let expected = values.iter().enumerate().map(|(i, v)| if i < 99 * 64 { v * 0.1 } else { 7.0 });
    assert!(read(&device, &y, 6400).into_iter().eq(expected));

    let error = |launch| device.record(&[launch]).err().map(|e| e.to_string()).unwrap_or_default();
    assert!(error(launch(&pipeline, &[(&x, 4)], 1, vec![])).contains("1 buffers given, it has 2"));
    assert!(error(launch(&pipeline, &[(&x, 4), (&y, 25604)], 1, vec![])).contains("25604 bytes at 0"));
    assert!(error(launch(&pipeline, &[(&x, 4), (&y, 4)], 0, vec![])).contains("grid"));
    let many = Recorded { threads: 2048, ..launch(&pipeline, &[(&x, 4), (&y, 4)], 1, vec![]) };
    assert!(error(many).contains("2048 threads"));
}

#[test]
fn mistakes_in_kernels_are_reported() {
    let Some(device) = device() else { return };
    let wrong = SCALE.replace("x[i] *", "nonsense *");
    let kernel = Kernel::new("scale").float("FACTOR", 0.1).option("FLAVOUR", 3);
    match device.compile_source(&wrong, &kernel) {
        Err(DeviceError::Compile { kernel, message }) => {
            assert!(kernel.contains("FLAVOUR=3") && message.contains("nonsense"), "{kernel}: {message}");
        }
        other => panic!("{:?}", other.err()),
    }
}

/// Each launch reads what all earlier ones left, long before its predecessor is over
/// if nothing makes it wait: threadgroups read what others wrote, slowly.
const STEP: &str = "kernel void step(device const float* x [[buffer(0)]], device float* y [[buffer(1)]],
    uint group [[threadgroup_position_in_grid]], uint groups [[threadgroups_per_grid]],
    uint thread_index [[thread_index_in_threadgroup]]) {
    grid_dependency_wait();
    const uint count = 64 * groups, i = 64 * group + thread_index;
    float sum = 0.0f;
    for (uint k = 0; k < 8; k++) sum += x[(i + 64 * k + k) % count] * 0.125f;
    y[i] = sum + float(i % 7u);
}";

#[test]
fn dependent_launches_wait_for_each_other() {
    let Some(device) = device() else { return };
    let pipeline = device.compile_source(STEP, &Kernel::new("step")).unwrap();
    let (groups, count) = (200, 12_800);
    let start: Vec<f32> = (0..count).map(|i| (i % 1000) as f32).collect();
    let mut expected = start.clone();
    const CHAIN: usize = 10;
    for _ in 0..CHAIN {
        let x = expected.clone();
        for (i, y) in expected.iter_mut().enumerate() {
            // The sums of the kernel, in its order, fused as its compiler does.
            let sum = (0..8).fold(0f32, |sum, k| x[(i + 65 * k) % count].mul_add(0.125, sum));
            *y = sum + (i % 7) as f32;
        }
    }
    let (a, b) = (floats(&device, &start), floats(&device, &start));
    let bytes = 4 * count;
    let launches: Vec<_> = (0..CHAIN)
        .map(|i| {
            let (from, to) = if i % 2 == 0 { (&a, &b) } else { (&b, &a) };
            launch(
                &pipeline,
                &[(from, bytes), (to, bytes)],
                groups,
                if i == 0 { vec![] } else { vec![i - 1] },
            )
        })
        .collect();
    let recording = device.record(&launches).unwrap();
    let source = floats(&device, &start);
    for round in 0..1000 {
        device.copy((&source, 0), (&a, 0), bytes).unwrap();
        let fence = device.submit(&recording).unwrap();
        device.wait(fence).unwrap();
        if round % 100 == 0 || round > 990 {
            assert!(read(&device, &a, count) == expected, "round {round}");
        }
    }
    // Submissions follow each other without the host waiting in between.
    let fences: Vec<_> = (0..3)
        .map(|_| {
            device.copy((&source, 0), (&a, 0), bytes).unwrap();
            device.submit(&recording).unwrap()
        })
        .collect();
    fences.into_iter().for_each(|fence| assert!(device.wait(fence).is_ok()));
    assert!(read(&device, &a, count) == expected);

    let seconds = device.time(&launches).unwrap();
    assert!(seconds.len() == CHAIN && seconds.iter().all(|s| *s > 0.0 && *s < 0.1), "{seconds:?}");
    device.time(&[]).unwrap();
}

/// A recording uses its memory and kernels even when nobody else has them any more.
#[test]
fn a_recording_keeps_what_it_needs() {
    let Some(device) = device() else { return };
    let y = floats(&device, &[0.0; 64]);
    let recording = {
        let pipeline = device.compile_source(SCALE, &Kernel::new("scale").float("FACTOR", 2.0)).unwrap();
        let x = floats(&device, &[21.0; 64]);
        let one = || launch(&pipeline, &[(&x, 256), (&y, 256)], 1, vec![]);
        device.record(&[one(), one()]).unwrap()
    };
    let other = floats(&device, &[1.0; 64]);
    let fence = device.submit(&recording).unwrap();
    device.wait(fence).unwrap();
    assert_eq!(read(&device, &y, 64), [42.0; 64]);
    assert_eq!(read(&device, &other, 64), [1.0; 64]);
    run(&device, &[]);
}

#[test]
fn shared_memory_is_seen_by_both() {
    let Some(device) = device() else { return };
    let source = "kernel void count(device const uint* x [[buffer(0)]], device uint* y [[buffer(1)]],
        uint thread_index [[thread_index_in_threadgroup]]) { y[thread_index] = x[thread_index] + 1u; }";
    let pipeline = device.compile_source(source, &Kernel::new("count")).unwrap();
    let (x, y) = (device.alloc_shared(256).unwrap(), device.alloc_shared(256).unwrap());
    device.write(&x, 4, &41u32.to_le_bytes()).unwrap();
    run(&device, &[launch(&pipeline, &[(&x, 256), (&y, 256)], 1, vec![])]);
    assert_eq!((device.peek(&y, 0), device.peek(&y, 1), device.peek(&y, 63)), (1, 42, 1));
    let mut word = [0; 4];
    device.read(&y, 4, &mut word).unwrap();
    assert_eq!(u32::from_le_bytes(word), 42);
}

/// The functions of the prelude whose results are not those of one instruction.
#[test]
fn functions_are_accurate() {
    let Some(device) = device() else { return };
    let source = "kernel void functions(device const float* x [[buffer(0)]], device float* y [[buffer(1)]],
        uint i [[thread_index_in_threadgroup]], uint lane [[thread_index_in_simdgroup]]) {
        const float v = x[i];
        y[i] = precise::sin(v);
        y[64 + i] = precise::cos(v);
        y[128 + i] = tanh(v);
        y[192 + i] = exp(-fabs(v));
        y[256 + i] = log(fabs(v) + 1.0f);
        y[320 + i] = float(half(v));
        y[384 + i] = simd_sum(v) + float(simd_prefix_exclusive_sum(lane));
        y[448 + i] = float(dot4_i8(0x7f80ff01u, 0x0102fe7fu, int(lane)));
    }";
    let pipeline = device.compile_source(source, &Kernel::new("functions")).unwrap();
    let mut values: Vec<f32> = (0..64).map(|i| (i as f32 - 31.3) * 0.37).collect();
    values[..8].copy_from_slice(&[0.0, 1e-6, 1e5, -123_456.7, 88.0, -1e4, std::f32::consts::PI, 1e30]);
    let (x, y) = (floats(&device, &values), floats(&device, &[0.0; 512]));
    run(&device, &[launch(&pipeline, &[(&x, 256), (&y, 2048)], 1, vec![])]);
    let y = read(&device, &y, 512);
    let sums: [f64; 2] = [0, 1].map(|g| values[32 * g..32 * g + 32].iter().map(|v| f64::from(*v)).sum());
    for (i, &value) in values.iter().enumerate() {
        let (v, lane) = (f64::from(value), (i % 32) as f64);
        // 0x01 * 0x7f + 0xff * 0xfe + 0x80 * 0x02 + 0x7f * 0x01, as signed bytes
        let dot = 127.0 + 2.0 - 256.0 + 127.0 + lane;
        let checks = [
            (v.sin(), 1e-6, 0.0),
            (v.cos(), 1e-6, 0.0),
            (v.tanh(), 0.0, 1e-6),
            ((-v.abs()).exp(), 1e-37, 1e-5),
            ((v.abs() + 1.0).ln(), 1e-7, 1e-6),
            (half::f16::from_f32(value).to_f64(), 0.0, 0.0),
            (sums[i / 32] + lane * (lane - 1.0) / 2.0, 0.0, 1e-5),
            (dot, 0.0, 0.0),
        ];
        for (k, (expected, absolute, relative)) in checks.into_iter().enumerate() {
            let got = f64::from(y[64 * k + i]);
            let close = (got - expected).abs() <= absolute + relative * expected.abs() || got == expected;
            assert!(close, "function {k} of {value}: {got}, expected {expected}");
        }
    }
}

#[test]
fn bandwidth_is_plausible() {
    let Some(device) = device() else { return };
    let bandwidth = device.copy_bandwidth().unwrap();
    eprintln!("{}: {:.0} GB/s read and written", device.info().name, bandwidth / 1e9);
    assert!((1e10..1e14).contains(&bandwidth), "{bandwidth:e}");
}
