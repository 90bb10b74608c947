//! The chat templates of a checkpoint and its special tokens, found and chosen as transformers does it.
//!
//! A folder: `chat_template.jinja` and `additional_chat_templates/NAME.jinja`, else the key `chat_template` of tokenizer_config.json (a
//! text, a list of `{name, template}`, or an object from names to texts), else that of chat_template.json, which processors have. A GGUF
//! file: `tokenizer.chat_template` and `tokenizer.chat_template.NAME`. Of several templates, the one called `default` is used. Several
//! without that one are an error, as in transformers: another one would render other prompts.

use std::path::Path;

use serde_json::Value;

use super::resolve::dangling;
use crate::chat::SpecialToken;
use crate::container::gguf::{self, Metadata};
use crate::container::json::{self, CONFIG_LIMIT};
use crate::digest;
use crate::error::{Error, Mismatch, printable};

/// The name of the template that is used.
const DEFAULT: &str = "default";
/// The files and keys that have templates.
const TEMPLATE_FILE: &str = "chat_template.jinja";
const TEMPLATE_FOLDER: &str = "additional_chat_templates";
const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
const PROCESSOR_FILE: &str = "chat_template.json";
const KEY: &str = "chat_template";
const GGUF_KEY: &str = "tokenizer.chat_template";

/// The chat template of a checkpoint, and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateSource {
    /// The template (Jinja).
    pub text: String,
    /// Its name, such as `default`.
    pub name: String,
    /// The file of a folder, or the key of a GGUF file.
    pub place: String,
    /// The names of the checkpoint's other templates, which are not used.
    pub others: Vec<String>,
}

impl TemplateSource {
    /// The SHA-256 of the template, 64 hexadecimal digits.
    #[must_use]
    pub fn sha256(&self) -> String {
        digest::of_bytes(self.text.as_bytes())
    }
}

/// A template with its name and place.
struct Found {
    name: String,
    text: String,
    place: String,
}

/// Whether a file exists. A link to a removed file is an error: the model would have another template, or other tokens.
fn is_there(path: &Path) -> Result<bool, Error> {
    if !path.is_file() && path.is_symlink() {
        return Err(dangling(path));
    }
    Ok(path.is_file())
}

/// The template of a folder.
pub(super) fn of_folder(folder: &Path) -> Result<Option<TemplateSource>, Error> {
    let mut found = Vec::new();
    let own = folder.join(TEMPLATE_FILE);
    if is_there(&own)? {
        let text = json::read_text(&own, CONFIG_LIMIT)?;
        found.push(Found { name: DEFAULT.to_owned(), text, place: TEMPLATE_FILE.to_owned() });
    }
    found.extend(additional(folder)?);
    for file in [TOKENIZER_CONFIG, PROCESSOR_FILE] {
        let path = folder.join(file);
        if found.is_empty() && is_there(&path)? {
            found.extend(of_json(&path, file)?);
        }
    }
    choose(folder, found)
}

/// The templates `additional_chat_templates/NAME.jinja`, sorted by name.
fn additional(folder: &Path) -> Result<Vec<Found>, Error> {
    let folder = folder.join(TEMPLATE_FOLDER);
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let entries = std::fs::read_dir(&folder).map_err(|source| Error::io("read", &folder, source))?;
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(|source| Error::io("read", &folder, source))?.path();
        if path.extension().is_some_and(|extension| extension == "jinja") {
            paths.push(path);
        }
    }
    paths.sort();
    let read = |path: &std::path::PathBuf| {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let text = json::read_text(path, CONFIG_LIMIT)?;
        Ok(Found { place: format!("{TEMPLATE_FOLDER}/{stem}.jinja"), name: stem, text })
    };
    paths.iter().map(read).collect()
}

/// The templates of the key `chat_template` in a JSON file.
fn of_json(path: &Path, file: &str) -> Result<Vec<Found>, Error> {
    let json = json::read(path, CONFIG_LIMIT)?;
    let refused = |found: &str| {
        let expected = "a text, a list of names and templates, or an object from names to templates";
        let advice = "correct the file, or take another conversion of the model";
        Error::Template(Mismatch::at(path, format!("field `{KEY}`"), expected, found, advice))
    };
    let named = |name: &str, text: &str| Found { name: printable(name), text: text.to_owned(), place: file.to_owned() };
    match json.get(KEY) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(vec![named(DEFAULT, text)]),
        Some(Value::Array(all)) => {
            let one = |entry: &Value| {
                let name = entry.get("name").and_then(Value::as_str);
                let text = entry.get("template").and_then(Value::as_str);
                name.zip(text).map(|(name, text)| named(name, text))
            };
            all.iter().map(|entry| one(entry).ok_or_else(|| refused("an entry without `name` or `template`"))).collect()
        }
        Some(Value::Object(all)) => {
            let one = |(name, text): (&String, &Value)| text.as_str().map(|text| named(name, text));
            all.iter().map(|entry| one(entry).ok_or_else(|| refused("an entry that is no text"))).collect()
        }
        Some(Value::Bool(_) | Value::Number(_)) => Err(refused("another type")),
    }
}

/// The template of a GGUF file. The texts of the others are not read.
pub(super) fn of_gguf(metadata: &Metadata) -> Result<Option<TemplateSource>, Error> {
    let mut found = Vec::new();
    for key in metadata.keys() {
        let name = match key.strip_prefix(GGUF_KEY) {
            Some("") => DEFAULT,
            Some(name) if name.len() > 1 && name.starts_with('.') => &name[1..],
            _ => continue,
        };
        let text = if name == DEFAULT { metadata.text(key)?.unwrap_or_default() } else { "" };
        found.push(Found { name: printable(name), text: text.to_owned(), place: key.to_owned() });
    }
    choose(metadata.file(), found)
}

/// The default template.
fn choose(path: &Path, mut found: Vec<Found>) -> Result<Option<TemplateSource>, Error> {
    if found.is_empty() {
        return Ok(None);
    }
    let Some(at) = found.iter().position(|template| template.name == DEFAULT) else {
        let names: Vec<_> = found.iter().map(|template| format!("`{}`", template.name)).collect();
        let place = found.first().map(|template| template.place.clone()).unwrap_or_default();
        let advice = "rename the template for plain conversations to `default`, or send prompts without a template";
        return Err(Error::Template(Mismatch::at(
            path,
            place,
            "a chat template called `default`",
            format!("only {}", names.join(", ")),
            advice,
        )));
    };
    let Found { name, text, place } = found.remove(at);
    Ok(Some(TemplateSource { text, name, place, others: found.into_iter().map(|template| template.name).collect() }))
}

/// The special tokens of a folder, as transformers gives them to a template: the keys ending in `_token` of tokenizer_config.json, else
/// of special_tokens_map.json, and the named ones of `extra_special_tokens`.
pub(super) fn tokens_of_folder(folder: &Path) -> Result<Vec<SpecialToken>, Error> {
    let mut tokens: Vec<SpecialToken> = Vec::new();
    let mut add = |name: &str, value: &Value| {
        let text = value.as_str().or_else(|| value.get("content")?.as_str());
        if let Some(text) = text
            && !tokens.iter().any(|token| token.name == *name)
        {
            tokens.push(SpecialToken::new(name, text));
        }
    };
    for file in [TOKENIZER_CONFIG, "special_tokens_map.json"] {
        let path = folder.join(file);
        if !is_there(&path)? {
            continue;
        }
        let json = json::read(&path, CONFIG_LIMIT)?;
        let keys = json.as_object().into_iter().flatten();
        keys.filter(|(key, _)| key.ends_with("_token")).for_each(|(key, value)| add(key, value));
        let extra = json.get("extra_special_tokens").and_then(Value::as_object).into_iter().flatten();
        extra.for_each(|(key, value)| add(key, value));
    }
    Ok(tokens)
}

/// The special tokens of a GGUF file. An id outside of the vocabulary names no token, as in llama.cpp.
pub(super) fn tokens_of_gguf(metadata: &Metadata) -> Result<Vec<SpecialToken>, Error> {
    let mut tokens = Vec::new();
    let texts = metadata.texts("tokenizer.ggml.tokens")?;
    for (name, key) in [
        ("bos_token", "bos"),
        ("eos_token", "eos"),
        ("unk_token", "unknown"),
        // The format spells it like this.
        ("sep_token", "seperator"),
        ("pad_token", "padding"),
        ("cls_token", "cls"),
        ("mask_token", "mask"),
    ] {
        let key = format!("tokenizer.ggml.{key}_token_id");
        // A negative id says that there is no such token.
        if matches!(metadata.get(&key)?, Some(gguf::Value::I32(..0) | gguf::Value::I64(..0))) {
            continue;
        }
        let id = metadata.count(&key)?;
        if let Some(text) = texts.as_ref().zip(id).and_then(|(texts, id)| texts.get(id)) {
            tokens.push(SpecialToken::new(name, text));
        }
    }
    Ok(tokens)
}
