//! Python's `str`: which characters are whitespace, upper case or printable, and the functions on texts that methods and filters share.

/// Whether `str.isspace` holds for a character.
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// Whether `repr` writes a character as it is.
pub(super) fn is_printable(c: char) -> bool {
    if c.is_ascii() {
        return (' '..='~').contains(&c);
    }
    // Rust escapes combining characters at the start of a text only.
    let text = ['a', c].iter().collect::<String>();
    text.escape_debug().count() == 2
}

/// The Unicode title case of a character.
fn title_character(c: char, text: &mut String) {
    match c {
        '\u{1c4}'..='\u{1c6}' => text.push('\u{1c5}'),
        '\u{1c7}'..='\u{1c9}' => text.push('\u{1c8}'),
        '\u{1ca}'..='\u{1cc}' => text.push('\u{1cb}'),
        '\u{1f1}'..='\u{1f3}' => text.push('\u{1f2}'),
        _ => {
            let mut upper = c.to_uppercase();
            text.extend(upper.next());
            upper.for_each(|rest| text.extend(rest.to_lowercase()));
        }
    }
}

pub(super) fn capitalize(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let lower = text.to_lowercase();
    if let Some(first) = text.chars().next() {
        title_character(first, &mut result);
        result.push_str(lower.get(first.to_lowercase().map(char::len_utf8).sum::<usize>()..).unwrap_or_default());
    }
    result
}

/// `str.title`: every run of letters begins in upper case.
pub(super) fn title(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut inside = false;
    for c in text.chars() {
        let cased = c.is_uppercase() || c.is_lowercase();
        if inside {
            result.extend(c.to_lowercase());
        } else {
            title_character(c, &mut result);
        }
        inside = cased;
    }
    result
}

pub(super) fn swap_case(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_uppercase() {
            result.extend(c.to_lowercase());
        } else {
            result.extend(c.to_uppercase());
        }
    }
    result
}

/// The sides of a text from which something is removed, or on which something is added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Left,
    Right,
    Both,
}

/// `str.strip` and its sisters: without `characters`, whitespace is removed.
pub(super) fn strip<'a>(text: &'a str, characters: Option<&str>, side: Side) -> &'a str {
    let removed = |c: char| characters.map_or_else(|| is_space(c), |characters| characters.contains(c));
    match side {
        Side::Left => text.trim_start_matches(removed),
        Side::Right => text.trim_end_matches(removed),
        Side::Both => text.trim_matches(removed),
    }
}

/// `str.split` without a separator, at most `limit` times.
pub(super) fn split_whitespace(text: &str, limit: usize) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text.trim_start_matches(is_space);
    while !rest.is_empty() {
        let end = if parts.len() < limit { rest.find(is_space) } else { None };
        match end {
            Some(end) => {
                parts.push(&rest[..end]);
                rest = rest[end..].trim_start_matches(is_space);
            }
            None if parts.len() < limit => {
                parts.push(rest);
                break;
            }
            None => {
                parts.push(rest);
                break;
            }
        }
    }
    parts
}

/// `str.rsplit` without a separator, at most `limit` times.
pub(super) fn rsplit_whitespace(text: &str, limit: usize) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text.trim_end_matches(is_space);
    while !rest.is_empty() {
        let start = if parts.len() < limit { rest.rfind(is_space) } else { None };
        let Some(start) = start else {
            parts.push(rest);
            break;
        };
        let space = rest[start..].chars().next().map_or(0, char::len_utf8);
        parts.push(&rest[start + space..]);
        rest = rest[..start].trim_end_matches(is_space);
    }
    parts.reverse();
    parts
}

/// `str.splitlines`.
pub(super) fn split_lines(text: &str, keep_ends: bool) -> Vec<&str> {
    let ends = |c: char| {
        matches!(c, '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}')
    };
    let mut lines = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let Some(end) = rest.find(ends) else {
            lines.push(rest);
            break;
        };
        let length =
            if rest[end..].starts_with("\r\n") { 2 } else { rest[end..].chars().next().map_or(1, char::len_utf8) };
        lines.push(&rest[..if keep_ends { end + length } else { end }]);
        rest = &rest[end + length..];
    }
    lines
}

/// `str.replace` with at most `count` replacements.
pub(super) fn replace(text: &str, old: &str, new: &str, count: Option<usize>) -> String {
    match count {
        Some(count) => text.replacen(old, new, count),
        None => text.replace(old, new),
    }
}

/// A text of at least `width` characters, filled on a side; both sides as `str.center` does it.
pub(super) fn pad(text: &str, width: usize, fill: char, side: Side) -> String {
    let length = text.chars().count();
    let missing = width.saturating_sub(length);
    let left = match side {
        Side::Left => missing,
        Side::Right => 0,
        // An odd space goes to the left where the width is odd.
        Side::Both => missing / 2 + (missing & width & 1),
    };
    let mut result = String::with_capacity(text.len() + missing);
    result.extend(std::iter::repeat_n(fill, left));
    result.push_str(text);
    result.extend(std::iter::repeat_n(fill, missing - left));
    result
}

/// `&<>'"` as in `MarkupSafe`.
pub(super) fn escape_html(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => result.push_str("&amp;"),
            '<' => result.push_str("&lt;"),
            '>' => result.push_str("&gt;"),
            '\'' => result.push_str("&#39;"),
            '"' => result.push_str("&#34;"),
            _ => result.push(c),
        }
    }
    result
}

/// Python's `repr` of a text.
pub(super) fn repr(text: &str, result: &mut String) {
    use std::fmt::Write as _;
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    result.push(quote);
    for c in text.chars() {
        match c {
            '\\' => result.push_str("\\\\"),
            '\n' => result.push_str("\\n"),
            '\r' => result.push_str("\\r"),
            '\t' => result.push_str("\\t"),
            _ if c == quote => result.extend(['\\', c]),
            _ if is_printable(c) => result.push(c),
            _ => {
                // Writing to a string does not fail.
                let _ = match u32::from(c) {
                    code @ 0..=0xff => write!(result, "\\x{code:02x}"),
                    code @ 0x100..=0xffff => write!(result, "\\u{code:04x}"),
                    code => write!(result, "\\U{code:08x}"),
                };
            }
        }
    }
    result.push(quote);
}

/// Python's `repr` of a float: the shortest digits, an exponent below 1e-4 and from 1e16.
pub(super) fn float(number: f64) -> String {
    if number.is_nan() {
        return "nan".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if number != 0.0 && !(-4..16).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    let plain = format!("{number}");
    if plain.contains('.') { plain } else { format!("{plain}.0") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_written_as_in_python() {
        for (number, text) in [
            (1.0, "1.0"),
            (-0.0, "-0.0"),
            (0.1 + 0.2, "0.30000000000000004"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1.5e-5, "1.5e-05"),
            (0.0001, "0.0001"),
            (1e100, "1e+100"),
            (f64::NAN, "nan"),
        ] {
            assert_eq!(float(number), text);
        }
    }

    #[test]
    fn texts_are_quoted_as_in_python() {
        for (text, quoted) in [
            ("a'b", "\"a'b\""),
            ("a'b\"c", "'a\\'b\"c'"),
            ("\u{7f}\u{a0}\u{e9}\u{301}\u{200b}", "'\\x7f\\xa0\u{e9}\u{301}\\u200b'"),
            ("\n\\", "'\\n\\\\'"),
        ] {
            let mut result = String::new();
            repr(text, &mut result);
            assert_eq!(result, quoted);
        }
    }

    #[test]
    fn cases_are_changed_as_in_python() {
        assert_eq!((capitalize("\u{df}AB").as_str(), capitalize("").as_str()), ("Ssab", ""));
        assert_eq!(title("it's a3b \u{1c6}x"), "It'S A3B \u{1c5}x");
        assert_eq!(pad("ab", 5, '*', Side::Both), "**ab*");
        assert_eq!(pad("abc", 6, '*', Side::Both), "*abc**");
        assert_eq!(split_whitespace(" a  b c ", 1), ["a", "b c "]);
        assert_eq!(rsplit_whitespace(" a  b c ", 1), [" a  b", "c"]);
        assert_eq!(split_lines("a\r\nb\n\nc", false), ["a", "b", "", "c"]);
    }
}
