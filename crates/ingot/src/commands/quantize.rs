//! `ingot quantize` and `ingot convert`: a new model file made of another one.

use crate::adapters;
use crate::cli::{ConvertArgs, Making, QuantizeArgs};
use crate::failure::{Failure, Result};
use crate::interrupt::Interrupt;
use crate::models::Place;
use crate::table::Table;
use crate::term::{Progress, printable};
use crate::units;
use ingot::ModelFile;
use ingot_convert::{Choices, Error, Importance, Job, Loss, Mix, Model, Weight, Written};
use ingot_format::DType;
use serde_json::{Value, json};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub fn quantize(args: &QuantizeArgs) -> Result {
    let importance = args.imatrix.as_deref();
    let choices = Choices { pure: args.pure, importance: importance.is_some(), again: args.allow_requantize };
    make(&args.model, Some(args.mix), importance, choices, &args.making)
}

pub fn convert(args: &ConvertArgs) -> Result {
    make(&args.model, args.mix, None, Choices::default(), &args.making)
}

/// Makes the file. Without a mixture the weights keep their own type.
fn make(
    model: &Path,
    mix: Option<Mix>,
    importance: Option<&Path>,
    choices: Choices,
    making: &Making,
) -> Result {
    let place = Place::find(Some(model))?;
    let file = place.read()?;
    if let Some(output) = &making.output {
        refuse_inputs(output, &place, &file)?;
    }
    let mut model = Model::open(&file)?;
    adapters::each(&making.lora, |adapter, factor| model.merge(adapter, factor))?;
    let Some(mix) = mix.or_else(|| model.own_mix()) else {
        return Err(Failure::new(format!("{} is quantized: it has no type of floats to keep", place.name()))
            .hint("`ingot quantize MODEL TYPE --allow-requantize` makes another type of it"));
    };
    let importance = importance.map(|path| Importance::open(path, &model)).transpose()?;
    let types = mix.plan(&model, choices)?;
    let metadata = model.metadata(mix);
    let weights: Vec<(Weight, DType)> = model.weights().iter().cloned().zip(types).collect();
    let threads = making.threads.map_or_else(adapters::available_threads, |n| n.get());
    let job = Job { metadata: &metadata, weights: &weights, importance: importance.as_ref(), threads };

    let begun = Instant::now();
    let (written, time) = match &making.output {
        Some(output) if !making.dry_run => {
            (write(&job, output, &Interrupt::install()?)?, Some(begun.elapsed()))
        }
        _ => (planned(&weights), None),
    };
    let made = Made { mix, written, time, output: making.output.as_deref().filter(|_| !making.dry_run) };
    if making.json {
        return Ok(writeln!(io::stdout(), "{:#}", made.json())?);
    }
    Ok(made.print(&mut anstream::stdout().lock(), making.tensors)?)
}

/// Packs a model into a file of its own: in this mixture, or with the weights' own types, whatever
/// they are.
pub(super) fn repack(
    file: &ModelFile,
    mix: Option<Mix>,
    lora: &[String],
    output: &Path,
    interrupt: &Interrupt,
) -> Result {
    let mut model = Model::open(file)?;
    adapters::each(lora, |adapter, factor| model.merge(adapter, factor))?;
    let (types, metadata) = match mix.or_else(|| model.own_mix()) {
        Some(mix) => {
            let types = mix.plan(&model, Choices::default()).map_err(|e| match e {
                Error::Quantized { .. } => Failure::new(&e)
                    .hint("`ingot quantize --allow-requantize` makes a file of it, which can be cast"),
                e => e.into(),
            })?;
            (types, model.metadata(mix))
        }
        None => (model.weights().iter().map(Weight::dtype).collect(), model.own_metadata().to_vec()),
    };
    let weights: Vec<(Weight, DType)> = model.weights().iter().cloned().zip(types).collect();
    let threads = adapters::available_threads();
    let job = Job { metadata: &metadata, weights: &weights, importance: None, threads };
    write(&job, output, interrupt).map(|_| ())
}

/// A file that is being read is not to be replaced by what is made of it.
pub(super) fn refuse_inputs(output: &Path, place: &Place, file: &ModelFile) -> Result {
    if output.is_dir() {
        return Err(Failure::usage(format!("{} is a folder", output.display()))
            .hint("--output names the file to make, for example model.gguf"));
    }
    let inputs: Vec<PathBuf> = match (file, place) {
        (ModelFile::HuggingFace(folder), _) => folder.files().to_vec(),
        (ModelFile::Gguf(_), Place::Path(path) | Place::Hub { path, .. }) => parts(path),
        (ModelFile::Gguf(_), Place::Embedded | Place::Own(_)) => Vec::new(),
    };
    let same = |input: &PathBuf| match (input.canonicalize(), output.canonicalize()) {
        (Ok(input), Ok(output)) => input == output,
        _ => false,
    };
    match inputs.iter().any(same) {
        true => Err(Failure::usage(format!("{} is what is read", output.display()))
            .hint("--output has to be another file")),
        false => Ok(()),
    }
}

/// The files of a model that may be split: `NAME-00001-of-00003.gguf` and so on.
fn parts(path: &Path) -> Vec<PathBuf> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let split = name.rsplit_once("-of-").and_then(|(start, count)| {
        let count_digits = count.split('.').next()?;
        Some((start.rsplit_once('-')?.0, count, count_digits.parse::<u16>().ok()?))
    });
    match split {
        Some((stem, end, count)) => {
            (1..=count).map(|i| path.with_file_name(format!("{stem}-{i:05}-of-{end}"))).collect()
        }
        None => vec![path.to_path_buf()],
    }
}

/// Writes the file, which can be interrupted.
fn write(job: &Job, output: &Path, interrupt: &Interrupt) -> Result<Vec<Written>> {
    let catching = interrupt.catch();
    let progress = Progress::new("packing", 0);
    let written = ingot_convert::write(job, output, &mut |step| {
        progress.set_bytes(step.done as u64, step.total as u64);
        !catching.pressed()
    });
    Ok(written?)
}

/// What would be written.
fn planned(weights: &[(Weight, DType)]) -> Vec<Written> {
    let plan = |(weight, to): &(Weight, DType)| Written {
        name: weight.name().into(),
        shape: weight.shape().to_vec(),
        from: weight.dtype(),
        to: *to,
        bytes: weight.bytes_as(*to).unwrap_or(0),
        loss: Loss::default(),
    };
    weights.iter().map(plan).collect()
}

/// A file that was made, or would be.
struct Made<'a> {
    mix: Mix,
    written: Vec<Written>,
    /// How long it took; `None` if nothing was made.
    time: Option<Duration>,
    output: Option<&'a Path>,
}

impl Made<'_> {
    /// Bytes of all tensors, and the number of their values.
    fn totals(&self) -> (usize, usize) {
        let values = |w: &Written| w.shape.iter().product::<usize>();
        (self.written.iter().map(|w| w.bytes).sum(), self.written.iter().map(values).sum())
    }

    fn json(&self) -> Value {
        let (bytes, values) = self.totals();
        let tensor = |w: &Written| {
            let mut tensor = json!({
                "name": w.name, "shape": w.shape, "from": w.from.name(), "to": w.to.name(), "bytes": w.bytes,
                "bits_per_weight": bits(w.bytes, w.shape.iter().product()),
            });
            if self.time.is_some() {
                tensor["relative_rms_error"] = w.loss.relative_rms().into();
                tensor["largest_error"] = w.loss.largest.into();
                tensor["snr_db"] = w.loss.decibels().into();
            }
            tensor
        };
        json!({
            "output": self.output, "type": self.mix.name(), "tensor_bytes": bytes,
            "bits_per_weight": bits(bytes, values), "seconds": self.time.map(|t| t.as_secs_f64()),
            "tensors": self.written.iter().map(tensor).collect::<Vec<_>>(),
        })
    }

    fn print(&self, out: &mut impl Write, every: bool) -> io::Result<()> {
        let measured = self.time.is_some();
        let header = ["tensor", "from", "to", "n", "size", "bits", "rms error", "largest", "SNR dB"];
        let columns = if measured { header.len() } else { header.len() - 3 };
        let mut table = Table::new(&header[..columns], 3);
        for line in self.lines(every) {
            let cells = [
                printable(&line.name).into_owned(),
                line.from.name().into(),
                line.to.name().into(),
                line.count.to_string(),
                units::bytes(line.bytes as u64),
                format!("{:.2}", bits(line.bytes, line.values)),
                format!("{:.3e}", line.loss.relative_rms()),
                format!("{:.3e}", line.loss.largest),
                line.loss.decibels().map_or("exact".into(), |db| format!("{db:.1}")),
            ];
            table.row(cells.into_iter().take(columns));
        }
        table.print(out)?;
        let (bytes, values) = self.totals();
        write!(
            out,
            "{}: {} of weights, {:.2} bits each",
            self.mix.name(),
            units::bytes(bytes as u64),
            bits(bytes, values)
        )?;
        match (self.output, self.time) {
            (Some(path), Some(time)) => {
                writeln!(out, "; {} in {}", printable(&path.display().to_string()), units::time(time))
            }
            _ => writeln!(out),
        }
    }

    /// The tensors, those of the same name, type and shape in all blocks together
    /// unless every one is wanted.
    fn lines(&self, every: bool) -> Vec<Line> {
        let mut lines: Vec<Line> = Vec::new();
        for w in &self.written {
            let name = if every { w.name.clone() } else { without_number(&w.name) };
            let values = w.shape.iter().product();
            let same = |l: &&mut Line| l.name == name && l.from == w.from && l.to == w.to;
            match lines.iter_mut().find(same) {
                Some(line) => {
                    line.count += 1;
                    line.bytes += w.bytes;
                    line.values += values;
                    line.loss.add(&w.loss);
                }
                None => {
                    let (bytes, loss) = (w.bytes, w.loss);
                    lines.push(Line { name, from: w.from, to: w.to, count: 1, bytes, values, loss });
                }
            }
        }
        lines
    }
}

/// A line of the table.
struct Line {
    name: String,
    from: DType,
    to: DType,
    count: usize,
    bytes: usize,
    values: usize,
    loss: Loss,
}

/// `blk.*.attn_q.weight` for the tensor of any block.
fn without_number(name: &str) -> String {
    match name.strip_prefix("blk.").and_then(|rest| rest.split_once('.')) {
        Some((_, part)) => format!("blk.*.{part}"),
        None => name.to_string(),
    }
}

fn bits(bytes: usize, values: usize) -> f64 {
    8.0 * bytes as f64 / values.max(1) as f64
}

impl From<Error> for Failure {
    fn from(e: Error) -> Self {
        let failure = Self::new(&e);
        match e {
            Error::Stopped => Self::Interrupted,
            Error::Quantized { .. } => failure.hint("--allow-requantize does it nevertheless"),
            Error::Format(ingot_format::Error::Io { source, .. })
                if source.kind() == io::ErrorKind::StorageFull =>
            {
                failure.hint("nothing is left of the new file; --dry-run shows how large it becomes")
            }
            _ => failure,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_parts() {
        let names =
            |path: &str| parts(Path::new(path)).iter().map(|p| p.display().to_string()).collect::<Vec<_>>();
        assert_eq!(names("a/m-00002-of-00002.gguf"), ["a/m-00001-of-00002.gguf", "a/m-00002-of-00002.gguf"]);
        assert_eq!(names("a/the-best-of-all.gguf"), ["a/the-best-of-all.gguf"]);
        assert_eq!(without_number("blk.11.attn_q.weight"), "blk.*.attn_q.weight");
    }
}
