//! `ingot run` and `ingot chat`, as a user calls them.

mod common;

use common::{Folder, command, ingot, ingot_with};
use std::process::Stdio;

const MODEL: &str = "models/llama-s-q8_0.gguf";
const RECURRENT: &str = "models/rwkv7-s-q8_0.gguf";

#[test]
fn a_story_that_a_seed_repeats() {
    let story = |seed: &str| ingot(&["run", "-n", "60", "--seed", seed, "Once upon a time"]).ok();
    let first = story("7");
    assert!(first.trim().len() > 60, "{first:?}");
    assert!(first.ends_with('\n'));
    assert_eq!(first, story("7"));
    assert_ne!(first, story("8"));
}

#[test]
fn json_has_all_of_it() {
    let run = ingot(&["run", "--raw", "-n", "9", "--seed", "5", "--output", "json", "Once"]).json();
    assert!(!run["text"].as_str().unwrap().is_empty());
    assert_eq!(run["tokens"].as_array().unwrap().len(), 9);
    assert_eq!((&run["finish_reason"], &run["seed"]), (&"length".into(), &5.into()));
    assert_eq!(run["usage"]["completion_tokens"], 9);
    let usage = &run["usage"];
    assert_eq!(usage["total_tokens"].as_u64().unwrap(), usage["prompt_tokens"].as_u64().unwrap() + 9);
    assert!(run["timings"]["decode_tokens_per_s"].as_f64().unwrap() > 0.0);
    assert!(run["model"].as_str().unwrap().contains("embedded"));
}

#[test]
fn json_by_its_short_name() {
    let run = |form: &[&str]| ingot(&[&["run", "--raw", "-n", "5", "--greedy", "Once"], form].concat());
    let (short, long) = (run(&["--json"]).json(), run(&["--output", "json"]).json());
    assert_eq!((&short["tokens"], &short["text"]), (&long["tokens"], &long["text"]));
    assert_eq!(run(&["--json", "--output", "text"]).code, Some(2));
}

#[test]
fn output_none_prints_only_statistics() {
    let run = ingot(&["run", "-n", "4", "--seed", "77", "--output", "none", "Once"]);
    assert_eq!(run.out, "");
    assert!(run.err.contains("4 tokens at ") && run.err.contains("seed 77"), "{}", run.err);
    assert!(!run.err.contains('\u{1b}'));
}

#[test]
fn statistics_only_when_wanted() {
    let run = |extra: &[&str]| ingot(&[&["run", "-n", "2", "Once"], extra].concat()).err;
    assert_eq!(run(&[]), "");
    assert!(run(&["--stats"]).contains("tok/s"));
    assert_eq!(run(&["--stats", "--no-stats"]), "");
}

#[test]
fn prompts_from_everywhere() {
    let options = ["run", "--raw", "-n", "0", "--output", "json"];
    let prompt_tokens = |input: &str, words: &[&str]| {
        ingot_with(input, &[&options, words].concat()).json()["usage"]["prompt_tokens"].as_u64().unwrap()
    };
    let words = prompt_tokens("", &["Once", "upon", "a", "time"]);
    assert_eq!(prompt_tokens("Once upon a time", &[]), words);
    assert_eq!(prompt_tokens("", &["-p", "Once upon a time"]), words);
    assert_eq!(prompt_tokens("a time", &["Once", "upon"]), prompt_tokens("", &["Once upon\na time"]));
    // A prompt that looks like a flag.
    assert_eq!(prompt_tokens("", &["--", "--help"]), prompt_tokens("--help", &[]));
    assert_eq!(prompt_tokens("", &["-p", "--help"]), prompt_tokens("--help", &[]));
}

#[test]
fn the_template_is_used_unless_raw() {
    let tokens = |extra: &[&str]| {
        let run = ingot(&[&["run", "-n", "0", "--output", "json", "Hello"], extra].concat()).json();
        run["usage"]["prompt_tokens"].as_u64().unwrap()
    };
    let (raw, chat) = (tokens(&["--raw"]), tokens(&[]));
    assert!(chat > raw, "{chat} {raw}");
    assert!(tokens(&["--system", "Be brief."]) > chat);
}

#[test]
fn every_kind_of_model() {
    let models = [
        "models/mistral-s-q4_0-split-00001-of-00003.gguf",
        "models/llama-s-safetensors",
        "models/llama-s-safetensors/model.safetensors",
        "qwen3-s-f16",
        "rwkv7-s-q8",
    ];
    for model in models {
        let run = ingot(&["run", "-m", model, "--raw", "-n", "3", "--ignore-eos", "--output", "json", "ab"]);
        assert_eq!(run.json()["tokens"].as_array().unwrap().len(), 3, "{model}");
    }
    // The model where other programs take it.
    let run = ingot(&["run", MODEL, "ab", "--raw", "-n", "1", "--ignore-eos", "--output", "json"]).json();
    assert_eq!(run["model"], MODEL);
}

#[test]
fn stop_strings_end_the_text() {
    let all = ingot(&["run", "--raw", "--greedy", "-n", "40", "--output", "json", "Once upon a time"]).json();
    let text = all["text"].as_str().unwrap();
    let word = text.split_whitespace().nth(3).unwrap();
    let args =
        ["run", "--raw", "--greedy", "-n", "40", "--output", "json", "--stop", word, "Once upon a time"];
    let stopped = ingot(&args).json();
    assert_eq!(stopped["finish_reason"], "stop");
    assert_eq!(stopped["text"].as_str().unwrap(), text.split(word).next().unwrap());
}

#[test]
fn a_saved_session_goes_on_in_another_process() {
    let folder = Folder::new("session");
    for model in [MODEL, RECURRENT] {
        let file = folder.file("session");
        let options = ["run", "-m", model, "--raw", "--greedy", "--ignore-eos", "--output", "json"];
        let run = |extra: &[&str]| ingot(&[&options, extra].concat()).json()["tokens"].clone();
        let whole = run(&["-n", "24", "abc"]);
        let begun = run(&["-n", "10", "abc", "--save", &file]);
        let rest = run(&["-n", "14", "--load", &file]);
        let joined: Vec<_> = [begun, rest].iter().flat_map(|part| part.as_array().unwrap().clone()).collect();
        assert_eq!(whole.as_array().unwrap(), &joined, "{model}");
    }
    // A session belongs to its model.
    let file = folder.file("session");
    ingot(&["run", "-m", MODEL, "--load", &file]).fails(1, &["saved with another model", "hint:"]);
    ingot(&["run", "--load", &folder.file("none")]).fails(1, &["none"]);
}

#[test]
fn what_cannot_be_done_is_said() {
    let run = |args: &[&str]| ingot(&[&["run"], args].concat());
    run(&[]).fails(2, &["no prompt", "hint: ", "ingot chat"]);
    run(&["x", "--temp", "-1"]).fails(2, &["--temp is -1", "0 or more"]);
    run(&["x", "--temp", "nan"]).fails(2, &["--temp is NaN"]);
    run(&["x", "--top-p", "2"]).fails(2, &["--top-p is 2", "from 0 to 1"]);
    run(&["x", "--repeat-penalty", "0"]).fails(2, &["--repeat-penalty is 0"]);
    run(&["x", "--logit-bias", "a"]).fails(2, &["42=-1.5"]);
    run(&["x", "--greedy", "--temp", "1"]).fails(2, &["--greedy", "--temp"]);
    run(&["x", "--flag"]).fails(2, &["--flag"]);
    run(&["x", "--threads", "0"]).fails(2, &["--threads"]);
    run(&["x", "--stop", ""]).fails(1, &["stop string 0 is empty"]);
    run(&["x", "-m", "models/llama-s-q8.gguf"])
        .fails(1, &["no such model", "did you mean", "llama-s-q8_0.gguf"]);
    run(&["x", "-m", "/nowhere/x.gguf"]).fails(1, &["no such model", "no folder /nowhere"]);
    run(&["x", "-m", "gpt-5"]).fails(1, &["no such model: gpt-5", "models found: ", "llama"]);
    run(&["x", "-m", "rwkv7"]).fails(1, &["any of 4 models", "rwkv7-s-f16"]);
    run(&["x", "-m", "README.md"]).fails(1, &["README.md", "not a model"]);
    run(&["x", "-m", "golden"]).fails(1, &["no model in this folder"]);
    run(&["x", "-m", "malformed/arch-unknown.gguf"])
        .fails(1, &["unsupported model family", "RWKV-7", "inspect"]);
    run(&["x", "-m", "malformed/empty.gguf"]).fails(1, &["empty.gguf"]);
    run(&["x", "-m", "models/mistral-s-q4_0.gguf", "--system", "y"]).fails(2, &["--system", "template"]);
    run(&["x y z", "-m", MODEL, "--ctx", "2"]).fails(1, &["do not fit into the context of 2"]);
    run(&["x", "-m", MODEL, "--ctx", "4000000000000"]).fails(1, &["out of memory", "--ctx"]);
}

#[test]
fn the_context_ends_the_text() {
    let args = ["run", "-m", MODEL, "--raw", "--ignore-eos", "--ctx", "12", "--output", "json", "abcd"];
    let run = ingot(&args).json();
    assert_eq!(run["finish_reason"], "length");
    assert_eq!(run["usage"]["total_tokens"], 12);
}

#[test]
#[cfg(unix)]
fn a_reader_that_leaves_is_no_error() {
    let mut child = command(&["run", "--ignore-eos", "--raw", "Once"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}

#[test]
#[cfg(unix)]
fn errors_that_nobody_reads_are_no_panic() {
    let mut child = command(&["run"]).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stderr.take());
    assert_eq!(child.wait().unwrap().code(), Some(2));
}

#[test]
#[cfg(unix)]
fn an_interrupt_ends_the_text_in_good_order() {
    use std::io::{BufRead, BufReader, Read};
    let mut child = command(&["run", "--ignore-eos", "--raw", "--stats", "Once"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    out.fill_buf().unwrap(); // the first word: now it writes
    let pid = nix::unistd::Pid::from_raw(child.id() as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    let mut text = String::new();
    out.read_to_string(&mut text).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert!(text.ends_with('\n'));
    assert!(String::from_utf8_lossy(&output.stderr).contains("interrupted"));
}

#[test]
#[cfg(unix)]
fn killing_it_while_it_saves_loses_no_earlier_session() {
    let folder = Folder::new("killed-save");
    let file = folder.file("fox.session");
    let save =
        ["run", "--raw", "-n", "2", "--seed", "1", "--output", "none", "--save", &file, "Once upon a time"];
    ingot(&save).ok();
    let whole = std::fs::read(&file).unwrap();
    // At moments all over the time that it takes, the last of which are after its end.
    for delay in 0..60 {
        let mut child = command(&save).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(delay));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(std::fs::read(&file).unwrap() == whole, "after {delay} ms");
    }
}

#[test]
fn a_conversation_through_a_pipe() {
    let talk = |input: &str| ingot_with(input, &["chat", "-n", "20", "--seed", "3"]).ok();
    let one = talk("Tell me a story.\n");
    let two = talk("Tell me a story.\nAnother one, please.\n");
    assert!(!one.trim().is_empty());
    assert!(two.starts_with(&one) && two.len() > one.len());
    // Forgetting the first answer leaves the second one the same, but for the seed.
    assert_eq!(talk("\"\"\"Tell me\na story.\"\"\"\n"), talk("Tell me\\\na story.\n"));
    assert_eq!(talk(""), "");
}

#[test]
fn a_conversation_as_json() {
    let options = ["chat", "-n", "9", "--seed", "3", "--ignore-eos"];
    let talk = |extra: &[&str]| ingot_with("Hello\n/stats\nAnd then?\n", &[&options, extra].concat());
    let (text, json) = (talk(&[]).ok(), talk(&["--json"]).ok());
    let answers: Vec<serde_json::Value> =
        json.lines().map(|line| serde_json::from_str(line).expect("an object in a line")).collect();
    assert_eq!(answers.len(), 2);
    let texts: Vec<&str> = answers.iter().map(|answer| answer["text"].as_str().unwrap()).collect();
    let lines: Vec<String> = texts.iter().map(|text| format!("{}\n", text.trim_end_matches('\n'))).collect();
    assert_eq!(lines.concat(), text);
    for answer in &answers {
        assert_eq!(
            (&answer["finish_reason"], &answer["usage"]["completion_tokens"]),
            (&"length".into(), &9.into())
        );
        assert_eq!(answer["tokens"].as_array().unwrap().len(), 9);
    }
    assert_eq!((&answers[0]["seed"], &answers[1]["seed"]), (&3.into(), &4.into()));
    let failed = ingot_with("Hello\n/nothing\n", &[&options[..], &["--json"]].concat());
    assert_eq!(failed.out.lines().count(), 1);
    failed.fails(1, &["no command /nothing"]);
}

#[test]
fn commands_of_a_conversation() {
    let folder = Folder::new("chat");
    let file = folder.file("saved");
    for model in [MODEL, RECURRENT, "models/mistral-s-q4_0.gguf"] {
        let talk = |input: &str| ingot_with(input, &["chat", model, "-n", "8", "--greedy", "--ignore-eos"]);
        let whole = talk("Hello\nAnd then?\n").ok();
        let begun = talk(&format!("Hello\n/save {file}\n")).ok();
        let rest = talk(&format!("/load {file}\nAnd then?\n")).ok();
        assert_eq!(whole, begun.clone() + &rest, "{model}");
        // Greedy: another answer to the same question is the same answer.
        assert_eq!(talk("Hello\n/regen\n").ok(), begun.repeat(2), "{model}");
        assert_eq!(talk("Hello\n/reset\nHello\n").ok(), begun.repeat(2), "{model}");
        let help = talk("/help\n/stats\n/system Be brief.\n/exit\nnever read\n");
        assert!(help.err.contains("/regen") && help.err.contains("has seen 0"), "{}", help.err);
        assert_eq!(help.out, "");
        talk("/nothing\n").fails(1, &["no command /nothing", "/help"]);
        talk("/save\n").fails(1, &["/save needs the name of a file"]);
        talk("/regen\n").fails(1, &["no answer yet"]);
    }
    let long = "word ".repeat(2000);
    ingot_with(&long, &["chat", MODEL]).fails(1, &["the context holds", "/reset"]);
}
