//! The conformance table: small plans of one op or one chain of ops that executors
//! work into each other, with inputs, steps, and how exact the results have to be.
//!
//! An executor is held against the plan's reference. Errors are relative to the
//! largest value of their row, and the limits are what the number formats on the
//! way allow, with a small factor: they do not depend on the executor.

mod attention;
mod experts;
mod linear;
mod maker;
mod rows;
mod rwkv;
mod schedule;

pub use maker::{Inputs, Maker};
pub use schedule::Schedule;

use ingot_format::Tensor;
use ingot_plan::{Buf, Executor, Place, Plan, Precision, Reference};
use schedule::Driver;
use std::sync::Arc;

/// A plan to be run, and how near to the reference its results have to be.
pub struct Case {
    /// Group and name, for example `linear/Q4_K, 3 parts`.
    pub name: String,
    build: Box<dyn Fn(&mut Maker) -> Buf + Send + Sync>,
    precision: Precision,
    schedule: Schedule,
    limits: [f64; 3],
}

/// What an executor rounds on its way. Sums and what lies between ops are f32 always.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// Nothing.
    None,
    /// Inputs and weights of products of many rows, keys and values to 16 bits.
    Half,
    /// As `Half`, and keys and values to 8 bits.
    Q8Cache,
}

/// Errors that come from exponentials cut off where they are nearly zero, and from
/// numbers too small for f32's full precision, which some devices take for zero.
const UNDERFLOW: f64 = 1e-30;

impl Case {
    fn new(name: impl Into<String>, build: impl Fn(&mut Maker) -> Buf + Send + Sync + 'static) -> Self {
        Self {
            name: name.into(),
            build: Box::new(build),
            precision: Precision::F32,
            schedule: Schedule::ROWS,
            limits: [1e-5, 2e-3, 2e-3],
        }
    }

    /// With these limits for the kinds of [`Rounding`].
    fn limits(self, limits: [f64; 3]) -> Self {
        Self { limits, ..self }
    }

    fn schedule(self, schedule: Schedule) -> Self {
        Self { schedule, ..self }
    }

    /// With inputs of products rounded to 8 bits where weights are packed.
    fn q8(self) -> Self {
        let name = format!("{}, inputs in 8 bits", self.name);
        Self { name, precision: Precision::Q8, ..self }
    }

    /// All cases.
    pub fn all() -> Vec<Self> {
        let groups = [rows::cases(), linear::cases(), attention::cases(), rwkv::cases(), experts::cases()];
        groups.into_iter().flatten().collect()
    }

    /// Cases of the same kinds at the sizes of models, for measuring how fast they are.
    pub fn speed() -> Vec<Self> {
        let groups = [rows::speed(), linear::speed(), attention::speed(), rwkv::speed(), experts::speed()];
        groups.into_iter().flatten().collect()
    }

    /// The cases of a group.
    pub fn group(name: &str) -> Vec<Self> {
        let mut cases = Self::all();
        cases.retain(|case| case.name.split('/').next() == Some(name));
        assert!(!cases.is_empty(), "there is no group {name}");
        cases
    }

    /// The plan and its weights.
    pub fn model(&self) -> (Arc<Plan>, Vec<Tensor>) {
        self.model_with(self.precision)
    }

    fn model_with(&self, precision: Precision) -> (Arc<Plan>, Vec<Tensor>) {
        let mut maker = Maker::new(precision);
        let out = (self.build)(&mut maker);
        maker.finish(out)
    }

    /// Runs the case on an executor of its plan; the largest error in units of the
    /// limit, or what is wrong.
    pub fn check(&self, executor: &mut dyn Executor, rounding: Rounding) -> Result<f64, String> {
        let limit = self.limits[rounding as usize];
        // An executor need not round inputs to 8 bits where it has better.
        let mut precisions = vec![Precision::F32];
        precisions.extend((self.precision == Precision::Q8).then_some(Precision::Q8));
        let mut references: Vec<Reference> = precisions
            .into_iter()
            .map(|precision| {
                let (plan, weights) = self.model_with(precision);
                Reference::new(plan, weights)
            })
            .collect();
        let (plan, failed) = (executor.plan().clone(), |e| format!("{}: {e}", self.name));
        let mut driver = Driver::new(&self.schedule, &plan);
        executor.reserve(driver.pages(), driver.slots()).map_err(failed)?;
        for reference in &mut references {
            reference.reserve(driver.pages(), driver.slots()).expect("memory");
        }
        let (mut worst, mut got) = (0.0f64, Vec::new());
        let mut number = 0;
        while let Some(step) = driver.step() {
            executor.run(&step, &mut got).map_err(failed)?;
            let mut expected = vec![Vec::new(); references.len()];
            for (reference, expected) in references.iter_mut().zip(&mut expected) {
                reference.run(&step, expected).expect("a valid step");
            }
            for (o, &row) in step.outputs.iter().enumerate() {
                let row_of = |values: &[f32]| values[o * plan.vocab()..][..plan.vocab()].to_vec();
                let e = self.near(&row_of(&got), expected.iter().map(|e| row_of(e)), limit);
                let place = || format!("{}, step {number}, row {row}", self.name);
                worst = worst.max(e.map_err(|e| format!("{}: {e}", place()))?);
            }
            number += 1;
        }
        if plan.slot_len() > 0 {
            for slot in 0..driver.slots() as u32 {
                let got = floats(&executor.read(Place::Slot(slot)).map_err(failed)?);
                let expected = references.iter().map(|r| floats(&r.read(Place::Slot(slot)).expect("a slot")));
                let e = self.near(&got, expected, limit);
                worst = worst.max(e.map_err(|e| format!("{}, slot {slot}: {e}", self.name))?);
            }
        }
        Ok(worst)
    }

    /// The error of a row in units of the limit, against the nearest of what it may be.
    fn near(&self, got: &[f32], may_be: impl Iterator<Item = Vec<f32>>, limit: f64) -> Result<f64, String> {
        let mut best: Option<(f64, String)> = None;
        for expected in may_be.filter(|e| e.iter().all(|x| x.is_finite())) {
            let magnitude = expected.iter().fold(0.0f64, |m, &x| m.max(f64::from(x).abs()));
            let allowed = limit * magnitude + UNDERFLOW;
            let off = |i: usize| match (f64::from(got[i]) - f64::from(expected[i])).abs() / allowed {
                off if off.is_nan() => f64::INFINITY,
                off => off,
            };
            let at = (0..got.len()).max_by(|&a, &b| off(a).total_cmp(&off(b))).unwrap_or(0);
            let error = off(at);
            if best.as_ref().is_none_or(|(b, _)| error < *b) {
                let text = format!(
                    "value {at} of {} is {:e}, expected {:e}; off by {:e} of the row's {magnitude:e}, limit {limit:e}",
                    got.len(),
                    got[at],
                    expected[at],
                    error * allowed / magnitude.max(UNDERFLOW),
                );
                best = Some((error, text));
            }
        }
        match best {
            Some((error, text)) if error > 1.0 => Err(text),
            Some((error, _)) => Ok(error),
            None => panic!("{}: the reference is not finite", self.name),
        }
    }
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}
