//! The kernel's parameters and the file's specialisation constants.

use super::lexer::{Kind, Token};

/// What a kernel takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// The function's name.
    pub name: String,
    /// Buffers 0, 1, 2...
    pub buffers: Vec<BufferParam>,
    /// Built-in values it asks for.
    pub builtins: Vec<Builtin>,
    /// Range of the tokens from `kernel` to the `{` of the body, which is excluded.
    pub span: std::ops::Range<usize>,
}

/// A parameter `device [const] T* name [[buffer(n)]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BufferParam {
    /// Its name.
    pub name: String,
    /// The element's type, without `const`.
    pub element: String,
    /// True if it is only read.
    pub is_const: bool,
}

/// A parameter such as `uint lane [[thread_index_in_simdgroup]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Builtin {
    /// Its name.
    pub name: String,
    /// `uint`, `uint2` or `uint3`.
    pub kind: String,
    /// The attribute's word.
    pub attribute: String,
}

/// `constant TYPE NAME [[function_constant(n)]];`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConstantDecl {
    /// Its name.
    pub name: String,
    /// `uint`, `int`, `float` or `bool`.
    pub kind: String,
    /// n.
    pub index: u32,
    /// Range of the tokens, with the semicolon.
    pub span: std::ops::Range<usize>,
}

/// What is wrong with a kernel's source.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SyntaxError(pub String);

/// The signature of the one kernel among the tokens.
pub fn signature(tokens: &[Token]) -> Result<Signature, SyntaxError> {
    let err = |what: &str| SyntaxError(what.to_string());
    let begin = tokens.iter().position(|t| t.is_word("kernel")).ok_or_else(|| err("there is no kernel"))?;
    if tokens[begin + 1..].iter().any(|t| t.is_word("kernel")) {
        return Err(err("there are two kernels in the file"));
    }
    let open = begin
        + tokens[begin..]
            .iter()
            .position(|t| t.is_sign('('))
            .ok_or_else(|| err("kernel without parameters"))?;
    let name = tokens[begin..open].iter().rfind(|t| t.kind == Kind::Word).map(|t| t.text.to_string());
    let mut depth = 0;
    let close = (open..tokens.len())
        .find(|&i| {
            depth += i32::from(tokens[i].is_sign('(')) - i32::from(tokens[i].is_sign(')'));
            depth == 0
        })
        .ok_or_else(|| err("the parameters do not end"))?;
    let body = (close..tokens.len())
        .find(|&i| tokens[i].is_sign('{'))
        .ok_or_else(|| err("the kernel has no body"))?;
    let mut found = Signature {
        name: name.ok_or_else(|| err("the kernel has no name"))?,
        buffers: Vec::new(),
        builtins: Vec::new(),
        span: begin..body,
    };
    for parameter in tokens[open + 1..close].split(|t| t.is_sign(',')) {
        found.parameter(parameter)?;
    }
    Ok(found)
}

impl Signature {
    fn parameter(&mut self, tokens: &[Token]) -> Result<(), SyntaxError> {
        let words: Vec<&str> = tokens
            .iter()
            .filter(|t| !matches!(t.kind, Kind::Space | Kind::Attribute))
            .map(|t| t.text)
            .collect();
        let shown = words.join(" ");
        let attribute = tokens
            .iter()
            .find(|t| t.kind == Kind::Attribute)
            .ok_or_else(|| SyntaxError(format!("parameter '{shown}' has no attribute")))?;
        let attribute = attribute.text.trim_matches(['[', ']']).trim();
        let name = words.last().unwrap_or(&"").to_string();
        let Some(index) = argument(attribute, "buffer") else {
            let kind = words.first().unwrap_or(&"").to_string();
            self.builtins.push(Builtin { name, kind, attribute: attribute.to_string() });
            return Ok(());
        };
        if index as usize != self.buffers.len() {
            return Err(SyntaxError(format!("'{shown}' is buffer {index}, expected {}", self.buffers.len())));
        }
        let (is_const, element) = match words[..] {
            ["device", "const", element, "*", _] => (true, element),
            ["device", element, "*", _] => (false, element),
            _ => return Err(SyntaxError(format!("'{shown}' is not `device [const] T* name`"))),
        };
        self.buffers.push(BufferParam { name, element: element.to_string(), is_const });
        Ok(())
    }
}

/// The specialisation constants among the tokens.
pub fn constants(tokens: &[Token]) -> Result<Vec<ConstantDecl>, SyntaxError> {
    let mut found = Vec::new();
    for (i, token) in tokens.iter().enumerate() {
        let attribute = token.text.trim_matches(['[', ']']).trim();
        let (Kind::Attribute, Some(index)) = (token.kind, argument(attribute, "function_constant")) else {
            continue;
        };
        let begin = tokens[..i].iter().rposition(|t| t.is_word("constant"));
        let end = tokens[i..].iter().position(|t| t.is_sign(';'));
        let (Some(begin), Some(end)) = (begin, end) else {
            return Err(SyntaxError(format!("function constant {index} is not `constant T NAME [[...]];`")));
        };
        let words: Vec<&str> =
            tokens[begin..i].iter().filter(|t| t.kind == Kind::Word).map(|t| t.text).collect();
        let &["constant", kind, name] = words.as_slice() else {
            return Err(SyntaxError(format!("function constant {index}: {words:?}")));
        };
        let span = begin..i + end + 1;
        found.push(ConstantDecl { name: name.to_string(), kind: kind.to_string(), index, span });
    }
    Ok(found)
}

/// n of `word(n)`.
fn argument(attribute: &str, word: &str) -> Option<u32> {
    attribute.strip_prefix(word)?.trim().strip_prefix('(')?.strip_suffix(')')?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::super::lexer::tokens;
    use super::*;

    const SOURCE: &str = "constant uint COLS [[function_constant(0)]];\n\
        kernel void scale(device const float* x [[buffer(0)]], device float* y [[buffer(1)]],\n\
        uint3 group [[threadgroup_position_in_grid]]) { }";

    #[test]
    fn parts_are_found() {
        let all = tokens(SOURCE);
        let s = signature(&all).unwrap();
        assert_eq!((s.name.as_str(), s.buffers.len(), s.builtins.len()), ("scale", 2, 1));
        assert!(s.buffers[0].is_const && !s.buffers[1].is_const);
        assert_eq!(s.builtins[0].attribute, "threadgroup_position_in_grid");
        let c = constants(&all).unwrap();
        assert_eq!((c[0].name.as_str(), c[0].kind.as_str(), c[0].index), ("COLS", "uint", 0));
    }

    #[test]
    fn mistakes_are_named() {
        let bad = |source| signature(&tokens(source)).unwrap_err().0;
        assert!(bad("void f() {}").contains("no kernel"));
        assert!(bad("kernel void f(device float* x) {}").contains("no attribute"));
        assert!(bad("kernel void f(device float* x [[buffer(1)]]) {}").contains("expected 0"));
        assert!(bad("kernel void f(constant float& x [[buffer(0)]]) {}").contains("device"));
    }
}
