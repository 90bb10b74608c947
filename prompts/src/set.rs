//! A prompt set in memory.

use std::path::Path;

use crate::{Error, SETS, parse};

/// Prompts that are measured together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    /// Its name.
    pub name: String,
    /// What it is for; may be empty.
    pub description: String,
    /// At least one prompt; their ids differ.
    pub prompts: Vec<Prompt>,
}

/// One prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// Its name in results: letters, digits, `-`, `_`, `.`; fit for a file name.
    pub id: String,
    /// What it tests; may be empty.
    pub tests: String,
    /// What goes into the model.
    pub input: Input,
    /// Tokens to generate; `None` = as the run says.
    pub new_tokens: Option<usize>,
}

/// What goes into the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A text of the user, in a conversation that a system text may open.
    Text {
        /// The user's text.
        text: String,
        /// The system's text.
        system: Option<String>,
    },
    /// Exactly so many tokens, whatever they are.
    Tokens(usize),
}

impl Set {
    /// A set of the registry.
    ///
    /// # Errors
    /// When no set has this name; the text lists those there are.
    pub fn named(name: &str) -> Result<Self, Error> {
        match SETS.iter().find(|source| source.name == name) {
            Some(source) => parse::parse(source.toml, name, name),
            None => {
                Err(Error::UnknownSet { name: name.to_owned(), known: SETS.iter().map(|source| source.name).collect() })
            }
        }
    }

    /// A set of the user's.
    ///
    /// # Errors
    /// When the file cannot be read or is no prompt set; the text carries line and column.
    pub fn from_file(path: &Path) -> Result<Self, Error> {
        let text =
            std::fs::read_to_string(path).map_err(|source| Error::Unreadable { path: path.to_owned(), source })?;
        let stem = path.file_stem().map_or_else(|| "prompts".to_owned(), |stem| stem.to_string_lossy().into_owned());
        parse::parse(&text, &path.display().to_string(), &stem)
    }

    /// A set from TOML text; `origin` is what errors call it, `name` its name unless the text gives one.
    ///
    /// # Errors
    /// When the text is no prompt set.
    pub fn from_toml(text: &str, origin: &str, name: &str) -> Result<Self, Error> {
        parse::parse(text, origin, name)
    }

    /// A set of one text without a name of its own: `--prompt TEXT`.
    pub fn of_text(text: &str) -> Self {
        Self::of("prompt", Input::Text { text: text.to_owned(), system: None })
    }

    /// A set of one exact length: `--prompt-tokens N`.
    pub fn of_tokens(tokens: usize) -> Self {
        Self::of(&format!("pp{tokens}"), Input::Tokens(tokens))
    }

    /// Whether a prompt is an exact length: generation then goes on past an end-of-generation token.
    pub fn has_exact_lengths(&self) -> bool {
        self.prompts.iter().any(|prompt| matches!(prompt.input, Input::Tokens(_)))
    }

    fn of(id: &str, input: Input) -> Self {
        let prompt = Prompt { id: id.to_owned(), tests: String::new(), input, new_tokens: None };
        Self { name: id.to_owned(), description: String::new(), prompts: vec![prompt] }
    }
}
