//! [`Set`]: the prompts of a run, built in, from a TOML file, or from one text or length.
//!
//! Every error in a TOML text has its line and column.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

use serde::Deserialize;
use toml::Spanned;

use crate::error::{Error, Position};
use crate::{BuiltInSet, SETS};

/// The largest number of characters in an id, which becomes a part of file names.
const MAX_ID_LENGTH: usize = 64;

/// More tokens than any context that a model is trained for.
const MAX_TOKENS: usize = 1 << 24;

/// The advice about a text that has the wrong syntax or fields.
const FIELDS_ADVICE: &str = "correct the line: the fields of a [[prompt]] are `id`, `tests`, `text`, `system`, `prompt_tokens` and \
                             `new_tokens`";

/// Prompts that are measured together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    /// Its name.
    pub name: String,
    /// Its purpose; may be empty.
    pub description: String,
    /// At least one prompt, with unique ids.
    pub prompts: Vec<Prompt>,
}

/// One prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// Its name in results: letters, digits, `-`, `_`, `.`; usable in a file name.
    pub id: String,
    /// What it tests; may be empty.
    pub tests: String,
    /// The input of the model.
    pub input: Input,
    /// The number of tokens to generate; `None` uses the setting of the run.
    pub new_tokens: Option<usize>,
}

/// The input of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A user message, with an optional system message before it.
    Text {
        /// The user message.
        text: String,
        /// The system message.
        system: Option<String>,
    },
    /// Exactly this number of arbitrary tokens.
    Tokens(usize),
}

impl Set {
    /// The built-in set with this name.
    ///
    /// # Errors
    /// When no set has this name; the advice lists all names.
    pub fn named(name: &str) -> Result<Self, Error> {
        match SETS.iter().find(|set| set.name == name) {
            Some(BuiltInSet { toml, .. }) => Self::from_toml(toml, name, name),
            None => Err(Error::UnknownSet { name: name.to_owned(), known: SETS.iter().map(|set| set.name).collect() }),
        }
    }

    /// A set from a TOML file.
    ///
    /// # Errors
    /// When the file cannot be read or is not a prompt set; the error has the line and the column.
    pub fn from_file(path: &Path) -> Result<Self, Error> {
        let text = text_input::read(path).map_err(|source| Error::Unreadable { path: path.to_owned(), source })?;
        let stem = path.file_stem().map_or_else(|| "prompts".to_owned(), |stem| stem.to_string_lossy().into_owned());
        Self::from_toml(&text, &path.display().to_string(), &stem)
    }

    /// A set from a TOML text. `origin` names the text in errors; `name` is the name of the set if the text has none.
    ///
    /// # Errors
    /// When the text is not a prompt set.
    pub fn from_toml(text: &str, origin: &str, name: &str) -> Result<Self, Error> {
        let source = SourceText { text, origin };
        let file: File = toml::from_str(text).map_err(|error| {
            let problem = error.message().lines().map(str::trim).collect::<Vec<_>>().join(", ");
            source.error(error.span().unwrap_or(0..0), problem, FIELDS_ADVICE)
        })?;
        if file.prompt.is_empty() {
            return Err(source.error(
                0..0,
                "the set has no prompt".to_owned(),
                "add a [[prompt]] with an `id` and a `text`",
            ));
        }
        let name = match file.name {
            Some(name) => source.identifier("name", name)?.into_inner(),
            None => name.to_owned(),
        };
        let mut lines = HashMap::new();
        let mut prompts = Vec::with_capacity(file.prompt.len());
        for entry in file.prompt {
            prompts.push(source.prompt(entry, &mut lines)?);
        }
        Ok(Self { name, description: file.description, prompts })
    }

    /// A set of one text.
    pub fn of_text(text: &str) -> Self {
        Self::of("prompt", Input::Text { text: text.to_owned(), system: None })
    }

    /// A set of one prompt with an exact length.
    pub fn of_tokens(tokens: usize) -> Self {
        Self::of(&format!("pp{tokens}"), Input::Tokens(tokens))
    }

    /// Whether a prompt has an exact length: then generation continues after an end-of-generation token.
    pub fn has_exact_lengths(&self) -> bool {
        self.prompts.iter().any(|prompt| matches!(prompt.input, Input::Tokens(_)))
    }

    fn of(id: &str, input: Input) -> Self {
        let prompt = Prompt { id: id.to_owned(), tests: String::new(), input, new_tokens: None };
        Self { name: id.to_owned(), description: String::new(), prompts: vec![prompt] }
    }
}

/// The TOML file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: Option<Spanned<String>>,
    #[serde(default)]
    description: String,
    #[serde(default)]
    prompt: Vec<Spanned<Entry>>,
}

/// One `[[prompt]]` of the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: Option<Spanned<String>>,
    #[serde(default)]
    tests: String,
    text: Option<Spanned<String>>,
    system: Option<Spanned<String>>,
    prompt_tokens: Option<Spanned<u64>>,
    new_tokens: Option<Spanned<u64>>,
}

/// A TOML text, to locate errors.
struct SourceText<'a> {
    text: &'a str,
    origin: &'a str,
}

impl SourceText<'_> {
    fn error(&self, span: Range<usize>, problem: String, advice: &'static str) -> Error {
        let position = Position::of(self.text, span.start);
        Error::Invalid { origin: self.origin.to_owned(), position, problem, advice }
    }

    /// `lines` has the line of each id so far.
    fn prompt(&self, entry: Spanned<Entry>, lines: &mut HashMap<String, usize>) -> Result<Prompt, Error> {
        let span = entry.span();
        let entry = entry.into_inner();
        let Some(id) = entry.id else {
            return Err(self.error(
                span,
                "this prompt has no `id`".to_owned(),
                "add `id = \"...\"`, a name that no other prompt of the set has",
            ));
        };
        let id = self.identifier("id", id)?;
        let line = Position::of(self.text, id.span().start).line;
        if let Some(first) = lines.insert(id.get_ref().clone(), line) {
            let problem = format!("the id \"{}\" is already used by the prompt at line {first}", id.get_ref());
            return Err(self.error(id.span(), problem, "give each prompt a unique id"));
        }
        let input = match (entry.text, entry.prompt_tokens) {
            (Some(text), None) => self.text_input(text, entry.system)?,
            (None, Some(tokens)) => {
                if let Some(system) = entry.system {
                    return Err(self.error(
                        system.span(),
                        "`system` and `prompt_tokens` exclude each other: an exact length has no text".to_owned(),
                        "remove one of them",
                    ));
                }
                Input::Tokens(self.positive("prompt_tokens", &tokens)?)
            }
            (Some(_), Some(tokens)) => {
                let problem = format!("the prompt \"{}\" has both `text` and `prompt_tokens`", id.get_ref());
                return Err(self.error(tokens.span(), problem, "keep one: a text, or an exact length"));
            }
            (None, None) => {
                let problem = format!("the prompt \"{}\" has neither `text` nor `prompt_tokens`", id.get_ref());
                return Err(self.error(span, problem, "add one: a text, or an exact length"));
            }
        };
        let new_tokens = entry.new_tokens.map(|tokens| self.positive("new_tokens", &tokens)).transpose()?;
        Ok(Prompt { id: id.into_inner(), tests: entry.tests, input, new_tokens })
    }

    fn text_input(&self, text: Spanned<String>, system: Option<Spanned<String>>) -> Result<Input, Error> {
        for (field, value) in [("text", Some(&text)), ("system", system.as_ref())] {
            if let Some(value) = value
                && value.get_ref().trim().is_empty()
            {
                return Err(self.error(
                    value.span(),
                    format!("`{field}` is empty"),
                    "write a text, or remove the line",
                ));
            }
        }
        Ok(Input::Text { text: text.into_inner(), system: system.map(Spanned::into_inner) })
    }

    fn identifier(&self, field: &str, value: Spanned<String>) -> Result<Spanned<String>, Error> {
        let id = value.get_ref();
        let fits = (1..=MAX_ID_LENGTH).contains(&id.len())
            && !id.starts_with(['.', '-'])
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        if fits {
            return Ok(value);
        }
        let problem = format!("`{field}` is {id:?}, which cannot be part of a file name");
        Err(self.error(
            value.span(),
            problem,
            "use 1 to 64 letters, digits, '-', '_' and '.', beginning with a letter, a digit or '_'",
        ))
    }

    fn positive(&self, field: &str, value: &Spanned<u64>) -> Result<usize, Error> {
        match usize::try_from(*value.get_ref()) {
            Ok(tokens @ 1..=MAX_TOKENS) => Ok(tokens),
            _ => {
                let problem = format!("`{field}` is {}; expected 1 to {MAX_TOKENS}", value.get_ref());
                Err(self.error(value.span(), problem, "give a number of tokens that a model's context can hold"))
            }
        }
    }
}
