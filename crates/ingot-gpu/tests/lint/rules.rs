//! What Metal or `kernels/README.md` demand and clang's C++ for OpenCL does not
//! see, found token by token.

use ingot_gpu::msl::{Kind, Signature, Token, constants};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// Words that Metal's language does not have, or that kernels do without.
const FORBIDDEN: &[&str] = &[
    "double",
    "goto",
    "virtual",
    "new",
    "delete",
    "try",
    "catch",
    "throw",
    "typeid",
    "dynamic_cast",
    "asm",
    "std",
    "union",
    "thread_local",
    "mutable",
    "friend",
];
const SPACES: &[&str] = &["device", "constant", "threadgroup", "thread"];
const TYPES: &[&str] = &[
    "bool", "char", "uchar", "short", "ushort", "int", "uint", "long", "ulong", "half", "float", "void",
    "auto",
];
/// Built-in values with the types they may have.
const BUILTINS: &[(&str, &[&str])] = &[
    ("threadgroup_position_in_grid", &["uint", "uint2", "uint3"]),
    ("threadgroups_per_grid", &["uint", "uint2", "uint3"]),
    ("thread_index_in_threadgroup", &["uint"]),
    ("thread_index_in_simdgroup", &["uint"]),
    ("simdgroup_index_in_threadgroup", &["uint"]),
];

/// Everything that is wrong with the tokens of a kernel's preprocessed text.
pub fn check(all: &[Token], signature: &Signature) -> Vec<String> {
    let mut wrong = header(all, signature);
    let code: Vec<Token> = all
        .iter()
        .filter(|t| !matches!(t.kind, Kind::Space | Kind::Directive | Kind::Attribute))
        .copied()
        .collect();
    words(&code, &mut wrong);
    pointers(&code, &mut wrong);
    members(&code, &mut wrong);
    program_scope(&code, &mut wrong);
    statics(&code, &mut wrong);
    arrays(&code, &mut wrong);
    recursion(&code, &mut wrong);
    wrong
}

/// Attributes, built-in values and specialisation constants.
fn header(all: &[Token], signature: &Signature) -> Vec<String> {
    let mut wrong = Vec::new();
    for builtin in &signature.builtins {
        match BUILTINS.iter().find(|(attribute, _)| *attribute == builtin.attribute) {
            None => wrong.push(format!("unknown attribute [[{}]]", builtin.attribute)),
            Some((_, kinds)) if !kinds.contains(&builtin.kind.as_str()) => {
                wrong.push(format!("[[{}]] is no {}", builtin.attribute, builtin.kind));
            }
            Some(_) => {}
        }
    }
    let constants = match constants(all) {
        Ok(constants) => constants,
        Err(error) => return vec![error.to_string()],
    };
    for (i, constant) in constants.iter().enumerate() {
        if constant.index as usize != i {
            wrong.push(format!("{} is function constant {}, expected {i}", constant.name, constant.index));
        }
        if !["uint", "int", "float", "bool"].contains(&constant.kind.as_str()) {
            wrong.push(format!("function constant {} is a {}", constant.name, constant.kind));
        }
    }
    let place = |i: &usize| signature.span.contains(i) || constants.iter().any(|c| c.span.contains(i));
    for i in (0..all.len()).filter(|i| all[*i].kind == Kind::Attribute && !place(i)) {
        wrong.push(format!("attribute {} out of place", all[i].text));
    }
    wrong
}

fn words(code: &[Token], wrong: &mut Vec<String>) {
    for (i, token) in code.iter().enumerate() {
        let text = token.text;
        match token.kind {
            Kind::Word if FORBIDDEN.contains(&text) => wrong.push(format!("'{text}' is not for kernels")),
            Kind::Word if text.starts_with("__") => wrong.push(format!("'{text}': such names are reserved")),
            Kind::Number if is_double(text) => wrong.push(format!("'{text}' is a double, write {text}f")),
            Kind::Sign if token.is_sign('[') => {
                let indexes = i > 0
                    && (code[i - 1].kind == Kind::Word
                        || code[i - 1].is_sign(']')
                        || code[i - 1].is_sign(')'));
                if !indexes {
                    wrong.push("a function without a name".into());
                }
            }
            _ => {}
        }
    }
}

fn is_double(number: &str) -> bool {
    !number.starts_with("0x") && number.contains(['.', 'e', 'E']) && !number.ends_with(['f', 'h'])
}

/// Pointers and references whose type does not begin with an address space. Clang
/// would take them as pointers to any.
fn pointers(code: &[Token], wrong: &mut Vec<String>) {
    let types = types(code);
    for i in (0..code.len()).filter(|&i| types.contains(code[i].text)) {
        let after = (i + 1..code.len()).find(|&j| !code[j].is_word("const")).unwrap_or(i);
        if !(code[after].is_sign('*') || code[after].is_sign('&')) {
            continue;
        }
        // Back over `const` and `typename A<B>::`.
        let mut begin = i;
        while begin > 0 && !SPACES.contains(&code[begin].text) {
            begin = match code[begin - 1].text {
                "const" | "struct" | "typename" => begin - 1,
                ":" if begin > 2 && code[begin - 2].is_sign(':') => before_path(code, begin - 3),
                space if SPACES.contains(&space) => begin - 1,
                _ => break,
            };
        }
        if !SPACES.contains(&code[begin].text) {
            wrong.push(format!("'{}' has no address space", near(code, i)));
        }
    }
}

/// Where `A` or `A<B>`, which ends at `last`, begins.
fn before_path(code: &[Token], last: usize) -> usize {
    if !code[last].is_sign('>') {
        return last;
    }
    let mut depth = 0;
    let open = (0..=last).rev().find(|&i| {
        depth += i32::from(code[i].is_sign('>')) - i32::from(code[i].is_sign('<'));
        depth == 0
    });
    open.map_or(last, |open| open.saturating_sub(1))
}

/// Names of types: the language's, and those that the text makes.
fn types<'a>(code: &[Token<'a>]) -> BTreeSet<&'a str> {
    let mut names: BTreeSet<&str> = TYPES.iter().copied().collect();
    for (i, token) in code.iter().enumerate() {
        let vector =
            TYPES.iter().any(|t| token.text.strip_prefix(t).is_some_and(|n| ["2", "3", "4"].contains(&n)));
        let matrix = token.text.starts_with("simdgroup_") && token.text.ends_with("8x8");
        if token.kind == Kind::Word && (vector || matrix) {
            names.insert(token.text);
        }
        let next = code.get(i + 1).map_or("", |t| t.text);
        match token.text {
            "struct" | "class" | "typename" | "using" | "enum" => names.insert(next),
            "typedef" => {
                let end = code[i..].iter().position(|t| t.is_sign(';')).unwrap_or(1);
                names.insert(code[i + end - 1].text)
            }
            _ => false,
        };
    }
    names
}

/// Access to a member of an element of device or threadgroup memory.
fn members(code: &[Token], wrong: &mut Vec<String>) {
    let mut memory = BTreeSet::new(); // names of pointers and arrays in this function
    let mut depth = 0;
    for i in 0..code.len() {
        depth += i32::from(code[i].is_sign('{')) - i32::from(code[i].is_sign('}'));
        if code[i].is_sign('}') && depth == 0 {
            memory.clear();
        }
        if code[i].is_word("device") || code[i].is_word("threadgroup") {
            // `device const T* const name` or `threadgroup T name[N]`
            let end = (i..code.len()).find(|&j| code[j].kind != Kind::Word && !code[j].is_sign('*'));
            let end = end.unwrap_or(code.len());
            let is_memory =
                code[i..end].iter().any(|t| t.is_sign('*')) || code.get(end).is_some_and(|t| t.is_sign('['));
            if is_memory && code[end - 1].kind == Kind::Word {
                memory.insert(code[end - 1].text);
            }
        }
        if memory.contains(code[i].text) {
            let element =
                if code.get(i + 1).is_some_and(|t| t.is_sign('[')) { closing(code, i + 1) } else { i };
            let next = |n: usize, sign: char| code.get(element + n).is_some_and(|t| t.is_sign(sign));
            if (element > i && next(1, '.')) || (next(1, '-') && next(2, '>')) {
                wrong.push(format!("'{}': load the whole element first", near(code, i)));
            }
        }
    }
}

/// Variables outside of functions that are not `constant`.
fn program_scope(code: &[Token], wrong: &mut Vec<String>) {
    let (mut depth, mut begin) = (0, 0);
    for (i, token) in code.iter().enumerate() {
        depth += i32::from(token.is_sign('{')) - i32::from(token.is_sign('}'));
        if depth > 0 || !(token.is_sign(';') || token.is_sign('}')) {
            continue;
        }
        let declaration = &code[begin..i];
        begin = i + 1;
        // Functions, types, and what is constant.
        let is_other = |t: &Token| ["(", "{", "struct", "class", "using", "typedef"].contains(&t.text);
        let is_other =
            declaration.first().is_none_or(|t| t.is_word("constant")) || declaration.iter().any(is_other);
        if !is_other {
            wrong.push(format!("'{}' is not `constant`", near(declaration, 0)));
        }
    }
}

/// The same for members and variables in functions that are `static`.
fn statics(code: &[Token], wrong: &mut Vec<String>) {
    for i in (0..code.len()).filter(|&i| code[i].is_word("static")) {
        let declaration: Vec<Token> =
            code[i..].iter().take_while(|t| !["(", "{", "=", ";"].contains(&t.text)).copied().collect();
        let is_function = code.get(i + declaration.len()).is_some_and(|t| t.is_sign('('));
        if !is_function && !declaration.iter().any(|t| t.is_word("constant")) {
            wrong.push(format!("'{}' is not `constant`", near(code, i)));
        }
    }
}

/// Functions that call themselves, be it through others. Overloaded ones are left
/// out: which of them is called is more than tokens tell.
fn recursion(code: &[Token], wrong: &mut Vec<String>) {
    let mut calls: BTreeMap<&str, Option<BTreeSet<&str>>> = BTreeMap::new();
    let (mut i, mut name) = (0, None);
    while i < code.len() {
        if code[i].is_sign('(') && i > 0 && code[i - 1].kind == Kind::Word {
            name = Some(code[i - 1].text);
            i = closing(code, i);
        } else if code[i].is_sign('{') {
            let body = block(code, i);
            if let Some(name) = name.take() {
                let called = |j: &usize| {
                    code[*j].kind == Kind::Word && code.get(j + 1).is_some_and(|t| t.is_sign('('))
                };
                let called = body.clone().filter(called).map(|j| code[j].text).collect();
                calls.entry(name).and_modify(|overloaded| *overloaded = None).or_insert(Some(called));
            }
            i = body.end - 1;
        } else if code[i].is_sign(';') {
            name = None;
        }
        i += 1;
    }
    for &name in calls.keys() {
        let (mut reached, mut pending) = (BTreeSet::new(), vec![name]);
        while let Some(next) = pending.pop() {
            let called = calls.get(next).and_then(|c| c.as_ref());
            pending.extend(called.into_iter().flatten().filter(|c| reached.insert(**c)));
        }
        if reached.contains(name) {
            wrong.push(format!("'{name}' calls itself"));
        }
    }
}

/// Threadgroup memory other than arrays of one dimension.
fn arrays(code: &[Token], wrong: &mut Vec<String>) {
    for range in declarations(code) {
        let declared = &code[range.clone()];
        let pairs = || declared.windows(2);
        if !declared.iter().any(|t| t.is_sign('[')) || declared.iter().any(|t| t.is_sign('=')) {
            wrong.push(format!("'{}' is no array, or initialised", near(code, range.start)));
        } else if pairs().any(|pair| pair[0].is_sign(']') && pair[1].is_sign('[')) {
            wrong.push(format!("'{}' has more than one dimension", near(code, range.start)));
        }
    }
}

/// Names of the arrays that a kernel's body declares in threadgroup memory.
pub fn threadgroup_arrays<'a>(body: &[Token<'a>]) -> Vec<&'a str> {
    let spaces = |t: &&Token| !matches!(t.kind, Kind::Space | Kind::Directive);
    let code: Vec<Token<'a>> = body.iter().filter(spaces).copied().collect();
    let mut names = Vec::new();
    for range in declarations(&code) {
        let mut depth = 0;
        for j in range {
            if code[j].is_sign('[') && depth == 0 && code[j - 1].kind == Kind::Word {
                names.push(code[j - 1].text);
            }
            depth += i32::from(code[j].is_sign('[')) - i32::from(code[j].is_sign(']'));
        }
    }
    names
}

/// Declarations of threadgroup memory (of pointers to it not), without the semicolon.
fn declarations(code: &[Token]) -> Vec<Range<usize>> {
    let begins = |i: &usize| code[*i].is_word("threadgroup") && [";", "{", "}"].contains(&code[i - 1].text);
    let whole = |i: usize| i..(i..code.len()).find(|&j| code[j].is_sign(';')).unwrap_or(code.len());
    let is_memory = |range: &Range<usize>| {
        code[range.clone()].iter().find(|t| t.kind != Kind::Word).is_none_or(|t| !t.is_sign('*'))
    };
    (1..code.len()).filter(begins).map(whole).filter(is_memory).collect()
}

/// The block that begins at the `{` at `open`, with both braces.
pub fn block(code: &[Token], open: usize) -> Range<usize> {
    open..closing(code, open) + 1
}

/// Where the bracket at `open` is closed.
fn closing(code: &[Token], open: usize) -> usize {
    let (begin, end) = match code[open].text {
        "(" => ('(', ')'),
        "[" => ('[', ']'),
        _ => ('{', '}'),
    };
    let mut depth = 0;
    (open..code.len())
        .find(|&i| {
            depth += i32::from(code[i].is_sign(begin)) - i32::from(code[i].is_sign(end));
            depth == 0
        })
        .unwrap_or(code.len() - 1)
}

/// A few tokens, for messages.
fn near(code: &[Token], at: usize) -> String {
    let some: Vec<&str> = code[at..].iter().take(8).map(|t| t.text).collect();
    some.join(" ")
}
