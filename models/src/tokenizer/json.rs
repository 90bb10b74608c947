//! A `tokenizer.json`, followed by the `tokenizers` crate, and the files beside it that say which tokens begin and end.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use serde_json::Value;
use tokenizers::models::ModelWrapper;

use super::data::{MAX_TOKENS, SpecialIds, TokenKind};
use super::guard::{self, guarded};
use super::pieces::{Pieces, Spelling};
use super::{Core, Inner, Source, Tokenizer, bytes, special};
use crate::{Error, Fault};

/// Bytes of a file; the largest vocabularies take 35 MB.
const MAX_FILE: u64 = 256 << 20;

/// The crate's tokenizer.
#[derive(Debug)]
pub(super) struct Json {
    /// Reads special tokens in a text as such.
    parsing: tokenizers::Tokenizer,
    /// Reads them as ordinary characters; made when first asked for.
    plain: OnceLock<tokenizers::Tokenizer>,
}

impl Json {
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
        guard::encode(file, tokenizer, text)
    }
}

/// Opens `tokenizer.json` in a folder.
pub(super) fn open(folder: &Path) -> Result<Tokenizer, Error> {
    let file = folder.join("tokenizer.json");
    let bytes = read(&file)?.ok_or_else(|| {
        let advice = "put the model's tokenizer.json into the folder, or take a GGUF file";
        Error::Tokenizer(Fault::at(&file, "the file", "a tokenizer.json", "none", advice))
    })?;
    let parsing = guarded(&file, "reading tokenizer.json", || {
        let mut tokenizer = tokenizers::Tokenizer::from_bytes(&bytes)?;
        tokenizer.with_truncation(None)?;
        tokenizer.with_padding(None);
        // No cache of words: the cost of a request must not depend on the requests before it.
        let mut model = tokenizer.get_model().clone();
        if let ModelWrapper::BPE(bpe) = &mut model {
            bpe.resize_cache(0);
        }
        tokenizer.with_model(model);
        Ok(tokenizer)
    })?;
    build(folder, file, parsing)
}

fn build(folder: &Path, file: PathBuf, parsing: tokenizers::Tokenizer) -> Result<Tokenizer, Error> {
    let (tokens, mut kinds) = vocabulary(&file, &parsing)?;
    let (spelling, space_prefix) = decoder(&file, &parsing)?;
    let config = beside(folder, "tokenizer_config.json")?;
    let id_of = |key: &str| token_of(&config, key).and_then(|text| parsing.token_to_id(&text));
    let mut ids = SpecialIds { bos: id_of("bos_token"), eos: id_of("eos_token"), ..SpecialIds::default() };
    let mut more = BTreeSet::new();
    for name in ["config.json", "generation_config.json"] {
        let config = beside(folder, name)?;
        let known = |id: &u32| (*id as usize) < tokens.len();
        ids.bos = ids.bos.or_else(|| numbers(&config, "bos_token_id").into_iter().find(known));
        let ends = numbers(&config, "eos_token_id");
        ids.eos = ids.eos.or_else(|| ends.iter().copied().find(known));
        more.extend(ends.into_iter().filter(known));
    }
    more.extend(special::end_of_generation(&tokens, &mut kinds, &ids));
    // What is put in front of a text is known from what is put in front of nothing.
    let around = guarded(&file, "encoding the empty text", || Ok(parsing.encode_fast("", true)?.get_ids().to_vec()))?;
    let adds = config.get("add_bos_token").and_then(Value::as_bool);
    let add_bos = ids.bos.is_some() && adds.unwrap_or_else(|| around.first().copied() == ids.bos);
    let pairs = tokens.iter().zip(&kinds).map(|(text, kind)| Some((text.as_str(), *kind)));
    Ok(Tokenizer(Arc::new(Inner {
        pieces: Pieces::new(pairs, spelling),
        texts: tokens.iter().map(|text| text.as_str().into()).collect(),
        core: Core::Json(Box::new(Json { parsing, plain: OnceLock::new() })),
        bos: ids.bos,
        eos: ids.eos,
        ends: more.into_iter().collect(),
        add_bos,
        space_prefix,
        source: Source(file),
    })))
}

/// The text and the kind of each id; ids that are not given away are unused and without text.
fn vocabulary(file: &Path, tokenizer: &tokenizers::Tokenizer) -> Result<(Vec<String>, Vec<TokenKind>), Error> {
    let all = tokenizer.get_vocab(true);
    let n = all.values().max().map_or(0, |id| *id as usize + 1);
    if n == 0 || n > MAX_TOKENS {
        let advice = "the file is damaged; download it again";
        let fault =
            Fault::at(file, "the vocabulary", format!("ids from 0 to {}", MAX_TOKENS - 1), format!("{n} ids"), advice);
        return Err(Error::Tokenizer(fault));
    }
    let (mut tokens, mut kinds) = (vec![String::new(); n], vec![TokenKind::Unused; n]);
    for (text, id) in all {
        let is_byte = bytes::byte_token(&text).is_some();
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

/// How the file's decoder spells: which alphabet, and whether it takes a space from the front.
fn decoder(file: &Path, tokenizer: &tokenizers::Tokenizer) -> Result<(Spelling, bool), Error> {
    let decoder = tokenizer.get_decoder().map(serde_json::to_value).and_then(Result::ok).unwrap_or(Value::Null);
    let steps = match decoder.get("decoders").and_then(Value::as_array) {
        Some(steps) => steps.clone(),
        None => vec![decoder],
    };
    let names: Vec<_> = steps.iter().filter_map(|step| step.get("type").and_then(Value::as_str)).collect();
    if names.contains(&"ByteLevel") {
        return Ok((Spelling::ByteLevel, false));
    }
    if names.iter().any(|name| ["Metaspace", "ByteFallback"].contains(name)) {
        let metaspace = |step: &Value| step.get("prepend_scheme").is_some_and(|scheme| scheme != "never");
        return Ok((Spelling::Spm, names.contains(&"Strip") || steps.iter().any(metaspace)));
    }
    Err(Error::Tokenizer(Fault::at(
        file,
        "decoder",
        "ByteLevel, Metaspace, or a sequence with ByteFallback",
        if names.is_empty() { "none".to_owned() } else { names.join(", ") },
        "take the model as a GGUF file",
    )))
}

/// A token that a configuration names: a string, or an object with `content`.
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

/// A JSON file of the folder; `null` where there is none.
fn beside(folder: &Path, name: &str) -> Result<Value, Error> {
    let file = folder.join(name);
    let Some(bytes) = read(&file)? else { return Ok(Value::Null) };
    serde_json::from_slice(&bytes).map_err(|error| {
        let place = format!("line {}, column {}", error.line(), error.column());
        Error::Tokenizer(Fault::at(&file, place, "JSON", error.to_string(), "download the file again"))
    })
}

/// A file's bytes; `None` where there is no such file.
fn read(file: &Path) -> Result<Option<Vec<u8>>, Error> {
    let length = match fs::metadata(file) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("read", file, error)),
    };
    if length > MAX_FILE {
        let fault =
            Fault::at(file, "the file", format!("at most {MAX_FILE} bytes"), format!("{length}"), "download it again");
        return Err(Error::Tokenizer(fault));
    }
    fs::read(file).map(Some).map_err(|error| Error::io("read", file, error))
}
