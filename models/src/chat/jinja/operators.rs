//! Python's operators.

use std::cmp::Ordering;
use std::rc::Rc;

use super::ast::{BinaryOp, Comparison};
use super::failure::{Failure, Result};
use super::format;
use super::text::escape_html;
use super::value::{Range, Text, Value, View};

/// The size limit of one text in bytes and of one list in items.
pub(super) const MAX_SIZE: usize = 64 << 20;

pub(super) fn binary(operator: BinaryOp, left: &Value, right: &Value) -> Result<Value> {
    for side in [left, right] {
        // `"%s" % undefined` is an empty text.
        if let Value::Undefined(why) = side
            && !(operator == BinaryOp::Remainder && left.as_str().is_some())
        {
            return Err(Failure::error(why.to_string()));
        }
    }
    match operator {
        BinaryOp::Add => add(left, right),
        BinaryOp::Multiply => multiply(left, right),
        BinaryOp::Remainder if let Value::Str(text) = left => {
            if text.markup {
                return Err(Failure::unsupported("`%` on an escaped text"));
            }
            Ok(Value::text(format::percent(&text.text, right)?))
        }
        _ => number(operator, left, right),
    }
}

fn refused(symbol: &str, left: &Value, right: &Value) -> Failure {
    Failure::error(format!("`{symbol}` cannot be applied to {} and {}", left.type_name(), right.type_name()))
}

fn add(left: &Value, right: &Value) -> Result<Value> {
    Ok(match (left, right) {
        (Value::Str(one), Value::Str(other)) => {
            let markup = one.markup || other.markup;
            let part = |text: &Text| {
                if markup && !text.markup { escape_html(&text.text) } else { text.text.to_string() }
            };
            let text = if markup { part(one) + &part(other) } else { [&*one.text, &*other.text].concat() };
            Value::Str(Text { text: text.into(), markup })
        }
        (Value::List(one), Value::List(other)) => Value::list(one.iter().chain(other.iter()).cloned().collect()),
        (Value::Tuple(one) | Value::Group(one), Value::Tuple(other) | Value::Group(other)) => {
            Value::tuple(one.iter().chain(other.iter()).cloned().collect())
        }
        _ => return number(BinaryOp::Add, left, right),
    })
}

fn multiply(left: &Value, right: &Value) -> Result<Value> {
    let (repeated, count) = match (left, right) {
        (Value::Str(_) | Value::List(_) | Value::Tuple(_), _) => (left, right),
        _ => (right, left),
    };
    let Some(count) = count.as_int() else { return number(BinaryOp::Multiply, left, right) };
    let count = usize::try_from(count.max(0)).unwrap_or(usize::MAX);
    let fits = |length: usize| {
        if length.checked_mul(count).is_some_and(|size| size <= MAX_SIZE) {
            return Ok(());
        }
        Err(Failure::limit(format!("a repetition of at most {MAX_SIZE} bytes")))
    };
    let all = |items: &Rc<Vec<Value>>| -> Result<Vec<Value>> {
        fits(items.len() * 32)?;
        Ok(items.iter().cycle().take(items.len() * count).cloned().collect())
    };
    match repeated {
        Value::Str(text) => {
            fits(text.text.len())?;
            Ok(Value::Str(Text { text: text.text.repeat(count).into(), markup: text.markup }))
        }
        Value::List(items) => Ok(Value::list(all(items)?)),
        Value::Tuple(items) => Ok(Value::tuple(all(items)?)),
        _ => number(BinaryOp::Multiply, left, right),
    }
}

const fn symbol(operator: BinaryOp) -> &'static str {
    match operator {
        BinaryOp::Add => "+",
        BinaryOp::Subtract => "-",
        BinaryOp::Multiply => "*",
        BinaryOp::Divide => "/",
        BinaryOp::FloorDivide => "//",
        BinaryOp::Remainder => "%",
        BinaryOp::Power => "**",
    }
}

fn number(operator: BinaryOp, left: &Value, right: &Value) -> Result<Value> {
    if let (Some(one), Some(other)) = (left.as_int(), right.as_int()) {
        return integers(operator, one, other);
    }
    let (Some(one), Some(other)) = (left.as_float(), right.as_float()) else {
        return Err(refused(symbol(operator), left, right));
    };
    if other == 0.0 && matches!(operator, BinaryOp::Divide | BinaryOp::FloorDivide | BinaryOp::Remainder) {
        return Err(Failure::error("division by zero"));
    }
    // The remainder has the sign of the divisor.
    let remainder = || {
        let remainder = one % other;
        if remainder == 0.0 {
            0.0_f64.copysign(other)
        } else if (remainder < 0.0) == (other < 0.0) {
            remainder
        } else {
            remainder + other
        }
    };
    Ok(Value::Float(match operator {
        BinaryOp::Add => one + other,
        BinaryOp::Subtract => one - other,
        BinaryOp::Multiply => one * other,
        BinaryOp::Divide => one / other,
        BinaryOp::FloorDivide => ((one - remainder()) / other).round(),
        BinaryOp::Remainder => remainder(),
        BinaryOp::Power => {
            if one < 0.0 && other.fract() != 0.0 {
                return Err(Failure::unsupported("a complex number"));
            }
            if one == 0.0 && other < 0.0 {
                return Err(Failure::error("division by zero"));
            }
            one.powf(other)
        }
    }))
}

#[allow(clippy::cast_precision_loss, reason = "Python's division of integers gives the nearest float too")]
fn integers(operator: BinaryOp, one: i128, other: i128) -> Result<Value> {
    if other == 0 && matches!(operator, BinaryOp::Divide | BinaryOp::FloorDivide | BinaryOp::Remainder) {
        return Err(Failure::error("division by zero"));
    }
    let result = match operator {
        BinaryOp::Add => one.checked_add(other),
        BinaryOp::Subtract => one.checked_sub(other),
        BinaryOp::Multiply => one.checked_mul(other),
        BinaryOp::Divide => return Ok(Value::Float(one as f64 / other as f64)),
        BinaryOp::FloorDivide => {
            one.checked_div(other).map(|quotient| quotient - i128::from(one % other != 0 && (one < 0) != (other < 0)))
        }
        BinaryOp::Remainder => one.checked_rem(other).map(|remainder| {
            if remainder != 0 && (remainder < 0) != (other < 0) { remainder + other } else { remainder }
        }),
        BinaryOp::Power if other < 0 => {
            if one == 0 {
                return Err(Failure::error("division by zero"));
            }
            return Ok(Value::Float((one as f64).powf(other as f64)));
        }
        BinaryOp::Power => u32::try_from(other).ok().and_then(|exponent| one.checked_pow(exponent)),
    };
    result.map(Value::Int).ok_or_else(|| Failure::limit("an integer of at most 128 bits"))
}

pub(super) fn negative(value: &Value) -> Result<Value> {
    match value {
        Value::Float(number) => Ok(Value::Float(-number)),
        Value::Undefined(why) => Err(Failure::error(why.to_string())),
        _ => match value.as_int() {
            Some(number) => Ok(Value::Int(-number)),
            None => Err(Failure::error(format!("a {} has no sign", value.type_name()))),
        },
    }
}

pub(super) fn positive(value: &Value) -> Result<Value> {
    if let Value::Float(_) = value {
        return Ok(value.clone());
    }
    negative(value)?;
    value.as_int().map(Value::Int).ok_or_else(|| Failure::error("no number"))
}

pub(super) fn compare(comparison: Comparison, left: &Value, right: &Value) -> Result<bool> {
    Ok(match comparison {
        Comparison::Equal => left.equals(right),
        Comparison::NotEqual => !left.equals(right),
        Comparison::In => contains(right, left)?,
        Comparison::NotIn => !contains(right, left)?,
        Comparison::Less => order(left, right, "<")? == Some(Ordering::Less),
        Comparison::Greater => order(left, right, ">")? == Some(Ordering::Greater),
        Comparison::LessEqual => order(left, right, "<=")?.is_some_and(Ordering::is_le),
        Comparison::GreaterEqual => order(left, right, ">=")?.is_some_and(Ordering::is_ge),
    })
}

/// The order of two values; `None` if a NaN has none.
pub(super) fn order(left: &Value, right: &Value, symbol: &str) -> Result<Option<Ordering>> {
    for side in [left, right] {
        if let Value::Undefined(why) = side {
            return Err(Failure::error(why.to_string()));
        }
    }
    match (left, right) {
        (Value::Str(one), Value::Str(other)) => Ok(Some(one.text.cmp(&other.text))),
        (Value::List(one), Value::List(other))
        | (Value::Tuple(one) | Value::Group(one), Value::Tuple(other) | Value::Group(other)) => {
            for (one, other) in one.iter().zip(other.iter()) {
                if !one.equals(other) {
                    return order(one, other, symbol);
                }
            }
            Ok(Some(one.len().cmp(&other.len())))
        }
        _ => match (left.as_int(), right.as_int()) {
            (Some(one), Some(other)) => Ok(Some(one.cmp(&other))),
            _ => match left.as_float().zip(right.as_float()) {
                Some((one, other)) => Ok(one.partial_cmp(&other)),
                None => Err(refused(symbol, left, right)),
            },
        },
    }
}

/// Python's `item in container`.
pub(super) fn contains(container: &Value, item: &Value) -> Result<bool> {
    Ok(match container {
        Value::Str(text) => match item {
            Value::Str(part) => text.text.contains(&*part.text),
            _ => return Err(Failure::error(format!("`in` a str needs a str, not a {}", item.type_name()))),
        },
        Value::Dict(dict) | Value::View(dict, View::Keys) => dict.get(item)?.is_some(),
        Value::Generator(items) => {
            let mut items = items.borrow_mut();
            std::iter::from_fn(|| items.pop_front()).any(|own| own.equals(item))
        }
        _ => container.iterate()?.iter().any(|own| own.equals(item)),
    })
}

/// Python's `value[start:stop:step]`.
pub(super) fn slice(value: &Value, bounds: [Option<&Value>; 3]) -> Result<Value> {
    let bound = |value: Option<&Value>| match value {
        None | Some(Value::None) => Ok(None),
        Some(value) => match value.as_int() {
            Some(number) => Ok(Some(number)),
            None => Err(Failure::error(format!("a slice needs integers, not a {}", value.type_name()))),
        },
    };
    let [start, stop, step] = bounds;
    let (start, stop, step) = (bound(start)?, bound(stop)?, bound(step)?.unwrap_or(1));
    if step == 0 {
        return Err(Failure::error("the step of a slice is 0"));
    }
    let indices = |length: usize| {
        let length = i128::try_from(length).unwrap_or(i128::MAX);
        let (low, high) = if step > 0 { (0, length) } else { (-1, length - 1) };
        let clamp = |index: i128| (if index < 0 { index.saturating_add(length) } else { index }).clamp(low, high);
        let start = start.map_or(if step > 0 { low } else { high }, clamp);
        let stop = stop.map_or(if step > 0 { high } else { low }, clamp);
        Range { start, stop, step }
    };
    let pick = |items: &[Value]| -> Vec<Value> {
        let chosen = indices(items.len());
        let at = |index: usize| chosen.get(index).as_int().and_then(|at| usize::try_from(at).ok());
        (0..chosen.len()).filter_map(at).filter_map(|at| items.get(at).cloned()).collect()
    };
    Ok(match value {
        Value::Str(text) => {
            let characters: Vec<char> = text.text.chars().collect();
            let chosen = indices(characters.len());
            let at = |index: usize| chosen.get(index).as_int().and_then(|at| usize::try_from(at).ok());
            let text: String = (0..chosen.len()).filter_map(at).filter_map(|at| characters.get(at)).collect();
            Value::Str(Text { text: text.into(), markup: matches!(value, Value::Str(own) if own.markup) })
        }
        Value::List(items) => Value::list(pick(items)),
        Value::Tuple(items) | Value::Group(items) => Value::tuple(pick(items)),
        Value::Range(range) => {
            let chosen = indices(range.len());
            let at = |index: i128| range.start + range.step * index;
            Value::Range(Range { start: at(chosen.start), stop: at(chosen.stop), step: range.step * step })
        }
        Value::Undefined(why) => return Err(Failure::error(why.to_string())),
        _ => return Err(Failure::error(format!("a {} has no slices", value.type_name()))),
    })
}
