//! Filters of texts.

use std::sync::Arc;

use super::super::arguments::{self, Call};
use super::super::failure::{Failure, Result};
use super::super::format;
use super::super::operators::MAX_SIZE;
use super::super::text::{self, Side, escape_html, is_space};
use super::super::value::{Dict, Text, Value};
use super::is_true;

pub(super) fn of_text(name: &str, function: &str, value: &Value, call: Call) -> Result<Value> {
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
