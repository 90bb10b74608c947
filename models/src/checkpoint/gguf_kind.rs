//! GGUF files that are not the weights of a model, named as what they are: adapters, projectors, importance matrices, vocabularies.

use std::path::{Path, PathBuf};

use crate::container::gguf::Header;
use crate::error::{Error, printable};

/// Refuses a file that is not the weights of a model.
pub(super) fn check(path: &Path, header: &Header) -> Result<(), Error> {
    let metadata = &header.metadata;
    let text = |key: &str| metadata.text(key).ok().flatten();
    let arch = text("general.architecture").unwrap_or_default();
    let has = |prefix: &str| metadata.iter().any(|(key, _)| key.starts_with(prefix));
    let all_tensors = |suffixes: [&str; 2]| {
        let ends = |name: &str| suffixes.iter().any(|suffix| name.ends_with(suffix));
        !header.tensors.is_empty() && header.tensors.iter().all(|tensor| ends(&tensor.name))
    };
    // Files that are older than `general.type` are known by their keys and tensors.
    let kind = match (text("general.type"), arch) {
        (Some("adapter"), _) => Kind::Adapter,
        (Some("imatrix"), _) => Kind::Imatrix,
        (Some("mmproj"), _) | (_, "clip") => Kind::Projector,
        (_, "controlvector") => Kind::ControlVector,
        (Some(kind), _) if kind != "model" && kind != "vocab" => Kind::Other(printable(kind)),
        _ if has("adapter.") || all_tensors([".lora_a", ".lora_b"]) => Kind::Adapter,
        _ if has("imatrix.") || all_tensors([".in_sum2", ".counts"]) => Kind::Imatrix,
        _ if header.tensors.is_empty() => Kind::Vocabulary,
        _ => return Ok(()),
    };
    let (found, advice) = kind.text(arch);
    let advice = format!("{advice}{}", others(path));
    Err(Error::NotAModel { path: path.to_path_buf(), found, advice })
}

/// What a GGUF file is that is not a model.
enum Kind {
    Adapter,
    Imatrix,
    Projector,
    ControlVector,
    Vocabulary,
    Other(String),
}

impl Kind {
    /// What the file is, and what to do. `arch` is the architecture that it names, if it names one.
    fn text(&self, arch: &str) -> (String, &'static str) {
        let of =
            if arch.is_empty() { String::new() } else { format!(" for a model of architecture {}", printable(arch)) };
        match self {
            Self::Adapter => (
                format!("it is a LoRA adapter{of}, not a model"),
                "give the model that it adapts; llama.cpp's `llama-export-lora` merges both into one file",
            ),
            Self::Imatrix => (
                "it is an importance matrix, which llama.cpp's `llama-quantize` reads, not a model".to_owned(),
                "give the file of the model",
            ),
            Self::Projector => (
                "it is the projector (mmproj) that a multimodal model needs for images or sound, not the language model"
                    .to_owned(),
                "give the file of the language model",
            ),
            Self::ControlVector => {
                ("it is a control vector, not a model".to_owned(), "give the model that it controls")
            }
            Self::Vocabulary => {
                ("it is a vocabulary alone, without weights".to_owned(), "give a file that contains the whole model")
            }
            Self::Other(kind) => (format!("it says that it is of type `{kind}`, not a model"), "give the file of a model"),
        }
    }
}

/// The other GGUF files of the folder, for the end of an advice.
fn others(path: &Path) -> String {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut names: Vec<PathBuf> = super::listing::gguf_files(folder);
    names.retain(|other| other.file_name() != path.file_name());
    if names.is_empty() { String::new() } else { format!("; the folder also has {}", super::listing::names(&names)) }
}
