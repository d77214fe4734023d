//! An OpenAI-compatible server.

pub mod tools;
