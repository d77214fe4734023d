//! An OpenAI-compatible server: many users, one model.
//!
//! [`Server::bind`] takes an address, [`Server::run`] answers until it is told to
//! stop. Requests become jobs of the engine's scheduler (`texts`); what they look like
//! on the wire is the business of `api`, one file per endpoint; `http` keeps strangers,
//! slow clients and large requests out; `page` is the chat page.

mod api;
mod app;
mod config;
mod error;
mod http;
mod metrics;
mod page;
mod texts;
mod tools;

pub use config::{Config, Limits};
pub use http::{Server, Stop};
