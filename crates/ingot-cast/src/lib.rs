//! Programs made of one model.
//!
//! * [`project`] writes a Cargo project that has a model's plan, its launches and its sizes
//!   as data.
//! * [`kernels`] writes the kernels a model needs and how to launch them, for people who do
//!   that in a program of their own.
//! * [`lists`] are the launches of both.

mod error;
mod folder;
pub mod kernels;
pub mod lists;
pub mod project;

pub use error::Error;
