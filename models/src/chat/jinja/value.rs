//! The values of a template, with Python's truth, equality, length and texts.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use super::ast::{For, MacroDefinition};
use super::failure::{Failure, Result};
use super::text;

/// Values deeper than this are refused: their texts and comparisons are recursive.
const MAX_DEPTH: usize = 100;

#[derive(Debug, Clone)]
pub(super) enum Value {
    /// An undefined value and why it is undefined. It is empty, false and has no items; most operations on it are errors.
    Undefined(Arc<str>),
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Str(Text),
    List(Rc<Vec<Self>>),
    Tuple(Rc<Vec<Self>>),
    Dict(Rc<Dict>),
    /// The keys, values or items of a dict.
    View(Rc<Dict>, View),
    /// Values that can be taken once.
    Generator(Rc<RefCell<VecDeque<Self>>>),
    Range(Range),
    /// A group of the filter `groupby`: a tuple whose items are also called `grouper` and `list`.
    Group(Rc<Vec<Self>>),
    Namespace(Rc<RefCell<Dict>>),
    Loop(Rc<Loop>),
    Macro(Rc<Macro>),
    Function(Function),
    /// A method with its object.
    Method(Rc<(Self, Arc<str>)>),
    Cycler(Rc<Cycler>),
    Joiner(Rc<Joiner>),
}

/// A text; `markup` texts are safe for HTML (of the filters `escape` and `safe`), and `+` escapes what is added to them.
#[derive(Debug, Clone)]
pub(super) struct Text {
    pub(super) text: Arc<str>,
    pub(super) markup: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum View {
    Keys,
    Values,
    Items,
}

/// The numbers from `start` to `stop`, exclusive, in steps that are not 0.
#[derive(Debug, Clone, Copy)]
pub(super) struct Range {
    pub(super) start: i128,
    pub(super) stop: i128,
    pub(super) step: i128,
}

/// The functions that every template has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    Range,
    Dict,
    Namespace,
    Cycler,
    Joiner,
    RaiseException,
    StrftimeNow,
}

#[derive(Debug)]
pub(super) struct Macro {
    pub(super) definition: Arc<MacroDefinition>,
    pub(super) scope: Rc<Scope>,
}

#[derive(Debug)]
pub(super) struct Cycler {
    pub(super) items: Vec<Value>,
    pub(super) at: Cell<usize>,
}

#[derive(Debug)]
pub(super) struct Joiner {
    pub(super) separator: Value,
    pub(super) used: Cell<bool>,
}

/// The variable `loop`.
#[derive(Debug)]
pub(super) struct Loop {
    pub(super) items: Rc<Vec<Value>>,
    pub(super) index: Cell<usize>,
    pub(super) depth: usize,
    pub(super) last_changed: RefCell<Option<Vec<Value>>>,
    /// The loop itself and the scope around it, of a recursive loop.
    pub(super) recursive: Option<(Arc<For>, Rc<Scope>)>,
}

/// Variables, and the scope around them.
#[derive(Debug, Default)]
pub(super) struct Scope {
    variables: RefCell<Vec<(Arc<str>, Value)>>,
    outer: Option<Rc<Self>>,
}

impl Scope {
    pub(super) fn inside(outer: &Rc<Self>) -> Rc<Self> {
        Rc::new(Self { variables: RefCell::default(), outer: Some(Rc::clone(outer)) })
    }

    pub(super) fn get(&self, name: &str) -> Option<Value> {
        let mut scope = Some(self);
        while let Some(current) = scope {
            let variables = current.variables.borrow();
            if let Some((_, value)) = variables.iter().find(|(own, _)| **own == *name) {
                return Some(value.clone());
            }
            drop(variables);
            scope = current.outer.as_deref();
        }
        None
    }

    pub(super) fn set(&self, name: &Arc<str>, value: Value) {
        let mut variables = self.variables.borrow_mut();
        match variables.iter_mut().find(|(own, _)| own == name) {
            Some((_, old)) => *old = value,
            None => variables.push((Arc::clone(name), value)),
        }
    }

    /// Forgets the variables. Macros keep their scope and the scope keeps the macros: this breaks the cycle after a rendering.
    pub(super) fn clear(&self) {
        self.variables.borrow_mut().clear();
    }
}

impl Range {
    pub(super) fn len(self) -> usize {
        let Self { start, stop, step } = self;
        let (distance, step) = if step > 0 { (stop - start, step) } else { (start - stop, -step) };
        if distance <= 0 { 0 } else { usize::try_from((distance + step - 1) / step).unwrap_or(usize::MAX) }
    }

    pub(super) fn get(self, index: usize) -> Value {
        Value::Int(self.start + self.step * i128::try_from(index).unwrap_or_default())
    }

    pub(super) fn values(self) -> Vec<Value> {
        (0..self.len()).map(|index| self.get(index)).collect()
    }
}

/// A dict in the order of insertion.
#[derive(Debug, Clone, Default)]
pub(super) struct Dict {
    entries: Vec<(Value, Value)>,
}

impl Dict {
    /// The most entries: look-ups are linear.
    const MOST: usize = 10_000;

    pub(super) fn entries(&self) -> &[(Value, Value)] {
        &self.entries
    }

    /// The value of a key.
    ///
    /// # Errors
    /// If the key is of a type that cannot be one.
    pub(super) fn get(&self, key: &Value) -> Result<Option<&Value>> {
        check_key(key)?;
        Ok(self.entries.iter().find(|(own, _)| own.equals(key)).map(|(_, value)| value))
    }

    pub(super) fn get_text(&self, key: &str) -> Option<&Value> {
        self.entries.iter().find(|(own, _)| own.as_str() == Some(key)).map(|(_, value)| value)
    }

    pub(super) fn insert(&mut self, key: Value, value: Value) -> Result<()> {
        check_key(&key)?;
        if let Some((_, old)) = self.entries.iter_mut().find(|(own, _)| own.equals(&key)) {
            *old = value;
            return Ok(());
        }
        if self.entries.len() == Self::MOST {
            return Err(Failure::limit(format!("at most {} entries of a dict", Self::MOST)));
        }
        self.entries.push((key, value));
        Ok(())
    }
}

fn check_key(key: &Value) -> Result<()> {
    match key {
        Value::List(_) | Value::Dict(_) => Err(Failure::error(format!("a {} cannot be a key", key.type_name()))),
        Value::Tuple(items) | Value::Group(items) => items.iter().try_for_each(check_key),
        _ => Ok(()),
    }
}

impl Value {
    pub(super) fn text(text: impl Into<Arc<str>>) -> Self {
        Self::Str(Text { text: text.into(), markup: false })
    }

    pub(super) fn undefined(why: impl Into<Arc<str>>) -> Self {
        Self::Undefined(why.into())
    }

    pub(super) fn list(items: Vec<Self>) -> Self {
        Self::List(Rc::new(items))
    }

    pub(super) fn tuple(items: Vec<Self>) -> Self {
        Self::Tuple(Rc::new(items))
    }

    pub(super) fn dict(dict: Dict) -> Self {
        Self::Dict(Rc::new(dict))
    }

    pub(super) fn generator(items: Vec<Self>) -> Self {
        Self::Generator(Rc::new(RefCell::new(items.into())))
    }

    pub(super) fn length(number: usize) -> Self {
        Self::Int(i128::try_from(number).unwrap_or(i128::MAX))
    }

    /// The text of a `str`.
    pub(super) fn as_str(&self) -> Option<&str> {
        if let Self::Str(text) = self { Some(&text.text) } else { None }
    }

    /// The number of an `int` or `bool`.
    pub(super) fn as_int(&self) -> Option<i128> {
        match self {
            Self::Int(number) => Some(*number),
            Self::Bool(flag) => Some(i128::from(*flag)),
            _ => None,
        }
    }

    #[allow(clippy::cast_precision_loss, reason = "Python's conversion of an int to a float rounds too")]
    pub(super) fn as_float(&self) -> Option<f64> {
        match self {
            Self::Float(number) => Some(*number),
            _ => self.as_int().map(|number| number as f64),
        }
    }

    pub(super) fn is_undefined(&self) -> bool {
        matches!(self, Self::Undefined(_))
    }

    /// Python's name of the type.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Undefined(_) => "Undefined",
            Self::None => "NoneType",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float",
            Self::Str(_) => "str",
            Self::List(_) => "list",
            Self::Tuple(_) | Self::Group(_) => "tuple",
            Self::Dict(_) => "dict",
            Self::View(_, View::Keys) => "dict_keys",
            Self::View(_, View::Values) => "dict_values",
            Self::View(_, View::Items) => "dict_items",
            Self::Generator(_) => "generator",
            Self::Range(_) => "range",
            Self::Namespace(_) => "Namespace",
            Self::Loop(_) => "LoopContext",
            Self::Macro(_) => "Macro",
            Self::Function(_) => "function",
            Self::Method(_) => "method",
            Self::Cycler(_) => "Cycler",
            Self::Joiner(_) => "Joiner",
        }
    }

    pub(super) fn is_callable(&self) -> bool {
        matches!(
            self,
            Self::Macro(_) | Self::Function(_) | Self::Method(_) | Self::Joiner(_) | Self::Loop(_) | Self::Undefined(_)
        )
    }

    /// Python's `bool(value)`.
    pub(super) fn is_true(&self) -> bool {
        match self {
            Self::Undefined(_) | Self::None => false,
            Self::Bool(flag) => *flag,
            Self::Int(number) => *number != 0,
            Self::Float(number) => *number != 0.0,
            Self::Str(text) => !text.text.is_empty(),
            Self::List(items) | Self::Tuple(items) | Self::Group(items) => !items.is_empty(),
            Self::Dict(dict) | Self::View(dict, _) => !dict.entries.is_empty(),
            Self::Range(range) => range.len() > 0,
            Self::Loop(state) => !state.items.is_empty(),
            _ => true,
        }
    }

    /// Python's `len(value)`.
    pub(super) fn len(&self) -> Result<usize> {
        Ok(match self {
            Self::Undefined(_) => 0,
            Self::Str(text) => text.text.chars().count(),
            Self::List(items) | Self::Tuple(items) | Self::Group(items) => items.len(),
            Self::Dict(dict) | Self::View(dict, _) => dict.entries.len(),
            Self::Range(range) => range.len(),
            Self::Loop(state) => state.items.len(),
            _ => return Err(Failure::error(format!("a {} has no length", self.type_name()))),
        })
    }

    /// The items of an iterable; those of a generator are taken out of it.
    pub(super) fn iterate(&self) -> Result<Vec<Self>> {
        Ok(match self {
            Self::Undefined(_) => Vec::new(),
            Self::Str(text) => text.text.chars().map(|c| Self::text(c.to_string())).collect(),
            Self::List(items) | Self::Tuple(items) | Self::Group(items) => items.to_vec(),
            Self::Dict(dict) | Self::View(dict, View::Keys) => {
                dict.entries.iter().map(|(key, _)| key.clone()).collect()
            }
            Self::View(dict, View::Values) => dict.entries.iter().map(|(_, value)| value.clone()).collect(),
            Self::View(dict, View::Items) => {
                dict.entries.iter().map(|(key, value)| Self::tuple(vec![key.clone(), value.clone()])).collect()
            }
            Self::Generator(items) => items.borrow_mut().drain(..).collect(),
            Self::Range(range) => range.values(),
            _ => return Err(Failure::error(format!("a {} is not iterable", self.type_name()))),
        })
    }

    pub(super) fn is_iterable(&self) -> bool {
        matches!(
            self,
            Self::Undefined(_)
                | Self::Str(_)
                | Self::List(_)
                | Self::Tuple(_)
                | Self::Group(_)
                | Self::Dict(_)
                | Self::View(..)
                | Self::Generator(_)
                | Self::Range(_)
                | Self::Loop(_)
        )
    }

    /// Python's `==`.
    #[allow(clippy::float_cmp, reason = "Python's equality of numbers is exact")]
    pub(super) fn equals(&self, other: &Self) -> bool {
        let all = |one: &[Self], other: &[Self]| {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| one.equals(other))
        };
        match (self, other) {
            (Self::Undefined(_), Self::Undefined(_)) | (Self::None, Self::None) => true,
            (Self::Str(one), Self::Str(other)) => one.text == other.text,
            (Self::List(one), Self::List(other))
            | (Self::Tuple(one) | Self::Group(one), Self::Tuple(other) | Self::Group(other)) => all(one, other),
            (Self::Dict(one), Self::Dict(other)) => {
                one.entries.len() == other.entries.len()
                    && one.entries.iter().all(|(key, value)| {
                        other.get(key).is_ok_and(|found| found.is_some_and(|found| found.equals(value)))
                    })
            }
            (Self::Range(one), Self::Range(other)) => all(&one.values(), &other.values()),
            (Self::Generator(one), Self::Generator(other)) => Rc::ptr_eq(one, other),
            (Self::Namespace(one), Self::Namespace(other)) => Rc::ptr_eq(one, other),
            (Self::Macro(one), Self::Macro(other)) => Rc::ptr_eq(one, other),
            (Self::Loop(one), Self::Loop(other)) => Rc::ptr_eq(one, other),
            (Self::Function(one), Self::Function(other)) => one == other,
            _ => match (self.as_int(), other.as_int()) {
                (Some(one), Some(other)) => one == other,
                _ => self.as_float().zip(other.as_float()).is_some_and(|(one, other)| one == other),
            },
        }
    }

    /// Python's `str(value)`.
    pub(super) fn to_text(&self) -> Result<Arc<str>> {
        match self {
            Self::Str(text) => Ok(Arc::clone(&text.text)),
            Self::Undefined(_) => Ok("".into()),
            _ => {
                let mut text = String::new();
                self.write_repr(&mut text, 0)?;
                Ok(text.into())
            }
        }
    }

    /// Python's `repr(value)`.
    pub(super) fn repr(&self) -> Result<String> {
        let mut text = String::new();
        self.write_repr(&mut text, 0)?;
        Ok(text)
    }

    fn write_repr(&self, text: &mut String, depth: usize) -> Result<()> {
        if depth > MAX_DEPTH {
            return Err(Failure::limit(format!("a value nested at most {MAX_DEPTH} deep")));
        }
        let items = |text: &mut String, open: &str, items: &[Self], close: &str| {
            text.push_str(open);
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    text.push_str(", ");
                }
                item.write_repr(text, depth + 1)?;
            }
            text.push_str(close);
            Ok(())
        };
        match self {
            Self::Undefined(_) => text.push_str("Undefined"),
            Self::None => text.push_str("None"),
            Self::Bool(flag) => text.push_str(if *flag { "True" } else { "False" }),
            Self::Int(number) => text.push_str(&number.to_string()),
            Self::Float(number) => text.push_str(&text::float(*number)),
            Self::Str(own) if own.markup => {
                text.push_str("Markup(");
                text::repr(&own.text, text);
                text.push(')');
            }
            Self::Str(own) => text::repr(&own.text, text),
            Self::List(all) => return items(text, "[", all, "]"),
            Self::Tuple(all) => return items(text, "(", all, if all.len() == 1 { ",)" } else { ")" }),
            Self::Group(all) => return items(text, "(", all, ")"),
            Self::Dict(dict) => {
                text.push('{');
                for (index, (key, value)) in dict.entries.iter().enumerate() {
                    if index > 0 {
                        text.push_str(", ");
                    }
                    key.write_repr(text, depth + 1)?;
                    text.push_str(": ");
                    value.write_repr(text, depth + 1)?;
                }
                text.push('}');
            }
            Self::View(..) => {
                text.push_str(self.type_name());
                return items(text, "([", &self.iterate()?, "])");
            }
            Self::Range(Range { start, stop, step: 1 }) => text.push_str(&format!("range({start}, {stop})")),
            Self::Range(Range { start, stop, step }) => text.push_str(&format!("range({start}, {stop}, {step})")),
            Self::Namespace(dict) => {
                text.push_str("<Namespace ");
                Self::dict(dict.borrow().clone()).write_repr(text, depth + 1)?;
                text.push('>');
            }
            Self::Loop(state) => {
                text.push_str(&format!("<LoopContext {}/{}>", state.index.get() + 1, state.items.len()));
            }
            Self::Macro(own) => {
                text.push_str("<Macro ");
                text::repr(&own.definition.name, text);
                text.push('>');
            }
            Self::Generator(_) | Self::Function(_) | Self::Method(_) | Self::Cycler(_) | Self::Joiner(_) => {
                let kind = self.type_name();
                return Err(Failure::unsupported(format!("the text of a {kind}, which contains an address in Python")));
            }
        }
        Ok(())
    }
}

/// The place that a possibly negative index names; `None` if it is outside.
pub(super) fn place(index: i128, length: usize) -> Option<usize> {
    let length = i128::try_from(length).ok()?;
    let index = if index < 0 { index + length } else { index };
    if (0..length).contains(&index) { usize::try_from(index).ok() } else { None }
}
