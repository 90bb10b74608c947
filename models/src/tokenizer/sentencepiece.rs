//! SentencePiece BPE as in llama.cpp: neighbours are merged while their concatenation is a token, in order of descending score, from
//! left to right for equal scores. Characters that are no tokens are encoded byte by byte.
//!
//! The `tokenizers` crate does not implement this algorithm (its BPE needs ranked merges, its Unigram maximises a sum). Source: `llm_tokenizer_spm_session` in llama.cpp's src/llama-vocab.cpp.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap};

use super::vocabulary::TokenizerData;
use crate::error::Error;

/// SentencePiece's character for a space: U+2581.
pub(super) const SPACE: &str = "\u{2581}";

/// A vocabulary with its scores.
#[derive(Debug)]
pub(super) struct SentencePiece {
    ids: HashMap<Box<str>, u32>,
    /// Score of each token `[n]`.
    scores: Vec<f32>,
    /// The token of each byte, if there is one.
    bytes: Box<[Option<u32>; 256]>,
    /// The length of the longest token in bytes.
    longest: usize,
}

/// A part of the text in a doubly linked list. Its length is 0 after it was merged into its left neighbour.
struct Symbol {
    start: usize,
    length: usize,
    previous: Option<usize>,
    next: Option<usize>,
}

/// Two neighbours whose concatenation is a token.
struct Pair {
    score: f32,
    left: usize,
    right: usize,
    /// The length of both in bytes when the pair was found; the pair is outdated if the sum has changed.
    length: usize,
}

impl SentencePiece {
    pub(super) fn new(data: &TokenizerData) -> Self {
        let mut ids = HashMap::with_capacity(data.tokens.len());
        for (id, token) in (0u32..).zip(&data.tokens) {
            ids.insert(token.as_str().into(), id);
        }
        let mut bytes = Box::new([None; 256]);
        for (byte, id) in (0u8..=255).zip(bytes.iter_mut()) {
            // Without a token `<0xHH>`, the token of the ASCII character is used.
            let own = byte.is_ascii().then(|| char::from(byte).to_string());
            *id = ids.get(format!("<0x{byte:02X}>").as_str()).or_else(|| ids.get(own?.as_str())).copied();
        }
        let longest = data.tokens.iter().map(String::len).max().unwrap_or(0);
        // Adding 0.0 turns -0.0 into 0.0, which is the same score.
        let scores = data.scores.iter().map(|score| score + 0.0).collect();
        Self { ids, scores, bytes, longest }
    }

    /// Appends the ids of a text without special tokens. Spaces are replaced by U+2581.
    pub(super) fn encode(&self, source: &super::Source, text: &str, out: &mut Vec<u32>) -> Result<(), Error> {
        let text = text.replace(' ', SPACE);
        let mut symbols: Vec<Symbol> = text
            .char_indices()
            .enumerate()
            .map(|(index, (start, character))| Symbol {
                start,
                length: character.len_utf8(),
                previous: index.checked_sub(1),
                next: Some(index + 1),
            })
            .collect();
        if let Some(last) = symbols.last_mut() {
            last.next = None;
        }
        let mut queue = BinaryHeap::new();
        for right in 1..symbols.len() {
            queue.extend(self.pair(&text, &symbols, Some(right - 1), Some(right)));
        }
        while let Some(Pair { left, right, length, .. }) = queue.pop() {
            let (one, other) = (symbols[left].length, symbols[right].length);
            if one == 0 || other == 0 || one + other != length {
                continue;
            }
            let next = symbols[right].next;
            symbols[right].length = 0;
            symbols[left].length = length;
            symbols[left].next = next;
            if let Some(next) = next {
                symbols[next].previous = Some(left);
            }
            queue.extend(self.pair(&text, &symbols, symbols[left].previous, Some(left)));
            queue.extend(self.pair(&text, &symbols, Some(left), next));
        }
        let mut at = (!symbols.is_empty()).then_some(0);
        while let Some(index) = at {
            let symbol = &symbols[index];
            let piece = &text[symbol.start..symbol.start + symbol.length];
            match self.ids.get(piece) {
                Some(id) => out.push(*id),
                // A single character: merges produce only tokens.
                None => {
                    for byte in piece.bytes() {
                        out.push(self.bytes[usize::from(byte)].ok_or_else(|| source.no_byte_token(byte))?);
                    }
                }
            }
            at = symbol.next;
        }
        Ok(())
    }

    /// The pair of two neighbours, if their concatenation is a token.
    fn pair(&self, text: &str, symbols: &[Symbol], left: Option<usize>, right: Option<usize>) -> Option<Pair> {
        let (left, right) = (left?, right?);
        let length = symbols[left].length + symbols[right].length;
        if length > self.longest {
            return None;
        }
        let start = symbols[left].start;
        let id = *self.ids.get(&text[start..start + length])?;
        Some(Pair { score: self.scores[id as usize], left, right, length })
    }
}

impl Ord for Pair {
    /// The greatest pair is merged first: the highest score, then the leftmost.
    fn cmp(&self, other: &Self) -> Ordering {
        self.score.total_cmp(&other.score).then_with(|| other.left.cmp(&self.left))
    }
}

impl PartialOrd for Pair {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Pair {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Pair {}
