//! The simulator runs correct kernels, whatever the order of threads, and names
//! what is wrong with incorrect ones.

use ingot_gpu::device::{Bound, Device, DeviceError, Recorded};
use ingot_gpu::launch::{Access, Kernel};
use ingot_gpu::sim::{Options, SimBuffer, SimDevice};

fn device(seed: u64) -> SimDevice {
    SimDevice::with(Options { seed, ..Options::default() }).unwrap()
}

fn buffer(device: &SimDevice, values: &[f32]) -> SimBuffer {
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    let buffer = device.alloc(bytes.len()).unwrap();
    device.write(&buffer, 0, &bytes).unwrap();
    buffer
}

fn values(device: &SimDevice, buffer: &SimBuffer, count: usize) -> Vec<f32> {
    let mut bytes = vec![0; count * 4];
    device.read(buffer, 0, &mut bytes).unwrap();
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

fn bound(buffer: &SimBuffer, bytes: usize, access: Access) -> Bound<'_, SimBuffer> {
    Bound { buffer, at: 0, bytes, access }
}

const SOFTMAX: &str = "
constant uint COLS [[function_constant(0)]];
inline float reduce(float v, threadgroup float* part, uint lane, uint sg) {
    v = simd_sum(v);
    if (lane == 0) part[sg] = v;
    threadgroup_barrier(mem_flags::mem_threadgroup);
    float all = 0.0f;
    for (uint i = 0; i < 4; i++) all += part[i];
    return all;
}
kernel void softmax(device const float* x [[buffer(0)]],  // [rows, COLS]
                    device float* y [[buffer(1)]],        // [rows, COLS]
                    uint row [[threadgroup_position_in_grid]],
                    uint t [[thread_index_in_threadgroup]],
                    uint lane [[thread_index_in_simdgroup]],
                    uint sg [[simdgroup_index_in_threadgroup]]) {
    threadgroup float part[4];
    grid_dependency_wait();
    device const float* in = x + ulong(row) * COLS;
    float sum = 0.0f;
    for (uint i = t; i < COLS; i += 128) sum += exp(in[i]);
    sum = reduce(sum, part, lane, sg);
    for (uint i = t; i < COLS; i += 128) y[row * COLS + i] = exp(in[i]) / sum;
}
";

fn softmax(seed: u64) -> Vec<f32> {
    let (device, kernel) = (device(seed), Kernel::new("softmax").uint("COLS", 200));
    let pipeline = device.compile_source("softmax", SOFTMAX, &kernel).unwrap();
    let x = buffer(&device, &(0..600).map(|i| (i % 7) as f32 * 0.25).collect::<Vec<_>>());
    let y = device.alloc(2400).unwrap();
    let operands = vec![bound(&x, 2400, Access::Read), bound(&y, 2400, Access::Write)];
    let launch = Recorded { pipeline: &pipeline, operands, grid: [3, 1, 1], threads: 128, after: vec![] };
    let recording = device.record(&[launch]).unwrap();
    let fence = device.submit(&recording).unwrap();
    device.wait(fence).unwrap();
    values(&device, &y, 600)
}

#[test]
fn a_correct_kernel_gives_the_same_in_every_order() {
    let first = softmax(1);
    for (row, out) in first.chunks(200).enumerate() {
        let e: Vec<f64> = (0..200).map(|i| f64::exp(((row * 200 + i) % 7) as f64 * 0.25)).collect();
        let sum: f64 = e.iter().sum();
        assert!(out.iter().zip(&e).all(|(o, e)| (f64::from(*o) - e / sum).abs() < 1e-7));
    }
    for seed in 2..20 {
        assert_eq!(softmax(seed), first);
    }
}

/// A launch of the kernel `bad`, and how it is changed from case to case.
struct Case {
    body: &'static str,
    grid: u32,
    threads: u32,
    access: [Access; 2],
    bytes: [usize; 2],
}

impl Default for Case {
    fn default() -> Self {
        Self { body: "", grid: 1, threads: 64, access: [Access::Read, Access::Write], bytes: [256, 256] }
    }
}

/// What comes of a launch whose kernel has this body: x and y have 64 floats each, x is written.
fn run(case: Case) -> Result<Vec<f32>, String> {
    let x = if case.access[0] == Access::Read { "const " } else { "" };
    let source = format!(
        "kernel void bad(device {x}float* x [[buffer(0)]], device float* y [[buffer(1)]],\n\
         uint group [[threadgroup_position_in_grid]], uint t [[thread_index_in_threadgroup]],\n\
         uint lane [[thread_index_in_simdgroup]], uint sg [[simdgroup_index_in_threadgroup]]) {{\n\
         {}\n}}\n",
        case.body
    );
    let device = device(7);
    let pipeline = device.compile_source("bad", &source, &Kernel::new("bad")).map_err(|e| e.to_string())?;
    let [x, y] = [buffer(&device, &[1.0; 64]), device.alloc(256).unwrap()];
    let operands = [&x, &y].into_iter().zip(case.bytes).zip(case.access);
    let launch = Recorded {
        pipeline: &pipeline,
        operands: operands.map(|((b, bytes), access)| bound(b, bytes, access)).collect(),
        grid: [case.grid, 1, 1],
        threads: case.threads,
        after: vec![],
    };
    let submit = || device.wait(device.submit(&device.record(&[launch])?)?);
    submit().map_err(|e| e.to_string())?;
    Ok(values(&device, &y, 64))
}

/// The launch has to fail, with this message.
fn fails(expected: &str, case: Case) {
    let body = case.body;
    match run(case) {
        Ok(_) => panic!("nothing was found wrong with {body}"),
        Err(message) => assert!(message.contains(expected), "{body}:\n{message}\ndoes not say\n{expected}"),
    }
}

fn body(body: &'static str) -> Case {
    Case { body, ..Case::default() }
}

#[test]
fn a_kernel_with_barriers_is_right() {
    let reversed = "threadgroup float a[64];
        grid_dependency_wait();
        a[t] = x[t] + float(t);
        threadgroup_barrier(mem_flags::mem_threadgroup);
        y[t] = a[63 - t];";
    let y = run(body(reversed)).unwrap();
    assert!(y.iter().enumerate().all(|(i, &v)| v == 64.0 - i as f32));
}

#[test]
fn bounds_and_alignment() {
    fails(
        "reads 4 bytes at 256 of 'x', which has 256 (line 4: ",
        body("grid_dependency_wait(); y[t] = x[t + 1];"),
    );
    fails("reads 4 bytes at -4 of 'x'", body("grid_dependency_wait(); y[t] = x[int(t) - 1];"));
    fails("reads 4 bytes at 17179869180 of 'x'", body("grid_dependency_wait(); y[t] = x[t - 1];"));
    fails("writes 4 bytes at 256 of 'y'", body("grid_dependency_wait(); y[t + 1] = x[t];"));
    let short = Case { bytes: [256, 128], ..body("grid_dependency_wait(); y[t] = x[t];") };
    fails("of 'y', which has 128", short);
    let cast = "grid_dependency_wait(); float2 v = *(device const float2*)(x + 1); y[t] = v.x;";
    fails("reads 'x' at 4, which is not aligned to 8 bytes", body(cast));
    let shared = "threadgroup float a[8]; grid_dependency_wait(); a[t % 16] = 1.0f; y[t] = 0.0f;";
    fails("of 'a', which has 32", Case { threads: 32, ..body(shared) });
    let unset = "grid_dependency_wait(); device const float* p; y[t] = *p;";
    fails("an unset pointer", body(unset));
    let local = "grid_dependency_wait(); float a[4]; for (uint i = 0; i < 4; i++) a[i] = x[i]; y[t] = a[t];";
    fails("of an array of 'float", body(local));
    fails(
        "shift by 32 bits (line 4: ",
        body("grid_dependency_wait(); y[t] = float(1u << (uint(x[t]) * 32));"),
    );
    fails(
        "division of integers by zero (line 4: ",
        body("grid_dependency_wait(); y[t] = float(7 / (uint(x[t]) - 1));"),
    );
}

#[test]
fn declared_access() {
    let writes = "grid_dependency_wait(); y[t] = 1.0f;";
    fails(
        "writes 'y' at",
        Case { access: [Access::Read; 2], ..body("grid_dependency_wait(); y[t] = x[t];") },
    );
    fails(
        "'y' at",
        Case { access: [Access::Read, Access::Write], ..body("grid_dependency_wait(); y[t] = y[t] + x[t];") },
    );
    fails("before this launch wrote it", body("grid_dependency_wait(); y[t] += x[t];"));
    fails("'x' is declared as read, but no thread touched it", body(writes));
    fails(
        "'x' is declared as updated, but no thread",
        Case { access: [Access::Update, Access::Write], ..body(writes) },
    );
    fails("bytes 252..256 were not", body("grid_dependency_wait(); if (t < 63) y[t] = x[t];"));
    fails("bytes 20..24 were not", body("grid_dependency_wait(); if (t != 5) y[t] = x[t];"));
    let bytes = "grid_dependency_wait(); device uchar* b = (device uchar*)y;
        for (uint i = 0; i < 4; i++) if (t != 9 || i != 2) b[4 * t + i] = uchar(x[t]);";
    fails("bytes 38..39 were not", body(bytes));
    fails(
        "a kernel writes through a pointer to const",
        body("grid_dependency_wait(); x[t] = 1.0f; y[t] = 1.0f;"),
    );
    fails("a cast drops const", body("grid_dependency_wait(); ((device uint*)x)[t] = 1; y[t] = 1.0f;"));
}

#[test]
fn races() {
    fails("race: writes 'y' at 0, which was written by thread", body("grid_dependency_wait(); y[0] = x[t];"));
    let neighbours = "threadgroup float a[64]; grid_dependency_wait(); a[t] = x[t];
        simdgroup_barrier(mem_flags::mem_threadgroup); y[t] = a[63 - t];";
    // which of the two comes first depends on the order: a race, or nothing written yet
    fails("'a' at", body(neighbours));
    let rewritten = "threadgroup float a[64]; grid_dependency_wait(); a[t] = x[t];
        threadgroup_barrier(mem_flags::mem_threadgroup);
        y[t] = a[t ^ 32];
        a[t] = 2.0f;
        threadgroup_barrier(mem_flags::mem_threadgroup);";
    fails("race: ", body(rewritten));
    let wrong_flags = "threadgroup float a[64]; grid_dependency_wait(); a[t] = x[t];
        threadgroup_barrier(mem_flags::mem_device); y[t] = a[t ^ 1];";
    fails("race: reads 'a'", body(wrong_flags));
    let lanes = "threadgroup float a[64]; grid_dependency_wait(); a[t] = x[t];
        simdgroup_barrier(mem_flags::mem_threadgroup); y[t] = a[t ^ 1];";
    run(body(lanes)).unwrap();
    let shuffled = "threadgroup float a[64]; grid_dependency_wait(); a[t] = x[t];
        float v = simd_sum(1.0f); y[t] = a[t ^ 1] + v;";
    fails("race: reads 'a'", body(shuffled));
    let bytes = "threadgroup uchar a[64]; grid_dependency_wait(); a[t] = uchar(x[t]); y[t] = float(a[t]);";
    run(body(bytes)).unwrap();
    let groups = "grid_dependency_wait(); if (group == 0) y[t] = x[t]; else if (t == 3) y[t] = 1.0f;";
    fails(
        "race: writes 'y' at 12, which was written by another threadgroup",
        Case { grid: 2, ..body(groups) },
    );
    let readers = "grid_dependency_wait(); float v = x[0]; if (group == 2 && t == 0) x[0] = v;
        y[t] = group == 0 ? v : 0.0f;";
    let update = [Access::Update, Access::Update];
    fails("race: ", Case { grid: 3, access: update, ..body(readers) });
    let device = "grid_dependency_wait(); y[t] = x[t]; threadgroup_barrier(mem_flags::mem_device);
        float v = y[63 - t]; threadgroup_barrier(mem_flags::mem_device); y[t] = v;";
    run(body(device)).unwrap();
}

#[test]
fn divergence() {
    let early =
        "grid_dependency_wait(); y[t] = x[t]; if (t == 40) return; threadgroup_barrier(mem_flags::mem_none);";
    fails("threadgroup_barrier was not reached by all threads: thread 40 has ended (line 4: ", body(early));
    let two = "grid_dependency_wait(); y[t] = x[t];
        if (t < 32) threadgroup_barrier(mem_flags::mem_none);
        else threadgroup_barrier(mem_flags::mem_none);";
    fails("threadgroup_barrier was not reached by all threads: some wait at", body(two));
    let lanes = "grid_dependency_wait(); y[t] = x[t]; if (lane != 3) y[t] = simd_sum(1.0f);";
    fails("simd_sum was not reached by all lanes of simdgroup", body(lanes));
    let places = "grid_dependency_wait(); float v = x[t];
        if (lane < 3) v = simd_sum(v);
        else v = simd_sum(v);
        y[t] = v;";
    fails("simd_sum was not reached by all lanes of simdgroup", body(places));
    let mixed = "grid_dependency_wait(); y[t] = x[t];
        if (lane < 3) simdgroup_barrier(mem_flags::mem_none);
        else threadgroup_barrier(mem_flags::mem_none);";
    fails("waits at a threadgroup_barrier", body(mixed));
    fails(
        "ended without grid_dependency_wait()",
        body("if (t != 3) grid_dependency_wait(); if (t != 3) y[t] = x[t];"),
    );
    fails("writes 'y' before grid_dependency_wait()", body("y[t] = x[t]; grid_dependency_wait();"));
    fails("from lane 32", body("grid_dependency_wait(); y[t] = simd_shuffle(x[t], lane + 1);"));
    fails("simd_broadcast from lane", body("grid_dependency_wait(); y[t] = simd_broadcast(x[t], lane);"));
}

#[test]
fn uninitialised_memory() {
    let shared = "threadgroup float a[64]; grid_dependency_wait(); if (t != 9) a[t] = x[t];
        threadgroup_barrier(mem_flags::mem_threadgroup); y[t] = a[t];";
    fails("thread 9: reads threadgroup memory that nothing wrote: 'a' at 36", body(shared));
    // what the threadgroup before left there does not count
    let left = "threadgroup float a[64]; grid_dependency_wait(); if (group == 0) a[t] = x[t];
        threadgroup_barrier(mem_flags::mem_threadgroup); y[64 * group + t] = a[t];";
    fails("nothing wrote", Case { grid: 2, ..body(left) });
    let device = "grid_dependency_wait(); y[t] = x[t] + y[t];";
    fails(
        "reads memory that nothing wrote: 'y' at",
        Case { access: [Access::Read, Access::Update], ..body(device) },
    );
}

#[test]
fn limits() {
    let large = "threadgroup float a[8000], b[256]; grid_dependency_wait(); a[t] = b[t] = x[t]; y[t] = a[t];";
    fails("33024 bytes of threadgroup memory", body(large));
    let fine = "grid_dependency_wait(); y[t] = x[t];";
    fails("not a multiple of 32", Case { threads: 48, ..body(fine) });
    fails("not a multiple of 32", Case { threads: 1056, ..body(fine) });
    fails("a grid of", Case { grid: 0, ..body(fine) });
    let frame = "grid_dependency_wait(); float a[20000];
        for (uint i = 0; i < 20000; i++) a[i] = x[(i * 7 + t) % 64]; y[t] = a[uint(x[t])];";
    fails("frame size", body(frame));
    let endless = "grid_dependency_wait(); y[t] = x[t]; while (x[0] == 1.0f) {}";
    fails("endless loop: the threadgroup touches 'x'", body(endless));
    let waiting =
        "grid_dependency_wait(); y[t] = x[t]; while (true) threadgroup_barrier(mem_flags::mem_none);";
    fails("endless loop: the threadgroup does not come to an end", body(waiting));
}

#[test]
fn launches_need_an_order_or_memory_of_their_own() {
    let device = device(1);
    let source = "kernel void copy(device const float* x [[buffer(0)]], device float* y [[buffer(1)]],\n\
        uint t [[thread_index_in_threadgroup]]) {\n float early = x[t]; grid_dependency_wait();\n\
        y[t] = EARLY ? early : x[t]; }";
    let compile = |early: &str| {
        let source = format!(
            "#define EARLY {early}\n{}",
            source.replace("float early", &format!("float early = 0.0f; if ({early}) early"))
        );
        device.compile_source("copy", &source, &Kernel::new("copy")).unwrap()
    };
    let (late, early) = (compile("0"), compile("1"));
    let b = [buffer(&device, &[3.0; 32]), device.alloc(256).unwrap(), device.alloc(128).unwrap()];
    let launch = |pipeline, from: (usize, usize), to: (usize, usize), after: &[usize]| Recorded {
        pipeline,
        operands: vec![
            Bound { buffer: &b[from.0], at: from.1, bytes: 128, access: Access::Read },
            Bound { buffer: &b[to.0], at: to.1, bytes: 128, access: Access::Write },
        ],
        grid: [1, 1, 1],
        threads: 32,
        after: after.to_vec(),
    };
    let run = |launches: &[Recorded<'_, SimDevice>]| -> Result<(), DeviceError> {
        device.wait(device.submit(&device.record(launches)?)?).map(|_| ())
    };
    let fails = |launches: &[Recorded<'_, SimDevice>], expected: &str| {
        let message = run(launches).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    };
    let (a, c) = (launch(&late, (0, 0), (1, 0), &[]), launch(&late, (1, 0), (2, 0), &[]));
    fails(&[a, c], "launches 0 (copy) and 1 (copy) touch the same memory and neither waits for the other");
    run(&[launch(&late, (0, 0), (1, 0), &[]), launch(&late, (1, 0), (2, 0), &[0])]).unwrap();
    // another part of the buffer; and an order by way of another launch
    run(&[launch(&late, (0, 0), (1, 0), &[]), launch(&late, (0, 0), (1, 128), &[])]).unwrap();
    let through = [
        launch(&late, (0, 0), (1, 0), &[]),
        launch(&late, (1, 0), (2, 0), &[0]),
        launch(&late, (2, 0), (1, 0), &[1]),
    ];
    run(&through).unwrap();
    fails(&[launch(&late, (0, 0), (1, 0), &[0])], "waits for launch 0, which is not earlier");
    run(&[launch(&early, (0, 0), (1, 0), &[])]).unwrap();
    let early = [launch(&late, (0, 0), (1, 0), &[]), launch(&early, (1, 0), (2, 0), &[0])];
    fails(&early, "reads 'x', which an earlier launch writes, before grid_dependency_wait()");
    assert_eq!(values(&device, &b[2], 32), [3.0; 32]);
}
