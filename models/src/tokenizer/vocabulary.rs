//! The vocabulary in a GGUF header: reading and checking it.
//!
//! The file is not trusted: types, lengths, duplicates and merges are checked before a tokenizer is built from them.

use std::collections::HashSet;
use std::path::PathBuf;

use crate::container::gguf::{Metadata, Value};
use crate::error::{Cause, Error, Mismatch};

/// The limit of tokens; more than any vocabulary has.
pub(super) const MAX_TOKENS: usize = 1 << 21;
/// The limit in bytes of all token texts, and of all merges.
const MAX_TEXT: usize = 64 << 20;
/// The limit in bytes of one token's text.
const MAX_TOKEN: usize = 64 << 10;

/// The type of a token: `tokenizer.ggml.token_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// An unknown type.
    Undefined,
    /// A piece of text.
    Normal,
    /// Stands for text that the vocabulary cannot represent.
    Unknown,
    /// Marks structure; recognised in a text only if special tokens are parsed, and not shown.
    Control,
    /// Added by the user; recognised in every text.
    UserDefined,
    /// Reserved.
    Unused,
    /// One byte, written `<0xHH>`.
    Byte,
}

impl TokenKind {
    fn from_code(code: i32) -> Self {
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

/// The ids of special tokens in a header; `None` if the key is absent or out of range (llama.cpp ignores it then).
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
            if matches!(metadata.get(&key)?, Some(Value::I32(..0) | Value::I64(..0))) {
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

/// A vocabulary and its settings, as stored in a header.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenizerData {
    /// The file, for errors.
    pub file: PathBuf,
    /// `tokenizer.ggml.model`: `gpt2` (byte-level BPE), `gemma4` (BPE of plain text) or `llama` (SentencePiece).
    pub model: String,
    /// `tokenizer.ggml.pre`, the pre-tokenizer of a byte-level BPE.
    pub pre: Option<String>,
    /// The text of each token `[n]`; all are different and not empty.
    pub tokens: Vec<String>,
    /// The score of each token `[n]`.
    pub scores: Vec<f32>,
    /// The kind of each token `[n]`.
    pub kinds: Vec<TokenKind>,
    /// The merges of byte-level BPE, `"left right"`, in order of priority.
    pub merges: Vec<String>,
    /// The ids of special tokens.
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
    /// If a key is missing or has the wrong type, an array has the wrong length, a token is repeated, or a limit is exceeded.
    pub fn from_gguf(metadata: &Metadata) -> Result<Self, Error> {
        const TOKENS: &str = "tokenizer.ggml.tokens";
        const MODEL: &str = "tokenizer.ggml.model";
        const MERGES: &str = "tokenizer.ggml.merges";
        let tokens = metadata.required(TOKENS, metadata.texts(TOKENS)?)?;
        let model = metadata.required(MODEL, metadata.text(MODEL)?)?;
        let n = tokens.len();
        let mut kinds: Vec<TokenKind> = match metadata.integers("tokenizer.ggml.token_type")? {
            Some(codes) => codes.into_iter().map(TokenKind::from_code).collect(),
            None => vec![TokenKind::Normal; n],
        };
        let scores = match metadata.numbers("tokenizer.ggml.scores")? {
            Some(scores) => scores.to_vec(),
            None => vec![0.0; n],
        };
        let merges = metadata.texts(MERGES)?;
        if let Some(index) = merges.and_then(|merges| merges.invalid().first()) {
            return Err(metadata.mismatch(MERGES, "texts in UTF-8", format!("other bytes in element {index}")));
        }
        let mut texts: Vec<String> = tokens.iter().map(str::to_owned).collect();
        // No text leads to such a token. Where a model answers with one, it stands for nothing, like other unused tokens.
        for &id in tokens.invalid() {
            if let (Some(text), Some(kind)) = (texts.get_mut(id as usize), kinds.get_mut(id as usize)) {
                (*text, *kind) = (format!("[INVALID_{id}]"), TokenKind::Unused);
            }
        }
        let data = Self {
            file: metadata.file().to_path_buf(),
            model: model.to_owned(),
            pre: metadata.text("tokenizer.ggml.pre")?.map(str::to_owned),
            tokens: texts,
            scores,
            kinds,
            merges: merges.map_or_else(Vec::new, |merges| merges.iter().map(str::to_owned).collect()),
            ids: SpecialIds::from_gguf(metadata, n)?,
            add_bos: metadata.flag("tokenizer.ggml.add_bos_token")?,
            add_space_prefix: metadata.flag("tokenizer.ggml.add_space_prefix")?,
        };
        data.checked()
    }

    /// Checks the vocabulary, and replaces empty texts as llama.cpp does.
    ///
    /// # Errors
    /// If lengths differ, a token is repeated, a score is not a number, or a limit is exceeded.
    pub(super) fn checked(mut self) -> Result<Self, Error> {
        let n = self.tokens.len();
        if n == 0 || n > MAX_TOKENS {
            return Err(self.mismatch("tokenizer.ggml.tokens", format!("1 to {MAX_TOKENS} tokens"), format!("{n}")));
        }
        if self.scores.len() != n || self.kinds.len() != n {
            let found = format!("{} scores and {} types", self.scores.len(), self.kinds.len());
            return Err(self.mismatch("tokenizer.ggml.scores", format!("{n} scores and {n} types"), found));
        }
        for (key, texts) in [("tokenizer.ggml.tokens", &self.tokens), ("tokenizer.ggml.merges", &self.merges)] {
            let bytes: usize = texts.iter().map(String::len).sum();
            if bytes > MAX_TEXT {
                return Err(self.mismatch(key, format!("at most {MAX_TEXT} bytes of text"), format!("{bytes}")));
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
                return Err(self.mismatch(&place, format!("at most {MAX_TOKEN} bytes"), format!("{}", token.len())));
            }
            if !seen.insert(token.as_str()) {
                let place = format!("tokenizer.ggml.tokens[{id}]");
                return Err(self.mismatch(&place, "a text that no other token has".into(), format!("{token:?} again")));
            }
        }
        if let Some(id) = self.scores.iter().position(|score| score.is_nan()) {
            return Err(self.mismatch(&format!("tokenizer.ggml.scores[{id}]"), "a number".into(), "NaN".into()));
        }
        Ok(self)
    }

    /// The error of an invalid value in this vocabulary.
    pub(super) fn mismatch(&self, place: &str, expected: String, found: String) -> Error {
        Error::Tokenizer(Mismatch::at(&self.file, place, expected, found, Cause::WrittenWrongly))
    }
}
