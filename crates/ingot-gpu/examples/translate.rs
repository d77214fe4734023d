//! Shows what a kernel becomes on a machine that does not speak MSL.
//!
//! ```text
//! cargo run -p ingot-gpu --example translate -- cuda KERNEL [OPTION=VALUE...] [--compile sm_90]
//! ```
//!
//! A `VALUE` of one of the kernel's specialisation constants is given the same way;
//! those not given are 64, 1.0 or true. With `--compile` NVRTC compiles it, and
//! instead of the source its warnings and the use of registers and memory are shown.

use ingot_gpu::launch::{Constant, Kernel};
use ingot_gpu::{msl, source};
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<String, String> {
    let usage = || "translate cuda KERNEL [NAME=VALUE...] [--compile sm_90]".to_string();
    let [device, name, rest @ ..] = arguments else { return Err(usage()) };
    let (values, architecture) = match rest {
        [values @ .., flag, architecture] if flag == "--compile" => (values, Some(architecture)),
        values => (values, None),
    };
    let kernel = kernel(name, values)?;
    match device.as_str() {
        "cuda" => {
            let text = msl::cuda(&kernel).map_err(|e| e.to_string())?.text;
            architecture.map_or(Ok(text.clone()), |a| compile(&text, &kernel, a))
        }
        _ => Err(usage()),
    }
}

/// The kernel with its options and constants, where not given with some value.
fn kernel(name: &str, values: &[String]) -> Result<Kernel, String> {
    let name = source::kernels().find(|k| *k == name).ok_or_else(|| format!("there is no kernel {name}"))?;
    let text = source::expand(&Kernel::new(name)).map_err(|e| e.to_string())?;
    let declared = msl::constants(&msl::tokens(&text)).map_err(|e| e.to_string())?;
    let mut kernel = Kernel::new(name);
    let mut given = Vec::new();
    for value in values {
        let (key, value) = value.split_once('=').ok_or_else(|| format!("'{value}' is not NAME=VALUE"))?;
        if declared.iter().any(|d| d.name == key) {
            given.push((key, value));
        } else {
            kernel = kernel.option(key, value.parse::<i64>().map_err(|e| format!("{key}={value}: {e}"))?);
        }
    }
    for declaration in declared {
        let value = given.iter().find(|(key, _)| *key == declaration.name).map(|(_, value)| *value);
        let wrong = |e: &dyn std::fmt::Display| format!("{}: {e}", declaration.name);
        let constant = match declaration.kind.as_str() {
            "uint" => Constant::Uint(value.unwrap_or("64").parse().map_err(|e| wrong(&e))?),
            "int" => Constant::Int(value.unwrap_or("64").parse().map_err(|e| wrong(&e))?),
            "bool" => Constant::Bool(value.unwrap_or("true").parse().map_err(|e| wrong(&e))?),
            _ => Constant::Float(value.unwrap_or("1").parse::<f32>().map_err(|e| wrong(&e))?.to_bits()),
        };
        // Names live as long as the program.
        kernel.constants.push((declaration.name.leak(), constant));
    }
    kernel.constants.sort();
    Ok(kernel)
}

#[cfg(not(target_os = "macos"))]
fn compile(text: &str, kernel: &Kernel, architecture: &str) -> Result<String, String> {
    let number = architecture.strip_prefix("sm_").and_then(|n| n.parse().ok());
    let number = number.ok_or_else(|| format!("'{architecture}' is not like sm_90"))?;
    let nvrtc = ingot_gpu::cuda::Nvrtc::find(None).map_err(|e| e.to_string())?;
    let options = ["--ptxas-options=-v", "-lineinfo"];
    let compiled = nvrtc.compile(text, kernel.name, number, &options)?;
    Ok(format!("{}\n{} bytes", compiled.log, compiled.image.len()))
}

#[cfg(target_os = "macos")]
fn compile(_: &str, _: &Kernel, _: &str) -> Result<String, String> {
    Err("there is no NVRTC for this system".into())
}
