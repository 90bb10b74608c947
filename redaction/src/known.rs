//! The values of secrets that this process was given. Texts from outside are searched for them.

use std::borrow::Cow;
use std::sync::{PoisonError, RwLock};

use crate::MARK;
use crate::encoding::{base64, percent_decoded, percent_encoded};

/// Every remembered value, in each form in which a text may contain it, the longest first.
static KNOWN: RwLock<Vec<Known>> = RwLock::new(Vec::new());

/// One form of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    text: String,
    /// Whether it is replaced wherever it stands. A short value or a plain word is replaced only as a whole word, and only in texts
    /// from outside: it would also occur in other texts.
    is_distinctive: bool,
}

/// Values that people write where a key is asked for and none is needed.
const NO_SECRETS: &[&str] = &[
    "anything",
    "basic",
    "bearer",
    "default",
    "dummy",
    "empty",
    "exo",
    "fake",
    "false",
    "key",
    "lm-studio",
    "local",
    "localhost",
    "nokey",
    "no-key",
    "none",
    "not-needed",
    "null",
    "ollama",
    "openai",
    "placeholder",
    "root",
    "secret",
    "sk-no-key-required",
    "test",
    "token",
    "true",
    "unused",
    "user",
    "vllm",
    "xxx",
];

/// Remembers a secret for the rest of the process.
pub(crate) fn remember(value: &str) {
    let value = value.trim();
    if value.chars().count() < 3
        || value.contains(MARK)
        || NO_SECRETS.iter().any(|word| value.eq_ignore_ascii_case(word))
    {
        return;
    }
    let mut known = KNOWN.write().unwrap_or_else(PoisonError::into_inner);
    for form in forms(value) {
        if known.iter().all(|known| known.text != form) {
            known.push(Known { is_distinctive: is_distinctive(&form), text: form });
        }
    }
    known.sort_by_key(|known| std::cmp::Reverse(known.text.len()));
}

/// The forms of a value: itself, without percent encoding, with it, in a JSON text, in HTML, and encoded as base64.
fn forms(value: &str) -> Vec<String> {
    let json = serde_json::Value::from(value).to_string();
    let html = value.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;");
    let numeric = value
        .replace('&', "&#38;")
        .replace('<', "&#60;")
        .replace('>', "&#62;")
        .replace('"', "&#34;")
        .replace('\'', "&#39;");
    let mut forms = vec![
        value.to_owned(),
        percent_decoded(value),
        percent_encoded(value),
        json.trim_matches('"').to_owned(),
        html,
        numeric,
        base64(value.as_bytes()),
    ];
    forms.dedup();
    forms
}

/// At least 6 characters of two kinds (letters, digits, others), or 12 that are not only digits.
fn is_distinctive(value: &str) -> bool {
    let has = |kind: fn(char) -> bool| usize::from(value.chars().any(kind));
    let letters = has(char::is_alphabetic);
    let kinds = letters + has(char::is_numeric) + has(|c| !c.is_alphanumeric());
    let length = value.chars().count();
    letters == 1 && (length >= 6 && kinds >= 2 || length >= 12)
}

/// The text with [`MARK`] in place of each secret that this process was given, as far as its value is long and mixed enough not to
/// occur by chance: at least 6 characters of two kinds, or 12.
#[must_use]
pub fn without_known(text: &str) -> Cow<'_, str> {
    let known = KNOWN.read().unwrap_or_else(PoisonError::into_inner);
    let mut out = Cow::Borrowed(text);
    for known in known.iter().filter(|known| known.is_distinctive) {
        if out.contains(&known.text) {
            out = Cow::Owned(out.replace(&known.text, MARK));
        }
    }
    out
}

/// The same for a text from outside: also values that are short, where they are whole words.
pub(crate) fn without_known_in_outside_text(text: &str) -> String {
    let mut out = without_known(text).into_owned();
    let known = KNOWN.read().unwrap_or_else(PoisonError::into_inner);
    for known in known.iter().filter(|known| !known.is_distinctive) {
        if out.contains(&known.text) {
            out = without_word(&out, &known.text);
        }
    }
    out
}

fn without_word(text: &str, word: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(word) {
        let (before, after) = (&rest[..at], &rest[at + word.len()..]);
        let joins = |c: char| c.is_alphanumeric() || c == '_';
        let is_inside =
            out.ends_with(joins) && before.is_empty() || before.ends_with(joins) || after.starts_with(joins);
        out.push_str(before);
        out.push_str(if is_inside { word } else { MARK });
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The registry belongs to the process: each test has values of its own.
    #[test]
    fn remembered_values_are_replaced_in_every_form() {
        remember("kn0wn\"&<one>");
        for text in [
            "x kn0wn\"&<one> y",
            r#"x kn0wn\"&<one> y"#,
            "x kn0wn%22%26%3Cone%3E y",
            "x kn0wn&quot;&amp;&lt;one&gt; y",
            "x kn0wn&#34;&#38;&#60;one&#62; y",
            "x a24wd24iJjxvbmU+ y",
        ] {
            let expected = "x *** y";
            assert_eq!(without_known(text), expected);
        }
        assert!(matches!(without_known("nothing"), Cow::Borrowed("nothing")));
    }

    #[test]
    fn short_values_and_words_are_replaced_only_in_texts_from_outside() {
        remember("qzx");
        assert_eq!(without_known("bad qzx"), "bad qzx");
        assert_eq!(
            without_known_in_outside_text("bad qzx, not qzxs or aqzx: `qzx`"),
            "bad ***, not qzxs or aqzx: `***`"
        );
    }

    #[test]
    fn words_in_place_of_a_key_are_not_remembered() {
        for word in ["EMPTY", "ollama", "none", "x", "***"] {
            remember(word);
            assert_eq!(without_known_in_outside_text(&format!("with {word} here")), format!("with {word} here"));
        }
    }
}
