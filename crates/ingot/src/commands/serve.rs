//! `ingot serve`: a model for many.

use crate::cli::{LogFormat, ServeArgs};
use crate::failure::{Failure, Result};
use crate::models::Place;
use crate::term::WARNING;
use ingot::{Model, available_memory};
use ingot_server::{Config, Limits, Server, Stop};
use serde_json::json;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use tokio::runtime::Builder;
use tokio::sync::oneshot;

/// Threads that cut texts into tokens, compile grammars and make embeddings. Each keeps
/// buffers and what the tokenizer remembers, so that more of them would cost memory.
const PREPARING: usize = 4;

pub fn run(args: ServeArgs) -> Result {
    let place = Place::find(args.model.path())?;
    let config = config(&args, &place)?;
    let model_name = config.names[0].clone();
    start_log(args.log_format);
    if !args.host.is_loopback() && config.keys.is_empty() {
        crate::say!(
            "{WARNING}warning:{WARNING:#} everybody who reaches {} can use the model: there is no --api-key",
            args.host
        );
    }
    keep_memory_flat();
    let runtime = Builder::new_multi_thread().enable_all().max_blocking_threads(PREPARING).build();
    let runtime = runtime.map_err(|e| Failure::new(format!("cannot start threads: {e}")))?;
    runtime.block_on(serve(args, place, model_name, config))
}

async fn serve(args: ServeArgs, place: Place, name: String, config: Config) -> Result {
    let address = SocketAddr::new(args.host, args.port);
    let server = Server::bind(address, config).await.map_err(|e| cannot_listen(address, &e))?;
    let address = server.address()?;
    crate::say!("listening on http://{address}");
    let (opener, stop) = (server.opener(), Stop::new());
    let signals = tokio::spawn(wait_for_signals(stop.clone()));
    let server = tokio::spawn(server.run(stop));

    // The server says that the model is being loaded until it is.
    let (opened, model) = oneshot::channel();
    std::thread::spawn({
        let (memory, engine) = (args.memory, args.engine);
        move || opened.send(open(&place, &engine, memory))
    });
    tokio::select! {
        model = model => {
            let model = model.map_err(|_| Failure::new("the model could not be opened"))??;
            super::check_context(&model);
            let device = model.executor().to_string();
            opener(model);
            if args.json {
                let ready = json!({ "address": format!("http://{address}"), "model": name, "device": device });
                writeln!(std::io::stdout(), "{ready}")?;
            }
            if args.open {
                open_browser(&format!("http://{address}/"));
            }
        }
        _ = signals => return Err(Failure::Interrupted),
    }
    server.await.map_err(|e| Failure::new(format!("the server failed: {e}")))
}

fn open(place: &Place, engine: &crate::cli::EngineArgs, memory: Option<u64>) -> Result<Model> {
    let model = place.open(engine)?;
    model.limit_memory(memory.map_or(available_memory() / 2, |mb| mb << 20));
    Ok(model)
}

fn config(args: &ServeArgs, place: &Place) -> Result<Config> {
    let sampling = args.sampling.options();
    ingot::Sampler::new(sampling.clone())?;
    let mut keys = args.keys.clone();
    if let Some(path) = &args.api_key_file {
        keys.extend(read_keys(path)?);
    }
    keys.retain(|key| !key.is_empty());
    let defaults = Limits::default();
    Ok(Config {
        names: std::iter::once(name(place)).chain(args.alias.iter().cloned()).collect(),
        keys,
        hosts: args.allow_host.clone(),
        origins: args.allow_origin.clone(),
        sampling,
        limits: Limits {
            body: args.max_body,
            prompt: args.max_prompt,
            answer: args.max_tokens,
            choices: args.max_choices,
            request: Duration::from_secs(args.timeout),
            ..defaults
        },
        scheduler: ingot::scheduler::Limits {
            running: args.parallel.max(1),
            waiting: args.queue.max(1),
            prefixes: args.prefixes,
            ..Default::default()
        },
    })
}

/// How the model presents itself: its file's name without what says that it is a file.
fn name(place: &Place) -> String {
    let name = match place {
        Place::Embedded => return place.name().replace(" (embedded)", ""),
        Place::Own(_) => return place.name(),
        Place::Path(path) => path.canonicalize().unwrap_or_else(|_| path.clone()),
        // Its files are links to others, which are called by their checksums.
        Place::Hub { path, .. } if path.is_file() => path.clone(),
        Place::Hub { model, .. } => return model.repo.to_string(),
    };
    let name = if crate::models::is_model_file(&name) { name.with_extension("") } else { name };
    name.file_name().map_or_else(|| place.name(), |name| name.to_string_lossy().into_owned())
}

fn read_keys(path: &Path) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(path).map_err(|e| Failure::new(format!("{}: {e}", path.display())))?;
    let keys: Vec<String> =
        text.lines().map(str::trim).filter(|key| !key.is_empty()).map(Into::into).collect();
    match keys.is_empty() {
        true => Err(Failure::new(format!("{}: there is no key in it", path.display()))),
        false => Ok(keys),
    }
}

fn cannot_listen(address: SocketAddr, e: &std::io::Error) -> Failure {
    let failure = Failure::new(format!("cannot listen on {address}: {e}"));
    match e.kind() {
        std::io::ErrorKind::AddrInUse => {
            failure.hint("another server runs there, perhaps ingot itself; --port chooses another port")
        }
        std::io::ErrorKind::PermissionDenied => failure.hint("ports below 1024 are the system's"),
        std::io::ErrorKind::AddrNotAvailable => failure.hint("--host takes an address of this computer"),
        _ => failure,
    }
}

/// The first signal lets answers that have begun end, the second ends the program.
async fn wait_for_signals(stop: Stop) {
    signal().await;
    crate::say!("ending when the last answer is complete; once more to end at once");
    stop.stop();
    tokio::spawn(async {
        signal().await;
        std::process::exit(130);
    });
}

/// Ctrl-C, or being asked to end.
async fn signal() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
            return;
        }
    }
    let _ = tokio::signal::ctrl_c().await;
}

fn start_log(format: LogFormat) {
    use tracing_subscriber::{EnvFilter, fmt};
    let level = if format == LogFormat::Quiet { "warn" } else { "info" };
    let filter = EnvFilter::try_from_env("INGOT_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let log = fmt().with_env_filter(filter).with_target(false).with_writer(std::io::stderr);
    let color = anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never;
    match format {
        LogFormat::Json => log.json().flatten_event(true).init(),
        LogFormat::Text | LogFormat::Quiet => log.with_ansi(color).init(),
    }
}

/// A heap for each thread would grow until the busiest moment of each of them, and one
/// with large blocks among small ones has holes that are not given back.
fn keep_memory_flat() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    for (option, value) in
        [(libc::M_ARENA_MAX, 1), (libc::M_MMAP_THRESHOLD, 16 << 10), (libc::M_TRIM_THRESHOLD, 64 << 10)]
    {
        // SAFETY: sets a number that malloc reads; nothing else runs yet.
        unsafe {
            libc::mallopt(option, value);
        }
    }
}

/// Shows the page in the user's browser.
fn open_browser(url: &str) {
    let (program, args): (_, &[&str]) = match std::env::consts::OS {
        "macos" => ("open", &[]),
        "windows" => ("cmd", &["/C", "start"]),
        _ => ("xdg-open", &[]),
    };
    let started =
        Command::new(program).args(args).arg(url).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    if started.is_err() {
        crate::say!("no browser could be started: open {url} in one");
    }
}
