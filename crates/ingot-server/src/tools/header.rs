//! The beginning of a call, up to its arguments, as it arrives.

/// The parts of `{"name": "...", "arguments": {`, with white space before each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Brace,
    NameKey,
    NameColon,
    Name,
    Comma,
    ArgumentsKey,
    ArgumentsColon,
    Arguments,
}

/// What is known after a character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// It may still become such a beginning.
    More,
    /// The character is the brace of the arguments.
    Arguments,
    /// It is written in another way.
    Other,
}

/// Recognizes that beginning; a call that is written in another way has to be read as a whole.
#[derive(Debug)]
pub(super) struct Header {
    part: Part,
    /// Of a text in quotes, what there is of it; with both quotes.
    text: Option<String>,
    escaped: bool,
    name: String,
    /// The name of the arguments.
    arguments: &'static str,
}

impl Header {
    pub(super) fn new(arguments: &'static str) -> Self {
        Self { part: Part::Brace, text: None, escaped: false, name: String::new(), arguments }
    }

    /// The name of the tool, after [`Seen::Arguments`].
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Takes the next character.
    pub(super) fn push(&mut self, c: char) -> Seen {
        if let Some(text) = &mut self.text {
            text.push(c);
            let ends = c == '"' && !self.escaped;
            self.escaped = c == '\\' && !self.escaped;
            return if ends { self.string() } else { Seen::More };
        }
        if matches!(c, ' ' | '\t' | '\r' | '\n') {
            return Seen::More;
        }
        self.part = match (self.part, c) {
            (Part::Brace, '{') => Part::NameKey,
            (Part::NameColon, ':') => Part::Name,
            (Part::Comma, ',') => Part::ArgumentsKey,
            (Part::ArgumentsColon, ':') => Part::Arguments,
            (Part::Arguments, '{') => return Seen::Arguments,
            (part @ (Part::NameKey | Part::Name | Part::ArgumentsKey), '"') => {
                self.text = Some("\"".into());
                part
            }
            _ => return Seen::Other,
        };
        Seen::More
    }

    /// A text in quotes is complete.
    fn string(&mut self) -> Seen {
        let text = self.text.take().unwrap_or_default();
        let Ok(text) = serde_json::from_str::<String>(&text) else { return Seen::Other };
        self.part = match self.part {
            Part::NameKey if text == "name" => Part::NameColon,
            Part::ArgumentsKey if text == self.arguments => Part::ArgumentsColon,
            Part::Name => {
                self.name = text;
                Part::Comma
            }
            _ => return Seen::Other,
        };
        Seen::More
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beginnings() {
        for (text, expected) in [
            ("{\"name\": \"a\", \"arguments\": {", Seen::Arguments),
            (" {\n\"name\" :\"\\u0061\",\t\"arguments\":{", Seen::Arguments),
            ("{\"name\": \"a\", \"arguments\": ", Seen::More),
            ("{\"arguments", Seen::More),
            ("{\"arguments\"", Seen::Other),
            ("{\"name\": 1", Seen::Other),
            ("{\"name\": \"a\", \"arguments\": \"", Seen::Other),
            ("{\"name\": \"a\"}", Seen::Other),
        ] {
            let mut header = Header::new("arguments");
            let results: Vec<Seen> = text.chars().map(|c| header.push(c)).collect();
            let (last, before) = results.split_last().unwrap();
            assert!(before.iter().all(|r| *r == Seen::More) && *last == expected, "{text}: {results:?}");
            assert!(expected != Seen::Arguments || header.name() == "a");
        }
    }
}
