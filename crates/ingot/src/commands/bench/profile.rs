//! The time of a step's launches, kernel by kernel.

use ingot_gpu::Gpu;
use ingot_plan::{ExecError, Step};

/// All launches of one kernel in a step.
#[derive(Clone, Debug, PartialEq)]
pub struct Kernel {
    pub name: &'static str,
    pub launches: usize,
    pub seconds: f64,
    pub weight_bytes: usize,
}

/// How often the step is run; of each launch the median counts.
const RUNS: usize = 5;

/// The kernels of a step, the longest first.
pub fn of(gpu: &mut dyn Gpu, step: &Step) -> Result<Vec<Kernel>, ExecError> {
    let launches = gpu.describe(step)?;
    let runs = (0..RUNS).map(|_| gpu.time(step)).collect::<Result<Vec<_>, _>>()?;
    let mut kernels: Vec<Kernel> = Vec::new();
    for (i, launch) in launches.iter().enumerate() {
        let mut times: Vec<f64> = runs.iter().filter_map(|run| run.get(i).copied()).collect();
        times.sort_by(f64::total_cmp);
        let seconds = times.get(times.len() / 2).copied().unwrap_or_default();
        let known = kernels.iter_mut().find(|kernel| kernel.name == launch.kernel);
        let (launches, weight_bytes) = (1, launch.weight_bytes);
        match known {
            Some(kernel) => {
                kernel.launches += launches;
                kernel.seconds += seconds;
                kernel.weight_bytes += weight_bytes;
            }
            None => kernels.push(Kernel { name: launch.kernel, launches, seconds, weight_bytes }),
        }
    }
    kernels.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    Ok(kernels)
}
