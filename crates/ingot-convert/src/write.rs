//! Writing the file: tensor by tensor, never more than a few megabytes of it in
//! memory, and complete or not at all.

use crate::pack::Packer;
use crate::{Error, Importance, Result, Weight};
use ingot_format::gguf::Value;
use ingot_format::{DType, GgufWriter};
use std::io;
use std::path::Path;

/// A file to be made.
pub struct Job<'a> {
    /// The metadata, in order.
    pub metadata: &'a [(String, Value)],
    /// The tensors and the types they are to have.
    pub weights: &'a [(Weight, DType)],
    /// What matters of them, if that was measured.
    pub importance: Option<&'a Importance>,
    /// Threads that pack.
    pub threads: usize,
}

/// What was done with a tensor.
#[derive(Clone, Debug)]
pub struct Written {
    /// Which.
    pub name: String,
    /// Its shape, outermost first.
    pub shape: Vec<usize>,
    /// The type it had.
    pub from: DType,
    /// The type it has now.
    pub to: DType,
    /// Bytes in the new file.
    pub bytes: usize,
    /// What was lost; nothing if the values were copied.
    pub loss: Loss,
}

/// How far values are from what they were.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Loss {
    /// Number of values.
    pub values: usize,
    /// Sum of their squares.
    pub squares: f64,
    /// Sum of the squares of the differences.
    pub squared_errors: f64,
    /// Largest difference.
    pub largest: f64,
}

/// How far the work has come.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// Bytes of tensors that are written.
    pub done: usize,
    /// Bytes of all of them.
    pub total: usize,
    /// The tensor in work.
    pub tensor: &'a str,
}

impl Loss {
    pub(crate) fn between(values: &[f32], others: &[f32]) -> Self {
        let mut loss = Self { values: values.len(), ..Self::default() };
        // Short sums in f32 lanes keep this out of the profile of packing.
        for (a, b) in values.chunks(64).zip(others.chunks(64)) {
            let (mut squares, mut errors, mut largest) = (0.0f32, 0.0f32, 0.0f32);
            for (a, b) in a.iter().zip(b) {
                let difference = a - b;
                squares += a * a;
                errors += difference * difference;
                largest = largest.max(difference.abs());
            }
            loss.squares += f64::from(squares);
            loss.squared_errors += f64::from(errors);
            loss.largest = loss.largest.max(f64::from(largest));
        }
        loss
    }

    /// Adds what was lost elsewhere.
    pub fn add(&mut self, other: &Self) {
        self.values += other.values;
        self.squares += other.squares;
        self.squared_errors += other.squared_errors;
        self.largest = self.largest.max(other.largest);
    }

    /// Root mean square of the differences, as a share of that of the values.
    pub fn relative_rms(&self) -> f64 {
        if self.squares > 0.0 { (self.squared_errors / self.squares).sqrt() } else { 0.0 }
    }

    /// Signal to noise ratio in decibels; `None` if nothing was lost.
    pub fn decibels(&self) -> Option<f64> {
        (self.squared_errors > 0.0).then(|| 10.0 * (self.squares / self.squared_errors).log10())
    }

    /// What is wrong with the values, for a message that begins with their tensor.
    pub(crate) fn problem(&self, dtype: DType) -> Option<String> {
        if !self.squares.is_finite() {
            return Some("holds NaN, infinity or values beyond 1e18; the file is damaged".into());
        }
        let lost = !self.squared_errors.is_finite();
        lost.then(|| format!("holds values that {dtype} cannot; use BF16 or F32"))
    }
}

/// Writes the file to `path`, where it appears when it is complete. `watch` hears
/// of every step and says whether to go on.
///
/// # Errors
/// If a type does not fit a shape, a value does not fit its type, a file that is
/// read is cut meanwhile, or the file cannot be written. Then nothing is left.
pub fn write(job: &Job<'_>, path: &Path, watch: &mut dyn FnMut(Step<'_>) -> bool) -> Result<Vec<Written>> {
    let mut writer = GgufWriter::new();
    for (key, value) in job.metadata {
        writer.set(key.as_str(), value.clone());
    }
    for (weight, dtype) in job.weights {
        writer.add(weight.name(), *dtype, weight.shape())?;
    }
    let total = job.weights.iter().filter_map(|(w, dtype)| w.bytes_as(*dtype)).sum();
    let mut done = 0;
    let mut report = Vec::with_capacity(job.weights.len());
    let mut failure = None;
    let written = writer.write_to_path(path, |i, out| {
        let (weight, dtype) = &job.weights[i];
        let mut step = |bytes: usize| {
            done += bytes;
            match watch(Step { done, total, tensor: weight.name() }) {
                true => Ok(()),
                false => Err(Problem::Ours(Error::Stopped)),
            }
        };
        let written = tensor(job, weight, *dtype, out, &mut step);
        written.map(|w| report.push(w)).map_err(|problem| match problem {
            Problem::Io(e) => e,
            Problem::Ours(e) => io::Error::other(failure.insert(e).to_string()),
        })
    });
    match failure {
        Some(error) => Err(error),
        None => Ok(written.map(|()| report)?),
    }
}

/// What goes wrong while the writer holds the file.
enum Problem {
    Io(io::Error),
    Ours(Error),
}

impl From<String> for Problem {
    fn from(message: String) -> Self {
        Self::Ours(Error::refused(message))
    }
}

fn tensor(
    job: &Job<'_>,
    weight: &Weight,
    dtype: DType,
    out: &mut dyn io::Write,
    step: &mut dyn FnMut(usize) -> Result<(), Problem>,
) -> Result<Written, Problem> {
    const COPIED: usize = 1 << 22;
    let mut written = Written {
        name: weight.name().into(),
        shape: weight.shape().to_vec(),
        from: weight.dtype(),
        to: dtype,
        bytes: weight.bytes_as(dtype).expect("the writer has checked it"),
        loss: Loss::default(),
    };
    match weight.verbatim().filter(|_| dtype == weight.dtype()) {
        Some(parts) => {
            for bytes in parts.flat_map(|part| part.chunks(COPIED)) {
                out.write_all(bytes).map_err(Problem::Io)?;
                step(bytes.len())?;
            }
        }
        None => {
            let importance = job.importance.and_then(|all| all.of(weight));
            written.loss = Packer::new(weight, dtype, importance, job.threads).run(|bytes| {
                out.write_all(bytes).map_err(Problem::Io)?;
                step(bytes.len())
            })?;
        }
    }
    if !weight.is_intact() {
        let message = format!("the file with tensor '{}' was cut while it was read", weight.name());
        return Err(message.into());
    }
    weight.forget_pages();
    Ok(written)
}
