//! The bytes that each token stands for, and decoding them to text.

use super::sentencepiece::SPACE;
use super::vocabulary::TokenKind;

/// How a vocabulary represents text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TextEncoding {
    /// GPT-2's alphabet, one character per byte.
    ByteLevel,
    /// Plain text with U+2581 for a space.
    SentencePiece,
}

/// The bytes of all tokens in one buffer.
#[derive(Debug)]
pub(super) struct TokenBytes {
    bytes: Vec<u8>,
    /// The end of each token in `bytes` `[n]`.
    ends: Vec<usize>,
    /// Whether a token is shown only on request: control and unknown tokens `[n]`.
    hidden: Vec<bool>,
}

impl TokenBytes {
    /// `tokens`: the text and kind of each id; `None` for an unassigned id.
    pub(super) fn new<'a>(tokens: impl Iterator<Item = Option<(&'a str, TokenKind)>>, spelling: TextEncoding) -> Self {
        let mut all = Self { bytes: Vec::new(), ends: Vec::new(), hidden: Vec::new() };
        for token in tokens {
            let (text, kind) = token.unwrap_or(("", TokenKind::Undefined));
            match kind {
                TokenKind::Control | TokenKind::Unknown | TokenKind::UserDefined => {
                    all.bytes.extend_from_slice(text.as_bytes());
                }
                TokenKind::Byte => all.bytes.extend(byte_token(text)),
                TokenKind::Normal => match spelling {
                    TextEncoding::ByteLevel => push_byte_level(text, &mut all.bytes),
                    TextEncoding::SentencePiece => all.bytes.extend_from_slice(text.replace(SPACE, " ").as_bytes()),
                },
                TokenKind::Unused | TokenKind::Undefined => {}
            }
            all.ends.push(all.bytes.len());
            all.hidden.push(matches!(kind, TokenKind::Control | TokenKind::Unknown));
        }
        all
    }

    /// The number of ids.
    pub(super) fn count(&self) -> usize {
        self.ends.len()
    }

    /// The bytes of a token: none for a hidden token unless `special` is set. `None` for an id outside the vocabulary.
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

/// Appends the bytes of a byte-level token. Characters outside the alphabet, which a vocabulary should not contain, stand for
/// themselves.
fn push_byte_level(text: &str, bytes: &mut Vec<u8>) {
    for character in text.chars() {
        match byte_of(character) {
            Some(byte) => bytes.push(byte),
            None => bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

/// Decodes UTF-8 from byte chunks that may split characters.
#[derive(Debug, Default, Clone)]
pub(super) struct Utf8Decoder {
    /// The beginning of an incomplete character: at most 3 bytes.
    pending: Vec<u8>,
}

impl Utf8Decoder {
    /// Appends the characters that `bytes` complete. Invalid UTF-8 becomes U+FFFD, as in [`String::from_utf8_lossy`].
    pub(super) fn push(&mut self, bytes: &[u8], text: &mut String) {
        let joined;
        let mut rest = if self.pending.is_empty() {
            bytes
        } else {
            self.pending.extend_from_slice(bytes);
            joined = std::mem::take(&mut self.pending);
            &joined
        };
        while !rest.is_empty() {
            let Err(error) = std::str::from_utf8(rest).map(|valid| text.push_str(valid)) else { return };
            let (valid, broken) = rest.split_at(error.valid_up_to());
            text.push_str(&String::from_utf8_lossy(valid));
            let Some(length) = error.error_len() else {
                self.pending = broken.to_vec();
                return;
            };
            text.push(char::REPLACEMENT_CHARACTER);
            rest = &broken[length..];
        }
    }

    /// Appends one U+FFFD if a character is still incomplete.
    pub(super) fn flush(&mut self, text: &mut String) {
        if !std::mem::take(&mut self.pending).is_empty() {
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }
}

/// The byte that a character of GPT-2's alphabet stands for. The alphabet has a printable character for each byte, so that a byte-level
/// vocabulary can be stored as text: printable Latin-1 characters stand for themselves, and the other 68 bytes, in order, are the
/// characters from U+0100 on (a space is `Ġ`, a newline `Ċ`). Source: `bytes_to_unicode` of GPT-2's encoder.
pub(super) fn byte_of(character: char) -> Option<u8> {
    let code = u32::from(character);
    match code {
        0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF => u8::try_from(code).ok(),
        // 256.. = the bytes 0x00-0x20, then 0x7F-0xA0, then 0xAD.
        0x100..=0x120 => u8::try_from(code - 0x100).ok(),
        0x121..=0x142 => u8::try_from(code - 0x121 + 0x7F).ok(),
        0x143 => Some(0xAD),
        _ => None,
    }
}

/// The byte of a token that is written `<0xHH>`.
pub(super) fn byte_token(text: &str) -> Option<u8> {
    let digits = text.strip_prefix("<0x")?.strip_suffix('>')?;
    if digits.len() != 2 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    u8::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_alphabet_has_each_byte_once() {
        let mut bytes: Vec<u8> = (0..0x400).filter_map(char::from_u32).filter_map(byte_of).collect();
        bytes.sort_unstable();
        assert_eq!(bytes, (0..=255).collect::<Vec<u8>>());
        assert_eq!(
            (byte_of('Ġ'), byte_of('Ċ'), byte_of('é'), byte_of('▁')),
            (Some(b' '), Some(b'\n'), Some(0xE9), None)
        );
    }

    #[test]
    fn byte_tokens_need_two_digits() {
        assert_eq!(byte_token("<0x0A>"), Some(10));
        assert_eq!(byte_token("<0xff>"), Some(255));
        for text in ["<0x>", "<0x0>", "<0x+1>", "0x0A", "<0x0AA>", "<0x0A"] {
            assert_eq!(byte_token(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn chunked_decoding_equals_decoding_at_once(bytes in prop::collection::vec(prop_oneof![any::<u8>(), 0xC0u8.., Just(0x80u8)], 0..40), cuts in prop::collection::vec(0usize..5, 0..40)) {
            let (mut utf8, mut text, mut rest) = (Utf8Decoder::default(), String::new(), &bytes[..]);
            for cut in cuts {
                let (chunk, left) = rest.split_at(cut.min(rest.len()));
                utf8.push(chunk, &mut text);
                prop_assert!(utf8.pending.len() <= 3);
                rest = left;
            }
            utf8.push(rest, &mut text);
            utf8.flush(&mut text);
            prop_assert_eq!(text, String::from_utf8_lossy(&bytes));
        }
    }

    #[test]
    fn the_kind_of_a_token_determines_what_is_shown() {
        let tokens = [
            Some(("Ġhi", TokenKind::Normal)),
            Some(("<s>", TokenKind::Control)),
            Some(("<0x0A>", TokenKind::Byte)),
            Some(("Ġ", TokenKind::UserDefined)),
            None,
        ];
        let tokens = TokenBytes::new(tokens.into_iter(), TextEncoding::ByteLevel);
        let shown: Vec<_> = (0..6).map(|id| tokens.get(id, false)).collect();
        assert_eq!(shown, [Some(" hi".as_bytes()), Some(b""), Some(b"\n"), Some("Ġ".as_bytes()), Some(b""), None]);
        assert_eq!(tokens.get(1, true), Some("<s>".as_bytes()));
    }
}
