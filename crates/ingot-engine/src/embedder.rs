//! What a model makes of a text, as one vector.
//!
//! An executor of its own runs the plan without the head, on the processor, with the
//! weights as they lie in the file: embeddings take no memory but a page cache's, and
//! do not wait for texts that are being written.

use crate::runtime::{Rows, Runtime};
use crate::{Error, ExecutorKind, Model, Result};
use ingot_cpu::{CpuExecutor, CpuOptions};
use std::sync::Arc;

pub(crate) struct Embedder {
    threads: Option<usize>,
    /// Opened when it is first needed.
    runtime: Option<Runtime>,
}

impl Embedder {
    pub(crate) fn new(threads: Option<usize>) -> Self {
        Self { threads, runtime: None }
    }

    /// The mean of the rows that the head would be given, of length 1: `[hidden]`.
    pub(crate) fn embed(&mut self, model: &Model, tokens: &[u32]) -> Result<Vec<f32>> {
        let runtime = match &mut self.runtime {
            Some(runtime) => runtime,
            none => none.insert(open(model, self.threads)?),
        };
        let mut lease = runtime.lease()?;
        let sum = sum(runtime, &mut lease, tokens);
        runtime.release(&mut lease);
        let sum = sum?;
        let length = sum.iter().map(|x| x * x).sum::<f64>().sqrt();
        // All zeros stay what they are.
        let scale = if length > 0.0 { 1.0 / length } else { 0.0 };
        Ok(sum.iter().map(|x| (x * scale) as f32).collect())
    }
}

fn open(model: &Model, threads: Option<usize>) -> Result<Runtime> {
    let plan = model.plan().without_head();
    let plan = plan.ok_or_else(|| Error::BadRequest("this model cannot make embeddings".into()))?;
    let weights = model.runtime().weights().to_vec();
    let options = CpuOptions { threads, pack: false, ..CpuOptions::default() };
    let executor = CpuExecutor::open(Arc::new(plan), weights.clone(), &options)?;
    Ok(Runtime::new(Box::new(executor), weights, true))
}

/// The sum of all rows.
fn sum(runtime: &mut Runtime, lease: &mut crate::runtime::Lease, tokens: &[u32]) -> Result<Vec<f64>> {
    let width = runtime.executor.plan().vocab();
    let mut sum = vec![0.0; width];
    let mut past = 0;
    for chunk in tokens.chunks(ExecutorKind::Cpu.chunk()) {
        let rows = Rows { lease, past, tokens: chunk };
        for row in runtime.step(&mut [rows], true)?.chunks_exact(width) {
            sum.iter_mut().zip(row).for_each(|(sum, &x)| *sum += f64::from(x));
        }
        past += chunk.len();
    }
    Ok(sum)
}
