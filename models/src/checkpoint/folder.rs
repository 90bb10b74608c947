//! A folder in the Hugging Face layout: config.json, weights in safetensors, tokenizer files.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Parts, Source, config, safetensors};
use crate::arch::{self, Fields};
use crate::error::Error;

/// Texts that chat templates need.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Texts {
    pub(crate) chat_template: Option<String>,
    pub(crate) bos: Option<String>,
    pub(crate) eos: Option<String>,
}

/// Reads the folder at `path`.
pub(crate) fn open(path: &Path) -> Result<Parts, Error> {
    let config_path = path.join("config.json");
    if !config_path.is_file() {
        return Err(no_config(path));
    }
    let json = config::read(&config_path, config::SMALL)?;
    let scheme = config::quantisation(&config_path, &json)?;
    let spec = arch::from_config(&Fields::new(&config_path, &json))?;
    let files = safetensors::files(path)?;
    let (maps, tensors) = safetensors::read(path, &files, &spec, scheme.as_ref())?;
    let texts = Texts::read(path)?;
    let given = json.get("_name_or_path").and_then(Value::as_str).filter(|name| !name.is_empty());
    let folder_name = || {
        path.canonicalize()
            .unwrap_or_else(|_| path.to_path_buf())
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
    };
    let name = given.map(super::gguf::shown).or_else(folder_name).unwrap_or_default();
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

/// What to say about a folder without config.json: the .gguf files in it, if there are any.
fn no_config(path: &Path) -> Error {
    let mut models: Vec<PathBuf> = std::fs::read_dir(path)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|file| file.extension().is_some_and(|extension| extension == "gguf"))
        .collect();
    models.sort();
    let advice = match models.first() {
        Some(first) => format!("give one file, such as {}", first.display()),
        None => "give a .gguf file, or a folder with config.json and .safetensors files".to_owned(),
    };
    Error::NotAModel { path: path.to_path_buf(), found: "the folder has no config.json".to_owned(), advice }
}

impl Texts {
    fn read(folder: &Path) -> Result<Self, Error> {
        let path = folder.join("tokenizer_config.json");
        let json = if path.is_file() { config::read(&path, config::SMALL)? } else { Value::Null };
        let own_file = folder.join("chat_template.jinja");
        let chat_template = if own_file.is_file() {
            Some(config::read_text(&own_file, config::SMALL)?)
        } else {
            template(json.get("chat_template"))
        };
        Ok(Self { chat_template, bos: token(json.get("bos_token")), eos: token(json.get("eos_token")) })
    }
}

/// One template, or the one called `default` of several.
fn template(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(text) => Some(text.clone()),
        Value::Array(named) => {
            let default = named.iter().find(|one| one.get("name").and_then(Value::as_str) == Some("default"));
            default?.get("template")?.as_str().map(str::to_owned)
        }
        _ => None,
    }
}

/// A token's text, or the text inside its description.
fn token(value: Option<&Value>) -> Option<String> {
    let value = value?;
    value.as_str().or_else(|| value.get("content")?.as_str()).map(str::to_owned)
}
