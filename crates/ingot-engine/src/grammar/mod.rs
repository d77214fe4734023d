//! Texts of a prescribed form: JSON, JSON schemas, regular expressions, grammars.
//!
//! [`Grammars`] belongs to a model: it knows the bytes of every token. A [`Grammar`] is the state within one
//! text: [`Grammar::mask`] says which tokens may come next, [`Grammar::accept`] takes the one that was drawn.
//! llguidance does the parsing; what is here decides what it gets to see. Grammars come from strangers, so they
//! are checked and compiled within [`GrammarLimits`], and what a mask may cost is limited as well.
//!
//! Tokens are bytes, and grammars are about characters: a token with a part of a character is allowed where such
//! a character is. Control tokens are never text. Those that end a text are allowed exactly where the grammar
//! may end.

mod compile;
mod expansion;
mod gbnf;
mod limits;
mod mask;
mod schema;
mod spec;
mod state;
mod vocabulary;

pub use compile::Grammars;
pub use limits::GrammarLimits;
pub use mask::Mask;
pub use spec::{Framed, GrammarSpec};
pub use state::Grammar;
