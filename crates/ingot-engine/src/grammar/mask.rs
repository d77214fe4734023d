//! Which tokens may come next.

use llguidance::toktrie::SimpleVob;

/// A set of tokens. A model's tokens beyond the vocabulary are never in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mask {
    tokens: SimpleVob,
}

impl Mask {
    pub(super) fn new(tokens: SimpleVob) -> Self {
        Self { tokens }
    }

    /// Whether `token` may come next.
    pub fn allows(&self, token: u32) -> bool {
        (token as usize) < self.tokens.len() && self.tokens.is_allowed(token)
    }

    /// The allowed tokens, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        self.tokens.iter().take_while(|&token| (token as usize) < self.tokens.len())
    }

    /// Sets the logits of all other tokens to negative infinity. `logits`: `[vocab]`.
    pub fn apply(&self, logits: &mut [f32]) {
        let (known, beyond) = logits.split_at_mut(logits.len().min(self.tokens.len()));
        for (logits, &word) in known.chunks_mut(u32::BITS as usize).zip(self.tokens.as_slice()) {
            match word {
                u32::MAX => {}
                0 => logits.fill(f32::NEG_INFINITY),
                _ => {
                    for (bit, logit) in logits.iter_mut().enumerate() {
                        if word >> bit & 1 == 0 {
                            *logit = f32::NEG_INFINITY;
                        }
                    }
                }
            }
        }
        beyond.fill(f32::NEG_INFINITY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn applies_to_exactly_the_other_tokens() {
        for (tokens, logits) in [(1, 1), (31, 40), (64, 64), (97, 97), (100, 80)] {
            let mut allowed = SimpleVob::alloc_with_capacity(tokens, tokens + 1);
            // Words of all, of no and of some ones.
            (0..tokens as u32)
                .filter(|t| *t < 32 || *t > 90 && t % 3 == 0)
                .for_each(|t| allowed.allow_token(t));
            let mask = Mask::new(allowed);
            let mut values: Vec<f32> = (0..logits).map(|i| i as f32).collect();
            mask.apply(&mut values);
            for (token, value) in values.into_iter().enumerate() {
                let expected = mask.allows(token as u32) && token < tokens;
                assert_eq!(value == token as f32, expected, "{token} of {tokens}");
                assert_eq!(value == f32::NEG_INFINITY, !expected, "{token} of {tokens}");
            }
            assert!(mask.iter().eq((0..200).filter(|&token| mask.allows(token))));
        }
    }
}
