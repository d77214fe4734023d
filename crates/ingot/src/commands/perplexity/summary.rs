//! All predictions in a few figures.

use super::score::{Against, Prediction};
use crate::failure::Result;
use crate::table::Table;
use crate::term::{DIM, HEADING};
use crate::units;
use serde_json::{Value, json};
use std::f64::consts::LN_2;
use std::io::{self, Write};
use std::time::Duration;

/// What was read.
pub struct Run {
    pub model: String,
    pub against: Option<String>,
    /// Tokens of a window.
    pub window: usize,
    /// How many.
    pub windows: usize,
    /// Tokens that were read.
    pub tokens: usize,
    /// Bytes of the tokens that were predicted.
    pub bytes: usize,
    pub seconds: Duration,
}

/// What came out.
pub struct Summary {
    run: Run,
    predictions: usize,
    loss: Mean,
    against: Option<Comparison>,
}

/// A mean of independent values and its standard error.
#[derive(Clone, Copy)]
struct Mean {
    value: f64,
    error: f64,
}

impl Mean {
    fn of(values: impl Iterator<Item = f64> + Clone) -> Self {
        let n = values.clone().count() as f64;
        let value = values.clone().sum::<f64>() / n;
        let squares: f64 = values.map(|x| (x - value).powi(2)).sum();
        Self { value, error: (squares / (n - 1.0).max(1.0) / n).sqrt() }
    }

    /// Of the exponential, to first order.
    fn exp(self) -> Self {
        Self { value: self.value.exp(), error: self.error * self.value.exp() }
    }

    fn json(self) -> Value {
        json!({ "mean": self.value, "standard_error": self.error })
    }
}

/// A model against its original.
struct Comparison {
    loss: Mean,
    /// Of the losses' differences.
    difference: Mean,
    divergence: Mean,
    /// Divergences at [`QUANTILES`].
    quantiles: [f64; 4],
    same_top: f64,
    /// Root mean square of the differences of the next token's probability.
    rms_probability: f64,
}

const QUANTILES: [(&str, f64); 4] = [("median", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)];

impl Comparison {
    fn of(predictions: &[Prediction]) -> Option<Self> {
        let both: Vec<(f64, &Against)> =
            predictions.iter().filter_map(|p| Some((p.loss, p.against.as_ref()?))).collect();
        if both.is_empty() {
            return None;
        }
        let n = both.len() as f64;
        let mut sorted: Vec<f64> = both.iter().map(|(_, a)| a.divergence).collect();
        sorted.sort_by(f64::total_cmp);
        let squares: f64 = both.iter().map(|(loss, a)| ((-loss).exp() - (-a.loss).exp()).powi(2)).sum();
        Some(Self {
            loss: Mean::of(both.iter().map(|(_, a)| a.loss)),
            difference: Mean::of(both.iter().map(|(loss, a)| loss - a.loss)),
            divergence: Mean::of(both.iter().map(|(_, a)| a.divergence)),
            quantiles: QUANTILES.map(|(_, q)| sorted[((sorted.len() - 1) as f64 * q).round() as usize]),
            same_top: both.iter().filter(|(_, a)| a.same_top).count() as f64 / n,
            rms_probability: (squares / n).sqrt(),
        })
    }
}

impl Summary {
    /// Of at least one prediction.
    pub fn of(run: Run, predictions: &[Prediction]) -> Self {
        let loss = Mean::of(predictions.iter().map(|p| p.loss));
        Self { run, predictions: predictions.len(), loss, against: Comparison::of(predictions) }
    }

    fn bits_per_byte(&self) -> f64 {
        self.loss.value * self.predictions as f64 / LN_2 / self.run.bytes.max(1) as f64
    }

    pub fn print(&self, json: bool) -> Result {
        let mut out = anstream::stdout().lock();
        match json {
            true => writeln!(out, "{:#}", self.json())?,
            false => self.tell(&mut out)?,
        }
        Ok(())
    }

    fn tell(&self, out: &mut impl Write) -> io::Result<()> {
        let Run { model, against, window, windows, tokens, seconds, .. } = &self.run;
        let ppl = self.loss.exp();
        writeln!(out, "{HEADING}{model}{HEADING:#}")?;
        if let Some(original) = against {
            writeln!(out, "against {original}")?;
        }
        writeln!(
            out,
            "{DIM}{} of at most {window} tokens, {} counted, {:.0} tok/s{DIM:#}\n",
            units::plural(*windows, "window"),
            units::plural(self.predictions, "prediction"),
            units::rate(*tokens, *seconds)
        )?;
        let mut table = Table::new(&["", "", "±"], 1);
        let mut row = |name: &str, value: String, error: Option<String>| {
            table.row([name.to_owned(), value, error.unwrap_or_default()]);
        };
        let figures = |mean: Mean| (format!("{:.4}", mean.value), Some(format!("{:.4}", mean.error)));
        let (value, error) = figures(ppl);
        row("perplexity", value, error);
        let (value, error) = figures(self.loss);
        row("nats a token", value, error);
        row("bits a byte", format!("{:.4}", self.bits_per_byte()), None);
        if let Some(c) = &self.against {
            let (value, error) = figures(c.loss.exp());
            row("of the original", value, error);
            let (value, error) = figures(c.difference.exp());
            row("ratio", value, error);
            row(
                "divergence, nats",
                format!("{:.6}", c.divergence.value),
                Some(format!("{:.6}", c.divergence.error)),
            );
            for ((name, _), value) in QUANTILES.iter().zip(c.quantiles) {
                row(&format!("  {name}"), format!("{value:.6}"), None);
            }
            row("same likeliest token", format!("{:.2} %", 100.0 * c.same_top), None);
            row("rms of p(next)", format!("{:.3} %", 100.0 * c.rms_probability), None);
        }
        table.print(out)
    }

    fn json(&self) -> Value {
        let Run { model, against, window, windows, tokens, seconds, .. } = &self.run;
        let ppl = self.loss.exp();
        let comparison = self.against.as_ref().map(|c| {
            let quantiles =
                QUANTILES.iter().zip(c.quantiles).map(|((name, _), q)| (name.to_string(), q.into()));
            json!({
                "model": against,
                "perplexity": c.loss.exp().value,
                "perplexity_ratio": c.difference.exp().json(),
                "divergence": c.divergence.json(),
                "divergence_quantiles": serde_json::Map::from_iter(quantiles),
                "same_top": c.same_top,
                "rms_probability": c.rms_probability,
            })
        });
        json!({
            "model": model,
            "window": window,
            "windows": windows,
            "tokens": tokens,
            "predictions": self.predictions,
            "perplexity": ppl.value,
            "perplexity_standard_error": ppl.error,
            "nats_per_token": self.loss.value,
            "bits_per_byte": self.bits_per_byte(),
            "seconds": seconds.as_secs_f64(),
            "tokens_per_s": units::rate(*tokens, *seconds),
            "against": comparison,
        })
    }
}
