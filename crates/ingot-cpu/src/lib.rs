//! The CPU executor: SIMD kernels and threads.
//!
//! * [`Isa`] picks an instruction set once, at run time; `simd` has one thin
//!   layer for each of them under one vector trait, against which every kernel
//!   is written once.
//! * `blocks` says where the bits of each quantized type are, `linear` what is
//!   done with them.
//! * [`CpuExecutor`] runs a plan with them on the threads of a [`Pool`].
//! * [`Reader`] measures what the memory can do.
//!
//! Results do not depend on the number of threads, on what else is in the step,
//! or on how a prompt is cut into steps.

#![allow(clippy::needless_range_loop)] // kernels step through several arrays at once

mod attention;
mod blocks;
mod executor;
mod isa;
mod linear;
mod packed;
mod pool;
mod q8;
mod reader;
mod rwkv;
mod shared;
mod simd;
mod vector;

pub use executor::{CpuExecutor, CpuOptions};
pub use isa::Isa;
pub use pool::Pool;
pub use reader::Reader;
