//! Programs that are one model.
//!
//! [`mod@file`] makes a single executable file of the program that runs and a model,
//! and finds the model again when that file is started.

pub mod file;
