//! Bytes of tokens to text: a character may extend over several tokens.

/// Decodes the bytes of successive tokens as UTF-8.
#[derive(Debug, Default)]
pub(super) struct TextDecoder {
    /// The bytes of an incomplete character.
    rest: Vec<u8>,
    /// Whether to skip a space at the start of the next bytes, which the tokenizer added.
    skips_space: bool,
}

impl TextDecoder {
    /// A decoder that can skip a space at the start of the text: some tokenizers prepend one to every text.
    pub(super) fn new(skips_space: bool) -> Self {
        Self { rest: Vec::new(), skips_space }
    }

    /// The text that these bytes complete. Invalid bytes become U+FFFD.
    pub(super) fn push(&mut self, bytes: &[u8]) -> String {
        let skips = std::mem::take(&mut self.skips_space);
        self.rest.extend_from_slice(bytes.strip_prefix(b" ").filter(|_| skips).unwrap_or(bytes));
        let whole = match self.rest.utf8_chunks().last() {
            Some(last) if is_incomplete(last.invalid()) => self.rest.len() - last.invalid().len(),
            _ => self.rest.len(),
        };
        let text = String::from_utf8_lossy(&self.rest[..whole]).into_owned();
        self.rest.drain(..whole);
        text
    }

    /// The rest of the text; an incomplete character becomes U+FFFD.
    pub(super) fn flush(&mut self) -> String {
        let text = String::from_utf8_lossy(&self.rest).into_owned();
        self.rest.clear();
        text
    }
}

/// Whether these bytes are the start of a character: the standard library ends a chunk at bytes that cannot be.
fn is_incomplete(bytes: &[u8]) -> bool {
    let length = match bytes.first() {
        Some(0xc2..=0xdf) => 2,
        Some(0xe0..=0xef) => 3,
        Some(0xf0..=0xf4) => 4,
        _ => return false,
    };
    bytes.len() < length
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_over_several_tokens_are_decoded_whole() {
        let text = "a\u{e9}\u{20ac}\u{1f600}z";
        for cut in 1..4 {
            let mut decoder = TextDecoder::default();
            let text_of_parts: String = text.as_bytes().chunks(cut).map(|bytes| decoder.push(bytes)).collect();
            assert_eq!(text_of_parts + &decoder.flush(), text, "in pieces of {cut}");
        }
    }

    #[test]
    fn only_the_first_space_of_a_text_is_skipped() {
        let decoded = |skips: bool, pieces: [&[u8]; 3]| {
            let mut decoder = TextDecoder::new(skips);
            pieces.map(|bytes| decoder.push(bytes)).concat()
        };
        assert_eq!(decoded(true, [b" a", b" b", b" c"]), "a b c");
        assert_eq!(decoded(false, [b" a", b" b", b" c"]), " a b c");
        assert_eq!(decoded(true, [b"a", b" b", b" c"]), "a b c");
    }

    #[test]
    fn invalid_bytes_are_replaced_and_not_kept() {
        let mut decoder = TextDecoder::default();
        assert_eq!(decoder.push(b"\xff\x80ok"), "\u{fffd}\u{fffd}ok");
        assert_eq!(decoder.push(b"\xe2\x82"), "");
        assert_eq!(decoder.push(b"x"), "\u{fffd}x", "the character is incomplete");
        assert_eq!(decoder.push(b"\xf0\x9f"), "");
        assert_eq!((decoder.flush(), decoder.flush()), ("\u{fffd}".to_owned(), String::new()));
    }
}
