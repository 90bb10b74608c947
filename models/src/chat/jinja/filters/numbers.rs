//! Filters of numbers.

use super::super::arguments::{self, Call};
use super::super::failure::{Failure, Result};
use super::super::format;
use super::super::text::{self, Side};
use super::super::value::Value;
use super::{given, is_true};

pub(super) fn number(name: &str, function: &str, value: &Value, call: Call) -> Result<Value> {
    let defined = || match value {
        Value::Undefined(why) => Err(Failure::error(why.to_string())),
        _ => Ok(()),
    };
    let refused = || Failure::error(format!("{function} needs a number, not a {}", value.type_name()));
    Ok(match name {
        "abs" => {
            let [] = call.only_positional(function, 0)?;
            defined()?;
            match value {
                Value::Float(number) => Value::Float(number.abs()),
                _ => Value::Int(value.as_int().ok_or_else(refused)?.abs()),
            }
        }
        "int" => {
            let [default, base] = call.bind(function, ["default", "base"], 0)?;
            defined()?;
            let base = base.as_ref().and_then(Value::as_int).unwrap_or(10);
            let number = match value {
                Value::Str(text) => parse_int(&text.text, base)
                    .or_else(|| parse_float(&text.text).and_then(|number| format::truncated(number).ok())),
                Value::Float(number) if number.is_finite() => Some(format::truncated(*number)?),
                _ => value.as_int(),
            };
            number.map_or_else(|| default.unwrap_or(Value::Int(0)), Value::Int)
        }
        "float" => {
            let [default] = call.bind(function, ["default"], 0)?;
            defined()?;
            let number = match value {
                Value::Str(text) => parse_float(&text.text),
                _ => value.as_float(),
            };
            number.map_or_else(|| default.unwrap_or(Value::Float(0.0)), Value::Float)
        }
        "round" => {
            let [precision, method] = call.bind(function, ["precision", "method"], 0)?;
            defined()?;
            let precision = precision.map_or(Ok(0), |precision| arguments::int(&precision, function))?;
            let method = given(method.as_ref())?;
            round(value, precision, method.as_deref().unwrap_or("common")).ok_or_else(refused)??
        }
        _ => {
            let [binary] = call.bind(function, ["binary"], 0)?;
            let binary = is_true(binary.as_ref());
            let bytes = match value {
                Value::Str(text) => parse_float(&text.text),
                _ => value.as_float(),
            };
            let bytes = bytes.ok_or_else(refused)?;
            let base = if binary { 1024.0 } else { 1000.0 };
            let units = if binary {
                ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"]
            } else {
                ["kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"]
            };
            #[allow(clippy::float_cmp, reason = "exactly one byte")]
            if bytes == 1.0 {
                return Ok(Value::text("1 Byte"));
            }
            if bytes < base {
                return Ok(Value::text(format!("{} Bytes", format::truncated(bytes)?)));
            }
            let mut unit = base;
            let mut text = String::new();
            for name in units {
                unit *= base;
                text = format!("{:.1} {name}", base * bytes / unit);
                if bytes < unit {
                    break;
                }
            }
            Value::text(text)
        }
    })
}

/// Python's `int(text, base)`.
fn parse_int(text: &str, base: i128) -> Option<i128> {
    let text = text::strip(text, None, Side::Both);
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let prefixed = |base: i128| match base {
        16 => Some(["0x", "0X"]),
        8 => Some(["0o", "0O"]),
        2 => Some(["0b", "0B"]),
        _ => None,
    };
    let mut base = base;
    let mut digits = digits;
    for (own, prefixes) in [16, 8, 2].into_iter().filter_map(|own| Some((own, prefixed(own)?))) {
        if (base == own || base == 0)
            && let Some(rest) = prefixes.iter().find_map(|prefix| digits.strip_prefix(prefix))
        {
            digits = rest.strip_prefix('_').unwrap_or(rest);
            base = own;
            break;
        }
    }
    let base = u32::try_from(if base == 0 { 10 } else { base }).ok().filter(|base| (2..=36).contains(base))?;
    let clean = without_underscores(digits)?;
    if !clean.chars().all(|c| c.is_digit(base)) {
        return None;
    }
    let number = i128::from_str_radix(&clean, base).ok()?;
    Some(if negative { -number } else { number })
}

/// Python's `float(text)`.
fn parse_float(text: &str) -> Option<f64> {
    let text = text::strip(text, None, Side::Both);
    if !text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c))
        && !["inf", "infinity", "nan"].contains(&text.to_ascii_lowercase().as_str())
    {
        return None;
    }
    without_underscores(text)?.parse().ok()
}

/// Digits whose underscores stand between digits.
fn without_underscores(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let between = |at: usize| {
        at > 0 && bytes[at - 1].is_ascii_alphanumeric() && bytes.get(at + 1).is_some_and(u8::is_ascii_alphanumeric)
    };
    let fits = !text.is_empty() && bytes.iter().enumerate().all(|(at, byte)| *byte != b'_' || between(at));
    fits.then(|| text.replace('_', ""))
}

/// The filter `round`; `None` if the value is no number.
fn round(value: &Value, precision: i128, method: &str) -> Option<Result<Value>> {
    let number = value.as_float()?;
    let power = i32::try_from(precision.clamp(-400, 400)).unwrap_or(0);
    Some(Ok(match method {
        "common" => match value.as_int() {
            Some(number) if precision >= 0 => Value::Int(number),
            Some(_) => return Some(Err(Failure::unsupported("rounding an int to tens"))),
            None if !number.is_finite() => Value::Float(number),
            None if precision >= 0 => {
                let places = usize::try_from(precision.min(400)).unwrap_or(0);
                Value::Float(format!("{number:.places$}").parse().unwrap_or(number))
            }
            None => return Some(Err(Failure::unsupported("rounding a float to tens"))),
        },
        "ceil" => Value::Float((number * 10_f64.powi(power)).ceil() / 10_f64.powi(power)),
        "floor" => Value::Float((number * 10_f64.powi(power)).floor() / 10_f64.powi(power)),
        _ => return Some(Err(Failure::error("the method of `round` must be common, ceil or floor"))),
    }))
}
