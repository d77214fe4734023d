//! `ingot cast`: what is made, what is said, what is refused. That projects build is checked by
//! `.ci/run cast`.

mod common;

use common::{Folder, fixtures, ingot};
use std::fs;
use std::path::Path;

const MODEL: &str = "models/llama-s-q4_0.gguf";

#[test]
fn a_project() {
    let folder = Folder::new("cast-project");
    let dir = folder.file("My Model 7");
    let made = ingot(&["cast", MODEL, "--project", &dir, "--json"]).json();
    assert_eq!(made["package"], "my-model-7");
    assert!(Path::new(&dir).join("src/plan.rs").exists());
    let manifest = fs::read_to_string(Path::new(&dir).join("Cargo.toml")).unwrap();
    assert!(manifest.contains("name = \"my-model-7\""));

    // It is replaced only when that is asked for, and nothing else ever is.
    ingot(&["cast", MODEL, "--project", &dir]).fails(1, &["was made by ingot", "--force"]);
    let said = ingot(&["cast", MODEL, "--project", &dir, "--force"]).ok();
    assert!(said.contains("package my-model-7") && said.contains("cargo run"), "{said}");
    let other = folder.file("other");
    fs::create_dir(&other).unwrap();
    fs::write(Path::new(&other).join("file"), "precious").unwrap();
    ingot(&["cast", MODEL, "--project", &other, "--force"]).fails(1, &["something else", "not there yet"]);
    assert_eq!(fs::read_to_string(Path::new(&other).join("file")).unwrap(), "precious");
}

#[test]
fn kernels() {
    let folder = Folder::new("cast-kernels");
    let dir = folder.file("kernels");
    let said = ingot(&["cast", MODEL, "--kernels", &dir]).ok();
    assert!(said.contains("manifest.json"), "{said}");
    assert!(Path::new(&dir).join("README.md").exists());
    ingot(&["cast", MODEL, "--kernels", &dir]).fails(1, &["--force"]);
    ingot(&["cast", MODEL, "--kernels", &dir, "--force", "--json"]).json();
    // A folder of kernels is no project.
    ingot(&["cast", MODEL, "--project", &dir, "--force"]).fails(1, &["something else"]);
}

#[test]
fn what_is_no_model_is_refused() {
    let folder = Folder::new("cast-refused");
    let dir = folder.file("x");
    ingot(&["cast", "models/llama-s-safetensors", "--project", &dir]).fails(1, &["GGUF", "ingot convert"]);
    ingot(&["cast", MODEL]).fails(2, &["--output"]);
    ingot(&["cast", MODEL, "--project", &dir, "--temp", "1"]).fails(2, &["no --temp"]);
    ingot(&["cast", MODEL, "--project", &dir, "--name", "x"]).fails(2, &["--name"]);
    ingot(&["cast", "no-such-model.gguf", "--project", &dir]).fails(1, &["no such model"]);
    let malformed = fs::read_dir(fixtures().join("malformed")).unwrap().flatten().map(|entry| entry.path());
    let malformed = malformed.filter(|path| path.extension().is_some_and(|e| e == "gguf"));
    let mut refused = 0;
    for path in malformed {
        let run = ingot(&["cast", path.to_str().unwrap(), "--project", &dir]);
        match run.code {
            Some(0) => fs::remove_dir_all(&dir).unwrap(), // some are valid, for comparison
            _ => {
                run.fails(1, &[]);
                refused += 1;
            }
        }
        assert!(!Path::new(&dir).exists(), "{}", path.display());
    }
    assert!(refused > 50, "only {refused} files were refused");
}
