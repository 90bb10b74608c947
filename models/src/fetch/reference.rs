//! Parsing references to models: registry names, paths and repositories of the hub.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::error::{Error, Mismatch};

/// A reference to a model, as users write it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// A name of the registry; it may be unknown.
    Name(String),
    /// A `.gguf` file, a `config.json`, or a folder in the Hugging Face layout.
    Path(PathBuf),
    /// A repository of the hub.
    Hub(HubReference),
}

/// `owner/repo[:file][@revision]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubReference {
    /// `owner/repo`.
    pub repo: String,
    /// A branch, a tag or a commit; `None`: `main`.
    pub revision: Option<String>,
    /// One file of the repository; `None`: its only GGUF file, or its safetensors files.
    pub file: Option<String>,
}

/// The hub's default branch.
pub(super) const DEFAULT_REVISION: &str = "main";

impl Reference {
    /// Parses a reference. A text that ends in `.gguf` or `.json`, begins with `.`, `/` or `~`, or is a path with a slash that exists, is a
    /// path; otherwise `owner/repo...` is a repository, and a text without a slash is a name.
    ///
    /// # Errors
    /// [`Error::Reference`] if it is none of these, or contains an invalid file or revision.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        if text.is_empty() {
            return Err(invalid(text, "a name, a path or owner/repo", "nothing"));
        }
        let is_single_word = !text.contains(['/', '\\']);
        let looks_like_path = text.starts_with(['.', '/', '~']) || is_model_file(text) && !text.contains(':');
        if looks_like_path || (!is_single_word && Path::new(text).exists()) {
            return Ok(Self::Path(PathBuf::from(text)));
        }
        // A single word is a name even if a folder of that name exists: `./NAME` is the folder.
        if is_single_word && !text.contains([':', '@']) {
            return if is_safe_segment(text) {
                Ok(Self::Name(text.to_owned()))
            } else {
                Err(invalid(text, "letters, digits, `.`, `_`, `-`", "other characters"))
            };
        }
        HubReference::parse(text).map(Self::Hub)
    }
}

fn is_model_file(text: &str) -> bool {
    let extension = Path::new(text).extension().map(std::ffi::OsStr::to_ascii_lowercase);
    extension.is_some_and(|extension| extension == "gguf" || extension == "json")
}

impl HubReference {
    fn parse(text: &str) -> Result<Self, Error> {
        let (rest, revision) = match text.rsplit_once('@') {
            Some((rest, revision)) => (rest, Some(revision)),
            None => (text, None),
        };
        let (repo, file) = match rest.split_once(':') {
            Some((repo, file)) => (repo, Some(file)),
            None => (rest, None),
        };
        let halves = repo.split_once('/').filter(|(owner, name)| is_safe_segment(owner) && is_safe_segment(name));
        if halves.is_none() {
            return Err(invalid(text, "owner/repo of letters, digits, `.`, `_`, `-`", &format!("`{repo}`")));
        }
        if let Some(file) = file
            && !is_safe_path(file)
        {
            return Err(invalid(text, "a file inside the repository, without `..`", &format!("`{file}`")));
        }
        if let Some(revision) = revision
            && !is_safe_path(revision)
        {
            return Err(invalid(text, "a branch, tag or commit", &format!("`{revision}`")));
        }
        Ok(Self { repo: repo.to_owned(), revision: revision.map(str::to_owned), file: file.map(str::to_owned) })
    }

    /// The revision, or the default one.
    #[must_use]
    pub fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or(DEFAULT_REVISION)
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::parse(text)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => out.write_str(name),
            Self::Path(path) => write!(out, "{}", path.display()),
            Self::Hub(hub) => hub.fmt(out),
        }
    }
}

impl fmt::Display for HubReference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.repo)?;
        if let Some(file) = &self.file {
            write!(out, ":{file}")?;
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

fn is_safe_segment(segment: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-+=".contains(c);
    !segment.is_empty()
        && segment.len() <= 200
        && !segment.starts_with('.')
        && !segment.starts_with('-')
        && segment.chars().all(plain)
}

fn invalid(text: &str, expected: &str, found: &str) -> Error {
    let advice = "give a registered name, a path to a .gguf file or a folder, or owner/repo[:file][@revision]";
    let (text, found) = (redaction::redact(text), redaction::redact(found));
    Error::Reference(Mismatch::at(format!("`{text}`"), "syntax", expected, &*found, advice))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub(repo: &str, file: Option<&str>, revision: Option<&str>) -> Reference {
        Reference::Hub(HubReference {
            repo: repo.into(),
            file: file.map(Into::into),
            revision: revision.map(Into::into),
        })
    }

    #[test]
    fn names_paths_and_repositories_are_distinguished() {
        let parse = |text: &str| Reference::parse(text).unwrap();
        assert_eq!(parse("smollm2-135m"), Reference::Name("smollm2-135m".into()));
        assert_eq!(parse("x.gguf"), Reference::Path("x.gguf".into()));
        assert_eq!(parse("a/b.GGUF"), Reference::Path("a/b.GGUF".into()));
        assert_eq!(parse("./mistral-7b"), Reference::Path("./mistral-7b".into()));
        assert_eq!(parse("shapes/config.json"), Reference::Path("shapes/config.json".into()));
        assert_eq!(parse("o/r"), hub("o/r", None, None));
        assert_eq!(parse("o/r:f/x.gguf"), hub("o/r", Some("f/x.gguf"), None));
        assert_eq!(parse("o/r:x.gguf@v1"), hub("o/r", Some("x.gguf"), Some("v1")));
        assert_eq!(parse("o/r@refs/pr/1"), hub("o/r", None, Some("refs/pr/1")));
    }

    #[test]
    fn a_folder_that_exists_is_a_path() {
        let folder = tempfile::tempdir().unwrap();
        let text = folder.path().to_str().unwrap();
        assert_eq!(Reference::parse(text).unwrap(), Reference::Path(folder.path().into()));
    }

    #[test]
    fn hostile_names_are_refused() {
        for text in [
            "o/r:../../etc/passwd",
            "o/r:/etc/passwd",
            "o/r@../x",
            "o/../r",
            "o/r:a\0b",
            "o/r:a\\b",
            "a b",
            "o/r/s",
            "o/r:",
            "o/-r",
            "",
        ] {
            assert!(Reference::parse(text).is_err(), "{text:?} was accepted");
        }
        insta::assert_snapshot!(Reference::parse("o/r:../x").unwrap_err().with_advice(), @"model reference `o/r:../x`: syntax: expected a file inside the repository, without `..`, found `../x`; give a registered name, a path to a .gguf file or a folder, or owner/repo[:file][@revision]");
    }

    #[test]
    fn display_is_parsed_back() {
        for text in ["smollm2-135m", "./x.gguf", "o/r:x.gguf@v1"] {
            assert_eq!(Reference::parse(text).unwrap().to_string(), text);
        }
    }
}
