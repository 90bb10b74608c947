//! A folder in the Hugging Face layout: config.json, weights in safetensors, tokenizer files.

use std::path::Path;

use serde_json::Value;

use super::parts::{Parts, Source, Texts};
use super::resolve::repository_name;
use super::{quantisation, safetensors};
use crate::arch;
use crate::container::json::{self, CONFIG_LIMIT, Object};
use crate::error::{Error, printable};

/// Reads the folder at `path`.
pub(super) fn open(path: &Path) -> Result<Parts, Error> {
    let config_path = path.join("config.json");
    let config = json::read(&config_path, CONFIG_LIMIT)?;
    let scheme = quantisation::of_config(&config_path, &config)?;
    let mut spec = arch::from_config(&Object::new(&config_path, &config))?;
    let files = safetensors::files(path)?;
    let (maps, tensors) = safetensors::read(path, &files, &spec, scheme.as_ref())?;
    // The default of transformers is "not tied", with which a model without `lm_head` could not be computed: llama.cpp's converter and
    // mlx_lm tie such a model, too.
    if config.get("tie_word_embeddings").is_none_or(Value::is_null) {
        spec.tied_embeddings = !tensors.iter().any(|(info, ..)| info.name.starts_with("output."));
    }
    let texts = read_texts(path)?;
    let own_name = config.get("_name_or_path").and_then(Value::as_str).filter(|name| !name.is_empty());
    let folder_name = || {
        path.canonicalize()
            .unwrap_or_else(|_| path.to_path_buf())
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
    };
    let name = own_name.map(printable).or_else(|| repository_name(path)).or_else(folder_name).unwrap_or_default();
    Ok(Parts {
        path: path.to_path_buf(),
        name,
        spec,
        source: Source::Folder { folder: path.to_path_buf(), texts },
        files,
        maps,
        tensors,
    })
}

/// The texts that chat templates need, from `chat_template.jinja` and `tokenizer_config.json`.
fn read_texts(folder: &Path) -> Result<Texts, Error> {
    let path = folder.join("tokenizer_config.json");
    let config = json::read_if_there(&path, CONFIG_LIMIT)?;
    let own_file = folder.join("chat_template.jinja");
    let chat_template = if own_file.is_file() {
        Some(json::read_text(&own_file, CONFIG_LIMIT)?)
    } else {
        template(config.get("chat_template"))
    };
    Ok(Texts { chat_template, bos: token(config.get("bos_token")), eos: token(config.get("eos_token")) })
}

/// One template, or the one called `default` of several.
fn template(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(text) => Some(text.clone()),
        Value::Array(named) => {
            let default = named.iter().find(|template| template.get("name").and_then(Value::as_str) == Some("default"));
            default?.get("template")?.as_str().map(str::to_owned)
        }
        _ => None,
    }
}

/// A token's text: a string, or the field `content` of an object.
fn token(value: Option<&Value>) -> Option<String> {
    let value = value?;
    value.as_str().or_else(|| value.get("content")?.as_str()).map(str::to_owned)
}
