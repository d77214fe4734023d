//! Source text to tokens, with Jinja's rules for white space around tags.

use super::value::Str;

/// A token and the line it is on.
pub(super) type Spanned = (Token, u32);

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    Text(Str),
    BlockBegin,
    BlockEnd,
    PrintBegin,
    PrintEnd,
    Name(Str),
    Str(Str),
    Int(i64),
    Float(f64),
    Op(&'static str),
    End,
}

/// Longer operators first, so that the first match is the longest.
const OPERATORS: [&str; 27] = [
    "**", "//", "==", "!=", "<=", ">=", "+", "-", "*", "/", "%", "~", "<", ">", "=", ".", ",", ":", "|", "(",
    ")", "[", "]", "{", "}", "!", ";",
];

/// Splits `source`, whose line ends are all `\n`, into tokens.
pub(super) fn lex(source: &str) -> Result<Vec<Spanned>, String> {
    // One final line end is not part of a template.
    let source = source.strip_suffix('\n').unwrap_or(source);
    let mut lexer = Lexer { source, at: 0, line: 1, tokens: Vec::new() };
    lexer.template()?;
    let line = lexer.line;
    lexer.tokens.push((Token::End, line));
    Ok(lexer.tokens)
}

struct Lexer<'s> {
    source: &'s str,
    at: usize,
    line: u32,
    tokens: Vec<Spanned>,
}

impl<'s> Lexer<'s> {
    fn rest(&self) -> &'s str {
        &self.source[self.at..]
    }

    fn advance(&mut self, n: usize) {
        self.line +=
            self.source.as_bytes()[self.at..self.at + n].iter().filter(|&&b| b == b'\n').count() as u32;
        self.at += n;
    }

    fn skip_whitespace(&mut self) {
        let rest = self.rest();
        self.advance(rest.len() - rest.trim_start().len());
    }

    fn push(&mut self, token: Token) {
        self.tokens.push((token, self.line));
    }

    fn fail<T>(&self, message: impl std::fmt::Display) -> Result<T, String> {
        Err(format!("line {}: {message}", self.line))
    }

    fn template(&mut self) -> Result<(), String> {
        loop {
            let rest = self.rest();
            let Some(tag) = find_tag(rest) else {
                self.text(rest);
                self.advance(rest.len());
                return Ok(());
            };
            let kind = rest.as_bytes()[tag + 1];
            let modifier = rest.as_bytes().get(tag + 2).copied();
            let text = &rest[..tag];
            self.text(match (modifier, kind) {
                (Some(b'-'), _) => text.trim_end(),
                (Some(b'+'), _) | (_, b'{') => text,
                _ => self.without_indent(text),
            });
            self.advance(tag + 2);
            if matches!(modifier, Some(b'-' | b'+')) {
                self.advance(1);
            }
            match kind {
                b'#' => self.comment()?,
                b'{' => {
                    self.push(Token::PrintBegin);
                    self.tag("}}", Token::PrintEnd)?;
                }
                _ if self.at_raw() => self.raw()?,
                _ => {
                    self.push(Token::BlockBegin);
                    self.tag("%}", Token::BlockEnd)?;
                }
            }
        }
    }

    fn text(&mut self, text: &str) {
        if !text.is_empty() {
            self.push(Token::Text(text.into()));
        }
    }

    /// `lstrip_blocks`: white space between the start of a line and a tag goes.
    fn without_indent<'t>(&self, text: &'t str) -> &'t str {
        let line_start = text.rfind('\n').map_or(0, |i| i + 1);
        let begins_line = line_start > 0 || self.at == 0 || self.source.as_bytes()[self.at - 1] == b'\n';
        if begins_line && text[line_start..].trim().is_empty() { &text[..line_start] } else { text }
    }

    /// After the end of a block or comment: `-` strips everything, otherwise
    /// `trim_blocks` takes one line end unless `+` was written.
    fn after_tag(&mut self, modifier: Option<u8>) {
        match modifier {
            Some(b'-') => self.skip_whitespace(),
            Some(b'+') => {}
            _ if self.rest().starts_with('\n') => self.advance(1),
            _ => {}
        }
    }

    fn comment(&mut self) -> Result<(), String> {
        let Some(end) = self.rest().find("#}") else {
            return self.fail("a comment {# is not closed");
        };
        let modifier = self.rest()[..end].bytes().last().filter(|b| matches!(b, b'-' | b'+'));
        self.advance(end + 2);
        self.after_tag(modifier);
        Ok(())
    }

    /// Whether the tag just opened is `raw`.
    fn at_raw(&self) -> bool {
        let rest = self.rest().trim_start();
        rest.strip_prefix("raw").is_some_and(|r| {
            let r = r.trim_start();
            r.starts_with("%}") || r.starts_with("-%}") || r.starts_with("+%}")
        })
    }

    fn raw(&mut self) -> Result<(), String> {
        let (body, modifier) = self.tag_end();
        self.advance(body);
        self.after_tag(modifier);
        let mut search = self.at;
        while let Some(found) = self.source[search..].find("{%") {
            let open = search + found;
            let inside = self.source[open + 2..].trim_start_matches(['-', '+']);
            if inside.trim_start().starts_with("endraw") {
                let text = &self.source[self.at..open];
                let strip = self.source[open + 2..].starts_with('-');
                self.text(if strip { text.trim_end() } else { self.without_indent(text) });
                self.advance(open - self.at);
                let (body, modifier) = self.tag_end();
                self.advance(body);
                self.after_tag(modifier);
                return Ok(());
            }
            search = open + 2;
        }
        self.fail("{% raw %} is not closed with {% endraw %}")
    }

    /// Bytes up to and including the next `%}`, and its modifier.
    fn tag_end(&self) -> (usize, Option<u8>) {
        let end = self.rest().find("%}").unwrap_or(self.rest().len());
        let modifier = self.rest()[..end].bytes().last().filter(|b| matches!(b, b'-' | b'+'));
        ((end + 2).min(self.rest().len()), modifier)
    }

    /// The tokens inside a tag, up to `close`.
    fn tag(&mut self, close: &'static str, end: Token) -> Result<(), String> {
        let mut open_brackets = 0u32;
        loop {
            self.skip_whitespace();
            let rest = self.rest();
            let Some(first) = rest.chars().next() else {
                return self.fail(format!("a tag is not closed with {close}"));
            };
            let modifier = matches!(first, '-' | '+').then_some(first as u8);
            // A closing brace belongs to a map while one is open.
            if open_brackets == 0 && rest[usize::from(modifier.is_some())..].starts_with(close) {
                self.push(end);
                self.advance(close.len() + usize::from(modifier.is_some()));
                match close {
                    "}}" if modifier == Some(b'-') => self.skip_whitespace(),
                    "}}" => {}
                    _ => self.after_tag(modifier),
                }
                return Ok(());
            }
            if first.is_alphabetic() || first == '_' {
                let len = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
                self.push(Token::Name(rest[..len].into()));
                self.advance(len);
            } else if first.is_ascii_digit() {
                self.number()?;
            } else if matches!(first, '\'' | '"') {
                self.string(first)?;
            } else if let Some(op) = OPERATORS.iter().find(|op| rest.starts_with(**op)) {
                match *op {
                    "{" | "(" | "[" => open_brackets += 1,
                    "}" | ")" | "]" => open_brackets = open_brackets.saturating_sub(1),
                    _ => {}
                }
                self.push(Token::Op(op));
                self.advance(op.len());
            } else {
                return self.fail(format!("unexpected character {first:?}"));
            }
        }
    }

    fn number(&mut self) -> Result<(), String> {
        let rest = self.rest();
        let digits = |s: &str| s.bytes().take_while(|b| b.is_ascii_digit() || *b == b'_').count();
        let mut len = digits(rest);
        let mut float = false;
        if rest[len..].starts_with('.') && rest[len + 1..].starts_with(|c: char| c.is_ascii_digit()) {
            float = true;
            len += 1 + digits(&rest[len + 1..]);
        }
        if let Some(exponent) = rest[len..].strip_prefix(['e', 'E']) {
            let sign = usize::from(exponent.starts_with(['+', '-']));
            let count = digits(&exponent[sign..]);
            if count > 0 {
                float = true;
                len += 1 + sign + count;
            }
        }
        let text = rest[..len].replace('_', "");
        let token =
            if float { text.parse().ok().map(Token::Float) } else { text.parse().ok().map(Token::Int) };
        let Some(token) = token else { return self.fail(format!("number {text} is out of range")) };
        self.push(token);
        self.advance(len);
        Ok(())
    }

    fn string(&mut self, quote: char) -> Result<(), String> {
        let rest = self.rest();
        let mut text = String::new();
        let mut chars = rest.char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            if c == quote {
                self.push(Token::Str(text.into()));
                self.advance(at + 1);
                return Ok(());
            }
            if c != '\\' {
                text.push(c);
                continue;
            }
            let Some((_, escape)) = chars.next() else { break };
            let mut hex = |count: usize| -> Option<char> {
                let digits: String = chars.by_ref().take(count).map(|(_, c)| c).collect();
                u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32)
            };
            match escape {
                'n' => text.push('\n'),
                't' => text.push('\t'),
                'r' => text.push('\r'),
                '0' => text.push('\0'),
                '\\' | '\'' | '"' => text.push(escape),
                '\n' => {}
                'x' | 'u' | 'U' => {
                    let count = match escape {
                        'x' => 2,
                        'u' => 4,
                        _ => 8,
                    };
                    match hex(count) {
                        Some(c) => text.push(c),
                        None => {
                            return self
                                .fail(format!("\\{escape} needs {count} hexadecimal digits of a character"));
                        }
                    }
                }
                // As in Python, an unknown escape is left as it is written.
                other => text.extend(['\\', other]),
            }
        }
        self.fail("a string is not closed")
    }
}

/// Where the next `{{`, `{%` or `{#` is.
fn find_tag(text: &str) -> Option<usize> {
    text.as_bytes().windows(2).position(|w| w[0] == b'{' && matches!(w[1], b'{' | b'%' | b'#'))
}
