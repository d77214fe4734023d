//! A profile for people and for programs.

use super::measure::Phase;
use super::piece::{Kind, Piece};
use crate::table::Table;
use crate::term::{DIM, HEADING, printable};
use crate::units;
use ingot::ExecutorKind;
use ingot_plan::Cost;
use serde_json::{Value, json};
use std::io::{self, Write};

/// Steps that were looked at, and on what.
pub struct Report {
    pub name: String,
    pub executor: ExecutorKind,
    pub gpu: Option<String>,
    /// Of the processor, if that computes.
    pub threads: Option<usize>,
    /// Bytes a second that the memory has, where that says something.
    pub limit: Option<f64>,
    pub phases: Vec<Phase>,
}

/// Pieces that are summed up.
pub struct Sum {
    pub name: String,
    pub pieces: usize,
    pub seconds: f64,
    pub cost: Cost,
}

impl Sum {
    /// Of some pieces.
    pub fn of<'a>(name: impl Into<String>, pieces: impl Iterator<Item = &'a Piece>) -> Self {
        let mut sum = Self { name: name.into(), pieces: 0, seconds: 0.0, cost: Cost::default() };
        for piece in pieces {
            sum.pieces += 1;
            sum.seconds += piece.seconds;
            sum.cost += piece.cost;
        }
        sum
    }

    /// Bytes of weights and state a second.
    pub fn speed(&self) -> Option<f64> {
        (self.cost.bytes() > 0 && self.seconds > 0.0).then(|| self.cost.bytes() as f64 / self.seconds)
    }

    /// Additions and multiplications a second.
    pub fn operations(&self) -> Option<f64> {
        (self.cost.operations > 0 && self.seconds > 0.0).then(|| self.cost.operations as f64 / self.seconds)
    }
}

impl Phase {
    /// The pieces of each kind that there is, in order.
    pub fn kinds(&self) -> Vec<(Kind, Sum)> {
        let sum = |kind: Kind| (kind, Sum::of(kind.name(), self.pieces.iter().filter(|p| p.kind == kind)));
        Kind::ALL.into_iter().map(sum).filter(|(_, sum)| sum.pieces > 0).collect()
    }

    /// The pieces of one name in all layers, those that take longest first.
    fn names(&self) -> Vec<Sum> {
        let mut names: Vec<&str> = Vec::new();
        for piece in &self.pieces {
            if !names.contains(&piece.name.as_str()) {
                names.push(&piece.name);
            }
        }
        let sum = |name: &str| Sum::of(name, self.pieces.iter().filter(|p| p.name == name));
        let mut sums: Vec<Sum> = names.into_iter().map(sum).collect();
        sums.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        sums
    }

    /// The pieces of each layer, and those outside of all.
    fn layers(&self) -> Vec<Sum> {
        let mut layers: Vec<Option<usize>> = Vec::new();
        for piece in &self.pieces {
            if !layers.contains(&piece.layer) {
                layers.push(piece.layer);
            }
        }
        layers.sort_by_key(|layer| layer.map_or(usize::MAX, |layer| layer));
        let name = |layer: &Option<usize>| layer.map_or("outside".into(), |n| format!("layer {n}"));
        let of = |layer| self.pieces.iter().filter(move |p| p.layer == layer);
        layers.iter().map(|layer| Sum::of(name(layer), of(*layer))).collect()
    }
}

/// Rows of the table of ops, unless all are wanted.
const TOP: usize = 12;

impl Report {
    /// Prints it.
    pub fn print(&self, out: &mut impl Write, all: bool) -> io::Result<()> {
        writeln!(out, "{HEADING}{}{HEADING:#}", printable(&self.name))?;
        writeln!(out, "{}", self.device())?;
        for phase in &self.phases {
            writeln!(out, "\n{HEADING}{}{HEADING:#}", phase.name())?;
            writeln!(out, "{DIM}{}{DIM:#}", self.overhead(phase))?;
            for (_, table) in self.tables(phase, if all { usize::MAX } else { TOP }) {
                writeln!(out)?;
                table.print(out)?;
            }
            if all {
                writeln!(out)?;
                self.every_piece(phase).print(out)?;
            }
        }
        Ok(())
    }

    /// What it ran on.
    pub fn device(&self) -> String {
        let device = match (&self.gpu, self.threads) {
            (Some(gpu), _) => format!("{}: {gpu}", self.executor),
            (None, Some(threads)) => format!("{}, {}", self.executor, units::plural(threads, "thread")),
            (None, None) => self.executor.to_string(),
        };
        match self.limit {
            Some(limit) => format!("{device}, memory {}/s", units::bytes(limit as u64)),
            None => format!("{device}, no limit by memory: the model may live in caches"),
        }
    }

    /// What timing did to the step.
    pub fn overhead(&self, phase: &Phase) -> String {
        let [plain, timed] = [phase.plain.median, phase.timed.median].map(time);
        match self.gpu {
            Some(_) => format!("the step takes {plain}; its launches one by one {timed} on the device"),
            None => {
                let percent = 100.0 * (phase.timed.median / phase.plain.median - 1.0);
                format!("the step takes {plain}; with timing {timed} ({percent:+.1} %)")
            }
        }
    }

    /// Tables of a phase: by kind, by name and by layer.
    pub fn tables(&self, phase: &Phase, top: usize) -> Vec<(String, Table)> {
        let kinds: Vec<Sum> = phase.kinds().into_iter().map(|(_, sum)| sum).collect();
        let names = phase.names();
        let more = names.len().saturating_sub(top);
        let layers = phase.layers();
        let mut tables = vec![("by kind".to_string(), self.table(phase, "kind", &kinds, 0, true))];
        tables.push(("by op".into(), self.table(phase, "op", &names[..names.len() - more], more, false)));
        if layers.len() > 1 {
            tables.push(("by layer".into(), self.table(phase, "layer", &layers, 0, false)));
        }
        tables
    }

    fn table(&self, phase: &Phase, what: &str, sums: &[Sum], more: usize, whole: bool) -> Table {
        let header = [what, "pieces", "us", "share", "bytes", "read with", "of memory's", "GFLOP/s"];
        let mut table = Table::new(&header, 1);
        let step = phase.pieces_seconds() + phase.between;
        let mut row = |sum: &Sum| {
            let (bytes, speed) = (sum.cost.bytes(), sum.speed());
            let limit = speed.zip(self.limit).map(|(speed, limit)| format!("{:.0} %", 100.0 * speed / limit));
            table.row([
                sum.name.clone(),
                if sum.pieces > 0 { sum.pieces.to_string() } else { String::new() },
                format!("{:.1}", 1e6 * sum.seconds),
                format!("{:.1} %", 100.0 * sum.seconds / step),
                if bytes > 0 { units::bytes(bytes as u64) } else { String::new() },
                speed.map_or(String::new(), |speed| format!("{}/s", units::bytes(speed as u64))),
                limit.unwrap_or_default(),
                sum.operations().map_or(String::new(), |n| format!("{:.1}", n / 1e9)),
            ]);
        };
        sums.iter().for_each(&mut row);
        let rest = |name: String, seconds: f64| Sum { name, pieces: 0, seconds, cost: Cost::default() };
        if more > 0 {
            let shown: f64 = sums.iter().map(|sum| sum.seconds).sum();
            row(&rest(format!("{more} others (--all)"), phase.pieces_seconds() - shown));
        }
        if whole {
            if self.gpu.is_none() {
                row(&rest("between".into(), phase.between));
            }
            row(&Sum { seconds: step, ..Sum::of("together", phase.pieces.iter()) });
        }
        table
    }

    fn every_piece(&self, phase: &Phase) -> Table {
        let mut table = Table::new(&["layer", "piece", "us", "bytes", "read with"], 2);
        for piece in &phase.pieces {
            let sum = Sum::of("", std::iter::once(piece));
            table.row([
                piece.layer.map_or(String::new(), |layer| layer.to_string()),
                piece.name.clone(),
                format!("{:.1}", 1e6 * piece.seconds),
                units::bytes(piece.cost.bytes() as u64),
                sum.speed().map_or(String::new(), |speed| format!("{}/s", units::bytes(speed as u64))),
            ]);
        }
        table
    }

    /// Everything, for programs.
    pub fn json(&self) -> Value {
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "model": self.name,
            "device": self.executor.to_string(),
            "gpu": self.gpu,
            "threads": self.threads,
            "memory_bytes_per_s": self.limit,
            "steps": self.phases.iter().map(|phase| self.phase_json(phase)).collect::<Vec<_>>(),
        })
    }

    fn phase_json(&self, phase: &Phase) -> Value {
        let sum = |sum: &Sum| {
            json!({
                "name": sum.name,
                "pieces": sum.pieces,
                "seconds": sum.seconds,
                "bytes": sum.cost.bytes(),
                "bytes_per_s": sum.speed(),
                "operations_per_s": sum.operations(),
                "share_of_memory": sum.speed().zip(self.limit).map(|(speed, limit)| speed / limit),
            })
        };
        let piece = |piece: &Piece| {
            json!({
                "name": piece.name,
                "kind": piece.kind.name(),
                "layer": piece.layer,
                "ops": piece.ops,
                "seconds": piece.seconds,
                "weight_bytes": piece.cost.weights,
                "state_bytes": piece.cost.state,
                "operations": piece.cost.operations,
            })
        };
        json!({
            "step": phase.name(),
            "rows": phase.rows,
            "depth": phase.depth,
            "seconds": phase.plain.json(),
            "seconds_timed": phase.timed.json(),
            "seconds_between": phase.between,
            "kinds": phase.kinds().iter().map(|(_, kind)| sum(kind)).collect::<Vec<_>>(),
            "ops": phase.names().iter().map(sum).collect::<Vec<_>>(),
            "layers": phase.layers().iter().map(sum).collect::<Vec<_>>(),
            "pieces": phase.pieces.iter().map(piece).collect::<Vec<_>>(),
        })
    }
}

/// A time in the unit that suits it.
pub fn time(seconds: f64) -> String {
    match seconds {
        s if s < 999.5e-6 => format!("{:.0} us", 1e6 * s),
        s if s < 99.95e-3 => format!("{:.2} ms", 1e3 * s),
        s => format!("{s:.2} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_in_their_units() {
        assert_eq!([4e-6, 9.996e-4, 0.01234, 1.5].map(time), ["4 us", "1.00 ms", "12.34 ms", "1.50 s"]);
    }
}
