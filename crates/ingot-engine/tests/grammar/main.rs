//! Grammars over the vocabularies of the fixtures and of the example models.

mod common;
mod gbnf;
mod hostile;
mod mutations;
mod walks;
