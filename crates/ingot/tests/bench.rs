//! How fast models are, where the time goes, and what is said about it.

mod common;

use common::{Folder, command, fixtures, ingot};
use serde_json::Value;
use std::fs;

const MODEL: &str = "models/llama-s-q8_0.gguf";
const RECURRENT: &str = "models/rwkv7-s-q8_0.gguf";

#[test]
fn bench_on_the_processor() {
    let run = |extra: &[&str]| {
        let args = ["bench", "--prompt", "24", "--tokens", "6", "--rounds", "3"];
        ingot(&[&args, extra].concat())
    };
    let text = run(&["--depth", "40"]).ok();
    let words = ["tale-llama", "cpu: ", "| read 24 after 40 ", "| write 6 after 40 ", "weights read", "/s |"];
    for word in words {
        assert!(text.contains(word), "{word:?} is not in {text}");
    }
    assert!(text.contains("| by the host |") && !text.contains("launches"), "{text}");

    let json = run(&["--json", "--depth", "40"]).json();
    assert_eq!((&json["device"], &json["cache"], &json["gpu"]), (&"cpu".into(), &"F16".into(), &Value::Null));
    for what in ["prefill", "decode"] {
        let rates = &json[what]["tokens_per_s"];
        let [min, median, max] = ["min", "median", "max"].map(|key| rates[key].as_f64().unwrap());
        assert!(0.0 < min && min <= median && median <= max, "{rates}");
        let seconds: Vec<f64> =
            json[what]["seconds"].as_array().unwrap().iter().map(|s| s.as_f64().unwrap()).collect();
        let longest = seconds.iter().copied().fold(0.0, f64::max);
        assert_eq!(seconds.len(), 3);
        assert!((json[what]["tokens"].as_f64().unwrap() / longest - min).abs() < 1e-6 * min);
    }
    assert_eq!((&json["decode"]["drawn_by"], &json["decode"]["window"]), (&"host".into(), &Value::Null));
    let token = &json["token"];
    let bytes = token["weight_bytes"].as_f64().unwrap() + token["state_bytes"].as_f64().unwrap();
    let rate = bytes * json["decode"]["tokens_per_s"]["median"].as_f64().unwrap();
    assert!((token["bytes_per_s"].as_f64().unwrap() - rate).abs() < 1e-6 * rate);
    let state =
        |depth: &str| run(&["--json", "--depth", depth]).json()["token"]["state_bytes"].as_u64().unwrap();
    assert!(state("80") > state("40"));
}

#[test]
fn bench_of_several_sequences() {
    for model in [MODEL, RECURRENT] {
        let args = ["bench", model, "--device", "cpu", "--rounds", "2", "--prompt", "0", "--tokens", "5"];
        let run = |extra: &[&str]| ingot(&[&args, extra].concat());
        // A depth whose last page is not full, and one that ends with a page.
        for depth in ["70", "64"] {
            let json = run(&["--json", "--batch", "3", "--depth", depth]).json();
            let batch = &json["batch"];
            assert_eq!((&batch["tokens"], &batch["sequences"]), (&5.into(), &3.into()));
            assert_eq!(json["decode"]["sequences"], 1);
            let seconds = batch["seconds"].as_array().unwrap().iter().map(|s| s.as_f64().unwrap());
            let least = seconds.fold(f64::INFINITY, f64::min);
            let most = batch["tokens_per_s"]["max"].as_f64().unwrap();
            assert!((15.0 / least - most).abs() < 1e-6 * most, "{batch}");
        }
        let cache = |batch: &str| run(&["--json", "--batch", batch]).json()["memory"]["cache_bytes"].clone();
        assert!(cache("4").as_u64() > cache("2").as_u64());
        assert_eq!(run(&["--json"]).json()["batch"], Value::Null);
        let text = run(&["--batch", "3", "--depth", "9"]).ok();
        for word in ["| write 5 of each of 3 after 9 ", "| 3 sequences at a time ", "| together "] {
            assert!(text.contains(word), "{word:?} is not in {text}");
        }
    }
    ingot(&["bench", "--batch", "0"]).fails(2, &["--batch"]);
    ingot(&["bench", "--batch", "60000", "--depth", "400000000"]).fails(1, &["out of memory"]);
}

#[test]
fn bench_of_one_thing_and_of_a_state() {
    let bench = |args: &[&str]| ingot(&[&["bench", "--rounds", "1"], args].concat());
    let json = bench(&[RECURRENT, "--json", "--prompt", "0", "--tokens", "3", "--depth", "9"]).json();
    assert_eq!(json["prefill"], Value::Null);
    let state = |depth: &str| {
        let args = [RECURRENT, "--json", "--prompt", "0", "--tokens", "3", "--depth", depth];
        bench(&args).json()["token"]["state_bytes"].clone()
    };
    assert_eq!(state("0"), state("9"), "the state of a recurrent model does not grow");
    let json = bench(&[MODEL, "--json", "--prompt", "300", "--tokens", "0"]).json();
    assert_eq!((&json["decode"], &json["prefill"]["steps"]), (&Value::Null, &2.into()));
    bench(&["--prompt", "0", "--tokens", "0"]).fails(2, &["nothing to measure"]);
    bench(&["--submit", "--device", "reference", "--tokens", "1"]).fails(2, &["--submit"]);
    bench(&["--depth", "4000000000"]).fails(1, &["out of memory"]);
    bench(&["--rounds", "0"]).fails(2, &["--rounds"]);
}

#[test]
fn bench_of_the_simulator() {
    let args = ["bench", MODEL, "--device", "sim", "--prompt", "3", "--tokens", "10", "--rounds", "1"];
    let json = ingot(&[&args[..], &["--json", "--submit"]].concat()).json();
    assert_eq!(json["device"], "sim");
    assert_eq!(
        (&json["memory"], &json["bandwidth"], &json["batch"]),
        (&Value::Null, &Value::Null, &Value::Null)
    );
    // Tokens are drawn on the device: a window of eight steps and one of two.
    let decode = &json["decode"];
    assert_eq!((&decode["drawn_by"], &decode["window"]), (&"device".into(), &8.into()), "{json}");
    let counts = |decode: &Value| {
        ["steps", "submissions", "waits"].map(|key| decode["counts"][key].as_u64().expect("a count"))
    };
    assert_eq!(counts(decode), [10, 2, 2]);
    let ways = json["submissions"].as_array().unwrap();
    let by: Vec<&str> = ways.iter().filter_map(|way| way["by"].as_str()).collect();
    assert_eq!(by, ["launch", "layer", "step", "window"]);
    let [launch, layer, step, window] = [0, 1, 2, 3].map(|i| &ways[i]["decode"]);
    assert_eq!((counts(step), counts(window)), ([10; 3], [10, 2, 2]));
    let [_, launches, waits] = counts(launch);
    assert_eq!([launches, waits], [launch["counts"]["launches"].as_u64().unwrap(); 2]);
    assert!(launches > counts(layer)[1] && counts(layer)[1] > 10, "{json}");
    for way in [launch, layer, step] {
        assert_eq!((&way["drawn_by"], &way["window"]), (&"host".into(), &Value::Null));
    }
}

#[test]
fn bench_of_several_sequences_in_the_simulator() {
    let args = ["bench", MODEL, "--device", "sim", "--prompt", "0", "--tokens", "3", "--rounds", "1"];
    let json = ingot(&[&args[..], &["--json", "--batch", "2", "--depth", "5"]].concat()).json();
    let batch = &json["batch"];
    assert_eq!((&batch["drawn_by"], &batch["sequences"]), (&"device".into(), &2.into()), "{json}");
}

#[test]
fn bench_of_the_simulator_for_people() {
    let args = ["bench", "--device", "sim", "--prompt", "2", "--tokens", "2", "--rounds", "1", "--submit"];
    let text = ingot(&args).ok();
    let rows = [
        "| launch, the host draws ",
        "| layer, the host draws ",
        "| step, the host draws ",
        "| window of 8 ",
    ];
    for word in
        rows.iter().chain(&["| by the GPU, in windows of 8 |", "submissions a token", "waits a token"])
    {
        assert!(text.contains(word), "{word:?} is not in {text}");
    }
}

/// Few tokens in few rounds.
fn quick(args: &[&str]) -> common::Run {
    let few = ["bench", MODEL, "--prompt", "8", "--tokens", "3", "--rounds", "3"];
    ingot(&[&few, args].concat())
}

/// A text as XML: panics unless its tags are closed in order.
fn check_xml(text: &str) {
    let mut open: Vec<&str> = Vec::new();
    for tag in text.split('<').skip(1) {
        let (tag, _) = tag.split_once('>').expect("a tag ends");
        let name = tag.trim_start_matches('/').split([' ', '/', '\n']).next().expect("a name");
        match (tag.starts_with('/'), tag.ends_with('/')) {
            (true, _) => assert_eq!(open.pop(), Some(name), "{tag}"),
            (false, true) => {}
            (false, false) => open.push(name),
        }
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
    }
    assert!(open.is_empty(), "{open:?} are left open");
    let text = text.replace(['<', '>'], "");
    assert!(
        text.split('&').skip(1).all(|word| word.split_once(';').is_some_and(|(e, _)| e.len() < 6)),
        "an & alone"
    );
}

#[test]
fn every_combination_of_lists() {
    let lists =
        ["--depth", "0,70,0", "--batch", "1,3", "--threads", "1,2", "--prompt", "4,9", "--tokens", "3"];
    let json = ingot(&[&["bench", MODEL, "--json", "--rounds", "3"], &lists[..]].concat()).json();
    let points = json["points"].as_array().unwrap();
    let place = |p: &Value| {
        ["threads", "depth", "work", "tokens", "sequences"].map(|key| p[key].to_string()).join(" ")
    };
    let places: Vec<String> = points.iter().map(place).collect();
    let mut expected = Vec::new();
    for threads in [1, 2] {
        for depth in [0, 70] {
            expected.extend([4, 9].map(|tokens| format!("{threads} {depth} \"read\" {tokens} 1")));
            expected.extend([1, 3].map(|sequences| format!("{threads} {depth} \"write\" 3 {sequences}")));
        }
    }
    assert_eq!(places, expected);
    assert!(points.iter().all(|p| p["seconds"].as_array().unwrap().len() == 3));
    // The first of each, under the names of single measurements.
    assert_eq!((&json["prefill"], &json["decode"], &json["batch"]), (&points[0], &points[2], &points[3]));
    // A token of three sequences shares the weights, and not the states.
    let [bytes, rates] = ["bytes_per_s", "tokens_per_s"].map(|key| &points[3][key]);
    let token = bytes.as_f64().unwrap() / rates["median"].as_f64().unwrap();
    assert!(token < json["token"]["weight_bytes"].as_f64().unwrap(), "{token}");
    let text = quick(&["--depth", "0,70", "--threads", "1,2"]).ok();
    for word in ["| read 8 after 70, 2 threads ", "| both, read and write 3 + 8, 1 thread "] {
        assert!(text.contains(word), "{word:?} is not in {text}");
    }
}

#[test]
fn what_cannot_be_measured_or_written() {
    quick(&["--plot", "speed.png"]).fails(2, &["speed.png", ".svg"]);
    quick(&["--plot", "/nowhere/speed.svg"]).fails(2, &["--plot", "--depth 0,512"]);
    quick(&["--depth", "0,9", "--plot", "/nowhere/speed.svg"]).fails(1, &["/nowhere/speed.svg"]);
    quick(&["--save", "/nowhere/x.json"]).fails(1, &["/nowhere/x.json"]);
    quick(&["--compare", "/nowhere/x.json"]).fails(1, &["/nowhere/x.json"]);
    quick(&["--compare", "README.md"]).fails(1, &["README.md", "--save"]);
    quick(&["--format", "xml"]).fails(2, &["--format", "markdown"]);
    quick(&["--json", "--format", "table"]).fails(2, &["--json", "--format"]);
    quick(&["--depth", "1,x"]).fails(2, &["--depth"]);
    quick(&["--threads", "0,1"]).fails(2, &["--threads"]);
    // A list of threads is for benches.
    ingot(&["run", "--threads", "1,2", "-n", "1", "Once"]).fails(2, &["--threads"]);
    quick(&["--peer", "other"]).fails(2, &["--peer", "llama-cpp"]);
}

#[test]
fn reports_in_all_forms() {
    let folder = Folder::new("bench-forms");
    let markdown = quick(&["--label", "one", "--comment", "a | b"]).ok();
    assert!(markdown.contains("\none\na | b\n") && markdown.contains("| read 8 "), "{markdown}");
    let columns = quick(&["--format", "table"]).ok();
    assert!(
        columns.contains("\n  read 8 ") && !columns.contains('|') && !columns.contains('\u{1b}'),
        "{columns}"
    );
    let file = folder.file("report.md");
    assert_eq!(quick(&["--output", &file]).ok(), "");
    assert!(fs::read_to_string(&file).unwrap().contains("| write 3 "));
    let saved = folder.file("saved.json");
    assert_eq!(quick(&["--output", "none", "--save", &saved, "--seed", "7"]).ok(), "");
    let json: Value = serde_json::from_str(&fs::read_to_string(&saved).unwrap()).unwrap();
    assert_eq!((&json["seed"], json["points"].as_array().map(Vec::len)), (&7.into(), Some(2)));
    assert_eq!(quick(&["--format", "json"]).json()["points"][0]["work"], "read");
}

#[test]
fn runs_are_compared() {
    let folder = Folder::new("bench-compare");
    let saved = folder.file("before.json");
    quick(&["--save", &saved, "--label", "before", "--depth", "0,9"]).ok();
    let text = quick(&["--compare", &saved, "--depth", "9,5"]).ok();
    assert!(text.contains("Against before") && text.contains("now / before"), "{text}");
    // Only what both have measured.
    let rows: Vec<&str> = text.split("now / before").nth(1).unwrap().lines().skip(2).collect();
    assert_eq!(rows.len(), 2, "{text}");
    assert!(rows[0].starts_with("| read 8 after 9 ") && rows[1].starts_with("| write 3 after 9 "), "{text}");

    // Ten times as fast before, beyond any chance.
    let mut json: Value = serde_json::from_str(&fs::read_to_string(&saved).unwrap()).unwrap();
    for point in json["points"].as_array_mut().unwrap() {
        for key in ["min", "median", "max"] {
            point["tokens_per_s"][key] = (10.0 * point["tokens_per_s"]["max"].as_f64().unwrap()).into();
        }
    }
    json["device"] = "other".into();
    fs::write(&saved, json.to_string()).unwrap();
    let compared = quick(&["--compare", &saved, "--json"]).json()["compared"].clone();
    let [first, _] = &compared["points"].as_array().unwrap()[..] else { panic!("{compared}") };
    assert!(first["overlap"] == false && first["ratio"].as_f64().unwrap() < 1.0, "{compared}");
    assert_eq!(compared["differ"].as_array().unwrap().len(), 1, "{compared}");
    assert!(quick(&["--compare", &saved]).ok().contains(" slower |"));
    ingot(&["bench", MODEL, "--compare", &saved, "--prompt", "0", "--tokens", "4", "--rounds", "1"])
        .fails(1, &["nothing", "read 8, 2"]);
    json["points"][0]["tokens_per_s"]["min"] = "x".into();
    fs::write(&saved, json.to_string()).unwrap();
    quick(&["--compare", &saved]).fails(1, &["no report"]);
}

#[test]
fn plots_are_well_formed() {
    let folder = Folder::new("bench-plots");
    let [svg, html] = ["<&>.svg", "speed.html"].map(|name| folder.file(name));
    let args =
        ["--depth", "0,9", "--batch", "1,2", "--label", "<\"&'> \u{1b}[2J", "--plot", &svg, "--plot", &html];
    quick(&args).ok();
    let picture = fs::read_to_string(&svg).unwrap();
    check_xml(&picture);
    assert!(!picture.contains('\u{1b}') && picture.contains("prefers-color-scheme:dark"));
    for word in [
        "Reading, by context",
        "Writing, by sequences",
        "tokens of context before",
        "sequences at the same time",
    ] {
        assert!(picture.contains(&format!(">\n{word}\n<")), "{word} is not in the picture");
    }
    let page = fs::read_to_string(&html).unwrap();
    assert!(
        page.starts_with("<!doctype html>") && page.contains("<svg ") && page.contains("<td>read 8</td>")
    );
    assert!(!page.contains("<\"&"), "{page}");
}

/// A module in the place of llama-cpp-python: it knows nothing of models, but counts what
/// is asked of it.
const STAND_IN: &str = r#"
import ctypes, time
__version__ = "1.2.3"
llama_token = ctypes.c_int32
class Params: pass
def llama_log_callback(f): return f
def llama_log_set(f, data): pass
def llama_backend_init(): pass
def llama_model_default_params(): return Params()
def llama_context_default_params(): return Params()
def llama_model_load_from_file(path, params): return None if b"refused" in path else 1
def llama_init_from_model(model, params):
    assert params.n_ctx >= 12 and params.n_threads == 2 and params.type_k == 1
    return 1
def llama_get_memory(context): return 1
def llama_model_get_vocab(model): return 1
def llama_vocab_n_tokens(vocab): return 10
past = 0
def llama_memory_clear(memory, data):
    global past
    past = 0
def llama_state_seq_get_size(context, sequence): return 4
def llama_state_seq_get_data(context, data, size, sequence):
    assert past == 9, past
    return size
def llama_state_seq_set_data(context, data, size, sequence):
    global past
    past = 9
    return size
def llama_batch_get_one(tokens, n):
    assert all(0 <= t < 10 for t in tokens)
    return n
def llama_decode(context, batch):
    global past
    time.sleep(0.001)
    past += batch
    return 0
def llama_synchronize(context): pass
"#;

#[test]
fn another_program_in_alternation() {
    if std::process::Command::new("python3").arg("-V").output().is_err() {
        eprintln!("NOT CHECKED: there is no python3");
        return;
    }
    let folder = Folder::new("bench-peer");
    fs::write(folder.file("llama_cpp.py"), STAND_IN).unwrap();
    let path = folder.file("");
    let run = |args: &[&str]| -> common::Run {
        let few =
            ["bench", "--prompt", "8", "--tokens", "3", "--rounds", "2", "-t", "2", "--peer", "llama-cpp"];
        command(&[&few, args].concat()).env("PYTHONPATH", &path).output().unwrap().into()
    };
    let json = run(&[MODEL, "--depth", "9", "--batch", "2", "--json"]).json();
    assert_eq!(json["peer"], "llama.cpp (llama-cpp-python 1.2.3)");
    let [read, write, batch] = &json["points"].as_array().unwrap()[..] else { panic!("{json}") };
    for (point, least) in [(read, 0.001), (write, 0.003)] {
        let seconds = point["peer"]["seconds"].as_array().unwrap();
        assert!(seconds.len() == 2 && seconds.iter().all(|s| s.as_f64().unwrap() >= least), "{point}");
    }
    assert_eq!(batch["peer"], Value::Null);
    assert!(run(&[MODEL, "--depth", "9"]).ok().contains("| ingot / peer |"));

    run(&[]).fails(2, &["GGUF file"]);
    run(&[MODEL, "--python", "/nowhere/python"]).fails(1, &["/nowhere/python", "--python PATH"]);
    let refused = folder.file("refused.gguf");
    fs::copy(fixtures().join(MODEL), &refused).unwrap();
    run(&[&refused]).fails(1, &["cannot open"]);
    fs::write(folder.file("llama_cpp.py"), "raise ImportError('not here')").unwrap();
    run(&[MODEL]).fails(1, &["not here", "pip install llama-cpp-python"]);
    fs::write(folder.file("llama_cpp.py"), "import os\nos._exit(3)").unwrap();
    run(&[MODEL]).fails(1, &["ended before"]);
}

/// A profile of few rounds.
fn profile(args: &[&str]) -> common::Run {
    ingot(&[&["profile", "--prompt", "6", "--rounds", "3"], args].concat())
}

#[test]
fn profiles_of_the_processor() {
    for (model, kinds) in [
        (MODEL, vec!["products", "head", "attention", "norms, sums, gates", "embedding"]),
        (RECURRENT, vec!["products", "head", "recurrence", "norms, sums, gates", "embedding"]),
    ] {
        let json = profile(&[model, "--depth", "70", "--json"]).json();
        let [read, write] = &json["steps"].as_array().unwrap()[..] else { panic!("{json}") };
        assert_eq!((&read["rows"], &write["rows"], &write["depth"]), (&6.into(), &1.into(), &70.into()));
        for step in [read, write] {
            let list = |key: &str| step[key].as_array().unwrap().clone();
            let names: Vec<Value> = list("kinds").iter().map(|kind| kind["name"].clone()).collect();
            assert_eq!(names, kinds, "{step}");
            let sum = |key: &str| list(key).iter().map(|x| x["seconds"].as_f64().unwrap()).sum::<f64>();
            let all = sum("pieces");
            assert!(all > 0.0 && step["seconds_timed"]["min"].as_f64().unwrap() > 0.0, "{step}");
            for key in ["kinds", "ops", "layers"] {
                assert!((sum(key) / all - 1.0).abs() < 1e-6, "{key}: {} of {all}", sum(key));
            }
            // Every op is in one piece.
            let pieces = list("pieces");
            let ops = pieces.iter().flat_map(|p| p["ops"].as_array().unwrap().clone());
            let mut ops: Vec<u64> = ops.map(|op| op.as_u64().unwrap()).collect();
            ops.sort_unstable();
            assert_eq!(ops, (0..ops.len() as u64).collect::<Vec<_>>());
        }
        let bytes = |step: &Value, key: &str| {
            step["pieces"].as_array().unwrap().iter().map(|p| p[key].as_u64().unwrap()).sum::<u64>()
        };
        let bench = ingot(&[
            "bench", model, "--prompt", "0", "--tokens", "1", "--depth", "70", "--rounds", "1", "--json",
        ]);
        let token = &bench.json()["token"];
        assert_eq!(token["weight_bytes"], bytes(write, "weight_bytes"));
        assert_eq!(token["state_bytes"], bytes(write, "state_bytes"));
    }
    let text = profile(&[MODEL, "--all"]).ok();
    for word in [
        "reading 6 tokens",
        "a written token",
        "| products ",
        "| attn: q k v ",
        "| layer 0 ",
        "| between ",
        "with timing",
    ] {
        assert!(text.contains(word), "{word:?} is not in {text}");
    }
    let one = ingot(&["profile", MODEL, "--prompt", "0", "--rounds", "1", "--json"]).json();
    assert_eq!(one["steps"].as_array().map(Vec::len), Some(1));
    profile(&[MODEL, "--device", "reference"]).fails(2, &["reference", "--device cpu"]);
    profile(&[MODEL, "--picture", "x.pdf"]).fails(2, &["x.pdf", ".svg"]);
    profile(&[MODEL, "--trace", "/nowhere/x.json"]).fails(1, &["/nowhere/x.json"]);
}

#[test]
fn profiles_of_the_simulator() {
    let args = [MODEL, "--device", "sim", "--rounds", "1", "--json"];
    let json = ingot(&[&["profile", "--prompt", "3"], &args[..]].concat()).json();
    for step in json["steps"].as_array().unwrap() {
        let pieces = step["pieces"].as_array().unwrap();
        assert!(pieces.len() > 5 && pieces.iter().all(|p| p["seconds"].as_f64().unwrap() > 0.0), "{step}");
        assert!(pieces.iter().any(|p| p["name"].as_str().unwrap().starts_with("linear_")), "{step}");
    }
    assert_eq!(json["memory_bytes_per_s"], Value::Null);
}

#[test]
fn traces_are_nested_and_pictures_well_formed() {
    let folder = Folder::new("profile-files");
    let [trace, svg, html] = ["trace.json", "step.svg", "step.html"].map(|name| folder.file(name));
    profile(&[RECURRENT, "--trace", &trace, "--picture", &svg, "--picture", &html, "--depth", "3"]).ok();
    let json: Value = serde_json::from_str(&fs::read_to_string(&trace).unwrap()).unwrap();
    let events = json["traceEvents"].as_array().unwrap();
    let names = events.iter().filter(|e| e["ph"] == "M").map(|e| e["args"]["name"].as_str().unwrap());
    let names: Vec<&str> = names.skip(1).collect();
    assert_eq!(names, ["reading 6 tokens after 3", "a written token after 3"]);
    for tid in [1, 2] {
        let mut open: Vec<(f64, f64)> = Vec::new();
        let mut deepest = 0;
        let of_row = events.iter().filter(|e| e["ph"] == "X" && e["tid"] == tid);
        for event in of_row {
            let [start, long] = ["ts", "dur"].map(|key| event[key].as_f64().unwrap());
            // Within half a nanosecond: ends are sums.
            while open.last().is_some_and(|(_, end)| start >= end - 5e-4) {
                open.pop();
            }
            if let Some((from, to)) = open.last() {
                assert!(
                    start >= from - 5e-4 && start + long <= to + 5e-4,
                    "{event} is not inside {from}..{to}"
                );
            }
            open.push((start, start + long));
            deepest = deepest.max(open.len());
        }
        assert_eq!(deepest, 3, "a step, its layers, their pieces");
    }
    let picture = fs::read_to_string(&svg).unwrap();
    check_xml(&picture);
    for word in ["layer 0", "output", "recurrence", "between"] {
        assert!(picture.contains(&format!(">\n{word}\n<")), "{word} is not in the picture");
    }
    assert!(fs::read_to_string(&html).unwrap().contains("<h2>a written token after 3, by layer</h2>"));
}

#[test]
fn what_a_step_takes() {
    let text = ingot(&["inspect", MODEL, "--plan", "--ctx", "100"]).ok();
    for word in [
        "= linear(",
        "Bytes of a token after 100",
        "attention",
        "Launches on a GPU",
        "linear_vec",
        "not measured",
    ] {
        assert!(text.contains(word), "{word:?} is not in {text}");
    }
    let step = ingot(&["inspect", MODEL, "--plan", "--json", "--ctx", "10", "--ctx", "70", "--floor=cpu"])
        .json()["step"]
        .clone();
    let [ten, seventy] = &step["tokens"].as_array().unwrap()[..] else { panic!("{step}") };
    assert!(seventy["state_bytes"].as_u64() > ten["state_bytes"].as_u64(), "{step}");
    let speed = step["memory"]["bytes_per_s"].as_f64().unwrap();
    let bytes = ten["weight_bytes"].as_f64().unwrap() + ten["state_bytes"].as_f64().unwrap();
    assert!((ten["seconds_at_least"].as_f64().unwrap() * speed / bytes - 1.0).abs() < 1e-9, "{step}");
    assert!(step["gpu"]["token"]["launches"].as_u64().unwrap() > 5, "{step}");
    let ops = step["ops"].as_array().unwrap();
    let weights: u64 = ops.iter().map(|op| op["weight_bytes"].as_u64().unwrap()).sum();
    assert_eq!(ten["weight_bytes"], weights);
    assert_eq!(ingot(&["inspect", MODEL, "--json"]).json()["step"], Value::Null);
    ingot(&["inspect", MODEL, "--floor=cpu"]).fails(2, &["--plan"]);
    ingot(&["inspect", MODEL, "--plan", "--floor=cuda:999"]).fails(1, &["cuda:999"]);
}
