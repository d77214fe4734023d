//! `ingot validate`: whether the devices of this computer make of a model what the
//! reference makes of it.

use super::compare::{Difference, Seen, look};
use crate::bare::{self, Bare, Source};
use crate::cli::ValidateArgs;
use crate::device::Device;
use crate::failure::{Failure, Result};
use crate::models::Place;
use crate::table::Table;
use crate::term::{DIM, ERROR, HEADING, Progress};
use ingot::{ExecutorKind, Tokenizer};
use ingot_plan::{Buf, Plan, Precision};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io::{self, Write};
use std::sync::Arc;

/// What the steps are that are compared.
const STEPS: [&str; 2] = ["prompt", "next token"];

pub fn run(args: &ValidateArgs) -> Result {
    let place = Place::find(args.model.path())?;
    let file = place.model_file(&args.engine.settings)?;
    let source = Source { place: &place, file: &file };
    let settings = &args.engine.settings;
    let limit = args.limit.unwrap_or_else(|| settings.accuracy());

    let mut references: HashMap<bool, [Seen; 2]> = HashMap::new();
    let mut results = Vec::new();
    for kind in devices(args.engine.device) {
        let setup = settings.options(kind).resolve()?;
        let precision = setup.precision();
        let mut tested = match Bare::open_with(&source, kind, &setup, precision) {
            Ok(tested) => tested,
            // One that was not named may not have room for it.
            Err(e) if args.engine.device == Device::Auto && kind != ExecutorKind::Cpu => {
                crate::say!("{DIM}{kind}: {e}{DIM:#}");
                continue;
            }
            Err(e) => return Err(e.into()),
        };
        let plan = tested.plan.clone();
        let tokens = tokens(args, &source, plan.vocab())?;
        let seen = see(&mut tested, &tokens)?;
        drop(tested);
        let reference = match references.entry(precision == Precision::Q8) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let _progress = Progress::new("computing the reference", 0);
                let setup = settings.options(ExecutorKind::Reference).resolve()?;
                let mut reference = Bare::open_with(&source, ExecutorKind::Reference, &setup, precision)?;
                new.insert(see(&mut reference, &tokens)?)
            }
        };
        let places = places(&plan, reference, &seen, limit);
        results.push(Compared { kind, limit, places, plan });
    }
    report(&results, limit, args.json)
}

/// Those that were named, or all that ingot would use by itself.
fn devices(device: Device) -> Vec<ExecutorKind> {
    match device {
        Device::Named(kind) => vec![kind],
        Device::Auto => {
            let gpus = ingot_gpu::devices().into_iter().flatten().map(|(kind, _)| ExecutorKind::Gpu(kind));
            std::iter::once(ExecutorKind::Cpu).chain(gpus).collect()
        }
    }
}

/// A prompt and one more.
fn tokens(args: &ValidateArgs, source: &Source, vocab: usize) -> Result<Vec<u32>> {
    let Some(text) = &args.text else { return Ok(bare::tokens(0..args.tokens.get() + 1, vocab)) };
    let tokenizer =
        Tokenizer::open(source.file).map_err(|e| Failure::new(format!("{}: {e}", source.place.name())))?;
    let tokens = tokenizer.encode(text, Default::default()).map_err(Failure::new)?;
    match tokens.len() {
        0 | 1 => Err(Failure::usage("--text has less than two tokens")),
        _ => Ok(tokens),
    }
}

/// What is seen of all but the last token, and of that.
fn see(bare: &mut Bare, tokens: &[u32]) -> Result<[Seen; 2]> {
    let last = tokens.len() - 1;
    let seen = look(bare, tokens, &[0..last, last..last + 1], 0, None)?;
    Ok(seen.try_into().unwrap_or_else(|_| unreachable!("two steps")))
}

/// A device against the reference.
struct Compared {
    kind: ExecutorKind,
    limit: f64,
    plan: Arc<Plan>,
    places: Vec<(Buf, [Option<Difference>; 2])>,
}

/// The layers' ends and the logits, where both have them.
fn places(
    plan: &Plan,
    right: &[Seen; 2],
    seen: &[Seen; 2],
    limit: f64,
) -> Vec<(Buf, [Option<Difference>; 2])> {
    let of = |buf: Buf| {
        (
            buf,
            [0, 1].map(|step| {
                let values = |seen: &[Seen; 2]| seen[step].buffers.get(&buf).cloned();
                Some(Difference::new(&values(right)?, &values(seen)?, limit))
            }),
        )
    };
    plan.layers().into_iter().chain([plan.logits()]).map(of).collect()
}

impl Compared {
    /// The first place that is wrong: its name, and in which step.
    fn wrong(&self) -> Option<(&str, &'static str)> {
        let is_wrong = |d: &Option<Difference>| d.as_ref().is_some_and(|d| d.first_bad.is_some());
        STEPS.iter().enumerate().find_map(|(step, name)| {
            let place = self.places.iter().find(|(_, differences)| is_wrong(&differences[step]))?;
            Some((&*self.plan.buffer(place.0).name, *name))
        })
    }

    fn print(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "{HEADING}{}{HEADING:#}", self.kind)?;
        let mut table = Table::new(&["after", STEPS[0], STEPS[1]], 1);
        for (buf, differences) in &self.places {
            let [a, b] = differences.each_ref().map(|d| match d {
                None => "-".into(),
                Some(d) => format!("{:.2e}{}", d.rel_rms, if d.first_bad.is_some() { " !" } else { "" }),
            });
            table.row([self.plan.buffer(*buf).name.clone(), a, b]);
        }
        table.print(out)?;
        match self.wrong() {
            None => writeln!(out, "{DIM}as the reference, limit {}{DIM:#}\n", self.limit),
            Some((place, step)) => {
                writeln!(out, "{ERROR}wrong{ERROR:#} from '{place}' on, {step}, limit {}\n", self.limit)
            }
        }
    }

    fn json(&self) -> Value {
        let value = |d: &Option<Difference>| {
            d.as_ref().map(|d| {
                json!({
                    "relative_rms": d.rel_rms,
                    "max_abs": d.max_abs,
                    "right": d.first_bad.is_none(),
                })
            })
        };
        let place = |(buf, [prompt, next]): &(Buf, [Option<Difference>; 2])| {
            json!({
                "after": self.plan.buffer(*buf).name,
                "prompt": value(prompt),
                "next_token": value(next),
            })
        };
        json!({
            "device": self.kind.to_string(),
            "right": self.wrong().is_none(),
            "places": self.places.iter().map(place).collect::<Vec<_>>(),
        })
    }
}

fn report(results: &[Compared], limit: f64, json: bool) -> Result {
    let mut out = anstream::stdout().lock();
    if json {
        let devices: Vec<_> = results.iter().map(Compared::json).collect();
        writeln!(out, "{:#}", json!({ "limit": limit, "devices": devices }))?;
    } else {
        results.iter().try_for_each(|result| result.print(&mut out))?;
    }
    let wrong = results.iter().find_map(|result| Some((result.kind, result.wrong()?)));
    match wrong {
        None => Ok(()),
        Some((kind, (place, step))) => {
            let failure = Failure::new(format!("{kind} is wrong from '{place}' on ({step})"));
            Err(failure.hint(format!("ingot diff --b {kind} looks at every buffer")))
        }
    }
}
