//! llama.cpp's grammars: what they accept and what they do not.

use crate::common::{MODELS, Vocabulary};
use ingot_engine::grammar::GrammarSpec;

/// Checks texts of a grammar, texts that are none, and that random ones are JSON or whatever `valid` says.
fn check(source: &str, accepted: &[&str], refused: &[&str], valid: impl Fn(&str) -> bool) {
    for model in [MODELS[0], MODELS[3], MODELS[5]] {
        let vocabulary = Vocabulary::open(model);
        let grammar = vocabulary.compile(&GrammarSpec::Gbnf(source.into()));
        for text in accepted {
            // A SentencePiece vocabulary may put a space in front.
            assert!(vocabulary.matches(&grammar, text) || model == MODELS[3], "{model}: {text:?} is refused");
        }
        for text in refused {
            assert!(!vocabulary.matches(&grammar, text), "{model}: {text:?} is accepted");
        }
        for seed in 0..20 {
            let text = vocabulary.walk(&mut grammar.clone(), seed);
            assert!(valid(&text), "{model}: {text:?}");
        }
    }
}

#[test]
fn json() {
    let source = r#"
# Anything that JSON can say.
root ::= value space
value ::= (object | list | text | number | "true" | "false" | "null")
object ::= "{" space (pair ("," space pair)*)? "}"
pair ::= text ":" space value space
list ::= "[" space (
    value space     # the first
    ("," space value space)*
  )? "]"
text ::= "\"" ([^"\\\x00-\x1f] | "\\" (["\\/bfnrt] | "u" [0-9a-fA-F]{4}))* "\""
number ::= "-"? ("0" | [1-9] [0-9]*) ("." [0-9]+)? ([eE] [-+]? [0-9]+)?
space ::= [ \t\n]{0,8}
"#;
    check(
        source,
        &["{}", "[]", "{\"a\": [1, -2.5e3, \"x\\u00e9\\n\"],\n\"b\":{\"c\":null}}", "0 ", "[[[[true]]]]"],
        &["{", "[1,]", "01", "{a:1}", "\"\\x\"", "[1]]", ""],
        |text| serde_json::from_str::<serde_json::Value>(text).is_ok(),
    );
}

#[test]
fn arithmetic() {
    let source = r#"
root ::= (sum "=" blank number "\n")+
sum ::= term (operator term)*
operator ::= [-+*/] blank
term ::= name | number | "(" blank sum ")" blank
name ::= [a-z] [a-z0-9_]* blank
number ::= [0-9]+ blank
blank ::= " "*
"#;
    check(
        source,
        &["1+2=3\n", "(a1 - 2)*( b/4 )= 7\nx=1\n"],
        &["1+=3\n", "1=3", "(1=3\n", "1=x\n"],
        |text| text.ends_with('\n') && text.matches('(').count() == text.matches(')').count(),
    );
}

#[test]
fn lists() {
    let source = "root ::= item+\n# One item\nitem ::= \"- \" [^\\r\\n]{1,30} \"\\n\"";
    check(source, &["- a\n", "- one\n- zwei – drei\n"], &["- \n", "-a\n", "- a", "- a\n- b"], |text| {
        text.lines().all(|line| line.starts_with("- ") && line.len() > 2)
    });
}

/// A game as `1. e4 e5\n2. Nf3 Nc6\n...`.
#[test]
fn chess() {
    let source = r#"
root ::= "1. " move " " move "\n" ([1-9] [0-9]? ". " move " " move "\n")+
move ::= (piece | pawn | castle) [+#]?
piece ::= [NBKQR] [a-h]? [1-8]? "x"? square
pawn ::= ([a-h] "x")? square ("=" [NBQR])?
castle ::= "O-O" "-O"?
square ::= [a-h] [1-8]
"#;
    check(
        source,
        &["1. e4 e5\n2. Nf3 Nc6\n", "1. d4 d5\n2. O-O-O+ exd8=Q#\n10. Rad1 Kxa8\n"],
        &["1. e4 e5\n", "1. e9 e5\n2. Nf3 Nc6\n", "2. e4 e5\n2. Nf3 Nc6\n"],
        |text| text.starts_with("1. ") && text.lines().count() >= 2,
    );
}

/// Without recursion nothing is lost to terminals that take as much as they can.
#[test]
fn no_greed_without_recursion() {
    check(
        r#"root ::= ("a" | "ab") [a-c]{2,3} tail tail ::= "c" | [^a-y]? "\U0001F600" "#,
        &["abcc", "abbcc", "aaac", "acc😀", "aabz😀", "aabé\u{1F600}"],
        &["abc", "aabca😀", "😀"],
        |text| text.starts_with('a'),
    );
}

#[test]
fn spellings() {
    check(
        "root ::= one{2} | two{1,} three{0,1}\n  | [\\]\\[^-]+ \"\\x41\\u00e9\\\"\\\\\"\n\none ::=\n  \"1\"\ntwo::=\"2\"three ::= . ",
        &["11", "2", "22x", "2\n", "]^-[Aé\"\\"],
        &["1", "111", "x", "2xy", "Aé\"\\"],
        |text| !text.is_empty(),
    );
}

/// A grammar of its own size in Lark: rules that lead back to themselves in every way.
#[test]
fn recursion() {
    check(
        "root ::= left | right \"!\" | middle\nleft ::= left \"a\" | \"a\"\nright ::= \"b\" right | \"\"\nmiddle ::= \"(\" middle \")\" | \"c\"",
        &["aaa", "bb!", "!", "((c))", "c"],
        &["", "b", "((c)", "ab!"],
        |text| text.chars().all(|c| "ab!()c".contains(c)),
    );
}

#[test]
fn errors_say_where() {
    let vocabulary = Vocabulary::open(MODELS[0]);
    for (source, expected) in [
        ("", "no rule 'root'"),
        ("rot ::= \"a\"", "no rule 'root'"),
        ("root ::= a\n  b\na ::= \"x\"", "line 2, column 3: there is no rule \"b\""),
        ("root ::= \"a", "line 1, column 10: this string does not end"),
        ("root ::= [a", "line 1, column 10: this set of characters does not end"),
        ("root ::= [z-a]", "line 1, column 14: the range from 'z' to 'a' is empty"),
        ("root ::= []", "no characters"),
        ("root ::= (\"a\"", "expected ')'"),
        ("root ::= \"a\")", "no '(' to this ')'"),
        ("root ::= *", "nothing to repeat"),
        ("root ::= \"a\"{3,2}", "fewer than"),
        ("root ::= \"a\"{1000000000}", "at most 100000 repetitions"),
        ("root ::= \"a\"{99999999999999999999}", "at most 100000 repetitions"),
        ("root ::= \"a\"{,3}", "expected a number"),
        ("root ::= \"a\"{1", "expected '}'"),
        ("root ::= \"\\q\"", "unknown escape"),
        ("root ::= \"\\xé\"", "expected 2 hexadecimal digits"),
        ("root ::= \"\\ud800\"", "expected 4 hexadecimal digits that are a character"),
        ("root ::= <think>", "tokens in grammars are not supported"),
        ("root = \"a\"", "line 1, column 6: expected '::='"),
        ("root ::= \"a\"\nroot ::= \"b\"", "line 2, column 1: a second rule \"root\""),
        ("root ::= é", "unexpected 'é'"),
        ("root ::= root", "matches nothing"),
    ] {
        let error = vocabulary.error(&GrammarSpec::Gbnf(source.into()));
        assert!(error.contains(expected), "{source:?}: {error}");
    }
}
