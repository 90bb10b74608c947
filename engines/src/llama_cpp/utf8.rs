//! Bytes of tokens to text: a character may be cut by the end of a token.

/// A text as its tokens arrive.
#[derive(Debug, Default)]
pub(super) struct Utf8 {
    /// The bytes of a character that is not whole yet.
    rest: Vec<u8>,
    /// The next bytes begin the text, and a space in front of them is the tokenizer's own.
    skips_space: bool,
}

impl Utf8 {
    /// A text whose first space, where it begins with one, is left out: some tokenizers put one in front of every text.
    pub(super) fn new(skips_space: bool) -> Self {
        Self { rest: Vec::new(), skips_space }
    }

    /// The text that these bytes complete. Bytes that cannot become a character are U+FFFD.
    pub(super) fn push(&mut self, bytes: &[u8]) -> String {
        let skips = std::mem::take(&mut self.skips_space);
        self.rest.extend_from_slice(bytes.strip_prefix(b" ").filter(|_| skips).unwrap_or(bytes));
        let whole = match self.rest.utf8_chunks().last() {
            Some(last) if is_beginning(last.invalid()) => self.rest.len() - last.invalid().len(),
            _ => self.rest.len(),
        };
        let text = String::from_utf8_lossy(&self.rest[..whole]).into_owned();
        self.rest.drain(..whole);
        text
    }

    /// What is left, and nothing after it.
    pub(super) fn flush(&mut self) -> String {
        let text = String::from_utf8_lossy(&self.rest).into_owned();
        self.rest.clear();
        text
    }
}

/// Whether more bytes could make a character of these: the standard library splits a chunk where no byte could.
fn is_beginning(bytes: &[u8]) -> bool {
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
    fn characters_arrive_whole_however_they_are_cut() {
        let text = "a\u{e9}\u{20ac}\u{1f600}z";
        for cut in 1..4 {
            let mut utf8 = Utf8::default();
            let told: String = text.as_bytes().chunks(cut).map(|bytes| utf8.push(bytes)).collect();
            assert_eq!(told + &utf8.flush(), text, "in pieces of {cut}");
        }
    }

    #[test]
    fn only_the_first_space_of_a_text_is_left_out() {
        let told = |skips: bool, pieces: [&[u8]; 3]| {
            let mut utf8 = Utf8::new(skips);
            pieces.map(|bytes| utf8.push(bytes)).concat()
        };
        assert_eq!(told(true, [b" a", b" b", b" c"]), "a b c");
        assert_eq!(told(false, [b" a", b" b", b" c"]), " a b c");
        assert_eq!(told(true, [b"a", b" b", b" c"]), "a b c");
    }

    #[test]
    fn nonsense_is_told_and_does_not_pile_up() {
        let mut utf8 = Utf8::default();
        assert_eq!(utf8.push(b"\xff\x80ok"), "\u{fffd}\u{fffd}ok");
        assert_eq!(utf8.push(b"\xe2\x82"), "");
        assert_eq!(utf8.push(b"x"), "\u{fffd}x", "the character never came");
        assert_eq!(utf8.push(b"\xf0\x9f"), "");
        assert_eq!((utf8.flush(), utf8.flush()), ("\u{fffd}".to_owned(), String::new()));
    }
}
