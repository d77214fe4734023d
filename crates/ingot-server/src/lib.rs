//! An OpenAI-compatible server.

mod tools;
