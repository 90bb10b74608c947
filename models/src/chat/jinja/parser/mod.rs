//! The parser: tokens to a syntax tree, with the precedences of Jinja (`~` binds tighter than `+`, a sign tighter than `**`).

mod expressions;
mod statements;

use std::sync::Arc;

use super::ast::{Body, Takes};
use super::failure::{Failure, Result};
use super::lexer::{self, Token};

/// The limit of nested brackets and tags.
const MAX_DEPTH: usize = 60;

/// Parses a template.
pub(super) fn parse(source: &str) -> Result<Body> {
    let tokens = lexer::tokens(source)?;
    let mut parser =
        Parser { tokens, at: 0, depth: 0, macros: Vec::new(), loops: 0, conditions: 0, blocks: Vec::new() };
    let body = parser.body(&[])?;
    match parser.peek() {
        None => Ok(body),
        Some(_) => Err(parser.unexpected("a tag or text")),
    }
}

struct Parser {
    tokens: Vec<(usize, Token)>,
    at: usize,
    depth: usize,
    /// What the macros around the current place take.
    macros: Vec<Takes>,
    /// Loops around the current place, within the innermost macro.
    loops: usize,
    /// Conditions around the current place: an unknown filter in one is an error only if it is reached.
    conditions: usize,
    /// The open tags, for errors.
    blocks: Vec<&'static str>,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|(_, token)| token)
    }

    fn peek_second(&self) -> Option<&Token> {
        self.tokens.get(self.at + 1).map(|(_, token)| token)
    }

    fn line(&self) -> usize {
        self.tokens.get(self.at).or_else(|| self.tokens.last()).map_or(1, |(line, _)| *line)
    }

    fn is_op(&self, operator: &str) -> bool {
        matches!(self.peek(), Some(Token::Op(found)) if *found == operator)
    }

    fn is_name(&self, name: &str) -> bool {
        matches!(self.peek(), Some(Token::Name(found)) if found == name)
    }

    fn skip_op(&mut self, operator: &str) -> bool {
        let found = self.is_op(operator);
        self.at += usize::from(found);
        found
    }

    fn skip_name(&mut self, name: &str) -> bool {
        let found = self.is_name(name);
        self.at += usize::from(found);
        found
    }

    fn expect_op(&mut self, operator: &str) -> Result<()> {
        if self.skip_op(operator) { Ok(()) } else { Err(self.unexpected(&format!("`{operator}`"))) }
    }

    fn expect_name(&mut self) -> Result<Arc<str>> {
        match self.peek() {
            Some(Token::Name(name)) => {
                let name = Arc::from(name.as_str());
                self.at += 1;
                Ok(name)
            }
            _ => Err(self.unexpected("a name")),
        }
    }

    fn expect_keyword(&mut self, name: &str) -> Result<()> {
        if self.skip_name(name) { Ok(()) } else { Err(self.unexpected(&format!("`{name}`"))) }
    }

    fn expect_end(&mut self, end: &Token, text: &str) -> Result<()> {
        if self.peek() == Some(end) {
            self.at += 1;
            return Ok(());
        }
        Err(self.unexpected(&format!("`{text}`")))
    }

    fn unexpected(&self, expected: &str) -> Failure {
        let found = match self.peek() {
            None => "the end of the template".to_owned(),
            Some(Token::Text(_)) => "text".to_owned(),
            Some(Token::VariableBegin) => "`{{`".to_owned(),
            Some(Token::VariableEnd) => "`}}`".to_owned(),
            Some(Token::BlockBegin) => "`{%`".to_owned(),
            Some(Token::BlockEnd) => "`%}`".to_owned(),
            Some(Token::Name(name)) => format!("`{name}`"),
            Some(Token::Str(text)) => format!("{text:?}"),
            Some(Token::Int(number)) => number.to_string(),
            Some(Token::Float(number)) => number.to_string(),
            Some(Token::Op(operator)) => format!("`{operator}`"),
        };
        let inside = self.blocks.last().map(|tag| format!(" in `{tag}`")).unwrap_or_default();
        Failure::syntax(self.line(), format!("{found} in place of {expected}{inside}"))
    }

    fn nested<T>(&mut self, parse: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.depth >= MAX_DEPTH {
            let limit = format!("brackets and tags nested at most {MAX_DEPTH} deep");
            return Err(Failure::limit(limit).at(self.line()));
        }
        self.depth += 1;
        let result = parse(self);
        self.depth -= 1;
        result
    }
}
