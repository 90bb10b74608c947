//! TOML text to a [`Set`]; every mistake has its line and column.

use std::collections::HashMap;
use std::ops::Range;

use serde::Deserialize;
use toml::Spanned;

use crate::{Error, Input, Position, Prompt, Set};

/// Characters of an id: it becomes part of file names.
const ID_LENGTH: usize = 64;

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: Option<Spanned<String>>,
    #[serde(default)]
    description: String,
    #[serde(default)]
    prompt: Vec<Spanned<Entry>>,
}

/// One `[[prompt]]` as it is written.
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

/// Reads a set; `origin` is what errors call the text, `name` its name unless the text gives one.
pub(crate) fn parse(text: &str, origin: &str, name: &str) -> Result<Set, Error> {
    let source = Source { text, origin };
    let file: File = toml::from_str(text).map_err(|error| {
        let problem = error.message().lines().map(str::trim).collect::<Vec<_>>().join(", ");
        source.error(error.span().unwrap_or(0..0), problem, "correct the line; `id`, `tests`, `text`, `system`, `prompt_tokens` and `new_tokens` are the fields of a [[prompt]]")
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
    Ok(Set { name, description: file.description, prompts })
}

/// The text that is read, for the places in errors.
struct Source<'a> {
    text: &'a str,
    origin: &'a str,
}

impl Source<'_> {
    fn error(&self, span: Range<usize>, problem: String, advice: &str) -> Error {
        let position = Position::of(self.text, span.start);
        Error::Invalid { origin: self.origin.to_owned(), position, problem, advice: advice.to_owned() }
    }

    /// `lines`: the ids so far and the line of each.
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
            let problem = format!("the id \"{}\" is taken by the prompt at line {first}", id.get_ref());
            return Err(self.error(id.span(), problem, "give each prompt an id of its own"));
        }
        let input = match (entry.text, entry.prompt_tokens) {
            (Some(text), None) => self.text_input(text, entry.system)?,
            (None, Some(tokens)) => {
                if let Some(system) = entry.system {
                    return Err(self.error(
                        system.span(),
                        "`system` stands beside `prompt_tokens`, which has no text".to_owned(),
                        "remove one of the two",
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
                    "write what is to be sent, or remove the line",
                ));
            }
        }
        Ok(Input::Text { text: text.into_inner(), system: system.map(Spanned::into_inner) })
    }

    fn identifier(&self, field: &str, value: Spanned<String>) -> Result<Spanned<String>, Error> {
        let id = value.get_ref();
        let fits = (1..=ID_LENGTH).contains(&id.len())
            && !id.starts_with(['.', '-'])
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        if fits {
            return Ok(value);
        }
        let problem = format!("`{field}` is {id:?}; it is part of file names");
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

/// More than any context that a model is trained for.
const MAX_TOKENS: usize = 1 << 24;
