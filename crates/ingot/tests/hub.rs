//! `ingot pull`, `list`, `rm` and `hf:` wherever a model is named, with an imitation
//! of the hub on this computer.

mod common;
#[path = "../../ingot-hub/tests/imitation/mod.rs"]
mod imitation;

use common::{Folder, Run, command, fixtures};
use imitation::{Imitation, Reply, bytes, checksum};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const NAME: &str = "tiny-Q8_0.gguf";

/// An imitation of the hub with a model, and a home of its own.
struct Setup {
    hub: Imitation,
    folder: Folder,
    model: Vec<u8>,
}

impl Setup {
    /// With a model that runs.
    fn new(test: &str) -> Self {
        Self::with(test, fs::read(fixtures().join("models/llama-s-q8_0.gguf")).unwrap())
    }

    fn with(test: &str, model: Vec<u8>) -> Self {
        Self { hub: Imitation::start(&[(NAME, &model)]), folder: Folder::new(test), model }
    }

    /// The environment in which a command is at home here.
    fn at_home(&self, mut command: Command) -> Command {
        let others = [
            "HF_TOKEN",
            "HF_TOKEN_PATH",
            "HF_HUB_CACHE",
            "HF_HUB_OFFLINE",
            "TRANSFORMERS_OFFLINE",
            "HTTP_PROXY",
            "HTTPS_PROXY",
            "ALL_PROXY",
            "NO_PROXY",
            "http_proxy",
            "https_proxy",
            "all_proxy",
            "no_proxy",
        ];
        for name in others {
            command.env_remove(name);
        }
        command.env("HF_HOME", self.folder.file("home")).env("HF_ENDPOINT", &self.hub.address);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn command(&self, args: &[&str]) -> Command {
        self.at_home(command(args))
    }

    fn ingot(&self, args: &[&str]) -> Run {
        self.command(args).output().expect("the program starts").into()
    }

    fn cache(&self) -> PathBuf {
        PathBuf::from(self.folder.file("home")).join("hub/models--org--repo")
    }

    fn blob(&self) -> PathBuf {
        self.cache().join("blobs").join(checksum(NAME, &self.model))
    }

    fn part(&self) -> PathBuf {
        self.blob().with_extension("incomplete")
    }

    /// Starts a pull whose server stops in the middle, and waits until it is there.
    fn stuck(&self) -> Child {
        let (half, size) = (self.model[..self.model.len() / 2].to_vec(), self.model.len());
        self.hub.misbehave(move |request, before| {
            let stop = || Reply { length: Some(Some(size)), stall: true, ..Reply::ok(half.clone()) };
            (request.at_storage && before == 0).then(stop)
        });
        let child = self.command(&["pull", "org/repo"]).spawn().unwrap();
        self.wait_until(|| fs::metadata(self.part()).is_ok_and(|part| part.len() as usize == size / 2));
        child
    }

    #[track_caller]
    fn wait_until(&self, is: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !is() {
            assert!(Instant::now() < deadline, "it does not come to that");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Checks that a pull continues in the middle and that all is well then.
    fn check_that_it_goes_on(&self) {
        assert!(!self.blob().exists() && !self.cache().join("snapshots").exists());
        self.hub.behave();
        self.hub.requests();
        let pulled = self.ingot(&["pull", "org/repo", "--json"]).json();
        assert_eq!(pulled["downloaded"], self.model.len() - self.model.len() / 2);
        assert_eq!(self.hub.count(|r| r.at_storage && r.from() == self.model.len() / 2), 1);
        assert_eq!(fs::read(self.blob()).unwrap(), self.model);
        assert!(!self.part().exists());
    }
}

#[test]
fn pulled_once_run_anywhere() {
    let setup = Setup::new("hub-run");
    let run = setup.ingot(&["pull", "org/repo"]);
    assert!(
        run.err.contains("pulling hf:org/repo: ") && run.err.contains("is complete: 1 file"),
        "{}",
        run.err
    );
    let path = run.ok();
    assert_eq!(fs::read(path.trim()).unwrap(), setup.model);

    // From now on nobody is asked.
    setup.hub.requests();
    let args = ["--raw", "--greedy", "-n", "1", "--ignore-eos", "--output", "json", "ab"];
    let named = setup.ingot(&[&["run", "-m", "hf:org/repo"], &args[..]].concat()).json();
    assert_eq!((&named["model"], named["tokens"].as_array().unwrap().len()), (&"hf:org/repo".into(), 1));
    let first = setup.ingot(&[&["run", "hf:org/repo:q8_0"], &args[..]].concat()).json();
    assert_eq!(first["tokens"], named["tokens"]);
    let page = format!("https://huggingface.co/org/repo/blob/main/{NAME}");
    for model in ["hf:org/repo/tiny-Q8_0.gguf", &page] {
        assert!(setup.ingot(&["inspect", model]).ok().contains("llama"), "{model}");
    }
    setup.ingot(&["tokenize", "-m", "hf:org/repo", "ab"]).ok();
    assert!(setup.hub.requests().is_empty());
}

#[test]
fn what_is_not_there_is_pulled_first() {
    let setup = Setup::new("hub-first");
    let run = setup.ingot(&[
        "run",
        "hf:org/repo:Q8_0",
        "--raw",
        "-n",
        "1",
        "--ignore-eos",
        "--output",
        "json",
        "ab",
    ]);
    assert!(run.err.contains("pulling hf:org/repo:Q8_0: 280 kB in 1 file"), "{}", run.err);
    assert_eq!(run.json()["tokens"].as_array().unwrap().len(), 1);
}

#[test]
fn a_folder_of_safetensors() {
    let setup = Setup::new("hub-safetensors");
    let folder = fixtures().join("models/llama-s-safetensors");
    for entry in fs::read_dir(folder).unwrap().flatten() {
        setup.hub.change(entry.file_name().to_str().unwrap(), &fs::read(entry.path()).unwrap());
    }
    let path = setup.ingot(&["pull", "org/repo:safetensors"]).ok();
    assert!(PathBuf::from(path.trim()).join("config.json").exists());
    let args = [
        "run",
        "-m",
        "hf:org/repo:safetensors",
        "--raw",
        "-n",
        "1",
        "--ignore-eos",
        "--output",
        "json",
        "ab",
    ];
    assert_eq!(setup.ingot(&args).json()["tokens"].as_array().unwrap().len(), 1);
}

#[test]
fn listed_and_removed() {
    let setup = Setup::new("hub-list");
    setup.ingot(&["pull", "org/repo"]).ok();
    let list = setup.ingot(&["list", "--json"]).json();
    let model = |list: &serde_json::Value, name: &str| {
        list["models"].as_array().unwrap().iter().find(|model| model["name"] == name).cloned()
    };
    let pulled = model(&list, "hf:org/repo:Q8_0").unwrap();
    assert_eq!((&pulled["size"], &pulled["type"]), (&setup.model.len().into(), &"Q8_0".into()));
    assert!(pulled["last_used"].as_u64().unwrap() > 1_600_000_000);
    // The fixtures are in a folder called models.
    let split = model(&list, "mistral-s-q4_0-split-00001-of-00003").unwrap();
    assert_eq!(split["size"], 42464 + 18432 + 7456);
    assert!(setup.ingot(&["list"]).ok().contains("| hf:org/repo:Q8_0 "));

    // Only with the user's word, and only what is in the cache.
    setup.ingot(&["rm", "hf:org/repo"]).fails(2, &["nothing is removed unasked", "--yes"]);
    setup.ingot(&["rm", "hf:org/repo:Q4_0", "--yes"]).fails(1, &["org/repo:Q4_0 is not in the cache"]);
    setup.ingot(&["rm", "llama-s-q8_0", "--yes"]).fails(1, &["llama-s-q8_0.gguf", "not for ingot to remove"]);
    assert!(setup.blob().exists() && fixtures().join("models/llama-s-q8_0.gguf").exists());
    let removed = setup.ingot(&["rm", "hf:org/repo:Q8_0", "--yes", "--json"]);
    assert!(removed.err.contains("280 kB are free"), "{}", removed.err);
    assert_eq!(removed.json()["removed"][0]["name"], "hf:org/repo:Q8_0");
    assert!(!setup.cache().exists());
    assert!(model(&setup.ingot(&["list", "--json"]).json(), "hf:org/repo:Q8_0").is_none());
}

#[test]
fn tokens_of_the_environment() {
    let setup = Setup::new("hub-token");
    let sent = |command: &mut Command| {
        setup.hub.requests();
        assert!(command.output().unwrap().status.success());
        setup.hub.requests()[0].headers.get("authorization").cloned()
    };
    let pull = || setup.command(&["pull", "org/repo"]);
    assert_eq!(sent(&mut pull()), None);
    assert_eq!(sent(pull().env("HF_TOKEN", "hf_env")).as_deref(), Some("Bearer hf_env"));
    fs::write(setup.folder.file("home/token"), "hf_file\n").unwrap();
    assert_eq!(sent(&mut pull()).as_deref(), Some("Bearer hf_file"));
}

#[test]
fn through_a_proxy() {
    let setup = Setup::new("hub-proxy");
    let mut pull = setup.command(&["pull", "org/repo"]);
    // The imitation is the proxy, and the hub a name that nobody else knows.
    pull.env("HF_ENDPOINT", "http://hub.invalid").env("HTTP_PROXY", &setup.hub.address);
    Run::from(pull.env("NO_PROXY", "127.0.0.1").output().unwrap()).ok();
    assert_eq!(setup.hub.requests()[0].headers["host"], "hub.invalid");
}

#[test]
fn without_the_network() {
    let setup = Setup::new("hub-offline");
    let offline =
        |args: &[&str]| -> Run { setup.command(args).env("HF_HUB_OFFLINE", "1").output().unwrap().into() };
    offline(&["pull", "org/repo"])
        .fails(1, &["org/repo is not in the cache", "HF_HUB_OFFLINE forbids to ask", "ingot list"]);
    offline(&["inspect", "hf:org/repo"]).fails(1, &["HF_HUB_OFFLINE"]);
    setup.ingot(&["pull", "org/repo"]).ok();
    setup.hub.requests();
    offline(&["inspect", "hf:org/repo"]).ok();
    assert!(offline(&["list"]).ok().contains("hf:org/repo"));
    let pull = offline(&["pull", "org/repo:Q8_0"]);
    assert!(pull.err.contains("is in the cache: 1 file of 280 kB; HF_HUB_OFFLINE"), "{}", pull.err);
    assert_eq!(fs::read(pull.ok().trim()).unwrap(), setup.model);
    let pull = offline(&["pull", "org/repo", "--json"]).json();
    assert_eq!((&pull["offline"], &pull["bytes"]), (&true.into(), &setup.model.len().into()));
    assert_eq!((&pull["downloaded"], &pull["files"]), (&0.into(), &1.into()));
    offline(&["pull", "org/repo:Q4_0"]).fails(1, &["org/repo:Q4_0 is not in the cache"]);
    assert!(setup.hub.requests().is_empty());

    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut pull = setup.command(&["pull", "org/repo"]);
    let run: Run = pull.env("HF_ENDPOINT", format!("http://{closed}")).output().unwrap().into();
    run.fails(1, &["cannot reach 127.0.0.1", "check the network", "HF_ENDPOINT"]);
}

#[test]
fn what_cannot_be_pulled_is_explained() {
    let setup = Setup::new("hub-errors");
    setup.hub.change("tiny-Q4_0.gguf", b"");
    let pull = |name: &str| setup.ingot(&["pull", name]);
    pull("org/repo:Q5_K_M").fails(1, &["Q5_K_M", "name one of org/repo:Q4_0, org/repo:Q8_0"]);
    pull("org/repo/x.gguf").fails(1, &["no file x.gguf", "name one of"]);
    pull("org/other").fails(1, &["no repository org/other, or it is private", "HF_TOKEN"]);
    pull("a/b/../c.gguf").fails(2, &["a/b/../c.gguf", "ORG/REPO:QUANT"]);
    pull("https://example.com/a/b").fails(2, &["elsewhere"]);
    setup.ingot(&["run", "-m", "org/repo", "x"]).fails(1, &["no such model: org/repo", "hf:org/repo"]);
    setup.ingot(&["inspect", "hf:org/repo/"]).fails(2, &["hf:org/repo/"]);
    let gated = Reply::status(403).header("X-Error-Code", "GatedRepo");
    setup.hub.misbehave(move |_, _| Some(gated.clone()));
    pull("org/repo").fails(1, &["org/repo is gated", "accept the terms at http", "HF_TOKEN"]);
    let evil = "\u{1b}[2J<html>";
    setup.hub.misbehave(move |_, _| Some(Reply::ok(evil)));
    pull("org/repo").fails(1, &["127.0.0.1 sent something unexpected"]);
    assert!(!setup.cache().exists());
}

#[test]
fn two_at_the_same_time_download_once() {
    let setup = Setup::with("hub-two", bytes(1_000_000, 3));
    // The first one gets its answer when the second one says that it waits.
    let (model, waits) = (setup.model.clone(), Arc::new(AtomicBool::new(false)));
    setup.hub.misbehave({
        let waits = waits.clone();
        move |request, _| {
            while request.at_storage && !waits.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(5));
            }
            request.at_storage.then(|| Reply::ok(model.clone()))
        }
    });
    let first = setup.command(&["pull", "org/repo"]).spawn().unwrap();
    setup.wait_until(|| setup.hub.count(|request| request.at_storage) == 1);
    let mut second = setup.command(&["pull", "org/repo"]).spawn().unwrap();
    let lines = BufReader::new(second.stderr.take().unwrap()).lines().map_while(Result::ok);
    let said = lines.inspect(|line| {
        if line.contains("waiting for another program") {
            waits.store(true, Ordering::SeqCst);
        }
    });
    assert!(said.last().unwrap().contains("is complete"));
    let paths = [first, second].map(|child| Run::from(child.wait_with_output().unwrap()).ok());
    assert_eq!(paths[0], paths[1]);
    assert_eq!(fs::read(paths[0].trim()).unwrap(), setup.model);
    assert_eq!(setup.hub.count(|request| request.at_storage), 1);
}

#[test]
fn killed_in_the_middle_and_continued() {
    let setup = Setup::with("hub-kill", bytes(2_000_000, 4));
    let mut child = setup.stuck();
    child.kill().unwrap(); // it gets no chance to do anything
    child.wait().unwrap();
    setup.check_that_it_goes_on();
}

#[cfg(unix)]
#[test]
fn interrupted_and_continued() {
    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;
    let setup = Setup::with("hub-interrupt", bytes(2_000_000, 5));
    let mut child = setup.stuck();
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
    assert!(!child.wait().unwrap().success());
    setup.check_that_it_goes_on();
}

/// Files may not grow beyond a limit, which is to a program what a full disk is, and
/// needs no disk of its own.
#[cfg(unix)]
#[test]
fn a_full_disk_is_explained_and_continued() {
    let setup = Setup::with("hub-full", bytes(2_000_000, 6));
    let mut shell = Command::new("sh");
    let script = r#"trap "" XFSZ; ulimit -f 1024; exec "$0" pull org/repo"#;
    shell.arg("-c").arg(script).arg(env!("CARGO_BIN_EXE_ingot"));
    let run: Run = setup.at_home(shell).output().unwrap().into();
    let error = run.err.split_once("error: ").map(|(_, error)| format!("error: {error}")).unwrap_or_default();
    Run { err: error, ..run }.fails(1, &["not enough space in", "more are needed", "ingot rm", "goes on"]);
    let kept = fs::metadata(setup.part()).unwrap().len();
    assert!((500_000..2_000_000).contains(&kept), "{kept}");
    let pulled = setup.ingot(&["pull", "org/repo", "--json"]).json();
    assert_eq!(pulled["downloaded"], 2_000_000 - kept);
    assert_eq!(fs::read(setup.blob()).unwrap(), setup.model);
}
