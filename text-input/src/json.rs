//! JSON as other programs write it: numbers that JSON does not have.

use std::borrow::Cow;

/// The words that writers of JSON use for numbers that are not finite, the longest first. Python writes `NaN` and `Infinity`, C's
/// printf `nan` and `inf`.
const NOT_NUMBERS: &[&str] = &["Infinity", "infinity", "-nan(ind)", "NaN", "nan", "inf", "Inf", "INF", "NAN"];

/// The text with `null` in place of every number that is not finite; without a copy where there is none. Lines keep their numbers,
/// and words inside strings stay.
pub fn with_null_for_not_a_number(text: &str) -> Cow<'_, str> {
    let mut found: Option<String> = None;
    let mut copied = 0;
    let (mut in_string, mut escaped) = (false, false);
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
        } else if byte == b'"' {
            in_string = true;
        } else if let Some(length) = not_a_number(&bytes[at..]).filter(|_| at == 0 || !is_word(bytes[at - 1])) {
            let out = found.get_or_insert_default();
            out.push_str(&text[copied..at]);
            out.push_str("null");
            at += length;
            copied = at;
            continue;
        }
        at += 1;
    }
    match found {
        Some(mut out) => {
            out.push_str(&text[copied..]);
            Cow::Owned(out)
        }
        None => Cow::Borrowed(text),
    }
}

/// The length of such a word at the beginning of a text, with its sign.
fn not_a_number(text: &[u8]) -> Option<usize> {
    let sign = usize::from(matches!(text.first(), Some(b'-' | b'+')));
    let word = NOT_NUMBERS.iter().find_map(|word| {
        let bare = word.trim_start_matches('-').as_bytes();
        text[sign..].starts_with(bare).then_some(bare.len())
    })?;
    let end = sign + word;
    let ends = text.get(end).is_none_or(|&byte| !is_word(byte));
    ends.then_some(end)
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'(')
}

/// The beginning of a text for a message: at most 40 characters of its first line that is not blank, with control characters escaped.
pub fn excerpt(text: &str) -> String {
    let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default().trim();
    let escaped = |c: char| if c.is_control() { c.escape_debug().to_string() } else { c.to_string() };
    let mut shown: String = line.chars().take(40).map(escaped).collect();
    if line.chars().count() > 40 {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_are_not_finite_become_null_in_place() {
        for (text, expected) in [
            ("[NaN,1]", "[null,1]"),
            ("{\"a\": -Infinity}", "{\"a\": null}"),
            ("[inf, -inf, nan, -nan]", "[null, null, null, null]"),
            ("[-nan(ind)]", "[null]"),
        ] {
            let found = with_null_for_not_a_number(text);
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn strings_and_other_words_stay() {
        for text in ["{\"NaN\": \"inf \\\" nan\"}", "[information]", "[1.5, true, null]", "[xNaN]"] {
            assert!(matches!(with_null_for_not_a_number(text), Cow::Borrowed(_)), "{text}");
        }
    }

    #[test]
    fn an_excerpt_is_short_and_printable() {
        assert_eq!(excerpt("\n  abc \u{1b}[31m\nx"), "abc \\u{1b}[31m");
        assert_eq!(excerpt(&"x".repeat(50)), format!("{}…", "x".repeat(40)));
    }
}
