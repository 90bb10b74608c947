//! From the path that a user gives to the file or folder to open: the only GGUF file of a folder, the snapshot of a folder of the
//! hub's cache.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::listing::{entries, files_with, gguf_files, names};
use super::split::Part;
use crate::container::{self, OtherFormat};
use crate::error::{Error, nearest};

/// The file or folder that `path` means. A file is itself; a folder of the hub's cache is its snapshot; a folder without safetensors
/// is its only GGUF file.
///
/// # Errors
/// If nothing is there, or the folder has no model or several.
pub(crate) fn resolve(path: &Path) -> Result<PathBuf, Error> {
    let metadata = fs::metadata(path).map_err(|source| missing(path, source))?;
    if !metadata.is_dir() {
        return Ok(path.to_path_buf());
    }
    if let Some(snapshot) = snapshot(path)? {
        return resolve(&snapshot);
    }
    let config = path.join("config.json");
    if fs::symlink_metadata(&config).is_ok() && fs::metadata(&config).is_err() {
        return Err(dangling(&config));
    }
    let models = first_parts(gguf_files(path));
    if config.is_file() && (models.is_empty() || !files_with(path, "safetensors").is_empty()) {
        return Ok(path.to_path_buf());
    }
    match &models[..] {
        [only] => resolve(only),
        [] => Err(no_model(path)),
        several => {
            let found = format!("it is a folder with {} GGUF files: {}", several.len(), names(several));
            let advice = format!("give one of them, such as {}", several[0].display());
            Err(Error::NotAModel { path: path.to_path_buf(), found, advice })
        }
    }
}

/// The name of the repository whose files are below `path`, a folder of the hub's cache: `repo` for
/// `models--owner--repo/snapshots/COMMIT`.
#[must_use]
pub fn repository_name(path: &Path) -> Option<String> {
    let parts: Vec<_> = path.components().filter_map(|part| part.as_os_str().to_str()).collect();
    let at = parts.iter().rposition(|part| part.starts_with("models--"))?;
    if parts.get(at + 1).is_some_and(|part| *part != "snapshots") {
        return None;
    }
    parts[at].rsplit("--").next().filter(|name| !name.is_empty()).map(str::to_owned)
}

/// Whether a folder of safetensors lacks weights that other files of the folder have in another form: that form, and the files.
pub(super) fn other_weights(folder: &Path) -> Option<(OtherFormat, Vec<PathBuf>)> {
    // `training_args.bin` and `rng_state.pth` are no weights.
    let is_weights = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        !["training_args", "rng_state", "optimizer", "scheduler"].iter().any(|start| name.starts_with(start))
    };
    let mut files: Vec<PathBuf> = entries(folder).into_iter().filter(is_weights).collect();
    let form = files.iter().find_map(|path| container::by_name(path))?;
    files.retain(|path| container::by_name(path).as_ref() == Some(&form));
    Some((form, files))
}

/// The files without the projectors of multimodal models and without the later parts of split files.
fn first_parts(files: Vec<PathBuf>) -> Vec<PathBuf> {
    let name = |path: &PathBuf| path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let is_later = |path: &PathBuf| Part::of_name(path).is_some_and(|part| part.number > 1 && part.first().is_file());
    files.into_iter().filter(|path| !name(path).contains("mmproj") && !is_later(path)).collect()
}

/// The snapshot of a repository's folder in the hub's cache: that of `main`, else the only one. `None` for other folders.
fn snapshot(path: &Path) -> Result<Option<PathBuf>, Error> {
    let snapshots = path.join("snapshots");
    if !snapshots.is_dir() || !(path.join("refs").is_dir() || path.join("blobs").is_dir()) {
        return Ok(None);
    }
    let main = fs::read_to_string(path.join("refs/main")).ok().map(|commit| snapshots.join(commit.trim()));
    if let Some(main) = main.filter(|folder| folder.is_dir()) {
        return Ok(Some(main));
    }
    let all: Vec<PathBuf> = entries(&snapshots).into_iter().filter(|folder| folder.is_dir()).collect();
    match &all[..] {
        [only] => Ok(Some(only.clone())),
        _ => {
            let found = match all.len() {
                0 => "it is a repository's folder of the hub's cache without a snapshot".to_owned(),
                several => {
                    format!("it is a repository's folder of the hub's cache with {several} snapshots and no `main`")
                }
            };
            let advice = match all.first() {
                None => "fetch the model".to_owned(),
                Some(first) => format!("give one of them, such as {}", first.display()),
            };
            Err(Error::NotAModel { path: path.to_path_buf(), found, advice })
        }
    }
}

/// The error of a path where nothing is.
fn missing(path: &Path, source: std::io::Error) -> Error {
    if source.kind() != ErrorKind::NotFound {
        return Error::io("open", path, source);
    }
    if fs::symlink_metadata(path).is_ok() {
        return dangling(path);
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Only the stems are compared: all names share the ending.
    let stem = |path: &Path| path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let mut there = entries(folder);
    there.retain(|other| other.extension() == path.extension() && !stem(other).starts_with('.'));
    let stems: Vec<String> = there.iter().map(|other| stem(other)).collect();
    let near = nearest(&stem(path), stems.iter().map(String::as_str));
    let near = near.and_then(|near| there.iter().find(|other| stem(other) == near));
    match (folder.is_dir(), near) {
        (false, _) => Error::Io {
            action: "open",
            path: path.to_path_buf(),
            source,
            advice: format!("check the path: the folder {} does not exist", folder.display()),
        },
        (true, Some(near)) => Error::Io {
            action: "open",
            path: path.to_path_buf(),
            source,
            advice: format!("did you mean {}?", near.display()),
        },
        (true, None) => Error::io("open", path, source),
    }
}

/// The error of a link whose target is gone.
pub(super) fn dangling(path: &Path) -> Error {
    let target = fs::read_link(path).unwrap_or_default();
    let found = format!("it is a link to {}, which does not exist", target.display());
    let advice = "fetch the model again: its file was removed from the cache".to_owned();
    Error::NotAModel { path: path.to_path_buf(), found, advice }
}

/// The error of a folder without a model: what it is instead, or what it has.
fn no_model(path: &Path) -> Error {
    let refused = |found: String, advice: String| Error::NotAModel { path: path.to_path_buf(), found, advice };
    let has = |name: &str| path.join(name).exists();
    let files = entries(path);
    let repositories: Vec<PathBuf> = files.iter().filter(|path| repository_of_cache(path)).cloned().collect();
    let with_models: Vec<PathBuf> = files
        .iter()
        .filter(|path| path.join("config.json").exists() || !gguf_files(path).is_empty())
        .cloned()
        .collect();
    if has("adapter_config.json") || has("adapter_model.safetensors") {
        let config = container::json::read(&path.join("adapter_config.json"), container::json::CONFIG_LIMIT).ok();
        let base = config.as_ref().and_then(|config| config.get("base_model_name_or_path")?.as_str());
        let of = base.map_or_else(String::new, |base| format!(" of `{}`", crate::error::printable(base)));
        let advice = "give the model that it adapts, or merge both (`merge_and_unload` of the Python package peft)";
        return refused(format!("it is a LoRA adapter{of}, not a model"), advice.to_owned());
    }
    if has("params.json") {
        let found = "it has params.json, the layout of the model's authors (Meta or Mistral)".to_owned();
        let advice = "take the model in the layout of transformers (config.json, model.safetensors), or a GGUF file";
        return refused(found, advice.to_owned());
    }
    if !repositories.is_empty() {
        let found = format!("it is the hub's cache, with {}", names(&repositories));
        return refused(found, format!("give one of them, such as {}", repositories[0].display()));
    }
    if let [first, ..] = &with_models[..] {
        let found = format!("it has no model itself; its folders {} have", names(&with_models));
        return refused(found, format!("give one of them, such as {}", first.display()));
    }
    if let Some((form, files)) = other_weights(path) {
        let found = format!("it has {} ({}), no config.json and no GGUF file", form.name, names(&files));
        return refused(found, form.advice.to_owned());
    }
    let found = match &files[..] {
        [] => "the folder is empty".to_owned(),
        files => format!("the folder has neither config.json nor a GGUF file; it has {}", names(files)),
    };
    refused(found, "give a .gguf file, or a folder with config.json and .safetensors files".to_owned())
}

fn repository_of_cache(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("models--")) && path.is_dir()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_repositories_come_from_the_folder_of_the_cache() {
        let name = |path: &str| repository_name(Path::new(path));
        assert_eq!(name("/hub/models--acme--tiny-1B/snapshots/0123").as_deref(), Some("tiny-1B"));
        assert_eq!(name("/hub/models--acme--tiny-1B").as_deref(), Some("tiny-1B"));
        assert_eq!(name("/hub/models--gpt2/snapshots/0123").as_deref(), Some("gpt2"));
        assert_eq!(name("/models/tiny"), None);
        assert_eq!(name("/hub/models--a--b/other"), None);
    }
}
