//! Choosing the files of a repository if none is named: its only GGUF file, or all files of a safetensors model.

use crate::error::OriginError;

/// The index of a model in several safetensors files.
pub(super) const INDEX: &str = "model.safetensors.index.json";

/// Small files that belong to a safetensors model, if they exist.
const SMALL_FILES: [&str; 7] = [
    "chat_template.jinja",
    "config.json",
    "generation_config.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
];

/// The model files of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ModelFiles {
    /// One GGUF file.
    File(String),
    /// A folder of these files.
    Folder(Vec<String>),
}

/// Chooses the model files from the names of all files of a repository.
pub(super) fn choose(names: &[&str]) -> Result<ModelFiles, OriginError> {
    let has_extension = |name: &str, extension: &str| {
        std::path::Path::new(name).extension().is_some_and(|e| e.eq_ignore_ascii_case(extension))
    };
    let ggufs: Vec<&str> = names.iter().copied().filter(|name| has_extension(name, "gguf")).collect();
    // Files such as `consolidated.safetensors` repeat the weights in another format.
    let shards = names
        .iter()
        .copied()
        .filter(|name| name.starts_with("model") && has_extension(name, "safetensors") && !name.contains('/'));
    let shards: Vec<&str> = shards.collect();
    if names.contains(&"config.json") && !shards.is_empty() {
        let small = names.iter().copied().filter(|name| SMALL_FILES.contains(name) || *name == INDEX);
        return Ok(ModelFiles::Folder(small.chain(shards).map(str::to_owned).collect()));
    }
    match ggufs[..] {
        [only] => Ok(ModelFiles::File(only.to_owned())),
        [] => Err(OriginError::NoModelFile),
        _ => {
            const SHOWN: usize = 12;
            let more = if ggufs.len() > SHOWN { format!(" and {} more", ggufs.len() - SHOWN) } else { String::new() };
            let names = format!("{}{more}", ggufs[..ggufs.len().min(SHOWN)].join(", "));
            Err(OriginError::SeveralModelFiles { count: ggufs.len(), names })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_only_gguf_file_is_chosen() {
        assert_eq!(choose(&["README.md", "m.Q4_0.gguf"]).unwrap(), ModelFiles::File("m.Q4_0.gguf".into()));
    }

    #[test]
    fn several_gguf_files_are_listed() {
        let error = choose(&["a.gguf", "b.gguf"]).unwrap_err().to_string();
        assert!(error.contains("a.gguf, b.gguf"), "{error}");
    }

    #[test]
    fn a_safetensors_model_includes_its_small_files() {
        let names = [
            "README.md",
            "config.json",
            "tokenizer.json",
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
            INDEX,
            "consolidated.safetensors",
        ];
        let ModelFiles::Folder(files) = choose(&names).unwrap() else { panic!("no folder") };
        assert_eq!(files, ["config.json", "tokenizer.json", INDEX, names[3], names[4]]);
    }

    #[test]
    fn a_repository_without_a_model_is_an_error() {
        assert!(choose(&["pytorch_model.bin", "config.json"]).is_err());
    }
}
