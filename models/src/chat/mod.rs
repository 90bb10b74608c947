//! Chat templates: a conversation to the text that a model was trained on.
//!
//! Templates are Jinja, written for Python; they run here in minijinja with Python's string methods, loop controls and
//! trimmed blocks, as Hugging Face's `transformers` runs them. A template comes from a model's file, so nobody vouches
//! for it: its steps and its output are limited. (A single expression can still build a text of 100 MB, and a few of
//! them, doubled, fill the memory; the limit is on steps, not on bytes in between.)
//!
//! `tools` and `documents` are undefined. What a template calls today is [`RenderOptions::date`]: a real clock would
//! change the prompt from day to day.

mod date;
mod json;

use std::io;

pub use date::{DEFAULT_DATE, Date};
use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, ErrorKind, Value, context};

use crate::{Error, Fault};

/// A template for models that bring none (and for synthetic ones): `role: text`, a line each.
pub const PLAIN: &str = "{% for message in messages %}{{ message.role }}: {{ message.content | trim }}\n{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}";

/// Bytes of a template; the longest known ones take 30 kB.
const MAX_SOURCE: usize = 1 << 20;
/// Instructions of one rendering; a known template takes some thousand.
const MAX_STEPS: u64 = 1_000_000;
/// Bytes of one rendering.
const MAX_OUTPUT: usize = 64 << 20;
/// The only template of its environment.
const NAME: &str = "chat";

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Message {
    /// Who speaks: `system`, `user`, `assistant`.
    pub role: String,
    /// What is said.
    pub content: String,
}

impl Message {
    /// A turn of somebody.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: content.into() }
    }
}

/// How a conversation is rendered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RenderOptions {
    /// End with what makes the model answer.
    pub add_generation_prompt: bool,
    /// What `strftime_now` tells; part of the prompt for some models, so part of a run's record.
    pub date: Date,
}

impl Default for RenderOptions {
    fn default() -> Self {
        Self { add_generation_prompt: true, date: DEFAULT_DATE }
    }
}

/// A parsed template with the texts of the special tokens that it may write.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    bos: String,
    eos: String,
}

impl ChatTemplate {
    /// Parses a template; `bos` and `eos` are the texts of those tokens, empty in the template where there are none.
    ///
    /// # Errors
    /// When the template does not parse; the text names its line.
    pub fn new(source: &str, bos: Option<&str>, eos: Option<&str>) -> Result<Self, Error> {
        if source.len() > MAX_SOURCE {
            return Err(fault("source", format!("at most {MAX_SOURCE} bytes"), format!("{}", source.len())));
        }
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).keep_trailing_newline(false).build();
        environment.set_syntax(syntax.map_err(|error| failure(&error))?);
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.set_fuel(Some(MAX_STEPS));
        environment.add_filter("tojson", json::tojson);
        environment.add_function("raise_exception", refuse);
        environment.add_template_owned(NAME, source.to_owned()).map_err(|error| failure(&error))?;
        Ok(Self { environment, bos: bos.unwrap_or_default().to_owned(), eos: eos.unwrap_or_default().to_owned() })
    }

    /// The conversation as text.
    ///
    /// # Errors
    /// When the template fails, refuses the conversation, or passes its limits; the text names its line.
    pub fn render(&self, messages: &[Message], options: RenderOptions) -> Result<String, Error> {
        let messages: Vec<Value> = messages
            .iter()
            .map(|Message { role, content }| context! { role => role.as_str(), content => content.as_str() })
            .collect();
        let date = options.date;
        let context = context! {
            messages => messages,
            add_generation_prompt => options.add_generation_prompt,
            bos_token => self.bos.as_str(),
            eos_token => self.eos.as_str(),
            strftime_now => Value::from_function(move |format: &str| date.format(format)),
        };
        let template = self.environment.get_template(NAME).map_err(|error| failure(&error))?;
        let mut output = Output(Vec::new());
        template.render_captured_to(context, &mut output).map_err(|error| failure(&error))?;
        String::from_utf8(output.0).map_err(|_| fault("output", "UTF-8".to_owned(), "other bytes".to_owned()))
    }
}

/// `raise_exception` of a template.
fn refuse(message: &str) -> Result<Value, minijinja::Error> {
    Err(minijinja::Error::new(ErrorKind::InvalidOperation, format!("its refusal: {message}")))
}

/// What is rendered, up to [`MAX_OUTPUT`].
struct Output(Vec<u8>);

impl io::Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > MAX_OUTPUT - self.0.len() {
            return Err(io::Error::other("too long"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// minijinja's error with the template's line.
fn failure(error: &minijinja::Error) -> Error {
    let place = error.line().map_or_else(|| "source".to_owned(), |line| format!("line {line}"));
    let (expected, found) = match error.kind() {
        ErrorKind::SyntaxError => ("Jinja as minijinja reads it".to_owned(), None),
        ErrorKind::OutOfFuel => (format!("at most {MAX_STEPS} steps"), Some("more".to_owned())),
        ErrorKind::WriteFailure => (format!("at most {MAX_OUTPUT} bytes of text"), Some("more".to_owned())),
        _ => ("a template that renders this conversation".to_owned(), None),
    };
    let found = found.unwrap_or_else(|| match error.detail() {
        Some(detail) if detail.starts_with("its refusal: ") => detail.to_owned(),
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    });
    fault(&place, expected, found)
}

fn fault(place: &str, expected: String, found: String) -> Error {
    let advice = "send the prompt without a template (--raw), or take another conversion of the model";
    Error::Template(Fault::at("of the model", place, expected, found, advice))
}
