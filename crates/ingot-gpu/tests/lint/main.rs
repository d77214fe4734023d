//! Every kernel is what Apple's compiler accepts, as far as that can be told
//! without it: clang checks types, names and address spaces against the part of
//! Metal's library that is allowed, and some rules are checked token by token.
//! That it finds mistakes is tested as well.

mod clang;
mod rules;

use ingot_gpu::launch::Kernel;
use ingot_gpu::msl::{signature, tokens};
use ingot_gpu::{source, variants};

/// All that is wrong with a kernel's expanded source.
fn lint(name: &str, source: &str) -> Vec<String> {
    let text = match clang::preprocess(source) {
        Ok(text) => text,
        Err(error) => return vec![error],
    };
    let tokens = tokens(&text);
    let signature = match signature(&tokens) {
        Ok(signature) => signature,
        Err(error) => return vec![error.to_string()],
    };
    let mut wrong = rules::check(&tokens, &signature);
    if signature.name != name {
        wrong.push(format!("the kernel is called {}", signature.name));
    }
    wrong.extend(clang::check(name, &tokens, &signature).err());
    wrong
}

#[test]
fn every_kernel_is_metal() {
    let kernels: Vec<Kernel> = source::kernels().flat_map(variants::variants).collect();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let parts = kernels.chunks(kernels.len().div_ceil(threads).max(1));
        let parts: Vec<_> =
            parts.map(|part| scope.spawn(|| part.iter().filter_map(complaint).collect::<Vec<_>>())).collect();
        parts
            .into_iter()
            .flat_map(|part| part.join().unwrap_or_else(|p| std::panic::resume_unwind(p)))
            .collect::<Vec<_>>()
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// All that is wrong with a kernel with these options.
fn complaint(kernel: &Kernel) -> Option<String> {
    let errors = match source::expand(kernel) {
        Ok(source) => lint(kernel.name, &source),
        Err(error) => vec![error.to_string()],
    };
    let options = &kernel.options;
    (!errors.is_empty()).then(|| format!("{} {options:?}:\n{}", kernel.name, errors.join("\n")))
}

/// A kernel that uses what is allowed, with a place for more code in it.
fn example(program_scope: &str, body: &str) -> String {
    let headers = ["ingot.h", "step.h"].map(|h| source::file(&format!("include/{h}")).unwrap());
    let headers = headers.join("\n").replace("#include \"ingot.h\"", "").replace("#pragma once", "");
    format!("{headers}\n{EXAMPLE_TOP}\n{program_scope}\n{EXAMPLE_SIGNATURE}\n{EXAMPLE_BODY}\n{body}\n}}\n")
}

const EXAMPLE_TOP: &str = "
constant uint COLS [[function_constant(0)]];
constant bool CAUSAL [[function_constant(1)]];
constant float TABLE[2] = {1.0f, 2.0f};
struct Pair { float4 low; half2 high; };
inline float add(thread float& sum, thread const float* x, uint n) {
    for (uint i = 0; i < n; i++) sum += x[i];
    return sum;
}
template <typename T> inline float first(device const T* p) { return float(p[0]); }
inline float first(threadgroup const float* p) { return p[0]; }";

const EXAMPLE_SIGNATURE: &str = "
kernel void example(device const float* x [[buffer(0)]], device half* y [[buffer(1)]],
                    device const uint* step [[buffer(2)]],
                    uint3 group [[threadgroup_position_in_grid]], uint3 groups [[threadgroups_per_grid]],
                    uint index [[thread_index_in_threadgroup]], uint lane [[thread_index_in_simdgroup]],
                    uint simdgroup [[simdgroup_index_in_threadgroup]]) {";

const EXAMPLE_BODY: &str = "
    threadgroup float shared[32], more[4 * 32];
    threadgroup half halves[64];
    grid_dependency_wait();
    const uint global = group.x * groups.y + index, local = step_rows(step);
    device const float4* x4 = (device const float4*)(x + ulong(global) * COLS);
    float4 v = load_stream_if(CAUSAL, x4) + float4(1.0f) * float4(half4(x4[1]));
    Pair pair;
    pair.low = v;
    pair.high = half2(half(v.x), half(2));
    v = float4(float2(v.x, v.y), float2(0.5f));
    float local_array[4], sum = float(pair.high.x) + pair.low.y;
#pragma unroll
    for (uint i = 0; i < 4; i++) local_array[i] = TABLE[i % 2];
    sum = add(sum, local_array, min(4u, max(local, 1u)));
    sum += first(x) + first(y) + first(shared) + dot(v, v) + precise::sin(sum) * precise::cos(sum);
    sum = clamp(fma(sum, rsqrt(sum), tanh(exp(-sum))), 0.0f, 1.0f) + select(1.0f, pow(sum, 2.0f), CAUSAL);
    sum += simd_shuffle_xor(simd_sum(sum), 4) + simd_broadcast(sum, 0) + bf16_to_float(ushort(popcount(global)));
    int dots = dot4_i8(as_type<uint>(sum), 0x01010101, abs(-3));
    if (lane == 0) shared[simdgroup] = sum * float(dots);
    threadgroup_barrier(mem_flags::mem_threadgroup | mem_flags::mem_device);
    simdgroup_float8x8 c = make_filled_simdgroup_matrix<float, 8>(0.0f);
    simdgroup_half8x8 a, b;
    simdgroup_load(a, halves, 8);
    simdgroup_load(b, y, 8, 0, true);
    simdgroup_multiply_accumulate(c, a, b, c);
    simdgroup_store(c, more, 16);
    y[global] = half(shared[0]);
    *(device uint*)(y + 2 * global) = as_type<uint>(half2(0.0f));";

#[test]
fn what_is_allowed_passes() {
    assert_eq!(lint("example", &example("", "")), [] as [String; 0]);
}

#[test]
fn mistakes_in_a_body_are_found() {
    for (body, message) in [
        // address spaces
        ("float* p = local_array; p[0] = 1.0f;", "'float * p = local_array ; p [' has no address space"),
        ("uint const& r = index; y[r] = half(1);", "has no address space"),
        (
            "device const float* p = shared; y[0] = half(p[0]);",
            "cannot initialize a variable of type 'const __global float",
        ),
        (
            "device const float* p = (device const float*)shared; y[0] = half(p[0]);",
            "mismatching address spaces",
        ),
        ("y[0] = half(first(local_array));", "no matching function"),
        ("device float* p = (device float*)x; p[0] = 1.0f;", "drops const qualifier"),
        ("x4[0].x = 1.0f;", "load the whole element first"),
        ("if (lane == 0) { threadgroup float inner[4]; inner[0] = 1.0f; }", "outermost scope of a kernel"),
        // types and names
        ("double d = 1.0f; y[0] = half(d);", "'double' is not for kernels"),
        ("y[0] = half(1.0 * sum);", "'1.0' is a double"),
        ("float sized[COLS]; sized[0] = 1.0f; y[0] = half(sized[0]);", "not a constant expression"),
        ("y[0] = half(erf(sum));", "undeclared identifier 'erf'"),
        ("y[0] = half(sin(sum));", "undeclared identifier 'sin'"),
        ("y[0] = half(min(global, 3));", "ambiguous"),
        ("y[0] = half(simd_sum(ulong(global)));", "ambiguous"),
        ("half4 h = v; y[0] = h.x;", "cannot initialize"),
        ("half4 h = (half4)v; y[0] = h.x;", "C-style cast from vector"),
        ("y[0] = half(std::sqrt(sum));", "'std' is not for kernels"),
        // language
        ("auto f = [](float z) { return z; }; y[0] = half(f(sum));", "a function without a name"),
        ("goto end; end:;", "'goto' is not for kernels"),
        ("if constexpr (true) { y[0] = half(1); }", "before C++17"),
        ("float (*f)(float) = 0;", "pointers to functions"),
        ("__local float* p = shared; p[0] = 1.0f;", "'__local': such names are reserved"),
        // memory
        ("threadgroup float square[4][4]; square[0][0] = 1.0f;", "has more than one dimension"),
        ("threadgroup float one; one = 1.0f;", "is no array"),
        ("threadgroup float large[8192]; large[0] = 1.0f;", "threadgroup memory exceeds"),
        ("if (sum = 1.0f) y[0] = half(1);", "using the result of an assignment"),
        ("simdgroup_load(a, x);", "no matching function"),
        ("simdgroup_matrix<half, 16, 8> wide;", "only matrices of 8 by 8"),
    ] {
        expect(&example("", body), body, message);
    }
}

#[test]
fn mistakes_elsewhere_are_found() {
    for (program_scope, message) in [
        ("const uint SIZE = 4;", "'const uint SIZE = 4' is not `constant`"),
        ("inline uint f(uint n) { return n ? f(n - 1) : 0; }", "'f' calls itself"),
        (
            "uint g(uint n); inline uint f(uint n) { return g(n); } inline uint g(uint n) { return f(n); }",
            "'g' calls",
        ),
        ("inline float f(float* p) { return p[0]; }", "has no address space"),
        ("template <typename T> inline T f(const T* p) { return p[0]; }", "has no address space"),
        ("constant uint ROWS [[function_constant(5)]];", "expected 2"),
        ("constant half SCALE [[function_constant(2)]];", "function constant SCALE is a half"),
        ("struct S { static constexpr uint N = 4; };", "'static constexpr uint N = 4 ; }' is not `constant`"),
        ("kernel void other() {}", "two kernels"),
        ("struct S { virtual void f(); };", "'virtual' is not for kernels"),
        ("[[noreturn]] void f();", "attribute [[noreturn]] out of place"),
    ] {
        expect(&example(program_scope, ""), program_scope, message);
    }
    let attribute = example("", "").replace("[[thread_index_in_simdgroup]]", "[[thread_index_in_warp]]");
    expect(&attribute, "its attribute", "unknown attribute [[thread_index_in_warp]]");
    let kind = example("", "").replace("uint index", "ushort index");
    expect(&kind, "its type", "[[thread_index_in_threadgroup]] is no ushort");
    expect(&example("", "").replace("void example", "void another"), "its name", "called another");
    expect("kernel void example() {}", "no header", "ingot.h is not included");
}

fn expect(source: &str, what: &str, message: &str) {
    let found = lint("example", source).join("\n");
    assert!(found.contains(message), "{what}: expected '{message}', found:\n{found}");
}

#[test]
fn options_reach_the_preprocessor() {
    // A kernel's options are definitions before its text, whatever kernels there are.
    let source = format!("#define WIDE 1\n{}", example("", "#if WIDE\nfloat* p = local_array;\n#endif\n"));
    expect(&source, "under an option", "has no address space");
    assert!(source::expand(&Kernel::new("none").option("WIDE", 1)).is_err(), "there is no such kernel");
}
