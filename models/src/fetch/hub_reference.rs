//! [`HubReference`]: a repository of the hub, perhaps one file of it.

use std::fmt;

use crate::error::{Error, Mismatch, printable};

/// `owner/repo[:file][@revision]` or `owner/repo:QUANT[@revision]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubReference {
    /// `owner/repo`.
    pub repo: String,
    /// A branch, a tag or a commit; `None`: `main`.
    pub revision: Option<String>,
    /// One file of the repository; `None`: its only GGUF file, or its safetensors files.
    pub file: Option<String>,
    /// The quantisation whose GGUF file is meant, such as `Q4_K_M`, where no file is named.
    pub quant: Option<String>,
}

/// The hub's default branch.
pub(super) const DEFAULT_REVISION: &str = "main";

/// Whether what follows `owner/repo:` names a file rather than a quantisation: it has a folder, or an ending that files of models have.
fn names_file(text: &str) -> bool {
    const ENDINGS: [&str; 6] = [".bin", ".gguf", ".json", ".onnx", ".pth", ".safetensors"];
    let lower = text.to_lowercase();
    text.contains('/') || ENDINGS.iter().any(|ending| lower.ends_with(ending))
}

impl HubReference {
    pub(super) fn parse(text: &str) -> Result<Self, Error> {
        let (rest, revision) = match text.rsplit_once('@') {
            Some((rest, revision)) => (rest, Some(revision.to_owned())),
            None => (text, None),
        };
        let (repo, part) = match rest.split_once(':') {
            Some((repo, part)) => (repo.to_owned(), Some(part.to_owned())),
            None => (rest.to_owned(), None),
        };
        // `latest` is the tag that Ollama gives to a repository without one.
        let part = part.filter(|part| part != "latest");
        let (file, quant) = if part.as_deref().is_some_and(names_file) { (part, None) } else { (None, part) };
        Self { repo, revision, file, quant }.checked(text)
    }

    /// The reference itself, if its parts can be parts of addresses and file names; `text` is what the user wrote.
    pub(super) fn checked(self, text: &str) -> Result<Self, Error> {
        let halves = self.repo.split_once('/').filter(|(owner, name)| is_safe_segment(owner) && is_safe_segment(name));
        if halves.is_none() {
            return Err(invalid(text, "owner/repo of letters, digits, `.`, `_`, `-`", &format!("`{}`", self.repo)));
        }
        if let Some(file) = &self.file
            && !is_safe_path(file)
        {
            return Err(invalid(text, "a file inside the repository, without `..`", &format!("`{file}`")));
        }
        if let Some(quant) = &self.quant
            && !is_safe_segment(quant)
        {
            return Err(invalid(text, "a file or a quantisation after `:`", &format!("`{quant}`")));
        }
        if let Some(revision) = &self.revision
            && !is_safe_path(revision)
        {
            return Err(invalid(text, "a branch, tag or commit", &format!("`{revision}`")));
        }
        Ok(self)
    }

    /// The revision, or the default one.
    #[must_use]
    pub fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or(DEFAULT_REVISION)
    }
}

impl fmt::Display for HubReference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.repo)?;
        if let Some(part) = self.file.as_ref().or(self.quant.as_ref()) {
            write!(out, ":{part}")?;
        }
        if let Some(revision) = &self.revision {
            write!(out, "@{revision}")?;
        }
        Ok(())
    }
}

/// Whether `path` can be joined to a cache folder safely: it is relative, without `..` and hidden segments. Names from users and servers
/// become parts of URLs and file names.
pub(super) fn is_safe_path(path: &str) -> bool {
    path.len() <= 512 && path.split('/').all(is_safe_segment)
}

pub(super) fn is_safe_segment(segment: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-+=".contains(c);
    !segment.is_empty()
        && segment.len() <= 200
        && !segment.starts_with('.')
        && !segment.starts_with('-')
        && segment.chars().all(plain)
}

pub(super) fn invalid(text: &str, expected: &str, found: &str) -> Error {
    let advice = "give a registered name, a path to a .gguf file or a folder, or owner/repo[:file][@revision]";
    not_a_reference(text, expected, found, advice)
}

/// The error of a text that is no reference.
pub(super) fn not_a_reference(text: &str, expected: &str, found: &str, advice: &str) -> Error {
    let (text, found) = (redaction::redact(text), redaction::redact(found));
    Error::Reference(Mismatch::at(format!("`{}`", printable(&text)), "syntax", expected, &*found, advice))
}
