//! The model: what it is, one step of it, and what runs on GPUs.

pub mod launches;
pub mod model;
pub mod plan;
