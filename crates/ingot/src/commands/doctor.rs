//! `ingot doctor`: what this computer is, what ingot makes of it, and whether
//! it works.

use crate::cli::DoctorArgs;
use crate::device::{self, Found};
use crate::failure::{Failure, Result};
use crate::models::Place;
use crate::term::{DIM, ERROR, HEADING, WARNING};
use crate::units;
use ingot::{DeviceKind, ExecutorKind, Request, Sampler, SamplerOptions};
use ingot_cpu::Isa;
use ingot_gpu::device::Info;
use serde_json::{Value, json};
use std::io::{self, Write};
use std::time::{Duration, Instant};

pub fn run(args: &DoctorArgs) -> Result {
    let report = Report::new();
    match args.json {
        true => writeln!(io::stdout(), "{}", report.json())?,
        false => report.print(&mut anstream::stdout().lock())?,
    }
    match report.trials.iter().find(|(_, trial)| trial.is_err()) {
        None => Ok(()),
        Some((device, _)) => Err(Failure::new(format!("the model in the program does not run on {device}"))),
    }
}

struct Report {
    processor: String,
    cores: Option<usize>,
    threads: usize,
    features: Vec<&'static str>,
    available: Vec<Isa>,
    /// The instruction set in use, or why `INGOT_CPU` cannot be followed.
    isa: Result<Isa, String>,
    memory: u64,
    memory_left: u64,
    page_size: Option<u64>,
    huge_pages: Option<String>,
    gpus: Vec<Found>,
    /// The compiler of the simulator, or why there is none.
    simulator: Result<String, String>,
    /// What the embedded model does on the processor and on the GPU in use.
    trials: Vec<(ExecutorKind, Result<Trial, String>)>,
}

/// The embedded model at work.
struct Trial {
    load: Duration,
    tokens: usize,
    generate: Duration,
}

impl Report {
    fn new() -> Self {
        let mut system = sysinfo::System::new();
        system.refresh_memory();
        system.refresh_cpu_all();
        let gpus = ingot_gpu::devices();
        let mut trials = vec![ExecutorKind::Cpu, device::choose(&gpus, device::seems_present).0];
        trials.dedup();
        Self {
            processor: system.cpus().first().map_or(String::new(), |cpu| cpu.brand().trim().to_string()),
            cores: sysinfo::System::physical_core_count(),
            threads: std::thread::available_parallelism().map_or(1, Into::into),
            features: features(),
            available: Isa::available(),
            isa: Isa::from_env(),
            memory: system.total_memory(),
            memory_left: ingot::available_memory(),
            page_size: page_size(),
            huge_pages: huge_pages(),
            gpus,
            simulator: ingot_gpu::probe(DeviceKind::Sim).map(|info| info.driver).map_err(|e| e.to_string()),
            trials: trials.into_iter().map(|kind| (kind, try_model(kind))).collect(),
        }
    }

    fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let mut section = Section { out };
        section.heading(&format!("ingot {}", env!("CARGO_PKG_VERSION")))?;
        if cfg!(debug_assertions) {
            section.problem(
                WARNING,
                "built without optimizations; `cargo build --release` is many times faster",
            )?;
        }

        section.heading("Processor")?;
        let cores = self.cores.map_or(String::new(), |n| format!("{n} cores, "));
        section.line("name", if self.processor.is_empty() { "not known" } else { &self.processor })?;
        section
            .line("threads", &format!("{cores}{} threads for ingot (--threads changes it)", self.threads))?;
        section.line("features", &self.features.join(" "))?;
        let names: Vec<_> = self.available.iter().map(|isa| isa.name()).collect();
        match &self.isa {
            Ok(isa) if std::env::var_os("INGOT_CPU").is_some() => {
                section.line(
                    "in use",
                    &format!("{isa}, because INGOT_CPU says so (there are {})", names.join(", ")),
                )?;
            }
            Ok(isa) => {
                let why = format!("{isa}, the best of {} (INGOT_CPU=NAME changes it)", names.join(", "));
                section.line("in use", &why)?;
            }
            Err(e) => section.problem(ERROR, e)?,
        }

        section.heading("Memory")?;
        let (all, left) = (units::bytes(self.memory), units::bytes(self.memory_left));
        section.line("size", &format!("{all}, of which {left} are available"))?;
        if let Some(size) = self.page_size {
            let huge = self.huge_pages.as_ref().map_or(String::new(), |mode| format!(", huge pages: {mode}"));
            section.line("pages", &format!("{} KiB{huge}", size >> 10))?;
        }

        section.heading("Graphics processors")?;
        for gpu in &self.gpus {
            match gpu {
                Ok((kind, info)) => section.line(&kind.to_string(), &shown(info))?,
                Err((kind, e)) if device::seems_present(kind) => {
                    section.problem(ERROR, &format!("{kind}: {e}"))?;
                }
                Err((kind, e)) => section.line(kind, &format!("none: {e}"))?,
            }
        }
        section.line("in use", &self.in_use())?;
        if let Ok(compiler) = &self.simulator {
            section.line("simulator", &format!("{compiler}, for working on kernels (--device sim)"))?;
        }

        section.heading("Model in the program")?;
        section.line("name", ingot::EMBEDDED_NAME)?;
        for (device, trial) in &self.trials {
            match trial {
                Ok(t) => {
                    let (load, time) = (units::time(t.load), units::time(t.generate));
                    let rate = units::rate(t.tokens, t.generate);
                    let what = format!("opened in {load}, {} tokens in {time} ({rate:.0} tok/s)", t.tokens);
                    section.line("works", &format!("on {device}: {what}"))?;
                }
                Err(e) => section.problem(ERROR, &format!("{device}: {e}"))?,
            }
        }
        Ok(())
    }

    /// What runs models that are given no device, and why.
    fn in_use(&self) -> String {
        let change = "--device or INGOT_DEVICE changes it";
        match device::choose(&self.gpus, device::seems_present) {
            (ExecutorKind::Gpu(kind), _) => format!("{kind}, the best that works ({change})"),
            (_, problems) if problems.is_empty() => "none: there is none, the processor computes".into(),
            (_, problems) => format!("none, the processor computes: {}", problems.join("; ")),
        }
    }

    fn json(&self) -> Value {
        let names: Vec<_> = self.available.iter().map(|isa| isa.name()).collect();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "optimized": !cfg!(debug_assertions),
            "processor": {
                "name": self.processor,
                "cores": self.cores,
                "threads": self.threads,
                "features": self.features,
                "instruction_sets": names,
                "instruction_set": self.isa.as_ref().ok().map(|isa| isa.name()),
                "error": self.isa.as_ref().err(),
            },
            "memory": {
                "total_bytes": self.memory,
                "available_bytes": self.memory_left,
                "page_bytes": self.page_size,
                "huge_pages": self.huge_pages,
            },
            "gpus": self.gpus_json(),
            "simulator": {
                "works": self.simulator.is_ok(),
                "compiler": self.simulator.as_ref().ok(),
                "error": self.simulator.as_ref().err(),
            },
            "embedded_model": {
                "name": ingot::EMBEDDED_NAME,
                "works": self.trials.iter().all(|(_, trial)| trial.is_ok()),
                "trials": self.trials.iter().map(|(device, t)| trial_json(*device, t)).collect::<Vec<_>>(),
            },
        })
    }

    fn gpus_json(&self) -> Value {
        let found = self.gpus.iter().filter_map(|gpu| gpu.as_ref().ok()).map(|(kind, info)| {
            json!({
                "device": kind.to_string(),
                "name": info.name,
                "driver": info.driver,
                "cores": info.cores,
                "memory_bytes": info.memory,
                "shares_memory": info.shares_memory,
            })
        });
        let missing = self.gpus.iter().filter_map(|gpu| gpu.as_ref().err()).map(|(kind, e)| {
            let seems_present = device::seems_present(kind);
            json!({ "kind": kind, "reason": e.to_string(), "seems_present": seems_present })
        });
        let device = match device::choose(&self.gpus, device::seems_present).0 {
            ExecutorKind::Gpu(kind) => Some(kind.to_string()),
            _ => None,
        };
        json!({
            "used": device.is_some(),
            "device": device,
            "reason": self.in_use(),
            "found": found.collect::<Vec<_>>(),
            "missing": missing.collect::<Vec<_>>(),
        })
    }
}

/// A GPU in one line.
fn shown(info: &Info) -> String {
    let memory = units::bytes(info.memory);
    let shared = if info.shares_memory { ", shared with the processor" } else { "" };
    let cores = units::plural(info.cores as usize, "core");
    format!("{}, {cores}, {memory}{shared}, driver {}", info.name, info.driver)
}

fn trial_json(device: ExecutorKind, trial: &Result<Trial, String>) -> Value {
    let device = device.to_string();
    match trial {
        Ok(t) => json!({
            "device": device,
            "works": true,
            "load_s": t.load.as_secs_f64(),
            "tokens": t.tokens,
            "generate_s": t.generate.as_secs_f64(),
        }),
        Err(e) => json!({ "device": device, "works": false, "error": e }),
    }
}

struct Section<'a, W> {
    out: &'a mut W,
}

impl<W: Write> Section<'_, W> {
    fn heading(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.out, "{HEADING}{text}{HEADING:#}")
    }

    fn line(&mut self, name: &str, text: &str) -> io::Result<()> {
        writeln!(self.out, "  {DIM}{name:9}{DIM:#} {text}")
    }

    fn problem(&mut self, style: anstyle::Style, text: &str) -> io::Result<()> {
        writeln!(self.out, "  {style}{:9}{style:#} {text}", "problem")
    }
}

/// Opens the embedded model on a device and has it write a few tokens.
fn try_model(device: ExecutorKind) -> Result<Trial, String> {
    const TOKENS: usize = 32;
    let text = |failure: Failure| match failure {
        Failure::Error { message, .. } => message,
        other => format!("{other:?}"),
    };
    let start = Instant::now();
    let model = Place::Embedded.open_on(device).map_err(text)?;
    let load = start.elapsed();
    let write = || -> Result<(usize, bool), Box<dyn std::error::Error>> {
        let mut session = model.session()?;
        session.feed(&model.tokenizer().encode("Once", Default::default())?)?;
        let mut sampler = Sampler::new(SamplerOptions::greedy())?;
        let request = Request { max_tokens: Some(TOKENS), ignore_end: true, ..Request::default() };
        let pieces: Vec<_> = session.generate(&mut sampler, &request)?.collect::<Result<_, _>>()?;
        let tokens = pieces.iter().filter(|piece| piece.token.is_some()).count();
        Ok((tokens, session.logits().iter().all(|x| x.is_finite())))
    };
    // A GPU's kernels are compiled when they are first needed.
    write().map_err(|e| e.to_string())?;
    let start = Instant::now();
    let (tokens, finite) = write().map_err(|e| e.to_string())?;
    let generate = start.elapsed();
    match finite {
        true => Ok(Trial { load, tokens, generate }),
        false => Err("its results are not numbers".into()),
    }
}

/// The processor's features that matter for the kernels.
fn features() -> Vec<&'static str> {
    #[allow(unused_mut)] // on other processors
    let mut found = Vec::new();
    macro_rules! look_for {
        ($is_detected:ident: $($name:tt)*) => {$(
            if std::arch::$is_detected!($name) {
                found.push($name);
            }
        )*};
    }
    #[cfg(target_arch = "x86_64")]
    look_for!(is_x86_feature_detected: "sse4.2" "avx" "f16c" "fma" "avx2" "avxvnni" "avx512f" "avx512bw"
        "avx512dq" "avx512vl" "avx512vnni" "avx512bf16" "avx512fp16");
    #[cfg(target_arch = "aarch64")]
    look_for!(is_aarch64_feature_detected: "neon" "fp16" "dotprod" "i8mm" "bf16" "sve");
    found
}

#[cfg(unix)]
fn page_size() -> Option<u64> {
    nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok()??.try_into().ok()
}

#[cfg(not(unix))]
fn page_size() -> Option<u64> {
    None
}

/// The mode of transparent huge pages, where the system has them.
fn huge_pages() -> Option<String> {
    let text = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").ok()?;
    Some(text.split_once('[')?.1.split_once(']')?.0.to_string())
}
