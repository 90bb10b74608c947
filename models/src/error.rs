//! The one error type of the crate. Every text names the thing, the place, what was expected, what was found and what to do.

use std::path::{Path, PathBuf};

use crate::fetch::Attempt;
use crate::units::Bytes;

/// What went wrong with a model: finding it, fetching it, reading it or writing it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The system refused an operation on a file.
    #[error("cannot {action} {}: {source}; {advice}", path.display())]
    Io {
        /// What was tried: `open`, `map`, `read`, `write`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
        /// What to do.
        advice: String,
    },
    /// The path leads to something that is no model at all: a folder without one, a web page, an archive.
    #[error("{} is not a model that can be read: {found}; {advice}", path.display())]
    NotAModel {
        /// The path as given.
        path: PathBuf,
        /// What lies there instead.
        found: String,
        /// What to do.
        advice: String,
    },
    /// A GGUF file breaks its format, or lacks what its architecture needs.
    #[error("GGUF {0}")]
    Gguf(Box<Fault>),
    /// A safetensors file, or the index of its shards, breaks its format or lacks a tensor.
    #[error("safetensors {0}")]
    Safetensors(Box<Fault>),
    /// A `config.json` that cannot be read or that describes an impossible model.
    #[error("config {0}")]
    Config(Box<Fault>),
    /// A tokenizer that cannot be built, or a text or id that it cannot take.
    #[error("tokenizer {0}")]
    Tokenizer(Box<Fault>),
    /// A chat template that does not parse or does not render.
    #[error("chat template {0}")]
    Template(Box<Fault>),
    /// A model that could not be had from anywhere, or that arrived damaged.
    #[error("fetch {0}")]
    Fetch(Box<Fault>),
    /// A file that no origin could give.
    #[error("cannot get {what}{}; give a local file (-m PATH.gguf), or measure without one (--synthetic)", list(.attempts))]
    Unavailable {
        /// `owner/repo:file@revision`.
        what: String,
        /// Every origin that was tried, and why it did not do.
        attempts: Vec<Attempt>,
    },
    /// Synthetic weights that cannot be planned or written.
    #[error("synthetic model {0}")]
    Synth(Box<Fault>),
    /// Weights that cannot be stored as another type.
    #[error("quantising {0}")]
    Quantise(Box<Fault>),
    /// The architecture is none of those that the decoder implements.
    #[error("{}: architecture `{found}` is not supported; supported are {supported}; take a model of one of these", file.display())]
    UnsupportedArchitecture {
        /// The file that names the architecture.
        file: PathBuf,
        /// Its name there.
        found: String,
        /// The names that would do, ready for reading.
        supported: String,
    },
    /// The weights are stored in a way that nothing here reads yet.
    #[error("{}: the weights are {found}; {advice}", file.display())]
    UnsupportedQuantisation {
        /// The file that says so.
        file: PathBuf,
        /// The scheme.
        found: String,
        /// What to do.
        advice: String,
    },
    /// A tensor was asked for that the checkpoint does not hold.
    #[error("{}: there is no tensor `{name}`{}; list the names with Checkpoint::tensors", file.display(), did_you_mean(.near))]
    UnknownTensor {
        /// The checkpoint.
        file: PathBuf,
        /// The name asked for.
        name: String,
        /// The nearest name that exists.
        near: Option<String>,
    },
    /// No model of the registry has this name.
    #[error("no model is called `{name}`{}; known models: {known}; a path to a .gguf file, a folder, or owner/repo[:file] works too", did_you_mean(.near))]
    UnknownModel {
        /// The name asked for.
        name: String,
        /// The nearest registered name.
        near: Option<String>,
        /// All registered names.
        known: String,
    },
    /// The disk has no room for what is about to be written.
    #[error("{}: {needed} are needed, {free} are free; free some space or choose another folder", path.display())]
    NoSpace {
        /// The file to be written.
        path: PathBuf,
        /// Its whole size.
        needed: Bytes,
        /// What the file system has left.
        free: Bytes,
    },
}

/// One broken place: where, what was expected, what was found, what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {place}: expected {expected}, found {found}; {advice}", file.display())]
pub struct Fault {
    /// The file (or, where there is none, the name of the thing).
    pub file: PathBuf,
    /// Byte offset, key, tensor, line: whatever leads to the place fastest.
    pub place: String,
    /// What a sound input has there.
    pub expected: String,
    /// What this one has.
    pub found: String,
    /// What to do about it.
    pub advice: String,
}

impl Fault {
    /// A fault in `file` at `place`, boxed as the variants of [`Error`] take it.
    pub fn at(
        file: impl AsRef<Path>,
        place: impl Into<String>,
        expected: impl Into<String>,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) -> Box<Self> {
        Box::new(Self {
            file: file.as_ref().to_path_buf(),
            place: place.into(),
            expected: expected.into(),
            found: found.into(),
            advice: advice.into(),
        })
    }
}

impl Error {
    /// The error of a file operation; the advice follows from what the system said.
    #[must_use]
    pub fn io(action: &'static str, path: &Path, source: std::io::Error) -> Self {
        use std::io::ErrorKind;
        let advice = match source.kind() {
            ErrorKind::NotFound => "check the path",
            ErrorKind::PermissionDenied => "check who owns it and its permissions",
            ErrorKind::IsADirectory | ErrorKind::NotADirectory => "check whether a file or a folder is meant",
            ErrorKind::StorageFull => "free some space or choose another folder",
            ErrorKind::OutOfMemory => "close other programs or take a smaller model",
            _ => "check the file and the disk that it lies on",
        };
        Self::Io { action, path: path.to_path_buf(), source, advice: advice.to_owned() }
    }
}

/// `: ORIGIN: REASON` for each origin.
fn list(attempts: &[Attempt]) -> String {
    let one = |attempt: &Attempt| format!("{}: {}", attempt.origin, attempt.failure);
    let all: Vec<String> = attempts.iter().map(one).collect();
    if all.is_empty() { String::new() } else { format!(": {}", all.join("; ")) }
}

/// `; did you mean X?` where there is a near name, else nothing.
fn did_you_mean(near: &Option<String>) -> String {
    near.as_ref().map_or_else(String::new, |near| format!("; did you mean `{near}`?"))
}

/// The name of `known` that is nearest to `wanted`, when it is near enough to be a slip (Jaro-Winkler 0.75 or more).
pub(crate) fn nearest<'a>(wanted: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let wanted = wanted.to_lowercase();
    known
        .into_iter()
        .map(|name| (strsim::jaro_winkler(&wanted, &name.to_lowercase()), name))
        .filter(|(score, _)| *score >= 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name.to_owned())
}
