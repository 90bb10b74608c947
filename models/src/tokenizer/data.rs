//! A vocabulary as a GGUF header stores it, read and checked.
//!
//! Everything here comes from a file that nobody vouches for: types, lengths, duplicates and merges are checked before
//! a tokenizer is built from it.

use std::collections::HashSet;
use std::path::PathBuf;

use crate::checkpoint::gguf::{Metadata, Value};
use crate::{Error, Fault};

/// More tokens than any vocabulary has (2 Mi).
pub(super) const MAX_TOKENS: usize = 1 << 21;
/// Bytes of all token texts, or of all merges, together.
const MAX_TEXT: usize = 64 << 20;
/// Bytes of one token's text.
const MAX_TOKEN: usize = 64 << 10;

/// What a token is: `tokenizer.ggml.token_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// No type that is known.
    Undefined,
    /// A piece of text.
    Normal,
    /// Stands for what the vocabulary cannot say.
    Unknown,
    /// Marks structure; matched in a text only when special tokens are parsed, and not shown.
    Control,
    /// Added to the vocabulary by hand; matched in every text.
    UserDefined,
    /// A place kept free.
    Unused,
    /// One byte, written `<0xHH>`.
    Byte,
}

impl TokenKind {
    fn of(code: i32) -> Self {
        match code {
            1 => Self::Normal,
            2 => Self::Unknown,
            3 => Self::Control,
            4 => Self::UserDefined,
            5 => Self::Unused,
            6 => Self::Byte,
            _ => Self::Undefined,
        }
    }
}

/// The ids that a header names by key; each is `None` where the key is absent or out of range (as llama.cpp ignores it).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpecialIds {
    /// Beginning of a text.
    pub bos: Option<u32>,
    /// End of a text.
    pub eos: Option<u32>,
    /// End of a turn.
    pub eot: Option<u32>,
    /// End of a message.
    pub eom: Option<u32>,
    /// Fill in the middle: prefix, suffix, middle, padding, repository, file separator.
    pub fim: [Option<u32>; 6],
}

impl SpecialIds {
    fn from_gguf(metadata: &Metadata, tokens: usize) -> Result<Self, Error> {
        let id = |name: &str| -> Result<Option<u32>, Error> {
            let key = format!("tokenizer.ggml.{name}_token_id");
            if matches!(metadata.get(&key), Some(Value::I32(..0) | Value::I64(..0))) {
                return Ok(None);
            }
            let id = metadata.count(&key)?.filter(|id| *id < tokens);
            Ok(id.and_then(|id| u32::try_from(id).ok()))
        };
        let fim = [
            id("fim_pre")?.or(id("prefix")?),
            id("fim_suf")?.or(id("suffix")?),
            id("fim_mid")?.or(id("middle")?),
            id("fim_pad")?,
            id("fim_rep")?,
            id("fim_sep")?,
        ];
        Ok(Self { bos: id("bos")?, eos: id("eos")?, eot: id("eot")?, eom: id("eom")?, fim })
    }
}

/// A vocabulary with its rules, as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenizerData {
    /// The file, for errors.
    pub file: PathBuf,
    /// `tokenizer.ggml.model`: `gpt2` (byte-level BPE) or `llama` (SentencePiece).
    pub model: String,
    /// `tokenizer.ggml.pre`, the pre-tokenizer of a byte-level BPE.
    pub pre: Option<String>,
    /// The text of each token `[n]`; all differ, none is empty.
    pub tokens: Vec<String>,
    /// The score of each token `[n]`.
    pub scores: Vec<f32>,
    /// The kind of each token `[n]`.
    pub kinds: Vec<TokenKind>,
    /// Pairs that byte-level BPE merges, `"left right"`, the first one first.
    pub merges: Vec<String>,
    /// Ids that keys name.
    pub ids: SpecialIds,
    /// `tokenizer.ggml.add_bos_token`.
    pub add_bos: Option<bool>,
    /// `tokenizer.ggml.add_space_prefix`.
    pub add_space_prefix: Option<bool>,
}

impl TokenizerData {
    /// Reads the `tokenizer.ggml.*` keys of a header.
    ///
    /// # Errors
    /// When a key is missing or has the wrong type, an array the wrong length, a token is there twice, or sizes pass
    /// all reason.
    pub fn from_gguf(metadata: &Metadata) -> Result<Self, Error> {
        const TOKENS: &str = "tokenizer.ggml.tokens";
        const MODEL: &str = "tokenizer.ggml.model";
        let tokens = metadata.required(TOKENS, metadata.texts(TOKENS)?)?;
        let model = metadata.required(MODEL, metadata.text(MODEL)?)?;
        let n = tokens.len();
        let kinds = match metadata.integers("tokenizer.ggml.token_type")? {
            Some(codes) => codes.into_iter().map(TokenKind::of).collect(),
            None => vec![TokenKind::Normal; n],
        };
        let scores = match metadata.numbers("tokenizer.ggml.scores")? {
            Some(scores) => scores.to_vec(),
            None => vec![0.0; n],
        };
        let merges = metadata.texts("tokenizer.ggml.merges")?;
        let data = Self {
            file: metadata.file().to_path_buf(),
            model: model.to_owned(),
            pre: metadata.text("tokenizer.ggml.pre")?.map(str::to_owned),
            tokens: tokens.iter().map(str::to_owned).collect(),
            scores,
            kinds,
            merges: merges.map_or_else(Vec::new, |merges| merges.iter().map(str::to_owned).collect()),
            ids: SpecialIds::from_gguf(metadata, n)?,
            add_bos: metadata.flag("tokenizer.ggml.add_bos_token")?,
            add_space_prefix: metadata.flag("tokenizer.ggml.add_space_prefix")?,
        };
        data.checked()
    }

    /// The same vocabulary with empty texts filled as llama.cpp fills them, when it is sound.
    ///
    /// # Errors
    /// When lengths differ, a token is there twice, a score is no number, or sizes pass all reason.
    pub(super) fn checked(mut self) -> Result<Self, Error> {
        let n = self.tokens.len();
        if n == 0 || n > MAX_TOKENS {
            return Err(self.fault("tokenizer.ggml.tokens", format!("1 to {MAX_TOKENS} tokens"), format!("{n}")));
        }
        if self.scores.len() != n || self.kinds.len() != n {
            let found = format!("{} scores and {} types", self.scores.len(), self.kinds.len());
            return Err(self.fault("tokenizer.ggml.scores", format!("{n} scores and {n} types"), found));
        }
        for (key, texts) in [("tokenizer.ggml.tokens", &self.tokens), ("tokenizer.ggml.merges", &self.merges)] {
            let bytes: usize = texts.iter().map(String::len).sum();
            if bytes > MAX_TEXT {
                return Err(self.fault(key, format!("at most {MAX_TEXT} bytes of text"), format!("{bytes}")));
            }
        }
        for (id, token) in self.tokens.iter_mut().enumerate() {
            if token.is_empty() {
                *token = format!("[EMPTY_{id}]");
            }
        }
        let mut seen = HashSet::with_capacity(n);
        for (id, token) in self.tokens.iter().enumerate() {
            if token.len() > MAX_TOKEN {
                let place = format!("tokenizer.ggml.tokens[{id}]");
                return Err(self.fault(&place, format!("at most {MAX_TOKEN} bytes"), format!("{}", token.len())));
            }
            if !seen.insert(token.as_str()) {
                let place = format!("tokenizer.ggml.tokens[{id}]");
                return Err(self.fault(
                    &place,
                    "a text that no other token has".into(),
                    format!("{token:?} once more"),
                ));
            }
        }
        if let Some(id) = self.scores.iter().position(|score| score.is_nan()) {
            return Err(self.fault(&format!("tokenizer.ggml.scores[{id}]"), "a number".into(), "NaN".into()));
        }
        Ok(self)
    }

    /// An error about this vocabulary.
    pub(super) fn fault(&self, place: &str, expected: String, found: String) -> Error {
        let advice = "the file is damaged; convert or download it again";
        Error::Tokenizer(Fault::at(&self.file, place, expected, found, advice))
    }
}
