//! The language against results of the original Jinja (version 3.1, with the
//! settings that published templates are written for), and the limits.

use serde_json::{Map, Value as Json, json};

use super::Template;

mod conformance;

fn render(source: &str, context: Json) -> Result<String, String> {
    let Json::Object(context) = context else { panic!("the context is a map") };
    Template::parse(source)?.render(&context)
}

#[track_caller]
fn check(source: &str, expected: &str) {
    let context = json!({
        "name": "World", "n": 7, "f": 2.5, "yes": true, "nothing": null,
        "words": ["b", "A", "c"], "map": {"one": 1, "two": 2},
        "messages": [{"role": "user", "content": " hi "}, {"role": "assistant", "content": "ho"}],
    });
    assert_eq!(render(source, context).as_deref(), Ok(expected), "{source}");
}

#[test]
fn undefined_values() {
    check("[{{ missing }}{{ map.missing }}]", "[]");
    check("{{ missing is defined }} {{ map.missing is not defined }}", "False True");
    check("{% for x in missing %}x{% else %}none{% endfor %}", "none");
    check("{{ missing | default('d') }} {{ '' | default('d', true) }}", "d d");
    assert!(render("{{ missing.field }}", json!({})).unwrap_err().contains("undefined"));
    assert!(render("{{ missing + 'x' }}", json!({})).is_err());
}

#[test]
fn messages_name_the_line_and_the_cause() {
    for (source, expected) in [
        ("a\n{{ 1 + }}", "line 2: expected a value, found '}}'"),
        ("{% if x %}", "endif"),
        ("{{ x", "not closed with }}"),
        ("{{ 'x }}", "string is not closed"),
        ("{% include 'x' %}", "'include' blocks are not supported"),
        ("{{ x | nofilter }}", "nofilter"),
        ("{{ nofunction() }}", "nofunction"),
        ("\n\n{{ raise_exception('no system role') }}", "line 3: no system role"),
        ("{% break %}", "outside of a loop"),
        ("{{ 'x'.nomethod() }}", "a string has no method 'nomethod'"),
        ("{{ [1, 'a'] | sort }}", "cannot order"),
    ] {
        let error = render(source, json!({"x": 1})).unwrap_err();
        assert!(error.contains(expected), "{source}: {error}");
    }
}

/// Everything that could take memory, time or stack without end is refused.
#[test]
fn limits() {
    let deep = |open: &str, close: &str, n: usize| format!("{}1{}", open.repeat(n), close.repeat(n));
    let chain = |op: &str| format!("{{{{ x{} }}}}", op.repeat(50_000));
    let sources = [
        "{% for i in range(1000000000) %}x{% endfor %}".into(),
        "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}".into(),
        "{% set ns = namespace(s='xxxxxxxx') %}{% for i in range(64) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}".into(),
        "{% set ns = namespace(s='x') %}{% for i in range(64) %}{% set b %}{{ ns.s }}{{ ns.s }}{% endset %}{% set ns.s = b %}{% endfor %}".into(),
        "{% set ns = namespace(l=[1]) %}{% for i in range(64) %}{% set ns.l = ns.l + ns.l %}{% endfor %}".into(),
        // Small in memory, but endless to print or compare.
        "{% set ns = namespace(l=[1]) %}{% for i in range(64) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l }}".into(),
        "{% set ns = namespace(l=[1], m=[1]) %}{% for i in range(64) %}{% set ns.l = [ns.l, ns.l] %}{% set ns.m = [ns.m, ns.m] %}{% endfor %}{{ ns.l == ns.m }}".into(),
        "{% set ns = namespace(l=[1]) %}{% for i in range(64) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l | tojson }}".into(),
        // Would overflow the stack when dropped.
        "{% set ns = namespace(l=[]) %}{% for i in range(100000) %}{% set ns.l = [ns.l] %}{% endfor %}".into(),
        "{% set ns = namespace() %}{% set ns.x = ns %}".into(),
        "{{ 'x' * 100000000000 }}".into(),
        "{{ [0] * 100000000000 }}".into(),
        "{{ range(0, 9223372036854775807) }}".into(),
        "{{ ('x' * 10000).replace('', 'y' * 10000) }}".into(),
        "{{ 'x' | indent(99999999999, true) }}".into(),
        "{{ [1] | tojson(indent=99999999999) }}".into(),
        "{{ (['x'] * 10000) | join('y' * 10000) }}".into(),
        "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}".into(),
        "{% macro f(x) %}{{ f(x) }}{{ f(x) }}{% endmacro %}{{ f(1) }}".into(),
        format!("{{{{ {} }}}}", deep("(", ")", 25_000)),
        format!("{{{{ {} }}}}", deep("[", "]", 25_000)),
        format!("{{{{ {} }}}}", deep("{'a':", "}", 25_000)),
        format!("{{{{ {} }}}}", deep("-", "", 25_000)),
        format!("{{{{ {}1 }}}}", "not ".repeat(25_000)),
        chain("~x"),
        chain(".x"),
        chain("[0]"),
        chain("|trim"),
        chain(" is x"),
        chain(" if x"),
        chain(" if x else x"),
        format!("{{{{ {} }}}}", deep("(", ")", 65)),
        "{% if x %}".repeat(2_000),
        "x".repeat(super::MAX_SOURCE + 1),
    ];
    for source in sources {
        let start = std::time::Instant::now();
        let short: String = source.chars().take(80).collect();
        // A small stack, as the threads of a server have.
        let result = std::thread::Builder::new()
            .stack_size(1 << 20)
            .spawn(move || render(&source, json!({"x": "x"})))
            .unwrap()
            .join()
            .unwrap();
        assert!(result.is_err(), "{short}: {} bytes", result.unwrap().len());
        assert!(start.elapsed().as_millis() < 1000, "{short}: {:?}", start.elapsed());
    }
}

/// The deepest source and recursion that are let through fit a small stack.
#[test]
fn deep_but_allowed() {
    let nested = format!("{{{{ {}1{} }}}}", "(".repeat(62), ")".repeat(62));
    let chain = format!("{{{{ 'x'{} }}}}", " ~ 'x'".repeat(120));
    let blocks = format!("{}x{}", "{% if true %}".repeat(60), "{% endif %}".repeat(60));
    let recursion =
        "{% macro f(n) %}{% if n > 0 %}{{ [f(n - 1)] | join }}{% endif %}.{% endmacro %}{{ f(25) }}".into();
    for source in [nested, chain, blocks, recursion] {
        let rendered = std::thread::Builder::new()
            .stack_size(1 << 20)
            .spawn(move || render(&source, json!({})).unwrap())
            .unwrap()
            .join()
            .unwrap();
        assert!(!rendered.is_empty());
    }
}

/// Long conversations are granted what they need.
#[test]
fn a_megabyte_of_conversation() {
    let messages: Vec<Json> = (0..500)
        .map(|i| json!({"role": "user", "content": format!("{i} {}", "word ".repeat(400))}))
        .collect();
    let source = "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] | trim | replace('word', 'WORD') }}\n{% endfor %}";
    let text = render(source, json!({"messages": messages})).unwrap();
    assert_eq!(text.matches("WORD").count(), 200_000);
}

#[test]
fn context_is_a_map() {
    assert_eq!(Template::parse("x").unwrap().render(&Map::new()).unwrap(), "x");
}
