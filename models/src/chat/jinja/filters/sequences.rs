//! Filters of sequences.

use std::cmp::Ordering;

use super::super::arguments::{self, Call};
use super::super::ast::BinaryOp;
use super::super::failure::{Failure, Result};
use super::super::operators::{MAX_SIZE, binary, order, slice};
use super::super::value::{Dict, Value};
use super::super::{members, predicates};
use super::{apply, given, is_true};

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

pub(super) fn sequence(name: &str, function: &str, value: &Value, mut call: Call) -> Result<Value> {
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
