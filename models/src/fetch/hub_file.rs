//! A file of a repository on the hub, with what is known of its content.

use crate::registry::{Entry, MODELS, Mirror, Source};
use crate::units::Bytes;

use super::hub_reference::{DEFAULT_REVISION, HubReference};

/// A file of the hub.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct HubFile {
    pub(super) repo: String,
    pub(super) revision: String,
    pub(super) file: String,
    pub(super) expected: ExpectedContent,
    /// A Python package that contains the file.
    pub(super) mirror: Option<Mirror>,
}

/// What is known of the content of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ExpectedContent {
    pub(super) bytes: Option<Bytes>,
    /// 64 lowercase hexadecimal digits.
    pub(super) sha256: Option<String>,
}

impl HubFile {
    /// A file of the registry.
    pub(super) fn registered(source: &Source, mirror: Option<Mirror>) -> Self {
        Self {
            repo: source.repo.to_owned(),
            revision: source.revision.to_owned(),
            file: source.file.to_owned(),
            expected: ExpectedContent { bytes: source.bytes, sha256: source.sha256.map(str::to_owned) },
            mirror,
        }
    }

    /// A file that the user named. If the registry has the same file, its size and digest are expected.
    pub(super) fn named(repo: &str, revision: Option<&str>, file: &str) -> Self {
        let is_same = |entry: &&Entry| {
            entry.gguf.repo == repo
                && entry.gguf.file == file
                && revision.is_none_or(|revision| revision == entry.gguf.revision)
        };
        match MODELS.iter().find(is_same) {
            Some(entry) => Self::registered(&entry.gguf, entry.mirror),
            None => Self {
                repo: repo.to_owned(),
                revision: revision.unwrap_or(DEFAULT_REVISION).to_owned(),
                file: file.to_owned(),
                expected: ExpectedContent::default(),
                mirror: None,
            },
        }
    }

    pub(super) fn reference(&self) -> HubReference {
        let (revision, file) = (Some(self.revision.clone()), Some(self.file.clone()));
        HubReference { repo: self.repo.clone(), revision, file, quant: None }
    }
}
