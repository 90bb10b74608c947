//! Statements: the tags of a template.

use std::sync::Arc;

use super::super::ast::{Body, Expr, For, MacroDefinition, Statement, StatementKind, Step, StepKind, Takes, Target};
use super::super::failure::{Failure, Result};
use super::super::lexer::Token;
use super::Parser;

impl Parser {
    /// Statements up to a tag of `ends`, whose name is the next token then.
    pub(super) fn body(&mut self, ends: &[&str]) -> Result<Body> {
        self.nested(|parser| {
            let mut body = Body::new();
            loop {
                let line = parser.line();
                let kind = match parser.peek() {
                    None if ends.is_empty() => return Ok(body),
                    Some(Token::Text(text)) => {
                        let text = Arc::from(text.as_str());
                        parser.at += 1;
                        StatementKind::Text(text)
                    }
                    Some(Token::VariableBegin) => {
                        parser.at += 1;
                        let output = parser.tuple(true)?;
                        parser.expect_end(&Token::VariableEnd, "}}")?;
                        StatementKind::Output(output)
                    }
                    Some(Token::BlockBegin) => {
                        parser.at += 1;
                        if ends.iter().any(|end| parser.is_name(end)) {
                            return Ok(body);
                        }
                        parser.statement()?
                    }
                    _ => {
                        let ends: Vec<_> = ends.iter().map(|end| format!("`{{% {end} %}}`")).collect();
                        return Err(parser.unexpected(&ends.join(" or ")));
                    }
                };
                body.push(Statement { line, kind });
            }
        })
    }

    /// The body of a tag up to the only tag that ends it.
    fn body_until(&mut self, tag: &'static str, end: &str) -> Result<Body> {
        self.end_of_tag()?;
        self.blocks.push(tag);
        let body = self.body(&[end])?;
        self.blocks.pop();
        self.at += 1;
        self.end_of_tag()?;
        Ok(body)
    }

    fn end_of_tag(&mut self) -> Result<()> {
        self.expect_end(&Token::BlockEnd, "%}")
    }

    fn statement(&mut self) -> Result<StatementKind> {
        let line = self.line();
        let tag = self.expect_name()?;
        match &*tag {
            "for" => self.for_loop(),
            "if" => self.condition(),
            "set" => self.assignment(),
            "with" => {
                let mut bindings = Vec::new();
                while self.peek() != Some(&Token::BlockEnd) {
                    if !bindings.is_empty() {
                        self.expect_op(",")?;
                    }
                    let target = self.target(false, &[])?;
                    self.expect_op("=")?;
                    bindings.push((target, self.expression()?));
                }
                Ok(StatementKind::With { bindings, body: self.body_until("with", "endwith")? })
            }
            "macro" => {
                let name = self.expect_name()?;
                let definition = self.macro_definition(name, "macro", "endmacro")?;
                Ok(StatementKind::Macro(Arc::new(definition)))
            }
            "call" => self.call_block(),
            "filter" => {
                let filters = self.filters_of_block(true)?;
                Ok(StatementKind::FilterBlock { filters, body: self.body_until("filter", "endfilter")? })
            }
            "generation" => {
                let loops = std::mem::take(&mut self.loops);
                let body = self.body_until("generation", "endgeneration")?;
                self.loops = loops;
                Ok(StatementKind::Generation(body))
            }
            "print" => {
                let output = self.tuple(true)?;
                self.end_of_tag()?;
                Ok(StatementKind::Output(output))
            }
            "break" | "continue" => {
                if self.loops == 0 {
                    return Err(Failure::syntax(line, format!("`{tag}` outside of a loop")));
                }
                self.end_of_tag()?;
                Ok(if &*tag == "break" { StatementKind::Break } else { StatementKind::Continue })
            }
            "include" | "import" | "from" | "extends" | "block" | "autoescape" => {
                Err(Failure::unsupported(format!("the tag `{tag}`")).at(line))
            }
            _ => {
                let open = self.blocks.last();
                let expected = open.map(|tag| format!(", expected `end{tag}`")).unwrap_or_default();
                Err(Failure::syntax(line, format!("unknown tag `{tag}`{expected}")))
            }
        }
    }

    fn for_loop(&mut self) -> Result<StatementKind> {
        let target = self.target(false, &["in"])?;
        self.expect_keyword("in")?;
        let iterable = self.tuple_until(false, &["recursive"])?;
        let condition = if self.skip_name("if") { Some(self.expression()?) } else { None };
        let recursive = self.skip_name("recursive");
        self.end_of_tag()?;
        self.blocks.push("for");
        self.loops += 1;
        let body = self.body(&["endfor", "else"])?;
        self.loops -= 1;
        let otherwise = if self.skip_name("else") {
            self.end_of_tag()?;
            self.body(&["endfor"])?
        } else {
            Body::new()
        };
        self.blocks.pop();
        self.at += 1;
        self.end_of_tag()?;
        Ok(StatementKind::For(Arc::new(For { target, iterable, condition, recursive, body, otherwise })))
    }

    fn condition(&mut self) -> Result<StatementKind> {
        let mut branches = Vec::new();
        let mut otherwise = Body::new();
        self.blocks.push("if");
        self.conditions += 1;
        loop {
            let test = self.tuple(false)?;
            self.end_of_tag()?;
            branches.push((test, self.body(&["elif", "else", "endif"])?));
            if self.skip_name("elif") {
                continue;
            }
            if self.skip_name("else") {
                self.end_of_tag()?;
                otherwise = self.body(&["endif"])?;
            }
            break;
        }
        self.conditions -= 1;
        self.blocks.pop();
        self.at += 1;
        self.end_of_tag()?;
        Ok(StatementKind::If { branches, otherwise })
    }

    fn assignment(&mut self) -> Result<StatementKind> {
        let target = self.target(true, &[])?;
        if self.skip_op("=") {
            let value = self.tuple(true)?;
            self.end_of_tag()?;
            return Ok(StatementKind::Set { target, value });
        }
        let filters = self.filters_of_block(false)?;
        Ok(StatementKind::SetBlock { target, filters, body: self.body_until("set", "endset")? })
    }

    fn call_block(&mut self) -> Result<StatementKind> {
        let parameters = if self.is_op("(") { self.parameters()? } else { Vec::new() };
        let call = self.expression()?;
        let is_call = match &call {
            Expr::Postfix { steps, .. } => matches!(steps.last(), Some(Step { kind: StepKind::Call(_), .. })),
            _ => false,
        };
        if !is_call {
            return Err(self.unexpected("a call"));
        }
        let caller = self.macro_body(Arc::from("caller"), parameters, "call", "endcall")?;
        Ok(StatementKind::CallBlock { call, caller: Arc::new(caller) })
    }

    fn macro_definition(&mut self, name: Arc<str>, tag: &'static str, end: &str) -> Result<MacroDefinition> {
        // Defaults may name `caller` too.
        self.macros.push(Takes::default());
        let parameters = self.parameters()?;
        self.macros.pop();
        self.macro_body(name, parameters, tag, end)
    }

    fn macro_body(
        &mut self,
        name: Arc<str>,
        parameters: Vec<(Arc<str>, Option<Expr>)>,
        tag: &'static str,
        end: &str,
    ) -> Result<MacroDefinition> {
        self.macros.push(Takes::default());
        let loops = std::mem::take(&mut self.loops);
        let body = self.body_until(tag, end)?;
        self.loops = loops;
        let takes = self.macros.pop().unwrap_or_default();
        Ok(MacroDefinition { name, parameters, body, takes })
    }

    fn parameters(&mut self) -> Result<Vec<(Arc<str>, Option<Expr>)>> {
        self.expect_op("(")?;
        let mut parameters: Vec<(Arc<str>, Option<Expr>)> = Vec::new();
        while !self.skip_op(")") {
            if !parameters.is_empty() {
                self.expect_op(",")?;
            }
            let line = self.line();
            let name = self.expect_name()?;
            let default = if self.skip_op("=") { Some(self.expression()?) } else { None };
            if default.is_none() && parameters.last().is_some_and(|(_, default)| default.is_some()) {
                return Err(Failure::syntax(
                    line,
                    format!("the parameter `{name}` without a default follows one with"),
                ));
            }
            parameters.push((name, default));
        }
        Ok(parameters)
    }

    /// The filters of a filter block (whose first one has no `|`) or of a set block.
    fn filters_of_block(&mut self, inline: bool) -> Result<Vec<Step>> {
        let mut filters = Vec::new();
        if inline {
            filters.push(self.filter()?);
        }
        while self.skip_op("|") {
            filters.push(self.filter()?);
        }
        Ok(filters)
    }

    fn target(&mut self, attributes: bool, ends: &[&str]) -> Result<Target> {
        let first = self.one_target(attributes)?;
        if !self.is_op(",") {
            return Ok(first);
        }
        let mut all = vec![first];
        while self.skip_op(",") {
            let ended = match self.peek() {
                Some(Token::Name(name)) => ends.contains(&name.as_str()),
                Some(Token::Op(operator)) => matches!(*operator, ")" | "="),
                _ => true,
            };
            if ended {
                break;
            }
            all.push(self.one_target(attributes)?);
        }
        Ok(Target::Tuple(all))
    }

    fn one_target(&mut self, attributes: bool) -> Result<Target> {
        if self.skip_op("(") {
            let target = self.nested(|parser| parser.target(attributes, &[]))?;
            self.expect_op(")")?;
            return Ok(match target {
                Target::Tuple(all) => Target::Tuple(all),
                single => single,
            });
        }
        let line = self.line();
        let name = self.expect_name()?;
        if attributes && self.skip_op(".") {
            return Ok(Target::Attribute { namespace: name, name: self.expect_name()? });
        }
        if ["true", "false", "none", "True", "False", "None"].contains(&&*name) {
            return Err(Failure::syntax(line, format!("cannot assign to `{name}`")));
        }
        Ok(Target::Name(name))
    }
}
