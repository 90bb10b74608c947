//! A renderer of Jinja templates that gives what transformers gives: jinja2's `ImmutableSandboxedEnvironment` with `trim_blocks`,
//! `lstrip_blocks`, loop controls, the tag `generation` and the filter `tojson` of `apply_chat_template`.
//!
//! Values are Python's: texts, truth, comparisons, operators, methods and formats are those of CPython. A construct that is not
//! supported (`include`, `import`, `extends`, `block`, `autoescape`, the filters `pprint`, `random`, `urlize`, `wordwrap`, `xmlattr`)
//! is an error that names it. Nothing is rendered approximately.
//!
//! The modules from the bottom: [`failure`], [`text`], [`ast`], [`value`], [`operators`], [`members`], [`mod@format`], [`json`],
//! [`arguments`], [`methods`], [`predicates`] (tests), [`filters`], [`lexer`], [`parser`], [`evaluate`].

mod arguments;
mod ast;
mod evaluate;
mod failure;
mod filters;
mod format;
mod json;
mod lexer;
mod members;
mod methods;
mod operators;
mod parser;
mod predicates;
mod text;
mod value;

pub(super) use self::failure::{Failure, Kind};
use self::value::{Dict, Value};
use super::date::Date;
use super::{Message, SpecialToken};

/// A parsed template.
#[derive(Debug)]
pub(super) struct Template(ast::Body);

impl Template {
    pub(super) fn parse(source: &str) -> Result<Self, Failure> {
        parser::parse(source).map(Self)
    }

    /// Renders a conversation with the variables that `apply_chat_template` gives to a template.
    pub(super) fn render(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
        tokens: &[SpecialToken],
        date: Date,
    ) -> Result<String, Failure> {
        let message = |message: &Message| {
            let mut dict = Dict::default();
            dict.insert(Value::text("role"), Value::text(message.role.as_str()))?;
            dict.insert(Value::text("content"), Value::text(message.content.as_str()))?;
            Ok(Value::dict(dict))
        };
        let messages = messages.iter().map(message).collect::<Result<_, Failure>>()?;
        let mut variables = vec![
            ("messages", Value::list(messages)),
            ("tools", Value::None),
            ("documents", Value::None),
            ("add_generation_prompt", Value::Bool(add_generation_prompt)),
        ];
        variables.extend(tokens.iter().map(|token| (token.name.as_str(), Value::text(token.text.as_str()))));
        evaluate::Rendering::run(&self.0, variables, date)
    }
}
