//! Text to tokens, spaces and comments included, so that what is not changed
//! comes out as it went in.

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Spaces and comments.
    Space,
    /// A whole preprocessor line.
    Directive,
    /// `[[...]]`
    Attribute,
    /// A word.
    Word,
    /// A number.
    Number,
    /// A quoted string.
    Text,
    /// One other character.
    Sign,
}

/// A piece of the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token<'a> {
    /// What it is.
    pub kind: Kind,
    /// Its characters.
    pub text: &'a str,
}

impl Token<'_> {
    /// True for this word.
    pub fn is_word(&self, word: &str) -> bool {
        self.kind == Kind::Word && self.text == word
    }
    /// True for this character.
    pub fn is_sign(&self, sign: char) -> bool {
        self.kind == Kind::Sign && self.text.starts_with(sign)
    }
}

/// The tokens of a source; together they are the source.
pub fn tokens(source: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let (mut rest, mut line_begins) = (source, true);
    while let Some(first) = rest.chars().next() {
        let (kind, len) = measure(rest, first, line_begins);
        let (text, tail) = rest.split_at(len);
        tokens.push(Token { kind, text });
        line_begins = match kind {
            Kind::Space => line_begins || text.contains('\n'),
            _ => false,
        };
        rest = tail;
    }
    tokens
}

fn measure(rest: &str, first: char, line_begins: bool) -> (Kind, usize) {
    let until = |pattern: &str, from: usize| {
        rest[from..].find(pattern).map_or(rest.len(), |i| from + i + pattern.len())
    };
    let run = |accept: &dyn Fn(char) -> bool| rest.find(|c| !accept(c)).unwrap_or(rest.len());
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    match first {
        c if c.is_whitespace() => (Kind::Space, run(&char::is_whitespace)),
        '/' if rest.starts_with("//") => (Kind::Space, rest.find('\n').unwrap_or(rest.len())),
        '/' if rest.starts_with("/*") => (Kind::Space, until("*/", 2)),
        '#' if line_begins => (Kind::Directive, directive(rest)),
        '[' if rest.starts_with("[[") => (Kind::Attribute, until("]]", 2)),
        '"' => (Kind::Text, quoted(rest)),
        c if c.is_ascii_digit() => (Kind::Number, number(rest)),
        c if is_word(c) => (Kind::Word, run(&is_word)),
        c => (Kind::Sign, c.len_utf8()),
    }
}

/// A line, and the next after a backslash at its end.
fn directive(rest: &str) -> usize {
    let mut end = 0;
    for line in rest.split_inclusive('\n') {
        end += line.len();
        if !line.trim_end().ends_with('\\') {
            return end - usize::from(line.ends_with('\n'));
        }
    }
    end
}

fn quoted(rest: &str) -> usize {
    let mut escaped = false;
    for (i, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return i + 1,
            _ => {}
        }
    }
    rest.len()
}

/// Digits, suffixes, points, and signs after an exponent.
fn number(rest: &str) -> usize {
    let hexadecimal = rest.starts_with("0x");
    let mut before = ' ';
    for (i, c) in rest.char_indices() {
        let sign = matches!(c, '+' | '-') && !hexadecimal && matches!(before, 'e' | 'E');
        if !(c.is_alphanumeric() || c == '.' || sign) {
            return i;
        }
        before = c;
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost() {
        let source =
            "#define A \\\n 2\nkernel void f(device float* x [[buffer(0)]]) { x[1] = 1.5e-3f; } // end";
        let all = tokens(source);
        assert_eq!(all.iter().map(|t| t.text).collect::<String>(), source);
        assert_eq!(all[0], Token { kind: Kind::Directive, text: "#define A \\\n 2" });
        assert!(all.iter().any(|t| t.kind == Kind::Attribute && t.text == "[[buffer(0)]]"));
        assert!(all.iter().any(|t| t.kind == Kind::Number && t.text == "1.5e-3f"));
    }

    #[test]
    fn index_of_an_index_is_not_an_attribute() {
        let all = tokens("a[b[c]]");
        assert!(all.iter().all(|t| t.kind != Kind::Attribute));
    }
}
