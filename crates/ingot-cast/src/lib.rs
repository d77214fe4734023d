//! Programs made of one model.
//!
//! * [`project`] writes a Cargo project that has a model's plan, its launches and its sizes
//!   as data.
//! * [`lists`] are the launches of both.
//! * [`kernels`] writes the kernels a model needs, for people who launch them themselves.

pub mod kernels;
pub mod lists;
pub mod project;
