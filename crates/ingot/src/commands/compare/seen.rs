//! What can be seen of a step.

use crate::bare::Bare;
use crate::failure::Result;
use ingot::Error;
use ingot_engine::Machine;
use ingot_gpu::Described;
use ingot_plan::{Buf, ExecError, Step};
use std::collections::HashMap;
use std::ops::Range;

/// What an executor shows of a step: the reference every buffer, a GPU those that are in
/// its memory, the processor the logits and what is between the layers.
#[derive(Default)]
pub struct Seen {
    /// Values by buffer.
    pub buffers: HashMap<Buf, Vec<f32>>,
    /// A GPU's launches.
    pub launches: Vec<Described>,
}

/// Runs the steps that read these parts of the tokens one after the other, and looks at all
/// but the first `skipped`. Of a GPU's launches only the first `launch` are run, if given,
/// in the steps that are looked at.
pub fn look(
    bare: &mut Bare,
    tokens: &[u32],
    parts: &[Range<usize>],
    skipped: usize,
    launch: Option<usize>,
) -> Result<Vec<Seen>> {
    bare.reserve(tokens.len(), 1)?;
    bare.machine.executor().clear_slot(0).map_err(Error::from)?;
    let mut all = Vec::new();
    for (i, part) in parts.iter().enumerate() {
        let step = bare.step(&tokens[part.clone()], part.start);
        if i < skipped {
            bare.run(&step, &mut Vec::new())?;
        } else {
            all.push(look_at(bare, &step, launch).map_err(Error::from)?);
        }
    }
    if let Machine::Cpu(_) = bare.machine {
        look_between_layers(bare, tokens, parts, &mut all)?;
    }
    Ok(all)
}

fn look_at(bare: &mut Bare, step: &Step, launch: Option<usize>) -> Result<Seen, ExecError> {
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

/// The processor keeps no buffers for others to see, so that for each layer the model is
/// run up to there.
fn look_between_layers(bare: &Bare, tokens: &[u32], parts: &[Range<usize>], seen: &mut [Seen]) -> Result {
    let skipped = parts.len() - seen.len();
    for layer in bare.plan.layers() {
        let mut beginning = bare.until(layer)?;
        beginning.reserve(tokens.len(), 1)?;
        for (i, part) in parts.iter().enumerate() {
            let mut step = beginning.step(&tokens[part.clone()], part.start);
            step.outputs = (0..part.len() as u32).collect();
            let mut values = Vec::new();
            beginning.run(&step, &mut values)?;
            if i >= skipped {
                seen[i - skipped].buffers.insert(layer, values);
            }
        }
    }
    Ok(())
}
