//! Parsing references to models: registry names, paths, addresses and repositories of the hub.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::address::{self, Address};
use super::hub_reference::{HubReference, invalid, is_safe_segment, not_a_reference};
use super::ollama;
use crate::error::Error;
use crate::filesystem::home;
use crate::registry;

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

impl Reference {
    /// Parses a reference. An address (`https://huggingface.co/...`, `hf.co/owner/repo`, `file://`) is what it names. A text that ends in
    /// `.gguf`, `.json` or `.safetensors`, begins with `.`, `/` or `~`, or is a path with a slash that exists, is a path; otherwise
    /// `owner/repo...` is a repository, and a text without a slash is a name.
    ///
    /// # Errors
    /// [`Error::Reference`] if it is none of these, or contains an invalid file or revision.
    pub fn parse(text: &str) -> Result<Self, Error> {
        Self::parse_with(text, &std::env::var("HF_ENDPOINT").unwrap_or_default(), home())
    }

    /// The same for a hub at `endpoint` and a user whose home folder is `home`.
    fn parse_with(text: &str, endpoint: &str, home: Option<PathBuf>) -> Result<Self, Error> {
        let text = text.trim();
        if text.is_empty() {
            return Err(invalid(text, "a name, a path or owner/repo", "nothing"));
        }
        if let Some(address) = address::parse(text, endpoint) {
            return address.map(|address| match address {
                Address::File(path) => Self::Path(path),
                Address::Hub(hub) => Self::Hub(hub),
            });
        }
        // The shell expands `~` only at the start of a word, not in `--model=~/x.gguf`.
        if let (Some(rest), Some(home)) = (text.strip_prefix('~'), home)
            && (rest.is_empty() || rest.starts_with('/'))
        {
            return Ok(Self::Path(home.join(rest.trim_start_matches('/'))));
        }
        let is_single_word = !text.contains(['/', '\\']);
        let looks_like_path = text.starts_with(['.', '/', '~']) || is_model_file(text) && !text.contains(':');
        let exists = Path::new(text).exists();
        if looks_like_path || exists && (!is_single_word || text.contains(':')) {
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
        if is_single_word
            && let Some((name, tag)) = text.split_once(':')
            && is_safe_segment(name)
            && is_safe_segment(tag)
        {
            return Err(tagged_name(text, name, tag));
        }
        HubReference::parse(text).map(Self::Hub)
    }
}

/// The error of `name:tag`, as Ollama names its models.
fn tagged_name(text: &str, name: &str, tag: &str) -> Error {
    let (found, advice) = match (registry::find(name), ollama::model_file(text)) {
        (Ok(entry), _) => (
            format!("`:{tag}` behind a registered name"),
            format!("give {} alone, and the quantisation as an option of its own", entry.name),
        ),
        (Err(_), Some(file)) => {
            ("a name of Ollama".to_owned(), format!("Ollama has this model on this machine: give {}", file.display()))
        }
        (Err(_), None) => (
            "a name of Ollama".to_owned(),
            format!(
                "give the file that `ollama show --modelfile {text}` prints after FROM, or measure Ollama's server"
            ),
        ),
    };
    not_a_reference(text, "owner/repo, a path or a registered name", &found, &advice)
}

fn is_model_file(text: &str) -> bool {
    let extension = Path::new(text).extension().map(std::ffi::OsStr::to_ascii_lowercase);
    extension.is_some_and(|extension| ["gguf", "json", "safetensors"].iter().any(|known| extension == *known))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn hub(repo: &str, file: Option<&str>, revision: Option<&str>) -> Reference {
        Reference::Hub(HubReference {
            repo: repo.into(),
            file: file.map(Into::into),
            revision: revision.map(Into::into),
            quant: None,
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
        assert_eq!(parse("o/r:latest"), hub("o/r", None, None));
        assert_eq!(parse("o/r:model.safetensors"), hub("o/r", Some("model.safetensors"), None));
        assert_eq!(parse("model.safetensors"), Reference::Path("model.safetensors".into()));
    }

    #[test]
    fn a_quantisation_is_not_a_file() {
        for (text, quant) in [("o/r:Q4_K_M", "Q4_K_M"), ("o/r:q8_0@v1", "q8_0"), ("o/r-1.5B-GGUF:IQ4_XS", "IQ4_XS")] {
            let Reference::Hub(parsed) = Reference::parse(text).unwrap() else { panic!("{text}") };
            assert_eq!((parsed.file.as_deref(), parsed.quant.as_deref()), (None, Some(quant)), "{text}");
            assert_eq!(parsed.to_string(), text);
        }
    }

    #[test]
    fn the_home_folder_is_expanded() {
        let parse = |text: &str| Reference::parse_with(text, "", Some("/home/u".into())).unwrap();
        assert_eq!(parse("~/models/x.gguf"), Reference::Path("/home/u/models/x.gguf".into()));
        assert_eq!(parse("~"), Reference::Path("/home/u".into()));
        assert_eq!(parse("~other/x.gguf"), Reference::Path("~other/x.gguf".into()));
    }

    #[test]
    fn names_of_ollama_are_answered_with_what_to_do() {
        let shown = |text: &str| Reference::parse(text).unwrap_err().with_advice();
        insta::assert_snapshot!(shown("no-such-model-of-tests:1b"), @"model reference `no-such-model-of-tests:1b`: syntax: expected owner/repo, a path or a registered name, found a name of Ollama; give the file that `ollama show --modelfile no-such-model-of-tests:1b` prints after FROM, or measure Ollama's server");
        insta::assert_snapshot!(shown("smollm2-135m:q8_0"), @"model reference `smollm2-135m:q8_0`: syntax: expected owner/repo, a path or a registered name, found `:q8_0` behind a registered name; give smollm2-135m alone, and the quantisation as an option of its own");
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
