//! Text to token ids and back.
//!
//! A [`Tokenizer`] comes from the metadata of a GGUF file ([`TokenizerData`]) or from a `tokenizer.json`. From GGUF it
//! gives the ids that llama.cpp gives: special tokens are cut out first ([`special`]), then ordinary text goes to
//! byte-level BPE ([`bpe`], merged by the `tokenizers` crate) or to SentencePiece's algorithm ([`spm`]). A
//! `tokenizer.json` is followed by the `tokenizers` crate alone. Both share the way back ([`pieces`]).
//!
//! It adds nothing on its own: whether BOS goes in front is the caller's word each time, and an EOS is never added.

mod bpe;
mod bytes;
mod data;
mod guard;
mod json;
mod pieces;
mod pre;
mod special;
mod spm;
mod stream;

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use data::{SpecialIds, TokenKind, TokenizerData};
pub use stream::DecodeStream;

use self::json::Json;
use self::pieces::{Pieces, Spelling, Utf8};
use self::special::{Fragment, Specials};
use self::spm::Spm;
use crate::{Checkpoint, Error, Fault};

/// How a text is encoded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EncodeOptions {
    /// Put BOS in front, whatever the text begins with; see [`Tokenizer::wants_bos`].
    pub add_bos: bool,
    /// Read special tokens in the text as such, not as ordinary characters.
    pub parse_special: bool,
}

/// A vocabulary with its rules. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Tokenizer(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// For errors.
    source: Source,
    core: Core,
    pieces: Pieces,
    /// The text of each token as the vocabulary writes it `[n]`.
    texts: Vec<Box<str>>,
    bos: Option<u32>,
    eos: Option<u32>,
    /// Sorted.
    ends: Vec<u32>,
    add_bos: bool,
    /// Encoding puts a space in front of a text, decoding takes it away.
    space_prefix: bool,
}

#[derive(Debug)]
enum Core {
    ByteLevel { bpe: Box<tokenizers::Tokenizer>, specials: Specials },
    Spm { spm: Spm, specials: Specials },
    Json(Box<Json>),
}

/// The file that a vocabulary is from.
#[derive(Debug)]
struct Source(PathBuf);

impl Source {
    fn fault(&self, place: &str, expected: impl Into<String>, found: impl Into<String>, advice: &str) -> Error {
        Error::Tokenizer(Fault::at(&self.0, place, expected, found, advice))
    }

    fn no_byte_token(&self, byte: u8) -> Error {
        let found = format!("none for byte 0x{byte:02X}");
        self.fault(
            "tokenizer.ggml.tokens",
            "a byte token for what no other token spells",
            found,
            "take another conversion of the model",
        )
    }
}

impl Checkpoint {
    /// The tokenizer that belongs to the weights.
    ///
    /// # Errors
    /// When there is none, or it is damaged or of a kind that is not supported.
    pub fn tokenizer(&self) -> Result<Tokenizer, Error> {
        match (self.metadata(), self.folder()) {
            (Some(metadata), _) => Tokenizer::new(TokenizerData::from_gguf(metadata)?),
            (None, folder) => Tokenizer::from_folder(folder.unwrap_or(self.path())),
        }
    }
}

impl Tokenizer {
    /// A tokenizer from a GGUF file's vocabulary.
    ///
    /// # Errors
    /// When the vocabulary is damaged, or its model or pre-tokenizer is not supported.
    pub fn new(data: TokenizerData) -> Result<Self, Error> {
        let mut data = data.checked()?;
        let mut ids = data.ids.clone();
        let (core, spelling, add_bos, space_prefix);
        let ends;
        match data.model.as_str() {
            "gpt2" => {
                let pre = pre::find(&data.file, data.pre.as_deref())?;
                ends = special::end_of_generation(&data.tokens, &mut data.kinds, &ids);
                let bpe = Box::new(bpe::build(&data, pre)?);
                core = Core::ByteLevel { bpe, specials: Specials::new(&data.tokens, &data.kinds) };
                (spelling, add_bos, space_prefix) = (Spelling::ByteLevel, pre.add_bos, false);
            }
            "llama" => {
                // SentencePiece's own numbering, where the file has no keys.
                ids.bos = ids.bos.or(Some(1).filter(|_| data.tokens.len() > 1));
                ids.eos = ids.eos.or(Some(2).filter(|_| data.tokens.len() > 2));
                ends = special::end_of_generation(&data.tokens, &mut data.kinds, &ids);
                core = Core::Spm { spm: Spm::new(&data), specials: Specials::new(&data.tokens, &data.kinds) };
                (spelling, add_bos, space_prefix) = (Spelling::Spm, true, true);
            }
            other => {
                let source = Source(data.file.clone());
                let advice = "take a model with one of these, or its Hugging Face folder with a tokenizer.json";
                let expected = "`gpt2` (byte-level BPE) or `llama` (SentencePiece)";
                return Err(source.fault("tokenizer.ggml.model", expected, format!("`{other}`"), advice));
            }
        }
        let tokens = data.tokens.iter().zip(&data.kinds).map(|(text, kind)| Some((text.as_str(), *kind)));
        Ok(Self(Arc::new(Inner {
            pieces: Pieces::new(tokens, spelling),
            texts: data.tokens.iter().map(|text| text.as_str().into()).collect(),
            core,
            bos: ids.bos,
            eos: ids.eos,
            ends,
            add_bos: data.add_bos.unwrap_or(add_bos) && ids.bos.is_some(),
            space_prefix: data.add_space_prefix.unwrap_or(space_prefix) && spelling == Spelling::Spm,
            source: Source(data.file),
        })))
    }

    /// The tokenizer of a folder in the Hugging Face layout: `tokenizer.json`, and beside it what says which tokens
    /// begin and end (`tokenizer_config.json`, `generation_config.json`, `config.json`).
    ///
    /// # Errors
    /// When there is no `tokenizer.json`, or one of the files is damaged.
    pub fn from_folder(folder: &Path) -> Result<Self, Error> {
        json::open(folder)
    }

    /// The ids of a text.
    ///
    /// # Errors
    /// When BOS is asked for and there is none, or the vocabulary cannot spell the text.
    pub fn encode(&self, text: &str, options: EncodeOptions) -> Result<Vec<u32>, Error> {
        let mut ids = Vec::with_capacity(text.len() / 3 + 2);
        if options.add_bos {
            ids.push(self.0.bos.ok_or_else(|| {
                self.0.source.fault("BOS", "a vocabulary with a BOS token", "none", "encode without BOS")
            })?);
        }
        match &self.0.core {
            Core::ByteLevel { bpe, specials } => {
                for fragment in specials.partition(text, options.parse_special) {
                    match fragment {
                        Fragment::Token(id) => ids.push(id),
                        Fragment::Text(text) => ids.extend(guard::encode(&self.0.source.0, bpe, text)?),
                    }
                }
            }
            Core::Spm { spm, specials } => {
                // A text that follows nothing or a special token begins with a space.
                let mut at_start = true;
                for fragment in specials.partition(text, options.parse_special) {
                    match fragment {
                        Fragment::Token(id) => ids.push(id),
                        Fragment::Text(text) => {
                            let prefix = if self.0.space_prefix && at_start { " " } else { "" };
                            spm.encode(&self.0.source, &format!("{prefix}{text}"), &mut ids)?;
                        }
                    }
                    at_start = matches!(fragment, Fragment::Token(_));
                }
            }
            Core::Json(json) => ids.extend(json.encode(&self.0.source.0, text, options.parse_special)?),
        }
        Ok(ids)
    }

    /// The text of ids; control tokens are left out, bytes that are no UTF-8 become U+FFFD.
    ///
    /// # Errors
    /// When an id is outside the vocabulary.
    pub fn decode(&self, ids: &[u32]) -> Result<String, Error> {
        self.text_of(ids, false)
    }

    /// The text of ids with control tokens written out.
    ///
    /// # Errors
    /// When an id is outside the vocabulary.
    pub fn decode_with_special(&self, ids: &[u32]) -> Result<String, Error> {
        self.text_of(ids, true)
    }

    fn text_of(&self, ids: &[u32], special: bool) -> Result<String, Error> {
        let (mut text, mut utf8) = (String::new(), Utf8::default());
        for (index, id) in ids.iter().enumerate() {
            utf8.push(self.piece(*id, index == 0, special)?, &mut text);
        }
        utf8.flush(&mut text);
        Ok(text)
    }

    /// Decodes ids one at a time; control tokens are left out.
    pub fn decode_stream(&self) -> DecodeStream {
        DecodeStream::new(self.clone())
    }

    /// The bytes of a token; the first one of a text loses the space that encoding puts there.
    fn piece(&self, id: u32, first: bool, special: bool) -> Result<&[u8], Error> {
        let piece = self.0.pieces.get(id, special).ok_or_else(|| {
            let expected = format!("an id below {}", self.0.pieces.count());
            self.0.source.fault(
                "the ids to decode",
                expected,
                format!("{id}"),
                "check that the ids come from this model",
            )
        })?;
        let stripped = if first && self.0.space_prefix { piece.strip_prefix(b" ") } else { None };
        Ok(stripped.unwrap_or(piece))
    }

    /// The token that begins a text.
    pub fn bos(&self) -> Option<u32> {
        self.0.bos
    }

    /// The token that ends a text.
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

    /// Whether the model was trained with BOS in front of a text.
    pub fn add_bos(&self) -> bool {
        self.0.add_bos
    }

    /// Whether a rendered text begins with BOS already, as many chat templates make it.
    pub fn begins_with_bos(&self, rendered: &str) -> bool {
        self.0.bos.and_then(|id| self.token_text(id)).is_some_and(|bos| rendered.starts_with(bos))
    }

    /// What [`EncodeOptions::add_bos`] should be for a rendered text, so that there is exactly one BOS where the model
    /// wants one.
    pub fn wants_bos(&self, rendered: &str) -> bool {
        self.add_bos() && !self.begins_with_bos(rendered)
    }

    /// How many ids there are.
    pub fn vocab_size(&self) -> usize {
        self.0.pieces.count()
    }

    /// A token as the vocabulary writes it: `Ġthe`, `▁the`, `<|im_end|>`.
    pub fn token_text(&self, id: u32) -> Option<&str> {
        self.0.texts.get(id as usize).map(|text| &**text)
    }
}
