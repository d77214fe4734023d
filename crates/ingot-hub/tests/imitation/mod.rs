//! A small imitation of the hub on this computer: the list of files, downloads with
//! ranges, large files on another server, and whatever misbehaviour a test wants.

#![allow(dead_code)] // each file of tests uses a part of it

use ingot_hub::Hasher;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// The repository that it has.
pub const REPO: &str = "org/repo";

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    /// Path and query.
    pub path: String,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    /// Whether it came to the server for large files.
    pub at_storage: bool,
}

impl Request {
    /// First byte that was asked for.
    pub fn from(&self) -> usize {
        let range = self.headers.get("range").and_then(|range| range.strip_prefix("bytes="));
        range.map_or(0, |range| range.trim_end_matches('-').parse().expect("a range"))
    }

    fn is_list(&self) -> bool {
        self.path.starts_with("/api/")
    }
}

/// What to answer.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// Further headers.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// A `Content-Length` that is not the body's; `Some(None)` for none at all.
    pub length: Option<Option<usize>>,
    /// Send the body over and over.
    pub endless: bool,
    /// Send a byte at a time, with such pauses.
    pub trickle: Option<Duration>,
    /// After the body neither send more nor hang up.
    pub stall: bool,
    /// Wait before answering.
    pub delay: Duration,
}

impl Reply {
    /// A body.
    pub fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self { status: 200, body: body.into(), ..Self::default() }
    }

    /// A status without a body.
    pub fn status(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    /// Adds a header.
    pub fn header(mut self, name: &str, value: impl ToString) -> Self {
        self.headers.push((name.into(), value.to_string()));
        self
    }
}

/// May answer in the imitation's stead. The number counts requests for the same path.
type Misbehave = dyn Fn(&Request, usize) -> Option<Reply> + Send + Sync;

/// What both servers know.
struct Shared {
    files: Mutex<BTreeMap<String, Vec<u8>>>,
    commit: Mutex<String>,
    log: Mutex<Vec<Request>>,
    misbehave: Mutex<Arc<Misbehave>>,
    storage: String,
}

/// The running imitation. Its threads end with the process.
pub struct Imitation {
    /// Its address.
    pub address: String,
    shared: Arc<Shared>,
}

impl Imitation {
    /// Starts one with these files; those called `*.gguf` and `*.safetensors` are large.
    pub fn start(files: &[(&str, &[u8])]) -> Self {
        let listen = || TcpListener::bind("127.0.0.1:0").expect("a free port");
        let (hub, storage) = (listen(), listen());
        let address = |listener: &TcpListener| format!("http://{}", listener.local_addr().expect("bound"));
        let shared = Arc::new(Shared {
            files: Mutex::new(files.iter().map(|(n, bytes)| (n.to_string(), bytes.to_vec())).collect()),
            commit: Mutex::new("1".repeat(40)),
            log: Mutex::default(),
            misbehave: Mutex::new(Arc::new(|_, _| None)),
            storage: address(&storage),
        });
        let imitation = Self { address: address(&hub), shared: shared.clone() };
        for (listener, at_storage) in [(hub, false), (storage, true)] {
            let shared = shared.clone();
            thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let shared = shared.clone();
                    // Clients that leave are what some tests are about.
                    thread::spawn(move || drop(shared.talk(stream, at_storage)));
                }
            });
        }
        imitation
    }

    /// From now on this may answer first.
    pub fn misbehave(&self, how: impl Fn(&Request, usize) -> Option<Reply> + Send + Sync + 'static) {
        *self.shared.misbehave.lock().unwrap() = Arc::new(how);
    }

    /// From now on it behaves.
    pub fn behave(&self) {
        self.misbehave(|_, _| None);
    }

    /// A new commit with a changed or new file.
    pub fn change(&self, name: &str, bytes: &[u8]) {
        self.shared.files.lock().unwrap().insert(name.into(), bytes.to_vec());
        let mut commit = self.shared.commit.lock().unwrap();
        let next = commit.as_bytes()[0] + 1;
        *commit = (next as char).to_string().repeat(40);
    }

    /// All requests since the last call.
    pub fn requests(&self) -> Vec<Request> {
        std::mem::take(&mut *self.shared.log.lock().unwrap())
    }

    /// The number of requests of a kind since the last call of [`Self::requests`].
    pub fn count(&self, is: impl Fn(&Request) -> bool) -> usize {
        self.shared.log.lock().unwrap().iter().filter(|request| is(request)).count()
    }
}

impl Shared {
    /// Answers what comes on a connection, as a hub or as a proxy on the way to it.
    fn talk(&self, mut stream: TcpStream, at_storage: bool) -> std::io::Result<()> {
        let mut lines = BufReader::new(stream.try_clone()?);
        loop {
            let mut head = Vec::new();
            loop {
                let mut line = String::new();
                if lines.read_line(&mut line)? == 0 {
                    return Ok(());
                }
                match line.trim_end() {
                    "" => break,
                    line => head.push(line.to_string()),
                }
            }
            let mut words = head[0].split(' ');
            if words.next() == Some("CONNECT") {
                stream.write_all(b"HTTP/1.1 200 Connected\r\n\r\n")?;
                continue;
            }
            let header = |line: &String| {
                line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_string()))
            };
            let path = words.next().unwrap_or_default().to_string();
            let request = Request { path, headers: head.iter().filter_map(header).collect(), at_storage };
            let before = {
                let mut log = self.log.lock().unwrap();
                log.push(request.clone());
                log.iter().filter(|r| r.path == request.path && r.at_storage == at_storage).count() - 1
            };
            let misbehave = self.misbehave.lock().unwrap().clone(); // it may take its time
            let reply = misbehave(&request, before).unwrap_or_else(|| self.reply(&request));
            thread::sleep(reply.delay);
            send(&mut stream, &reply)?;
            if reply.length.is_some() || reply.endless {
                return Ok(()); // what was promised differs from what was sent
            }
        }
    }

    fn reply(&self, request: &Request) -> Reply {
        if request.is_list() {
            return self.list(request);
        }
        let name = match request.path.split_once("/resolve/").and_then(|(_, rest)| rest.split_once('/')) {
            Some((_, name)) => name.replace("%20", " "),
            None => request.path.trim_start_matches('/').replace("%20", " "),
        };
        let files = self.files.lock().unwrap();
        let Some(bytes) = files.get(&name) else {
            return Reply::status(404).header("X-Error-Code", "EntryNotFound");
        };
        if is_large(&name) && !request.at_storage {
            let to = format!("{}/{}", self.storage, name.replace(' ', "%20"));
            return Reply::status(302).header("Location", to).header("X-Linked-Etag", checksum(&name, bytes));
        }
        match request.from() {
            0 => Reply::ok(bytes.clone()),
            from if from < bytes.len() => Reply { status: 206, ..Reply::ok(&bytes[from..]) }
                .header("Content-Range", format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len())),
            _ => Reply::status(416).header("Content-Range", format!("bytes */{}", bytes.len())),
        }
    }

    fn list(&self, request: &Request) -> Reply {
        if !request.path.starts_with(&format!("/api/models/{REPO}/revision/")) {
            return Reply::status(401).header("X-Error-Code", "RepoNotFound");
        }
        let files = self.files.lock().unwrap();
        let described: Vec<_> = files.iter().map(|(name, bytes)| described(name, bytes)).collect();
        Reply::ok(list(&self.commit.lock().unwrap(), &described))
    }
}

/// The list of a repository's files, each as [`described`] has it.
pub fn list(commit: &str, files: &[String]) -> String {
    format!(r#"{{"id": "{REPO}", "sha": "{commit}", "siblings": [{}]}}"#, files.join(", "))
}

/// A file as it is in the list.
pub fn described(name: &str, bytes: &[u8]) -> String {
    let (size, sum) = (bytes.len(), checksum(name, bytes));
    let name = name.replace('\\', "\\\\");
    match is_large(&name) {
        true => format!(
            r#"{{"rfilename": "{name}", "size": {size}, "blobId": "{}",
                "lfs": {{"sha256": "{sum}", "size": {size}, "pointerSize": 134}}}}"#,
            "a".repeat(40)
        ),
        false => format!(r#"{{"rfilename": "{name}", "size": {size}, "blobId": "{sum}"}}"#),
    }
}

/// The name of a file's blob.
pub fn checksum(name: &str, bytes: &[u8]) -> String {
    let mut hasher = if is_large(name) { Hasher::sha256() } else { Hasher::git(bytes.len() as u64) };
    hasher.update(bytes);
    hasher.finish()
}

fn is_large(name: &str) -> bool {
    name.ends_with(".gguf") || name.ends_with(".safetensors")
}

fn send(stream: &mut TcpStream, reply: &Reply) -> std::io::Result<()> {
    let mut head = format!("HTTP/1.1 {} Status\r\n", reply.status);
    for (name, value) in &reply.headers {
        head += &format!("{name}: {value}\r\n");
    }
    match reply.length.unwrap_or(Some(reply.body.len())) {
        _ if reply.endless => head += "Connection: close\r\n",
        Some(length) => head += &format!("Content-Length: {length}\r\n"),
        None => head += "Connection: close\r\n",
    }
    stream.write_all((head + "\r\n").as_bytes())?;
    match reply.trickle {
        _ if reply.endless => loop {
            stream.write_all(&reply.body)?; // until the client leaves
        },
        Some(pause) => {
            for byte in &reply.body {
                stream.write_all(&[*byte])?;
                thread::sleep(pause);
            }
        }
        None => stream.write_all(&reply.body)?,
    }
    stream.flush()?;
    if reply.stall {
        thread::park(); // until the process ends
    }
    Ok(())
}

/// Bytes that look like nothing in particular, other ones for each `seed`.
pub fn bytes(n: usize, seed: u32) -> Vec<u8> {
    let mut x = seed.wrapping_mul(0x9e37_79b9) | 1;
    let mut next = || {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        x as u8
    };
    (0..n).map(|_| next()).collect()
}
