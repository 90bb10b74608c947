//! The border to the `tokenizers` crate: its errors get a place, its panics become errors, and it gets no text on
//! which its regex engine would give up half-way without a word.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use crate::{Error, Fault};

/// White space in one run that the regex engine still handles: it keeps a state per character and stops at a million,
/// and the crate then leaves the rest of the text unsplit.
const MAX_WHITESPACE_RUN: usize = 500_000;

/// Runs a call into the crate.
pub(super) fn guarded<T>(
    file: &Path,
    place: &str,
    call: impl FnOnce() -> Result<T, tokenizers::Error>,
) -> Result<T, Error> {
    let fault = |found: String| {
        let advice = "the vocabulary contradicts itself; convert or download the model again";
        Error::Tokenizer(Fault::at(file, place, "a tokenizer that works", found, advice))
    };
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => result.map_err(|error| fault(format!("an error: {error}"))),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
            Err(fault(format!("a panic: {text}")))
        }
    }
}

/// The ids of a text, without any that are added around it.
pub(super) fn encode(file: &Path, tokenizer: &tokenizers::Tokenizer, text: &str) -> Result<Vec<u32>, Error> {
    let run = longest_whitespace_run(text);
    if run > MAX_WHITESPACE_RUN {
        let expected = format!("at most {MAX_WHITESPACE_RUN} characters of white space in a row");
        let fault = Fault::at(file, "the text to encode", expected, format!("{run}"), "shorten the run");
        return Err(Error::Tokenizer(fault));
    }
    guarded(file, "encoding a text", || Ok(tokenizer.encode_fast(text, false)?.get_ids().to_vec()))
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
        let error = guarded::<()>("m.gguf".as_ref(), "here", || panic!("no entry {}", 7)).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("m.gguf: here") && text.contains("no entry 7"), "{text}");
    }

    #[test]
    fn runs_of_white_space_are_counted_in_characters() {
        assert_eq!(longest_whitespace_run("a \u{3000}\n b  c"), 4);
        assert_eq!(longest_whitespace_run(""), 0);
    }
}
