//! Tool calls: what a request offers, how a model is told, and how its calls are found in what it writes.
//!
//! [`Tools`] is a request's checked offer. A [`ToolFormat`] is the way in which a model was trained to call;
//! [`ToolFormat::prepare`] makes a conversation with calls into one for the model's template, and
//! [`ToolFormat::grammar`] forces calls where the request wants them. [`ToolStream`] splits an answer into
//! text and calls while it is written.

mod format;
mod grammar;
mod header;
mod messages;
mod request;
mod scan;
mod stream;
#[cfg(test)]
mod stream_tests;

pub(crate) use format::ToolFormat;
pub(crate) use request::{Tool, ToolChoice, ToolError, Tools};
pub(crate) use stream::{ToolDelta, ToolStream};
