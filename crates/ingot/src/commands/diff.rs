//! `ingot diff`: one step on two executors, and where they begin to disagree.

use super::compare::{Bad, Difference, Seen, look};
use super::ids_or_file;
use crate::bare::{self, Bare, Source};
use crate::cli::DiffArgs;
use crate::failure::{Failure, Result};
use crate::models::Place;
use crate::table::Table;
use crate::term::DIM;
use ingot::{ExecutorKind, Tokenizer};
use ingot_plan::{Buf, Op, Plan, Precision};
use serde_json::{Value, json};
use std::io::{self, Write};

/// Tokens of the step if none are named.
const TOKENS: usize = 8;

pub fn run(args: &DiffArgs) -> Result {
    let place = Place::find(args.model.path())?;
    let file = place.model_file(&args.settings)?;
    let kinds = [args.a.executor(), args.b.executor()];
    let options = kinds.map(|kind| args.settings.options(kind));
    let setups = [options[0].resolve()?, options[1].resolve()?];
    // The reference does what it is told, so the others decide.
    let deciding = kinds.iter().zip(&setups).filter(|(kind, _)| **kind != ExecutorKind::Reference);
    let precisions: Vec<Precision> = deciding.map(|(_, setup)| setup.precision()).collect();
    let all_q8 = !precisions.is_empty() && precisions.iter().all(|p| *p == Precision::Q8);
    let precision = if all_q8 { Precision::Q8 } else { Precision::F32 };

    let source = Source { place: &place, file: &file };
    let mut sides = Vec::new();
    for (kind, setup) in kinds.into_iter().zip(&setups) {
        sides.push(Bare::open_with(&source, kind, setup, precision)?);
    }
    let plan = sides[0].plan.clone();
    let tokens = match (&args.tokens, &args.text) {
        (Some(ids), _) => ids_or_file(ids)?,
        (None, Some(text)) => {
            let tokenizer =
                Tokenizer::open(&file).map_err(|e| Failure::new(format!("{}: {e}", place.name())))?;
            tokenizer.encode(text, Default::default()).map_err(Failure::new)?
        }
        (None, None) => bare::tokens(0..TOKENS, plan.vocab()),
    };
    if args.past >= tokens.len() {
        return Err(Failure::usage(format!(
            "--past {} leaves none of {} to compare",
            args.past,
            crate::units::plural(tokens.len(), "token")
        )));
    }
    let (before, step) = (0..args.past, args.past..tokens.len());
    let mut seen = Vec::new();
    for side in &mut sides {
        let chunk = side.executor.chunk();
        let chunks = before.clone().step_by(chunk).map(|at| at..(at + chunk).min(before.end));
        let steps = [chunks.collect(), vec![step.clone()]].concat();
        seen.extend(look(side, &tokens, &steps, before.len().div_ceil(chunk), args.launch)?);
    }
    let limit = args.limit.unwrap_or_else(|| args.settings.accuracy());
    let diff =
        Diff { plan: &plan, names: kinds.map(|kind| kind.to_string()), limit, a: &seen[0], b: &seen[1] };
    diff.report(args.json)
}

/// Two executors' buffers of one step of a plan.
struct Diff<'a> {
    plan: &'a Plan,
    names: [String; 2],
    limit: f64,
    a: &'a Seen,
    b: &'a Seen,
}

/// A buffer that both have, and who wrote it.
struct Line {
    buffer: String,
    op: &'static str,
    /// Number and kernel of the launch that wrote it, of `b` if that is a GPU.
    launch: Option<(usize, &'static str)>,
    width: usize,
    values: usize,
    difference: Difference,
}

impl Diff<'_> {
    /// Compares in the order of the plan, up to the first buffer that is wrong.
    fn lines(&self) -> Vec<Line> {
        let mut lines = Vec::new();
        for (op, buf) in
            self.plan.ops().iter().flat_map(|op| op.uses().writes.into_iter().map(move |b| (op, b)))
        {
            if let (Some(a), Some(b)) = (self.a.buffers.get(&buf), self.b.buffers.get(&buf)) {
                lines.push(self.line(op, buf, Difference::new(a, b, self.limit)));
                if lines.last().is_some_and(Line::is_wrong) {
                    break;
                }
            }
        }
        lines
    }

    fn line(&self, op: &Op, buf: Buf, difference: Difference) -> Line {
        let decl = self.plan.buffer(buf);
        let wrote = |seen: &Seen| {
            let i = seen.launches.iter().rposition(|launch| launch.writes.contains(&decl.name))?;
            Some((i, seen.launches[i].kernel))
        };
        Line {
            buffer: decl.name.clone(),
            op: op.name(),
            launch: wrote(self.b).or_else(|| wrote(self.a)),
            width: decl.width,
            values: self.a.buffers[&buf].len(),
            difference,
        }
    }

    fn report(&self, json: bool) -> Result {
        let lines = self.lines();
        let wrong = lines.last().filter(|line| line.is_wrong());
        if json {
            let object = json!({
                "a": self.names[0],
                "b": self.names[1],
                "limit": self.limit,
                "equal": wrong.is_none(),
                "buffers": lines.iter().map(Line::json).collect::<Vec<_>>(),
            });
            writeln!(io::stdout(), "{object:#}")?;
        } else {
            self.print(&mut anstream::stdout().lock(), &lines)?;
        }
        match wrong {
            Some(line) => {
                Err(Failure::new(format!("{} and {} differ: {}", self.names[0], self.names[1], line.told())))
            }
            None if lines.is_empty() => {
                Err(Failure::new("no buffer to compare: the logits are not written before the last launch"))
            }
            None => Ok(()),
        }
    }

    fn print(&self, out: &mut impl Write, lines: &[Line]) -> io::Result<()> {
        let mut table = Table::new(&["buffer", "op", "launch", "values", "largest", "relative rms"], 3);
        for line in lines {
            let d = &line.difference;
            table.row([
                line.buffer.clone(),
                line.op.into(),
                line.launch.map_or(String::new(), |(i, kernel)| format!("{i} {kernel}")),
                line.values.to_string(),
                format!("{:.2e}", d.max_abs),
                format!("{:.2e}", d.rel_rms),
            ]);
        }
        table.print(out)?;
        let all = self.plan.buffers().len();
        let (compared, [a, b]) = (lines.len(), &self.names);
        writeln!(
            out,
            "{DIM}{compared} of {all} buffers compared, {a} against {b}, limit {}{DIM:#}",
            self.limit
        )
    }
}

impl Line {
    fn is_wrong(&self) -> bool {
        self.difference.first_bad.is_some()
    }

    /// What is wrong, and who did it.
    fn told(&self) -> String {
        let by = match self.launch {
            Some((i, kernel)) => format!("launch {i}, kernel {kernel}, for op {}", self.op),
            None => format!("op {}", self.op),
        };
        let what = match &self.difference.first_bad {
            Some(Bad::Length { a, b }) => format!("has {b} values instead of {a}"),
            Some(Bad::Value { index, a, b }) => {
                let (row, column) = (index / self.width, index % self.width);
                format!("is {b} instead of {a} at [{row}, {column}]")
            }
            None => "is right".into(),
        };
        format!("'{}' {what}, written by {by}", self.buffer)
    }

    fn json(&self) -> Value {
        let d = &self.difference;
        let bad = d.first_bad.as_ref().map(|bad| match bad {
            Bad::Length { a, b } => json!({ "lengths": [a, b] }),
            // JSON has no NaN: those become null.
            Bad::Value { index, a, b } => json!({ "index": index, "values": [a, b] }),
        });
        json!({
            "buffer": self.buffer,
            "op": self.op,
            "launch": self.launch.map(|(i, _)| i),
            "kernel": self.launch.map(|(_, kernel)| kernel),
            "width": self.width,
            "values": self.values,
            "max_abs": d.max_abs,
            "relative_rms": d.rel_rms,
            "first_bad": bad,
        })
    }
}
