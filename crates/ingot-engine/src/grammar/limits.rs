//! What a grammar may cost.

use llguidance::api::ParserLimits;

/// Limits on grammars of strangers. The defaults hold the schemas and grammars that people write by hand, and
/// keep compiling one under a second and a mask under some tens of milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrammarLimits {
    /// Bytes of a grammar's source; of a JSON schema as text.
    pub source_bytes: usize,
    /// Levels of a JSON schema, counted in its JSON.
    pub nesting: usize,
    /// Lines of a Lark grammar, rules of a GBNF grammar.
    pub rules: usize,
    /// Largest number of repetitions, as of the lengths and item counts of a schema.
    pub repetitions: u64,
    /// Work to build the automaton of the terminals; about 50 000 units take a millisecond.
    pub compile_fuel: u64,
    /// Work on that automaton within one mask; about 14 000 units take a millisecond.
    pub mask_fuel: u64,
    /// Items of the parser within one mask; about 20 000 take a millisecond.
    pub mask_items: usize,
    /// States of the automaton within one text, of one to two kilobytes each.
    pub states: usize,
}

impl Default for GrammarLimits {
    fn default() -> Self {
        Self {
            source_bytes: 256 << 10,
            nesting: 64,
            rules: 2000,
            repetitions: 100_000,
            compile_fuel: 1_000_000,
            mask_fuel: 200_000,
            mask_items: 50_000,
            states: 50_000,
        }
    }
}

impl GrammarLimits {
    pub(super) fn parser(&self) -> ParserLimits {
        ParserLimits {
            initial_lexer_fuel: self.compile_fuel,
            step_lexer_fuel: self.mask_fuel,
            step_max_items: self.mask_items,
            max_lexer_states: self.states,
            verbose_errors: false,
            // It is not charged, and takes seconds for some grammars.
            precompute_large_lexemes: false,
            ..ParserLimits::default()
        }
    }
}
