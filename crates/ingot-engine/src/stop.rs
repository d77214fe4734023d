//! Stop strings over streamed text.
//!
//! Text arrives in pieces whose borders mean nothing, so each stop string is matched by a Knuth-Morris-Pratt
//! automaton fed byte by byte: linear time whatever the text, and a result that does not depend on how the
//! text was cut. The furthest-advanced automaton says how much of the end of the text could still become a
//! stop string; that much is held back and everything before it is emitted at once.
//!
//! Of several stop strings the one that is complete first wins, which is the moment at which generation
//! ends; of several complete at the same byte, the longest.

use std::fmt;

/// What became of one piece of text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StopOutcome {
    /// Text that is certainly not part of a stop string: send it on. May be empty.
    pub emit: String,
    /// The stop string that was found, as an index into the list given to [`StopStrings::new`].
    pub matched: Option<usize>,
}

/// A stop string without a character: it would match before the first token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmptyStopString {
    /// Its index in the list.
    pub index: usize,
}

impl fmt::Display for EmptyStopString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stop string {} is empty: expected at least one character, or leave it out", self.index)
    }
}

impl std::error::Error for EmptyStopString {}

/// A streaming matcher for a list of stop strings; one for each generated text.
#[derive(Clone, Debug)]
pub struct StopStrings {
    patterns: Vec<Pattern>,
    /// The end of the text so far that may be the beginning of a stop string.
    held: String,
    matched: Option<usize>,
}

impl StopStrings {
    /// A matcher for `stops`. With an empty list all text passes straight through.
    ///
    /// # Errors
    /// [`EmptyStopString`] if one of them has no characters.
    pub fn new(stops: &[String]) -> Result<Self, EmptyStopString> {
        if let Some(index) = stops.iter().position(String::is_empty) {
            return Err(EmptyStopString { index });
        }
        let patterns = stops.iter().map(|stop| Pattern::new(stop)).collect();
        Ok(Self { patterns, held: String::new(), matched: None })
    }

    /// Takes the next piece of text. Once a stop string was found, that and all later pieces are swallowed
    /// and every outcome names it.
    pub fn push(&mut self, text: &str) -> StopOutcome {
        if self.matched.is_some() {
            return StopOutcome { emit: String::new(), matched: self.matched };
        }
        let found = text.bytes().enumerate().find_map(|(at, byte)| Some((at, self.feed(byte)?)));
        let mut emit = std::mem::take(&mut self.held);
        if let Some((at, index)) = found {
            emit.push_str(&text[..=at]);
            emit.truncate(emit.len() - self.patterns[index].bytes.len());
            self.matched = Some(index);
        } else {
            emit.push_str(text);
            // A stop string begins with a whole character and so does every partial match: this cannot cut
            // a character in two.
            let held = self.patterns.iter().map(|pattern| pattern.state).max().unwrap_or(0);
            self.held = emit.split_off(emit.len() - held);
        }
        StopOutcome { emit, matched: self.matched }
    }

    /// Ends the text: returns what was still held back (nothing after a match) and makes the matcher ready
    /// for a new text.
    pub fn finish(&mut self) -> String {
        self.matched = None;
        for pattern in &mut self.patterns {
            pattern.state = 0;
        }
        std::mem::take(&mut self.held)
    }

    /// Advances every automaton by one byte; the longest pattern completed by it, the first of equals.
    fn feed(&mut self, byte: u8) -> Option<usize> {
        let mut found: Option<usize> = None;
        for index in 0..self.patterns.len() {
            let complete = self.patterns[index].feed(byte);
            let longer = |best: usize| self.patterns[index].bytes.len() > self.patterns[best].bytes.len();
            if complete && found.is_none_or(longer) {
                found = Some(index);
            }
        }
        found
    }
}

/// One stop string with its automaton.
#[derive(Clone, Debug)]
struct Pattern {
    bytes: Vec<u8>,
    /// `borders[i]`: the length of the longest proper prefix of `bytes[..=i]` that is also its suffix.
    borders: Vec<usize>,
    /// How many bytes of the pattern the text so far ends with.
    state: usize,
}

impl Pattern {
    fn new(stop: &str) -> Self {
        let mut pattern = Self { bytes: stop.into(), borders: Vec::with_capacity(stop.len()), state: 0 };
        pattern.borders.push(0);
        // The borders are the states the automaton passes through on the pattern's own tail; a byte of it
        // only ever needs the borders before it.
        for &byte in &stop.as_bytes()[1..] {
            pattern.feed(byte);
            pattern.borders.push(pattern.state);
        }
        pattern.state = 0;
        pattern
    }

    /// Advances by one byte; whether it completed the pattern.
    fn feed(&mut self, byte: u8) -> bool {
        while self.state > 0 && self.bytes[self.state] != byte {
            self.state = self.borders[self.state - 1];
        }
        self.state += usize::from(self.bytes[self.state] == byte);
        self.state == self.bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    fn matcher(stops: &[&str]) -> StopStrings {
        StopStrings::new(&stops.iter().map(|s| s.to_string()).collect::<Vec<_>>()).unwrap()
    }

    /// The `emit` of every piece, what `finish` adds, and the match.
    fn run(stops: &[&str], pieces: &[&str]) -> (Vec<String>, Option<usize>) {
        let mut stop = matcher(stops);
        let mut matched = None;
        let mut emitted: Vec<String> = pieces
            .iter()
            .map(|piece| {
                let outcome = stop.push(piece);
                matched = outcome.matched;
                outcome.emit
            })
            .collect();
        emitted.push(stop.finish());
        (emitted, matched)
    }

    fn expect(stops: &[&str], pieces: &[&str], emitted: &[&str], matched: Option<usize>) {
        let emitted = emitted.iter().map(|s| s.to_string()).collect();
        assert_eq!(run(stops, pieces), (emitted, matched), "{stops:?} over {pieces:?}");
    }

    #[test]
    fn passes_through_without_stops() {
        expect(&[], &["a", "", "bc"], &["a", "", "bc", ""], None);
    }

    #[test]
    fn holds_back_only_a_possible_beginning() {
        expect(&["END"], &["the E", "N", "ergy"], &["the ", "", "ENergy", ""], None);
        expect(&["END"], &["the E", "N"], &["the ", "", "EN"], None);
    }

    #[test]
    fn finds_a_stop_spread_over_pieces_and_swallows_the_rest() {
        expect(&["END"], &["xE", "N", "Dy", "z"], &["x", "", "", "", ""], Some(0));
    }

    #[test]
    fn falls_back_to_shorter_beginnings() {
        // After "aab", a further "a" leaves "aaba" partially matched; "aabaa" falls back to "aa".
        expect(&["aabac"], &["aab", "aa", "bac"], &["", "aab", "", ""], Some(0));
    }

    #[test]
    fn first_complete_stop_wins_however_the_text_is_cut() {
        expect(&["abcd", "bc"], &["abcd"], &["a", ""], Some(1));
        expect(&["abcd", "bc"], &["ab", "cd"], &["", "a", ""], Some(1));
    }

    #[test]
    fn longest_wins_among_stops_with_the_same_end() {
        expect(&["c", "abc", "bc"], &["xabc"], &["x", ""], Some(1));
        expect(&["bc", "bc"], &["abc"], &["a", ""], Some(0));
    }

    #[test]
    fn keeps_characters_whole() {
        // "é" is c3 a9, "è" is c3 a8: the shared first byte must not hold back half a character.
        expect(&["é!"], &["caf", "è", "é", "?"], &["caf", "è", "", "é?", ""], None);
        expect(&["日本"], &["今日", "本"], &["今", "", ""], Some(0));
    }

    #[test]
    fn is_ready_again_after_finish() {
        let mut stop = matcher(&["ab"]);
        assert_eq!(stop.push("ab").matched, Some(0));
        assert_eq!(stop.finish(), "");
        assert_eq!(stop.push("xa"), StopOutcome { emit: "x".into(), matched: None });
        assert_eq!(stop.finish(), "a");
        // The held "a" is gone: a "b" does not complete it.
        assert_eq!(stop.push("b"), StopOutcome { emit: "b".into(), matched: None });
    }

    #[test]
    fn refuses_empty_strings() {
        let error = StopStrings::new(&["x".into(), String::new()]).unwrap_err();
        assert_eq!(error, EmptyStopString { index: 1 });
        assert!(error.to_string().starts_with("stop string 1 is empty"));
    }

    /// The definition, by brute force over the whole text: start of the match and its stop string.
    fn naive(stops: &[&str], text: &str) -> Option<(usize, usize)> {
        (1..=text.len()).filter(|&end| text.is_char_boundary(end)).find_map(|end| {
            let ending = stops.iter().enumerate().filter(|(_, stop)| text[..end].ends_with(**stop));
            let (index, stop) = ending.min_by_key(|(_, stop)| usize::MAX - stop.len())?;
            Some((end - stop.len(), index))
        })
    }

    /// The longest suffix of `text` that is a proper beginning of a stop string.
    fn naive_held(stops: &[&str], text: &str) -> usize {
        let boundary = |&n: &usize| text.is_char_boundary(text.len() - n);
        let opens = |&n: &usize| stops.iter().any(|stop| stop.starts_with(&text[text.len() - n..]));
        (0..=text.len()).rev().filter(boundary).find(opens).unwrap_or(0)
    }

    #[test]
    fn agrees_with_a_search_of_the_whole_text() {
        // An alphabet of two ASCII characters and two that share their first byte makes overlaps frequent.
        let alphabet = ["a", "b", "é", "è"];
        let mut rng = Rng::new(11);
        let mut matches = 0;
        for _ in 0..20_000 {
            let mut below = |n: usize| (rng.next_u64() % n as u64) as usize;
            let letters = 2 + below(3);
            let mut word = |len: usize| (0..len).map(|_| alphabet[below(letters)]).collect::<String>();
            let (text, first, second, third) = (word(14), word(1), word(3), word(4));
            let all = [third.as_str(), second.as_str(), first.as_str()];
            let stops = &all[..below(4)];
            let expected = naive(stops, &text);
            let visible = expected.map_or(text.as_str(), |(start, _)| &text[..start]);

            let mut stop = matcher(stops);
            let (mut emitted, mut matched, mut rest) = (String::new(), None, text.as_str());
            while !rest.is_empty() && matched.is_none() {
                let chars = below(4);
                let cut = rest.char_indices().nth(chars).map_or(rest.len(), |(at, _)| at);
                let outcome = stop.push(&rest[..cut]);
                rest = &rest[cut..];
                emitted += &outcome.emit;
                matched = outcome.matched;
                let seen = &text[..text.len() - rest.len()];
                if matched.is_none() {
                    assert_eq!(
                        seen.len() - emitted.len(),
                        naive_held(stops, seen),
                        "{stops:?} after {seen:?}"
                    );
                }
            }
            emitted += &stop.finish();
            assert_eq!(
                (emitted.as_str(), matched),
                (visible, expected.map(|(_, index)| index)),
                "{stops:?} in {text:?}"
            );
            matches += usize::from(matched.is_some());
        }
        assert!((5_000..19_000).contains(&matches), "{matches} of the cases have a match");
    }
}
