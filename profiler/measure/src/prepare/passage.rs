//! The text in which every engine is examined.

use models::{EncodeOptions, Tokenizer};

use record::Error;

/// Plain prose of about sixty tokens, the same in every run: what engines hold likely in it can be compared across runs, and
/// does not depend on what they answer. It is no prompt: nothing is generated from it and it goes through no chat template. To
/// change a letter of it makes new runs incomparable with old ones.
pub const PASSAGE: &str = "The ferry left the harbour a little after six, when the lamps on the pier were still burning. \
    Most of the passengers slept. A boy counted the gulls behind the stern until there were too many of them. \
    By noon the island had risen out of the haze, green and smaller than he remembered.";

/// Tokens of it at most: a vocabulary of bytes makes many of it, which say no more.
const LONGEST: usize = 64;

/// The passage as a model reads it, with BOS in front where the model wants one; no longer than the context and [`LONGEST`].
pub(super) fn ids(tokenizer: &Tokenizer, context: usize) -> Result<Vec<u32>, Error> {
    let add_bos = tokenizer.wants_bos(PASSAGE);
    let mut ids = tokenizer.encode(PASSAGE, EncodeOptions { add_bos, parse_special: false })?;
    ids.truncate(context.min(LONGEST));
    Ok(ids)
}
