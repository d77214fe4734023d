//! Programs that are one model.
//!
//! * [`mod@file`] makes a single executable file of the program that runs and a model,
//!   and finds the model again when that file is started.
//! * [`project`] writes a Cargo project that has a model's plan, its launches and its sizes
//!   as data.
//! * [`kernels`] writes the kernels a model needs and how to launch them, for people who do
//!   that in a program of their own.
//! * [`lists`] are the launches of these two.

mod error;
pub mod file;
mod folder;
pub mod kernels;
pub mod lists;
pub mod project;

pub use error::Error;
