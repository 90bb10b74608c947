//! Jinja's tests: `value is name(arguments)`.

use std::rc::Rc;

use super::arguments::Call;
use super::ast::{BinaryOp, Comparison};
use super::failure::{Failure, Result};
use super::operators::{binary, compare};
use super::value::Value;

/// The names of all tests, sorted.
pub(super) const NAMES: &[&str] = &[
    "!=",
    "<",
    "<=",
    "==",
    ">",
    ">=",
    "boolean",
    "callable",
    "defined",
    "divisibleby",
    "eq",
    "equalto",
    "escaped",
    "even",
    "false",
    "filter",
    "float",
    "ge",
    "greaterthan",
    "gt",
    "in",
    "integer",
    "iterable",
    "le",
    "lessthan",
    "lower",
    "lt",
    "mapping",
    "ne",
    "none",
    "number",
    "odd",
    "sameas",
    "sequence",
    "string",
    "test",
    "true",
    "undefined",
    "upper",
];

/// Whether a test holds.
pub(super) fn test(name: &str, value: &Value, call: Call) -> Result<bool> {
    let comparison = match name {
        "==" | "eq" | "equalto" => Some(Comparison::Equal),
        "!=" | "ne" => Some(Comparison::NotEqual),
        "<" | "lt" | "lessthan" => Some(Comparison::Less),
        "<=" | "le" => Some(Comparison::LessEqual),
        ">" | "gt" | "greaterthan" => Some(Comparison::Greater),
        ">=" | "ge" => Some(Comparison::GreaterEqual),
        "in" => Some(Comparison::In),
        _ => None,
    };
    if let Some(comparison) = comparison {
        let other = one(name, call)?;
        return compare(comparison, value, &other);
    }
    let remainder = |divisor: &Value, rest: i128| -> Result<bool> {
        Ok(binary(BinaryOp::Remainder, value, divisor)?.equals(&Value::Int(rest)))
    };
    match name {
        "divisibleby" => return remainder(&one(name, call)?, 0),
        "sameas" => return same(value, &one(name, call)?),
        _ => {}
    }
    let [] = call.only_positional(&format!("the test `{name}`"), 0)?;
    Ok(match name {
        "boolean" => matches!(value, Value::Bool(_)),
        "callable" => value.is_callable(),
        "defined" => !value.is_undefined(),
        "undefined" => value.is_undefined(),
        "escaped" => matches!(value, Value::Str(text) if text.markup),
        "even" => remainder(&Value::Int(2), 0)?,
        "odd" => remainder(&Value::Int(2), 1)?,
        "false" => matches!(value, Value::Bool(false)),
        "true" => matches!(value, Value::Bool(true)),
        "float" => matches!(value, Value::Float(_)),
        "integer" => matches!(value, Value::Int(_)),
        "number" => matches!(value, Value::Int(_) | Value::Float(_) | Value::Bool(_)),
        "iterable" => value.is_iterable(),
        "lower" => case(value, char::is_uppercase)?,
        "upper" => case(value, char::is_lowercase)?,
        "mapping" => matches!(value, Value::Dict(_)),
        "none" => matches!(value, Value::None),
        "sequence" => matches!(
            value,
            Value::Undefined(_)
                | Value::Str(_)
                | Value::List(_)
                | Value::Tuple(_)
                | Value::Group(_)
                | Value::Dict(_)
                | Value::Range(_)
        ),
        "string" => matches!(value, Value::Str(_)),
        "filter" | "test" => return Err(Failure::unsupported(format!("the test `{name}`"))),
        _ => return Err(Failure::error(format!("no test named `{name}`"))),
    })
}

fn one(name: &str, call: Call) -> Result<Value> {
    let [value] = call.only_positional(&format!("the test `{name}`"), 1)?;
    Ok(value.unwrap_or(Value::None))
}

/// Python's `is`, as far as it does not depend on which objects Python shares.
fn same(one: &Value, other: &Value) -> Result<bool> {
    Ok(match (one, other) {
        (Value::None, Value::None) => true,
        (Value::Bool(one), Value::Bool(other)) => one == other,
        (Value::Int(one), Value::Int(other)) if one != other => false,
        (Value::Int(one), Value::Int(_)) if (-5..=256).contains(one) => true,
        (Value::Str(one), Value::Str(other)) if one.text != other.text => false,
        (Value::List(one), Value::List(other)) => Rc::ptr_eq(one, other),
        (Value::Dict(one), Value::Dict(other)) => Rc::ptr_eq(one, other),
        _ if one.type_name() != other.type_name() => false,
        _ => return Err(Failure::unsupported(format!("the test `sameas` of a {}", one.type_name()))),
    })
}

fn case(value: &Value, refused: fn(char) -> bool) -> Result<bool> {
    let text = value.to_text()?;
    Ok(text.chars().any(|c| c.is_uppercase() || c.is_lowercase()) && !text.chars().any(refused))
}
