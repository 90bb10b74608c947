//! Why one origin could not give a file. Several of these make the one error that a user sees.

use std::path::PathBuf;

use crate::units::Bytes;

/// One origin that was tried, and why it did not do.
#[derive(Debug)]
pub struct Attempt {
    /// `the cache`, the hub's address, the mirror's package.
    pub origin: String,
    /// Why it failed.
    pub failure: Failure,
}

/// Why an origin could not give a file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// A cache without the file.
    #[error("it is not there")]
    NotCached,
    /// Connections are forbidden.
    #[error("offline (HF_HUB_OFFLINE is set)")]
    Offline,
    /// No package of the mirror holds this file.
    #[error("it does not carry this file")]
    NotMirrored,
    /// The server cannot be reached.
    #[error("{host} cannot be reached: {reason}")]
    Unreachable {
        /// Its name.
        host: String,
        /// What the network said.
        reason: String,
    },
    /// The server answered, but not with the file.
    #[error("{host} answered {status}{}", hint(*.status))]
    Status {
        /// Its name.
        host: String,
        /// The HTTP status.
        status: u16,
    },
    /// The server answered in a way that HTTP or the hub does not allow.
    #[error("{host} answered in an unexpected way: {found}")]
    Protocol {
        /// Its name.
        host: String,
        /// What was wrong.
        found: String,
    },
    /// The transfer broke off, as often as it was taken up.
    #[error("the transfer broke off at {got} of {}: {reason}", size(*.expected))]
    Cut {
        /// What has arrived; it is kept for the next time.
        got: Bytes,
        /// What should have arrived, where that is known.
        expected: Option<Bytes>,
        /// How it ended.
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
    /// The file is not what its name says.
    #[error("expected {expected}, found {found}")]
    NotThat {
        /// A GGUF file, a JSON document.
        expected: &'static str,
        /// What its first bytes say.
        found: String,
    },
    /// The repository holds no file, or several, that could be meant.
    #[error("{0}")]
    Choice(String),
    /// pip is missing or failed.
    #[error("{0}")]
    Pip(String),
    /// The archive is not what it should be.
    #[error("the package cannot be unpacked: {0}")]
    Archive(String),
    /// The disk has no room.
    #[error("{}: {needed} are needed, {free} are free", path.display())]
    NoSpace {
        /// Where it would go.
        path: PathBuf,
        /// How much is missing from the file.
        needed: Bytes,
        /// What the disk has.
        free: Bytes,
    },
    /// The system refused an operation on a file.
    #[error("cannot {action} {}: {source}", path.display())]
    Disk {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

impl Failure {
    /// The failure of a file operation.
    pub(super) fn disk(action: &'static str, path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Disk { action, path: path.to_path_buf(), source }
    }
}

/// What a status usually means on the hub.
fn hint(status: u16) -> &'static str {
    match status {
        401 | 403 => " (private or gated: accept its terms on the hub and set HF_TOKEN)",
        404 => " (no such repository, revision or file)",
        429 => " (too many requests: wait a little)",
        500..=599 => " (the server's fault: try again later)",
        _ => "",
    }
}

fn size(expected: Option<Bytes>) -> String {
    expected.map_or_else(|| "an unknown size".to_owned(), |bytes| bytes.to_string())
}
