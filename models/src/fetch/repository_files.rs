//! Choosing the files of a repository from the names of all of them: one model in GGUF, perhaps in parts, or all files of a
//! safetensors model.

use std::path::Path;

use crate::checkpoint::Part;
use crate::error::OriginError;

/// The index of a model in several safetensors files.
pub(super) const INDEX: &str = "model.safetensors.index.json";

/// Small files that belong to a safetensors model, if they exist.
const SMALL_FILES: [&str; 8] = [
    "chat_template.jinja",
    "chat_template.json",
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
    /// A model in GGUF: one file, or all parts in order.
    Gguf(Vec<String>),
    /// A folder of these files.
    Folder(Vec<String>),
}

/// Chooses the model files from the names of all files of a repository: with `quant`, such as `Q4_K_M`, the GGUF files that have it in
/// their name.
pub(super) fn choose(names: &[&str], quant: Option<&str>) -> Result<ModelFiles, OriginError> {
    let models = models(names);
    if let Some(quant) = quant {
        let with: Vec<&str> = models.iter().copied().filter(|name| has_quantisation(name, quant)).collect();
        return match with[..] {
            [only] => Ok(ModelFiles::Gguf(parts(names, only))),
            [] => {
                Err(OriginError::NoSuchFile { wanted: quant.to_owned(), there: listed(&with_or_all(&models, names)) })
            }
            _ => Err(OriginError::SeveralModelFiles { count: with.len(), names: listed(&with) }),
        };
    }
    // Files such as `consolidated.safetensors` repeat the weights in another format.
    let shards = names
        .iter()
        .copied()
        .filter(|name| name.starts_with("model") && has_extension(name, "safetensors") && !name.contains('/'));
    let shards: Vec<&str> = shards.collect();
    if names.contains(&"config.json") && !shards.is_empty() {
        let is_small = |name: &&str| SMALL_FILES.contains(name) || *name == INDEX || is_further_template(name);
        let small = names.iter().copied().filter(is_small);
        return Ok(ModelFiles::Folder(small.chain(shards).map(str::to_owned).collect()));
    }
    match models[..] {
        [only] => Ok(ModelFiles::Gguf(parts(names, only))),
        [] => Err(OriginError::NoModelFile { there: listed(names) }),
        _ => Err(OriginError::SeveralModelFiles { count: models.len(), names: listed(&models) }),
    }
}

/// Whether a file is a chat template beside `chat_template.jinja`.
fn is_further_template(name: &str) -> bool {
    name.strip_prefix("additional_chat_templates/")
        .is_some_and(|file| has_extension(file, "jinja") && !file.contains('/'))
}

/// The parts of the model whose first part is `first`, or that file alone.
pub(super) fn parts(names: &[&str], first: &str) -> Vec<String> {
    let Some(part) = Part::of_name(Path::new(first)) else { return vec![first.to_owned()] };
    let of_same = |name: &&&str| {
        Part::of_name(Path::new(name)).is_some_and(|other| other.count == part.count && other.first() == part.first())
    };
    let mut all: Vec<String> = names.iter().filter(of_same).map(|name| (*name).to_owned()).collect();
    all.sort();
    all
}

/// The models among the GGUF files: without later parts, and without the projectors of multimodal models and importance matrices.
fn models<'a>(names: &[&'a str]) -> Vec<&'a str> {
    let is_model = |name: &&str| {
        let lower = name.to_lowercase();
        let is_later = Part::of_name(Path::new(name)).is_some_and(|part| part.number > 1);
        has_extension(name, "gguf") && !is_later && !lower.contains("mmproj") && !lower.contains("imatrix")
    };
    names.iter().copied().filter(is_model).collect()
}

fn has_extension(name: &str, extension: &str) -> bool {
    Path::new(name).extension().is_some_and(|own| own.eq_ignore_ascii_case(extension))
}

/// Whether the name, or a folder in it, states the quantisation. `Q4_K` is not in `m-Q4_K_M.gguf`, nor `Q4_XS` in `m-IQ4_XS.gguf`.
fn has_quantisation(name: &str, quant: &str) -> bool {
    let (name, quant) = (name.to_lowercase(), quant.to_lowercase());
    name.match_indices(&quant).any(|(at, _)| {
        let before = name[..at].chars().next_back();
        let after = name[at + quant.len()..].chars().next();
        before.is_none_or(|before| !before.is_alphanumeric()) && after.is_none_or(|after| "./-".contains(after))
    })
}

fn with_or_all<'a>(models: &[&'a str], names: &[&'a str]) -> Vec<&'a str> {
    if models.is_empty() { names.to_vec() } else { models.to_vec() }
}

/// The first names, for a message.
pub(super) fn listed(names: &[&str]) -> String {
    const SHOWN: usize = 12;
    let more = if names.len() > SHOWN { format!(" and {} more", names.len() - SHOWN) } else { String::new() };
    format!("{}{more}", names[..names.len().min(SHOWN)].join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str) -> ModelFiles {
        ModelFiles::Gguf(vec![name.to_owned()])
    }

    #[test]
    fn the_only_gguf_file_is_chosen() {
        assert_eq!(choose(&["README.md", "m.Q4_0.gguf"], None).unwrap(), one("m.Q4_0.gguf"));
        assert_eq!(choose(&["mmproj-m-f16.gguf", "m.Q4_0.gguf"], None).unwrap(), one("m.Q4_0.gguf"));
    }

    #[test]
    fn several_gguf_files_are_listed() {
        let error = choose(&["a.gguf", "b.gguf"], None).unwrap_err().to_string();
        assert!(error.contains("a.gguf, b.gguf"), "{error}");
    }

    #[test]
    fn a_quantisation_finds_its_file() {
        let names = [
            "README.md",
            "m-Q4_0.gguf",
            "m.Q4_K_M.gguf",
            "m-IQ4_XS.gguf",
            "m-UD-Q2_K_XL.gguf",
            "Q8_0/m-00001-of-00002.gguf",
            "Q8_0/m-00002-of-00002.gguf",
            "m-f16.gguf",
            "mmproj-f16.gguf",
        ];
        let find = |quant: &str| choose(&names, Some(quant));
        assert_eq!(find("Q4_0").unwrap(), one("m-Q4_0.gguf"));
        assert_eq!(find("q4_k_m").unwrap(), one("m.Q4_K_M.gguf"));
        assert_eq!(find("F16").unwrap(), one("m-f16.gguf"));
        assert_eq!(find("Q2_K_XL").unwrap(), one("m-UD-Q2_K_XL.gguf"));
        assert_eq!(find("Q8_0").unwrap(), ModelFiles::Gguf(vec![names[5].into(), names[6].into()]));
        for none in ["Q4_K", "Q4_XS", "Q5_0", "4_0"] {
            let there =
                "m-Q4_0.gguf, m.Q4_K_M.gguf, m-IQ4_XS.gguf, m-UD-Q2_K_XL.gguf, Q8_0/m-00001-of-00002.gguf, m-f16.gguf";
            let expected = format!("the repository has no file for `{none}`; it has {there}");
            assert_eq!(find(none).unwrap_err().to_string(), expected);
        }
        let several = choose(&["a-Q4_0.gguf", "b-Q4_0.gguf", "b-Q8_0.gguf"], Some("Q4_0")).unwrap_err().to_string();
        assert_eq!(several, "the repository has 2 such GGUF files (a-Q4_0.gguf, b-Q4_0.gguf)");
    }

    #[test]
    fn a_safetensors_model_includes_its_small_files() {
        let names = [
            "README.md",
            "config.json",
            "tokenizer.json",
            "additional_chat_templates/tool_use.jinja",
            "additional_chat_templates/notes.md",
            "additional_chat_templates/old/tool_use.jinja",
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
            INDEX,
            "consolidated.safetensors",
        ];
        let ModelFiles::Folder(files) = choose(&names, None).unwrap() else { panic!("no folder") };
        assert_eq!(files, ["config.json", "tokenizer.json", names[3], INDEX, names[6], names[7]]);
    }

    #[test]
    fn a_repository_without_a_model_is_an_error() {
        let error = choose(&["pytorch_model.bin", "config.json"], None).unwrap_err().to_string();
        assert!(error.contains("it has pytorch_model.bin, config.json"), "{error}");
    }
}
