//! The tokenizer of a folder in the Hugging Face layout: `tokenizer.json`, which the `tokenizers` crate interprets, and the files that
//! name its BOS and EOS tokens.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use serde_json::Value;
use tokenizers::DecoderWrapper;
use tokenizers::models::ModelWrapper;
use tokenizers::pre_tokenizers::metaspace::PrependScheme;

use super::checked_calls::{self, checked};
use super::special_tokens::end_of_generation;
use super::token_bytes::{TextEncoding, TokenBytes, byte_token};
use super::vocabulary::{MAX_TOKENS, SpecialIds, TokenKind};
use super::{Algorithm, Inner, Source, Tokenizer};
use crate::container::json::{self, CONFIG_LIMIT};
use crate::error::{Cause, Error, Mismatch};

/// The size limit of a file in bytes; the largest vocabularies take 35 MB.
const MAX_FILE: u64 = 256 << 20;

/// A tokenizer of the `tokenizers` crate.
#[derive(Debug)]
pub(super) struct HuggingFace {
    /// Recognises special tokens in a text.
    parsing: tokenizers::Tokenizer,
    /// Treats them as ordinary text; created on first use.
    plain: OnceLock<tokenizers::Tokenizer>,
}

impl HuggingFace {
    pub(super) fn encode(&self, file: &Path, text: &str, parse_special: bool) -> Result<Vec<u32>, Error> {
        let tokenizer = if parse_special {
            &self.parsing
        } else {
            self.plain.get_or_init(|| {
                let mut plain = self.parsing.clone();
                plain.set_encode_special_tokens(true);
                plain
            })
        };
        checked_calls::encode(file, tokenizer, text)
    }
}

/// Opens `tokenizer.json` in a folder.
pub(super) fn open(folder: &Path) -> Result<Tokenizer, Error> {
    let file = folder.join("tokenizer.json");
    if !file.exists() && !file.is_symlink() {
        return Err(no_tokenizer(folder, &file));
    }
    let text = json::read_text(&file, MAX_FILE).map_err(of_tokenizer)?;
    let parsing = checked(&file, "reading tokenizer.json", || {
        // `FromStr` is compiled once, in the crate; the generic `from_bytes` would compile its whole deserialiser here again.
        let mut tokenizer: tokenizers::Tokenizer = text.parse()?;
        tokenizer.with_truncation(None)?;
        tokenizer.with_padding(None);
        // No cache of words: the cost of a request must not depend on earlier requests.
        let mut model = tokenizer.get_model().clone();
        if let ModelWrapper::BPE(bpe) = &mut model {
            bpe.resize_cache(0);
        }
        tokenizer.with_model(model);
        Ok(tokenizer)
    })
    .map_err(|error| not_understood(&file, &text, error))?;
    build(folder, file, parsing)
}

fn build(folder: &Path, file: PathBuf, parsing: tokenizers::Tokenizer) -> Result<Tokenizer, Error> {
    let (tokens, mut kinds) = vocabulary(&file, &parsing)?;
    let (encoding, space_prefix) = text_encoding(&file, &parsing)?;
    let config = read_json(folder, "tokenizer_config.json")?;
    let id_of = |key: &str| token_of(&config, key).and_then(|text| parsing.token_to_id(&text));
    let mut ids = SpecialIds { bos: id_of("bos_token"), eos: id_of("eos_token"), ..SpecialIds::default() };
    let mut end_ids = BTreeSet::new();
    for name in ["config.json", "generation_config.json"] {
        let config = read_json(folder, name)?;
        let known = |id: &u32| (*id as usize) < tokens.len();
        ids.bos = ids.bos.or_else(|| numbers(&config, "bos_token_id").into_iter().find(known));
        let ends = numbers(&config, "eos_token_id");
        ids.eos = ids.eos.or_else(|| ends.iter().copied().find(known));
        end_ids.extend(ends.into_iter().filter(known));
    }
    end_ids.extend(end_of_generation(&tokens, &mut kinds, &ids));
    // The encoding of the empty text shows which tokens are added to a text.
    let added = checked(&file, "encoding the empty text", || Ok(parsing.encode_fast("", true)?.get_ids().to_vec()))?;
    let adds = config.get("add_bos_token").and_then(Value::as_bool);
    let add_bos = ids.bos.is_some() && adds.unwrap_or_else(|| added.first().copied() == ids.bos);
    let pairs = tokens.iter().zip(&kinds).map(|(text, kind)| Some((text.as_str(), *kind)));
    Ok(Tokenizer(Arc::new(Inner {
        bytes: TokenBytes::new(pairs, encoding),
        texts: tokens.iter().map(|text| text.as_str().into()).collect(),
        algorithm: Algorithm::HuggingFace(Box::new(HuggingFace { parsing, plain: OnceLock::new() })),
        bos: ids.bos,
        eos: ids.eos,
        ends: end_ids.into_iter().collect(),
        add_bos,
        space_prefix,
        source: Source(file),
    })))
}

/// The text and the kind of each id; unassigned ids are unused and without text.
fn vocabulary(file: &Path, tokenizer: &tokenizers::Tokenizer) -> Result<(Vec<String>, Vec<TokenKind>), Error> {
    let all = tokenizer.get_vocab(true);
    let n = all.values().max().map_or(0, |id| *id as usize + 1);
    if n == 0 || n > MAX_TOKENS {
        let advice = if n == 0 { Cause::WrittenWrongly } else { Cause::OverLimit };
        let mismatch = Mismatch::at(
            file,
            "the vocabulary",
            format!("ids from 0 to {}", MAX_TOKENS - 1),
            format!("{n} ids"),
            advice,
        );
        return Err(Error::Tokenizer(mismatch));
    }
    let (mut tokens, mut kinds) = (vec![String::new(); n], vec![TokenKind::Unused; n]);
    for (text, id) in all {
        let is_byte = byte_token(&text).is_some();
        kinds[id as usize] = if is_byte { TokenKind::Byte } else { TokenKind::Normal };
        tokens[id as usize] = text;
    }
    for (id, added) in tokenizer.get_added_tokens_decoder() {
        if let Some(kind) = kinds.get_mut(id as usize) {
            *kind = if added.special { TokenKind::Control } else { TokenKind::UserDefined };
        }
    }
    Ok((tokens, kinds))
}

/// The text encoding of the file's decoder, and whether it removes a space from the start.
fn text_encoding(file: &Path, tokenizer: &tokenizers::Tokenizer) -> Result<(TextEncoding, bool), Error> {
    let steps = match tokenizer.get_decoder() {
        None => &[],
        Some(DecoderWrapper::Sequence(sequence)) => sequence.get_decoders(),
        Some(single) => std::slice::from_ref(single),
    };
    if steps.iter().any(|step| matches!(step, DecoderWrapper::ByteLevel(_))) {
        return Ok((TextEncoding::ByteLevel, false));
    }
    if steps.iter().any(|step| matches!(step, DecoderWrapper::Metaspace(_) | DecoderWrapper::ByteFallback(_))) {
        let strips = steps.iter().any(|step| match step {
            DecoderWrapper::Strip(_) => true,
            DecoderWrapper::Metaspace(metaspace) => metaspace.prepend_scheme != PrependScheme::Never,
            _ => false,
        });
        return Ok((TextEncoding::SentencePiece, strips));
    }
    let names: Vec<_> = steps.iter().map(decoder_name).collect();
    Err(Error::Tokenizer(Mismatch::at(
        file,
        "decoder",
        "ByteLevel, Metaspace, or a sequence with ByteFallback",
        if names.is_empty() { "none".to_owned() } else { names.join(", ") },
        "take the model as a GGUF file",
    )))
}

/// The name of a decoder in a tokenizer.json.
const fn decoder_name(decoder: &DecoderWrapper) -> &'static str {
    match decoder {
        DecoderWrapper::BPE(_) => "BPEDecoder",
        DecoderWrapper::ByteLevel(_) => "ByteLevel",
        DecoderWrapper::WordPiece(_) => "WordPiece",
        DecoderWrapper::Metaspace(_) => "Metaspace",
        DecoderWrapper::CTC(_) => "CTC",
        DecoderWrapper::Sequence(_) => "Sequence",
        DecoderWrapper::Replace(_) => "Replace",
        DecoderWrapper::Fuse(_) => "Fuse",
        DecoderWrapper::Strip(_) => "Strip",
        DecoderWrapper::ByteFallback(_) => "ByteFallback",
    }
}

/// The text of a token in a configuration: a string, or the field `content` of an object.
fn token_of(config: &Value, key: &str) -> Option<String> {
    let value = config.get(key)?;
    value.as_str().or_else(|| value.get("content")?.as_str()).map(str::to_owned)
}

/// An id or a list of ids.
fn numbers(config: &Value, key: &str) -> Vec<u32> {
    let value = config.get(key);
    let single = value.and_then(Value::as_u64).into_iter();
    let list = value.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_u64);
    single.chain(list).filter_map(|id| u32::try_from(id).ok()).collect()
}

/// The JSON file `name` of the folder; `null` if it does not exist.
fn read_json(folder: &Path, name: &str) -> Result<Value, Error> {
    json::read_if_there(&folder.join(name), CONFIG_LIMIT).map_err(of_tokenizer)
}

/// An error of a JSON file as one of the tokenizer.
fn of_tokenizer(error: Error) -> Error {
    match error {
        Error::Config(mismatch) => Error::Tokenizer(mismatch),
        other => other,
    }
}

/// The error of a tokenizer.json that the `tokenizers` crate refuses: either it is not JSON, or it is a form that the crate does not
/// know.
fn not_understood(file: &Path, text: &str, error: Error) -> Error {
    if let Err(not_json) = json::parse(file, text) {
        return of_tokenizer(not_json);
    }
    match error {
        Error::Tokenizer(mut mismatch) => {
            mismatch.advice = "the file is JSON, but no tokenizer that this program's library knows: \
                compare it with the model's source, or take a GGUF file"
                .to_owned();
            Error::Tokenizer(mismatch)
        }
        other => other,
    }
}

/// The error of a folder without tokenizer.json, with the tokenizer files of other kinds that it has.
fn no_tokenizer(folder: &Path, file: &Path) -> Error {
    const OTHERS: [&str; 6] =
        ["tokenizer.model", "tekken.json", "vocab.json", "merges.txt", "spiece.model", "tiktoken.model"];
    let there: Vec<&str> = OTHERS.into_iter().filter(|name| folder.join(name).exists()).collect();
    let (found, advice) = if there.is_empty() {
        ("none".to_owned(), "put the model's tokenizer.json into the folder, or take a GGUF file")
    } else {
        (
            format!("only {}", there.join(" and ")),
            "write one with transformers (`AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)`), or take a GGUF file",
        )
    };
    Error::Tokenizer(Mismatch::at(file, "the file", "a tokenizer.json", found, advice))
}
