//! Pulls from an imitation of the hub, well-behaved and not.

mod imitation;

use imitation::{Imitation, REPO, Reply, bytes, checksum, described, list};
use ingot_hub::{Error, Event, Hub, Pulled, Reference, Settings, Token};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

const MODEL: &str = "M-Q4_K_M.gguf";

/// A hub with one model, and a cache of its own.
struct Setup {
    imitation: Imitation,
    model: Vec<u8>,
    settings: Settings,
    _dir: TempDir,
}

impl Setup {
    fn new() -> Self {
        Self::with(bytes(3_000_000, 1))
    }

    fn with(model: Vec<u8>) -> Self {
        let imitation = Imitation::start(&[(MODEL, &model), ("README.md", b"read me")]);
        let dir = tempfile::tempdir().unwrap();
        let settings = Settings {
            endpoint: imitation.address.clone(),
            token: None,
            cache: dir.path().join("hub"),
            offline: false,
            timeout: Duration::from_secs(20),
            pause: Duration::from_millis(1),
        };
        Self { imitation, model, settings, _dir: dir }
    }

    fn hub(&self) -> Hub {
        Hub::new(self.settings.clone())
    }

    fn pull(&self) -> Result<Pulled, Error> {
        self.hub().pull(&reference(""), &mut |_| {})
    }

    fn folder(&self) -> PathBuf {
        self.settings.cache.join("models--org--repo")
    }

    fn part(&self) -> PathBuf {
        self.folder().join("blobs").join(checksum(MODEL, &self.model) + ".incomplete")
    }

    /// Whether the model and nothing else is in the cache.
    #[track_caller]
    fn check(&self, pulled: &Pulled) {
        assert_eq!(fs::read(&pulled.path).unwrap(), self.model);
        assert_eq!(self.hub().find(&reference("")).as_deref(), Some(&*pulled.path));
        assert_eq!(names(&self.folder().join("blobs")), [checksum(MODEL, &self.model)]);
    }
}

fn reference(rest: &str) -> Reference {
    format!("{REPO}{rest}").parse().unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|e| e.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn the_cache_is_as_other_clients_have_it() {
    let setup = Setup::new();
    let mut seen = Vec::new();
    let pulled = setup.hub().pull(&reference(""), &mut |event| seen.push(format!("{event:?}"))).unwrap();
    setup.check(&pulled);
    let commit = "1".repeat(40);
    assert_eq!(pulled.path, setup.folder().join("snapshots").join(&commit).join(MODEL));
    let link = fs::read_link(&pulled.path).unwrap();
    assert_eq!(link, Path::new("../../blobs").join(checksum(MODEL, &setup.model)));
    assert_eq!(fs::read_to_string(setup.folder().join("refs/main")).unwrap(), commit);
    assert!(seen[0].contains("Chosen { files: 1, total: 3000000, missing: 3000000 }"), "{seen:?}");
    assert!(seen.last().unwrap().contains("Progress { done: 3000000, total: 3000000 }"), "{seen:?}");

    // Once more: only the list of files is asked for.
    setup.imitation.requests();
    let again = setup.pull().unwrap();
    assert_eq!((again.downloaded, again.path), (0, pulled.path));
    assert_eq!(setup.imitation.requests().len(), 1);
}

#[test]
fn the_token_is_for_the_hub_alone() {
    let mut setup = Setup::new();
    setup.settings.token = Token::new("hf_secret");
    setup.check(&setup.pull().unwrap());
    let requests = setup.imitation.requests();
    let [list, file, storage] = &requests[..] else { panic!("{requests:?}") };
    for request in [list, file] {
        assert_eq!(request.headers["authorization"], "Bearer hf_secret");
    }
    assert!(storage.at_storage && !storage.headers.contains_key("authorization"));
    let everything = format!("{:?}", storage);
    assert!(!everything.contains("hf_secret"), "{everything}");
}

#[test]
fn a_broken_download_goes_on() {
    let setup = Setup::new();
    let (half, size) = (1_234_567, setup.model.len());
    let model = setup.model.clone();
    // The server sends half and hangs up, twice.
    setup.imitation.misbehave(move |request, before| {
        let from = request.from();
        (request.at_storage && before < 2).then(|| {
            let reply = Reply { status: if from == 0 { 200 } else { 206 }, ..Reply::default() };
            let end = (from + half).min(size);
            Reply { body: model[from..end].to_vec(), length: Some(Some(size - from)), ..reply }
                .header("Content-Range", format!("bytes {from}-{}/{size}", size - 1))
        })
    });
    let mut retries = 0;
    let mut events = |event: Event| retries += usize::from(matches!(event, Event::Retry { .. }));
    let pulled = setup.hub().pull(&reference(""), &mut events).unwrap();
    setup.check(&pulled);
    let requests = setup.imitation.requests();
    let starts: Vec<_> = requests.iter().filter(|r| r.at_storage).map(|r| r.from()).collect();
    assert_eq!((starts, retries), (vec![0, half, 2 * half], 2));
}

#[test]
fn what_an_earlier_run_left_is_continued() {
    let setup = Setup::new();
    fs::create_dir_all(setup.part().parent().unwrap()).unwrap();
    fs::write(setup.part(), &setup.model[..2_000_000]).unwrap();
    let pulled = setup.pull().unwrap();
    assert_eq!(pulled.downloaded, 1_000_000);
    setup.check(&pulled);
    assert_eq!(setup.imitation.count(|r| r.at_storage && r.from() == 2_000_000), 1);
}

#[test]
fn a_spoiled_part_is_brought_again() {
    let setup = Setup::new();
    fs::create_dir_all(setup.part().parent().unwrap()).unwrap();
    for part in [bytes(2_000_000, 9), bytes(3_000_000, 9), bytes(4_000_000, 9)] {
        fs::write(setup.part(), part).unwrap();
        setup.check(&setup.pull().unwrap());
        fs::remove_dir_all(setup.folder().join("snapshots")).unwrap();
        let blob = setup.part().with_extension("");
        fs::remove_file(blob).unwrap();
    }
}

#[test]
fn a_server_without_ranges_begins_again() {
    let setup = Setup::new();
    fs::create_dir_all(setup.part().parent().unwrap()).unwrap();
    fs::write(setup.part(), &setup.model[..2_000_000]).unwrap();
    let model = setup.model.clone();
    setup.imitation.misbehave(move |request, _| request.at_storage.then(|| Reply::ok(model.clone())));
    setup.check(&setup.pull().unwrap());
}

#[test]
fn a_server_with_other_ranges_is_not_believed() {
    let setup = Setup::new();
    let model = setup.model.clone();
    for range in ["bytes 5-2999999/3000000", "bytes 2000000-2999999/9000000", "nonsense"] {
        fs::create_dir_all(setup.part().parent().unwrap()).unwrap();
        fs::write(setup.part(), &model[..2_000_000]).unwrap();
        let rest = model[2_000_000..].to_vec();
        setup.imitation.misbehave(move |request, _| {
            let reply = || Reply { status: 206, ..Reply::ok(rest.clone()) }.header("Content-Range", range);
            (request.at_storage && request.from() > 0).then(reply)
        });
        setup.check(&setup.pull().unwrap());
        fs::remove_dir_all(setup.folder()).unwrap();
    }
}

#[test]
fn wrong_bytes_get_no_name() {
    let setup = Setup::new();
    let wrong = bytes(3_000_000, 2);
    setup.imitation.misbehave(move |request, _| request.at_storage.then(|| Reply::ok(wrong.clone())));
    assert!(matches!(setup.pull(), Err(Error::BadChecksum { .. })));
    assert!(setup.hub().find(&reference("")).is_none());
    assert!(!setup.part().with_extension("").exists() && fs::metadata(setup.part()).unwrap().len() == 0);
    assert!(!setup.folder().join("refs").exists());
    setup.imitation.behave();
    setup.check(&setup.pull().unwrap());
}

#[test]
fn sizes_are_not_believed_either() {
    let setup = Setup::new();
    let model = setup.model.clone();
    let send = |reply: Reply| {
        setup.imitation.misbehave(move |request, _| request.at_storage.then(|| reply.clone()));
        let result = setup.pull();
        assert!(setup.hub().find(&reference("")).is_none());
        result.unwrap_err()
    };
    let longer = [&model[..], b"x"].concat();
    let error = send(Reply::ok(longer.clone()));
    assert!(matches!(error, Error::BadSize { .. }) && error.to_string().contains("3000001"), "{error}");
    assert!(matches!(send(Reply::ok(&model[1..])), Error::BadSize { .. }));
    // The same without a length: the end comes too late, too early, never.
    let open = |body: &[u8]| Reply { length: Some(None), ..Reply::ok(body) };
    assert!(matches!(send(open(&longer)), Error::BadSize { .. }));
    assert!(matches!(send(Reply { endless: true, ..open(&model) }), Error::BadSize { .. }));
    let error = send(open(&model[..10]));
    assert!(matches!(&error, Error::Broken { cause, .. } if cause.contains("10 of 3000000")), "{error}");
}

#[test]
fn another_commit_is_another_file() {
    let mut setup = Setup::new();
    // The first version breaks off for good, and then there is a second one.
    let (old_part, model) = (setup.part(), setup.model.clone());
    setup.imitation.misbehave(move |request, _| {
        let reply = Reply { length: Some(Some(model.len())), ..Reply::ok(&model[..1000]) };
        request.at_storage.then_some(reply)
    });
    assert!(matches!(setup.pull(), Err(Error::Broken { .. })));
    assert_eq!(fs::metadata(&old_part).unwrap().len(), 1000);
    setup.imitation.behave();
    setup.model = bytes(2_000_000, 5);
    setup.imitation.change(MODEL, &setup.model);
    let pulled = setup.pull().unwrap();
    assert_eq!(pulled.commit, "2".repeat(40));
    assert_eq!(fs::read(&pulled.path).unwrap(), setup.model);
    assert!(
        setup.imitation.requests().iter().filter(|r| r.path.contains(&pulled.commit)).all(|r| r.from() == 0)
    );
    // The part of the first one is what `unfinished` is about.
    assert_eq!(setup.hub().cache().unfinished()[0].1, 1000);

    // A file that changes under the same commit fails its checksum and is begun again.
    let mut setup = Setup::new();
    let (old, new) = (bytes(3_000_000, 7), setup.model.clone());
    setup.imitation.misbehave(move |request, before| {
        let reply = Reply { length: Some(Some(old.len())), ..Reply::ok(&old[..1_500_000]) };
        (request.at_storage && before == 0).then_some(reply)
    });
    setup.model = new;
    setup.check(&setup.pull().unwrap());
}

#[test]
fn statuses_are_explained() {
    let setup = Setup::new();
    let fails = |status: u16, code: &str, token: bool| {
        let mut settings = setup.settings.clone();
        settings.token = token.then(|| Token::new("hf_secret").unwrap());
        let reply = Reply::status(status).header("X-Error-Code", code);
        setup.imitation.misbehave(move |_, _| Some(reply.clone()));
        let error = Hub::new(settings).pull(&reference("@v1"), &mut |_| {}).unwrap_err();
        format!("{error}; {}", error.hint().unwrap_or_default())
    };
    let has = |text: String, words: &[&str]| {
        for word in words {
            assert!(text.contains(word), "{word:?} is not in: {text}");
        }
        assert!(!text.contains("secret"), "{text}");
    };
    has(fails(401, "RepoNotFound", false), &["no repository org/repo, or it is private", "HF_TOKEN"]);
    has(fails(401, "", true), &["org/repo", "the token that is set is valid"]);
    has(fails(401, "GatedRepo", false), &["gated", "accept the terms at http", "/org/repo", "HF_TOKEN"]);
    has(fails(403, "GatedRepo", true), &["gated", "as the owner of the token"]);
    has(fails(404, "RevisionNotFound", false), &["no revision v1 in org/repo"]);
    has(fails(404, "RepoNotFound", false), &["no repository org/repo, or it is private"]);
    has(fails(400, "", false), &["127.0.0.1 answered with status 400"]);
    setup.imitation.requests();
    has(fails(503, "", false), &["127.0.0.1 is busy (status 503)", "the same command"]);
    assert_eq!(setup.imitation.requests().len(), 6);
}

#[test]
fn a_busy_server_is_asked_again_when_it_says() {
    let setup = Setup::new();
    setup.imitation.misbehave(|request, before| match (request.at_storage, before) {
        (false, 0) => Some(Reply::status(429).header("Retry-After", 1)),
        (true, 0) => Some(Reply::status(500)),
        _ => None,
    });
    let mut pauses = Vec::new();
    let mut events = |event: Event| {
        if let Event::Retry { after, .. } = event {
            pauses.push(after);
        }
    };
    let pulled = setup.hub().pull(&reference(""), &mut events).unwrap();
    setup.check(&pulled);
    let [a, b, c] = pauses[..] else { panic!("{pauses:?}") };
    assert!(a == Duration::from_secs(1) && b == a && c < a, "{pauses:?}");
    // Nobody waits for days.
    setup.imitation.misbehave(|_, _| Some(Reply::status(429).header("Retry-After", 999_999)));
    assert!(matches!(setup.pull(), Err(Error::Busy { status: 429, .. })));
}

#[test]
fn names_lead_nowhere_else() {
    let setup = Setup::new();
    let evil = [
        "../../../../evil-Q4_K_M.gguf",
        "/evil-Q4_K_M.gguf",
        "a/../../evil-Q4_K_M.gguf",
        "a//evil-Q4_K_M.gguf",
        "a\\\\..\\\\evil-Q4_K_M.gguf",
        "C:evil-Q4_K_M.gguf",
        "evil\\u0000-Q4_K_M.gguf",
        "evil\\n-Q4_K_M.gguf",
        "./evil-Q4_K_M.gguf",
    ];
    for name in evil {
        let file = described("x.gguf", &setup.model).replace("x.gguf", name);
        let answer = list(&"1".repeat(40), &[file]);
        setup.imitation.misbehave(move |_, _| Some(Reply::ok(answer.clone())));
        let error = setup.pull().unwrap_err();
        assert!(matches!(error, Error::BadAnswer { .. }), "{name}: {error}");
    }
    assert!(!setup.settings.cache.exists(), "nothing was written at all");
    let strange = [
        list("../../../../../tmp", &[described(MODEL, &setup.model)]),
        list(
            &"1".repeat(40),
            &[described(MODEL, &setup.model).replace(&checksum(MODEL, &setup.model), "../x")],
        ),
        "<html>".into(),
        String::new(),
    ];
    for answer in strange {
        setup.imitation.misbehave(move |_, _| Some(Reply::ok(answer.clone())));
        assert!(matches!(setup.pull(), Err(Error::BadAnswer { .. })));
    }
    assert!(!setup.settings.cache.exists());
}

#[cfg(unix)]
#[test]
fn links_lead_nowhere_else() {
    let setup = Setup::new();
    let elsewhere = tempfile::tempdir().unwrap();
    let victim = elsewhere.path().join("victim");
    fs::write(&victim, "precious").unwrap();
    // A link where the part should be.
    fs::create_dir_all(setup.part().parent().unwrap()).unwrap();
    std::os::unix::fs::symlink(&victim, setup.part()).unwrap();
    setup.check(&setup.pull().unwrap());
    // A link where a snapshot should be.
    let snapshots = setup.folder().join("snapshots");
    fs::remove_dir_all(&snapshots).unwrap();
    fs::create_dir(&snapshots).unwrap();
    std::os::unix::fs::symlink(elsewhere.path(), snapshots.join("1".repeat(40))).unwrap();
    assert!(matches!(setup.pull(), Err(Error::Io { .. })));
    assert_eq!(names(elsewhere.path()), ["victim"]);
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
}

#[test]
fn lists_that_do_not_end_are_not_read() {
    let setup = Setup::new();
    setup.imitation.misbehave(|_, _| Some(Reply { endless: true, ..Reply::ok(vec![b' '; 1 << 20]) }));
    let error = setup.pull().unwrap_err();
    assert!(matches!(&error, Error::BadAnswer { what, .. } if what.contains("does not end")), "{error}");
    let circle = |request: &imitation::Request, _| Some(Reply::status(302).header("Location", &request.path));
    setup.imitation.misbehave(circle);
    let error = setup.pull().unwrap_err();
    assert!(error.to_string().contains("redirects that never end"), "{error}");
    for location in ["ftp://x/y", "//x/y", "", "file:///etc/passwd"] {
        setup.imitation.misbehave(move |_, _| Some(Reply::status(302).header("Location", location)));
        let error = setup.pull().unwrap_err();
        assert!(error.to_string().contains("a redirect to"), "{error}");
    }
}

#[test]
fn silence_and_trickles_end() {
    let mut setup = Setup::new();
    setup.settings.timeout = Duration::from_secs(1);
    let silent = Reply { delay: Duration::from_secs(3), ..Reply::status(200) };
    setup
        .imitation
        .misbehave(move |request, before| (!request.at_storage && before == 0).then(|| silent.clone()));
    setup.check(&setup.pull().unwrap());

    // Bytes one by one: after a while another connection is made, which is faster.
    let mut setup = Setup::new();
    setup.settings.timeout = Duration::from_secs(1);
    let (body, size) = (setup.model[..1000].to_vec(), setup.model.len());
    setup.imitation.misbehave(move |request, before| {
        let trickle = Some(Duration::from_millis(20));
        (request.at_storage && before == 0).then(|| Reply {
            trickle,
            length: Some(Some(size)),
            ..Reply::ok(body.clone())
        })
    });
    let mut causes = Vec::new();
    let mut events = |event: Event| {
        if let Event::Retry { cause, .. } = event {
            causes.push(cause.to_string());
        }
    };
    let pulled = setup.hub().pull(&reference(""), &mut events).unwrap();
    setup.check(&pulled);
    assert!(causes.len() == 1 && causes[0].contains("less than 1024 bytes a second"), "{causes:?}");
}

#[test]
fn what_does_not_fit_is_not_begun() {
    let setup = Setup::new();
    let file = described(MODEL, b"").replace("\"size\": 0", "\"size\": 4000000000000000000");
    let answer = list(&"1".repeat(40), &[file]);
    setup.imitation.misbehave(move |_, _| Some(Reply::ok(answer.clone())));
    let error = setup.pull().unwrap_err();
    assert!(matches!(error, Error::NoSpace { free: Some(_), .. }), "{error}");
    assert_eq!(setup.imitation.requests().len(), 1);
}

#[test]
fn nobody_there() {
    let mut setup = Setup::new();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    setup.settings.endpoint = format!("http://{closed}");
    let error = setup.pull().unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    setup.settings.offline = true;
    assert!(matches!(setup.pull(), Err(Error::Offline { .. })));
}

#[test]
fn what_is_there_needs_no_hub() {
    let mut setup = Setup::new();
    let pulled = setup.pull().unwrap();
    setup.settings.offline = true;
    setup.imitation.requests();
    let found = setup.pull().unwrap();
    assert_eq!((&found.path, &found.commit), (&pulled.path, &pulled.commit));
    assert_eq!((found.files, found.bytes), (pulled.files, pulled.bytes));
    assert_eq!((found.downloaded, found.offline, pulled.offline), (0, true, false));
    assert!(setup.imitation.requests().is_empty());
    // A part of it is not it.
    std::fs::remove_file(&found.path).unwrap();
    assert!(matches!(setup.pull(), Err(Error::Offline { .. })));
}

#[test]
fn an_encrypted_hub_must_be_one() {
    let mut setup = Setup::new();
    setup.settings.endpoint = setup.settings.endpoint.replace("http:", "https:");
    // The imitation speaks no TLS, so nothing may come of it, least of all a model.
    setup.settings.timeout = Duration::from_secs(2);
    assert!(setup.pull().is_err());
    assert!(!setup.settings.cache.exists());
}

#[test]
fn several_files_and_folders() {
    let setup = Setup::new();
    let parts = ["a b/S-Q8_0-00001-of-00002.gguf", "a b/S-Q8_0-00002-of-00002.gguf"];
    for part in parts {
        setup.imitation.change(part, part.as_bytes());
    }
    let pulled = setup.hub().pull(&reference(":q8_0"), &mut |_| {}).unwrap();
    assert_eq!(pulled.files, 2);
    assert_eq!(fs::read(&pulled.path).unwrap(), parts[0].as_bytes());
    assert_eq!(
        fs::read(pulled.path.with_file_name("S-Q8_0-00002-of-00002.gguf")).unwrap(),
        parts[1].as_bytes()
    );
    assert_eq!(setup.hub().find(&reference("/a b/S-Q8_0-00002-of-00002.gguf")), Some(pulled.path.clone()));
    // What is not complete is not found.
    fs::remove_file(pulled.path.with_file_name("S-Q8_0-00002-of-00002.gguf")).unwrap();
    assert_eq!(setup.hub().find(&reference(":Q8_0")), None);

    for (name, text) in [("config.json", "{}"), ("tokenizer.json", "{ }"), ("model.safetensors", "weights")] {
        setup.imitation.change(name, text.as_bytes());
    }
    let pulled = setup.hub().pull(&reference(":safetensors"), &mut |_| {}).unwrap();
    assert_eq!(names(&pulled.path), ["config.json", "model.safetensors", "tokenizer.json"]);
    assert_eq!(fs::read_to_string(pulled.path.join("config.json")).unwrap(), "{}");
}

#[test]
fn a_branch_that_goes_on_keeps_earlier_models() {
    let setup = Setup::new();
    let first = setup.pull().unwrap();
    setup.imitation.change("M-Q8_0.gguf", b"other");
    let second = setup.hub().pull(&reference(":Q8_0"), &mut |_| {}).unwrap();
    assert_ne!(first.commit, second.commit);
    assert_eq!(setup.hub().find(&reference(":Q4_K_M")), Some(first.path.clone()));
    assert_eq!(setup.hub().find(&reference(":Q8_0")), Some(second.path));
    // Of the branch as it is now, the unchanged file is linked and not brought again.
    let third = setup.hub().pull(&reference(":Q4_K_M"), &mut |_| {}).unwrap();
    assert_eq!((third.downloaded, &third.commit), (0, &second.commit));
    // A commit can be asked for as well.
    let commit = format!("@{}", first.commit);
    assert_eq!(setup.hub().find(&reference(&commit)), Some(first.path));
    assert_eq!(setup.hub().find(&reference("@v1")), None);
}

#[test]
fn models_are_listed_and_removed() {
    let setup = Setup::new();
    let cache = || setup.hub().cache().models().iter().map(|m| m.name.to_string()).collect::<Vec<_>>();
    assert!(cache().is_empty());
    setup.pull().unwrap();
    setup.imitation.change("M-Q8_0.gguf", b"other");
    setup.hub().pull(&reference(":Q8_0"), &mut |_| {}).unwrap();
    assert_eq!(cache(), ["org/repo:Q8_0", "org/repo:Q4_K_M"]);
    let models = setup.hub().cache().models();
    assert_eq!((models[0].size, models[1].size), (5, 3_000_000));
    assert_eq!(models[1].label.as_deref(), Some("Q4_K_M"));
    // A link of the same file in both commits: it stays until both are gone.
    setup.pull().unwrap();

    let hub = setup.hub();
    let removal = hub.cache().removal(&reference(":Q4_K_M")).unwrap();
    assert_eq!(removal.bytes, 3_000_000);
    hub.cache().remove(&removal).unwrap();
    assert_eq!(cache(), ["org/repo:Q8_0"]);
    assert_eq!(names(&setup.folder().join("blobs")), [checksum("M-Q8_0.gguf", b"other")]);
    assert!(matches!(hub.cache().removal(&reference(":Q4_K_M")), Err(Error::NotCached { .. })));
    // What is on its way of another one stays.
    fs::write(setup.part(), "part").unwrap();
    hub.cache().remove(&hub.cache().removal(&reference("/M-Q8_0.gguf")).unwrap()).unwrap();
    assert!(cache().is_empty() && setup.part().exists() && names(&setup.folder().join("refs")).is_empty());
    fs::remove_file(setup.part()).unwrap();
    // The last one takes the folder with it.
    setup.pull().unwrap();
    hub.cache().remove(&hub.cache().removal(&reference(":Q4_K_M")).unwrap()).unwrap();
    assert!(!setup.folder().exists());
}

#[cfg(unix)]
#[test]
fn removing_touches_nothing_else() {
    use std::os::unix::fs::symlink;
    let setup = Setup::new();
    let elsewhere = tempfile::tempdir().unwrap();
    let victim = elsewhere.path().join("M-Q8_0.gguf");
    fs::write(&victim, "precious").unwrap();
    let pulled = setup.pull().unwrap();
    // Links out of the snapshot: to a file, and to a folder.
    symlink(&victim, pulled.path.with_file_name("M-Q8_0.gguf")).unwrap();
    symlink(elsewhere.path(), pulled.path.with_file_name("folder")).unwrap();
    let hub = setup.hub();
    hub.cache().remove(&hub.cache().removal(&reference(":Q8_0")).unwrap()).unwrap();
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    setup.check(&pulled);
    hub.cache().remove(&hub.cache().removal(&reference("")).unwrap()).unwrap();
    assert_eq!(names(elsewhere.path()), ["M-Q8_0.gguf"]);
    assert!(!setup.folder().exists());
    // A link in the place of the folder of blobs, and of the repository's.
    fs::create_dir(setup.folder()).unwrap();
    symlink(elsewhere.path(), setup.folder().join("blobs")).unwrap();
    assert!(matches!(hub.cache().removal(&reference("")), Err(Error::Io { .. })));
    fs::remove_file(setup.folder().join("blobs")).unwrap();
    fs::remove_dir(setup.folder()).unwrap();
    symlink(elsewhere.path(), setup.folder()).unwrap();
    assert!(matches!(hub.cache().removal(&reference("")), Err(Error::Io { .. })));
    assert_eq!(names(elsewhere.path()), ["M-Q8_0.gguf"]);
}

#[test]
fn what_is_being_pulled_is_not_removed() {
    let setup = Setup::new();
    setup.pull().unwrap();
    let lock = setup
        .settings
        .cache
        .join(".locks/models--org--repo")
        .join(names(&setup.folder().join("blobs"))[0].clone() + ".lock");
    let file = fs::File::open(&lock).unwrap();
    file.lock().unwrap();
    assert!(matches!(setup.hub().cache().removal(&reference("")), Err(Error::InUse { .. })));
    drop(file);
    assert!(setup.hub().cache().removal(&reference("")).is_ok());
}
