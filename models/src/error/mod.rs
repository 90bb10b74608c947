//! The error type of the crate. Every error names the file, the place, what was expected, what was found and what to do.

mod fetch;

use std::path::{Path, PathBuf};

use crate::units::Bytes;

pub use fetch::{Attempt, OriginError, PipError};

/// An error of finding, fetching, reading or writing a model.
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
        /// The error of the system.
        source: std::io::Error,
        /// What to do.
        advice: String,
    },
    /// The path is not a model: a folder without one, a web page, an archive.
    #[error("{} is not a model that can be read: {found}; {advice}", path.display())]
    NotAModel {
        /// The path as given.
        path: PathBuf,
        /// What it is instead.
        found: String,
        /// What to do.
        advice: String,
    },
    /// A GGUF file is invalid, or lacks something that its architecture needs.
    #[error("GGUF {0}")]
    Gguf(Box<Mismatch>),
    /// A safetensors file or the index of its shards is invalid, or a tensor is missing.
    #[error("safetensors {0}")]
    Safetensors(Box<Mismatch>),
    /// A `config.json` that cannot be read or that describes an impossible model.
    #[error("config {0}")]
    Config(Box<Mismatch>),
    /// A tokenizer that cannot be built, or a text or id that it cannot process.
    #[error("tokenizer {0}")]
    Tokenizer(Box<Mismatch>),
    /// A chat template that cannot be parsed or rendered.
    #[error("chat template {0}")]
    Template(Box<Mismatch>),
    /// An invalid reference to a model.
    #[error("fetch {0}")]
    Fetch(Box<Mismatch>),
    /// A file that is available from no origin.
    #[error("cannot get {what}{}; give a local file (-m PATH.gguf), or measure without one (--synthetic)", list(.attempts))]
    Unavailable {
        /// `owner/repo:file@revision`.
        what: String,
        /// Every origin that was tried, with its error.
        attempts: Vec<Attempt>,
    },
    /// Synthetic weights that cannot be planned or written.
    #[error("synthetic model {0}")]
    Synth(Box<Mismatch>),
    /// Weights that cannot be quantised.
    #[error("quantising {0}")]
    Quantise(Box<Mismatch>),
    /// The architecture is not supported.
    #[error("{}: architecture `{found}` is not supported; supported are {supported}; take a model of one of these", file.display())]
    UnsupportedArchitecture {
        /// The file that names the architecture.
        file: PathBuf,
        /// Its name in the file.
        found: String,
        /// The supported names, as a list for the user.
        supported: String,
    },
    /// The weights are quantised in a way that is not supported.
    #[error("{}: the weights are {found}; {advice}", file.display())]
    UnsupportedQuantisation {
        /// The file that describes it.
        file: PathBuf,
        /// The scheme.
        found: String,
        /// What to do.
        advice: String,
    },
    /// The checkpoint has no tensor of the requested name.
    #[error("{}: there is no tensor `{name}`{}; list the names with Checkpoint::tensors", file.display(), did_you_mean(.near))]
    UnknownTensor {
        /// The checkpoint.
        file: PathBuf,
        /// The requested name.
        name: String,
        /// The nearest existing name.
        near: Option<String>,
    },
    /// No model of the registry has this name.
    #[error("no model is called `{name}`{}; known models: {known}; a path to a .gguf file, a folder, or owner/repo[:file] works too", did_you_mean(.near))]
    UnknownModel {
        /// The requested name.
        name: String,
        /// The nearest registered name.
        near: Option<String>,
        /// All registered names.
        known: String,
    },
    /// There is not enough free disk space for a file.
    #[error("{}: {needed} are needed, {free} are free; free some space or choose another folder", path.display())]
    NoSpace {
        /// The file to be written.
        path: PathBuf,
        /// Its whole size.
        needed: Bytes,
        /// The free space of the file system.
        free: Bytes,
    },
}

/// A place in an input that differs from what is expected there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {place}: expected {expected}, found {found}; {advice}", file.display())]
pub struct Mismatch {
    /// The file, or a name for input that is not a file.
    pub file: PathBuf,
    /// The place in the file: a byte offset, key, tensor or line.
    pub place: String,
    /// What a valid input has there.
    pub expected: String,
    /// What this input has there.
    pub found: String,
    /// What to do about it.
    pub advice: String,
}

impl Mismatch {
    /// A mismatch in `file` at `place`, boxed for the variants of [`Error`].
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
    /// The error of a file operation; the advice depends on the kind of system error.
    #[must_use]
    pub fn io(action: &'static str, path: &Path, source: std::io::Error) -> Self {
        use std::io::ErrorKind;
        let advice = match source.kind() {
            ErrorKind::NotFound => "check the path",
            ErrorKind::PermissionDenied => "check its owner and permissions",
            ErrorKind::IsADirectory | ErrorKind::NotADirectory => "check whether a file or a folder is meant",
            ErrorKind::StorageFull => "free some space or choose another folder",
            ErrorKind::OutOfMemory => "close other programs or take a smaller model",
            _ => "check the file and its disk",
        };
        Self::Io { action, path: path.to_path_buf(), source, advice: advice.to_owned() }
    }
}

/// `: ORIGIN: ERROR; ...` for all origins.
fn list(attempts: &[Attempt]) -> String {
    let one = |attempt: &Attempt| format!("{}: {}", attempt.origin, attempt.error);
    let all: Vec<String> = attempts.iter().map(one).collect();
    if all.is_empty() { String::new() } else { format!(": {}", all.join("; ")) }
}

/// `; did you mean X?` if there is a similar name, else nothing.
fn did_you_mean(near: &Option<String>) -> String {
    near.as_ref().map_or_else(String::new, |near| format!("; did you mean `{near}`?"))
}

/// The name of `known` that is most similar to `wanted`, if it is similar enough to be a typing error (Jaro-Winkler 0.75 or more).
pub(crate) fn nearest<'a>(wanted: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let wanted = wanted.to_lowercase();
    known
        .into_iter()
        .map(|name| (strsim::jaro_winkler(&wanted, &name.to_lowercase()), name))
        .filter(|(score, _)| *score >= 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name.to_owned())
}

/// A text of a file in a form that is safe to show: control characters escaped, at most 64 characters.
pub(crate) fn printable(text: &str) -> String {
    let mut shown: String = text.chars().take(64).flat_map(char::escape_debug).collect();
    if text.chars().nth(64).is_some() {
        shown.push_str("...");
    }
    shown
}
