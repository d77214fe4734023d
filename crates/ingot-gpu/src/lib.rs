//! Runs plans on GPUs.
//!
//! * `kernels/` at the top of the repository holds the kernels, in Metal Shading
//!   Language; [`source`] finds them, [`msl`] translates them for devices that do
//!   not speak it.
//! * [`launches`] has one file per kernel: which options, constants, buffers and
//!   grid it is launched with. `lower` turns a plan's ops into a list of these.
//! * [`device`] is what every machine that runs kernels looks like; `metal`,
//!   `cuda` and `sim` are the machines.
//! * [`GpuExecutor`] owns the memory and records, submits and waits.

pub mod barriers;
mod caches;
#[cfg(not(target_os = "macos"))]
pub mod cuda;
pub mod device;
pub mod eights;
mod executor;
mod gpu;
pub mod launch;
pub mod launches;
pub mod listed;
pub mod lower;
#[cfg(target_os = "macos")]
pub mod metal;
pub mod msl;
mod open;
pub mod sim;
pub mod source;
mod step_buffer;
mod tuning;
pub mod variants;

pub use executor::{GpuExecutor, LEAST_CONTEXT, MOST_ROWS, matrices};
pub use gpu::{Counts, Described, Gpu, Submission};
pub use open::{DeviceKind, Found, GpuOptions, devices, open, open_listed, probe};
pub use tuning::{Choice, Tuning, TuningKey};
