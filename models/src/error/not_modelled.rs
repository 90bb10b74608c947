//! Why the shape of a valid model is not known.

use std::path::{Path, PathBuf};

use super::{Cause, Error, Mismatch};

/// A model of an architecture, or of a variant of one, that is not described here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("architecture `{architecture}` is not modelled: {missing}")]
pub struct NotModelled {
    /// The file that names the architecture.
    pub file: PathBuf,
    /// Its name in the file.
    pub architecture: String,
    /// The part of the model that is not described: a place in the file, what descriptions have there, and what it has.
    pub missing: String,
}

impl NotModelled {
    /// The model of an error that says that a valid file asks for something that is not implemented; any other error is returned.
    pub(crate) fn of(architecture: &str, file: &Path, error: Error) -> Result<Self, Error> {
        let missing = match &error {
            Error::UnsupportedArchitecture { supported, .. } => format!("described are {supported}"),
            Error::Gguf(mismatch) if mismatch.cause == Some(Cause::Unsupported) => part(mismatch),
            _ => return Err(error),
        };
        Ok(Self { file: file.to_path_buf(), architecture: architecture.to_owned(), missing })
    }
}

/// The place of a mismatch, and what was expected and found there.
fn part(Mismatch { place, expected, found, .. }: &Mismatch) -> String {
    format!("{place}: expected {expected}, found {found}")
}
