//! Jinja's filters: `value | name(arguments)`. Those of numbers, sequences and texts are in modules of their own.

mod numbers;
mod sequences;
mod texts;

use std::sync::Arc;

use super::arguments::{self, Call};
use super::failure::{Failure, Result};
use super::value::Value;
use super::{json, members};

/// The names of all filters, sorted.
pub(super) const NAMES: &[&str] = &[
    "abs",
    "attr",
    "batch",
    "capitalize",
    "center",
    "count",
    "d",
    "default",
    "dictsort",
    "e",
    "escape",
    "filesizeformat",
    "first",
    "float",
    "forceescape",
    "format",
    "groupby",
    "indent",
    "int",
    "items",
    "join",
    "last",
    "length",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "pprint",
    "random",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "safe",
    "select",
    "selectattr",
    "slice",
    "sort",
    "string",
    "striptags",
    "sum",
    "title",
    "tojson",
    "trim",
    "truncate",
    "unique",
    "upper",
    "urlencode",
    "urlize",
    "wordcount",
    "wordwrap",
    "xmlattr",
];

/// Applies a filter.
pub(super) fn apply(name: &str, value: &Value, call: Call) -> Result<Value> {
    let function = format!("the filter `{name}`");
    let function = function.as_str();
    let none = |call: Call| call.only_positional::<0>(function, 0).map(|_| ());
    Ok(match name {
        "default" | "d" => {
            let [default, boolean] = call.bind(function, ["default_value", "boolean"], 0)?;
            let replaced = value.is_undefined() || (is_true(boolean.as_ref()) && !value.is_true());
            if replaced { default.unwrap_or_else(|| Value::text("")) } else { value.clone() }
        }
        "length" | "count" => {
            none(call)?;
            Value::length(value.len()?)
        }
        "list" => {
            none(call)?;
            Value::list(value.iterate()?)
        }
        "items" => {
            none(call)?;
            match value {
                Value::Undefined(_) => Value::generator(Vec::new()),
                Value::Dict(dict) => Value::generator(
                    dict.entries().iter().map(|(key, value)| Value::tuple(vec![key.clone(), value.clone()])).collect(),
                ),
                _ => return Err(Failure::error(format!("{function} needs a dict, not a {}", value.type_name()))),
            }
        }
        "tojson" => tojson(value, call)?,
        "attr" => {
            let [name] = call.bind(function, ["name"], 1)?;
            members::only_attribute(value, &name.unwrap_or(Value::None).to_text()?)?
        }
        "abs" | "round" | "int" | "float" | "filesizeformat" => numbers::number(name, function, value, call)?,
        "batch" | "dictsort" | "first" | "groupby" | "join" | "last" | "map" | "max" | "min" | "reject"
        | "rejectattr" | "reverse" | "select" | "selectattr" | "slice" | "sort" | "sum" | "unique" => {
            sequences::sequence(name, function, value, call)?
        }
        "pprint" | "random" | "urlize" | "wordwrap" | "xmlattr" => return Err(Failure::unsupported(function)),
        _ if NAMES.contains(&name) => texts::of_text(name, function, value, call)?,
        _ => return Err(Failure::error(format!("no filter named `{name}`"))),
    })
}

fn is_true(value: Option<&Value>) -> bool {
    value.is_some_and(Value::is_true)
}

/// An optional text argument; None stands for no argument.
fn given(value: Option<&Value>) -> Result<Option<Arc<str>>> {
    match value {
        None | Some(Value::None) => Ok(None),
        Some(value) => value.to_text().map(Some),
    }
}

fn tojson(value: &Value, call: Call) -> Result<Value> {
    let names = ["ensure_ascii", "indent", "separators", "sort_keys"];
    let [ensure_ascii, indent, separators, sort_keys] = call.bind("the filter `tojson`", names, 0)?;
    let indent = match indent {
        None | Some(Value::None) => None,
        Some(Value::Str(text)) => Some(text.text.to_string()),
        Some(number) => {
            let width = arguments::count(&number, "tojson")?;
            if width > 1000 {
                return Err(Failure::limit("tojson: an indent of at most 1000"));
            }
            Some(" ".repeat(width))
        }
    };
    let (item_separator, key_separator) = match separators {
        None | Some(Value::None) => (if indent.is_some() { "," } else { ", " }.to_owned(), ": ".to_owned()),
        Some(pair) => match pair.iterate()?.as_slice() {
            [Value::Str(item), Value::Str(key)] => (item.text.to_string(), key.text.to_string()),
            _ => return Err(Failure::error("tojson: `separators` needs two texts")),
        },
    };
    let options = json::Options {
        ensure_ascii: is_true(ensure_ascii.as_ref()),
        indent,
        item_separator,
        key_separator,
        sort_keys: is_true(sort_keys.as_ref()),
    };
    Ok(Value::text(json::dumps(value, &options)?))
}
