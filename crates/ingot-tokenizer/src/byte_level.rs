//! GPT-2's alphabet: every byte as a printable character.
//!
//! Byte-level vocabularies are stored as text, so bytes that are white space,
//! control characters or not ASCII are shown as characters from U+0100 on.

/// First of the characters that stand for bytes which are not shown as themselves.
const SHIFTED: u32 = 0x100;

fn is_shown_as_itself(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF)
}

/// The character for every byte.
pub(crate) fn characters() -> [char; 256] {
    let mut shifted = SHIFTED;
    std::array::from_fn(|byte| {
        let byte = byte as u8;
        if is_shown_as_itself(byte) {
            return char::from(byte);
        }
        shifted += 1;
        char::from_u32(shifted - 1).expect("a character near U+0100")
    })
}

/// The way back.
pub(crate) struct Bytes([Option<u8>; 0x144]);

impl Bytes {
    pub(crate) fn new() -> Self {
        let mut table = [None; 0x144];
        for (byte, character) in (0u8..=255).zip(characters()) {
            table[character as usize] = Some(byte);
        }
        Self(table)
    }

    /// Appends the bytes of `token` to `out`. A token with characters outside
    /// the alphabet was not made by it and is its own UTF-8.
    pub(crate) fn decode(&self, token: &str, out: &mut Vec<u8>) {
        let start = out.len();
        for character in token.chars() {
            match self.0.get(character as usize) {
                Some(Some(byte)) => out.push(*byte),
                _ => {
                    out.truncate(start);
                    out.extend_from_slice(token.as_bytes());
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_characters_and_back() {
        let characters = characters();
        assert_eq!(characters[usize::from(b' ')], 'Ġ');
        assert_eq!(characters[usize::from(b'\n')], 'Ċ');
        assert_eq!(characters[usize::from(b'a')], 'a');
        assert_eq!(characters[0xAD], 'Ń');
        let all: String = characters.iter().collect();
        let mut bytes = Vec::new();
        Bytes::new().decode(&all, &mut bytes);
        assert_eq!(bytes, (0..=255).collect::<Vec<u8>>());
    }

    #[test]
    fn foreign_tokens_are_themselves() {
        let mut bytes = vec![1];
        Bytes::new().decode("a｜b", &mut bytes);
        assert_eq!(bytes, [&[1], "a｜b".as_bytes()].concat());
    }
}
