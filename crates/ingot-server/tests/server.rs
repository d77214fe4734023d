//! A server as a client on the network sees it, good clients and bad ones. (The official
//! clients of OpenAI and Anthropic have tests of their own, in `tests/clients`.)

use ingot_engine::{Model, Options};
use ingot_server::{Config, Limits, Server, Stop};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(120);

struct Served {
    runtime: Runtime,
    address: SocketAddr,
    stop: Stop,
    running: JoinHandle<()>,
}

fn model() -> Model {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/models/qwen2-s-q4_k_m.gguf");
    Model::open(path, &Options { threads: Some(2), ..Options::default() }).unwrap()
}

fn serve(config: Config) -> Served {
    let (served, opener) = serve_without_model(config);
    opener(model());
    served
}

fn serve_without_model(config: Config) -> (Served, impl FnOnce(Model)) {
    let runtime = Runtime::new().unwrap();
    let server = runtime.block_on(Server::bind("127.0.0.1:0".parse().unwrap(), config)).unwrap();
    let (address, opener, stop) = (server.address().unwrap(), server.opener(), Stop::new());
    let running = runtime.spawn(server.run(stop.clone()));
    (Served { runtime, address, stop, running }, opener)
}

impl Served {
    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Sends a request as it is; everything that comes back until the connection closes.
    fn raw(&self, request: &[u8]) -> String {
        let mut stream = self.connect();
        // The server may have answered and left before it was given everything.
        let _ = stream.write_all(request);
        rest(&mut stream)
    }

    fn request(&self, head: &str, body: &str) -> (u16, String) {
        let length = body.len();
        let request = format!("{head}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}");
        let answer = self.raw(request.as_bytes());
        (status(&answer), answer)
    }

    fn get(&self, path: &str) -> (u16, String) {
        self.request(&format!("GET {path} HTTP/1.1\r\nHost: localhost"), "")
    }

    fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let head = format!("POST {path} HTTP/1.1\r\nHost: localhost");
        let (status, answer) = self.request(&head, &body.to_string());
        (status, serde_json::from_str(body_of(&answer)).unwrap_or(Value::Null))
    }

    /// A connection on which a text is being written.
    fn begin(&self, body: &Value) -> TcpStream {
        let (mut connection, body) = (self.connect(), body.to_string());
        let head = format!("Host: localhost\r\nContent-Length: {}", body.len());
        write!(connection, "POST /v1/completions HTTP/1.1\r\n{head}\r\n\r\n{body}").unwrap();
        let start = Instant::now();
        while self.metric("ingot_running_sequences") == 0.0 {
            assert!(start.elapsed() < PATIENCE, "it does not begin");
        }
        connection
    }

    /// The value of a metric.
    fn metric(&self, name: &str) -> f64 {
        let (_, page) = self.get("/metrics");
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{name} is not in {page}")).parse().unwrap()
    }

    fn wait_until_idle(&self) {
        let start = Instant::now();
        while self.metric("ingot_running_sequences") > 0.0 {
            assert!(start.elapsed() < PATIENCE, "it goes on");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn wait_for_end(self) {
        let end = async { tokio::time::timeout(PATIENCE, self.running).await };
        self.runtime.block_on(end).unwrap().unwrap();
    }
}

fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0)
}

fn body_of(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

fn prompt(max_tokens: usize) -> Value {
    json!({ "prompt": [1, 2, 3], "max_tokens": max_tokens, "ignore_eos": true, "seed": 5 })
}

#[test]
fn texts() {
    let served = serve(Config::default());
    let (code, whole) = served.post("/v1/completions", &prompt(8));
    assert_eq!(code, 200, "{whole}");
    let text = whole["choices"][0]["text"].as_str().unwrap();
    assert_eq!(whole["choices"][0]["finish_reason"], "length");
    let usage = json!({
        "prompt_tokens": 3, "completion_tokens": 8, "total_tokens": 11,
        "prompt_tokens_details": { "cached_tokens": 0 },
    });
    assert_eq!(whole["usage"], usage);
    // Without a length 16 tokens, with -1 as many as fit.
    let length = |asked: Value| {
        let mut body = prompt(0);
        body["max_tokens"] = asked;
        served.post("/v1/completions", &body).1["usage"]["completion_tokens"].as_u64().unwrap()
    };
    assert_eq!(length(Value::Null), 16);
    assert!(length((-1).into()) > 16);
    // The same, piece by piece.
    let mut body = prompt(8);
    body["stream"] = true.into();
    let (_, answer) = served.request("POST /v1/completions HTTP/1.1\r\nHost: localhost", &body.to_string());
    let pieces: Vec<&str> = answer.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    let (done, pieces) = pieces.split_last().unwrap();
    assert_eq!(*done, "[DONE]");
    let pieces = pieces.iter().map(|piece| serde_json::from_str::<Value>(piece).unwrap());
    let streamed: String = pieces.map(|p| p["choices"][0]["text"].as_str().unwrap().to_owned()).collect();
    assert_eq!(streamed, text);
    // As a conversation, in all forms.
    let options = json!({ "max_tokens": 8, "max_output_tokens": 8, "ignore_eos": true, "temperature": 0 });
    let ask = |path: &str, field: &str, value: Value| {
        let mut body = options.clone();
        body[field] = value;
        served.post(path, &body).1
    };
    let messages = json!([{ "role": "user", "content": "ab" }]);
    let chat = ask("/v1/chat/completions", "messages", messages.clone());
    let said = chat["choices"][0]["message"]["content"].as_str().unwrap();
    let other = ask("/v1/messages", "messages", messages);
    assert_eq!((&other["content"][0]["text"], &other["stop_reason"]), (&json!(said), &json!("max_tokens")));
    let other = ask("/v1/responses", "input", "ab".into());
    assert_eq!(other["output"][0]["content"][0]["text"], said, "{other}");
    assert_eq!(other["status"], "incomplete");
}

#[test]
fn what_makes_no_sense_is_refused_with_the_field_that_is_wrong() {
    let served = serve(Config { names: vec!["fox".into(), "alias".into()], ..Config::default() });
    let with = |field: &str, value: Value| {
        let mut body = prompt(2);
        body[field] = value;
        let (code, answer) = served.post("/v1/completions", &body);
        (code, answer["error"]["param"].as_str().unwrap_or("-").to_owned())
    };
    let schema = json!({ "type": "json_schema", "json_schema": { "schema": { "type": "fox" } } });
    for (field, value) in [
        ("temperature", json!("hot")),
        ("temperature", json!(-1)),
        ("top_p", json!(1.5)),
        ("n", json!(0)),
        ("n", json!(1000)),
        ("stop", json!("")),
        ("stop", json!(vec!["x"; 100])),
        ("stop", json!({})),
        ("logprobs", json!(1000)),
        ("logit_bias", json!({ "fox": 1 })),
        ("max_tokens", json!(-7)),
        ("suffix", json!("end")),
        ("best_of", json!(3)),
        ("prompt", json!({})),
        ("regex", json!("(")),
        ("grammar", json!("root ::= (")),
        ("response_format", schema),
    ] {
        assert_eq!(with(field, value.clone()), (400, field.to_owned()), "{field}: {value}");
    }
    assert_eq!(with("unknown", json!("ignored")).0, 200);
    assert_eq!(with("model", json!("alias")).0, 200);
    assert_eq!(with("model", json!("hare")).0, 404);
    assert_eq!(with("prompt", json!([4_000_000_000u32])).0, 400);
    let (code, answer) = served.post("/v1/completions", &json!({ "prompt": vec![1; 100_000] }));
    assert_eq!((code, answer["error"]["code"].as_str()), (400, Some("context_length_exceeded")));
    let post = |body: &str| served.request("POST /v1/completions HTTP/1.1\r\nHost: localhost", body).0;
    assert_eq!(post("{\"prompt\": "), 400);
    assert_eq!(post(&"[".repeat(100_000)), 400);
    assert_eq!(served.get("/v1/completions").0, 405);
    assert_eq!(served.get("/nowhere").0, 404);
    assert_eq!(served.get("/page/../Cargo.toml").0, 404);
}

#[test]
fn strangers_are_kept_out() {
    let served = serve(Config { keys: vec!["secret".into()], ..Config::default() });
    let get =
        |path: &str, headers: &str| served.request(&format!("GET {path} HTTP/1.1\r\nHost: {headers}"), "").0;
    assert_eq!(get("/v1/models", "localhost"), 401);
    assert_eq!(get("/v1/models", "localhost\r\nAuthorization: Bearer wrong"), 401);
    assert_eq!(get("/v1/models", "localhost\r\nAuthorization: Bearer secret"), 200);
    assert_eq!(get("/metrics", "localhost"), 401);
    assert_eq!(get("/health", "localhost"), 200);
    assert_eq!(get("/", "localhost"), 200);
    // The name of a page's server that was given this computer's address.
    assert_eq!(get("/health", "rebound.example"), 403);
    assert_eq!(get("/health", "localhost\r\nOrigin: https://page.example"), 403);
    let (_, answer) = served.get("/health");
    assert!(!answer.to_ascii_lowercase().contains("access-control"), "{answer}");
}

#[test]
fn large_and_slow_requests_are_cut_off() {
    let limits = Limits { body: 1000, arrival: Duration::from_millis(300), ..Limits::default() };
    let served = serve(Config { limits, ..Config::default() });
    let head = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n";
    assert_eq!(served.post("/v1/completions", &json!({ "prompt": "x".repeat(2000) })).0, 413);
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n800\r\n{}\r\n", "x".repeat(0x800));
    assert_eq!(status(&served.raw(chunked.as_bytes())), 413);
    let slow = format!("{head}Connection: close\r\nContent-Length: 100\r\n\r\n{{");
    assert_eq!(status(&served.raw(slow.as_bytes())), 408);
    // Nothing but the beginning of a head, and too much of one.
    assert_eq!(served.raw(b"POST /v1/comp"), "");
    let wide = format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(100_000));
    assert_eq!(status(&served.raw(wide.as_bytes())), 431);
    assert_eq!(status(&served.raw(b"nonsense\r\n\r\n")), 400);
    assert_eq!(served.post("/v1/completions", &prompt(2)).0, 200);
}

#[test]
fn who_leaves_is_let_go() {
    let served = serve(Config::default());
    for stream in [true, false] {
        let mut body = prompt(1 << 20);
        body["stream"] = stream.into();
        drop(served.begin(&body));
        served.wait_until_idle();
    }
    assert_eq!(served.metric("ingot_cancelled_total"), 2.0);
    assert_eq!(served.post("/v1/completions", &prompt(2)).0, 200);
}

#[test]
fn a_reader_who_stops_is_given_up() {
    let patience = Duration::from_millis(200);
    let limits = Limits { write: patience, ..Limits::default() };
    let scheduler = ingot_engine::scheduler::Limits { stall: patience, ..Default::default() };
    let served = serve(Config { limits, scheduler, ..Config::default() });
    let mut body = prompt(1 << 20);
    (body["stream"], body["logprobs"]) = (true.into(), 20.into());
    let connection = served.begin(&body);
    served.wait_until_idle();
    drop(connection);
}

#[test]
fn the_end_waits_for_answers() {
    let served = serve(Config::default());
    let (address, stop) = (served.address, served.stop.clone());
    let mut body = prompt(400);
    body["stream"] = true.into();
    let mut connection = served.begin(&body);
    let mut idle = served.connect();
    stop.stop();
    assert!(rest(&mut connection).contains("data: [DONE]"), "the answer was cut short");
    assert_eq!(rest(&mut idle), "");
    served.wait_for_end();
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn before_there_is_a_model_the_server_says_so() {
    let (served, _opener) = serve_without_model(Config::default());
    let (code, answer) = served.get("/health");
    assert_eq!((code, body_of(&answer)), (503, r#"{"status":"loading"}"#));
    let (code, answer) = served.post("/v1/completions", &prompt(2));
    assert_eq!((code, answer["error"]["code"].as_str()), (503, Some("loading")));
    assert_eq!(served.get("/v1/models").0, 200);
}

#[test]
fn what_exceeds_memory_is_a_503() {
    let (served, opener) = serve_without_model(Config::default());
    let model = model();
    model.limit_memory(model.memory().sequence(100));
    opener(model);
    let (code, answer) = served.post("/v1/completions", &json!({ "prompt": vec![1; 300] }));
    assert_eq!((code, answer["error"]["code"].as_str()), (503, Some("out_of_memory")));
    assert_eq!(served.post("/v1/completions", &prompt(2)).0, 200);
}
