//! [`printable`]: text of users, models and servers for a terminal or a report.

use std::borrow::Cow;

/// The text with a visible sign in place of every character that a terminal would execute or that changes the direction of a line: the
/// control characters become their pictures (`␛`), the others U+FFFD. Line ends and tabs stay.
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_active) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().map(|c| if is_active(c) { picture(c) } else { c }).collect())
}

fn is_active(c: char) -> bool {
    c.is_control() && !matches!(c, '\n' | '\t') || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The picture of an ASCII control character.
fn picture(c: char) -> char {
    match u32::from(c) {
        code @ 0..0x20 => char::from_u32(0x2400 + code).unwrap_or(char::REPLACEMENT_CHARACTER),
        0x7f => '\u{2421}',
        _ => char::REPLACEMENT_CHARACTER,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_executes_becomes_visible() {
        assert_eq!(printable("a\u{1b}[31mb\r\u{7f}\u{9b}1m\u{202e}c"), "a␛[31mb␍␡\u{fffd}1m\u{fffd}c");
        assert!(matches!(printable("é\tx\n😀"), Cow::Borrowed(_)));
    }
}
