//! Choosing tokens on the device: the parameters of a sequence as words, and the launch.
//!
//! What the device can do is what most requests ask for. Biases, typical sampling, mirostat and penalty
//! windows longer than the device's history are left to the host.

use super::Shape;
use crate::launch::{Kernel, Launch, Operand, What};
use ingot_plan::Plan;

/// Words of a sequence's parameters.
pub const SAMPLE_WORDS: usize = 20;
/// [`SampleParams::window`] that never forgets.
pub const ALL_TOKENS: u32 = u32::MAX;
/// What the ring holds in place of a token after the sequence's end.
pub const AFTER_END: u32 = u32::MAX;

/// How the tokens of a sequence are chosen, and how far it is. The fields are the words of
/// `kernels/include/sampling.h`, in their order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SampleParams {
    /// The log-probability of the token is wanted.
    pub logprob: bool,
    /// An end token was sampled.
    pub ended: bool,
    /// 0 takes the highest logit.
    pub temperature: f32,
    /// 0 keeps all.
    pub top_k: u32,
    /// 1 keeps all.
    pub top_p: f32,
    /// 0 keeps all.
    pub min_p: f32,
    /// 1 changes nothing.
    pub repetition: f32,
    /// For each occurrence.
    pub frequency: f32,
    /// For any occurrence.
    pub presence: f32,
    /// Start of the random numbers.
    pub seed: u64,
    /// Random numbers used so far.
    pub counter: u32,
    /// The sequence's row in the tables of counts and of history.
    pub table: u32,
    /// Tokens that penalties look back on: none, at most the history's length, or [`ALL_TOKENS`].
    pub window: u32,
    /// Tokens in the history, at most `window`.
    pub filled: u32,
    /// Where in the history the next token goes, less than `window`; what is there is the oldest.
    pub cursor: u32,
    /// Where in the list of all end tokens those of the sequence are: how many, then their ids.
    pub ends_at: u32,
    /// Entries of the ring so far; 0 at the beginning of a window of steps.
    pub written: u32,
}

impl Default for SampleParams {
    /// The most probable token, until the host says stop.
    fn default() -> Self {
        Self {
            logprob: false,
            ended: false,
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition: 1.0,
            frequency: 0.0,
            presence: 0.0,
            seed: 0,
            counter: 0,
            table: 0,
            window: 0,
            filled: 0,
            cursor: 0,
            ends_at: 0,
            written: 0,
        }
    }
}

impl SampleParams {
    /// The words for the device.
    pub fn to_words(&self) -> [u32; SAMPLE_WORDS] {
        [
            u32::from(self.logprob) | u32::from(self.ended) << 1,
            self.temperature.to_bits(),
            self.top_k,
            self.top_p.to_bits(),
            self.min_p.to_bits(),
            self.repetition.to_bits(),
            self.frequency.to_bits(),
            self.presence.to_bits(),
            self.seed as u32,
            (self.seed >> 32) as u32,
            self.counter,
            self.table,
            self.window,
            self.filled,
            self.cursor,
            self.ends_at,
            self.written,
            0,
            0,
            0,
        ]
    }
}

/// The memory that sampling works on, by scratch number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampling {
    /// `[S][SAMPLE_WORDS]` u32, see [`SampleParams`].
    pub params: u32,
    /// True if any sequence has penalties; without, there need be no counts and history.
    pub penalties: bool,
    /// `[tables][counts_len(vocab)]` u16: occurrences in the penalty window; 0 at first.
    pub counts: u32,
    /// `[tables][history_len]` u32: the tokens of the penalty window; 0 at first.
    pub history: u32,
    /// Tokens of the history of a sequence.
    pub history_len: usize,
    /// u32: all end tokens, see [`SampleParams::ends_at`]; a single 0 if there are none.
    pub ends: u32,
    /// `[O][vocab]` (u32, u32), used by `sample` only.
    pub candidates: u32,
    /// `[O]` (token u32, log-probability f32).
    pub result: u32,
    /// `[ring_len][S]` (log-probability f32, token + 1 u32): shared memory.
    pub ring: u32,
    /// Entries of the ring: steps of a window.
    pub ring_len: usize,
}

impl Sampling {
    /// The word of the ring with token + 1 that a step of the window leaves for a
    /// sequence, [`AFTER_END`] if it had ended, 0 until then. The word before it is
    /// the log-probability.
    pub fn ring_word(step_in_window: usize, sequences: usize, sequence: usize) -> usize {
        2 * (step_in_window * sequences + sequence) + 1
    }
}

/// Length of a row of counts.
pub fn counts_len(vocab: usize) -> usize {
    vocab.next_multiple_of(8)
}

/// Bytes of the candidates of a step.
pub fn candidates_bytes(plan: &Plan, shape: Shape) -> usize {
    8 * shape.outputs * plan.vocab()
}

/// The launch that chooses a token for each output row from the plan's logits.
pub fn sample(plan: &Plan, shape: Shape, sampling: &Sampling) -> Launch {
    let vocab = plan.vocab();
    let read = |id| Operand::read(What::Scratch(id));
    Launch {
        kernel: Kernel::new("sample")
            .option("PENALTIES", i64::from(sampling.penalties))
            .uint("VOCAB", vocab)
            .uint("COUNTS", counts_len(vocab)),
        operands: vec![
            Operand::read(plan.logits().into()),
            read(sampling.params),
            if sampling.penalties { read(sampling.counts) } else { Operand::absent() },
            Operand::read(What::Step),
            Operand::update(What::Scratch(sampling.candidates)),
            Operand::write(What::Scratch(sampling.result)),
        ],
        grid: [shape.outputs as u32, 1, 1],
        threads: 1024,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_where_the_kernels_look() {
        let header = crate::source::file("include/sampling.h").unwrap();
        let at = |name: &str| -> usize {
            let line = header.lines().find(|l| l.split_whitespace().nth(1) == Some(name));
            line.unwrap().split_whitespace().nth(2).unwrap().parse().unwrap()
        };
        let params = SampleParams {
            logprob: true,
            ended: true,
            temperature: 1.5,
            top_k: 2,
            top_p: 3.5,
            min_p: 4.5,
            repetition: 5.5,
            frequency: 6.5,
            presence: 7.5,
            seed: 9 << 32 | 8,
            counter: 10,
            table: 11,
            window: 12,
            filled: 13,
            cursor: 14,
            ends_at: 15,
            written: 16,
        };
        let words = params.to_words();
        assert_eq!(words[at("SAMPLE_FLAGS")], (at("SAMPLE_LOGPROB") | at("SAMPLE_ENDED")) as u32);
        for (name, value) in [
            ("TEMPERATURE", 1.5),
            ("TOP_P", 3.5),
            ("MIN_P", 4.5),
            ("REPETITION", 5.5),
            ("FREQUENCY", 6.5),
            ("PRESENCE", 7.5f32),
        ] {
            assert_eq!(f32::from_bits(words[at(&format!("SAMPLE_{name}"))]), value, "{name}");
        }
        let names = [
            ("TOP_K", 2),
            ("SEED_LOW", 8),
            ("SEED_HIGH", 9),
            ("COUNTER", 10),
            ("TABLE", 11),
            ("WINDOW", 12),
            ("FILLED", 13),
            ("CURSOR", 14),
            ("ENDS_AT", 15),
            ("WRITTEN", 16),
        ];
        for (name, value) in names {
            assert_eq!(words[at(&format!("SAMPLE_{name}"))], value, "{name}");
        }
        assert_eq!(at("SAMPLE_WORDS"), SAMPLE_WORDS);
    }
}
