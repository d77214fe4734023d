//! An OpenAI-compatible server.
