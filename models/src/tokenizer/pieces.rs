//! The bytes that each token stands for, and their way back to text.

use super::bytes::{byte_of, byte_token};
use super::data::TokenKind;
use super::spm::SPACE;

/// How a vocabulary writes text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spelling {
    /// GPT-2's alphabet, one character per byte.
    ByteLevel,
    /// Plain text with U+2581 for a space.
    Spm,
}

/// The bytes of every token, one behind the other.
#[derive(Debug)]
pub(super) struct Pieces {
    bytes: Vec<u8>,
    /// Where each piece ends `[n]`.
    ends: Vec<usize>,
    /// Not shown unless asked for: control and unknown tokens `[n]`.
    hidden: Vec<bool>,
}

impl Pieces {
    /// `tokens`: the text and kind of each id; `None` where an id is not given away.
    pub(super) fn new<'a>(tokens: impl Iterator<Item = Option<(&'a str, TokenKind)>>, spelling: Spelling) -> Self {
        let mut pieces = Self { bytes: Vec::new(), ends: Vec::new(), hidden: Vec::new() };
        for token in tokens {
            let (text, kind) = token.unwrap_or(("", TokenKind::Undefined));
            match kind {
                TokenKind::Control | TokenKind::Unknown | TokenKind::UserDefined => {
                    pieces.bytes.extend_from_slice(text.as_bytes());
                }
                TokenKind::Byte => pieces.bytes.extend(byte_token(text)),
                TokenKind::Normal => match spelling {
                    Spelling::ByteLevel => spell_bytes(text, &mut pieces.bytes),
                    Spelling::Spm => pieces.bytes.extend_from_slice(text.replace(SPACE, " ").as_bytes()),
                },
                TokenKind::Unused | TokenKind::Undefined => {}
            }
            pieces.ends.push(pieces.bytes.len());
            pieces.hidden.push(matches!(kind, TokenKind::Control | TokenKind::Unknown));
        }
        pieces
    }

    /// How many ids there are.
    pub(super) fn count(&self) -> usize {
        self.ends.len()
    }

    /// The bytes of a token; empty for a hidden one unless `special`; `None` for an id outside the vocabulary.
    pub(super) fn get(&self, id: u32, special: bool) -> Option<&[u8]> {
        let id = id as usize;
        let end = *self.ends.get(id)?;
        if self.hidden[id] && !special {
            return Some(&[]);
        }
        let start = if id == 0 { 0 } else { self.ends[id - 1] };
        Some(&self.bytes[start..end])
    }
}

/// Characters outside the alphabet (a vocabulary should have none) stand for themselves.
fn spell_bytes(text: &str, bytes: &mut Vec<u8>) {
    for character in text.chars() {
        match byte_of(character) {
            Some(byte) => bytes.push(byte),
            None => bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

/// Bytes that arrive in any portions to text in whole characters.
#[derive(Debug, Default, Clone)]
pub(super) struct Utf8 {
    /// The beginning of a character that is not complete yet: at most 3 bytes.
    held: Vec<u8>,
}

impl Utf8 {
    /// Appends what `bytes` complete; what is no UTF-8 becomes U+FFFD, as [`String::from_utf8_lossy`] would have it.
    pub(super) fn push(&mut self, bytes: &[u8], text: &mut String) {
        let joined;
        let mut rest = if self.held.is_empty() {
            bytes
        } else {
            self.held.extend_from_slice(bytes);
            joined = std::mem::take(&mut self.held);
            &joined
        };
        while !rest.is_empty() {
            let Err(error) = std::str::from_utf8(rest).map(|valid| text.push_str(valid)) else { return };
            let (valid, broken) = rest.split_at(error.valid_up_to());
            text.push_str(&String::from_utf8_lossy(valid));
            let Some(length) = error.error_len() else {
                self.held = broken.to_vec();
                return;
            };
            text.push(char::REPLACEMENT_CHARACTER);
            rest = &broken[length..];
        }
    }

    /// Appends one U+FFFD for a character that never got complete.
    pub(super) fn flush(&mut self, text: &mut String) {
        if !std::mem::take(&mut self.held).is_empty() {
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn bytes_in_any_portions_read_as_they_do_at_once(bytes in prop::collection::vec(prop_oneof![any::<u8>(), 0xC0u8.., Just(0x80u8)], 0..40), cuts in prop::collection::vec(0usize..5, 0..40)) {
            let (mut utf8, mut text, mut rest) = (Utf8::default(), String::new(), &bytes[..]);
            for cut in cuts {
                let (portion, left) = rest.split_at(cut.min(rest.len()));
                utf8.push(portion, &mut text);
                prop_assert!(utf8.held.len() <= 3);
                rest = left;
            }
            utf8.push(rest, &mut text);
            utf8.flush(&mut text);
            prop_assert_eq!(text, String::from_utf8_lossy(&bytes));
        }
    }

    #[test]
    fn kinds_decide_what_is_shown() {
        let tokens = [
            Some(("Ġhi", TokenKind::Normal)),
            Some(("<s>", TokenKind::Control)),
            Some(("<0x0A>", TokenKind::Byte)),
            Some(("Ġ", TokenKind::UserDefined)),
            None,
        ];
        let pieces = Pieces::new(tokens.into_iter(), Spelling::ByteLevel);
        let shown: Vec<_> = (0..6).map(|id| pieces.get(id, false)).collect();
        assert_eq!(shown, [Some(" hi".as_bytes()), Some(b""), Some(b"\n"), Some("Ġ".as_bytes()), Some(b""), None]);
        assert_eq!(pieces.get(1, true), Some("<s>".as_bytes()));
    }
}
