//! Finds the end of a JSON value that arrives character by character.

/// What a character does to a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scanned {
    /// The value goes on.
    Inside,
    /// It is the value's last one.
    Complete,
    /// It cannot be part of the value.
    Stray,
}

/// Brackets and strings of one object. What is between them is only checked for characters that JSON has there.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    /// The closing brackets that are still to come.
    open: Vec<char>,
    string: bool,
    escaped: bool,
}

impl Scanner {
    /// Takes the next character; the first is the object's brace.
    pub(super) fn push(&mut self, c: char) -> Scanned {
        if self.string {
            match c {
                _ if self.escaped => self.escaped = false,
                '\\' => self.escaped = true,
                '"' => self.string = false,
                _ => {}
            }
            return Scanned::Inside;
        }
        match c {
            '{' => self.open.push('}'),
            '[' => self.open.push(']'),
            '}' | ']' => {
                if self.open.pop() != Some(c) {
                    return Scanned::Stray;
                }
                if self.open.is_empty() {
                    return Scanned::Complete;
                }
            }
            '"' => self.string = true,
            // Numbers and the words true, false and null.
            ':' | ',' | '+' | '-' | '.' | '0'..='9' | 'E' | ' ' | '\t' | '\r' | '\n' => {}
            _ if "truefalsn".contains(c) => {}
            _ => return Scanned::Stray,
        }
        Scanned::Inside
    }

    /// Brackets that are open.
    pub(super) fn depth(&self) -> usize {
        self.open.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_of_objects() {
        for (text, expected) in [
            (r#"{"a": [1, -2.5E+3, {"b": "}\"]"}, null]}"#, Scanned::Complete),
            ("{}", Scanned::Complete),
            ("{[}", Scanned::Stray),
            ("{x", Scanned::Stray),
            ("{<", Scanned::Stray),
            (r#"{"<"#, Scanned::Inside),
        ] {
            let mut scanner = Scanner::default();
            let results: Vec<Scanned> = text.chars().map(|c| scanner.push(c)).collect();
            let (last, before) = results.split_last().unwrap();
            assert!(before.iter().all(|r| *r == Scanned::Inside) && *last == expected, "{text}: {results:?}");
        }
    }
}
