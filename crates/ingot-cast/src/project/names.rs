//! Names from files and people as names in a program.

/// Longest name of a project.
const LONGEST: usize = 64;

/// What no package or library can be called, or should not: Rust's keywords, its own
/// libraries, names of devices on Windows, folders cargo makes, and what a project is made of.
const RESERVED: &[&str] = &[
    "abstract",
    "alloc",
    "as",
    "async",
    "aux",
    "await",
    "become",
    "box",
    "break",
    "build",
    "con",
    "const",
    "continue",
    "core",
    "crate",
    "deps",
    "do",
    "dyn",
    "else",
    "enum",
    "examples",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "incremental",
    "let",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "nul",
    "override",
    "priv",
    "prn",
    "proc_macro",
    "pub",
    "ref",
    "return",
    "self",
    "static",
    "std",
    "struct",
    "super",
    "test",
    "trait",
    "true",
    "try",
    "type",
    "typeof",
    "union",
    "unsafe",
    "unsized",
    "use",
    "virtual",
    "where",
    "while",
    "yield",
];

/// A package's name made of any text: lower-case letters of ASCII, digits and single hyphens,
/// beginning with a letter.
pub fn package(text: &str) -> String {
    let mut name = String::new();
    for c in text.chars().map(|c| c.to_ascii_lowercase()) {
        match c {
            'a'..='z' | '0'..='9' => name.push(c),
            _ if name.ends_with('-') || name.is_empty() => {}
            _ => name.push('-'),
        }
    }
    name.truncate(LONGEST);
    let name = name.trim_end_matches('-');
    let library = library(name);
    let is_ours = library.starts_with("ingot_");
    let is_device = ["com", "lpt"].iter().any(|d| name.strip_prefix(d).is_some_and(|n| n.len() == 1));
    let begins = name.starts_with(|c: char| c.is_ascii_lowercase());
    match begins && !is_ours && !is_device && !RESERVED.contains(&library.as_str()) {
        true => name.into(),
        false => format!("model-{name}").trim_end_matches('-').into(),
    }
}

/// The name of a package's library.
pub fn library(package: &str) -> String {
    package.replace('-', "_")
}

/// Any text as part of a line of comment or Markdown: printable, without characters that
/// end a line, change the direction of writing or mean something to Markdown.
pub fn plain(text: &str) -> String {
    let shown = |c: char| match c {
        '`' | '*' | '_' | '<' | '>' | '[' | ']' | '|' | '\\' => Some(if c == '_' { '_' } else { ' ' }),
        c if c.is_alphanumeric() || c.is_ascii_graphic() || c == ' ' => Some(c),
        _ => None,
    };
    text.chars().filter_map(shown).take(200).collect()
}

/// Any text as a literal of a program, in ASCII.
pub fn literal(text: &str) -> String {
    format!("\"{}\"", text.escape_default().to_string().replace("\\'", "'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages() {
        for (text, name) in [
            ("tale-llama", "tale-llama"),
            ("Qwen2.5 0.5B_Instruct", "qwen2-5-0-5b-instruct"),
            ("7b", "model-7b"),
            ("../../etc/passwd", "etc-passwd"),
            ("\u{202e}gnp.exe", "gnp-exe"),
            ("模型", "model"),
            ("", "model"),
            ("fn", "model-fn"),
            ("proc-macro", "model-proc-macro"),
            ("ingot-runtime", "model-ingot-runtime"),
            ("CON", "model-con"),
            ("com1", "model-com1"),
            ("a\"]\n[dependencies]", "a-dependencies"),
        ] {
            assert_eq!(package(text), name, "{text:?}");
        }
        assert!(package(&"x".repeat(1000)).len() <= LONGEST);
    }

    #[test]
    fn texts_stay_what_they_are() {
        assert_eq!(literal("a\"b\\c\n\u{202e}'"), r#""a\"b\\c\n\u{202e}'""#);
        assert_eq!(plain("a\n//b\u{202e}`c`"), "a//b c ");
    }
}
