//! From what a request asks for to a grammar.

use super::vocabulary;
use super::{Grammar, GrammarLimits, GrammarSpec};
use crate::{Error, Result};
use ingot_tokenizer::Tokenizer;
use llguidance::api::{GrammarInit, TopLevelGrammar};
use llguidance::toktrie::{InferenceCapabilities, TokEnv};
use llguidance::{Logger, Matcher, ParserFactory};

/// Stack of the thread that compiles. Rules that lead to rules take a few kilobytes a level; what is not used is
/// never touched.
const STACK: usize = 64 << 20;

/// Compiles grammars for the tokens of one model.
pub struct Grammars {
    vocabulary: TokEnv,
    factory: ParserFactory,
}

impl Grammars {
    /// Sorts the tokens of a model; for 150 000 of them that takes about half a second.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] if they are more than grammars can handle.
    pub fn new(tokenizer: &Tokenizer) -> Result<Self> {
        let vocabulary = vocabulary::tree(tokenizer)?;
        let mut factory = ParserFactory::new_simple(&vocabulary)
            .map_err(|e| Error::BadRequest(format!("vocabulary: {}", message(&e))))?;
        factory.quiet();
        Ok(Self { vocabulary, factory })
    }

    /// Compiles what a request asks for.
    ///
    /// # Errors
    /// [`Error::BadRequest`] if it is malformed, uses something that is not supported, can match no text or
    /// exceeds `limits`; the message says what and where.
    pub fn compile(&self, spec: &GrammarSpec, limits: &GrammarLimits) -> Result<Grammar> {
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("grammar".into()).stack_size(STACK);
            let thread = thread.spawn_scoped(scope, || self.start(spec.check(limits)?, limits));
            let thread = thread.map_err(|e| Error::OutOfMemory(format!("no thread for a grammar: {e}")))?;
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// The grammar at the beginning of a text. The first mask is there already, so that a grammar without texts
    /// is refused.
    fn start(&self, grammar: TopLevelGrammar, limits: &GrammarLimits) -> Result<Grammar> {
        let parser = self
            .factory
            .create_parser_from_init_ext(
                GrammarInit::Serialized(grammar),
                Logger::new(0, 0),
                InferenceCapabilities::default(),
                limits.parser(),
            )
            .map_err(|e| Error::BadRequest(message(&e)))?;
        let mut grammar = Grammar::new(Matcher::new(Ok(parser)), self.vocabulary.clone());
        grammar.mask()?;
        Ok(grammar)
    }
}

/// Longest message about a grammar, in characters.
const MAX_MESSAGE: usize = 600;

/// What llguidance says, for people who do not know it.
pub(super) fn message(error: impl std::fmt::Display) -> String {
    let text = error.to_string();
    let authors =
        ["\n<backtrace>", "\n<non-verbose/>", "\n<state>"].iter().filter_map(|mark| text.find(mark));
    let text = &text[..authors.min().unwrap_or(text.len())];
    match text {
        "NoExtensionBias" => {
            "no token can continue the text: the grammar has a part that matches nothing, or one \
                              that the model's vocabulary cannot write"
                .into()
        }
        _ => match text.strip_prefix("panic: ") {
            Some(panic) => format!("the parser of grammars failed on this one ({})", shorten(panic)),
            None => shorten(text),
        },
    }
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(MAX_MESSAGE) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}
