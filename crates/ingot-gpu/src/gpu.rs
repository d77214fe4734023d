//! What a GPU executor can do beside running steps: be looked at.

use crate::device::Info;
use crate::tuning::Tuning;
use ingot_plan::{Buf, ExecError, Executor, Step};

/// An executor on some GPU, whichever it is.
pub trait Gpu: Executor {
    /// The device.
    fn info(&self) -> &Info;

    /// How the launches of a step are submitted from now on.
    fn submit_by(&mut self, submission: Submission);

    /// Which sizes matrix-vector launches have from now on. Results do not change.
    fn tune(&mut self, tuning: &Tuning);

    /// What was done since the executor was made, or since the last call.
    fn take_counts(&mut self) -> Counts;

    /// The launches of a step of this shape, in order.
    fn describe(&mut self, step: &Step) -> Result<Vec<Described>, ExecError>;

    /// Runs the first `launches` launches of a step on memory that is not shared,
    /// and returns every buffer of the plan that was written by then.
    fn run_to(&mut self, step: &Step, launches: usize) -> Result<Vec<(Buf, Vec<f32>)>, ExecError>;

    /// Runs the step's launches one by one; seconds of each.
    fn time(&mut self, step: &Step) -> Result<Vec<f64>, ExecError>;

    /// Bytes read and written per second by a large copy within the device's
    /// memory, measured now.
    fn copy_bandwidth(&mut self) -> Result<f64, ExecError>;
}

/// How the launches of a step are grouped into submissions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Submission {
    /// Every launch is submitted and waited for.
    Launch,
    /// Every layer is.
    Layer,
    /// The whole step is: what is meant to be used.
    #[default]
    Step,
}

/// What an executor did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Steps that were run; those of a window count each.
    pub steps: u64,
    /// Kernel launches.
    pub launches: u64,
    /// Recordings handed to the device.
    pub submissions: u64,
    /// Times that the host waited for the device.
    pub waits: u64,
}

/// One launch, for people.
#[derive(Clone, Debug, PartialEq)]
pub struct Described {
    /// The kernel's name.
    pub kernel: &'static str,
    /// The layer it belongs to, if one.
    pub layer: Option<usize>,
    /// Names of the plan's buffers it writes.
    pub writes: Vec<String>,
    /// The ops of the plan it stands for, by index.
    pub ops: Vec<usize>,
    /// Bytes of weights it reads.
    pub weight_bytes: usize,
    /// Threadgroups.
    pub threadgroups: u64,
    /// Threads in each.
    pub threads: u32,
    /// Launches it waits for.
    pub after: Vec<usize>,
}
