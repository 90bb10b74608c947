//! The filter `tojson` of transformers: Python's `json.dumps`, without Jinja's escapes for HTML.

use std::fmt::Write as _;

use super::failure::{Failure, Result};
use super::operators::order;
use super::text;
use super::value::Value;

/// The limit of nested containers.
const MAX_DEPTH: usize = 100;

/// The arguments of `json.dumps`.
#[derive(Debug, Clone)]
pub(super) struct Options {
    pub(super) ensure_ascii: bool,
    /// The text of one level; `None` writes all in one line.
    pub(super) indent: Option<String>,
    pub(super) item_separator: String,
    pub(super) key_separator: String,
    pub(super) sort_keys: bool,
}

pub(super) fn dumps(value: &Value, options: &Options) -> Result<String> {
    let mut text = String::new();
    write(value, options, 0, &mut text)?;
    Ok(text)
}

fn write(value: &Value, options: &Options, depth: usize, text: &mut String) -> Result<()> {
    if depth > MAX_DEPTH {
        return Err(Failure::limit(format!("tojson: a value nested at most {MAX_DEPTH} deep")));
    }
    match value {
        Value::Str(own) => quote(&own.text, options.ensure_ascii, text),
        Value::List(items) | Value::Tuple(items) | Value::Group(items) => {
            list(['[', ']'], items, options, depth, text, |item, text| write(item, options, depth + 1, text))?;
        }
        Value::Dict(dict) => {
            let mut entries = dict.entries().to_vec();
            if options.sort_keys {
                let mut failure = None;
                entries.sort_by(|(one, _), (other, _)| {
                    order(one, other, "<")
                        .unwrap_or_else(|error| {
                            failure = Some(error);
                            None
                        })
                        .unwrap_or(std::cmp::Ordering::Equal)
                });
                if let Some(failure) = failure {
                    return Err(failure);
                }
            }
            list(['{', '}'], &entries, options, depth, text, |(key, value), text| {
                let key = match key {
                    Value::Str(key) => key.text.to_string(),
                    _ => scalar(key)
                        .ok_or_else(|| Failure::error(format!("tojson: a {} cannot be a key", key.type_name())))?,
                };
                quote(&key, options.ensure_ascii, text);
                text.push_str(&options.key_separator);
                write(value, options, depth + 1, text)
            })?;
        }
        _ => {
            let scalar = scalar(value);
            text.push_str(&scalar.ok_or_else(|| {
                Failure::error(format!("tojson: a {} has no JSON representation", value.type_name()))
            })?);
        }
    }
    Ok(())
}

fn scalar(value: &Value) -> Option<String> {
    Some(match value {
        Value::None => "null".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Float(number) if number.is_nan() => "NaN".to_owned(),
        Value::Float(number) if number.is_infinite() => if *number > 0.0 { "Infinity" } else { "-Infinity" }.to_owned(),
        Value::Float(number) => text::float(*number),
        _ => return None,
    })
}

fn list<T>(
    [open, close]: [char; 2],
    items: &[T],
    options: &Options,
    depth: usize,
    text: &mut String,
    mut item: impl FnMut(&T, &mut String) -> Result<()>,
) -> Result<()> {
    let line = |text: &mut String, depth: usize| {
        if let Some(indent) = &options.indent {
            text.push('\n');
            (0..depth).for_each(|_| text.push_str(indent));
        }
    };
    text.push(open);
    for (index, value) in items.iter().enumerate() {
        if index > 0 {
            text.push_str(&options.item_separator);
        }
        line(text, depth + 1);
        item(value, text)?;
    }
    if !items.is_empty() {
        line(text, depth);
    }
    text.push(close);
    Ok(())
}

fn quote(value: &str, ensure_ascii: bool, text: &mut String) {
    text.push('"');
    for c in value.chars() {
        match c {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            '\u{8}' => text.push_str("\\b"),
            '\u{c}' => text.push_str("\\f"),
            _ if c < ' ' || (ensure_ascii && c > '~') => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    // Writing to a string does not fail.
                    let _ = write!(text, "\\u{unit:04x}");
                }
            }
            _ => text.push(c),
        }
    }
    text.push('"');
}
