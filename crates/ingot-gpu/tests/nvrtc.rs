//! Every kernel compiles for NVIDIA GPUs, where NVIDIA's compiler can be found. No GPU is needed.

#![cfg(not(target_os = "macos"))]

use ingot_gpu::cuda::Nvrtc;
use ingot_gpu::launch::{Constant, Kernel};
use ingot_gpu::variants::variants;
use ingot_gpu::{msl, source};

/// Gives each constant some value; one is a good number of parts of anything.
fn with_constants(mut kernel: Kernel) -> Result<Kernel, msl::SyntaxError> {
    for declared in msl::constants(&msl::tokens(&source::expand(&kernel)?))? {
        let value = match declared.kind.as_str() {
            "uint" if declared.name.ends_with("SPLIT") => Constant::Uint(1),
            "uint" => Constant::Uint(256),
            "int" => Constant::Int(256),
            "bool" => Constant::Bool(true),
            "float" => Constant::Float(0.125f32.to_bits()),
            other => return Err(msl::SyntaxError(format!("constant of type {other}"))),
        };
        kernel.constants.push((declared.name.leak(), value));
    }
    kernel.constants.sort();
    Ok(kernel)
}

fn translated(kernel: &Kernel) -> Result<String, String> {
    let kernel = with_constants(kernel.clone()).map_err(|e| e.to_string())?;
    msl::cuda(&kernel).map(|source| source.text).map_err(|e| e.to_string())
}

/// Everything that is wrong, in one message.
fn assert_none(failures: impl IntoIterator<Item = String>) {
    let failures: Vec<String> = failures.into_iter().collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn all() -> impl Iterator<Item = Kernel> {
    source::kernels().flat_map(variants)
}

#[test]
fn every_kernel_is_translated() {
    assert_none(all().filter_map(|kernel| Some(format!("{kernel:?}: {}", translated(&kernel).err()?))));
}

#[test]
fn every_kernel_compiles() {
    let nvrtc = match Nvrtc::find(None) {
        Ok(nvrtc) => nvrtc,
        Err(e) => return eprintln!("NOT CHECKED that the kernels compile for NVIDIA: {e}"),
    };
    let all = all().flat_map(|kernel| [80, 90].map(|architecture| (kernel.clone(), architecture)));
    assert_none(all.filter_map(|(kernel, architecture)| {
        // That all are translated is another test's concern.
        let compiled = nvrtc.compile(&translated(&kernel).ok()?, kernel.name, architecture, &[]);
        let message = match compiled {
            Err(message) => message,
            // Launches after it would otherwise not wait for those before it.
            Ok(compiled) if architecture >= 90 && !compiled.ptx.contains("griddepcontrol.wait") => {
                "no call of grid_dependency_wait() is left".into()
            }
            Ok(_) => return None,
        };
        Some(format!("--- {} {:?}, sm_{architecture}\n{message}", kernel.name, kernel.options))
    }));
}

/// Uses everything that `ingot.h` lists, once.
const EVERYTHING: &str = r#"
constant float EPS [[function_constant(0)]];
constant bool FLAG [[function_constant(1)]];
constant int SHIFT [[function_constant(2)]];
constant char TABLE[4] = {-127, -1, 1, 127};
template <typename T> inline T twice(threadgroup const T* p, thread T& r) { r = p[0]; return r + r; }
inline float sum4(float4 v) { return v.x + v.y + v.z + v.w; }
kernel void everything(device const uint4* in [[buffer(0)]], device float* out [[buffer(1)]],
                       device const char* bytes [[buffer(2)]], device half* halves [[buffer(3)]],
                       uint2 group [[threadgroup_position_in_grid]], uint groups [[threadgroups_per_grid]],
                       uint thread_index [[thread_index_in_threadgroup]],
                       uint lane [[thread_index_in_simdgroup]], uint simdgroup [[simdgroup_index_in_threadgroup]]) {
    threadgroup float tile[64];
    threadgroup half pairs[64];
    uint4 first = load_stream_if(lane < 9, in + lane);
    uint2 second = load_stream((device const uint2*)in + 1);
    ushort third = load_stream((device const ushort*)in + 1);
    char fourth = load_stream(bytes);
    grid_dependency_wait();
    tile[thread_index] = float(group.y + groups);
    pairs[thread_index] = half(tile[thread_index]);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    threadgroup_barrier(mem_flags::mem_device);
    simdgroup_barrier(mem_flags::mem_none);
    float kept;
    float a = twice((threadgroup const float*)tile, kept) + float(TABLE[lane & 3u]);
    half4 h = half4(pairs[0], pairs[1], half(0.5f), half(1.0f)) * half4(half(2.0f));
    half2 h2 = half2(h.x, h.y) + half2(h.z, h.w) - half2(half(1.0f));
    half one = h2.x + h2.y * h.z;
    one += half(1.0f);
    float mixed = one * 2.0f + 3.0f * one;
    float4 f = float4(h) + float4(as_type<uchar4>(first.x)) - float4(as_type<char4>(second.x));
    f += float4(float2(short2(ushort2(uint2(second)))), float2(1.0f, 2.0f));
    int4 i = int4(first) + int4(short4(ushort4(uchar4(as_type<char4>(first.z)))));
    uint3 u = uint3(1u, 2u, 3u) + uint3(4u, 5u, 6u);
    char2 c = char2(as_type<uchar2>(third));
    ulong wide = ulong(first.x) * ulong(groups);
    long negative = long(c.x) - long(c.y);
    short small = short(i.x) + short(fourth);
    int d = dot4_i8(first.y, first.z, i.y) + abs(int(small)) + SHIFT;
    float m = min(max(f.x, f.y), clamp(f.z, -1.0f, 1.0f)) + float(min(uint(d), 7u)) + float(max(d, 3));
    m += fabs(m) + abs(m) + fma(m, 2.0f, 1.0f) + exp(m) + log(m) + tanh(m) + sqrt(m) + rsqrt(m + EPS);
    m += floor(m) + rint(m) + pow(m, 1.5f) + select(m, 0.0f, FLAG) + precise::sin(m) + precise::cos(m);
    m += dot(f, f) + as_type<float>(first.w) + float(popcount(first.x)) + mixed + a + kept;
    m = simd_sum(m) + simd_max(m) + simd_min(m) + simd_broadcast(m, 3) + simd_shuffle(m, lane ^ 1u);
    m += simd_shuffle_xor(m, 4) + simd_shuffle_down(m, 2) + simd_prefix_exclusive_sum(m);
    uint n = simd_sum(d) + simd_max(first.x) + simd_min(d) + simd_prefix_exclusive_sum(first.y);
    half r = simd_sum(one) + simd_shuffle_xor(one, 1) + max(one, half(2.0f));
    m += bf16_to_float(third) + f16_to_float(third) + sum4(simd_shuffle_xor(f, 8)) + float(wide) + float(negative);
    out[group.x * 64 + thread_index] = m + float(n + u.z + simdgroup);
    halves[thread_index] = r;
}
"#;

#[test]
fn everything_listed_is_supplied() {
    let nvrtc = match Nvrtc::find(None) {
        Ok(nvrtc) => nvrtc,
        Err(e) => return eprintln!("NOT CHECKED that the prelude compiles: {e}"),
    };
    let mut kernel = Kernel::new("everything").float("EPS", 1e-5);
    kernel.constants.extend([("FLAG", Constant::Bool(true)), ("SHIFT", Constant::Int(i32::MIN))]);
    // The functions that ingot.h itself defines come with it.
    let header = source::file("include/ingot.h").unwrap().replace("#pragma once", "");
    let text = msl::cuda_from(&format!("{header}{EVERYTHING}"), &kernel).unwrap().text;
    for architecture in [80, 90] {
        match nvrtc.compile(&text, "everything", architecture, &[]) {
            Ok(compiled) => assert_eq!(compiled.log, "", "sm_{architecture}: warnings"),
            Err(message) => panic!("sm_{architecture}\n{message}"),
        }
    }
}

/// The compiler's objections reach whoever has to read them.
#[test]
fn mistakes_are_reported() {
    let Ok(nvrtc) = Nvrtc::find(None) else { return };
    let message = nvrtc.compile("namespace msl { nonsense }", "f", 90, &[]).unwrap_err();
    assert!(message.contains("nonsense"), "{message}");
    let message = nvrtc.compile("", "f", 12, &[]).unwrap_err();
    assert!(message.contains("sm_12"), "{message}");
}
