//! What two executors make of the same step, for the commands that compare them.

mod difference;
mod seen;

pub use difference::{Bad, Difference};
pub use seen::{Seen, look};
