//! Attributes and items of values, as Jinja's sandbox gives them.

use std::rc::Rc;
use std::sync::Arc;

use super::failure::{Failure, Result};
use super::value::{Text, Value, place};

const STR: &[&str] = &[
    "capitalize",
    "casefold",
    "center",
    "count",
    "encode",
    "endswith",
    "expandtabs",
    "find",
    "format",
    "format_map",
    "index",
    "isalnum",
    "isalpha",
    "isascii",
    "isdecimal",
    "isdigit",
    "isidentifier",
    "islower",
    "isnumeric",
    "isprintable",
    "isspace",
    "istitle",
    "isupper",
    "join",
    "ljust",
    "lower",
    "lstrip",
    "maketrans",
    "partition",
    "removeprefix",
    "removesuffix",
    "replace",
    "rfind",
    "rindex",
    "rjust",
    "rpartition",
    "rsplit",
    "rstrip",
    "split",
    "splitlines",
    "startswith",
    "strip",
    "swapcase",
    "title",
    "translate",
    "upper",
    "zfill",
];
const DICT: &[&str] = &["copy", "fromkeys", "get", "items", "keys", "values"];
const LIST: &[&str] = &["copy", "count", "index"];
const TUPLE: &[&str] = &["count", "index"];
const INT: &[&str] = &["bit_count", "bit_length", "conjugate", "to_bytes"];
const FLOAT: &[&str] = &["as_integer_ratio", "conjugate", "hex", "is_integer"];
/// Methods that change their object; the sandbox of transformers refuses them.
const MUTATING: &[&str] =
    &["append", "clear", "extend", "insert", "pop", "popitem", "remove", "reverse", "setdefault", "sort", "update"];

/// `value.name`: an attribute, else an item.
pub(super) fn attribute(value: &Value, name: &Arc<str>) -> Result<Value> {
    if let Some(found) = python_attribute(value, name)? {
        return Ok(found);
    }
    match value {
        Value::Dict(dict) => Ok(dict.get_text(name).cloned().unwrap_or_else(|| missing(value, name))),
        _ => Ok(missing(value, name)),
    }
}

/// `value[key]`: an item, else an attribute.
pub(super) fn item(value: &Value, key: &Value) -> Result<Value> {
    let found = match value {
        Value::Undefined(why) => return Err(Failure::error(why.to_string())),
        // A key that is no key is no item either.
        Value::Dict(dict) => dict.get(key).ok().flatten().cloned(),
        Value::Str(text) => {
            let characters = || text.text.chars();
            let at = key.as_int().and_then(|index| place(index, characters().count()));
            at.and_then(|at| characters().nth(at))
                .map(|c| Value::Str(Text { text: c.to_string().into(), markup: text.markup }))
        }
        Value::List(items) | Value::Tuple(items) | Value::Group(items) => {
            key.as_int().and_then(|index| place(index, items.len())).and_then(|at| items.get(at).cloned())
        }
        Value::Range(range) => key.as_int().and_then(|index| place(index, range.len())).map(|at| range.get(at)),
        _ => None,
    };
    if let Some(found) = found {
        return Ok(found);
    }
    if let Value::Str(name) = key
        && let Some(found) = python_attribute(value, &name.text)?
    {
        return Ok(found);
    }
    let key = key.repr().unwrap_or_else(|_| key.type_name().to_owned());
    Ok(Value::undefined(format!("a {} has no item {key}", value.type_name())))
}

/// `getattr(value, name)` of the filter `attr`: no items.
pub(super) fn only_attribute(value: &Value, name: &Arc<str>) -> Result<Value> {
    Ok(python_attribute(value, name)?.unwrap_or_else(|| missing(value, name)))
}

fn missing(value: &Value, name: &str) -> Value {
    Value::undefined(format!("a {} has no attribute `{name}`", value.type_name()))
}

/// An attribute of the Python object, `None` if it has none of that name.
fn python_attribute(value: &Value, name: &Arc<str>) -> Result<Option<Value>> {
    let unsafe_name = || {
        Some(Value::undefined(format!(
            "the attribute `{name}` of a {} is not allowed in a template",
            value.type_name()
        )))
    };
    // Every object has attributes such as `__class__`; none of them is allowed. A dict may have such keys.
    if name.starts_with("__") && name.ends_with("__") {
        return Ok(unsafe_name());
    }
    if let Value::Undefined(why) = value {
        return Err(Failure::error(why.to_string()));
    }
    let methods: &[&str] = match value {
        Value::Str(_) => STR,
        Value::Dict(_) => DICT,
        Value::List(_) => LIST,
        Value::Tuple(_) | Value::Group(_) | Value::Range(_) => TUPLE,
        Value::Int(_) | Value::Bool(_) => INT,
        Value::Float(_) => FLOAT,
        Value::Cycler(_) => &["next", "reset"],
        Value::Loop(_) => &["changed", "cycle"],
        _ => &[],
    };
    if methods.contains(&&**name) {
        return Ok(Some(Value::Method(Rc::new((value.clone(), Arc::clone(name))))));
    }
    let of_a_list = matches!(value, Value::List(_)) && !matches!(&**name, "popitem" | "setdefault" | "update");
    let of_a_dict =
        matches!(value, Value::Dict(_)) && matches!(&**name, "clear" | "pop" | "popitem" | "setdefault" | "update");
    if MUTATING.contains(&&**name) && (of_a_list || of_a_dict) {
        return Ok(unsafe_name());
    }
    Ok(match value {
        Value::Namespace(dict) => dict.borrow().get_text(name).cloned(),
        Value::Group(items) => match &**name {
            "grouper" => items.first().cloned(),
            "list" => items.get(1).cloned(),
            _ => None,
        },
        Value::Macro(own) => match &**name {
            "name" => Some(Value::text(Arc::clone(&own.definition.name))),
            "arguments" => {
                let names = own.definition.parameters.iter().map(|(name, _)| Value::text(Arc::clone(name)));
                Some(Value::tuple(names.collect()))
            }
            "catch_kwargs" => Some(Value::Bool(own.definition.takes.kwargs)),
            "catch_varargs" => Some(Value::Bool(own.definition.takes.varargs)),
            "caller" => Some(Value::Bool(own.definition.takes.caller)),
            _ => None,
        },
        Value::Cycler(own) if &**name == "current" => own.items.get(own.at.get()).cloned(),
        Value::Range(range) => match &**name {
            "start" => Some(Value::Int(range.start)),
            "stop" => Some(Value::Int(range.stop)),
            "step" => Some(Value::Int(range.step)),
            _ => None,
        },
        Value::Int(_) | Value::Bool(_) => match &**name {
            "real" | "numerator" => value.as_int().map(Value::Int),
            "imag" => Some(Value::Int(0)),
            "denominator" => Some(Value::Int(1)),
            _ => None,
        },
        Value::Float(number) => match &**name {
            "real" => Some(Value::Float(*number)),
            "imag" => Some(Value::Float(0.0)),
            _ => None,
        },
        Value::Loop(state) => {
            let (index, length) = (state.index.get(), state.items.len());
            let neighbour = |at: Option<usize>, what: &str| {
                let found = at.and_then(|at| state.items.get(at).cloned());
                Some(found.unwrap_or_else(|| Value::undefined(format!("there is no {what} item"))))
            };
            match &**name {
                "index" => Some(Value::length(index + 1)),
                "index0" => Some(Value::length(index)),
                "revindex" => Some(Value::length(length - index)),
                "revindex0" => Some(Value::length(length - index - 1)),
                "first" => Some(Value::Bool(index == 0)),
                "last" => Some(Value::Bool(index + 1 == length)),
                "length" => Some(Value::length(length)),
                "depth" => Some(Value::length(state.depth + 1)),
                "depth0" => Some(Value::length(state.depth)),
                "previtem" => neighbour(index.checked_sub(1), "previous"),
                "nextitem" => neighbour(Some(index + 1), "next"),
                _ => None,
            }
        }
        _ => None,
    })
}
