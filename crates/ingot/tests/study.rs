//! Which device computes, how fast it is, and whether it computes the right thing.

mod common;

use common::{command, ingot};
use serde_json::Value;

const MODEL: &str = "models/llama-s-q8_0.gguf";
const RECURRENT: &str = "models/rwkv7-s-q8_0.gguf";

/// True if `auto` means a GPU here.
fn has_gpu() -> bool {
    ingot(&["doctor", "--json"]).json()["gpus"]["used"] == true
}

#[test]
fn devices_that_are_named() {
    let greedy = |device: &str| {
        let args = ["logits", MODEL, "--tokens", "1,2,3", "--greedy", "4", "--exact", "--cache", "f32"];
        ingot(&[&args[..], &["--device", device]].concat())
    };
    let expected = greedy("reference").json();
    assert_eq!(greedy("cpu").json(), expected);
    assert_eq!(greedy("auto").json(), expected);
    greedy("gpu").fails(2, &["--device", "cuda:N"]);
    greedy("cuda:x").fails(2, &["cuda:N"]);
    // A machine has no thousandth GPU, and none of Apple's outside of macOS.
    greedy("cuda:999").fails(1, &["cuda:999: ", "hint: ", "ingot doctor", "--device cpu"]);
    if !cfg!(target_os = "macos") {
        greedy("metal").fails(1, &["metal: ", "--device cpu"]);
    }
    // The old word for the same thing, and the environment's.
    let args = ["logits", MODEL, "--tokens", "1,2,3", "--greedy", "4", "--exact", "--cache", "f32"];
    assert_eq!(ingot(&[&args[..], &["--executor", "reference"]].concat()).json(), expected);
    let with = |device: &str, args: &[&str]| {
        let output = command(args).env("INGOT_DEVICE", device).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, err) = with("cuda:999", &args);
    assert!(code == Some(1) && err.contains("cuda:999"), "{err}");
    assert_eq!(with("cuda:999", &[&args[..], &["--device", "cpu"]].concat()), (Some(0), String::new()));
    assert_eq!(with("", &args).0, Some(0));
}

#[test]
fn without_a_gpu_nothing_is_said() {
    let signs = ["/dev/nvidia0", "/proc/driver/nvidia/version", "/dev/dxg"];
    if has_gpu() || signs.iter().any(|sign| std::path::Path::new(sign).exists()) {
        return;
    }
    let output = command(&["run", "-n", "2", "Once"]).env_remove("INGOT_DEVICE").output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}

#[test]
fn types_of_the_cache() {
    for cache in ["f16", "f32", "q8_0"] {
        ingot(&["run", "-n", "2", "Once", "--cache", cache]).ok();
    }
    ingot(&["run", "-n", "2", "Once", "--cache", "q4_0"]).fails(2, &["--cache", "q8_0"]);
}

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
    bench(&["--profile", "--device", "cpu"]).fails(2, &["--profile", "GPU", "ingot doctor"]);
    bench(&["--submit", "--device", "reference", "--tokens", "1"]).fails(2, &["--submit"]);
    bench(&["--depth", "4000000000"]).fails(1, &["out of memory"]);
    bench(&["--rounds", "0"]).fails(2, &["--rounds"]);
}

#[test]
fn two_executors_are_compared() {
    for model in [MODEL, RECURRENT, "models/qwen2-s-q4_k_m.gguf"] {
        let diff =
            |extra: &[&str]| ingot(&[&["diff", model, "--a", "reference", "--b", "cpu"], extra].concat());
        let exact = ["--exact", "--cache", "f32", "--json"];
        let json = diff(&exact).json();
        assert_eq!(
            (&json["equal"], &json["a"], &json["b"]),
            (&true.into(), &"reference".into(), &"cpu".into())
        );
        // Of the processor there are only the logits.
        let [buffer] = &json["buffers"].as_array().unwrap()[..] else { panic!("{json}") };
        assert_eq!((&buffer["buffer"], &buffer["first_bad"]), (&"logits".into(), &Value::Null));
        let off = buffer["max_abs"].as_f64().unwrap();
        assert!(off > 0.0 && off < 1e-3, "{off}");
        // One token after others, and the defaults.
        assert_eq!(
            diff(&[&exact[..], &["--tokens", "1,2,3,4", "--past", "3"]].concat()).json()["equal"],
            true
        );
        assert!(diff(&["--text", "ab"]).ok().contains("| logits | "));
        diff(&["--exact", "--limit", "0"])
            .fails(1, &["reference and cpu differ", "'logits' is ", "op linear"]);
        let wrong = diff(&["--limit", "0", "--json"]);
        assert_eq!(wrong.code, Some(1));
        let json: Value = serde_json::from_str(&wrong.out).unwrap();
        assert_eq!(json["equal"], false);
        assert!(json["buffers"][0]["first_bad"]["values"][1].is_f64(), "{json}");
    }
}

#[test]
fn an_executor_is_equal_to_itself() {
    let args = ["diff", MODEL, "--a", "reference", "--b", "reference", "--limit", "0", "--json"];
    let json = ingot(&args).json();
    let buffers = json["buffers"].as_array().unwrap();
    assert!(buffers.len() > 20 && buffers.iter().all(|b| b["max_abs"] == 0.0), "{json}");
    ingot(&["diff", MODEL, "--b", "cpu", "--tokens", "1,2", "--past", "2"])
        .fails(2, &["--past 2", "2 tokens"]);
    ingot(&["diff", MODEL, "--b", "cpu", "--tokens", "x"]).fails(1, &["'x' is not a token id"]);
    ingot(&["diff", MODEL, "--b", "cpu", "--tokens", "99999"]).fails(1, &["outside of the vocabulary"]);
    ingot(&["diff", MODEL, "--b", "cuda:999"]).fails(1, &["cuda:999"]);
}

#[test]
fn every_buffer_of_the_simulator() {
    for model in [MODEL, RECURRENT] {
        let diff = |extra: &[&str]| {
            let args = ["diff", model, "--b", "sim", "--exact", "--cache", "f32", "--json"];
            ingot(&[&args, extra].concat())
        };
        // A step that writes one token, and one that reads a prompt.
        for step in [["--tokens", "1,2,3,4", "--past", "3"], ["--tokens", "1,2,3,4", "--past", "0"]] {
            let json = diff(&step).json();
            let buffers = json["buffers"].as_array().unwrap();
            assert!(json["equal"] == true && buffers.len() > 5, "{json}");
            assert!(buffers.iter().all(|b| b["kernel"].is_string()), "{json}");
        }
        let first = diff(&["--launch", "1"]).json();
        assert!(first["buffers"].as_array().unwrap().iter().all(|b| b["launch"] == 0), "{first}");
    }
}

#[test]
fn bench_of_the_simulator() {
    let args = ["bench", MODEL, "--device", "sim", "--prompt", "3", "--tokens", "10", "--rounds", "1"];
    let json = ingot(&[&args[..], &["--json", "--submit", "--profile"]].concat()).json();
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
    for profile in json["profiles"].as_array().unwrap() {
        let kernels = profile["kernels"].as_array().unwrap();
        let launches: u64 = kernels.iter().map(|k| k["launches"].as_u64().unwrap()).sum();
        assert!(launches > 5 && kernels.iter().all(|k| k["seconds"].as_f64().unwrap() > 0.0), "{profile}");
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
