//! Errors of runs and their files. `Display` gives the problem alone; the advice is apart from it.

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};

use engine_api::Advice;

/// An error of a run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request names something that does not exist, or its parts do not fit together.
    #[error("{0}")]
    Usage(Box<dyn Advice + Send + Sync>),
    /// A model that cannot be found, read or made.
    #[error(transparent)]
    Model(#[from] models::Error),
    /// A file or folder that cannot be read or written.
    #[error("{path}: cannot {what}: {source}", path = path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// The operation, such as `write`.
        what: &'static str,
        /// The error of the system.
        source: io::Error,
    },
    /// A file whose content is not valid.
    #[error("{path}: {problem}", path = path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What was expected and what was found.
        problem: String,
        /// What to do.
        advice: String,
    },
    /// A worker process that did not start or did not answer.
    #[error("worker of {worker}: {problem}")]
    Worker {
        /// Engine, model and threads.
        worker: String,
        /// What happened.
        problem: String,
    },
    /// A trace that cannot be written or read.
    #[error("{path}: {problem}", path = path.display())]
    Trace {
        /// The trace file.
        path: PathBuf,
        /// What happened.
        problem: String,
    },
}

/// A wrong request in words.
#[derive(Debug, thiserror::Error)]
#[error("{problem}")]
struct WrongRequest {
    problem: String,
    advice: String,
}

impl Advice for WrongRequest {
    fn advice(&self) -> Option<Cow<'_, str>> {
        Some(self.advice.as_str().into())
    }
}

/// The kind of an error, which determines the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// Bad usage or input: exit code 2.
    Usage,
    /// The run failed: exit code 1.
    Failed,
}

impl Error {
    /// A wrong request, with what to do about it.
    pub fn usage(problem: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::from_advice(WrongRequest { problem: problem.into(), advice: advice.into() })
    }

    /// A wrong request, from an error that carries its own advice.
    pub fn from_advice(error: impl Advice + Send + Sync + 'static) -> Self {
        Self::Usage(Box::new(error))
    }

    /// Which exit code follows.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Usage(_) | Self::Model(_) | Self::Content { .. } => ErrorKind::Usage,
            Self::File { source, .. } if is_of_the_machine(source.kind()) => ErrorKind::Failed,
            Self::File { .. } => ErrorKind::Usage,
            Self::Worker { .. } | Self::Trace { .. } => ErrorKind::Failed,
        }
    }

    /// For `map_err` on reading a text file.
    pub fn text(path: &Path) -> impl FnOnce(text_input::Error) -> Self {
        let path = path.to_path_buf();
        move |error| match error {
            text_input::Error::Io(source) => Self::File { path, what: "read", source },
            other => Self::Content {
                path,
                problem: other.to_string(),
                advice: other.advice().unwrap_or("check the path").to_owned(),
            },
        }
    }

    /// For `map_err` on an operation on a path.
    pub fn file(path: &Path, what: &'static str) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::File { path, what, source }
    }
}

impl Advice for Error {
    fn advice(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Usage(error) => error.advice(),
            Self::Model(error) => Some(error.advice()),
            Self::File { source, .. } => Some(advice_for(source.kind()).into()),
            Self::Content { advice, .. } => Some(advice.into()),
            Self::Worker { .. } | Self::Trace { .. } => None,
        }
    }
}

/// Whether no other request would have helped: the disk is full or broken, or memory is short.
const fn is_of_the_machine(kind: io::ErrorKind) -> bool {
    use io::ErrorKind as Io;
    !matches!(
        kind,
        Io::NotFound
            | Io::PermissionDenied
            | Io::ReadOnlyFilesystem
            | Io::NotADirectory
            | Io::IsADirectory
            | Io::AlreadyExists
            | Io::InvalidFilename
            | Io::InvalidInput
    )
}

/// What to do about a file that the system refuses.
const fn advice_for(kind: io::ErrorKind) -> &'static str {
    use io::ErrorKind as Io;
    match kind {
        Io::NotFound => "check the path",
        Io::PermissionDenied | Io::ReadOnlyFilesystem => "choose another folder, or change its permissions",
        Io::NotADirectory | Io::IsADirectory => "check whether a file or a folder is meant",
        Io::StorageFull | Io::QuotaExceeded => "free some space, or choose a folder on another disk",
        _ => "check the path and the disk that holds it",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_not_bad_usage() {
        let error = |kind: io::ErrorKind| Error::file(Path::new("runs/x"), "write")(kind.into());
        assert_eq!(error(io::ErrorKind::StorageFull).kind(), ErrorKind::Failed);
        assert_eq!(error(io::ErrorKind::QuotaExceeded).kind(), ErrorKind::Failed);
        assert_eq!(error(io::ErrorKind::NotFound).kind(), ErrorKind::Usage);
        assert_eq!(error(io::ErrorKind::PermissionDenied).kind(), ErrorKind::Usage);
    }

    #[test]
    fn the_advice_is_apart_from_the_problem() {
        let error = Error::usage("0 runs: at least one is needed", "leave it out for 5");
        assert_eq!(error.to_string(), "0 runs: at least one is needed");
        assert_eq!(error.advice().as_deref(), Some("leave it out for 5"));
        assert!(error.with_advice().ends_with("; leave it out for 5"));
    }
}
