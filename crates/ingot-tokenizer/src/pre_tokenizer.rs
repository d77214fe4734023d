//! Splitting text into words before byte-level BPE, as each model was trained.
//!
//! The published patterns end in `\s+(?!\S)|\s+`: white space before a word
//! leaves its last character to that word. Look-ahead needs a backtracking
//! engine, which untrusted text can slow down without limit, so the patterns
//! here end in `\s+` and the rule is applied to the match afterwards.

use regex::Regex;

use crate::error::{Error, Result};

/// A vocabulary's way of splitting.
pub(crate) struct Family {
    /// The values of `tokenizer.ggml.pre` that mean it.
    names: &'static [&'static str],
    /// Applied one after the other, each to what the one before left over.
    patterns: &'static [&'static str],
    /// Words that are tokens are not merged from their bytes.
    pub ignore_merges: bool,
    /// Whether a beginning-of-sequence token is added when the file does not say.
    pub add_bos: bool,
}

/// The pattern of the byte-level pre-tokenizer itself.
pub(crate) const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+";
const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+";
const GPT4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+";
const DEEPSEEK3: &str = r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+"##;

const fn family(names: &'static [&'static str], patterns: &'static [&'static str]) -> Family {
    Family { names, patterns, ignore_merges: false, add_bos: false }
}

const FAMILIES: [Family; 10] = [
    family(&["gpt-2", "phi-2", "jina-es", "jina-de", "gigachat", "mpt", "olmo", "jais", "trillion"], &[GPT2]),
    family(&["default"], &[r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"]),
    family(&["falcon"], &[r"[\p{P}\$\+<=>\^~\|`]+", GPT2, "[0-9][0-9][0-9]"]),
    family(
        &["starcoder", "refact", "command-r", "smollm", "codeshell", "exaone", "minerva-7b"],
        &[r"\p{N}", GPT2],
    ),
    family(&["qwen2", "qwen3", "stablelm2", "deepseek-r1-qwen", "megrez", "hunyuan"], &[QWEN2]),
    Family {
        ignore_merges: true,
        add_bos: true,
        ..family(&["llama-bpe", "llama3", "llama-v3", "falcon3", "pixtral"], &[LLAMA3])
    },
    family(&["smaug-bpe", "dbrx", "chatglm-bpe", "glm4"], &[LLAMA3]),
    Family { ignore_merges: true, add_bos: true, ..family(&["tekken"], &[TEKKEN]) },
    family(&["gpt-4o", "llama4"], &[GPT4O]),
    family(&["deepseek-coder"], &[r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-퟿]+", r"\p{N}"]),
];
const DEEPSEEK_V3: Family =
    family(&["deepseek-v3", "hunyuan-dense"], &[r"\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+", DEEPSEEK3]);

/// The names of all families, those first that apply these patterns (as they are
/// published) and treat whole words alike.
pub(crate) fn names_like(patterns: Option<&[String]>, ignore_merges: bool) -> Vec<&'static str> {
    let patterns: Option<Vec<String>> =
        patterns.map(|all| all.iter().map(|p| p.replace(r"\s+(?!\S)|\s+", r"\s+")).collect());
    let mut families: Vec<&Family> = FAMILIES.iter().chain([&DEEPSEEK_V3]).collect();
    families.sort_by_key(|family| {
        (patterns.as_ref().is_none_or(|p| p != family.patterns), family.ignore_merges != ignore_merges)
    });
    families.into_iter().map(|family| family.names[0]).collect()
}

/// The family that a file's `tokenizer.ggml.pre` names.
pub(crate) fn find(name: &str) -> Result<&'static Family> {
    const ALL: [&[Family]; 2] = [&FAMILIES, &[DEEPSEEK_V3]];
    ALL.iter().copied().flatten().find(|family| family.names.contains(&name)).ok_or_else(|| {
        Error::Vocabulary(format!(
            "pre-tokenizer '{name}' (tokenizer.ggml.pre) is not known, and splitting text in another way would \
             give wrong tokens; if this model's tokenizer is one of a known family, convert the file with that \
             family's name, for example 'llama-bpe' or 'qwen2'"
        ))
    })
}

#[derive(Debug)]
struct Stage {
    pattern: Regex,
    /// White space that ends a line is matched by an alternative of its own.
    keeps_line_ends: bool,
}

/// Splits text into words.
#[derive(Debug)]
pub(crate) struct PreTokenizer {
    stages: Vec<Stage>,
}

impl PreTokenizer {
    pub(crate) fn new(family: &Family) -> Self {
        let stage = |pattern: &&str| Stage {
            pattern: Regex::new(pattern).expect("a pattern from the table above"),
            keeps_line_ends: pattern.contains(r"\s*[\r\n]+"),
        };
        Self { stages: family.patterns.iter().map(stage).collect() }
    }

    /// Calls `word` for each word, in order; together they are the text.
    pub(crate) fn split<'t>(
        &self,
        text: &'t str,
        word: &mut impl FnMut(&'t str) -> Result<()>,
    ) -> Result<()> {
        split_with(&self.stages, text, word)
    }
}

fn split_with<'t>(
    stages: &[Stage],
    text: &'t str,
    word: &mut impl FnMut(&'t str) -> Result<()>,
) -> Result<()> {
    if text.is_empty() {
        return Ok(());
    }
    let Some((stage, later)) = stages.split_first() else { return word(text) };
    let mut at = 0;
    while let Some(found) = stage.pattern.find_at(text, at) {
        split_with(later, &text[at..found.start()], word)?;
        let end = found.start() + stage.length_to_keep(found.as_str(), &text[found.end()..]);
        split_with(later, &text[found.start()..end], word)?;
        at = end;
    }
    split_with(later, &text[at..], word)
}

impl Stage {
    /// `\s+(?!\S)|\s+` for a match of `\s+`; other matches are kept whole.
    fn length_to_keep(&self, found: &str, rest: &str) -> usize {
        let Some(last) = found.chars().next_back() else { return 0 };
        let before_word = rest.chars().next().is_some_and(|c| !c.is_whitespace());
        let line_end = self.keeps_line_ends && matches!(last, '\r' | '\n');
        let shortened = found.len() - last.len_utf8();
        if before_word && shortened > 0 && !line_end && found.chars().all(char::is_whitespace) {
            shortened
        } else {
            found.len()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(name: &str, text: &str) -> Vec<String> {
        let mut words = Vec::new();
        let splitter = PreTokenizer::new(find(name).unwrap());
        splitter
            .split(text, &mut |word| {
                words.push(word.to_owned());
                Ok(())
            })
            .unwrap();
        assert_eq!(words.concat(), text);
        words
    }

    #[test]
    fn white_space_leaves_one_to_the_word() {
        for name in ["gpt-2", "llama-bpe", "qwen2"] {
            assert_eq!(words(name, "a   b"), ["a", "  ", " b"], "{name}");
            assert_eq!(words(name, "a  "), ["a", "  "], "{name}");
        }
        assert_eq!(words("gpt-2", "a\n\nb"), ["a", "\n", "\n", "b"]);
        assert_eq!(words("llama-bpe", "a\n\nb \n c"), ["a", "\n\n", "b", " \n", " c"]);
    }

    #[test]
    fn digits_by_family() {
        assert_eq!(words("gpt-2", "12345"), ["12345"]);
        assert_eq!(words("llama-bpe", "12345"), ["123", "45"]);
        assert_eq!(words("qwen2", "123"), ["1", "2", "3"]);
        assert_eq!(words("smollm", "a12 3"), ["a", "1", "2", " ", "3"]);
        assert_eq!(words("falcon", "12345"), ["123", "45"]);
        assert_eq!(words("deepseek-v3", "12345年"), ["123", "45", "年"]);
    }

    #[test]
    fn contractions_and_punctuation() {
        assert_eq!(words("gpt-2", "It's I'VE"), ["It", "'s", " I", "'", "VE"]);
        assert_eq!(words("llama-bpe", "It's I'VE!\n"), ["It", "'s", " I", "'VE", "!\n"]);
        assert_eq!(words("tekken", "helloWorld"), ["hello", "World"]);
        assert_eq!(words("gpt-4o", "It's a/"), ["It's", " a", "/"]);
    }

    #[test]
    fn names_of_published_patterns() {
        let first = |pattern: &str, ignore_merges| names_like(Some(&[pattern.to_owned()]), ignore_merges)[0];
        assert_eq!(first(&LLAMA3.replace(r"\s*[\r\n]+|\s+", r"\s*[\r\n]+|\s+(?!\S)|\s+"), true), "llama-bpe");
        assert_eq!(first(LLAMA3, false), "smaug-bpe");
        assert_eq!(first(QWEN2, false), "qwen2");
        assert_eq!(first(GPT2, false), "gpt-2");
        assert_eq!(names_like(None, true).len(), FAMILIES.len() + 1);
    }

    #[test]
    fn every_pattern_compiles_and_unknown_names_are_named() {
        for family in FAMILIES.iter().chain([&DEEPSEEK_V3]) {
            PreTokenizer::new(family);
        }
        let error = find("unheard-of").err().unwrap().to_string();
        assert!(error.contains("unheard-of"), "{error}");
    }
}
