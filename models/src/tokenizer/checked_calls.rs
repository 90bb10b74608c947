//! Calls of the `tokenizers` crate: its errors get a file and a place, its panics become errors, and texts on which its regex engine
//! would silently stop are refused.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use crate::error::{Error, Mismatch};

/// The limit of consecutive white space. The regex engine keeps a state per character and stops at a million; the crate then leaves
/// the rest of the text unsplit.
const MAX_WHITESPACE_RUN: usize = 500_000;

/// Runs a call of the crate and converts errors and panics.
pub(super) fn checked<T>(
    file: &Path,
    place: &str,
    call: impl FnOnce() -> Result<T, tokenizers::Error>,
) -> Result<T, Error> {
    let mismatch = |found: String| {
        let advice = "the vocabulary is inconsistent: take another conversion of the model";
        Error::Tokenizer(Mismatch::at(file, place, "a tokenizer that works", found, advice))
    };
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => result.map_err(|error| mismatch(format!("an error: {error}"))),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
            Err(mismatch(format!("a panic: {text}")))
        }
    }
}

/// The ids of a text, without special tokens around it.
pub(super) fn encode(file: &Path, tokenizer: &tokenizers::Tokenizer, text: &str) -> Result<Vec<u32>, Error> {
    let run = longest_whitespace_run(text);
    if run > MAX_WHITESPACE_RUN {
        let expected = format!("at most {MAX_WHITESPACE_RUN} characters of white space in a row");
        let mismatch = Mismatch::at(file, "the text to encode", expected, format!("{run}"), "shorten the run");
        return Err(Error::Tokenizer(mismatch));
    }
    checked(file, "encoding a text", || Ok(tokenizer.encode_fast(text, false)?.get_ids().to_vec()))
}

fn longest_whitespace_run(text: &str) -> usize {
    let (mut longest, mut run) = (0, 0);
    for character in text.chars() {
        run = if character.is_whitespace() { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    longest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error_with_its_message() {
        let error = checked::<()>("m.gguf".as_ref(), "here", || panic!("no entry {}", 7)).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("m.gguf: here") && text.contains("no entry 7"), "{text}");
    }

    #[test]
    fn white_space_is_counted_in_characters() {
        assert_eq!(longest_whitespace_run("a \u{3000}\n b  c"), 4);
        assert_eq!(longest_whitespace_run(""), 0);
    }
}
