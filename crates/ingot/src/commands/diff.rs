//! `ingot diff`: one step on two executors, and where they begin to disagree.

use super::ids_or_file;
use crate::bare::{self, Bare, Source};
use crate::cli::DiffArgs;
use crate::failure::{Failure, Result};
use crate::models::Place;
use crate::table::Table;
use crate::term::DIM;
use ingot::{Error, ExecutorKind, Tokenizer};
use ingot_engine::Machine;
use ingot_gpu::Described;
use ingot_plan::{Buf, Op, Plan, Precision, Step};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::{self, Write};

/// Tokens of the step if none are named.
const TOKENS: usize = 8;

pub fn run(args: &DiffArgs) -> Result {
    let place = Place::find(args.model.path())?;
    let file = place.model_file()?;
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
    let mut seen = Vec::new();
    for side in &mut sides {
        seen.push(look(side, &tokens, args.past, args.launch)?);
    }
    let limit = args.limit.unwrap_or(match options[1].exact && options[1].cache == ingot::CacheType::F32 {
        true => 1e-4,
        false => 8e-2,
    });
    let diff =
        Diff { plan: &plan, names: kinds.map(|kind| kind.to_string()), limit, a: &seen[0], b: &seen[1] };
    diff.report(args.json)
}

/// What an executor shows after a step.
struct Seen {
    buffers: HashMap<Buf, Vec<f32>>,
    launches: Vec<Described>,
}

/// Reads the first `past` tokens, then runs a step of the others and looks.
fn look(bare: &mut Bare, tokens: &[u32], past: usize, launch: Option<usize>) -> Result<Seen> {
    bare.reserve(tokens.len(), 1)?;
    let (before, tokens) = tokens.split_at(past);
    let mut logits = Vec::new();
    bare.machine.executor().clear_slot(0).map_err(Error::from)?;
    for (i, chunk) in before.chunks(bare.executor.chunk()).enumerate() {
        let step = bare.step(chunk, i * bare.executor.chunk());
        bare.run(&step, &mut logits)?;
    }
    let step = bare.step(tokens, past);
    Ok(look_at(bare, &step, launch).map_err(Error::from)?)
}

fn look_at(bare: &mut Bare, step: &Step, launch: Option<usize>) -> Result<Seen, ingot_plan::ExecError> {
    let plan = bare.plan.clone();
    let (mut buffers, mut launches) = (HashMap::new(), Vec::new());
    match &mut bare.machine {
        Machine::Gpu(gpu) => {
            launches = gpu.describe(step)?;
            let n = launch.unwrap_or(launches.len()).min(launches.len());
            buffers.extend(gpu.run_to(step, n)?);
        }
        machine => {
            let mut logits = Vec::new();
            machine.executor().run(step, &mut logits)?;
            buffers.insert(plan.logits(), logits);
        }
    }
    if let Machine::Reference(reference) = &bare.machine {
        let all = plan.ops().iter().flat_map(|op| op.uses().writes);
        buffers.extend(all.map(|buf| (buf, reference.buffer(buf).to_vec())));
    }
    Ok(Seen { buffers, launches })
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

/// How far two buffers are apart.
struct Difference {
    max_abs: f32,
    /// Root mean square of the difference over that of `a`.
    rel_rms: f64,
    first_bad: Option<Bad>,
}

/// Why a buffer is wrong.
#[derive(Debug, PartialEq)]
enum Bad {
    /// It has another length.
    Length { a: usize, b: usize },
    /// The first value that is off by more than the buffer may be as a whole.
    Value { index: usize, a: f32, b: f32 },
}

impl Difference {
    fn new(a: &[f32], b: &[f32], limit: f64) -> Self {
        if a.len() != b.len() {
            let first_bad = Some(Bad::Length { a: a.len(), b: b.len() });
            return Self { max_abs: f32::NAN, rel_rms: f64::NAN, first_bad };
        }
        let rms = |values: &mut dyn Iterator<Item = f32>| {
            (values.map(|x| f64::from(x).powi(2)).sum::<f64>() / a.len().max(1) as f64).sqrt()
        };
        let differences = || a.iter().zip(b).map(|(a, b)| (a - b).abs());
        let (scale, off) = (rms(&mut a.iter().copied()), rms(&mut differences()));
        let max_abs = differences().fold(0.0, |most: f32, d| if d > most || d.is_nan() { d } else { most });
        let is_right = off <= limit * scale && scale.is_finite(); // false for what is no number
        // Not all differences are smaller than their root mean square.
        let first = || differences().position(|d| f64::from(d) >= off * (1.0 - 1e-6) || !d.is_finite());
        let index = if is_right { None } else { first() };
        Self {
            max_abs,
            rel_rms: if off == 0.0 { 0.0 } else { off / scale },
            first_bad: index.map(|index| Bad::Value { index, a: a[index], b: b[index] }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first_bad(a: &[f32], b: &[f32], limit: f64) -> Option<usize> {
        match Difference::new(a, b, limit).first_bad {
            Some(Bad::Value { index, .. }) => Some(index),
            Some(other) => panic!("{other:?}"),
            None => None,
        }
    }

    #[test]
    fn errors_count_against_the_whole_buffer() {
        let a = [3.0, -4.0, 0.0, 5.0]; // root mean square 3.54
        assert_eq!(first_bad(&a, &a, 0.0), None);
        assert_eq!(first_bad(&[0.0; 2], &[0.0; 2], 0.0), None);
        assert_eq!(first_bad(&[0.0; 2], &[0.0, 1e-9], 0.1), Some(1));
        let b = [3.0, -4.0, 0.5, 5.0];
        let d = Difference::new(&a, &b, 0.1);
        assert_eq!((d.max_abs, d.first_bad), (0.5, None));
        assert!((d.rel_rms - 0.25 / 12.5f64.sqrt()).abs() < 1e-9, "{}", d.rel_rms);
        assert_eq!(first_bad(&a, &b, 0.07), Some(2));
        assert_eq!(first_bad(&a, &[3.1, -4.0, 0.4, 5.55], 0.01), Some(2));
        // All equally far off: the first.
        assert_eq!(first_bad(&a, &a.map(|x| x + 1.0), 0.1), Some(0));
    }

    #[test]
    fn what_is_not_a_number_is_wrong() {
        assert_eq!(first_bad(&[1.0, 2.0], &[1.0, f32::NAN], 0.1), Some(1));
        assert_eq!(first_bad(&[f32::NAN], &[f32::NAN], 0.1), Some(0));
        assert_eq!(first_bad(&[1.0, f32::INFINITY], &[1.0, 1.0], 0.1), Some(1));
        assert_eq!(first_bad(&[1.0, f32::INFINITY], &[1.0, f32::INFINITY], 0.1), Some(1));
        assert!(Difference::new(&[1.0, 2.0], &[1.0, f32::NAN], 0.1).max_abs.is_nan());
        assert_eq!(Difference::new(&[1.0], &[], 0.1).first_bad, Some(Bad::Length { a: 1, b: 0 }));
    }
}
