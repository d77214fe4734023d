//! A kernel's tokens as C++ for the simulator.
//!
//! Only address spaces, attributes and specialisation constants change, and every
//! token stays in its line, so that the compiler's messages and the debugging
//! information speak of the kernel's own lines.

use super::lexer::{Kind, Token, tokens};
use super::signature::{BufferParam, Builtin, ConstantDecl, Signature, SyntaxError, constants, signature};
use std::fmt::Write;

/// A kernel as C++, to be compiled behind the prelude.
#[derive(Clone, Debug)]
pub struct SimCode {
    /// The text.
    pub text: String,
    /// What the kernel takes.
    pub signature: Signature,
    /// Its specialisation constants, by index.
    pub constants: Vec<ConstantDecl>,
}

/// What a kernel's lines are said to belong to, for `#line`.
pub const FILE: &str = "kernel.metal";

/// Translates an expanded source (see [`crate::source::expand`]).
pub fn emit(source: &str) -> Result<SimCode, SyntaxError> {
    let tokens = tokens(source);
    let signature = signature(&tokens)?;
    let mut constants = constants(&tokens)?;
    constants.sort_by_key(|c| c.index);
    if let Some((n, c)) = constants.iter().enumerate().find(|(n, c)| c.index as usize != *n) {
        return Err(SyntaxError(format!("constant {} has index {}, expected {n}", c.name, c.index)));
    }
    let mut emitter =
        Emitter { constants: &constants, body: signature.span.end, arrays: 0, out: String::new() };
    emitter.all(&tokens)?;
    let mut text = format!("namespace msl {{\n#line 1 \"{FILE}\"\n{}\n#line 1 \"entry\"\n", emitter.out);
    entry(&signature, &mut text)?;
    text += "} // namespace msl\n";
    Ok(SimCode { text, signature, constants })
}

/// What the simulator calls: binds the operands and built-in values.
fn entry(signature: &Signature, out: &mut String) -> Result<(), SyntaxError> {
    let buffers = signature.buffers.iter().enumerate().map(|(n, BufferParam { element, is_const, .. })| {
        Ok(format!("sim::bind<{}{element}>({n})", if *is_const { "const " } else { "" }))
    });
    let arguments: Vec<String> =
        buffers.chain(signature.builtins.iter().map(builtin)).collect::<Result<_, SyntaxError>>()?;
    let _ = write!(
        out,
        "static void ingot_sim_body() {{ sim::Machine& m = sim::machine(); (void)m; {}({}); }}\n\
         extern \"C\" __attribute__((visibility(\"default\"))) int ingot_sim_run(sim::Launch* launch) {{\n\
         return sim::run(launch, ingot_sim_body); }}\n",
        signature.name,
        arguments.join(", ")
    );
    Ok(())
}

fn builtin(b: &Builtin) -> Result<String, SyntaxError> {
    let parts = match b.attribute.as_str() {
        "threadgroup_position_in_grid" => ["m.at[0]", "m.at[1]", "m.at[2]"],
        "threadgroups_per_grid" => ["m.launch->grid[0]", "m.launch->grid[1]", "m.launch->grid[2]"],
        "thread_index_in_threadgroup" => ["m.current", "", ""],
        "thread_index_in_simdgroup" => ["m.current % 32", "", ""],
        "simdgroup_index_in_threadgroup" => ["m.current / 32", "", ""],
        other => {
            return Err(SyntaxError(format!("'{}' asks for [[{other}]], which is not supplied", b.name)));
        }
    };
    let count = match b.kind.as_str() {
        "uint" => 1,
        "uint2" => 2,
        "uint3" => 3,
        other => return Err(SyntaxError(format!("'{}' is {other}, not uint, uint2 or uint3", b.name))),
    };
    if parts[count - 1].is_empty() {
        return Err(SyntaxError(format!("'{}': [[{}]] is a uint", b.name, b.attribute)));
    }
    Ok(format!("{}({})", b.kind, parts[..count].join(", ")))
}

struct Emitter<'a> {
    constants: &'a [ConstantDecl],
    /// Index of the `{` of the kernel's body.
    body: usize,
    /// Threadgroup arrays so far.
    arrays: usize,
    out: String,
}

impl Emitter<'_> {
    fn all(&mut self, tokens: &[Token]) -> Result<(), SyntaxError> {
        let (mut i, mut depth, mut depth_of_body) = (0, 0, None);
        while i < tokens.len() {
            let token = tokens[i];
            if let Some(c) = self.constants.iter().find(|c| c.span.start == i) {
                self.only_lines(&tokens[c.span.clone()]);
                i = c.span.end;
                continue;
            }
            match token.text {
                "{" | "(" => depth += 1,
                "}" | ")" => depth -= 1,
                _ => {}
            }
            if i == self.body {
                depth_of_body = Some(depth);
            }
            i = match (token.kind, token.text) {
                (Kind::Word, "threadgroup") if is_array(tokens, i) => {
                    if depth_of_body != Some(depth) {
                        return Err(SyntaxError(
                            "threadgroup arrays are declared at the top level of the kernel's body".into(),
                        ));
                    }
                    self.arrays(tokens, i)?
                }
                (Kind::Word, "constant") => {
                    self.out += if depth == 0 { "static const" } else { "const" };
                    i + 1
                }
                _ => self.token(tokens, i)?,
            };
        }
        Ok(())
    }

    /// One token, or the several of a pointer's type; where to go on.
    fn token(&mut self, tokens: &[Token], i: usize) -> Result<usize, SyntaxError> {
        let token = tokens[i];
        match (token.kind, token.text) {
            (Kind::Attribute, _) => self.only_lines(&tokens[i..=i]),
            (Kind::Directive, text) => self.directive(text)?,
            (Kind::Word, "kernel") => self.out += "static",
            (Kind::Word, "thread") => {}
            (Kind::Word, "const") if matches!(word(tokens, i + 1), "device" | "threadgroup") => {}
            (Kind::Word, space @ ("device" | "threadgroup")) => return self.pointer(tokens, i, space),
            (Kind::Word, name) => match self.constants.iter().find(|c| c.name == name) {
                Some(c) => {
                    let _ = write!(self.out, "sim::constant_value<{}>({})", c.kind, c.index);
                }
                None => self.out += name,
            },
            (Kind::Number, text) if text.ends_with('h') && !text.starts_with("0x") => {
                let digits = &text[..text.len() - 1];
                let _ = write!(self.out, "half(float({digits}))");
            }
            (_, text) => self.out += text,
        }
        Ok(i + 1)
    }

    /// `device [const] T*`
    fn pointer(&mut self, tokens: &[Token], i: usize, space: &str) -> Result<usize, SyntaxError> {
        let before = tokens[..i].iter().rev().find(|t| t.kind != Kind::Space);
        let mut is_const = before.is_some_and(|t| t.is_word("const"));
        let mut element = String::new();
        for (k, token) in tokens.iter().enumerate().skip(i + 1) {
            match token.kind {
                Kind::Space => element.push(' '),
                Kind::Word if token.text == "const" => is_const = true,
                Kind::Word => element += token.text,
                Kind::Sign if matches!(token.text, "<" | ">" | ":") => element += token.text,
                Kind::Sign if token.text == "*" => {
                    let qualifier = if is_const { "const " } else { "" };
                    let _ = write!(self.out, "{space}_ptr<{qualifier}{}>", element.trim());
                    self.only_lines(&tokens[i..k]);
                    return Ok(k + 1);
                }
                _ => break,
            }
        }
        Err(SyntaxError(format!("'{space}{element}' is not `{space} [const] T*`")))
    }

    /// `threadgroup T a[SIZE], b[SIZE];`
    fn arrays(&mut self, tokens: &[Token], i: usize) -> Result<usize, SyntaxError> {
        let bad = || SyntaxError("a threadgroup array is not `threadgroup T name[SIZE];`".to_string());
        let end = i + tokens[i..].iter().position(|t| t.is_sign(';')).ok_or_else(bad)?;
        let element_at = next(tokens, i + 1).ok_or_else(bad)?;
        let element = tokens[element_at].text;
        for part in tokens[element_at + 1..end].split(|t| t.is_sign(',')) {
            let open = part.iter().position(|t| t.is_sign('[')).ok_or_else(bad)?;
            let close = part.iter().rposition(|t| t.is_sign(']')).ok_or_else(bad)?;
            let name = part[..open].iter().find(|t| t.kind == Kind::Word).ok_or_else(bad)?.text;
            let size: String = part[open + 1..close].iter().map(|t| t.text).collect();
            if part[open + 1..close].iter().any(|t| t.is_sign('[') || t.is_sign(']')) {
                return Err(SyntaxError(format!("threadgroup array '{name}' has several dimensions")));
            }
            let _ = write!(
                self.out,
                "threadgroup_ptr<{element}> {name} = sim::shared<{element}, sizeof({element}[{size}])>({}, \"{name}\");",
                self.arrays
            );
            self.arrays += 1;
        }
        Ok(end + 1)
    }

    /// Definitions are translated too; `#include <...>` goes.
    fn directive(&mut self, text: &str) -> Result<(), SyntaxError> {
        let rest = text[1..].trim_start();
        if rest.starts_with("include") {
            return Ok(());
        }
        let Some(definition) = rest.strip_prefix("define") else {
            self.out += text;
            return Ok(());
        };
        self.out += "#define";
        let tokens = tokens(definition);
        let mut i = 0;
        while i < tokens.len() {
            i = self.token(&tokens, i)?;
        }
        Ok(())
    }

    /// As many line breaks as the tokens have, so that what follows keeps its line.
    fn only_lines(&mut self, tokens: &[Token]) {
        let lines = tokens.iter().map(|t| t.text.matches('\n').count()).sum();
        self.out.extend(std::iter::repeat_n('\n', lines));
    }
}

/// The next token that is not space.
fn next(tokens: &[Token], from: usize) -> Option<usize> {
    (from..tokens.len()).find(|&i| tokens[i].kind != Kind::Space)
}

/// Its text.
fn word<'a>(tokens: &[Token<'a>], from: usize) -> &'a str {
    next(tokens, from).map_or("", |i| tokens[i].text)
}

/// Whether `threadgroup` begins the declaration of an array: a type, a name, a bracket.
fn is_array(tokens: &[Token], i: usize) -> bool {
    let step = |from: usize| next(tokens, from).filter(|&k| tokens[k].kind == Kind::Word);
    step(i + 1).and_then(|k| step(k + 1)).is_some_and(|k| word(tokens, k + 1) == "[")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "#include <metal_stdlib>\n\
        constant uint N [[function_constant(0)]];\n\
        constant float TABLE[2] = {1.0f, 2.0f};\n\
        inline float at(device const float* p, thread float& sum, threadgroup float* s) { return 0.5h * N; }\n\
        kernel void f(device const float* x [[buffer(0)]],\n  device float* y [[buffer(1)]],\n\
        uint lane [[thread_index_in_simdgroup]]) {\n\
        threadgroup float a[8], b[N2];\n\
        device const uint4* q = (device const uint4*)x + 1;\n}\n";

    #[test]
    fn address_spaces_become_types() {
        let text = emit(SOURCE).unwrap().text;
        for expected in [
            "\nstatic const float TABLE[2] = {1.0f, 2.0f};",
            "at(device_ptr<const float> p,  float& sum, threadgroup_ptr<float> s) { return half(float(0.5)) * sim::constant_value<uint>(0); }",
            "static void f(device_ptr<const float> x ,\n  device_ptr<float> y ,\nuint lane ) {",
            "threadgroup_ptr<float> a = sim::shared<float, sizeof(float[8])>(0, \"a\");",
            "device_ptr<const uint4> q = (device_ptr<const uint4>)x + 1;",
            "f(sim::bind<const float>(0), sim::bind<float>(1), uint(m.current % 32));",
        ] {
            assert!(text.contains(expected), "{expected}\nis not in\n{text}");
        }
    }

    #[test]
    fn lines_stay() {
        let text = emit(SOURCE).unwrap().text;
        let line = |text: &str, what: &str| text.lines().position(|l| l.contains(what)).unwrap();
        let begin = line(&text, "#line") + 1;
        assert_eq!(line(&text, "uint4> q") - begin, line(SOURCE, "uint4* q"));
    }

    #[test]
    fn what_tokens_cannot_tell_is_refused() {
        let bad = |body: &str| {
            emit(&format!("kernel void f(device float* x [[buffer(0)]]) {{ {body} }}")).unwrap_err().0
        };
        assert!(bad("threadgroup float a[2][2];").contains("several dimensions"));
        assert!(bad("if (1) { threadgroup float a[2]; }").contains("top level"));
        assert!(bad("device float& y = x[0];").contains("is not"));
        let builtin = "kernel void f(uint t [[thread_position_in_grid]]) {}";
        assert!(emit(builtin).unwrap_err().0.contains("not supplied"));
    }
}
