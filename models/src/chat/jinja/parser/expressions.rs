//! Expressions, from the loosest to the tightest operator.

use std::sync::Arc;

use super::super::ast::{Arguments, BinaryOp, Comparison, Expr, Step, StepKind};
use super::super::failure::{Failure, Result};
use super::super::lexer::Token;
use super::super::{filters, predicates};
use super::Parser;

impl Parser {
    pub(super) fn tuple(&mut self, conditional: bool) -> Result<Expr> {
        self.tuple_until(conditional, &[])
    }

    /// One expression, or several with commas.
    pub(super) fn tuple_until(&mut self, conditional: bool, ends: &[&str]) -> Result<Expr> {
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

    pub(super) fn expression(&mut self) -> Result<Expr> {
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

    pub(super) fn filter(&mut self) -> Result<Step> {
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
