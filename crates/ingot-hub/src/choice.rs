//! Which files of a repository are one model, and which of its models is meant.
//! Works on names alone, so the hub and the cache are chosen from alike.

use crate::{Error, Pick, Reference, Result};
use std::collections::BTreeMap;

/// The word that stands for the safetensors files of a repository.
pub const SAFETENSORS: &str = "safetensors";

/// What is taken of a repository with several GGUF files if nothing else is asked
/// for: first what is usual, then by how close it is to the original.
const USUAL: [&str; 5] = ["Q4_K_M", "Q8_0", "Q6_K", "Q5_K_M", "Q4_0"];

/// What ingot reads of a folder beside the weights.
const CONFIG: &str = "config.json";
const INDEX: &str = "model.safetensors.index.json";
const BESIDE: [&str; 5] =
    [CONFIG, "generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"];

/// The files that make one model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variant {
    /// What is opened: a GGUF file (of a split one the first part), or empty for the folder.
    pub main: String,
    /// All files.
    pub files: Vec<String>,
    /// What to write after the colon, if the name tells.
    pub label: Option<String>,
    /// False if parts are missing.
    pub complete: bool,
}

impl Variant {
    /// How to ask for it among the others of its repository.
    pub fn pick(&self, all: &[Variant]) -> Pick {
        let same = |other: &&Variant| other.label == self.label;
        match &self.label {
            Some(label) if all.iter().filter(same).count() == 1 => Pick::Quant(label.clone()),
            _ => Pick::File(self.main.clone()),
        }
    }
}

/// The model that is meant, of the files with these names.
pub fn choose(names: &[&str], wanted: &Reference) -> Result<Variant> {
    let repo = wanted.repo.to_string();
    let all = ggufs(names);
    let found: Vec<&Variant> = match &wanted.pick {
        Pick::Quant(word) if word.eq_ignore_ascii_case(SAFETENSORS) => return safetensors(names, &repo),
        Pick::Default => match (usual(&all), all.is_empty()) {
            (_, true) => return safetensors(names, &repo),
            (usual, false) => usual,
        },
        Pick::Quant(word) => with_word(&all, word),
        Pick::File(name) => all.iter().filter(|variant| variant.files.contains(name)).collect(),
    };
    let choices = |variants: &mut dyn Iterator<Item = &Variant>| -> Vec<String> {
        let name = |v: &Variant| Reference { pick: v.pick(&all), ..wanted.clone() }.to_string();
        variants.map(name).collect()
    };
    match found[..] {
        [variant] if variant.complete => Ok(variant.clone()),
        [variant] => Err(Error::Incomplete { repo, model: variant.main.clone() }),
        [] => {
            let wanted = match &wanted.pick {
                Pick::File(name) => format!("file {name}"),
                Pick::Quant(word) => format!("GGUF file with {word} in its name"),
                Pick::Default => "model".into(),
            };
            Err(Error::NoSuchChoice { repo, wanted, choices: choices(&mut all.iter()) })
        }
        _ => Err(Error::Ambiguous { repo, choices: choices(&mut found.iter().copied()) }),
    }
}

/// All models of the files with these names, whole or not.
pub fn variants(names: &[&str]) -> Vec<Variant> {
    let mut all = ggufs(names);
    all.extend(safetensors(names, ""));
    all
}

/// The GGUF models. Projectors of images and tables of importance are none.
fn ggufs(names: &[&str]) -> Vec<Variant> {
    let is_model = |name: &str| {
        let (file, lower) = (file_name(name), name.to_ascii_lowercase());
        lower.ends_with(".gguf") && !file.starts_with("mmproj") && !file.contains("imatrix")
    };
    grouped(names.iter().copied().filter(|name| is_model(name)))
}

/// The first type of [`USUAL`] that there is, or else all: one, if it is clear what is meant.
fn usual(all: &[Variant]) -> Vec<&Variant> {
    let found = USUAL.iter().map(|word| with_word(all, word)).find(|found| !found.is_empty());
    found.unwrap_or_else(|| all.iter().collect())
}

/// Those whose type is the word, or if there are none those with it in their names.
fn with_word<'a>(all: &'a [Variant], word: &str) -> Vec<&'a Variant> {
    let is_label = |v: &&Variant| v.label.as_ref().is_some_and(|label| label.eq_ignore_ascii_case(word));
    let exact: Vec<&Variant> = all.iter().filter(is_label).collect();
    match exact.is_empty() {
        true => all.iter().filter(|v| has_word(file_name(&v.main), word)).collect(),
        false => exact,
    }
}

/// The safetensors files of the top folder with what belongs to them.
fn safetensors(names: &[&str], repo: &str) -> Result<Variant> {
    let top: Vec<&str> = names.iter().copied().filter(|name| !name.contains('/')).collect();
    let weights = grouped(top.iter().copied().filter(|name| name.ends_with(".safetensors")));
    let usual =
        weights.iter().find(|v| v.main == "model.safetensors" || v.main.starts_with("model-00001-of-"));
    let weights = match (usual, &weights[..]) {
        (Some(usual), _) => usual,
        (None, [only]) => only,
        (None, []) => {
            let torch = names.iter().any(|name| name.ends_with(".bin") || name.ends_with(".pth"));
            let what = if torch { "only PyTorch checkpoints" } else { "neither GGUF nor safetensors files" };
            return Err(Error::NoModel { repo: repo.into(), what: what.into() });
        }
        (None, several) => {
            let choices = several.iter().map(|v| v.main.clone()).collect();
            return Err(Error::Ambiguous { repo: repo.into(), choices });
        }
    };
    if !weights.complete {
        return Err(Error::Incomplete { repo: repo.into(), model: weights.main.clone() });
    }
    let is_vocabulary = |name: &str| name.starts_with("rwkv_vocab") && name.ends_with(".txt");
    let split = weights.files.len() > 1;
    let is_beside = |name: &&&str| BESIDE.contains(*name) || is_vocabulary(name) || split && **name == INDEX;
    let beside: Vec<String> = top.iter().filter(is_beside).map(|name| name.to_string()).collect();
    let has = |name: &str| beside.iter().any(|file| file == name);
    let tokenizer = has("tokenizer.json") || beside.iter().any(|name| is_vocabulary(name));
    Ok(Variant {
        main: String::new(),
        complete: has(CONFIG) && tokenizer && (!split || has(INDEX)),
        files: [weights.files.clone(), beside].concat(),
        label: Some(SAFETENSORS.into()),
    })
}

/// Files as models: `NAME-00001-of-0000N` and its other parts are one.
fn grouped<'a>(names: impl Iterator<Item = &'a str>) -> Vec<Variant> {
    let mut groups: BTreeMap<(&str, usize), Vec<(usize, &str)>> = BTreeMap::new();
    for name in names {
        let (stem, part, count) = part(name).unwrap_or((name, 1, 1));
        groups.entry((stem, count)).or_default().push((part, name));
    }
    let variant = |((stem, count), mut parts): ((&str, usize), Vec<(usize, &str)>)| {
        parts.sort();
        let complete = parts.iter().map(|(part, _)| *part).eq(1..=count);
        let files: Vec<String> = parts.iter().map(|(_, name)| name.to_string()).collect();
        let label = label(stem);
        Variant { main: files[0].clone(), files, label, complete }
    };
    groups.into_iter().map(variant).collect()
}

/// Name without the number, number and count of a part; `None` for whole files.
fn part(name: &str) -> Option<(&str, usize, usize)> {
    let (rest, _) = name.rsplit_once('.')?;
    let (rest, count) = rest.rsplit_once("-of-")?;
    let (stem, part) = rest.rsplit_once('-')?;
    let number = |digits: &str| digits.parse::<usize>().ok().filter(|n| digits.len() == 5 && *n > 0);
    Some((stem, number(part)?, number(count)?))
}

/// The last part of a path.
fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// True if `word` is in the name, in letters of any case, and is not the beginning
/// or the end of a longer one: Q4_K is not in Q4_K_M, and Q4_0 not in IQ4_0.
fn has_word(name: &str, word: &str) -> bool {
    let (name, word) = (name.to_ascii_lowercase(), word.to_ascii_lowercase());
    let inside = |c: char| c.is_ascii_alphanumeric();
    name.match_indices(&word).any(|(at, _)| {
        let (before, after) = (&name[..at], &name[at + word.len()..]);
        !before.ends_with(inside) && !after.starts_with(|c: char| inside(c) || c == '_')
    })
}

/// The type of quantization that a file's name tells, in capitals.
pub fn label(name: &str) -> Option<String> {
    let name = file_name(name);
    let stem = name.strip_suffix(".gguf").unwrap_or(name);
    let words: Vec<&str> = stem.split(['-', '.', ' ']).collect();
    let is_type = |word: &str| {
        let lower = word.to_ascii_lowercase();
        let digit = |prefix| {
            lower
                .strip_prefix(prefix)
                .is_some_and(|rest: &str| rest.starts_with(|c: char| c.is_ascii_digit()))
        };
        ["q", "iq", "tq"].into_iter().any(digit)
            || ["f16", "bf16", "f32", "fp16", "mxfp4", "mxfp4_moe"].contains(&&*lower)
    };
    for (i, word) in words.iter().enumerate().rev() {
        // `model_q4_0`: the type begins after some underscore.
        let starts = std::iter::once(0).chain(word.match_indices('_').map(|(at, _)| at + 1));
        let Some(found) = starts.map(|at| &word[at..]).find(|rest| is_type(rest)) else { continue };
        let dynamic = i > 0 && words[i - 1].eq_ignore_ascii_case("ud");
        return Some(format!("{}{found}", if dynamic { "UD-" } else { "" }).to_ascii_uppercase());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(names: &[&str], pick: &str) -> Result<Vec<String>> {
        choose(names, &format!("o/r{pick}").parse().unwrap()).map(|variant| variant.files)
    }

    #[test]
    fn words_are_whole() {
        assert!(has_word("Model-Q4_K_M.gguf", "q4_k_m") && has_word("model.q8_0.gguf", "Q8_0"));
        assert!(has_word("model_q8_0.gguf", "Q8_0") && has_word("M-UD-Q2_K.gguf", "ud-q2_k"));
        assert!(!has_word("Model-Q4_K_M.gguf", "Q4_K") && !has_word("Model-IQ4_XS.gguf", "Q4_XS"));
        assert!(!has_word("Model-Q4_K_M.gguf", "K_MM") && !has_word("Qwen3-0.6B.gguf", "Qwen"));
    }

    #[test]
    fn labels() {
        let is = |name: &str, label: &str| assert_eq!(super::label(name).as_deref(), Some(label), "{name}");
        is("Qwen2.5-0.5B-Instruct-Q4_K_M.gguf", "Q4_K_M");
        is("sub/qwen2.5-0.5b-q5_0.gguf", "Q5_0");
        is("ggml-model_q8_0.gguf", "Q8_0");
        is("M-UD-IQ1_S.gguf", "UD-IQ1_S");
        is("llama.BF16.gguf", "BF16");
        is("Q8_0/M-Q4_0.gguf", "Q4_0");
        assert_eq!(super::label("Qwen3-4B.gguf"), None);
    }

    #[test]
    fn a_quant_is_found_by_its_name() {
        let names = ["README.md", "M-Q4_K_M.gguf", "M-Q4_K_S.gguf", "M-Q8_0.gguf", "mmproj-M-Q8_0.gguf"];
        assert_eq!(chosen(&names, ":q4_k_s").unwrap(), ["M-Q4_K_S.gguf"]);
        assert_eq!(chosen(&names, ":Q8_0").unwrap(), ["M-Q8_0.gguf"]);
        assert_eq!(chosen(&names, "").unwrap(), ["M-Q4_K_M.gguf"]);
        assert_eq!(chosen(&names[2..], "").unwrap(), ["M-Q8_0.gguf"]);
        assert_eq!(chosen(&["M-Q3_K_S.gguf"], "").unwrap(), ["M-Q3_K_S.gguf"]);
        let error = chosen(&names, ":Q4_K").unwrap_err();
        assert!(error.hint().unwrap().contains("o/r:Q4_K_M, o/r:Q4_K_S, o/r:Q8_0"), "{error:?}");
        assert!(matches!(chosen(&names, "/M-Q5_0.gguf"), Err(Error::NoSuchChoice { .. })));
        // An exact type wins over one that has it as a part.
        let names = ["M-UD-Q4_K_M.gguf", "M-Q4_K_M.gguf"];
        assert_eq!(chosen(&names, ":Q4_K_M").unwrap(), ["M-Q4_K_M.gguf"]);
        assert_eq!(chosen(&names[..1], ":Q4_K_M").unwrap(), ["M-UD-Q4_K_M.gguf"]);
    }

    #[test]
    fn what_is_not_clear_is_asked() {
        let names = ["A-Q4_0.gguf", "B-Q4_0.gguf"];
        for pick in ["", ":q4_0"] {
            let error = chosen(&names, pick).unwrap_err();
            assert!(matches!(error, Error::Ambiguous { .. }));
            assert!(error.hint().unwrap().contains("o/r/A-Q4_0.gguf, o/r/B-Q4_0.gguf"), "{error:?}");
        }
        assert_eq!(chosen(&names, "/B-Q4_0.gguf").unwrap(), ["B-Q4_0.gguf"]);
        assert!(matches!(chosen(&["x-Q2_K.gguf", "x-Q3_K.gguf"], ""), Err(Error::Ambiguous { .. })));
    }

    #[test]
    fn parts_belong_together() {
        let names = ["d/M-Q4_0-00002-of-00002.gguf", "d/M-Q4_0-00001-of-00002.gguf", "M-Q8_0.gguf"];
        let parts = ["d/M-Q4_0-00001-of-00002.gguf", "d/M-Q4_0-00002-of-00002.gguf"];
        assert_eq!(chosen(&names, ":Q4_0").unwrap(), parts);
        assert_eq!(chosen(&names, "/d/M-Q4_0-00002-of-00002.gguf").unwrap(), parts);
        assert!(matches!(chosen(&names[1..], ":Q4_0"), Err(Error::Incomplete { .. })));
        // A number of parts that nobody could have does no harm.
        assert!(matches!(chosen(&["M-Q4_0-00001-of-99999.gguf"], ""), Err(Error::Incomplete { .. })));
    }

    #[test]
    fn safetensors_come_with_what_belongs_to_them() {
        let mut names = vec![
            "README.md",
            "config.json",
            "tokenizer.json",
            "sub/x.safetensors",
            "model.safetensors",
            INDEX,
        ];
        let single = ["model.safetensors", "config.json", "tokenizer.json"];
        assert_eq!(chosen(&names, "").unwrap(), single);
        let shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
        names.retain(|name| *name != "model.safetensors");
        names.extend(shards);
        names.push("consolidated.safetensors");
        assert_eq!(chosen(&names, "").unwrap(), [&shards[..], &single[1..], &[INDEX]].concat());
        names.push("x-Q3_K.gguf");
        assert_eq!(chosen(&names, "").unwrap(), ["x-Q3_K.gguf"]);
        assert_eq!(chosen(&names, ":safetensors").unwrap().len(), 5);
        let error = chosen(&["pytorch_model.bin"], "").unwrap_err();
        assert!(error.to_string().contains("PyTorch"), "{error}");
    }

    #[test]
    fn in_a_cache_something_may_be_missing() {
        let complete = |names: &[&str]| variants(names).iter().all(|v| v.complete);
        assert!(complete(&["model.safetensors", "config.json", "rwkv_vocab_v20230424.txt"]));
        assert!(!complete(&["model.safetensors", "tokenizer.json"]));
        assert!(!complete(&["model.safetensors", "config.json"]));
        assert!(!complete(&["model-00001-of-00001.safetensors"]));
    }
}
