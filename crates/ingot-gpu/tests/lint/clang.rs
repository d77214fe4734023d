//! Clang, twice: first only its preprocessor, so that the rules see what is
//! compiled; then its C++ for OpenCL, which knows address spaces, after the few
//! things that it would not understand are rewritten.

use ingot_gpu::msl::{Kind, Signature, Token, constants};
use std::io::Write;
use std::process::{Command, Stdio};

/// Metal 3.0.
const VERSION: &str = "-D__METAL_VERSION__=300";
const LIBRARY: &str = "#include <metal_stdlib>";

/// The text that is compiled for Metal.
pub fn preprocess(text: &str) -> Result<String, String> {
    if !text.contains(LIBRARY) {
        return Err("ingot.h is not included".into());
    }
    let args = ["-E", "-x", "c++", "-std=c++14", "-undef", "-nostdinc", "-Werror", VERSION, "-"];
    run(&args, &text.replace(LIBRARY, ""))
}

/// Checks preprocessed text; `tokens` are its tokens.
pub fn check(name: &str, tokens: &[Token], signature: &Signature) -> Result<(), String> {
    let prelude = include_str!("metal_stdlib.h");
    // The marks make messages tell the lines of the kernel, and keep warnings to it.
    let text = format!("# 1 \"metal_stdlib\" 3\n{prelude}\n# 1 \"{name}\"\n{}", rewrite(tokens, signature)?);
    let language = ["-x", "clcpp", "-cl-std=clc++1.0", "-cl-no-stdinc", "-nostdinc", "--target=spir64"];
    // With some options some parameters and variables are not used.
    let unused = ["-Wno-unused-parameter", "-Wno-unused-variable", "-Wno-unused-but-set-variable"];
    let warnings = ["-Wall", "-Wextra", "-Werror", "-Wcast-qual"];
    // Metal 3.0 is C++14, OpenCL's C++ is C++17.
    let older =
        ["-Wc++98-c++11-c++14-compat", "-flax-vector-conversions=none", "-fsyntax-only", VERSION, "-"];
    run(&[&language[..], &warnings, &unused, &older].concat(), &text).map(drop)
}

/// Removes attributes, marks specialisation constants as defined elsewhere, and
/// asks how much threadgroup memory there is.
fn rewrite(tokens: &[Token], signature: &Signature) -> Result<String, String> {
    let constants = constants(tokens).map_err(|e| e.to_string())?;
    let body = super::rules::block(tokens, signature.span.end);
    let mut out = String::new();
    for (i, token) in tokens.iter().enumerate() {
        if constants.iter().any(|c| c.span.start == i) {
            out += "extern ";
        }
        if i + 1 == body.end {
            let arrays = super::rules::threadgroup_arrays(&tokens[body.clone()]);
            let sizes: String = arrays.iter().map(|name| format!(" + sizeof({name})")).collect();
            out += &format!("static_assert(0{sizes} <= 32768, \"threadgroup memory exceeds 32 KiB\");");
        }
        if token.kind != Kind::Attribute {
            out += token.text;
        }
    }
    Ok(out)
}

fn run(args: &[&str], input: &str) -> Result<String, String> {
    let mut child = Command::new("clang")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("clang does not start ({e}); it is in the package `clang`"));
    let mut stdin = child.stdin.take().expect("it is piped");
    // Clang reads all of its input before it writes anything.
    stdin.write_all(input.as_bytes()).expect("clang reads");
    drop(stdin);
    let output = child.wait_with_output().expect("clang ends");
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}
