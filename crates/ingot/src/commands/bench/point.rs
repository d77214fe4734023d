//! What was measured: one kind of work at one place.

use crate::bandwidth::Bandwidth;
use crate::spread::Spread;
use ingot_gpu::Counts;
use ingot_plan::Cost;
use serde_json::{Value, json};
use std::time::Duration;

/// Reading or writing after a context, a time for each round.
pub struct Point {
    /// Threads of the processor.
    pub threads: Option<usize>,
    /// Tokens of context before.
    pub depth: usize,
    /// Which work.
    pub what: What,
    /// Tokens read, or written of each sequence.
    pub tokens: usize,
    pub times: Vec<Duration>,
    /// What the GPU did in one round.
    pub counts: Option<Counts>,
    /// What a step takes, if it writes.
    pub cost: Option<Cost>,
    /// Writing in turns with reading the processor's memory; none on others, nor
    /// for what its caches hold.
    pub turns: Vec<Turn>,
    /// Bytes that a copy within the GPU's memory reads and writes in a second.
    pub copy: Option<f64>,
    /// Another program's times, in alternation.
    pub peer: Vec<Duration>,
}

/// A kind of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A prompt, in so many steps.
    Read { steps: usize },
    /// Tokens of some sequences at the same time, and who drew them.
    Write { sequences: usize, drawn: Drawn },
}

/// A few tokens written, and then memory read without doing anything with it.
pub struct Turn {
    /// Tokens written in a second.
    pub rate: f64,
    pub read: Bandwidth,
}

/// Who draws the next token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drawn {
    /// The host, from the logits of a step.
    Host,
    /// The device, in windows of so many steps.
    Device(usize),
}

/// What two points have to have in common to be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub threads: Option<usize>,
    pub depth: usize,
    pub reads: bool,
    pub tokens: usize,
    pub sequences: usize,
}

impl Place {
    /// For people: `write 128 of each of 4 after 512`.
    pub fn name(&self, with_threads: bool) -> String {
        let Self { threads, depth, reads, tokens, sequences } = *self;
        let mut name = format!("{} {tokens}", if reads { "read" } else { "write" });
        if sequences > 1 {
            name += &format!(" of each of {sequences}");
        }
        if depth > 0 {
            name += &format!(" after {depth}");
        }
        if let (Some(threads), true) = (threads, with_threads) {
            name += &format!(", {}", crate::units::plural(threads, "thread"));
        }
        name
    }

    /// What [`Point::json`] says; `None` if it is anything else.
    pub fn parse(json: &Value) -> Option<Self> {
        let number = |key: &str| json[key].as_u64().and_then(|n| usize::try_from(n).ok());
        Some(Self {
            threads: number("threads"),
            depth: number("depth")?,
            reads: match json["work"].as_str()? {
                "read" => true,
                "write" => false,
                _ => return None,
            },
            tokens: number("tokens")?,
            sequences: number("sequences")?,
        })
    }
}

impl Point {
    /// What it can be found by.
    pub fn place(&self) -> Place {
        let Self { threads, depth, tokens, .. } = *self;
        let reads = matches!(self.what, What::Read { .. });
        Place { threads, depth, reads, tokens, sequences: self.sequences() }
    }

    /// How many sequences there are.
    pub fn sequences(&self) -> usize {
        match self.what {
            What::Read { .. } => 1,
            What::Write { sequences, .. } => sequences,
        }
    }

    /// Tokens a second, of all sequences together.
    pub fn rates(&self) -> Spread {
        Spread::rates(self.tokens * self.sequences(), &self.times)
    }

    /// The other program's.
    pub fn peer_rates(&self) -> Option<Spread> {
        (!self.peer.is_empty()).then(|| Spread::rates(self.tokens * self.sequences(), &self.peer))
    }

    /// Bytes of a step for each of its tokens.
    fn bytes_per_token(&self) -> Option<f64> {
        self.cost.map(|cost| cost.bytes() as f64 / self.sequences() as f64)
    }

    /// Bytes that writing reads and writes in a second.
    pub fn bytes_per_second(&self) -> Option<f64> {
        self.bytes_per_token().map(|bytes| bytes * self.rates().median)
    }

    /// What reading memory had in most of the turns.
    pub fn bandwidth(&self) -> Option<Bandwidth> {
        let median = |rate: fn(&Turn) -> f64| Spread::of(self.turns.iter().map(rate)).median;
        let first = self.turns.first()?;
        let huge_pages = first.read.huge_pages.map(|_| median(|turn| turn.read.huge_pages.unwrap_or(0.0)));
        Some(Bandwidth { small_pages: median(|turn| turn.read.small_pages), huge_pages })
    }

    /// The part of the memory's speed, measured in the same run, that writing has.
    pub fn share(&self) -> Option<Spread> {
        let bytes = self.bytes_per_token()?;
        match self.copy {
            Some(copy) => Some(self.rates().times(bytes / copy)),
            None if self.turns.is_empty() => None,
            None => Some(Spread::of(self.turns.iter().map(|turn| bytes * turn.rate / turn.read.best()))),
        }
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let place = self.place();
        let (steps, window) = match self.what {
            What::Read { steps } => (Some(steps), None),
            What::Write { drawn: Drawn::Host, .. } => (None, None),
            What::Write { drawn: Drawn::Device(steps), .. } => (None, Some(steps)),
        };
        let drawn_by = match (place.reads, window) {
            (true, _) => None,
            (false, None) => Some("host"),
            (false, Some(_)) => Some("device"),
        };
        let peer = self
            .peer_rates()
            .map(|rates| json!({ "seconds": seconds(&self.peer), "tokens_per_s": rates.json() }));
        json!({
            "work": if place.reads { "read" } else { "write" },
            "threads": place.threads,
            "depth": place.depth,
            "tokens": place.tokens,
            "sequences": place.sequences,
            "steps": steps,
            "drawn_by": drawn_by,
            "window": window,
            "seconds": seconds(&self.times),
            "tokens_per_s": self.rates().json(),
            "bytes_per_s": self.bytes_per_second(),
            "share": self.share().map(|share| share.json()),
            "counts": self.counts.map(counts_json),
            "peer": peer,
        })
    }
}

fn seconds(times: &[Duration]) -> Vec<f64> {
    times.iter().map(Duration::as_secs_f64).collect()
}

fn counts_json(counts: Counts) -> Value {
    let Counts { steps, launches, submissions, waits } = counts;
    json!({ "steps": steps, "launches": launches, "submissions": submissions, "waits": waits })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(times: &[u64]) -> Point {
        Point {
            threads: Some(2),
            depth: 9,
            what: What::Write { sequences: 4, drawn: Drawn::Host },
            tokens: 5,
            times: times.iter().copied().map(Duration::from_millis).collect(),
            counts: None,
            cost: Some(Cost { weights: 600, state: 200, operations: 0 }),
            turns: Vec::new(),
            copy: None,
            peer: Vec::new(),
        }
    }

    #[test]
    fn shares_of_what_was_measured_beside() {
        let mut point = point(&[1000, 2000]);
        assert_eq!((point.rates().min, point.rates().max), (10.0, 20.0));
        assert_eq!(point.bytes_per_second(), Some(15.0 * 200.0));
        assert_eq!(point.share(), None);
        point.copy = Some(8000.0);
        assert_eq!(point.share(), Some(Spread { min: 0.25, median: 0.375, max: 0.5 }));
        point.copy = None;
        let turn = |rate, small_pages| Turn { rate, read: Bandwidth { small_pages, huge_pages: None } };
        point.turns = vec![turn(10.0, 4000.0), turn(20.0, 4000.0), turn(20.0, 16000.0)];
        assert_eq!(point.share().map(|share| share.median), Some(0.5));
    }

    #[test]
    fn places_are_found_again() {
        let point = point(&[10]);
        let place = point.place();
        assert_eq!(Place::parse(&point.json()), Some(place));
        assert_eq!(place.name(true), "write 5 of each of 4 after 9, 2 threads");
        assert_eq!(Place { reads: true, sequences: 1, depth: 0, ..place }.name(false), "read 5");
        assert_eq!(Place::parse(&json!({ "work": "read" })), None);
    }
}
