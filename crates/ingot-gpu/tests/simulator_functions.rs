//! The types and functions that the simulator supplies: half against the `half`
//! crate bit for bit, simdgroup functions and the rest against their definitions.

use half::f16;
use ingot_gpu::device::{Bound, Device, Recorded};
use ingot_gpu::launch::{Access, Kernel};
use ingot_gpu::sim::SimDevice;

/// Runs `body` with `in` (uint) read and `out` (uint) written, one word for each thread.
fn run(functions: &str, body: &str, input: &[u32]) -> Vec<u32> {
    let threads = input.len().min(1024) as u32;
    let source = format!(
        "{functions}\nkernel void f(device const uint* in [[buffer(0)]], device uint* out [[buffer(1)]],\n\
         uint2 group [[threadgroup_position_in_grid]], uint3 groups [[threadgroups_per_grid]],\n\
         uint t [[thread_index_in_threadgroup]], uint lane [[thread_index_in_simdgroup]]) {{\n\
         grid_dependency_wait();\n const uint i = (group.y * groups.x + group.x) * {threads} + t;\n{body}\n}}\n"
    );
    let device = SimDevice::new().unwrap();
    let pipeline = device.compile_source("f", &source, &Kernel::new("f")).unwrap();
    let bytes = input.len() * 4;
    let [x, y] = [device.alloc(bytes).unwrap(), device.alloc(bytes).unwrap()];
    device.write(&x, 0, &input.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>()).unwrap();
    let operands = vec![
        Bound { buffer: &x, at: 0, bytes, access: Access::Read },
        Bound { buffer: &y, at: 0, bytes, access: Access::Write },
    ];
    let groups = input.len() as u32 / threads;
    let grid = if groups.is_multiple_of(2) { [groups / 2, 2, 1] } else { [groups, 1, 1] };
    let launch = Recorded { pipeline: &pipeline, operands, grid, threads, after: vec![] };
    device.submit(&device.record(&[launch]).unwrap()).unwrap();
    let mut out = vec![0; bytes];
    device.read(&y, 0, &mut out).unwrap();
    out.chunks_exact(4).map(|b| u32::from_le_bytes(b.try_into().unwrap())).collect()
}

/// Bits of floats of every size, and those around every half.
fn floats() -> Vec<u32> {
    let mut bits: Vec<u32> = Vec::new();
    for h in (0..=u16::MAX).step_by(7) {
        let f = f16::from_bits(h).to_f32().to_bits();
        bits.extend([f, f.wrapping_add(1), f.wrapping_sub(1), f ^ 0x1000, f ^ 0x1001, f ^ 0x0fff]);
    }
    let mut random = 1u32;
    while !bits.len().is_multiple_of(2048) || bits.len() < 80_000 {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        bits.push(random);
    }
    bits
}

#[test]
fn half_is_rounded_to_nearest_even() {
    let input = floats();
    let body = "out[i] = uint(as_type<ushort>(half(as_type<float>(in[i]))));";
    for (bits, got) in input.iter().zip(run("", body, &input)) {
        let (value, got) = (f32::from_bits(*bits), f16::from_bits(got as u16));
        let expected = f16::from_f32(value);
        let same = got.to_bits() == expected.to_bits() || (got.is_nan() && expected.is_nan());
        assert!(same, "{value:e} became {got:e}, not {expected:e}");
    }
}

#[test]
fn half_is_widened_exactly() {
    let input: Vec<u32> = (0..=0xffff).collect();
    let body = "float f = as_type<half>(ushort(in[i])); out[i] = as_type<uint>(f);";
    for (h, got) in run("", body, &input).into_iter().enumerate() {
        let (got, expected) = (f32::from_bits(got), f16::from_bits(h as u16).to_f32());
        assert!(got.to_bits() == expected.to_bits() || (got.is_nan() && expected.is_nan()), "{h:#x}");
    }
}

#[test]
fn half_arithmetic_rounds_each_result() {
    // pairs of halves: the low and high parts of a word
    let input: Vec<u32> = floats().into_iter().take(65_536).collect();
    let body = "half2 h = as_type<half2>(in[i]); half s = h.x + h.y; half p = h.x * h.y;
        out[i] = as_type<uint>(half2(s, p));";
    for (bits, got) in input.iter().zip(run("", body, &input)) {
        let [a, b] = [*bits as u16, (bits >> 16) as u16].map(|h| f16::from_bits(h).to_f64());
        for (value, got) in [(a + b, got as u16), (a * b, (got >> 16) as u16)] {
            let (expected, got) = (f16::from_f64(value), f16::from_bits(got));
            // sums and products of halves are exact in f64
            assert!(
                got == expected || (got.is_nan() && value.is_nan()),
                "{a:e}, {b:e}: {got:e}, not {expected:e}"
            );
        }
    }
}

#[test]
fn simdgroup_functions() {
    let input: Vec<u32> = (0..64).map(|i| (i * 37 + 11) % 101).collect();
    let check = |expression: &str, expected: &dyn Fn(&[u32], usize) -> u32| {
        let got = run("", &format!("uint v = in[i]; out[i] = uint({expression});"), &input);
        for (i, got) in got.into_iter().enumerate() {
            assert_eq!(got, expected(&input[i / 32 * 32..][..32], i % 32), "{expression}, thread {i}");
        }
    };
    check("simd_sum(v)", &|v, _| v.iter().sum());
    check("simd_sum(in[i])", &|v, _| v.iter().sum());
    check("simd_max(float(v))", &|v, _| *v.iter().max().unwrap());
    check("simd_min(int(v))", &|v, _| *v.iter().min().unwrap());
    check("simd_broadcast(v, 5)", &|v, _| v[5]);
    check("simd_shuffle(v, (lane * 7) % 32)", &|v, l| v[l * 7 % 32]);
    check("simd_shuffle_xor(v, 9)", &|v, l| v[l ^ 9]);
    check("simd_shuffle_down(v, 3)", &|v, l| v[if l < 29 { l + 3 } else { l }]);
    check("simd_prefix_exclusive_sum(v)", &|v, l| v[..l].iter().sum());
}

#[test]
fn functions() {
    let floats = [0.3f32, -1.5, 2.5, 7.0, -0.0, 1e-3, 20.0, 0.5];
    let input: Vec<u32> = (0..32).map(|i| floats[i % 8].to_bits()).collect();
    let check = |expression: &str, expected: &dyn Fn(f32) -> f32| {
        let body =
            format!("float x = as_type<float>(in[i]); float r = {expression}; out[i] = as_type<uint>(r);");
        for (x, got) in floats.into_iter().zip(run("", &body, &input)) {
            let (got, expected) = (f32::from_bits(got), expected(x));
            let close = (got - expected).abs() <= 2e-7 * expected.abs();
            assert!(
                close || (got.is_nan() && expected.is_nan()) || got == expected,
                "{expression}, {x}: {got}"
            );
        }
    };
    check("min(x, 1.0f) + max(x, 2.0f) + clamp(x, 0.0f, 3.0f)", &|x| {
        x.min(1.0) + x.max(2.0) + x.clamp(0.0, 3.0)
    });
    check("abs(x) + fabs(x)", &|x| 2.0 * x.abs());
    check("fma(x, x, 0.1f)", &|x| x.mul_add(x, 0.1));
    check("exp(x)", &f32::exp);
    check("exp2(x)", &f32::exp2);
    check("log(x)", &f32::ln);
    check("tanh(x)", &f32::tanh);
    check("sqrt(x)", &f32::sqrt);
    check("rsqrt(x)", &|x| 1.0 / x.sqrt());
    check("floor(x) + rint(x)", &|x| x.floor() + x.round_ties_even());
    check("pow(x, 3.0f)", &|x| x.powf(3.0));
    check("select(1.0f, 2.0f, x > 0.0f)", &|x| if x > 0.0 { 2.0 } else { 1.0 });
    check("precise::sin(x) + precise::cos(x)", &|x| x.sin() + x.cos());
    check("dot(float4(x), float4(1.0f, 2.0f, 3.0f, 4.0f))", &|x| {
        x.mul_add(1.0, x.mul_add(2.0, x.mul_add(3.0, x * 4.0)))
    });
    check("float(popcount(0xf0f0u)) + float(max(2, 3)) + float(min(2u, 3u))", &|_| 8.0 + 3.0 + 2.0);
    check("float(dot4_i8(0x7f80ff01u, 0x02030405u, 10))", &|_| (10 + 5 - 4 - 128 * 3 + 127 * 2) as f32);
    check("(float2(half2(half(x), half(2.0f))) + float2(1.0f, 0.0f)).y", &|_| 2.0);
    check("float(uint3(1u, 2u, 3u).z) + float(uchar4(300, 1, 2, 3).x) + float(char2(-3, 1).x)", &|_| {
        3.0 + 44.0 - 3.0
    });
}

#[test]
fn pointers_do_what_msl_allows() {
    let functions = "
#define AT(p, i) ((device const uint*)p)[i]
constant uint TABLE[2] = {5u, 7u};
struct Pair { uint a; uint b; };
inline uint twice(thread uint& v, thread const uint* w) { v += w[0]; return v; }
template <typename P> inline uint third(P p) { return p[2]; }
inline float first(device const half* h) { return h[0]; }
";
    let body = "
threadgroup uint a[32], b[32];
device const uint* p = &in[1];
p -= 1;
device const uint2* q = (device const uint2*)in;
threadgroup uint* s = a + lane;
*s = p[lane];
b[lane] = a[lane];
b[lane] += 1;
threadgroup uchar* bytes = (threadgroup uchar*)(&b[lane]);
uint sum = bytes[0];
uint2 pair = q[lane / 2];
sum += lane % 2 == 0 ? pair.x : pair.y;
Pair local = {1u, 2u};
uint rows[2] = {sum, 0u};
sum = twice(rows[0], &local.b);
sum += third(in) + AT(in, 0) + TABLE[lane % 2] + uint(p == in) + uint(&in[4] - p);
sum += uint(first((device const half*)in) * 0.0h);
out[i] = load_stream_if(lane < 32, in + lane) + load_stream(in) - in[lane] + sum;
";
    let input: Vec<u32> = (0..32).map(|i| i * 3 + 2).collect();
    for (i, got) in run(functions, body, &input).into_iter().enumerate() {
        let v = input[i];
        let table = [5, 7][i % 2];
        assert_eq!(got, 2 + (v + 1) + v + 2 + 8 + 2 + table + 1 + 4, "lane {i}");
    }
}
