//! Chat templates: rendering a conversation in the format that a model was trained on.
//!
//! Templates are Jinja, written for Python; they run here in minijinja with Python's string methods, loop controls and
//! trimmed blocks, as in Hugging Face's `transformers`. A template is part of a model's file and therefore not trusted: its steps and
//! its output are limited. (A single expression can still build a text of 100 MB, and several of them exhaust the memory; the limit
//! is on steps, not on intermediate bytes.)
//!
//! `tools` and `documents` are undefined. The current date of a template is [`RenderOptions::date`]: with a real clock, the prompt would
//! change every day.

mod date;
mod tojson;

use std::io;

pub use date::{DEFAULT_DATE, Date};
use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, ErrorKind, Value, context};

use crate::error::{Error, Mismatch};

/// A template for models without one and for synthetic models: a line `role: text` per message.
pub const PLAIN: &str = "{% for message in messages %}{{ message.role }}: {{ message.content | trim }}\n{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}";

/// The size limit of a template in bytes; the longest known ones have 30 kB.
const MAX_SOURCE: usize = 1 << 20;
/// The limit of instructions of one rendering; known templates need a few thousand.
const MAX_STEPS: u64 = 1_000_000;
/// The size limit of one rendering in bytes.
const MAX_OUTPUT: usize = 64 << 20;
/// The name of the only template of an environment.
const NAME: &str = "chat";

/// The start of the detail of an error that a template raises itself.
const EXCEPTION: &str = "an exception of the template: ";

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

/// A parsed template with the texts of the special tokens that it may use.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    bos: String,
    eos: String,
}

impl ChatTemplate {
    /// Parses a template; `bos` and `eos` are the texts of those tokens, empty in the template if there are none.
    ///
    /// # Errors
    /// If the template cannot be parsed; the error names the line.
    pub fn new(source: &str, bos: Option<&str>, eos: Option<&str>) -> Result<Self, Error> {
        if source.len() > MAX_SOURCE {
            return Err(mismatch("source", format!("at most {MAX_SOURCE} bytes"), format!("{}", source.len())));
        }
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).keep_trailing_newline(false).build();
        environment.set_syntax(syntax.map_err(|error| render_error(&error))?);
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.set_fuel(Some(MAX_STEPS));
        environment.add_filter("tojson", tojson::tojson);
        environment.add_function("raise_exception", raise_exception);
        environment.add_template_owned(NAME, source.to_owned()).map_err(|error| render_error(&error))?;
        Ok(Self { environment, bos: bos.unwrap_or_default().to_owned(), eos: eos.unwrap_or_default().to_owned() })
    }

    /// The conversation as text.
    ///
    /// # Errors
    /// If the template fails, rejects the conversation, or exceeds a limit; the error names the line.
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
        let template = self.environment.get_template(NAME).map_err(|error| render_error(&error))?;
        let mut output = LimitedOutput(Vec::new());
        template.render_captured_to(context, &mut output).map_err(|error| render_error(&error))?;
        String::from_utf8(output.0).map_err(|_| mismatch("output", "UTF-8".to_owned(), "other bytes".to_owned()))
    }
}

/// The function `raise_exception` for templates.
fn raise_exception(message: &str) -> Result<Value, minijinja::Error> {
    Err(minijinja::Error::new(ErrorKind::InvalidOperation, format!("{EXCEPTION}{message}")))
}

/// The rendered text, up to [`MAX_OUTPUT`].
struct LimitedOutput(Vec<u8>);

impl io::Write for LimitedOutput {
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

/// Converts an error of minijinja; the place is the line of the template.
fn render_error(error: &minijinja::Error) -> Error {
    let place = error.line().map_or_else(|| "source".to_owned(), |line| format!("line {line}"));
    let (expected, found) = match error.kind() {
        ErrorKind::SyntaxError => ("Jinja syntax that minijinja supports".to_owned(), None),
        ErrorKind::OutOfFuel => (format!("at most {MAX_STEPS} steps"), Some("more".to_owned())),
        ErrorKind::WriteFailure => (format!("at most {MAX_OUTPUT} bytes of text"), Some("more".to_owned())),
        _ => ("a template that renders this conversation".to_owned(), None),
    };
    let found = found.unwrap_or_else(|| match error.detail() {
        Some(detail) if detail.starts_with(EXCEPTION) => detail.to_owned(),
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    });
    mismatch(&place, expected, found)
}

fn mismatch(place: &str, expected: String, found: String) -> Error {
    let advice = "send the prompt without a template, or take another conversion of the model";
    Error::Template(Mismatch::at("of the model", place, expected, found, advice))
}
