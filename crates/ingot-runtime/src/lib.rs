//! What a program made of one model runs on.
//!
//! `ingot cast MODEL --project DIR` writes a program that has a model's plan, its launches
//! and its sizes as data; a [`Description`] is all of that together. Everything that is the
//! same for every model is here or beneath: opening and checking the file with the weights,
//! executors and devices, the tokenizer, sampling, and the arguments of a small program.

mod arguments;
mod checksum;
mod description;
mod prompt;
mod text;

pub use arguments::{Arguments, program};
pub use checksum::crc32;
pub use description::{Description, WeightsFile, buffer, weight};
pub use prompt::encode;
pub use text::{TextOut, printable};

pub use ingot_engine::{
    CacheType, Error, ExecutorKind, Finish, Model, Options, Request, Result, Sampler, SamplerOptions, Session,
};
pub use ingot_format::DType;
pub use ingot_gpu::{DeviceKind, listed as launches};
pub use ingot_models::Family;
pub use ingot_plan::{
    Buf, BufferDecl, Op, Plan, Precision, Rows, StateDecl, StateId, WeightDecl, WeightId, ops,
};
