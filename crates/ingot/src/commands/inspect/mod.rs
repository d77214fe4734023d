//! `ingot inspect`: what is in a model file, and what running it takes. Works
//! on files whose model ingot cannot run: the metadata then says what it is.

mod json;
mod metadata;
mod step;
mod tensors;

use crate::cli::InspectArgs;
use crate::failure::Result;
use crate::models::Place;
use crate::term::{DIM, HEADING, WARNING, printable};
use crate::units;
use ingot::{ExecutorKind, Memory, ModelFile, Tokenizer, buffer_bytes};
use ingot_format::DType;
use ingot_models::Model;
use ingot_plan::Precision;
use std::io::{self, Write};
use std::num::NonZeroUsize;
use step::Steps;
use tensors::{Group, TypeShare};

pub fn run(args: &InspectArgs) -> Result {
    let place = Place::find(args.model.path())?;
    let file = place.read()?;
    let view = View {
        name: place.name(),
        model: Model::load(&file, Precision::Q8).map_err(|e| e.to_string()),
        tokenizer: Tokenizer::open(&file).map_err(|e| e.to_string()),
        file,
    };
    let steps = match &view.model {
        Ok(model) if args.plan => Some(Steps::new(model, &view.file, &place, args)?),
        _ => None,
    };
    if args.json {
        return Ok(writeln!(io::stdout(), "{:#}", json::describe(&view, steps.as_ref(), args))?);
    }
    let mut out = anstream::stdout().lock();
    match (&view.model, steps) {
        (Ok(model), Some(steps)) => {
            write!(out, "{}", printable(&model.plan.to_string()))?;
            Ok(steps.print(&mut out)?)
        }
        (Err(e), _) if args.plan => Err(crate::failure::Failure::new(format!("{}: {e}", view.name))),
        _ => Ok(view.print(&mut out, args)?),
    }
}

/// What can be said about a file.
struct View {
    name: String,
    file: ModelFile,
    model: Result<Model, String>,
    tokenizer: Result<Tokenizer, String>,
}

impl View {
    fn print(&self, out: &mut impl Write, args: &InspectArgs) -> io::Result<()> {
        heading(out, &self.name)?;
        match &self.model {
            Ok(model) => print_model(out, model)?,
            Err(e) => print_problem(out, "cannot run", e)?,
        }
        match &self.tokenizer {
            Ok(tokenizer) => print_tokenizer(out, tokenizer)?,
            Err(e) => print_problem(out, "tokenizer", e)?,
        }

        heading(out, "\nMetadata")?;
        let entries = metadata::entries(&self.file);
        let width = entries.iter().map(|(key, _)| key.chars().count()).max().unwrap_or(0).min(48);
        for (key, value) in entries {
            writeln!(out, "  {DIM}{:width$}{DIM:#}  {}", printable(&key), printable(&value))?;
        }

        let tensors = self.file.tensors();
        heading(out, &format!("\nTensors ({})", tensors.len()))?;
        print_tensors(out, &tensors::groups(tensors, !args.tensors))?;
        heading(out, "\nTypes by size")?;
        print_types(out, &tensors::shares(tensors))?;
        if let Ok(model) = &self.model {
            heading(out, "\nMemory")?;
            print_memory(out, model, &args.ctx)?;
        }
        Ok(())
    }
}

fn heading(out: &mut impl Write, text: &str) -> io::Result<()> {
    writeln!(out, "{HEADING}{}{HEADING:#}", printable(text))
}

fn print_problem(out: &mut impl Write, name: &str, problem: &str) -> io::Result<()> {
    writeln!(out, "  {WARNING}{name:10}{WARNING:#} {}", printable(problem))
}

fn print_line(out: &mut impl Write, name: &str, text: &str) -> io::Result<()> {
    writeln!(out, "  {DIM}{name:10}{DIM:#} {}", printable(text))
}

fn print_model(out: &mut impl Write, model: &Model) -> io::Result<()> {
    let info = &model.info;
    if let Some(name) = &info.name {
        print_line(out, "name", name)?;
    }
    print_line(out, "family", info.family.name())?;
    print_line(out, "size", &format!("{} parameters", units::count(info.parameters as u64)))?;
    print_line(out, "shape", &format!("{} layers of width {}", info.layers, info.hidden))?;
    let context = match info.context {
        Some(n) => units::plural(n, "token"),
        None => "no limit of its own".into(),
    };
    print_line(out, "context", &context)
}

fn print_tokenizer(out: &mut impl Write, tokenizer: &Tokenizer) -> io::Result<()> {
    let template = match tokenizer.chat_template() {
        Some(_) => "has a chat template",
        None => "no chat template",
    };
    let kind = format!("{}, {} tokens, {template}", tokenizer.kind(), tokenizer.vocab_size());
    print_line(out, "tokenizer", &kind)
}

fn print_tensors(out: &mut impl Write, groups: &[Group]) -> io::Result<()> {
    let width = groups.iter().map(|g| g.name.chars().count()).max().unwrap_or(0);
    for group in groups {
        let shape: Vec<_> = group.shape.iter().map(usize::to_string).collect();
        let times = if group.count > 1 { format!("{} × ", group.count) } else { String::new() };
        writeln!(
            out,
            "  {:width$}  {:6} {:>18}  {:>8}{}",
            printable(&group.name),
            group.dtype,
            shape.join(" × "),
            times,
            units::bytes(group.bytes / group.count as u64),
        )?;
    }
    Ok(())
}

fn print_types(out: &mut impl Write, shares: &[TypeShare]) -> io::Result<()> {
    const BAR: u64 = 40;
    let all: u64 = shares.iter().map(|share| share.bytes).sum();
    for share in shares {
        // Eighths of a character, at least one so that nothing disappears.
        let eighths = (8 * BAR * share.bytes / all.max(1)).max(1) as usize;
        let rest = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"][eighths % 8];
        let bar = "█".repeat(eighths / 8) + rest;
        let percent = units::percent(share.bytes, all);
        let (size, count) = (units::bytes(share.bytes), units::plural(share.tensors, "tensor"));
        writeln!(out, "  {:6} {percent}  {bar:40}  {DIM}{size}, {count}{DIM:#}", share.dtype)?;
    }
    Ok(())
}

fn print_memory(out: &mut impl Write, model: &Model, asked: &[NonZeroUsize]) -> io::Result<()> {
    let memory = Memory::of(&model.plan, DType::F16);
    print_line(out, "weights", &units::bytes(memory.weights))?;
    print_line(out, "per token", &format!("{} are read", units::bytes(model.plan.bytes_per_token() as u64)))?;
    let buffers = scratch(model);
    print_line(out, "buffers", &format!("{} on the processor", units::bytes(buffers)))?;
    let resident = |session| units::bytes(memory.weights.saturating_add(session).saturating_add(buffers));
    if memory.page_bytes == 0 {
        let state = units::bytes(memory.slot_bytes);
        let text = format!("{state}, however long the text, {} in all", resident(memory.slot_bytes));
        return print_line(out, "session", &text);
    }
    print_line(out, "cache", &format!("{} per 1,000 tokens", units::bytes(cache_of_thousand(&memory))))?;
    for tokens in contexts(model.info.context, asked) {
        let session = memory.sequence(tokens);
        let text = format!("{:>10} for a session of {tokens} tokens", units::bytes(session));
        print_line(out, "session", &format!("{text}, {} in all", resident(session)))?;
    }
    Ok(())
}

/// Scratch memory of the processor while a prompt is read.
fn scratch(model: &Model) -> u64 {
    buffer_bytes(&model.plan, ExecutorKind::Cpu.chunk(), 1)
}

/// Bytes of keys and values of 1,000 tokens, without the rest of their last page.
fn cache_of_thousand(memory: &Memory) -> u64 {
    memory.page_bytes.saturating_mul(1000) / ingot_plan::PAGE as u64
}

/// The lengths for which memory is shown: those asked for, or a few up to what
/// the model was trained for.
fn contexts(trained: Option<usize>, asked: &[NonZeroUsize]) -> Vec<usize> {
    if !asked.is_empty() {
        return asked.iter().map(|n| n.get()).collect();
    }
    let trained = trained.unwrap_or(8192);
    let smaller = [1024, 4096, 16384, 65536].into_iter().filter(|&n| n < trained);
    smaller.chain([trained]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts_end_with_the_trained_one() {
        assert_eq!(contexts(Some(512), &[]), [512]);
        assert_eq!(contexts(Some(4096), &[]), [1024, 4096]);
        assert_eq!(contexts(Some(131072), &[]), [1024, 4096, 16384, 65536, 131072]);
        assert_eq!(contexts(Some(512), &[NonZeroUsize::MIN]), [1]);
    }
}
