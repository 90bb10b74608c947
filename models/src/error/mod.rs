//! The error type of the crate. An error names the file, the place, what was expected and what was found; what to do about it is its
//! advice, which the texts of [`Display`](std::fmt::Display) do not contain.

mod cause;
mod fetch;
mod not_modelled;

use std::borrow::Cow;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::units::Bytes;

pub use cause::{Cause, CauseOrAdvice};
pub use fetch::{Attempt, OriginError, PipError};
pub use not_modelled::NotModelled;

/// An error of finding, fetching, reading or writing a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The system refused an operation on a file.
    #[error("cannot {action} {}: {source}", path.display())]
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
    #[error("{} is not a model that can be read: {found}", path.display())]
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
    #[error("model reference {0}")]
    Reference(Box<Mismatch>),
    /// A file that is available from no origin.
    #[error("cannot get {what}{}", list(.attempts))]
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
    #[error("{}: architecture `{found}` is not supported", file.display())]
    UnsupportedArchitecture {
        /// The file that names the architecture.
        file: PathBuf,
        /// Its name in the file.
        found: String,
        /// The supported names, as a list for the user.
        supported: String,
    },
    /// The shape of the model is needed and not known.
    #[error("{}: {reason}", reason.file.display())]
    NotModelled {
        /// Why it is not known.
        reason: Box<NotModelled>,
    },
    /// The weights are quantised in a way that is not supported.
    #[error("{}: the weights are {found}", file.display())]
    UnsupportedQuantisation {
        /// The file that describes it.
        file: PathBuf,
        /// The scheme.
        found: String,
        /// What to do.
        advice: String,
    },
    /// The checkpoint has no tensor of the requested name.
    #[error("{}: there is no tensor `{name}`", file.display())]
    UnknownTensor {
        /// The checkpoint.
        file: PathBuf,
        /// The requested name.
        name: String,
        /// The nearest existing name.
        near: Option<String>,
    },
    /// No model of the registry has this name.
    #[error("no model is called `{name}`")]
    UnknownModel {
        /// The requested name.
        name: String,
        /// The nearest registered name.
        near: Option<String>,
        /// All registered names.
        known: String,
    },
    /// There is not enough free disk space for a file.
    #[error("{}: {needed} are needed, {free} are free", path.display())]
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
#[error("{}: {place}: expected {expected}, found {found}", file.display())]
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
    /// The cause, where the advice is that of one.
    pub cause: Option<Cause>,
}

impl Mismatch {
    /// A mismatch in `file` at `place`, boxed for the variants of [`Error`]. The advice is a text or a [`Cause`].
    pub fn at(
        file: impl AsRef<Path>,
        place: impl Into<String>,
        expected: impl Into<String>,
        found: impl Into<String>,
        advice: impl Into<CauseOrAdvice>,
    ) -> Box<Self> {
        let CauseOrAdvice { cause, advice } = advice.into();
        Box::new(Self {
            file: file.as_ref().to_path_buf(),
            place: place.into(),
            expected: expected.into(),
            found: found.into(),
            advice,
            cause,
        })
    }
}

impl Error {
    /// What to do about the error, without flags of a command line.
    #[must_use]
    pub fn advice(&self) -> Cow<'_, str> {
        match self {
            Self::Io { advice, .. } | Self::NotAModel { advice, .. } | Self::UnsupportedQuantisation { advice, .. } => {
                advice.into()
            }
            Self::Gguf(mismatch)
            | Self::Safetensors(mismatch)
            | Self::Config(mismatch)
            | Self::Tokenizer(mismatch)
            | Self::Template(mismatch)
            | Self::Reference(mismatch)
            | Self::Synth(mismatch)
            | Self::Quantise(mismatch) => mismatch.advice.as_str().into(),
            Self::Unavailable { attempts, .. } => {
                let of_origins = attempts.iter().filter_map(|attempt| attempt.error.advice());
                let all: Vec<&str> = of_origins.chain(["give a local file, or use synthetic weights"]).collect();
                all.join("; ").into()
            }
            Self::UnsupportedArchitecture { supported, .. } => {
                format!("take a model of a supported architecture: {supported}").into()
            }
            Self::NotModelled { .. } => {
                "run it with the engine llama-cpp, which reads the file itself, or take a model that is described"
                    .into()
            }
            Self::UnknownTensor { near: Some(near), .. } => format!("did you mean `{near}`?").into(),
            Self::UnknownTensor { near: None, .. } => "check the names of the tensors in the file".into(),
            Self::UnknownModel { name, near, known } => {
                let near = near.as_ref().map_or_else(String::new, |near| format!("did you mean `{near}`? "));
                let others = "a path to a .gguf file, a folder, or owner/repo[:file] works too";
                // Only a path with a slash is taken for one, so that a folder cannot hide a registered model.
                let here = Path::new(name).exists();
                let here = if here { format!("to use what is here, give ./{name}; ") } else { String::new() };
                format!("{here}{near}known models: {known}; {others}").into()
            }
            Self::NoSpace { .. } => "free some space or choose another folder".into(),
        }
    }

    /// The error and its advice in one line: `PROBLEM; ADVICE`.
    #[must_use]
    pub fn with_advice(&self) -> String {
        format!("{self}; {}", self.advice())
    }

    /// The error of a file operation; the advice depends on the kind of system error.
    #[must_use]
    pub fn io(action: &'static str, path: &Path, source: std::io::Error) -> Self {
        let advice = io_advice(source.kind());
        Self::Io { action, path: path.to_path_buf(), source, advice: advice.to_owned() }
    }
}

/// What to do about an error of the system.
fn io_advice(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::NotFound => "check the path",
        ErrorKind::PermissionDenied => "check its owner and permissions",
        ErrorKind::IsADirectory | ErrorKind::NotADirectory => "check whether a file or a folder is meant",
        ErrorKind::StorageFull => "free some space or choose another folder",
        ErrorKind::OutOfMemory => "close other programs or take a smaller model",
        _ => "check the file and its disk",
    }
}

/// `: ORIGIN: ERROR; ...` for all origins.
fn list(attempts: &[Attempt]) -> String {
    let one = |attempt: &Attempt| format!("{}: {}", attempt.origin, attempt.error);
    let all: Vec<String> = attempts.iter().map(one).collect();
    if all.is_empty() { String::new() } else { format!(": {}", all.join("; ")) }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_is_separate_from_the_problem() {
        let error = Error::Gguf(Mismatch::at("m.gguf", "byte 4", "2 or 3", "9", "fetch it again"));
        assert_eq!(error.to_string(), "GGUF m.gguf: byte 4: expected 2 or 3, found 9");
        assert_eq!(error.advice(), "fetch it again");
        assert_eq!(error.with_advice(), "GGUF m.gguf: byte 4: expected 2 or 3, found 9; fetch it again");
    }

    #[test]
    fn the_advice_of_the_origins_comes_first() {
        let attempt = |origin: &str, error| Attempt { origin: origin.to_owned(), error };
        let gated = OriginError::Status { host: "hub".to_owned(), status: 403, code: None };
        let attempts = vec![attempt("the cache", OriginError::NotCached), attempt("https://hub", gated)];
        let error = Error::Unavailable { what: "o/r:m.gguf".to_owned(), attempts };
        let problem =
            "cannot get o/r:m.gguf: the cache: it is not there; https://hub: hub answered 403 (private or gated)";
        assert_eq!(error.to_string(), problem);
        let advice = "accept its terms on the hub and set HF_TOKEN; give a local file, or use synthetic weights";
        assert_eq!(error.advice(), advice);
    }
}
