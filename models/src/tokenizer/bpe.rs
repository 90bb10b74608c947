//! Byte-level BPE from a GGUF vocabulary, merged by the `tokenizers` crate.
//!
//! The crate panics on inconsistent vocabularies, so the merges are checked first, and remaining panics are caught. Its cache of
//! words is disabled: the cost of a request must not depend on earlier requests.

use std::collections::HashSet;

use tokenizers::Tokenizer;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;

use super::checked_calls::checked;
use super::pre_tokenizer::PreTokenizer;
use super::vocabulary::TokenizerData;
use crate::error::Error;

/// The tokenizer of one vocabulary, without special tokens.
pub(super) fn build(data: &TokenizerData, pre: &PreTokenizer) -> Result<Tokenizer, Error> {
    let mut vocabulary = Vocab::default();
    vocabulary.reserve(data.tokens.len());
    for (id, token) in (0u32..).zip(&data.tokens) {
        vocabulary.insert(token.clone(), id);
    }
    let merges = merges(data, &vocabulary)?;
    checked(&data.file, "building the byte-level BPE", || {
        let model = BPE::builder()
            .vocab_and_merges(vocabulary, merges)
            .ignore_merges(pre.ignore_merges)
            .cache_capacity(0)
            .build()?;
        let mut steps: Vec<PreTokenizerWrapper> =
            pre.steps().map(|step| step.map(Into::into)).collect::<Result<_, _>>()?;
        steps.push(ByteLevel::new(false, false, false).into());
        let mut tokenizer = Tokenizer::new(model);
        tokenizer.with_pre_tokenizer(Some(Sequence::new(steps)));
        Ok(tokenizer)
    })
}

/// The merges as pairs, each checked against the vocabulary. Repetitions are ignored, as in llama.cpp.
fn merges(data: &TokenizerData, vocabulary: &Vocab) -> Result<Vec<(String, String)>, Error> {
    if data.merges.is_empty() {
        let found = "none".to_owned();
        return Err(data.mismatch("tokenizer.ggml.merges", "the merges of a byte-level BPE".to_owned(), found));
    }
    let mut seen = HashSet::with_capacity(data.merges.len());
    let mut pairs = Vec::with_capacity(data.merges.len());
    for (rank, merge) in data.merges.iter().enumerate() {
        let mismatch = |expected: &str, found: String| {
            data.mismatch(&format!("tokenizer.ggml.merges[{rank}]"), expected.to_owned(), found)
        };
        // A token may begin with a space, so the search for the separator starts after the first character.
        let first = merge.chars().next().map_or(0, char::len_utf8);
        let split = merge[first..].find(' ').map(|at| merge.split_at(at + first));
        let Some((left, right)) = split.map(|(left, right)| (left, &right[1..])) else {
            return Err(mismatch("two tokens with a space between", format!("{merge:?}")));
        };
        let whole = format!("{left}{right}");
        if let Some(missing) = [left, right, &whole].into_iter().find(|token| !vocabulary.contains_key(*token)) {
            return Err(mismatch("tokens of the vocabulary", format!("{missing:?}, which is not a token")));
        }
        if seen.insert((left, right)) {
            pairs.push((left.to_owned(), right.to_owned()));
        }
    }
    Ok(pairs)
}
