//! A folder in the Hugging Face layout: config.json, weights in safetensors, tokenizer files.

use std::path::Path;

use serde_json::Value;

use super::description::Description;
use super::parts::{Parts, Source};
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
    let text_part = arch::text_part(&Object::new(&config_path, &config))?;
    let (maps, tensors) = safetensors::read(path, &files, &spec, scheme.as_ref(), text_part.is_some())?;
    // The default of transformers is "not tied", with which a model without `lm_head` could not be computed: llama.cpp's converter and
    // mlx_lm tie such a model, too.
    let states = |config: &Value| config.get("tie_word_embeddings").is_some_and(|value| !value.is_null());
    if !states(&config) && !config.get("text_config").is_some_and(states) {
        spec.tied_embeddings = !tensors.iter().any(|(info, _)| info.name.starts_with("output."));
    }
    let own_name = config.get("_name_or_path").and_then(Value::as_str).filter(|name| !name.is_empty());
    let folder_name = || {
        path.canonicalize()
            .unwrap_or_else(|_| path.to_path_buf())
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
    };
    let name = own_name.map(printable).or_else(|| repository_name(path)).or_else(folder_name).unwrap_or_default();
    let (description, source) = (Description::Described(spec), Source::Folder(path.to_path_buf()));
    let has_other_parts = text_part.is_some();
    Ok(Parts {
        path: path.to_path_buf(),
        name,
        description,
        source,
        files,
        maps,
        tensors,
        otherwise_stored: None,
        has_other_parts,
    })
}
