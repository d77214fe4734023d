//! Sources with random mistakes: an error or a grammar, and neither a panic nor a crash.

use crate::common::{MODELS, Vocabulary};
use ingot_engine::grammar::{GrammarLimits, GrammarSpec};
use ingot_engine::rng::Rng;

const ROUNDS: usize = 400;
const PIECES: [&str; 24] = [
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    "{2,3}",
    "{,",
    "\"",
    "\\",
    "|",
    "*",
    "+",
    "?",
    "::=",
    ":",
    "\n",
    "#",
    "é",
    "\\u12",
    "<",
    "9999999999",
    "root",
    "-",
];

const GBNF: &str =
    "root ::= list | \"x\\n\\x41\"{1,3} # end\nlist ::= \"[\" (root (\",\" root)*)? [^a-z\\]] \"]\"\n";
const LARK: &str = "start: list | /x[a-z]+/ | A{1,3}\nlist: \"[\" (start (\",\" start)*)? \"]\"\nA: (\"a\" | \"b\"i)+ & ~/bb/\n";
const REGEX: &str = r"(?:[a-z]{1,3}|\d+\.\p{Lu}?)*(é|[^x-z\]])+";
const SCHEMA: &str = r##"{"type":"object","properties":{"a":{"$ref":"#/$defs/b"},"c":{"type":["string","null"],"pattern":"^a+"}},
    "required":["a"],"$defs":{"b":{"anyOf":[{"const":1},{"enum":["x",2.5]},{"type":"array","items":{"$ref":"#"},"maxItems":3}]}},
    "minProperties":1,"patternProperties":{"^x":{"multipleOf":0.5}},"allOf":[{"oneOf":[{"required":["c"]},true]}]}"##;

#[test]
fn mistakes_are_errors() {
    let vocabulary = Vocabulary::open(MODELS[0]);
    let mut rng = Rng::new(3);
    let mut below = |n: usize| (rng.next_u64() % n as u64) as usize;
    let (mut good, mut bad) = (0, 0);
    for round in 0..ROUNDS {
        let kind = round % 4;
        let mut source: Vec<char> = [GBNF, LARK, REGEX, SCHEMA][kind].chars().collect();
        for _ in 0..below(4) {
            let (from, to) = (below(source.len()), below(source.len()));
            match below(3) {
                0 => drop(source.splice(from..from, PIECES[below(PIECES.len())].chars())),
                1 => drop(source.drain(from..(from + 1 + below(5)).min(source.len()))),
                _ => source.swap(from, to),
            }
        }
        let source: String = source.into_iter().collect();
        let spec = match kind {
            0 => GrammarSpec::Gbnf(source),
            1 => GrammarSpec::Lark(source),
            2 => GrammarSpec::Regex(source),
            _ => match serde_json::from_str(&source) {
                Ok(schema) => GrammarSpec::JsonSchema(schema),
                Err(_) => continue,
            },
        };
        match vocabulary.grammars.compile(&spec, &GrammarLimits::default()) {
            Ok(mut grammar) => {
                good += 1;
                for _ in 0..20 {
                    let Some(token) = grammar.mask().ok().and_then(|mask| mask.iter().last()) else { break };
                    if grammar.is_finished() || grammar.accept(token).is_err() {
                        break;
                    }
                }
            }
            Err(error) => {
                bad += 1;
                assert!(error.to_string().len() > 10, "{error}");
            }
        }
    }
    assert!(good > 50 && bad > 50, "{good} grammars, {bad} errors");
}
