//! The plan: one step of a model as plain data.
//!
//! A [`Plan`] is a list of typed [`Op`]s over numbered buffers. It is made once
//! per model by a family's forward function through [`PlanBuilder`], and run
//! many times, each time for a [`Step`]: some rows of some sequences. Nothing
//! in a plan depends on the number of rows, so the same plan serves a prompt
//! chunk, a single decoded token and any mixture of both.
//!
//! Every op has one file under `ops/` with its formula, its shape rule and a
//! naive f32 reference. [`Reference`] runs a plan with these and nothing else;
//! it is the oracle that every fast executor is compared with.

mod builder;
mod cost;
mod display;
mod executor;
mod layout;
pub mod ops;
mod plan;
mod reference;
mod step;
mod window;

pub use builder::{ExpertWeights, PlanBuilder, Projection};
pub use cost::{Cost, Load};
pub use executor::{ExecError, Executor, Place};
pub use layout::{Layout, Region};
pub use ops::{Op, Uses};
pub use plan::{Buf, BufferDecl, PAGE, Plan, Precision, Rows, StateDecl, StateId, WeightDecl, WeightId};
pub use reference::Reference;
pub use step::{Sequence, Step};
pub use window::{Draw, Window};
