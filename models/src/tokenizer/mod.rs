//! Text to token ids and back.
//!
//! A [`Tokenizer`] is built from the metadata of a GGUF file ([`TokenizerData`]) or from a `tokenizer.json`. From GGUF metadata it
//! produces the ids that llama.cpp produces: special tokens are found first ([`special_tokens`]), then the text between them is encoded
//! by BPE ([`bpe`], with the `tokenizers` crate) or by SentencePiece's algorithm ([`sentencepiece`]). The `tokenizers`
//! crate alone interprets a `tokenizer.json` ([`hugging_face`]). Decoding is the same for both ([`token_bytes`]).
//!
//! A tokenizer adds no tokens by itself: the caller decides about BOS for each text, and EOS is never added.

mod bpe;
mod checked_calls;
mod family;
mod hugging_face;
mod pre_tokenizer;
mod sentencepiece;
mod special_tokens;
mod token_bytes;
mod vocabulary;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::checkpoint::Checkpoint;
use crate::error::{Error, Mismatch};
use crate::substitution::Substitution;

pub use self::family::TokenizerFamily;
pub use self::vocabulary::{SpecialIds, TokenKind, TokenizerData};

use self::bpe::PlainBpe;
use self::hugging_face::HuggingFace;
use self::sentencepiece::SentencePiece;
use self::special_tokens::{Fragment, SpecialTokens, end_of_generation};
use self::token_bytes::{TextEncoding, TokenBytes, Utf8Decoder};

/// Options of encoding a text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EncodeOptions {
    /// Add BOS, even if the text begins with it; see [`Tokenizer::wants_bos`].
    pub add_bos: bool,
    /// Recognise special tokens in the text instead of encoding their characters.
    pub parse_special: bool,
}

/// A vocabulary and its algorithm. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Tokenizer(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// The file, for errors.
    source: Source,
    algorithm: Algorithm,
    bytes: TokenBytes,
    /// The text of each token in the vocabulary `[n]`.
    texts: Vec<Box<str>>,
    bos: Option<u32>,
    eos: Option<u32>,
    /// The tokens that end a generation, sorted.
    ends: Vec<u32>,
    add_bos: bool,
    /// Whether encoding adds a space before a text, and decoding removes it.
    space_prefix: bool,
}

/// How text is encoded.
#[derive(Debug)]
enum Algorithm {
    ByteLevelBpe { bpe: Box<tokenizers::Tokenizer>, special: SpecialTokens },
    PlainBpe { bpe: PlainBpe, special: SpecialTokens },
    SentencePiece { model: SentencePiece, special: SpecialTokens },
    HuggingFace(Box<HuggingFace>),
}

/// The file that contains the vocabulary.
#[derive(Debug)]
struct Source(PathBuf);

impl Source {
    fn mismatch(&self, place: &str, expected: impl Into<String>, found: impl Into<String>, advice: &str) -> Error {
        Error::Tokenizer(Mismatch::at(&self.0, place, expected, found, advice))
    }

    fn no_byte_token(&self, byte: u8) -> Error {
        let found = format!("none for byte 0x{byte:02X}");
        self.mismatch(
            "tokenizer.ggml.tokens",
            "a byte token for characters without a token",
            found,
            "take another conversion of the model",
        )
    }
}

impl Checkpoint {
    /// The tokenizer that belongs to the weights.
    ///
    /// # Errors
    /// If there is none, or it is damaged or not supported.
    pub fn tokenizer(&self) -> Result<Tokenizer, Error> {
        match (self.metadata(), self.folder()) {
            (Some(metadata), _) => Tokenizer::new(TokenizerData::from_gguf(metadata)?),
            (None, folder) => Tokenizer::from_folder(folder.unwrap_or(self.path())),
        }
    }

    /// What the tokenizer of a GGUF file has in place of keys that the file lacks; the values are those of llama.cpp. A folder's
    /// tokenizer.json is complete.
    #[must_use]
    pub fn tokenizer_substitutions(&self) -> Vec<Substitution> {
        let Some(metadata) = self.metadata() else { return Vec::new() };
        let model = metadata.text("tokenizer.ggml.model").ok().flatten();
        let all = [
            ("gpt2", "pre", "pre-tokenizer", "`default`, which splits texts otherwise than most models do"),
            ("llama", "bos_token_id", "beginning-of-sequence token", "the token 1"),
            ("llama", "eos_token_id", "end-of-sequence token", "the token 2"),
            ("llama", "scores", "token scores", "0 for each token, so that the order of merges is that of the text"),
            ("", "token_type", "token types", "ordinary text for each token, so that no special token is recognised"),
        ];
        let missing = |key: &str| !metadata.contains(&format!("tokenizer.ggml.{key}"));
        all.into_iter()
            .filter(|(of, key, ..)| (of.is_empty() || model == Some(of)) && missing(key))
            .map(|(_, key, what, used)| Substitution::new(format!("{what} (tokenizer.ggml.{key})"), used))
            .collect()
    }
}

impl Tokenizer {
    /// A tokenizer from a GGUF file's vocabulary.
    ///
    /// # Errors
    /// If the vocabulary is damaged, or its model or pre-tokenizer is not supported.
    pub fn new(data: TokenizerData) -> Result<Self, Error> {
        let mut data = data.checked()?;
        let mut ids = data.ids.clone();
        let (algorithm, encoding, add_bos, space_prefix);
        let ends;
        match data.model.as_str() {
            "gpt2" => {
                let pre = pre_tokenizer::find(&data.file, data.pre.as_deref())?;
                ends = end_of_generation(&data.tokens, &mut data.kinds, &ids);
                let bpe = Box::new(bpe::build(&data, pre)?);
                algorithm = Algorithm::ByteLevelBpe { bpe, special: SpecialTokens::new(&data.tokens, &data.kinds) };
                (encoding, add_bos, space_prefix) = (TextEncoding::ByteLevel, pre.add_bos, false);
            }
            "gemma4" => {
                ends = end_of_generation(&data.tokens, &mut data.kinds, &ids);
                let special = SpecialTokens::new(&data.tokens, &data.kinds);
                algorithm = Algorithm::PlainBpe { bpe: PlainBpe::new(&data)?, special };
                // As llama.cpp: without BOS the model does not work, whatever the file says.
                data.add_bos = Some(true);
                data.add_space_prefix = Some(false);
                (encoding, add_bos, space_prefix) = (TextEncoding::SentencePiece, true, false);
            }
            "llama" => {
                // SentencePiece's default ids, if the file has no keys for them.
                ids.bos = ids.bos.or(Some(1).filter(|_| data.tokens.len() > 1));
                ids.eos = ids.eos.or(Some(2).filter(|_| data.tokens.len() > 2));
                ends = end_of_generation(&data.tokens, &mut data.kinds, &ids);
                let special = SpecialTokens::new(&data.tokens, &data.kinds);
                algorithm = Algorithm::SentencePiece { model: SentencePiece::new(&data), special };
                (encoding, add_bos, space_prefix) = (TextEncoding::SentencePiece, true, true);
            }
            other => {
                let source = Source(data.file.clone());
                let advice = "take a model with one of these, or its Hugging Face folder with a tokenizer.json";
                let expected = "`gpt2` (byte-level BPE), `gemma4` (BPE) or `llama` (SentencePiece)";
                return Err(source.mismatch("tokenizer.ggml.model", expected, format!("`{other}`"), advice));
            }
        }
        let tokens = data.tokens.iter().zip(&data.kinds).map(|(text, kind)| Some((text.as_str(), *kind)));
        Ok(Self(Arc::new(Inner {
            bytes: TokenBytes::new(tokens, encoding),
            texts: data.tokens.iter().map(|text| text.as_str().into()).collect(),
            algorithm,
            bos: ids.bos,
            eos: ids.eos,
            ends,
            add_bos: data.add_bos.unwrap_or(add_bos) && ids.bos.is_some(),
            space_prefix: data.add_space_prefix.unwrap_or(space_prefix) && encoding == TextEncoding::SentencePiece,
            source: Source(data.file),
        })))
    }

    /// The tokenizer of a folder in the Hugging Face layout: `tokenizer.json`, and the files that name its BOS and EOS tokens
    /// (`tokenizer_config.json`, `generation_config.json`, `config.json`).
    ///
    /// # Errors
    /// If there is no `tokenizer.json`, or one of the files is damaged.
    pub fn from_folder(folder: &Path) -> Result<Self, Error> {
        hugging_face::open(folder)
    }

    /// The ids of a text.
    ///
    /// # Errors
    /// If BOS is requested and there is none, or the vocabulary cannot represent the text.
    pub fn encode(&self, text: &str, options: EncodeOptions) -> Result<Vec<u32>, Error> {
        let mut ids = Vec::with_capacity(text.len() / 3 + 2);
        if options.add_bos {
            ids.push(self.0.bos.ok_or_else(|| {
                self.0.source.mismatch("BOS", "a vocabulary with a BOS token", "none", "encode without BOS")
            })?);
        }
        match &self.0.algorithm {
            Algorithm::ByteLevelBpe { bpe, special } => {
                for fragment in special.partition(text, options.parse_special) {
                    match fragment {
                        Fragment::Token(id) => ids.push(id),
                        Fragment::Text(text) => ids.extend(checked_calls::encode(&self.0.source.0, bpe, text)?),
                    }
                }
            }
            Algorithm::PlainBpe { bpe, special } => {
                for fragment in special.partition(text, options.parse_special) {
                    match fragment {
                        Fragment::Token(id) => ids.push(id),
                        Fragment::Text(text) => bpe.encode(&self.0.source.0, text, &mut ids)?,
                    }
                }
            }
            Algorithm::SentencePiece { model, special } => {
                // A text at the start or after a special token begins with a space.
                let mut at_start = true;
                for fragment in special.partition(text, options.parse_special) {
                    match fragment {
                        Fragment::Token(id) => ids.push(id),
                        Fragment::Text(text) => {
                            let prefix = if self.0.space_prefix && at_start { " " } else { "" };
                            model.encode(&self.0.source, &format!("{prefix}{text}"), &mut ids)?;
                        }
                    }
                    at_start = matches!(fragment, Fragment::Token(_));
                }
            }
            Algorithm::HuggingFace(tokenizer) => {
                ids.extend(tokenizer.encode(&self.0.source.0, text, options.parse_special)?);
            }
        }
        Ok(ids)
    }

    /// The text of ids without control tokens. Invalid UTF-8 becomes U+FFFD.
    ///
    /// # Errors
    /// If an id is outside the vocabulary.
    pub fn decode(&self, ids: &[u32]) -> Result<String, Error> {
        self.decode_all(ids, false)
    }

    /// The text of ids including control tokens.
    ///
    /// # Errors
    /// If an id is outside the vocabulary.
    pub fn decode_with_special(&self, ids: &[u32]) -> Result<String, Error> {
        self.decode_all(ids, true)
    }

    fn decode_all(&self, ids: &[u32], special: bool) -> Result<String, Error> {
        let (mut text, mut utf8) = (String::new(), Utf8Decoder::default());
        for (index, id) in ids.iter().enumerate() {
            utf8.push(self.token_bytes(*id, index == 0, special)?, &mut text);
        }
        utf8.flush(&mut text);
        Ok(text)
    }

    /// Where each token of a text ends, as a byte offset in it, special tokens parsed. A token that completes no character ends where
    /// the one that completes it does. `None` if the tokens do not spell the text, because the tokenizer changes it.
    ///
    /// # Errors
    /// If the vocabulary cannot represent the text.
    pub fn token_ends(&self, text: &str) -> Result<Option<Vec<usize>>, Error> {
        let ids = self.encode(text, EncodeOptions { add_bos: false, parse_special: true })?;
        let (mut ends, mut end, mut utf8) = (Vec::with_capacity(ids.len()), 0, Utf8Decoder::default());
        let mut spelled = String::with_capacity(text.len());
        for (index, id) in ids.iter().enumerate() {
            utf8.push(self.token_bytes(*id, index == 0, true)?, &mut spelled);
            if spelled.len() > end {
                end = spelled.len();
                ends.resize(index + 1, end);
            }
        }
        Ok(Some(ends).filter(|ends| spelled == text && ends.len() == ids.len()))
    }

    /// A decoder for one id at a time, without control tokens.
    pub fn decode_stream(&self) -> DecodeStream {
        DecodeStream::new(self.clone())
    }

    /// The bytes of a token. The first one of a text loses the space that encoding adds.
    fn token_bytes(&self, id: u32, first: bool, special: bool) -> Result<&[u8], Error> {
        let bytes = self.0.bytes.get(id, special).ok_or_else(|| {
            let expected = format!("an id below {}", self.0.bytes.count());
            self.0.source.mismatch(
                "the ids to decode",
                expected,
                format!("{id}"),
                "check that the ids come from this model",
            )
        })?;
        let stripped = if first && self.0.space_prefix { bytes.strip_prefix(b" ") } else { None };
        Ok(stripped.unwrap_or(bytes))
    }

    /// The beginning-of-sequence token.
    pub fn bos(&self) -> Option<u32> {
        self.0.bos
    }

    /// The end-of-sequence token.
    pub fn eos(&self) -> Option<u32> {
        self.0.eos
    }

    /// All tokens that end a generation (EOS, end of turn, end of message, ...), sorted.
    pub fn end_of_generation(&self) -> &[u32] {
        &self.0.ends
    }

    /// Whether a token ends a generation.
    pub fn ends_generation(&self, id: u32) -> bool {
        self.0.ends.binary_search(&id).is_ok()
    }

    /// Whether the model was trained with BOS before a text.
    pub fn add_bos(&self) -> bool {
        self.0.add_bos
    }

    /// Whether a rendered text begins with BOS, which many chat templates add.
    pub fn begins_with_bos(&self, rendered: &str) -> bool {
        self.0.bos.and_then(|id| self.token_text(id)).is_some_and(|bos| rendered.starts_with(bos))
    }

    /// The value of [`EncodeOptions::add_bos`] for a rendered text, so that there is exactly one BOS if the model needs one.
    pub fn wants_bos(&self, rendered: &str) -> bool {
        self.add_bos() && !self.begins_with_bos(rendered)
    }

    /// The number of ids.
    pub fn vocab_size(&self) -> usize {
        self.0.bytes.count()
    }

    /// The text of a token in the vocabulary: `Ġthe`, `▁the`, `<|im_end|>`.
    pub fn token_text(&self, id: u32) -> Option<&str> {
        self.0.texts.get(id as usize).map(|text| &**text)
    }
}

/// Decodes ids one at a time, at constant cost. A character that spans several tokens is returned with the last of them; the texts
/// together equal the result of [`Tokenizer::decode`] for all ids.
#[derive(Debug, Clone)]
pub struct DecodeStream {
    tokenizer: Tokenizer,
    utf8: Utf8Decoder,
    started: bool,
}

impl DecodeStream {
    fn new(tokenizer: Tokenizer) -> Self {
        Self { tokenizer, utf8: Utf8Decoder::default(), started: false }
    }

    /// The text that a token completes; `None` if it completes no character.
    ///
    /// # Errors
    /// If the id is outside the vocabulary; the stream does not change then.
    pub fn push(&mut self, id: u32) -> Result<Option<String>, Error> {
        let bytes = self.tokenizer.token_bytes(id, !self.started, false)?;
        self.started = true;
        let mut text = String::new();
        self.utf8.push(bytes, &mut text);
        Ok(Some(text).filter(|text| !text.is_empty()))
    }

    /// The end of the text: U+FFFD for an incomplete character. Resets the stream.
    pub fn flush(&mut self) -> Option<String> {
        let mut text = String::new();
        self.utf8.flush(&mut text);
        self.started = false;
        Some(text).filter(|text| !text.is_empty())
    }
}
