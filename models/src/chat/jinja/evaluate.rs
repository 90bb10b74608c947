//! Renders a syntax tree. The number of steps, the size of texts and the depth of calls are limited: a template is not trusted.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use super::arguments::{self, Call};
use super::ast::{Arguments, Comparison, Expr, For, MacroDefinition, Statement, StatementKind, Step, StepKind, Target};
use super::failure::{Failure, Kind, Result};
use super::operators::{self, binary, compare};
use super::value::{Cycler, Dict, Function, Joiner, Loop, Macro, Range, Scope, Value};
use super::{filters, members, methods, predicates};
use crate::chat::date::{Date, UnsupportedCode};

/// The limit of steps of one rendering; known templates need a few thousand.
const MAX_STEPS: u64 = 1_000_000;
/// The limit in bytes of all texts that one rendering makes, intermediate ones included.
const MAX_WORK: usize = 512 << 20;
/// The size limit of one rendering in bytes.
const MAX_OUTPUT: usize = 64 << 20;
/// The limit of nested evaluations.
const MAX_DEPTH: usize = 160;
/// Jinja's limit of a range.
const MAX_RANGE: usize = 100_000;

/// Where the execution goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    Next,
    Break,
    Continue,
}

/// One rendering.
pub(super) struct Rendering {
    date: Date,
    steps: Cell<u64>,
    work: Cell<usize>,
    depth: Cell<usize>,
    /// Scopes that a macro keeps.
    kept: RefCell<Vec<Rc<Scope>>>,
}

impl Rendering {
    /// Renders a template with variables.
    pub(super) fn run(body: &[Statement], variables: Vec<(&str, Value)>, date: Date) -> Result<String> {
        let rendering =
            Self { date, steps: Cell::new(0), work: Cell::new(0), depth: Cell::new(0), kept: RefCell::default() };
        let globals = Rc::new(Scope::default());
        for (name, function) in [
            ("range", Function::Range),
            ("dict", Function::Dict),
            ("namespace", Function::Namespace),
            ("cycler", Function::Cycler),
            ("joiner", Function::Joiner),
            ("raise_exception", Function::RaiseException),
            ("strftime_now", Function::StrftimeNow),
        ] {
            globals.set(&name.into(), Value::Function(function));
        }
        let scope = Scope::inside(&globals);
        for (name, value) in variables {
            scope.set(&name.into(), value);
        }
        let mut output = String::new();
        let result = rendering.statements(body, &scope, &mut output);
        rendering.kept.borrow().iter().for_each(|scope| scope.clear());
        result.map(|_| output)
    }

    fn step(&self) -> Result<()> {
        self.steps.set(self.steps.get() + 1);
        if self.steps.get() > MAX_STEPS {
            return Err(Failure::limit(format!("at most {MAX_STEPS} steps")));
        }
        Ok(())
    }

    /// Counts a value that an operation has made.
    fn made(&self, value: Value) -> Result<Value> {
        let size = match &value {
            Value::Str(text) => text.text.len(),
            Value::List(items) | Value::Tuple(items) => items.len() * size_of::<Value>(),
            Value::Generator(items) => items.borrow().len() * size_of::<Value>(),
            _ => 0,
        };
        self.work.set(self.work.get().saturating_add(size));
        if self.work.get() > MAX_WORK {
            return Err(Failure::limit(format!("at most {MAX_WORK} bytes of intermediate text")));
        }
        Ok(value)
    }

    fn nested<T>(&self, run: impl FnOnce() -> Result<T>) -> Result<T> {
        if self.depth.get() >= MAX_DEPTH {
            return Err(Failure::limit(format!("at most {MAX_DEPTH} nested evaluations")));
        }
        self.depth.set(self.depth.get() + 1);
        let result = run();
        self.depth.set(self.depth.get() - 1);
        result
    }

    // Statements.

    fn statements(&self, body: &[Statement], scope: &Rc<Scope>, output: &mut String) -> Result<Flow> {
        self.nested(|| {
            for statement in body {
                let flow = self.statement(statement, scope, output).map_err(|failure| failure.at(statement.line))?;
                if flow != Flow::Next {
                    return Ok(flow);
                }
            }
            Ok(Flow::Next)
        })
    }

    fn statement(&self, statement: &Statement, scope: &Rc<Scope>, output: &mut String) -> Result<Flow> {
        self.step()?;
        match &statement.kind {
            StatementKind::Text(text) => write(output, text)?,
            StatementKind::Output(expr) => {
                let text = self.eval(expr, scope)?.to_text()?;
                write(output, &text)?;
            }
            StatementKind::For(node) => return self.for_loop(node, scope, output),
            StatementKind::If { branches, otherwise } => {
                for (test, body) in branches {
                    if self.eval(test, scope)?.is_true() {
                        return self.statements(body, scope, output);
                    }
                }
                return self.statements(otherwise, scope, output);
            }
            StatementKind::Set { target, value } => {
                let value = self.eval(value, scope)?;
                self.assign(target, value, scope)?;
            }
            StatementKind::SetBlock { target, filters, body } => {
                let mut text = String::new();
                let flow = self.statements(body, &Scope::inside(scope), &mut text)?;
                let value = self.filtered(Value::text(text), filters, scope)?;
                self.assign(target, value, scope)?;
                return Ok(flow);
            }
            StatementKind::With { bindings, body } => {
                let inner = Scope::inside(scope);
                for (target, value) in bindings {
                    self.assign(target, self.eval(value, scope)?, &inner)?;
                }
                return self.statements(body, &inner, output);
            }
            StatementKind::Macro(definition) => {
                let value = self.macro_value(definition, scope);
                scope.set(&definition.name, value);
            }
            StatementKind::CallBlock { call, caller } => {
                let text = self.call_block(call, caller, scope)?.to_text()?;
                write(output, &text)?;
            }
            StatementKind::FilterBlock { filters, body } => {
                let inner = Scope::inside(scope);
                let mut text = String::new();
                let flow = self.statements(body, &inner, &mut text)?;
                let text = self.filtered(Value::text(text), filters, &inner)?.to_text()?;
                write(output, &text)?;
                return Ok(flow);
            }
            StatementKind::Generation(body) => {
                self.statements(body, &Scope::inside(scope), output)?;
            }
            StatementKind::Break => return Ok(Flow::Break),
            StatementKind::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::Next)
    }

    fn for_loop(&self, node: &Arc<For>, scope: &Rc<Scope>, output: &mut String) -> Result<Flow> {
        let items = self.eval(&node.iterable, scope)?.iterate()?;
        self.iterate(node, items, scope, 0, output)?;
        Ok(Flow::Next)
    }

    fn iterate(
        &self,
        node: &Arc<For>,
        mut items: Vec<Value>,
        scope: &Rc<Scope>,
        depth: usize,
        output: &mut String,
    ) -> Result<()> {
        if let Some(condition) = &node.condition {
            let mut kept = Vec::new();
            for item in items {
                self.step()?;
                let inner = Scope::inside(scope);
                self.assign(&node.target, item.clone(), &inner)?;
                if self.eval(condition, &inner)?.is_true() {
                    kept.push(item);
                }
            }
            items = kept;
        }
        if items.is_empty() {
            self.statements(&node.otherwise, &Scope::inside(scope), output)?;
            return Ok(());
        }
        let items = Rc::new(items);
        let state = Rc::new(Loop {
            items: Rc::clone(&items),
            index: Cell::new(0),
            depth,
            last_changed: RefCell::default(),
            recursive: node.recursive.then(|| (Arc::clone(node), Rc::clone(scope))),
        });
        let name = Arc::from("loop");
        for (index, item) in items.iter().enumerate() {
            self.step()?;
            state.index.set(index);
            let inner = Scope::inside(scope);
            inner.set(&name, Value::Loop(Rc::clone(&state)));
            self.assign(&node.target, item.clone(), &inner)?;
            if self.statements(&node.body, &inner, output)? == Flow::Break {
                break;
            }
        }
        Ok(())
    }

    fn assign(&self, target: &Target, value: Value, scope: &Rc<Scope>) -> Result<()> {
        match target {
            Target::Name(name) => scope.set(name, value),
            Target::Attribute { namespace, name } => match scope.get(namespace) {
                Some(Value::Namespace(dict)) => {
                    check_namespace_name(name)?;
                    dict.borrow_mut().insert(Value::text(Arc::clone(name)), value)?;
                }
                Some(other) => {
                    let found = other.type_name();
                    return Err(Failure::error(format!("cannot assign to an attribute of `{namespace}`, a {found}")));
                }
                None => return Err(Failure::error(format!("`{namespace}` is undefined"))),
            },
            Target::Tuple(targets) => {
                if value.is_undefined() || !value.is_iterable() {
                    let found = value.type_name();
                    return Err(Failure::error(format!("a {found} cannot be unpacked to {} names", targets.len())));
                }
                let values = value.iterate()?;
                if values.len() != targets.len() {
                    let (found, expected) = (values.len(), targets.len());
                    return Err(Failure::error(format!("{found} values cannot be unpacked to {expected} names")));
                }
                for (target, value) in targets.iter().zip(values) {
                    self.assign(target, value, scope)?;
                }
            }
        }
        Ok(())
    }

    fn filtered(&self, mut value: Value, filters: &[Step], scope: &Rc<Scope>) -> Result<Value> {
        for step in filters {
            value = self.apply(&value, step, scope)?;
        }
        Ok(value)
    }

    // Macros and calls.

    fn macro_value(&self, definition: &Arc<MacroDefinition>, scope: &Rc<Scope>) -> Value {
        self.kept.borrow_mut().push(Rc::clone(scope));
        Value::Macro(Rc::new(Macro { definition: Arc::clone(definition), scope: Rc::clone(scope) }))
    }

    fn call_block(&self, call: &Expr, caller: &Arc<MacroDefinition>, scope: &Rc<Scope>) -> Result<Value> {
        let Expr::Postfix { base, steps } = call else { return Err(Failure::error("a call block without a call")) };
        let Some((Step { line, kind: StepKind::Call(arguments) }, before)) = steps.split_last() else {
            return Err(Failure::error("a call block without a call"));
        };
        let mut function = self.eval(base, scope)?;
        for step in before {
            function = self.apply(&function, step, scope)?;
        }
        let mut evaluated = self.arguments(arguments, scope)?;
        evaluated.keyword.push((Arc::from("caller"), self.macro_value(caller, scope)));
        self.call(&function, evaluated).map_err(|failure| failure.at(*line))
    }

    fn arguments(&self, arguments: &Arguments, scope: &Rc<Scope>) -> Result<Call> {
        let mut call = Call::default();
        for expr in &arguments.positional {
            call.positional.push(self.eval(expr, scope)?);
        }
        for (name, expr) in &arguments.keyword {
            call.keyword.push((Arc::clone(name), self.eval(expr, scope)?));
        }
        if let Some(list) = &arguments.list {
            call.positional.extend(self.eval(list, scope)?.iterate()?);
        }
        if let Some(dict) = &arguments.dict {
            let Value::Dict(dict) = self.eval(dict, scope)? else {
                return Err(Failure::error("`**` in a call needs a dict"));
            };
            for (name, value) in dict.entries() {
                call.keyword.push((arguments::text(name, "`**` in a call")?, value.clone()));
            }
        }
        Ok(call)
    }

    fn call(&self, function: &Value, call: Call) -> Result<Value> {
        match function {
            Value::Function(function) => self.call_function(*function, call),
            Value::Method(method) => methods::call(&method.0, &method.1, call),
            Value::Macro(own) => self.call_macro(own, call),
            Value::Joiner(joiner) => {
                Ok(if joiner.used.replace(true) { joiner.separator.clone() } else { Value::text("") })
            }
            Value::Loop(state) => {
                let Some((node, scope)) = &state.recursive else {
                    return Err(Failure::error("only a loop with `recursive` can be called"));
                };
                let [items] = call.only_positional("loop", 1)?;
                let mut text = String::new();
                let items = items.unwrap_or(Value::None).iterate()?;
                self.nested(|| self.iterate(node, items, scope, state.depth + 1, &mut text))?;
                Ok(Value::text(text))
            }
            Value::Undefined(why) => Err(Failure::error(why.to_string())),
            _ => Err(Failure::error(format!("a {} cannot be called", function.type_name()))),
        }
    }

    fn call_macro(&self, own: &Macro, call: Call) -> Result<Value> {
        let MacroDefinition { name, parameters, body, takes } = &*own.definition;
        let Call { positional, mut keyword } = call;
        let scope = Scope::inside(&own.scope);
        let mut positional = positional.into_iter();
        for (parameter, default) in parameters {
            let given = positional.next().or_else(|| {
                let at = keyword.iter().position(|(key, _)| key == parameter)?;
                Some(keyword.remove(at).1)
            });
            let value = match (given, default) {
                (Some(value), _) => value,
                (None, Some(default)) => self.eval(default, &scope)?,
                (None, None) => Value::undefined(format!("the parameter `{parameter}` was not provided")),
            };
            scope.set(parameter, value);
        }
        if takes.caller && !parameters.iter().any(|(parameter, _)| &**parameter == "caller") {
            let at = keyword.iter().position(|(key, _)| &**key == "caller");
            let caller = at.map(|at| keyword.remove(at).1).filter(|caller| !matches!(caller, Value::None));
            scope.set(&"caller".into(), caller.unwrap_or_else(|| Value::undefined("no caller is defined")));
        }
        if takes.kwargs {
            let mut dict = Dict::default();
            for (key, value) in keyword {
                dict.insert(Value::text(key), value)?;
            }
            scope.set(&"kwargs".into(), Value::dict(dict));
        } else if let Some((key, _)) = keyword.first() {
            return Err(Failure::error(format!("the macro `{name}` has no argument `{key}`")));
        }
        let more: Vec<Value> = positional.collect();
        if takes.varargs {
            scope.set(&"varargs".into(), Value::tuple(more));
        } else if !more.is_empty() {
            return Err(Failure::error(format!("the macro `{name}` takes at most {} arguments", parameters.len())));
        }
        let mut text = String::new();
        self.nested(|| self.statements(body, &scope, &mut text))?;
        self.made(Value::text(text))
    }

    fn call_function(&self, function: Function, call: Call) -> Result<Value> {
        match function {
            Function::Range => {
                let [first, second, step] = call.only_positional("range", 1)?;
                let int = |value: &Option<Value>, default: i128| {
                    value.as_ref().map_or(Ok(default), |value| arguments::int(value, "range"))
                };
                let (start, stop) = match &second {
                    None => (0, int(&first, 0)?),
                    Some(_) => (int(&first, 0)?, int(&second, 0)?),
                };
                let step = int(&step, 1)?;
                let most = i128::from(i64::MAX);
                if [start, stop, step].iter().any(|number| number.abs() > most) {
                    return Err(Failure::limit("a range of numbers of 64 bits"));
                }
                if step == 0 {
                    return Err(Failure::error("the step of a range is 0"));
                }
                let range = Range { start, stop, step };
                if range.len() > MAX_RANGE {
                    return Err(Failure::error(format!("a range has at most {MAX_RANGE} numbers")));
                }
                Ok(Value::Range(range))
            }
            Function::Dict => Ok(Value::dict(self.dict(call, "dict")?)),
            Function::Namespace => {
                let dict = self.dict(call, "namespace")?;
                for (name, _) in dict.entries() {
                    check_namespace_name(name.as_str().unwrap_or_default())?;
                }
                Ok(Value::Namespace(Rc::new(RefCell::new(dict))))
            }
            Function::Cycler => {
                if call.positional.is_empty() {
                    return Err(Failure::error("cycler needs an item"));
                }
                Ok(Value::Cycler(Rc::new(Cycler { items: call.positional, at: Cell::new(0) })))
            }
            Function::Joiner => {
                let [separator] = call.bind("joiner", ["sep"], 0)?;
                let separator = separator.unwrap_or_else(|| Value::text(", "));
                Ok(Value::Joiner(Rc::new(Joiner { separator, used: Cell::new(false) })))
            }
            Function::RaiseException => {
                let [message] = call.bind("raise_exception", ["message"], 1)?;
                Err(Failure::new(Kind::Raised, message.unwrap_or(Value::None).to_text()?.to_string()))
            }
            Function::StrftimeNow => {
                let [format] = call.bind("strftime_now", ["format"], 1)?;
                let format = arguments::text(&format.unwrap_or(Value::None), "strftime_now")?;
                let text = self.date.format(&format).map_err(|UnsupportedCode(code)| {
                    Failure::unsupported(format!("the code {code} of strftime_now"))
                })?;
                Ok(Value::text(text))
            }
        }
    }

    /// The arguments of Python's `dict`: a dict or pairs, and names.
    fn dict(&self, call: Call, function: &str) -> Result<Dict> {
        let Call { positional, keyword } = call;
        let [first] = Call { positional, keyword: Vec::new() }.only_positional(function, 0)?;
        let mut dict = match first {
            None => Dict::default(),
            Some(Value::Dict(dict)) => Dict::clone(&dict),
            Some(pairs) => {
                let mut dict = Dict::default();
                for pair in pairs.iterate()? {
                    match pair.iterate()?.as_slice() {
                        [key, value] => dict.insert(key.clone(), value.clone())?,
                        _ => return Err(Failure::error(format!("{function} needs pairs"))),
                    }
                }
                dict
            }
        };
        for (name, value) in keyword {
            dict.insert(Value::text(name), value)?;
        }
        Ok(dict)
    }

    // Expressions.

    fn eval(&self, expr: &Expr, scope: &Rc<Scope>) -> Result<Value> {
        self.step()?;
        match expr {
            Expr::None => Ok(Value::None),
            Expr::Bool(flag) => Ok(Value::Bool(*flag)),
            Expr::Int(number) => Ok(Value::Int(*number)),
            Expr::Float(number) => Ok(Value::Float(*number)),
            Expr::Str(text) => Ok(Value::text(Arc::clone(text))),
            Expr::Name(name) => {
                Ok(scope.get(name).unwrap_or_else(|| Value::undefined(format!("`{name}` is undefined"))))
            }
            _ => self.nested(|| self.eval_compound(expr, scope)),
        }
    }

    fn eval_all(&self, all: &[Expr], scope: &Rc<Scope>) -> Result<Vec<Value>> {
        all.iter().map(|expr| self.eval(expr, scope)).collect()
    }

    fn eval_compound(&self, expr: &Expr, scope: &Rc<Scope>) -> Result<Value> {
        match expr {
            Expr::List(items) => Ok(Value::list(self.eval_all(items, scope)?)),
            Expr::Tuple(items) => Ok(Value::tuple(self.eval_all(items, scope)?)),
            Expr::Dict(entries) => {
                let mut dict = Dict::default();
                for (key, value) in entries {
                    dict.insert(self.eval(key, scope)?, self.eval(value, scope)?)?;
                }
                Ok(Value::dict(dict))
            }
            Expr::Binary { first, rest } => {
                let mut value = self.eval(first, scope)?;
                for (operator, operand) in rest {
                    let operand = self.eval(operand, scope)?;
                    value = self.made(binary(*operator, &value, &operand)?)?;
                }
                Ok(value)
            }
            Expr::Concat(parts) => {
                let mut text = String::new();
                for part in parts {
                    text.push_str(&self.eval(part, scope)?.to_text()?);
                    if text.len() > operators::MAX_SIZE {
                        return Err(Failure::limit(format!("a text of at most {} bytes", operators::MAX_SIZE)));
                    }
                }
                self.made(Value::text(text))
            }
            Expr::Compare { first, rest } => self.comparison(first, rest, scope),
            Expr::And(all) => self.first_that(false, all, scope),
            Expr::Or(all) => self.first_that(true, all, scope),
            Expr::Not(inner) => Ok(Value::Bool(!self.eval(inner, scope)?.is_true())),
            Expr::Negative(inner) => operators::negative(&self.eval(inner, scope)?),
            Expr::Positive(inner) => operators::positive(&self.eval(inner, scope)?),
            Expr::Conditional { test, then, otherwise } => {
                if self.eval(test, scope)?.is_true() {
                    return self.eval(then, scope);
                }
                match otherwise {
                    Some(otherwise) => self.eval(otherwise, scope),
                    None => Ok(Value::undefined("the condition is false and there is no `else`")),
                }
            }
            Expr::Postfix { base, steps } => {
                let mut value = self.eval(base, scope)?;
                for step in steps {
                    value = self.apply(&value, step, scope)?;
                }
                Ok(value)
            }
            _ => self.eval(expr, scope),
        }
    }

    /// The first value whose truth is `wanted`, else the last one: Python's `or` and `and`.
    fn first_that(&self, wanted: bool, all: &[Expr], scope: &Rc<Scope>) -> Result<Value> {
        let mut value = Value::None;
        for expr in all {
            value = self.eval(expr, scope)?;
            if value.is_true() == wanted {
                break;
            }
        }
        Ok(value)
    }

    fn comparison(&self, first: &Expr, rest: &[(Comparison, Expr)], scope: &Rc<Scope>) -> Result<Value> {
        let mut left = self.eval(first, scope)?;
        for (comparison, operand) in rest {
            let right = self.eval(operand, scope)?;
            if !compare(*comparison, &left, &right)? {
                return Ok(Value::Bool(false));
            }
            left = right;
        }
        Ok(Value::Bool(true))
    }

    fn apply(&self, value: &Value, step: &Step, scope: &Rc<Scope>) -> Result<Value> {
        self.step()?;
        self.apply_kind(value, &step.kind, scope).map_err(|failure| failure.at(step.line))
    }

    fn apply_kind(&self, value: &Value, step: &StepKind, scope: &Rc<Scope>) -> Result<Value> {
        match step {
            StepKind::Attribute(name) => members::attribute(value, name),
            StepKind::Item(key) => members::item(value, &self.eval(key, scope)?),
            StepKind::Slice(bounds) => {
                let mut evaluated = [None, None, None];
                for (slot, bound) in evaluated.iter_mut().zip(bounds) {
                    *slot = bound.as_ref().map(|bound| self.eval(bound, scope)).transpose()?;
                }
                let [start, stop, step] = &evaluated;
                self.made(operators::slice(value, [start.as_ref(), stop.as_ref(), step.as_ref()])?)
            }
            StepKind::Call(arguments) => {
                let call = self.arguments(arguments, scope)?;
                self.made(self.call(value, call)?)
            }
            StepKind::Filter { name, arguments } => {
                let call = self.arguments(arguments, scope)?;
                self.made(filters::apply(name, value, call)?)
            }
            StepKind::Test { name, arguments, negated } => {
                let call = self.arguments(arguments, scope)?;
                Ok(Value::Bool(predicates::test(name, value, call)? != *negated))
            }
        }
    }
}

fn write(output: &mut String, text: &str) -> Result<()> {
    if text.len() > MAX_OUTPUT - output.len().min(MAX_OUTPUT) {
        return Err(Failure::limit(format!("at most {MAX_OUTPUT} bytes of text")));
    }
    output.push_str(text);
    Ok(())
}

/// transformers refuses such names, because they could reach Python's internals.
fn check_namespace_name(name: &str) -> Result<()> {
    if name.starts_with('_') {
        return Err(Failure::error(format!("a namespace cannot have the attribute `{name}`")));
    }
    Ok(())
}
