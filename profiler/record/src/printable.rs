//! [`Printable`]: texts that a terminal shows and does not execute, whoever wrote their parts.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use serde::Serialize;

/// A text without a character that a terminal executes or that changes the direction of a line. What is printed, and every text of a run
/// folder, has this type.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Printable(String);

impl Printable {
    /// A text with a visible sign in place of such a character: see [`printable`].
    pub fn new(text: &str) -> Self {
        Self(printable(text).into_owned())
    }

    /// The same of a text with styles: sequences that select colours and weights (`ESC [ NUMBERS m`) stay.
    pub fn styled(text: &str) -> Self {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find(ESCAPE) {
            out.push_str(&printable(&rest[..at]));
            rest = &rest[at..];
            let style = style(rest);
            out.push_str(style.unwrap_or("␛"));
            rest = &rest[style.map_or(ESCAPE.len_utf8(), str::len)..];
        }
        out.push_str(&printable(rest));
        Self(out)
    }

    /// A value as JSON with indentation and a line end. Such characters are escaped in its texts, so that a reader gets them unchanged.
    ///
    /// # Errors
    /// When the value cannot be JSON, such as a map whose keys are no texts.
    pub fn json(value: &impl Serialize) -> serde_json::Result<Self> {
        let mut text = serde_json::to_string_pretty(value)?;
        text.push('\n');
        Ok(Self(escaped(text)))
    }

    /// The same in one line.
    ///
    /// # Errors
    /// As of [`json`](Self::json).
    pub fn json_line(value: &impl Serialize) -> serde_json::Result<Self> {
        let mut text = serde_json::to_string(value)?;
        text.push('\n');
        Ok(Self(escaped(text)))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// This text and then the other.
    #[must_use]
    pub fn then(mut self, other: &Self) -> Self {
        self.0.push_str(&other.0);
        self
    }
}

impl fmt::Display for Printable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Begins a control sequence.
const ESCAPE: char = '\u{1b}';

/// The sequence at the beginning of a text that selects a style (SGR, ECMA-48 8.3.117).
fn style(text: &str) -> Option<&str> {
    let parameters = text.strip_prefix("\u{1b}[")?;
    let end = parameters.find(|c: char| !c.is_ascii_digit() && c != ';')?;
    parameters[end..].starts_with('m').then(|| &text[..text.len() - parameters.len() + end + 1])
}

/// A JSON text with `\uXXXX` in place of active characters, which can only be inside of its strings.
fn escaped(json: String) -> String {
    if !json.chars().any(is_active) {
        return json;
    }
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if is_active(c) {
            // Writing to a string cannot fail. All active characters are below U+10000.
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    out
}

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

    #[test]
    fn styles_stay_and_other_sequences_do_not() {
        let text = "\u{1b}[1;33mwarning\u{1b}[0m \u{1b}[2J\u{1b}]0;title\u{7}\u{1b}[\u{1b}";
        assert_eq!(Printable::styled(text).as_str(), "\u{1b}[1;33mwarning\u{1b}[0m ␛[2J␛]0;title␇␛[␛");
        assert_eq!(Printable::new("\u{1b}[1m").as_str(), "␛[1m");
        assert_eq!(Printable::styled("é\u{9b}1m").as_str(), "é\u{fffd}1m");
    }

    #[test]
    fn json_keeps_its_texts() {
        let text = "é\u{1b}[31m\u{9b}\u{7f}\u{202e}\"\n".to_owned();
        let json = Printable::json(&vec![text.clone()]).unwrap();
        assert!(!json.as_str().chars().any(is_active), "{json}");
        assert_eq!(serde_json::from_str::<Vec<String>>(json.as_str()).unwrap().concat(), text);
        let line = Printable::json_line(&text).unwrap();
        assert_eq!(line.as_str().matches('\n').count(), 1);
        assert_eq!(serde_json::from_str::<String>(line.as_str()).unwrap(), text);
    }
}
