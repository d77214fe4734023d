//! `ingot cast`, and the programs that it makes. Each of these is a copy of the program under
//! test, which is large: they are removed as soon as possible.

#![cfg(unix)]

mod common;

use common::{Folder, Run, command, fixtures, ingot};
use serde_json::Value;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};

/// A cast program in a folder of its own.
struct Cast {
    folder: Folder,
    path: String,
}

fn cast(name: &str, args: &[&str]) -> Cast {
    let folder = Folder::new(name);
    let path = folder.file("fable");
    ingot(&[&["cast", "-o", &path], args].concat()).ok();
    Cast { folder, path }
}

impl Cast {
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.path);
        command.args(args).stdin(Stdio::null()).env_remove("INGOT_CPU").env("INGOT_DEVICE", "cpu");
        command
    }

    fn run(&self, args: &[&str]) -> Run {
        self.command(args).output().expect("the program starts").into()
    }

    /// Changes a byte for as long as `look` looks.
    fn with_changed_byte(&self, at: u64, look: impl FnOnce()) {
        let file = File::options().read(true).write(true).open(&self.path).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
        drop(file); // a file that somebody writes to cannot be started
        look();
        File::options().write(true).open(&self.path).unwrap().write_all_at(&byte, at).unwrap();
    }
}

const PROMPT: &str = "Once upon a time there was";

/// The tokens that a run has written.
fn tokens(run: Run) -> Value {
    let tokens = run.json()["tokens"].take();
    assert!(tokens.as_array().is_some_and(|tokens| !tokens.is_empty()));
    tokens
}

/// Casts a model, and holds the program against `ingot run` on each of the devices.
fn writes_what_ingot_run_writes(model: &str, devices: &[&str], same_bytes: bool) {
    let cast = cast(&format!("family-{}", model.replace('/', "-")), &[model]);
    for device in devices {
        let options = ["--raw", "--greedy", "-n", "16", "--output", "json", "--device", device, PROMPT];
        let ours = tokens(cast.run(&options));
        assert_eq!(
            ours,
            tokens(ingot(&[&["run", "-m", model], &options[..]].concat())),
            "{model} on {device}"
        );
    }
    let copy = cast.folder.file("copy.gguf");
    cast.run(&["extract", "-o", &copy]).ok();
    if same_bytes {
        assert!(fs::read(&copy).unwrap() == fs::read(fixtures().join(model)).unwrap(), "{model}");
    } else {
        assert_eq!(ingot(&["inspect", "--json", &copy]).json()["supported"], true);
    }
}

#[test]
fn every_family_writes_what_ingot_run_writes() {
    writes_what_ingot_run_writes("models/llama-s-q8_0.gguf", &["cpu", "sim"], true);
    for model in [
        "gemma2-s-q8_0",
        "gemma3-k-q4_k_m",
        "llama3-k-q4_k_m",
        "mistral-sw16-s-f16",
        "phi3-longrope-s-f16",
        "qwen2-s-q4_k_m",
        "qwen3-s-q4_0",
        "qwen3moe-k-q4_k_m",
        "rwkv7-k-q4_k_m",
        "smollm3-s-q8_0",
    ] {
        writes_what_ingot_run_writes(&format!("models/{model}.gguf"), &["cpu"], true);
    }
}

#[test]
fn what_is_not_one_gguf_file_becomes_one() {
    writes_what_ingot_run_writes("models/mistral-s-q4_0-split-00001-of-00003.gguf", &["cpu"], false);
    writes_what_ingot_run_writes("models/llama-s-safetensors", &["cpu"], false);
}

#[test]
fn what_is_packed_is_what_convert_packs() {
    let folder = "models/llama-s-safetensors";
    let cast = cast("packed", &[folder, "--lora", "adapters/peft", "--quantize", "q4_0"]);
    let [ours, theirs] = ["ours.gguf", "theirs.gguf"].map(|name| cast.folder.file(name));
    cast.run(&["extract", "-o", &ours]).ok();
    ingot(&["convert", folder, "--lora", "adapters/peft", "--type", "q4_0", "-o", &theirs]).ok();
    assert!(fs::read(ours).unwrap() == fs::read(theirs).unwrap());
    let model = &cast.run(&["about", "--json"]).json()["model"];
    assert_eq!((&model["source"], &model["quantization"]), (&"llama-s-safetensors".into(), &"Q4_0".into()));
    assert_eq!(model["changes"], serde_json::json!(["merged with peft", "packed as Q4_0"]));
}

#[test]
fn it_has_a_command_line_of_its_own() {
    let description = ["--description", "Tells stories of foxes.", "--name", "Reynard"];
    let defaults = [
        "--system",
        "Be brief.",
        "--greedy",
        "-n",
        "7",
        "--stop",
        "xyzzy",
        "--stop",
        "-plugh",
        "--ctx",
        "200",
    ];
    let cast = cast("commands", &[&description[..], &defaults].concat());
    let path = cast.path.as_str();

    let help = cast.run(&["--help"]).ok();
    for word in ["Tells stories of foxes.", "llama", "Q8_0", "parameters", "default: 0]", "default: 7]", path]
    {
        assert!(help.contains(word), "{word:?} is not in: {help}");
    }
    for word in ["--model", "ingot run", "[MODEL]", "--quantize"] {
        assert!(!help.contains(word), "{word:?} is in: {help}");
    }
    for command in ["chat", "serve", "bench", "about", "extract"] {
        let help = cast.run(&[command, "--help"]).ok();
        assert!(help.contains(&format!("{path} {command}")) && !help.contains("MODEL"), "{help}");
    }
    assert!(cast.run(&["--version"]).ok().starts_with("Reynard (ingot "));

    // What it was cast with, and what the user wants.
    let usage = |run: Run| run.json()["usage"].take();
    let tokens = |args: &[&str]| usage(cast.run(&[args, &["--output", "json"]].concat()));
    let plain = ["-n", "0", "--raw", "Once"];
    assert_eq!(tokens(&["Once"])["completion_tokens"], 7);
    assert_eq!(tokens(&["Once", "-n", "3"])["completion_tokens"], 3);
    let of_ingot = ingot(&[&["run", "--output", "json"][..], &plain].concat()).json();
    assert_eq!(
        tokens(&plain)["prompt_tokens"],
        of_ingot["usage"]["prompt_tokens"],
        "--raw has no system prompt"
    );
    let briefly = ["run", "-n", "0", "--system", "Be brief.", "--output", "json", "Once"];
    assert_eq!(tokens(&["Once"])["prompt_tokens"], ingot(&briefly).json()["usage"]["prompt_tokens"]);
    let greedy = cast.run(&["Once"]).ok();
    assert_eq!(greedy, cast.run(&["Once"]).ok());
    cast.run(&["--ctx", "3", "Once upon a time there was a fox"]).fails(1, &["context"]);

    // Words that are commands, and prompts that begin with them.
    assert!(cast.run(&["about"]).ok().contains("Be brief."));
    assert_eq!(usage(cast.run(&["--output", "json", "--", "about"]))["completion_tokens"], 7);
    for prompt in [&["about a fox"][..], &["-n", "7", "about"], &["-p", "about"], &["Once", "about"]] {
        assert_eq!(tokens(prompt)["completion_tokens"], 7, "{prompt:?}");
    }
    cast.run(&["chat", "me"]).fails(2, &["has its model in it"]);
    cast.run(&["-m", "x.gguf", "Once"]).fails(2, &["has its model in it"]);
    cast.run(&[]).fails(2, &["no prompt", path, "chat"]);
    let mut chat = cast.command(&["chat"]);
    let mut chat = chat.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    chat.stdin.take().unwrap().write_all(b"Hello\n").unwrap();
    assert!(!chat.wait_with_output().unwrap().stdout.is_empty());

    let about = cast.run(&["about", "--json", "--verify"]).json();
    assert_eq!(about["verified"], true);
    assert_eq!((&about["name"], &about["defaults"]["stop"][1]), (&"Reynard".into(), &"-plugh".into()));
    assert_eq!(about["bytes"]["file"], fs::metadata(path).unwrap().len());
}

#[test]
fn it_serves() {
    let cast = cast("serves", &["--name", "fabulous", "models/llama-s-q8_0.gguf"]);
    let mut child = cast.command(&["serve", "--port", "0"]).stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    log.read_line(&mut line).unwrap();
    let address = line.trim().rsplit_once("//").expect("an address").1.to_owned();
    let get = |path: &str| {
        let mut stream = TcpStream::connect(&address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    while !get("/health").contains("\"ok\"") {}
    assert!(get("/v1/models").contains("\"fabulous\""));
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(child.id() as i32), nix::sys::signal::Signal::SIGINT)
        .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn what_is_damaged_does_not_run() {
    let cast = cast("damaged", &["models/llama-s-q8_0.gguf"]);
    let len = fs::metadata(&cast.path).unwrap().len();
    let about = cast.run(&["about", "--json"]).json();
    let model = about["bytes"]["model"].as_u64().unwrap();
    let refused = |run: Run| {
        assert_eq!(run.out, "");
        run.fails(1, &["is damaged", "cast it again"]);
    };
    // The end of the index, the index, the model's end, middle and first bytes.
    for at in [len - 1, len - 50, len - 2_000 - 9, len - model / 2, len - model] {
        cast.with_changed_byte(at, || refused(cast.run(&["--raw", "-n", "4", "Once"])));
    }
    cast.run(&["--raw", "-n", "4", "Once"]).ok();
    for length in [len - 1, len - model / 2, len - model - 100_000] {
        File::options().write(true).open(&cast.path).unwrap().set_len(length).unwrap();
        refused(cast.run(&["--raw", "-n", "4", "Once"]));
        refused(ingot(&["cast", "--check", &cast.path]));
    }
}

#[test]
fn it_needs_nothing_but_itself() {
    let cast = cast("alone", &["models/llama-s-q8_0.gguf"]);
    let folder = Path::new(&cast.path).parent().unwrap();
    fs::set_permissions(folder, PermissionsExt::from_mode(0o555)).unwrap();
    let run = |mode: u32| {
        fs::set_permissions(&cast.path, PermissionsExt::from_mode(mode)).unwrap();
        // Nobody owns nothing and may write nowhere. Who is not root is somebody like that.
        let mut command = match fs::metadata(folder).unwrap().uid() == 0 {
            true => {
                let mut command = Command::new("setpriv");
                command.args(["--reuid=65534", "--regid=65534", "--clear-groups", &cast.path]);
                command
            }
            false => Command::new(&cast.path),
        };
        command
            .args(["--raw", "--greedy", "-n", "4", "Once"])
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::null());
        Run::from(command.output().expect("it starts"))
    };
    let alone = run(0o555).ok();
    assert_eq!(alone, cast.run(&["--raw", "--greedy", "-n", "4", "Once"]).ok());
    // Root may read everything, so that without setpriv this would not be refused.
    run(0o111).fails(1, &["cannot be read", "chmod +r"]);
    fs::set_permissions(&cast.path, PermissionsExt::from_mode(0o555)).unwrap();
    let two = [(); 2]
        .map(|()| cast.command(&["--raw", "--greedy", "-n", "4", "Once"]).stdout(Stdio::piped()).spawn());
    for one in two {
        assert_eq!(String::from_utf8(one.unwrap().wait_with_output().unwrap().stdout).unwrap(), alone);
    }
    fs::set_permissions(folder, PermissionsExt::from_mode(0o755)).unwrap();
}

#[test]
fn a_check_compares_it_with_ingot_run() {
    let folder = Folder::new("check");
    let path = folder.file("fable");
    let report =
        ingot(&["cast", "models/rwkv7-s-q8_0.gguf", "-o", &path, "--temp", "0.9", "--check", "--json"])
            .json();
    assert_eq!((&report["same_tokens"], &report["tokens"]), (&true.into(), &48.into()));
    assert!(report["cast"]["first_token_s"].as_f64().unwrap() > 0.0);
    assert!(report["ingot"]["decode_tokens_per_s"].as_f64().unwrap() > 0.0);
    let bytes = |of: &str| report["bytes"][of].as_u64().unwrap();
    assert_eq!(bytes("file"), bytes("runtime") + bytes("model") + bytes("overhead"));
    assert!(bytes("overhead") < 20_000 && bytes("file") == fs::metadata(&path).unwrap().len());
    assert!(ingot(&["cast", "--check", &path]).ok().contains("The same 48 tokens as `ingot run`"));
    assert_eq!(fs::read_dir(Path::new(&path).parent().unwrap()).unwrap().count(), 1, "something is left");

    // Its model, and its program, can be cast again.
    let again = folder.file("again");
    let taken = ingot(&["cast", &path, "-o", &again, "--runtime", &path, "--name", "fable", "--temp", "0.9"]);
    assert!(
        taken.err.contains("taking the model of") && taken.err.contains("without its model"),
        "{}",
        taken.err
    );
    assert_eq!(fs::metadata(&again).unwrap().len(), fs::metadata(&path).unwrap().len());
    // Only those that are there, and only in another file.
    ingot(&["cast", &path, "-o", &path]).fails(2, &["another file"]);
}

#[test]
fn what_cannot_be_cast_is_explained() {
    let folder = Folder::new("refused");
    let path = folder.file("fable");
    let refused = |args: &[&str], code: i32, words: &[&str]| {
        ingot(&[&["cast", "-o", &path], args].concat()).fails(code, words);
        assert!(!Path::new(&path).exists());
    };
    let model = "models/llama-s-q8_0.gguf";
    refused(&[model, "--runtime", model], 1, &["no executable", "--runtime"]);
    refused(&[model, "--runtime", "/bin/sh"], 1, &["no ingot"]);
    refused(&["/bin/sh"], 1, &["without a model"]);
    refused(&[model, "--temp", "hot"], 2, &["--temp"]);
    refused(&[model, "--temp=-1"], 2, &["temperature"]);
    refused(&[model, "--name", "a/b"], 2, &["program's name"]);
    refused(&["models/gemma2-s-q8_0.gguf", "--system", "Be brief."], 2, &["chat template"]);
    refused(&[model, "--quantize", "q4_0"], 1, &["is Q8_0 already", "ingot quantize"]);
    refused(&["malformed/alignment-0.gguf"], 1, &["alignment"]);
    ingot(&["cast", model]).fails(2, &["--output"]);
    ingot(&["cast", "--check"]).fails(2, &["the file to check"]);
    ingot(&["cast", "--check", model]).fails(1, &["no executable"]);
    ingot(&["cast", "--check", env!("CARGO_BIN_EXE_ingot")]).fails(1, &["without a model"]);
    ingot(&["cast", model, "-o", env!("CARGO_BIN_EXE_ingot")]).fails(2, &["another file"]);
    let copy = folder.file("model.gguf");
    fs::copy(fixtures().join(model), &copy).unwrap();
    ingot(&["cast", &copy, "-o", &copy]).fails(2, &["another file"]);
}

#[test]
fn a_full_disk_leaves_nothing() {
    let folder = Folder::new("full");
    let path = folder.file("fable");
    // A limit to the size of files is met in the same way as the end of the disk.
    let script = r#"trap "" XFSZ; ulimit -f 1024; exec "$0" cast models/llama-s-q8_0.gguf -o "$1""#;
    let mut command = Command::new("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_ingot"), &path]).current_dir(fixtures());
    Run::from(command.output().unwrap()).fails(1, &[&path, "nothing is left"]);
    assert_eq!(fs::read_dir(Path::new(&path).parent().unwrap()).unwrap().count(), 0, "something is left");
}

#[test]
fn ctrl_c_leaves_nothing() {
    use nix::sys::signal::{Signal, kill};
    let folder = Folder::new("interrupted");
    let path = folder.file("fable");
    let dir = Path::new(&path).parent().unwrap();
    let mut child = command(&["cast", "-o", &path]).spawn().unwrap();
    // As soon as there is something to be left.
    while fs::read_dir(dir).unwrap().count() == 0 {
        std::thread::yield_now();
    }
    kill(nix::unistd::Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
    let code = child.wait().unwrap().code();
    match fs::read_dir(dir).unwrap().count() {
        0 => assert_eq!(code, Some(130)),
        // It was complete before the signal came.
        _ => assert_eq!((code, Path::new(&path).exists()), (Some(0), true)),
    }
}

#[test]
fn programs_for_other_systems_are_made_and_verified() {
    let folder = Folder::new("macos");
    let path = folder.file("fable");
    let runtime = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ingot-cast/tests/fixtures/macho-arm64");
    let made =
        ["cast", "models/llama-s-q8_0.gguf", "-o", &path, "--json", "--runtime", runtime.to_str().unwrap()];
    let made = ingot(&made).json();
    assert_eq!((&made["system"], &made["machine"]), (&"macos".into(), &"aarch64".into()));
    ingot(&["cast", "--check", &path]).fails(1, &["checksums are right", "macos aarch64"]);
}
