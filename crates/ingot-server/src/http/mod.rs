//! Between the network and the endpoints.
//!
//! * `server` accepts connections, and ends in good order;
//! * `guard` lets requests through that come from who they should;
//! * `body` reads bodies within limits;
//! * `log` counts and reports requests;
//! * `write_timeout` gives up connections that do not take what is sent.

mod body;
mod guard;
mod log;
mod server;
mod write_timeout;

pub(crate) use body::{Body, parse};
pub(crate) use guard::{Client, guard};
pub(crate) use log::log;
pub use server::{Server, Stop};
