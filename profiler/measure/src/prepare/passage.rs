//! The fixed text in which every engine is examined.

use record::Error;

use super::tokens::OrdinaryTokens;
use super::vocabulary::Vocabulary;

/// Plain prose of about sixty tokens, the same in every run: token probabilities in it can be compared across runs, and do not depend
/// on the engines' answers. It is not a prompt: nothing is generated from it, and it is not rendered through a chat template. New runs
/// cannot be compared with old ones after a change of this text.
pub const PASSAGE: &str = "The ferry left the harbour a little after six, when the lamps on the pier were still burning. \
    Most of the passengers slept. A boy counted the gulls behind the stern until there were too many of them. \
    By noon the island had risen out of the haze, green and smaller than he remembered.";

/// The most tokens of it: a vocabulary of bytes would make more tokens without more information.
const LONGEST: usize = 64;

/// The token ids of the passage, with BOS if the model expects one; at most as many as the context and [`LONGEST`]. A vocabulary without
/// texts has ids in place of the passage, the same in every run.
pub(super) fn ids(vocabulary: &Vocabulary, ordinary: &OrdinaryTokens, context: usize) -> Result<Vec<u32>, Error> {
    let most = context.min(LONGEST);
    if !vocabulary.has_texts() {
        return Ok(ordinary.draw(most, 0, "passage"));
    }
    let mut ids = vocabulary.encode(PASSAGE, false)?.ids;
    ids.truncate(most);
    Ok(ids)
}
