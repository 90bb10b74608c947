//! What can go wrong in a run.

use std::path::{Path, PathBuf};

/// A run's failure. The text names the thing, what was expected, what was found and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command line asks for something that does not exist or does not fit together.
    #[error("{0}")]
    Usage(String),
    /// A model that cannot be found, read or made.
    #[error(transparent)]
    Model(#[from] models::Error),
    /// A file or folder that cannot be read or written.
    #[error("{path}: cannot {what}: {source}; {advice}", path = path.display(), advice = advice(source))]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What was tried, such as `write`.
        what: &'static str,
        /// The system's own words.
        source: std::io::Error,
    },
    /// A file whose content is not what it should be.
    #[error("{path}: {problem}; {advice}", path = path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What was expected and what was found.
        problem: String,
        /// What to do.
        advice: String,
    },
    /// A worker process could not be started or did not answer.
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

/// Whether the user or the machine is at fault: the exit code follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// Bad usage or input: exit code 2.
    Usage,
    /// It could not be done: exit code 1.
    Failed,
}

impl Error {
    /// Which exit code follows.
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Usage(_) | Self::Model(_) | Self::File { .. } | Self::Content { .. } => ErrorKind::Usage,
            Self::Worker { .. } | Self::Trace { .. } => ErrorKind::Failed,
        }
    }

    /// For `map_err` on an operation on a path.
    pub fn file(path: &Path, what: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::File { path, what, source }
    }
}

/// What to do about a file that the system refuses.
fn advice(source: &std::io::Error) -> &'static str {
    use std::io::ErrorKind as Io;
    match source.kind() {
        Io::NotFound => "check the path",
        Io::PermissionDenied | Io::ReadOnlyFilesystem => "choose another folder (--out), or change its permissions",
        Io::NotADirectory | Io::IsADirectory => "check whether a file or a folder is meant",
        Io::StorageFull | Io::QuotaExceeded => "free some space, or choose another folder (--out)",
        _ => "check the path and the disk that it lies on",
    }
}
