//! Metal Shading Language to CUDA C++ for NVRTC, token by token.
//!
//! | in the kernel                              | comes out as                                    |
//! |--------------------------------------------|-------------------------------------------------|
//! | `kernel void f(...)`                       | `extern "C" __global__ void ingot_f(...)`       |
//! | `device T* x [[buffer(n)]]`                | `T* x`, argument n                              |
//! | `uint lane [[thread_index_in_simdgroup]]`  | a local at the head of the body                 |
//! | `constant uint N [[function_constant(0)]];`| `static constexpr uint N = 4096u;`              |
//! | `constant T x[] = ...` in the file         | `static __device__ const T x[] = ...`           |
//! | `threadgroup T x[n];` in the body          | `__shared__ T x[n];`, aligned for any access    |
//! | `device`, `thread`, `threadgroup` elsewhere| nothing                                         |
//! | `char`, `long`                             | types of one size and sign on every machine     |
//!
//! A kernel may define `INGOT_THREADS`, the most threads of a threadgroup it is
//! launched with (otherwise 32 `SIMDGROUPS` if that is defined, or 1024), and
//! `INGOT_GROUPS`, how many threadgroups should fit on a core at a time, and
//! `INGOT_CLUSTER`, how many in z run together. With the option `INGOT_SHARED` a threadgroup
//! has so many bytes of shared memory beyond what the kernel declares.
//!
//! Preprocessor lines and strings (so also inline assembly under `INGOT_CUDA`)
//! pass through. `cuda/prelude.cuh` supplies MSL's types and functions.
//!
//! Pointers are deliberately not `__restrict__`: launches overlap, so a kernel may
//! start while its predecessor writes what it reads. The compiler could otherwise
//! take inputs to be constant and load them before `grid_dependency_wait()`.
//!
//! A launch's successor may start at once, and waits by itself. So that "the
//! launch before me is over" implies "all before it are over", every kernel has to
//! wait: where nothing calls `grid_dependency_wait()`, that is put at the head of the
//! body. (That a call is not compiled away is checked when a kernel is loaded.)

use super::lexer::{Kind, Token, tokens};
use super::signature::{Builtin, Signature, SyntaxError, constants, signature};
use crate::launch::{Constant, Kernel};
use crate::source;

/// MSL's types and functions for CUDA.
const PRELUDE: &str = include_str!("../cuda/prelude.cuh");

/// How many threads a threadgroup has at most, and how many threadgroups a core
/// should hold at least: the compiler then knows how many registers it may use.
const BOUNDS: &str = "
#if !defined(INGOT_THREADS) && defined(SIMDGROUPS)
#define INGOT_THREADS (32 * SIMDGROUPS)
#elif !defined(INGOT_THREADS)
#define INGOT_THREADS 1024
#endif
#ifndef INGOT_GROUPS
#define INGOT_GROUPS 1
#endif
#ifdef INGOT_CLUSTER
#define INGOT_CLUSTERED __cluster_dims__(1, 1, INGOT_CLUSTER)
#else
#define INGOT_CLUSTERED
#endif
";

/// A kernel in CUDA C++.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CudaSource {
    /// What to give to NVRTC.
    pub text: String,
    /// The function's name there: the kernel's may be one of CUDA's.
    pub entry: String,
    /// How many buffers the kernel has.
    pub buffers: usize,
}

/// Translates a kernel with its options and constants.
pub fn cuda(kernel: &Kernel) -> Result<CudaSource, SyntaxError> {
    cuda_from(&source::expand(kernel)?, kernel)
}

/// The same for a source with every header of ours already in place.
pub fn cuda_from(source: &str, kernel: &Kernel) -> Result<CudaSource, SyntaxError> {
    let all = tokens(source);
    let signature = signature(&all)?;
    if signature.name != kernel.name {
        return Err(SyntaxError(format!("kernel '{}' is in the file '{}'", signature.name, kernel.name)));
    }
    let mut t = Translator { all: &all, out: String::new(), parens: 0, braces: 0 };
    let values = values(&all, kernel)?;
    let mut i = 0;
    while i < all.len() {
        i = match values.iter().find(|(span, _)| span.start == i) {
            Some((span, text)) => t.put(text, span.end),
            None if i == signature.span.start => t.head(&signature)?,
            None => t.token(i),
        };
    }
    let (name, entry) = (kernel.name, entry(&signature));
    let text =
        format!("{PRELUDE}\nnamespace msl {{\n#line 1 \"{name}.metal\"\n{}\n}} // namespace msl\n", t.out);
    Ok(CudaSource { text, entry, buffers: signature.buffers.len() })
}

fn entry(signature: &Signature) -> String {
    format!("ingot_{}", signature.name)
}

type Span = std::ops::Range<usize>;

/// Each specialisation constant's place in the file and its definition.
fn values(all: &[Token], kernel: &Kernel) -> Result<Vec<(Span, String)>, SyntaxError> {
    let declared = constants(all)?;
    if let Some((extra, _)) = kernel.constants.iter().find(|(n, _)| declared.iter().all(|d| d.name != *n)) {
        return Err(SyntaxError(format!("kernel {} has no constant {extra}", kernel.name)));
    }
    declared
        .into_iter()
        .map(|d| {
            let err = |what: &str| SyntaxError(format!("kernel {}: constant {} {what}", kernel.name, d.name));
            let (_, value) =
                kernel.constants.iter().find(|(n, _)| *n == d.name).ok_or_else(|| err("has no value"))?;
            let value = match (d.kind.as_str(), *value) {
                ("uint", Constant::Uint(v)) => format!("{v}u"),
                ("int", Constant::Int(v)) => format!("int({v}ll)"),
                ("bool", Constant::Bool(v)) => v.to_string(),
                ("float", Constant::Float(bits)) => float(bits),
                _ => return Err(err(&format!("is {} and was given {value:?}", d.kind))),
            };
            Ok((d.span, format!("static constexpr {} {} = {value};", d.kind, d.name)))
        })
        .collect()
}

/// A float as text that means exactly these bits (of a NaN: that it is one).
fn float(bits: u32) -> String {
    let sign = if bits >> 31 == 1 { "-" } else { "" };
    let (exponent, mantissa) = (bits >> 23 & 0xff, (bits & 0x7f_ffff) << 1);
    match exponent {
        0xff if mantissa != 0 => "__builtin_nanf(\"\")".into(),
        0xff => format!("{sign}__builtin_huge_valf()"),
        0 => format!("{sign}0x0.{mantissa:06x}p-126f"),
        _ => format!("{sign}0x1.{mantissa:06x}p{}f", exponent as i32 - 127),
    }
}

struct Translator<'a> {
    all: &'a [Token<'a>],
    out: String,
    parens: i32,
    braces: i32,
}

impl Translator<'_> {
    /// Puts `text` out and goes on at token `next`.
    fn put(&mut self, text: &str, next: usize) -> usize {
        self.out += text;
        next
    }

    /// Copies or changes the token at `i`; returns where to go on.
    fn token(&mut self, i: usize) -> usize {
        let Token { kind, text } = self.all[i];
        match (kind, text) {
            (Kind::Attribute, _) => i + 1,
            (Kind::Word, "device" | "thread") => self.after_space(i + 1),
            (Kind::Word, "threadgroup") => {
                let array = self.braces > 0 && self.parens == 0 && self.declares_variable(i);
                self.put(if array { "__shared__ __align__(16) " } else { "" }, self.after_space(i + 1))
            }
            (Kind::Word, "constant") => {
                let file = self.braces == 0 && self.parens == 0;
                self.put(if file { "static __device__ const" } else { "const" }, i + 1)
            }
            (Kind::Word, "char") => self.put("schar", i + 1),
            (Kind::Word, "long") => self.put("slong", i + 1),
            _ => {
                if kind == Kind::Sign {
                    self.parens += i32::from(text == "(") - i32::from(text == ")");
                    self.braces += i32::from(text == "{") - i32::from(text == "}");
                }
                self.put(text, i + 1)
            }
        }
    }

    /// The kernel from the word `kernel` to the `{` of its body, with what comes
    /// first in the body; returns where the body goes on.
    fn head(&mut self, signature: &Signature) -> Result<usize, SyntaxError> {
        let parameters: Vec<String> = signature
            .buffers
            .iter()
            .map(|b| {
                let element = if b.element == "char" { "schar" } else { &b.element };
                format!("{}{element}* {}", if b.is_const { "const " } else { "" }, b.name)
            })
            .collect();
        self.out += BOUNDS;
        self.out +=
            "extern \"C\" __global__ void INGOT_CLUSTERED __launch_bounds__(INGOT_THREADS, INGOT_GROUPS) ";
        self.out +=
            &format!("{}({})\n{{\n    grid_dependents_launch();\n", entry(signature), parameters.join(", "));
        for builtin in &signature.builtins {
            self.out += &format!("    {}\n", local(builtin)?);
        }
        // Not in preprocessor lines: one of them defines it, on Metal, as nothing.
        if !self.all.iter().any(|t| t.is_word("grid_dependency_wait")) {
            self.out += "    grid_dependency_wait();\n";
        }
        self.braces += 1;
        Ok(signature.span.end + 1)
    }

    fn after_space(&self, i: usize) -> usize {
        i + usize::from(self.all.get(i).is_some_and(|t| t.kind == Kind::Space))
    }

    /// True if the address space at `i` belongs to a variable and not to what a
    /// pointer leads to.
    fn declares_variable(&self, i: usize) -> bool {
        let first = self.all[i..].iter().find(|t| t.kind == Kind::Sign);
        first.is_some_and(|t| matches!(t.text, "[" | ";" | ","))
    }
}

/// The local variable that stands for a built-in value.
fn local(builtin: &Builtin) -> Result<String, SyntaxError> {
    let Builtin { name, kind, attribute } = builtin;
    let value = |of: &str| match kind.as_str() {
        "uint" => Some(format!("{of}.x")),
        "uint2" => Some(format!("uint2({of}.x, {of}.y)")),
        "uint3" => Some(format!("uint3({of}.x, {of}.y, {of}.z)")),
        _ => None,
    };
    let value = match (attribute.as_str(), kind.as_str()) {
        ("threadgroup_position_in_grid", _) => value("blockIdx"),
        ("threadgroups_per_grid", _) => value("gridDim"),
        ("thread_index_in_threadgroup", "uint") => Some("threadIdx.x".into()),
        ("thread_index_in_simdgroup", "uint") => Some("threadIdx.x & 31u".into()),
        ("simdgroup_index_in_threadgroup", "uint") => Some("threadIdx.x >> 5".into()),
        _ => None,
    };
    let value = value.ok_or_else(|| SyntaxError(format!("parameter '{kind} {name} [[{attribute}]]'")))?;
    Ok(format!("const {kind} {name} = {value};"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = r#"
#define FAST 1
constant uint COLS [[function_constant(0)]];
constant float EPS [[function_constant(1)]];
constant char TABLE[2] = {-1, 1};
inline float at(threadgroup const float* p, constant char* t, thread float& r) { return p[0] + r; }
kernel void scale(device const char* x [[buffer(0)]], device float* y [[buffer(1)]],
                  uint3 group [[threadgroup_position_in_grid]], uint lane [[thread_index_in_simdgroup]]) {
    threadgroup float sums[8]; // device
    threadgroup float* p = (threadgroup float*)sums;
    device const uint4* w = (device const uint4*)x;
    asm volatile("device %0;" : "=r"(lane));
    y[group.x] = at(p, TABLE, EPS) * float(COLS);
}
"#;

    fn kernel() -> Kernel {
        Kernel::new("scale").uint("COLS", 7).float("EPS", 0.1)
    }

    #[test]
    fn what_changes_and_what_does_not() {
        let out = cuda_from(SOURCE, &kernel()).unwrap();
        assert_eq!(out.buffers, 2);
        let text = out.text.rsplit("namespace msl {").next().unwrap();
        for expected in [
            "#define FAST 1",
            "static constexpr uint COLS = 7u;",
            "static constexpr float EPS = 0x1.99999ap-4f;",
            "static __device__ const schar TABLE[2] = {-1, 1};",
            "at(const float* p, const schar* t, float& r)",
            "__launch_bounds__(INGOT_THREADS, INGOT_GROUPS) ingot_scale(const schar* x, float* y)",
            "const uint3 group = uint3(blockIdx.x, blockIdx.y, blockIdx.z);",
            "const uint lane = threadIdx.x & 31u;",
            "__shared__ __align__(16) float sums[8]; // device",
            "    float* p = (float*)sums;",
            "const uint4* w = (const uint4*)x;",
            "asm volatile(\"device %0;\" : \"=r\"(lane));",
        ] {
            assert!(text.contains(expected), "no `{expected}` in\n{text}");
        }
        assert_eq!(text.matches("grid_dependency_wait();").count(), 1, "the kernel does not wait");
    }

    #[test]
    fn a_kernel_waits_once() {
        let text =
            SOURCE.replace("threadgroup float sums", "grid_dependency_wait();\n    threadgroup float sums");
        let text = cuda_from(&text, &kernel()).unwrap().text;
        let text = text.rsplit("namespace msl {").next().unwrap();
        assert_eq!(text.matches("grid_dependency_wait();").count(), 1);
    }

    #[test]
    fn mistakes_are_named() {
        let bad = |source: &str, kernel: Kernel| cuda_from(source, &kernel).unwrap_err().0;
        assert!(bad(SOURCE, Kernel::new("scale").uint("COLS", 7)).contains("EPS has no value"));
        assert!(bad(SOURCE, kernel().uint("ROWS", 1)).contains("no constant ROWS"));
        assert!(bad(SOURCE, Kernel::new("scale").float("COLS", 7.0)).contains("COLS is uint"));
        assert!(bad(SOURCE, Kernel::new("other")).contains("'scale' is in the file 'other'"));
        let odd = SOURCE.replace("thread_index_in_simdgroup", "thread_position_in_grid");
        assert!(bad(&odd, kernel()).contains("thread_position_in_grid"));
    }

    /// Reads C's hexadecimal floats.
    fn parse(text: &str) -> f32 {
        let (sign, text) = text.strip_prefix('-').map_or((1.0, text), |rest| (-1.0, rest));
        let (digits, exponent) = text.trim_end_matches('f').split_once('p').unwrap();
        let (whole, part) = digits.strip_prefix("0x").unwrap().split_once('.').unwrap();
        let whole: f64 = whole.parse().unwrap();
        let part = u32::from_str_radix(part, 16).unwrap() as f64 / 16f64.powi(part.len() as i32);
        (sign * (whole + part) * 2f64.powi(exponent.parse().unwrap())) as f32
    }

    #[test]
    fn floats_are_exact() {
        for value in [0.0, -0.0, 1.0, -1.5, 0.1, 1e-6, f32::MAX, f32::MIN_POSITIVE, 1e-45, -3.2e-41, 64e-5] {
            assert_eq!(parse(&float(value.to_bits())).to_bits(), value.to_bits(), "{value:e}");
        }
        assert_eq!(float(f32::NEG_INFINITY.to_bits()), "-__builtin_huge_valf()");
        assert!(float(f32::NAN.to_bits()).contains("nan"));
    }
}
