//! `ingot serve`, as a user starts and stops it. What it answers has tests of its own.

mod common;

use common::{Folder, command, ingot};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Stdio};

/// A running server, its address, and what else it says.
struct Served {
    child: Child,
    address: String,
    log: BufReader<std::process::ChildStderr>,
}

fn serve(args: &[&str]) -> Served {
    let args = [&["serve", "--port", "0"], args].concat();
    let mut child = command(&args).stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("listening on http://") {
        line.clear();
        assert!(log.read_line(&mut line).unwrap() > 0, "it ended");
    }
    let address = line.trim().rsplit_once("//").unwrap().1.to_owned();
    Served { child, address, log }
}

impl Served {
    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Ends it as ctrl-C does; the rest of what it says.
    #[cfg(unix)]
    fn interrupt(mut self) -> String {
        let pid = nix::unistd::Pid::from_raw(self.child.id() as i32);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
        let mut rest = String::new();
        self.log.read_to_string(&mut rest).unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(0), "{rest}");
        rest
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
#[cfg(unix)]
fn it_starts_without_configuration_and_ends_in_good_order() {
    let served = serve(&[]);
    while !served.get("/health").contains("\"ok\"") {}
    assert!(served.get("/").contains("<!doctype html>"));
    assert!(served.get("/v1/models").contains("\"tale-llama\""));
    let said = served.interrupt();
    assert!(said.contains("/v1/models") && said.contains("request"), "{said}");
}

/// What a program that starts a server wants to know of it, with and without an adapter.
#[test]
fn it_says_as_json_when_it_is_ready() {
    let answer = |extra: &[&str]| {
        let args = [&["serve", "models/llama-s-f16.gguf", "--port", "0", "--json"], extra].concat();
        let mut child = command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut served = Served { child, address: String::new(), log };
        out.read_line(&mut line).unwrap();
        let ready: serde_json::Value = serde_json::from_str(&line).expect("an object in a line");
        assert_eq!((&ready["model"], &ready["device"]), (&"llama-s-f16".into(), &"cpu".into()));
        served.address = ready["address"].as_str().unwrap().replace("http://", "");
        // Ready: the model is there.
        assert!(served.get("/health").contains("\"ok\""));
        assert!(served.get("/v1/models").contains("\"llama-s-f16\""));
        let body = r#"{"prompt": [315, 10, 20], "max_tokens": 8, "temperature": 0, "logprobs": 1}"#;
        let mut stream = TcpStream::connect(&served.address).unwrap();
        let head = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
        write!(
            stream,
            "{head}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let body = answer.split_once("\r\n\r\n").unwrap().1;
        let json: serde_json::Value = serde_json::from_str(body).unwrap();
        json["choices"][0]["logprobs"]["token_logprobs"].clone()
    };
    let plain = answer(&[]);
    assert!(plain.as_array().is_some_and(|all| !all.is_empty()), "{plain}");
    assert_ne!(plain, answer(&["--lora", "adapters/peft"]));
}

#[test]
fn what_cannot_be_served_is_said_at_once() {
    ingot(&["serve", "nowhere.gguf"]).fails(1, &["nowhere.gguf"]);
    ingot(&["serve", "--temp", "-1"]).fails(2, &["--temp"]);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    ingot(&["serve", "--port", &port]).fails(1, &[&port, "--port"]);
    let folder = Folder::new("serve-keys");
    let keys = folder.file("keys");
    ingot(&["serve", "--port", "0", "--api-key-file", &keys]).fails(1, &["keys"]);
    std::fs::write(&keys, "\n\n").unwrap();
    ingot(&["serve", "--port", "0", "--api-key-file", &keys]).fails(1, &["no key"]);
}
