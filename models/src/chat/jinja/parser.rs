//! The parser: tokens to a syntax tree, with the precedences of Jinja (`~` binds tighter than `+`, a sign tighter than `**`).

use std::sync::Arc;

use super::ast::{
    Arguments, BinaryOp, Body, Comparison, Expr, For, MacroDefinition, Statement, StatementKind, Step, StepKind, Takes,
    Target,
};
use super::failure::{Failure, Result};
use super::lexer::{self, Token};
use super::{filters, predicates};

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
    // Tokens.

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

    // Statements.

    /// Statements up to a tag of `ends`, whose name is the next token then.
    fn body(&mut self, ends: &[&str]) -> Result<Body> {
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

    // Expressions, from the loosest to the tightest operator.

    fn tuple(&mut self, conditional: bool) -> Result<Expr> {
        self.tuple_until(conditional, &[])
    }

    /// One expression, or several with commas.
    fn tuple_until(&mut self, conditional: bool, ends: &[&str]) -> Result<Expr> {
        let mut all = Vec::new();
        loop {
            if !all.is_empty() && self.ends_tuple(ends) {
                return Ok(Expr::Tuple(all));
            }
            let one = if conditional { self.expression()? } else { self.nested(Self::or)? };
            if !self.skip_op(",") {
                if all.is_empty() {
                    return Ok(one);
                }
                all.push(one);
                return Ok(Expr::Tuple(all));
            }
            all.push(one);
        }
    }

    fn ends_tuple(&self, ends: &[&str]) -> bool {
        match self.peek() {
            Some(Token::VariableEnd | Token::BlockEnd | Token::Op(")")) | None => true,
            Some(Token::Name(name)) => ends.contains(&name.as_str()),
            _ => false,
        }
    }

    fn expression(&mut self) -> Result<Expr> {
        self.nested(|parser| {
            let mut value = parser.or()?;
            while parser.skip_name("if") {
                let test = parser.or()?;
                let otherwise = if parser.skip_name("else") { Some(Box::new(parser.expression()?)) } else { None };
                value = Expr::Conditional { test: Box::new(test), then: Box::new(value), otherwise };
            }
            Ok(value)
        })
    }

    fn or(&mut self) -> Result<Expr> {
        let first = self.and()?;
        if !self.is_name("or") {
            return Ok(first);
        }
        let mut all = vec![first];
        while self.skip_name("or") {
            all.push(self.and()?);
        }
        Ok(Expr::Or(all))
    }

    fn and(&mut self) -> Result<Expr> {
        let first = self.not()?;
        if !self.is_name("and") {
            return Ok(first);
        }
        let mut all = vec![first];
        while self.skip_name("and") {
            all.push(self.not()?);
        }
        Ok(Expr::And(all))
    }

    fn not(&mut self) -> Result<Expr> {
        if self.skip_name("not") {
            return Ok(Expr::Not(Box::new(self.nested(Self::not)?)));
        }
        self.compare()
    }

    fn compare(&mut self) -> Result<Expr> {
        let first = self.sum()?;
        let mut rest = Vec::new();
        loop {
            let comparison = match self.peek() {
                Some(Token::Op("==")) => Comparison::Equal,
                Some(Token::Op("!=")) => Comparison::NotEqual,
                Some(Token::Op("<")) => Comparison::Less,
                Some(Token::Op("<=")) => Comparison::LessEqual,
                Some(Token::Op(">")) => Comparison::Greater,
                Some(Token::Op(">=")) => Comparison::GreaterEqual,
                Some(Token::Name(name)) if name == "in" => Comparison::In,
                Some(Token::Name(name))
                    if name == "not" && matches!(self.peek_second(), Some(Token::Name(next)) if next == "in") =>
                {
                    self.at += 1;
                    Comparison::NotIn
                }
                _ => break,
            };
            self.at += 1;
            rest.push((comparison, self.sum()?));
        }
        Ok(if rest.is_empty() { first } else { Expr::Compare { first: Box::new(first), rest } })
    }

    fn binary(&mut self, operators: &[(&str, BinaryOp)], operand: fn(&mut Self) -> Result<Expr>) -> Result<Expr> {
        let first = operand(self)?;
        let mut rest = Vec::new();
        while let Some((_, operator)) = operators.iter().find(|(text, _)| self.is_op(text)) {
            self.at += 1;
            rest.push((*operator, operand(self)?));
        }
        Ok(if rest.is_empty() { first } else { Expr::Binary { first: Box::new(first), rest } })
    }

    fn sum(&mut self) -> Result<Expr> {
        self.binary(&[("+", BinaryOp::Add), ("-", BinaryOp::Subtract)], Self::concat)
    }

    fn concat(&mut self) -> Result<Expr> {
        let first = self.product()?;
        if !self.is_op("~") {
            return Ok(first);
        }
        let mut all = vec![first];
        while self.skip_op("~") {
            all.push(self.product()?);
        }
        Ok(Expr::Concat(all))
    }

    fn product(&mut self) -> Result<Expr> {
        let operators = [
            ("*", BinaryOp::Multiply),
            ("/", BinaryOp::Divide),
            ("//", BinaryOp::FloorDivide),
            ("%", BinaryOp::Remainder),
        ];
        self.binary(&operators, Self::power)
    }

    fn power(&mut self) -> Result<Expr> {
        self.binary(&[("**", BinaryOp::Power)], |parser| parser.unary(true))
    }

    fn unary(&mut self, filters: bool) -> Result<Expr> {
        let base = if self.skip_op("-") {
            Expr::Negative(Box::new(self.nested(|parser| parser.unary(false))?))
        } else if self.skip_op("+") {
            Expr::Positive(Box::new(self.nested(|parser| parser.unary(false))?))
        } else {
            self.primary()?
        };
        let mut steps = Vec::new();
        self.postfix(&mut steps)?;
        if filters {
            self.filters_and_tests(&mut steps)?;
        }
        Ok(if steps.is_empty() { base } else { Expr::Postfix { base: Box::new(base), steps } })
    }

    fn primary(&mut self) -> Result<Expr> {
        let Some(token) = self.peek().cloned() else { return Err(self.unexpected("an expression")) };
        match token {
            Token::Name(name) => {
                if ["if", "else", "elif", "in", "is", "and", "or", "not"].contains(&name.as_str()) {
                    return Err(self.unexpected("an expression"));
                }
                self.at += 1;
                Ok(match name.as_str() {
                    "true" | "True" => Expr::Bool(true),
                    "false" | "False" => Expr::Bool(false),
                    "none" | "None" => Expr::None,
                    _ => {
                        for takes in &mut self.macros {
                            takes.varargs |= name == "varargs";
                            takes.kwargs |= name == "kwargs";
                            takes.caller |= name == "caller";
                        }
                        Expr::Name(Arc::from(name))
                    }
                })
            }
            Token::Str(mut text) => {
                self.at += 1;
                while let Some(Token::Str(next)) = self.peek() {
                    text.push_str(next);
                    self.at += 1;
                }
                Ok(Expr::Str(Arc::from(text)))
            }
            Token::Int(number) => {
                self.at += 1;
                Ok(Expr::Int(number))
            }
            Token::Float(number) => {
                self.at += 1;
                Ok(Expr::Float(number))
            }
            Token::Op("(") => {
                self.at += 1;
                if self.skip_op(")") {
                    return Ok(Expr::Tuple(Vec::new()));
                }
                let inner = self.tuple(true)?;
                self.expect_op(")")?;
                Ok(inner)
            }
            Token::Op("[") => {
                self.at += 1;
                let mut items = Vec::new();
                while !self.skip_op("]") {
                    if !items.is_empty() {
                        self.expect_op(",")?;
                        if self.skip_op("]") {
                            break;
                        }
                    }
                    items.push(self.expression()?);
                }
                Ok(Expr::List(items))
            }
            Token::Op("{") => {
                self.at += 1;
                let mut items = Vec::new();
                while !self.skip_op("}") {
                    if !items.is_empty() {
                        self.expect_op(",")?;
                        if self.skip_op("}") {
                            break;
                        }
                    }
                    let key = self.expression()?;
                    self.expect_op(":")?;
                    items.push((key, self.expression()?));
                }
                Ok(Expr::Dict(items))
            }
            _ => Err(self.unexpected("an expression")),
        }
    }

    /// Attributes, items and calls.
    fn postfix(&mut self, steps: &mut Vec<Step>) -> Result<()> {
        loop {
            let line = self.line();
            let kind = if self.skip_op(".") {
                match self.peek() {
                    Some(Token::Int(number)) => {
                        let item = Expr::Int(*number);
                        self.at += 1;
                        StepKind::Item(item)
                    }
                    _ => StepKind::Attribute(self.expect_name()?),
                }
            } else if self.skip_op("[") {
                self.subscript()?
            } else if self.is_op("(") {
                StepKind::Call(self.arguments()?)
            } else {
                return Ok(());
            };
            steps.push(Step { line, kind });
        }
    }

    fn filters_and_tests(&mut self, steps: &mut Vec<Step>) -> Result<()> {
        loop {
            let line = self.line();
            let step = if self.skip_op("|") {
                self.filter()?
            } else if self.skip_name("is") {
                self.test(line)?
            } else if self.is_op("(") {
                Step { line, kind: StepKind::Call(self.arguments()?) }
            } else {
                return Ok(());
            };
            steps.push(step);
        }
    }

    fn dotted_name(&mut self) -> Result<String> {
        let mut name = self.expect_name()?.to_string();
        while self.skip_op(".") {
            name.push('.');
            name.push_str(&self.expect_name()?);
        }
        Ok(name)
    }

    fn filter(&mut self) -> Result<Step> {
        let line = self.line();
        let name = self.dotted_name()?;
        if self.conditions == 0 && !filters::NAMES.contains(&name.as_str()) {
            return Err(Failure::error(format!("no filter named `{name}`")).at(line));
        }
        let arguments = if self.is_op("(") { self.arguments()? } else { Arguments::default() };
        Ok(Step { line, kind: StepKind::Filter { name: Arc::from(name), arguments } })
    }

    fn test(&mut self, line: usize) -> Result<Step> {
        let negated = self.skip_name("not");
        let name = self.dotted_name()?;
        if self.conditions == 0 && !predicates::NAMES.contains(&name.as_str()) {
            return Err(Failure::error(format!("no test named `{name}`")).at(line));
        }
        let arguments = if self.is_op("(") {
            self.arguments()?
        } else {
            let takes_one = match self.peek() {
                Some(Token::Name(name)) => !["else", "or", "and"].contains(&name.as_str()),
                Some(Token::Str(_) | Token::Int(_) | Token::Float(_)) => true,
                Some(Token::Op(operator)) => matches!(*operator, "[" | "{"),
                _ => false,
            };
            if takes_one {
                if self.is_name("is") {
                    return Err(Failure::syntax(line, "tests with `is` cannot be chained"));
                }
                let base = self.nested(Self::primary)?;
                let mut steps = Vec::new();
                self.postfix(&mut steps)?;
                let argument = if steps.is_empty() { base } else { Expr::Postfix { base: Box::new(base), steps } };
                Arguments { positional: vec![argument], ..Arguments::default() }
            } else {
                Arguments::default()
            }
        };
        Ok(Step { line, kind: StepKind::Test { name: Arc::from(name), arguments, negated } })
    }

    /// What is in square brackets: an item, a slice, or several with commas.
    fn subscript(&mut self) -> Result<StepKind> {
        let mut all = Vec::new();
        while !self.skip_op("]") {
            if !all.is_empty() {
                self.expect_op(",")?;
            }
            let start = if self.is_op(":") { None } else { Some(self.expression()?) };
            if !self.skip_op(":") {
                all.extend(start);
                continue;
            }
            let ends = |parser: &Self| parser.is_op("]") || parser.is_op(",") || parser.is_op(":");
            let stop = if ends(self) { None } else { Some(self.expression()?) };
            let step = if self.skip_op(":") && !ends(self) { Some(self.expression()?) } else { None };
            if !all.is_empty() || !self.skip_op("]") {
                return Err(Failure::unsupported("several slices in one pair of brackets").at(self.line()));
            }
            return Ok(StepKind::Slice([start, stop, step]));
        }
        match all.len() {
            1 => Ok(StepKind::Item(all.remove(0))),
            _ => Ok(StepKind::Item(Expr::Tuple(all))),
        }
    }

    fn arguments(&mut self) -> Result<Arguments> {
        let line = self.line();
        self.expect_op("(")?;
        let mut arguments = Arguments::default();
        let mut first = true;
        let order = || Failure::syntax(line, "a call has its arguments in a wrong order");
        while !self.skip_op(")") {
            if !first {
                self.expect_op(",")?;
                if self.skip_op(")") {
                    break;
                }
            }
            first = false;
            if self.skip_op("*") {
                if arguments.list.is_some() || arguments.dict.is_some() {
                    return Err(order());
                }
                arguments.list = Some(Box::new(self.expression()?));
            } else if self.skip_op("**") {
                if arguments.dict.is_some() {
                    return Err(order());
                }
                arguments.dict = Some(Box::new(self.expression()?));
            } else if let (Some(Token::Name(name)), Some(Token::Op("="))) = (self.peek(), self.peek_second()) {
                let name = Arc::from(name.as_str());
                self.at += 2;
                if arguments.dict.is_some() {
                    return Err(order());
                }
                if arguments.keyword.iter().any(|(other, _)| *other == name) {
                    return Err(Failure::syntax(line, format!("the argument `{name}` is given twice")));
                }
                arguments.keyword.push((name, self.expression()?));
            } else {
                if arguments.list.is_some() || arguments.dict.is_some() || !arguments.keyword.is_empty() {
                    return Err(order());
                }
                arguments.positional.push(self.expression()?);
            }
        }
        Ok(arguments)
    }
}
