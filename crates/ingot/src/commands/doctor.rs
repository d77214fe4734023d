//! `ingot doctor`: what this computer is, what ingot makes of it, and whether
//! it works.

use crate::cli::DoctorArgs;
use crate::failure::{Failure, Result};
use crate::models::Place;
use crate::term::{DIM, ERROR, HEADING, WARNING};
use crate::units;
use ingot::{Options, Request, Sampler, SamplerOptions};
use ingot_cpu::Isa;
use serde_json::{Value, json};
use std::io::{self, Write};
use std::time::{Duration, Instant};

pub fn run(args: &DoctorArgs) -> Result {
    let report = Report::new();
    match args.json {
        true => writeln!(io::stdout(), "{}", report.json())?,
        false => report.print(&mut anstream::stdout().lock())?,
    }
    match report.trial {
        Ok(_) => Ok(()),
        Err(_) => Err(Failure::new("the model in the program does not run")),
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
    trial: Result<Trial, String>,
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
            trial: try_model(),
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
        section.line("in use", "none: this version of ingot runs on the processor only")?;

        section.heading("Model in the program")?;
        section.line("name", ingot::EMBEDDED_NAME)?;
        match &self.trial {
            Ok(t) => {
                let (load, time) = (units::time(t.load), units::time(t.generate));
                let rate = units::rate(t.tokens, t.generate);
                section.line(
                    "works",
                    &format!("opened in {load}, {} tokens in {time} ({rate:.0} tok/s)", t.tokens),
                )
            }
            Err(e) => section.problem(ERROR, e),
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
            "gpus": { "used": false, "reason": "this version of ingot runs on the processor only" },
            "embedded_model": match &self.trial {
                Ok(t) => json!({
                    "name": ingot::EMBEDDED_NAME,
                    "works": true,
                    "load_s": t.load.as_secs_f64(),
                    "tokens": t.tokens,
                    "generate_s": t.generate.as_secs_f64(),
                }),
                Err(e) => json!({ "name": ingot::EMBEDDED_NAME, "works": false, "error": e }),
            },
        })
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

/// Opens the embedded model and has it write a few tokens.
fn try_model() -> Result<Trial, String> {
    const TOKENS: usize = 32;
    let text = |failure: Failure| match failure {
        Failure::Error { message, .. } => message,
        other => format!("{other:?}"),
    };
    let start = Instant::now();
    let model = Place::Embedded.open(&Options::default()).map_err(text)?;
    let load = start.elapsed();
    let prompt = model.tokenizer().encode("Once", Default::default()).map_err(|e| e.to_string())?;
    let start = Instant::now();
    let mut session = model.session().map_err(|e| e.to_string())?;
    session.feed(&prompt).map_err(|e| e.to_string())?;
    let mut sampler = Sampler::new(SamplerOptions::greedy()).map_err(|e| e.to_string())?;
    let request = Request { max_tokens: Some(TOKENS), ignore_end: true, ..Request::default() };
    let generation = session.generate(&mut sampler, &request).map_err(|e| e.to_string())?;
    let pieces: Result<Vec<_>, _> = generation.collect();
    let tokens = pieces.map_err(|e| e.to_string())?.iter().filter(|piece| piece.token.is_some()).count();
    let generate = start.elapsed();
    match session.logits().iter().all(|x| x.is_finite()) {
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
