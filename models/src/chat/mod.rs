//! Chat templates: rendering a conversation in the format that a model was trained on.
//!
//! Templates are Jinja, written for Python. The module `jinja` renders them as `apply_chat_template` of Hugging Face's `transformers` does,
//! without tools and documents (both are none). A construct that it does not support is an error that names it. A template is part of
//! a model's file and therefore not trusted: its steps, its texts and its nesting are limited.
//!
//! The current date of a template is [`RenderOptions::date`]: with a real clock, the prompt would change every day.

mod date;
mod jinja;

pub use date::{DEFAULT_DATE, Date};

use self::jinja::{Failure, Kind, Template};
use crate::error::{Error, Mismatch};

/// A template for models without one and for synthetic models: a line `role: text` per message.
pub const PLAIN: &str = "{% for message in messages %}{{ message.role }}: {{ message.content | trim }}\n{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}";

/// The size limit of a template in bytes; the longest known ones have 30 kB.
const MAX_SOURCE: usize = 1 << 20;
/// What a template should be that fails.
const RENDERS: &str = "a template that renders this conversation";

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Message {
    /// The author: `system`, `user`, `assistant`.
    pub role: String,
    /// The text.
    pub content: String,
}

impl Message {
    /// A message of `role`.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: content.into() }
    }
}

/// Options of rendering a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RenderOptions {
    /// End with the prompt for the assistant's answer.
    pub add_generation_prompt: bool,
    /// The date of `strftime_now`. It is part of the prompt of some models, and therefore recorded with a run.
    pub date: Date,
}

impl Default for RenderOptions {
    fn default() -> Self {
        Self { add_generation_prompt: true, date: DEFAULT_DATE }
    }
}

/// A special token that templates name, such as `bos_token`, with its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecialToken {
    /// The name of the variable.
    pub name: String,
    /// The text of the token.
    pub text: String,
}

impl SpecialToken {
    /// The token `text`, which templates call `name`.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self { name: name.into(), text: text.into() }
    }
}

/// A parsed template with the special tokens that it may use.
#[derive(Debug)]
pub struct ChatTemplate {
    template: Template,
    tokens: Vec<SpecialToken>,
}

impl ChatTemplate {
    /// Parses a template. A special token that is not among `tokens` is undefined in the template.
    ///
    /// # Errors
    /// If the template cannot be parsed, or has a construct that is not supported; the error names the line.
    pub fn new(source: &str, tokens: &[SpecialToken]) -> Result<Self, Error> {
        if source.len() > MAX_SOURCE {
            return Err(mismatch("source", format!("at most {MAX_SOURCE} bytes"), format!("{}", source.len())));
        }
        let template = Template::parse(source).map_err(|failure| render_error(&failure))?;
        Ok(Self { template, tokens: tokens.to_vec() })
    }

    /// The conversation as text.
    ///
    /// # Errors
    /// If the template fails, rejects the conversation, or exceeds a limit; the error names the line.
    pub fn render(&self, messages: &[Message], options: RenderOptions) -> Result<String, Error> {
        let RenderOptions { add_generation_prompt, date } = options;
        let rendered = self.template.render(messages, add_generation_prompt, &self.tokens, date);
        rendered.map_err(|failure| render_error(&failure))
    }
}

/// The error of a template; its place is the line.
fn render_error(failure: &Failure) -> Error {
    let place = failure.line().map_or_else(|| "source".to_owned(), |line| format!("line {line}"));
    let message = failure.message();
    let (expected, found) = match failure.kind() {
        Kind::Syntax => ("Jinja syntax".to_owned(), message.to_owned()),
        Kind::Unsupported => ("a construct that this tool renders as transformers does".to_owned(), message.to_owned()),
        Kind::Limit => (message.to_owned(), "more".to_owned()),
        Kind::Raised => (RENDERS.to_owned(), format!("an exception of the template: {message}")),
        Kind::Error => (RENDERS.to_owned(), message.to_owned()),
    };
    mismatch(&place, expected, found)
}

fn mismatch(place: &str, expected: String, found: String) -> Error {
    let advice = "send the prompt without a template, or take another conversion of the model";
    Error::Template(Mismatch::at("of the model", place, expected, found, advice))
}
