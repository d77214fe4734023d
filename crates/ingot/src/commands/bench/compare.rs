//! A report against one that was saved before.

use super::point::{Place, Point};
use crate::failure::{Failure, Result};
use crate::spread::Spread;
use crate::table::Table;
use serde_json::{Value, json};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// What a file has that `--save` wrote, or `--json` printed.
pub struct Saved {
    label: String,
    /// What it was measured on: model and device.
    about: [String; 2],
    points: Vec<(Place, Spread)>,
}

/// Most bytes of such a file.
const MOST: u64 = 64 << 20;

impl Saved {
    /// Reads one.
    ///
    /// # Errors
    /// If there is none, or it is something else.
    pub fn read(path: &Path) -> Result<Self> {
        let failed = |e: &dyn std::fmt::Display| Failure::new(format!("{}: {e}", path.display()));
        let other = || failed(&"this is no report of a bench").hint("`ingot bench --save FILE` writes one");
        let mut text = String::new();
        let file = File::open(path).map_err(|e| failed(&e))?;
        let read = file.take(MOST + 1).read_to_string(&mut text).map_err(|e| failed(&e))?;
        if read as u64 > MOST {
            return Err(other());
        }
        let report: Value = serde_json::from_str(&text).map_err(|_| other())?;
        let word = |value: &Value| value.as_str().unwrap_or("unknown").to_string();
        let point = |point: &Value| Some((Place::parse(point)?, Spread::parse(&point["tokens_per_s"])?));
        let points: Option<Vec<_>> =
            report["points"].as_array().ok_or_else(other)?.iter().map(point).collect();
        let label = report["label"].as_str().map_or_else(|| path.display().to_string(), str::to_string);
        let about = [word(&report["model"]["name"]), word(&report["device"])];
        Ok(Self { label, about, points: points.ok_or_else(other)? })
    }
}

/// Two measurements of the same thing.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Pair {
    place: Place,
    before: Spread,
    now: Spread,
}

impl Pair {
    fn ratio(&self) -> f64 {
        self.now.median / self.before.median
    }

    /// What the ranges allow to say.
    fn verdict(&self) -> &'static str {
        match (self.before.overlaps(&self.now), self.ratio() > 1.0) {
            (true, _) => "ranges overlap",
            (false, true) => "faster",
            (false, false) => "slower",
        }
    }
}

/// Two reports beside each other.
pub struct Comparison {
    label: String,
    /// Ways in which they differ that make it a comparison of something else.
    differ: Vec<String>,
    pairs: Vec<Pair>,
    with_threads: bool,
}

impl Comparison {
    /// What of `points` was measured before. How many threads there were only matters if
    /// now there are several numbers of them.
    ///
    /// # Errors
    /// If nothing was.
    pub fn new(before: &Saved, about: [String; 2], points: &[Point], with_threads: bool) -> Result<Self> {
        let same = |a: &Place, b: &Place| {
            let threads = if with_threads { b.threads } else { a.threads };
            Place { threads, ..*a } == *a && Place { threads: a.threads, ..*b } == *a
        };
        let pair = |point: &Point| {
            let place = point.place();
            let (_, before) = before.points.iter().find(|(other, _)| same(other, &place))?;
            Some(Pair { place, before: *before, now: point.rates() })
        };
        let pairs: Vec<Pair> = points.iter().filter_map(pair).collect();
        if pairs.is_empty() {
            let had: Vec<String> = before.points.iter().take(4).map(|(place, _)| place.name(true)).collect();
            return Err(Failure::new("nothing of this was measured before")
                .hint(format!("the saved report has: {}", had.join("; "))));
        }
        let differ = before.about.iter().zip(&about).filter(|(before, now)| before != now);
        let differ = differ.map(|(before, now)| format!("then {before}, now {now}")).collect();
        Ok(Self { label: before.label.clone(), differ, pairs, with_threads })
    }

    /// For people.
    pub fn table(&self) -> (String, Table) {
        let header = ["tokens per second", "before", "now", "now / before", ""];
        let mut table = Table::new(&header, 1);
        for pair in &self.pairs {
            let range = |s: &Spread| format!("{:.1} ({:.1} to {:.1})", s.median, s.min, s.max);
            let ratio = format!("{:.3}", pair.ratio());
            let verdict = pair.verdict().to_string();
            table.row([
                pair.place.name(self.with_threads),
                range(&pair.before),
                range(&pair.now),
                ratio,
                verdict,
            ]);
        }
        let mut heading = format!("Against {}", self.label);
        self.differ.iter().for_each(|what| heading += &format!(" ({what})"));
        (heading, table)
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let pair = |pair: &Pair| {
            json!({
                "what": pair.place.name(true),
                "before": pair.before.json(),
                "now": pair.now.json(),
                "ratio": pair.ratio(),
                "overlap": pair.before.overlaps(&pair.now),
            })
        };
        json!({
            "label": self.label,
            "differ": self.differ,
            "points": self.pairs.iter().map(pair).collect::<Vec<_>>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts() {
        let place = Place { threads: None, depth: 0, reads: true, tokens: 1, sequences: 1 };
        let verdict = |before: [f64; 2], now: [f64; 2]| {
            Pair { place, before: Spread::of(before), now: Spread::of(now) }.verdict()
        };
        assert_eq!(verdict([1.0, 2.0], [2.5, 3.0]), "faster");
        assert_eq!(verdict([2.5, 3.0], [1.0, 2.0]), "slower");
        assert_eq!(verdict([1.0, 2.0], [1.9, 9.0]), "ranges overlap");
    }
}
