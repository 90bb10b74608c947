//! BPE from a GGUF vocabulary, merged by the `tokenizers` crate: of bytes, or of plain text ([`PlainBpe`]).
//!
//! The crate panics on inconsistent vocabularies, so the merges are checked first, and remaining panics are caught. Its cache of
//! words is disabled: the cost of a request must not depend on earlier requests.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use tokenizers::Tokenizer;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;

use super::checked_calls::{checked, encode};
use super::pre_tokenizer::PreTokenizer;
use super::sentencepiece::SPACE;
use super::vocabulary::TokenizerData;
use crate::error::Error;

/// The tokenizer of one vocabulary, without special tokens.
pub(super) fn build(data: &TokenizerData, pre: &PreTokenizer) -> Result<Tokenizer, Error> {
    let vocabulary = vocabulary(data);
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

/// BPE of plain text with U+2581 for a space, as in Gemma 4. A text is merged line by line; line ends that are a token together are that
/// token, and characters without a token are encoded byte by byte.
///
/// Source: `llm_tokenizer_bpe_session` of llama.cpp's src/llama-vocab.cpp, for `gemma4`.
#[derive(Debug)]
pub(super) struct PlainBpe {
    bpe: Box<Tokenizer>,
    /// The token of so many line ends, from one on.
    line_ends: HashMap<usize, u32>,
}

impl PlainBpe {
    /// The tokenizer of one vocabulary, without special tokens.
    pub(super) fn new(data: &TokenizerData) -> Result<Self, Error> {
        let vocabulary = vocabulary(data);
        let is_of_line_ends = |token: &str| token.chars().all(|character| character == '\n');
        let line_ends = (0u32..).zip(&data.tokens).filter(|(_, token)| is_of_line_ends(token));
        let line_ends = line_ends.map(|(id, token)| (token.len(), id)).collect();
        let merges = merges(data, &vocabulary)?;
        let bpe = checked(&data.file, "building the BPE", || {
            let model =
                BPE::builder().vocab_and_merges(vocabulary, merges).byte_fallback(true).cache_capacity(0).build()?;
            Ok(Tokenizer::new(model))
        })?;
        Ok(Self { bpe: Box::new(bpe), line_ends })
    }

    /// Appends the ids of a text without special tokens.
    pub(super) fn encode(&self, file: &Path, text: &str, ids: &mut Vec<u32>) -> Result<(), Error> {
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let is_line_end = first == '\n';
            let end = rest.find(|character: char| (character == '\n') != is_line_end).unwrap_or(rest.len());
            let (run, behind) = rest.split_at(end);
            match self.line_ends.get(&run.len()).filter(|_| is_line_end) {
                Some(id) => ids.push(*id),
                None => ids.extend(encode(file, &self.bpe, &run.replace(' ', SPACE))?),
            }
            rest = behind;
        }
        Ok(())
    }
}

/// The ids of the tokens.
fn vocabulary(data: &TokenizerData) -> Vocab {
    let mut vocabulary = Vocab::default();
    vocabulary.reserve(data.tokens.len());
    for (id, token) in (0u32..).zip(&data.tokens) {
        vocabulary.insert(token.clone(), id);
    }
    vocabulary
}

/// The merges as pairs, each checked against the vocabulary. Repetitions are ignored, as in llama.cpp.
fn merges(data: &TokenizerData, vocabulary: &Vocab) -> Result<Vec<(String, String)>, Error> {
    if data.merges.is_empty() {
        let found = "none".to_owned();
        return Err(data.mismatch("tokenizer.ggml.merges", "the merges of a BPE".to_owned(), found));
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
