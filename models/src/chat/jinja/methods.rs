//! The methods of Python's texts, dicts, lists and numbers.

use std::sync::Arc;

use super::arguments::{self, Call};
use super::failure::{Failure, Result};
use super::format;
use super::operators::{MAX_SIZE, slice};
use super::text::{self, Side, is_printable, is_space};
use super::value::{Dict, Text, Value, View};

/// Calls a method that [`super::members`] has found.
pub(super) fn call(object: &Value, name: &str, call: Call) -> Result<Value> {
    match object {
        Value::Str(own) => of_text(own, name, call),
        Value::Dict(dict) => of_dict(dict, name, call),
        Value::List(items) | Value::Tuple(items) | Value::Group(items) => of_list(object, items, name, call),
        Value::Range(range) => of_list(object, &range.values(), name, call),
        Value::Loop(state) => {
            let values = call.positional;
            if name == "cycle" {
                let at = state.index.get().checked_rem(values.len());
                let value = at.and_then(|at| values.get(at).cloned());
                return value.ok_or_else(|| Failure::error("loop.cycle needs an item"));
            }
            let mut last = state.last_changed.borrow_mut();
            let same = last.as_ref().is_some_and(|last| {
                last.len() == values.len() && last.iter().zip(&values).all(|(one, other)| one.equals(other))
            });
            *last = Some(values);
            Ok(Value::Bool(!same))
        }
        Value::Cycler(own) => {
            let current = own.items.get(own.at.get()).cloned().unwrap_or(Value::None);
            if name == "reset" {
                own.at.set(0);
                return Ok(Value::None);
            }
            own.at.set((own.at.get() + 1) % own.items.len().max(1));
            Ok(current)
        }
        _ => match (object, name) {
            (Value::Float(number), "is_integer") => Ok(Value::Bool(number.fract() == 0.0)),
            (Value::Int(_) | Value::Bool(_), "bit_length") => {
                let bits = 128 - object.as_int().unwrap_or_default().unsigned_abs().leading_zeros();
                Ok(Value::Int(bits.into()))
            }
            _ => Err(unsupported(object.type_name(), name)),
        },
    }
}

fn unsupported(of: &str, name: &str) -> Failure {
    Failure::unsupported(format!("the method `{name}` of a {of}"))
}

fn of_dict(dict: &std::rc::Rc<Dict>, name: &str, call: Call) -> Result<Value> {
    Ok(match name {
        "get" => {
            let [key, default] = call.only_positional("dict.get", 1)?;
            let key = key.unwrap_or(Value::None);
            dict.get(&key)?.cloned().or(default).unwrap_or(Value::None)
        }
        "items" | "keys" | "values" => {
            let [] = call.only_positional(name, 0)?;
            let view = match name {
                "items" => View::Items,
                "keys" => View::Keys,
                _ => View::Values,
            };
            Value::View(dict.clone(), view)
        }
        "copy" => Value::dict(Dict::clone(dict)),
        _ => return Err(unsupported("dict", name)),
    })
}

fn of_list(object: &Value, items: &[Value], name: &str, call: Call) -> Result<Value> {
    Ok(match name {
        "copy" => object.clone(),
        "count" => {
            let [item] = call.only_positional("count", 1)?;
            let item = item.unwrap_or(Value::None);
            Value::length(items.iter().filter(|own| own.equals(&item)).count())
        }
        "index" => {
            let [item, start, end] = call.only_positional("index", 1)?;
            let item = item.unwrap_or(Value::None);
            let places = Value::Range(super::value::Range {
                start: 0,
                stop: Value::length(items.len()).as_int().unwrap_or(0),
                step: 1,
            });
            let places = slice(&places, [start.as_ref(), end.as_ref(), None])?.iterate()?;
            let equal = |at: &Value| {
                let at = at.as_int().and_then(|at| usize::try_from(at).ok());
                at.and_then(|at| items.get(at)).is_some_and(|own| own.equals(&item))
            };
            places.into_iter().find(equal).ok_or_else(|| Failure::error("the item is not in the list"))?
        }
        _ => return Err(unsupported(object.type_name(), name)),
    })
}

fn of_text(own: &Text, name: &str, call: Call) -> Result<Value> {
    let function = format!("str.{name}");
    let string = &*own.text;
    // What a method makes of an escaped text is escaped too.
    let like = |text: String| Value::Str(Text { text: text.into(), markup: own.markup });
    let parts = |parts: Vec<&str>| Value::list(parts.into_iter().map(|part| like(part.to_owned())).collect());
    let escapes = || match own.markup {
        true => Err(Failure::unsupported(format!("the method `{name}` of an escaped text"))),
        false => Ok(()),
    };
    let optional_text = |value: &Option<Value>| match value {
        None | Some(Value::None) => Ok(None),
        Some(value) => arguments::text(value, &function).map(Some),
    };
    let required_text = |value: &Option<Value>| arguments::text(value.as_ref().unwrap_or(&Value::None), &function);
    Ok(match name {
        "capitalize" | "casefold" | "lower" | "upper" | "title" | "swapcase" => {
            let [] = call.only_positional(&function, 0)?;
            like(match name {
                "capitalize" => text::capitalize(string),
                "lower" => string.to_lowercase(),
                "casefold" if string.is_ascii() => string.to_lowercase(),
                "casefold" => return Err(Failure::unsupported("the method `casefold` of a text that is not ASCII")),
                "upper" => string.to_uppercase(),
                "title" => text::title(string),
                _ => text::swap_case(string),
            })
        }
        "strip" | "lstrip" | "rstrip" => {
            let [characters] = call.only_positional(&function, 0)?;
            let characters = optional_text(&characters)?;
            let side = match name {
                "lstrip" => Side::Left,
                "rstrip" => Side::Right,
                _ => Side::Both,
            };
            like(text::strip(string, characters.as_deref(), side).to_owned())
        }
        "split" | "rsplit" => {
            let [separator, most] = call.bind(&function, ["sep", "maxsplit"], 0)?;
            let most = arguments::limit(most, &function)?.unwrap_or(usize::MAX - 1);
            parts(match (optional_text(&separator)?, name) {
                (None, "split") => text::split_whitespace(string, most),
                (None, _) => text::rsplit_whitespace(string, most),
                (Some(separator), _) if separator.is_empty() => return Err(Failure::error("the separator is empty")),
                (Some(separator), "split") => string.splitn(most.saturating_add(1), &*separator).collect(),
                (Some(separator), _) => {
                    let mut parts: Vec<_> = string.rsplitn(most.saturating_add(1), &*separator).collect();
                    parts.reverse();
                    parts
                }
            })
        }
        "splitlines" => {
            let [keep] = call.bind(&function, ["keepends"], 0)?;
            parts(text::split_lines(string, keep.is_some_and(|keep| keep.is_true())))
        }
        "partition" | "rpartition" => {
            let [separator] = call.only_positional(&function, 1)?;
            let separator = required_text(&separator)?;
            if separator.is_empty() {
                return Err(Failure::error("the separator is empty"));
            }
            let found =
                if name == "partition" { string.split_once(&*separator) } else { string.rsplit_once(&*separator) };
            let all = match (found, name) {
                (Some((before, after)), _) => [before, &separator, after],
                (None, "partition") => [string, "", ""],
                (None, _) => ["", "", string],
            };
            Value::tuple(all.into_iter().map(|part| like(part.to_owned())).collect())
        }
        "replace" => {
            let [old, new, count] = call.bind(&function, ["old", "new", "count"], 2)?;
            let count = arguments::limit(count, &function)?;
            escapes()?;
            let (old, new) = (required_text(&old)?, required_text(&new)?);
            let places = string.len() / old.len().max(1) + 1;
            if places.saturating_mul(new.len()) > MAX_SIZE {
                return Err(Failure::limit(format!("a text of at most {MAX_SIZE} bytes")));
            }
            like(text::replace(string, &old, &new, count))
        }
        "removeprefix" | "removesuffix" => {
            let [part] = call.only_positional(&function, 1)?;
            let part = required_text(&part)?;
            let rest = if name == "removeprefix" { string.strip_prefix(&*part) } else { string.strip_suffix(&*part) };
            like(rest.unwrap_or(string).to_owned())
        }
        "startswith" | "endswith" => {
            let [part, start, end] = call.only_positional(&function, 1)?;
            let part = part.unwrap_or(Value::None);
            let Some(inside) = part_of(own, start.as_ref(), end.as_ref())? else { return Ok(Value::Bool(false)) };
            let holds = |part: &Value| {
                let part = arguments::text(part, &function)?;
                Ok(if name == "startswith" { inside.1.starts_with(&*part) } else { inside.1.ends_with(&*part) })
            };
            let all = match &part {
                Value::Tuple(parts) => parts.to_vec(),
                _ => vec![part],
            };
            let mut found = false;
            for part in &all {
                found = found || holds(part)?;
            }
            Value::Bool(found)
        }
        "find" | "rfind" | "index" | "rindex" | "count" => {
            let [part, start, end] = call.only_positional(&function, 1)?;
            let part = required_text(&part)?;
            let inside = part_of(own, start.as_ref(), end.as_ref())?;
            if name == "count" {
                return Ok(Value::length(inside.map_or(0, |(_, inside)| match part.is_empty() {
                    true => inside.chars().count() + 1,
                    false => inside.matches(&*part).count(),
                })));
            }
            let found = inside.and_then(|(offset, inside)| {
                let at = if name.starts_with('r') { inside.rfind(&*part) } else { inside.find(&*part) }?;
                Some(offset + inside[..at].chars().count())
            });
            match found {
                Some(at) => Value::length(at),
                None if name.ends_with("index") => return Err(Failure::error("the part is not in the text")),
                None => Value::Int(-1),
            }
        }
        "join" => {
            let [items] = call.only_positional(&function, 1)?;
            escapes()?;
            let items = items.unwrap_or(Value::None).iterate()?;
            let mut joined = String::new();
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    joined.push_str(string);
                }
                joined.push_str(&arguments::text(item, &function)?);
                if joined.len() > MAX_SIZE {
                    return Err(Failure::limit(format!("a text of at most {MAX_SIZE} bytes")));
                }
            }
            Value::text(joined)
        }
        "center" | "ljust" | "rjust" => {
            let [width, fill] = call.only_positional(&function, 1)?;
            let width = padding(&width, &function)?;
            let fill = optional_text(&fill)?.unwrap_or_else(|| " ".into());
            let mut fills = fill.chars();
            let (Some(fill), None) = (fills.next(), fills.next()) else {
                return Err(Failure::error(format!("{function} needs one character to fill with")));
            };
            let side = match name {
                "center" => Side::Both,
                "ljust" => Side::Right,
                _ => Side::Left,
            };
            like(text::pad(string, width, fill, side))
        }
        "zfill" => {
            let [width] = call.only_positional(&function, 1)?;
            let width = padding(&width, &function)?;
            let sign = string.len() - string.strip_prefix(['+', '-']).unwrap_or(string).len();
            let (sign, digits) = string.split_at(sign);
            like(format!("{sign}{}", text::pad(digits, width.saturating_sub(sign.len()), '0', Side::Left)))
        }
        "expandtabs" => {
            let [size] = call.bind(&function, ["tabsize"], 0)?;
            let size = padding(&Some(size.unwrap_or(Value::Int(8))), &function)?;
            let (mut result, mut column) = (String::new(), 0);
            for c in string.chars() {
                match c {
                    '\t' => {
                        let spaces = if size == 0 { 0 } else { size - column % size };
                        result.extend(std::iter::repeat_n(' ', spaces));
                        column += spaces;
                    }
                    '\n' | '\r' => {
                        result.push(c);
                        column = 0;
                    }
                    _ => {
                        result.push(c);
                        column += 1;
                    }
                }
                if result.len() > MAX_SIZE {
                    return Err(Failure::limit(format!("a text of at most {MAX_SIZE} bytes")));
                }
            }
            like(result)
        }
        "format" => {
            escapes()?;
            Value::text(format::format(string, &call.positional, &call.keyword)?)
        }
        "format_map" => {
            let [map] = call.only_positional(&function, 1)?;
            escapes()?;
            let Some(Value::Dict(dict)) = &map else { return Err(Failure::error("str.format_map needs a dict")) };
            let named = |(key, value): &(Value, Value)| Some((Arc::from(key.as_str()?), value.clone()));
            Value::text(format::format(string, &[], &dict.entries().iter().filter_map(named).collect::<Vec<_>>())?)
        }
        _ if name.starts_with("is") => {
            let [] = call.only_positional(&function, 0)?;
            Value::Bool(is(string, name)?)
        }
        _ => return Err(unsupported("str", name)),
    })
}

/// A width, within the limit.
fn padding(width: &Option<Value>, function: &str) -> Result<usize> {
    let width = arguments::count(width.as_ref().unwrap_or(&Value::None), function)?;
    if width > MAX_SIZE / 4 {
        return Err(Failure::limit(format!("{function}: a text of at most {MAX_SIZE} bytes")));
    }
    Ok(width)
}

/// The part of a text from `start` to `end` with its offset in characters; `None` if it begins after the end.
fn part_of(own: &Text, start: Option<&Value>, end: Option<&Value>) -> Result<Option<(usize, String)>> {
    let length = own.text.chars().count();
    let offset = match start {
        None | Some(Value::None) => 0,
        Some(start) => {
            let start = arguments::int(start, "a part of a text")?;
            let length = i128::try_from(length).unwrap_or(i128::MAX);
            let start = if start < 0 { (start + length).max(0) } else { start };
            if start > length {
                return Ok(None);
            }
            usize::try_from(start).unwrap_or(0)
        }
    };
    let part = slice(&Value::Str(own.clone()), [start, end, None])?;
    Ok(part.as_str().map(|part| (offset, part.to_owned())))
}

/// The methods `isalpha`, `isdigit`, ....
fn is(text: &str, name: &str) -> Result<bool> {
    let some = !text.is_empty();
    let all = |holds: fn(char) -> bool| some && text.chars().all(holds);
    // Which characters other than ASCII are digits is not known here.
    let numbers = |holds: fn(char) -> bool| match text.chars().any(|c| !c.is_ascii() && c.is_numeric()) {
        true => Err(Failure::unsupported(format!("the method `{name}` of a text with digits that are not ASCII"))),
        false => Ok(all(holds)),
    };
    let cased = || text.chars().any(|c| c.is_uppercase() || c.is_lowercase());
    Ok(match name {
        "isalpha" => all(|c| c.is_alphabetic() && !c.is_numeric()),
        "isalnum" => all(char::is_alphanumeric),
        "isascii" => text.is_ascii(),
        "isdigit" | "isdecimal" | "isnumeric" => numbers(|c| c.is_ascii_digit())?,
        "isspace" => all(is_space),
        "isprintable" => text.chars().all(is_printable),
        "islower" => cased() && !text.chars().any(char::is_uppercase),
        "isupper" => cased() && !text.chars().any(char::is_lowercase),
        "istitle" => cased() && text::title(text) == text,
        "isidentifier" => {
            some && text.chars().all(|c| c.is_alphanumeric() || c == '_') && !text.starts_with(char::is_numeric)
        }
        _ => return Err(unsupported("str", name)),
    })
}
