//! Jinja's filters: `value | name(arguments)`.

use std::cmp::Ordering;
use std::sync::Arc;

use super::arguments::{self, Call};
use super::ast::BinaryOp;
use super::failure::{Failure, Result};
use super::operators::{MAX_SIZE, binary, order, slice};
use super::text::{self, Side, escape_html, is_space};
use super::value::{Dict, Text, Value};
use super::{format, json, members, predicates};

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
        "abs" | "round" | "int" | "float" | "filesizeformat" => number(name, function, value, call)?,
        "batch" | "dictsort" | "first" | "groupby" | "join" | "last" | "map" | "max" | "min" | "reject"
        | "rejectattr" | "reverse" | "select" | "selectattr" | "slice" | "sort" | "sum" | "unique" => {
            sequence(name, function, value, call)?
        }
        "pprint" | "random" | "urlize" | "wordwrap" | "xmlattr" => return Err(Failure::unsupported(function)),
        _ if NAMES.contains(&name) => of_text(name, function, value, call)?,
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

fn number(name: &str, function: &str, value: &Value, call: Call) -> Result<Value> {
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

/// A function from an item to an attribute of it, such as `a.0.b`.
fn attribute(item: &Value, path: &Value, default: Option<&Value>) -> Result<Value> {
    let keys: Vec<Value> = match path {
        Value::Str(path) => path
            .text
            .split('.')
            .map(|key| {
                let digits = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_digit());
                if digits { key.parse().map_or(Value::text(key), Value::Int) } else { Value::text(key) }
            })
            .collect(),
        _ => vec![path.clone()],
    };
    let mut value = item.clone();
    for key in keys {
        value = members::item(&value, &key)?;
        if let (Value::Undefined(_), Some(default)) = (&value, default) {
            value = default.clone();
        }
    }
    Ok(value)
}

/// What items are compared by: an attribute or the item, in lower case unless the case matters.
fn key(item: &Value, path: Option<&Value>, case_sensitive: bool) -> Result<Value> {
    let lower = |value: Value| match value {
        Value::Str(text) if !case_sensitive => Value::text(text.text.to_lowercase()),
        _ => value,
    };
    match path {
        None | Some(Value::None) => Ok(lower(item.clone())),
        Some(path) => Ok(lower(attribute(item, path, None)?)),
    }
}

/// A stable sort by keys.
fn sort(keyed: &mut [(Value, Value)], reverse: bool) -> Result<()> {
    let mut failure = None;
    keyed.sort_by(|(one, _), (other, _)| {
        let order = order(one, other, "<").unwrap_or_else(|error| {
            failure = Some(error);
            None
        });
        let order = order.unwrap_or(Ordering::Equal);
        if reverse { order.reverse() } else { order }
    });
    failure.map_or(Ok(()), Err)
}

fn sequence(name: &str, function: &str, value: &Value, mut call: Call) -> Result<Value> {
    Ok(match name {
        "first" => {
            let [] = call.only_positional(function, 0)?;
            let first = match value {
                Value::Generator(items) => items.borrow_mut().pop_front(),
                _ => value.iterate()?.into_iter().next(),
            };
            first.unwrap_or_else(|| Value::undefined("an empty sequence has no first item"))
        }
        "last" => {
            let [] = call.only_positional(function, 0)?;
            if let Value::Generator(_) = value {
                return Err(Failure::error("a generator cannot be reversed"));
            }
            value.iterate()?.pop().unwrap_or_else(|| Value::undefined("an empty sequence has no last item"))
        }
        "join" => {
            let [separator, path] = call.bind(function, ["d", "attribute"], 0)?;
            let separator = separator.map_or_else(|| Ok("".into()), |separator| separator.to_text())?;
            let mut joined = String::new();
            for (index, item) in value.iterate()?.iter().enumerate() {
                if index > 0 {
                    joined.push_str(&separator);
                }
                let item = match &path {
                    None | Some(Value::None) => item.clone(),
                    Some(path) => attribute(item, path, None)?,
                };
                joined.push_str(&item.to_text()?);
                if joined.len() > MAX_SIZE {
                    return Err(Failure::limit(format!("a text of at most {MAX_SIZE} bytes")));
                }
            }
            Value::text(joined)
        }
        "map" => {
            if !value.is_true() {
                return Ok(Value::generator(Vec::new()));
            }
            let items = value.iterate()?;
            if call.positional.is_empty() && call.keyword.iter().any(|(name, _)| &**name == "attribute") {
                let [path, default] = call.bind(function, ["attribute", "default"], 1)?;
                let path = path.unwrap_or(Value::None);
                let mapped = items.iter().map(|item| attribute(item, &path, default.as_ref()));
                return Ok(Value::generator(mapped.collect::<Result<_>>()?));
            }
            if call.positional.is_empty() {
                return Err(Failure::error(format!("{function} needs the name of a filter or an attribute")));
            }
            let filter = call.positional.remove(0).to_text()?;
            let mapped = items.iter().map(|item| apply(&filter, item, again(&call)));
            Value::generator(mapped.collect::<Result<_>>()?)
        }
        "select" | "reject" | "selectattr" | "rejectattr" => {
            if !value.is_true() {
                return Ok(Value::generator(Vec::new()));
            }
            let path = if name.ends_with("attr") {
                if call.positional.is_empty() {
                    return Err(Failure::error(format!("{function} needs the name of an attribute")));
                }
                Some(call.positional.remove(0))
            } else {
                None
            };
            let test = if call.positional.is_empty() { None } else { Some(call.positional.remove(0).to_text()?) };
            let wanted = name.starts_with("select");
            let mut kept = Vec::new();
            for item in value.iterate()? {
                let tested = match &path {
                    Some(path) => attribute(&item, path, None)?,
                    None => item.clone(),
                };
                let holds = match &test {
                    Some(test) => predicates::test(test, &tested, again(&call))?,
                    None => tested.is_true(),
                };
                if holds == wanted {
                    kept.push(item);
                }
            }
            Value::generator(kept)
        }
        "reverse" => {
            let [] = call.only_positional(function, 0)?;
            match value {
                Value::Str(_) => slice(value, [None, None, Some(&Value::Int(-1))])?,
                Value::Generator(_) => {
                    let mut items = value.iterate()?;
                    items.reverse();
                    Value::list(items)
                }
                _ => {
                    let mut items = value.iterate()?;
                    items.reverse();
                    Value::generator(items)
                }
            }
        }
        "sort" => {
            let [reverse, case_sensitive, path] = call.bind(function, ["reverse", "case_sensitive", "attribute"], 0)?;
            let case_sensitive = is_true(case_sensitive.as_ref());
            let paths: Vec<Value> = match &path {
                Some(Value::Str(paths)) => paths.text.split(',').map(Value::text).collect(),
                Some(Value::None) | None => Vec::new(),
                Some(path) => vec![path.clone()],
            };
            let mut keyed = Vec::new();
            for item in value.iterate()? {
                let by = if paths.is_empty() {
                    key(&item, None, case_sensitive)?
                } else {
                    let keys = paths.iter().map(|path| key(&item, Some(path), case_sensitive));
                    Value::list(keys.collect::<Result<_>>()?)
                };
                keyed.push((by, item));
            }
            sort(&mut keyed, is_true(reverse.as_ref()))?;
            Value::list(keyed.into_iter().map(|(_, item)| item).collect())
        }
        "dictsort" => {
            let [case_sensitive, by, reverse] = call.bind(function, ["case_sensitive", "by", "reverse"], 0)?;
            let by = given(by.as_ref())?;
            let at = match by.as_deref() {
                None | Some("key") => Value::Int(0),
                Some("value") => Value::Int(1),
                _ => return Err(Failure::error("dictsort sorts by key or by value")),
            };
            let Value::Dict(dict) = value else {
                return Err(Failure::error(format!("{function} needs a dict, not a {}", value.type_name())));
            };
            let mut keyed = Vec::new();
            for (own, value) in dict.entries() {
                let item = Value::tuple(vec![own.clone(), value.clone()]);
                keyed.push((key(&item, Some(&at), is_true(case_sensitive.as_ref()))?, item));
            }
            sort(&mut keyed, is_true(reverse.as_ref()))?;
            Value::list(keyed.into_iter().map(|(_, item)| item).collect())
        }
        "unique" | "min" | "max" => {
            let [case_sensitive, path] = call.bind(function, ["case_sensitive", "attribute"], 0)?;
            let case_sensitive = is_true(case_sensitive.as_ref());
            let mut kept: Vec<(Value, Value)> = Vec::new();
            for item in value.iterate()? {
                let by = key(&item, path.as_ref(), case_sensitive)?;
                match name {
                    "unique" => {
                        // The filter needs keys that a set can have.
                        Dict::default().get(&by)?;
                        if !kept.iter().any(|(own, _)| own.equals(&by)) {
                            kept.push((by, item));
                        }
                    }
                    _ => {
                        let wanted = if name == "min" { Ordering::Less } else { Ordering::Greater };
                        let better = match kept.first() {
                            None => true,
                            Some((best, _)) => order(&by, best, "<")? == Some(wanted),
                        };
                        if better {
                            kept = vec![(by, item)];
                        }
                    }
                }
            }
            let mut items = kept.into_iter().map(|(_, item)| item);
            if name == "unique" {
                return Ok(Value::generator(items.collect()));
            }
            items.next().unwrap_or_else(|| Value::undefined(format!("an empty sequence has no {name}")))
        }
        "sum" => {
            let [path, start] = call.bind(function, ["attribute", "start"], 0)?;
            let mut sum = start.unwrap_or(Value::Int(0));
            for item in value.iterate()? {
                let item = match &path {
                    None | Some(Value::None) => item,
                    Some(path) => attribute(&item, path, None)?,
                };
                if sum.as_str().is_some() {
                    return Err(Failure::error("texts have no sum"));
                }
                sum = binary(BinaryOp::Add, &sum, &item)?;
            }
            sum
        }
        "groupby" => {
            let [path, default, case_sensitive] = call.bind(function, ["attribute", "default", "case_sensitive"], 1)?;
            let path = path.unwrap_or(Value::None);
            let default = default.filter(|default| !matches!(default, Value::None));
            let case_sensitive = is_true(case_sensitive.as_ref());
            let mut keyed = Vec::new();
            for item in value.iterate()? {
                let own = attribute(&item, &path, default.as_ref())?;
                keyed.push((key(&own, None, case_sensitive)?, Value::tuple(vec![own, item])));
            }
            sort(&mut keyed, false)?;
            let mut groups: Vec<(Value, Value, Vec<Value>)> = Vec::new();
            for (by, pair) in keyed {
                let mut pair = pair.iterate()?.into_iter();
                let (own, item) = (pair.next().unwrap_or(Value::None), pair.next().unwrap_or(Value::None));
                match groups.last_mut() {
                    Some((last, _, items)) if last.equals(&by) => items.push(item),
                    _ => groups.push((by, own, vec![item])),
                }
            }
            let group = |(_, own, items)| Value::Group(vec![own, Value::list(items)].into());
            Value::list(groups.into_iter().map(group).collect())
        }
        "batch" => {
            let [size, fill] = call.bind(function, ["linecount", "fill_with"], 1)?;
            let size = arguments::count(&size.unwrap_or(Value::None), function)?;
            let mut batches: Vec<Vec<Value>> = Vec::new();
            for item in value.iterate()? {
                match batches.last_mut() {
                    Some(last) if last.len() < size || size == 0 => last.push(item),
                    _ => batches.push(vec![item]),
                }
            }
            if let (Some(fill), Some(last)) = (fill.filter(|fill| !matches!(fill, Value::None)), batches.last_mut()) {
                if size > 100_000 {
                    return Err(Failure::limit("a batch of at most 100000 items"));
                }
                last.resize(size.max(last.len()), fill);
            }
            Value::generator(batches.into_iter().map(Value::list).collect())
        }
        _ => {
            let [slices, fill] = call.bind(function, ["slices", "fill_with"], 1)?;
            let slices = arguments::count(&slices.unwrap_or(Value::None), function)?;
            if !(1..=100_000).contains(&slices) {
                return Err(Failure::error("slice needs 1 to 100000 slices"));
            }
            let items = value.iterate()?;
            let (each, more) = (items.len() / slices, items.len() % slices);
            let mut rest = items.into_iter();
            let mut all = Vec::new();
            for index in 0..slices {
                let mut part: Vec<Value> = rest.by_ref().take(each + usize::from(index < more)).collect();
                if let Some(fill) = &fill
                    && index >= more
                    && !matches!(fill, Value::None)
                {
                    part.push(fill.clone());
                }
                all.push(Value::list(part));
            }
            Value::generator(all)
        }
    })
}

/// The same arguments for the next item.
fn again(call: &Call) -> Call {
    Call { positional: call.positional.clone(), keyword: call.keyword.clone() }
}

fn of_text(name: &str, function: &str, value: &Value, call: Call) -> Result<Value> {
    let text = value.to_text()?;
    let markup = matches!(value, Value::Str(own) if own.markup);
    let like = |text: String| Value::Str(Text { text: text.into(), markup });
    let safe = |text: Arc<str>| Value::Str(Text { text, markup: true });
    let none = |call: Call| call.only_positional::<0>(function, 0).map(|_| ());
    Ok(match name {
        "string" => {
            none(call)?;
            Value::Str(Text { text, markup })
        }
        "lower" => {
            none(call)?;
            like(text.to_lowercase())
        }
        "upper" => {
            none(call)?;
            like(text.to_uppercase())
        }
        "capitalize" => {
            none(call)?;
            like(text::capitalize(&text))
        }
        "title" => {
            none(call)?;
            like(title(&text))
        }
        "trim" => {
            let [characters] = call.bind(function, ["chars"], 0)?;
            let characters = match &characters {
                None | Some(Value::None) => None,
                Some(characters) => Some(arguments::text(characters, function)?),
            };
            like(text::strip(&text, characters.as_deref(), Side::Both).to_owned())
        }
        "center" => {
            let [width] = call.bind(function, ["width"], 0)?;
            let width = width.map_or(Ok(80), |width| arguments::count(&width, function))?;
            if width > MAX_SIZE {
                return Err(Failure::limit(format!("a text of at most {MAX_SIZE} bytes")));
            }
            like(text::pad(&text, width, ' ', Side::Both))
        }
        "replace" => {
            let [old, new, count] = call.bind(function, ["old", "new", "count"], 2)?;
            let old = old.unwrap_or(Value::None).to_text()?;
            let new = new.unwrap_or(Value::None).to_text()?;
            let count = arguments::limit(count.filter(|count| !matches!(count, Value::None)), function)?;
            let places = text.len() / old.len().max(1) + 1;
            if places.saturating_mul(new.len()) > MAX_SIZE {
                return Err(Failure::limit(format!("a text of at most {MAX_SIZE} bytes")));
            }
            Value::text(text::replace(&text, &old, &new, count))
        }
        "format" => {
            if markup {
                return Err(Failure::unsupported(format!("{function} of an escaped text")));
            }
            let arguments = match (call.positional.is_empty(), call.keyword.is_empty()) {
                (false, false) => {
                    return Err(Failure::error("a format takes positional arguments or named ones, not both"));
                }
                (_, true) => Value::tuple(call.positional),
                (_, false) => {
                    let mut dict = Dict::default();
                    for (name, value) in call.keyword {
                        dict.insert(Value::text(name), value)?;
                    }
                    Value::dict(dict)
                }
            };
            Value::text(format::percent(&text, &arguments)?)
        }
        "escape" | "e" | "forceescape" => {
            none(call)?;
            let escaped = if markup && name != "forceescape" { text } else { escape_html(&text).into() };
            safe(escaped)
        }
        "safe" => {
            none(call)?;
            safe(text)
        }
        "indent" => {
            let [width, first, blank] = call.bind(function, ["width", "first", "blank"], 0)?;
            if let Value::Undefined(why) = value {
                return Err(Failure::error(why.to_string()));
            }
            if value.as_str().is_none() || markup {
                return Err(Failure::error(format!("{function} needs a str, not a {}", value.type_name())));
            }
            let indent = match &width {
                None => "    ".to_owned(),
                Some(Value::Str(text)) => text.text.to_string(),
                Some(width) => " ".repeat(arguments::count(width, function)?.min(10_000)),
            };
            let with_newline = format!("{text}\n");
            let lines = text::split_lines(&with_newline, false);
            if lines.len().saturating_mul(indent.len()) > MAX_SIZE {
                return Err(Failure::limit(format!("a text of at most {MAX_SIZE} bytes")));
            }
            let mut result = if is_true(first.as_ref()) { indent.clone() } else { String::new() };
            for (index, line) in lines.iter().enumerate() {
                if index > 0 {
                    result.push('\n');
                    if is_true(blank.as_ref()) || !line.is_empty() {
                        result.push_str(&indent);
                    }
                }
                result.push_str(line);
            }
            Value::text(result)
        }
        "truncate" => {
            let [length, killwords, end, leeway] = call.bind(function, ["length", "killwords", "end", "leeway"], 0)?;
            let length = length.map_or(Ok(255), |length| arguments::count(&length, function))?;
            let end = end.map_or_else(|| Ok("...".into()), |end| arguments::text(&end, function))?;
            let leeway = match leeway {
                None | Some(Value::None) => 5,
                Some(leeway) => arguments::count(&leeway, function)?,
            };
            let kept = length.checked_sub(end.chars().count());
            let kept = kept.ok_or_else(|| Failure::error("truncate: the end is longer than the text may be"))?;
            if value.len()? <= length.saturating_add(leeway) {
                return Ok(value.clone());
            }
            if value.as_str().is_none() || markup {
                return Err(Failure::error(format!("{function} needs a str, not a {}", value.type_name())));
            }
            let cut: String = text.chars().take(kept).collect();
            let words = if is_true(killwords.as_ref()) { None } else { cut.rsplit_once(' ') };
            Value::text(words.map_or(cut.as_str(), |(words, _)| words).to_owned() + &end)
        }
        "wordcount" => {
            none(call)?;
            let word = |c: char| c.is_alphanumeric() || c == '_';
            Value::length(text.split(|c| !word(c)).filter(|part| !part.is_empty()).count())
        }
        "striptags" => {
            none(call)?;
            Value::text(strip_tags(&text)?)
        }
        "urlencode" => {
            none(call)?;
            match value {
                Value::Dict(dict) => {
                    let mut pairs = Vec::new();
                    for (key, value) in dict.entries() {
                        pairs.push(format!("{}={}", quoted(&key.to_text()?, false), quoted(&value.to_text()?, false)));
                    }
                    Value::text(pairs.join("&"))
                }
                Value::Str(_) => Value::text(quoted(&text, true)),
                _ if value.is_iterable() && !value.is_undefined() => {
                    return Err(Failure::unsupported("the filter `urlencode` of pairs"));
                }
                _ => Value::text(quoted(&text, true)),
            }
        }
        _ => return Err(Failure::unsupported(function)),
    })
}

/// The filter `title`: letters after whitespace, hyphens and opening brackets are in upper case.
fn title(text: &str) -> String {
    let separates = |c: char| is_space(c) || "-({[<".contains(c);
    let mut result = String::new();
    let mut word = String::new();
    let end = |word: &mut String, result: &mut String| {
        let mut characters = word.chars();
        if let Some(first) = characters.next() {
            result.extend(first.to_uppercase());
            result.push_str(&characters.as_str().to_lowercase());
        }
        word.clear();
    };
    for c in text.chars() {
        if separates(c) {
            end(&mut word, &mut result);
            result.push(c);
        } else {
            word.push(c);
        }
    }
    end(&mut word, &mut result);
    result
}

/// A text without comments and tags; runs of whitespace become one space.
fn strip_tags(text: &str) -> Result<String> {
    let mut rest = text.to_owned();
    for (open, close) in [("<!--", "-->"), ("<", ">")] {
        let mut kept = String::new();
        let mut tail = rest.as_str();
        while let Some(start) = tail.find(open) {
            let Some(end) = tail[start..].find(close) else { break };
            kept.push_str(&tail[..start]);
            tail = &tail[start + end + close.len()..];
        }
        kept.push_str(tail);
        rest = kept;
    }
    let rest = text::split_whitespace(&rest, usize::MAX).join(" ");
    if rest.contains('&') {
        let known = [("&lt;", "<"), ("&gt;", ">"), ("&#39;", "'"), ("&#34;", "\""), ("&quot;", "\""), ("&amp;", "&")];
        let bare = known.iter().fold(rest.clone(), |text, (entity, _)| text.replace(entity, ""));
        if bare.contains('&') {
            return Err(Failure::unsupported("the filter `striptags` of a text with other entities"));
        }
        return Ok(known.iter().fold(rest, |text, (entity, character)| text.replace(entity, character)));
    }
    Ok(rest)
}

/// A text in a URL; in a query a slash is quoted too, and a space is a plus sign.
fn quoted(text: &str, path: bool) -> String {
    let mut result = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'.' | b'-' | b'~' => result.push(byte.into()),
            b'/' if path => result.push('/'),
            b' ' if !path => result.push('+'),
            _ => result.push_str(&format!("%{byte:02X}")),
        }
    }
    result
}
