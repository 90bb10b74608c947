//! GPT-2's alphabet: every byte as one printable character, so that a byte-level vocabulary can be stored as text.
//!
//! Printable Latin-1 characters stand for themselves; the other 68 bytes, in order, become the characters from U+0100
//! on (a space is `Ġ`, a newline `Ċ`). Source: `bytes_to_unicode` of GPT-2's encoder.

/// The byte that a character of the alphabet stands for.
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
}
