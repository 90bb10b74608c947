//! Python's `%` on texts, `str.format`, and its format specifications.

use std::sync::Arc;

use super::failure::{Failure, Result};
use super::members;
use super::text::{self, Side, pad};
use super::value::{Dict, Value};

/// The limit of a width or a precision.
const MAX_WIDTH: usize = 1 << 16;

/// How a value is written in a format specification.
#[derive(Debug, Clone, Default)]
struct Spec {
    fill: Option<char>,
    align: Option<char>,
    sign: Option<char>,
    alternate: bool,
    zero: bool,
    width: usize,
    grouping: Option<char>,
    precision: Option<usize>,
    kind: Option<char>,
}

/// `format % arguments`.
pub(super) fn percent(format: &str, arguments: &Value) -> Result<String> {
    let single = [arguments.clone()];
    let (all, dict): (&[Value], Option<&Dict>) = match arguments {
        Value::Tuple(items) | Value::Group(items) => (items, None),
        Value::Dict(dict) => (&single, Some(dict)),
        _ => (&single, None),
    };
    let mut next = all.iter();
    let mut result = String::new();
    let mut rest = format.chars().peekable();
    while let Some(c) = rest.next() {
        if c != '%' {
            result.push(c);
            continue;
        }
        let mut keyed = None;
        if rest.peek() == Some(&'(') {
            rest.next();
            let key: String = rest.by_ref().take_while(|c| *c != ')').collect();
            let dict = dict.ok_or_else(|| Failure::error("a format with names needs a dict"))?;
            let value = dict.get_text(&key).cloned();
            keyed = Some(value.ok_or_else(|| Failure::error(format!("the format names `{key}`, which is missing")))?);
        }
        let mut argument = || {
            let value = keyed.take().or_else(|| next.next().cloned());
            value.ok_or_else(|| Failure::error("not enough arguments for the format"))
        };
        let mut spec = Spec { align: Some('>'), ..Spec::default() };
        let mut left = false;
        while let Some(flag) = rest.peek().copied().filter(|flag| "#0- +".contains(*flag)) {
            rest.next();
            match flag {
                '#' => spec.alternate = true,
                '0' => spec.zero = true,
                '-' => left = true,
                '+' => spec.sign = Some('+'),
                _ => spec.sign = spec.sign.or(Some(' ')),
            }
        }
        let mut number = |rest: &mut std::iter::Peekable<std::str::Chars<'_>>| -> Result<i128> {
            if rest.peek() == Some(&'*') {
                rest.next();
                return argument()?.as_int().ok_or_else(|| Failure::error("`*` in a format needs an int"));
            }
            let mut number = 0;
            while let Some(digit) = rest.peek().and_then(|c| c.to_digit(10)) {
                rest.next();
                number = number * 10 + i128::from(digit);
                if number > i128::from(u32::MAX) {
                    return Err(width_limit());
                }
            }
            Ok(number)
        };
        let width = number(&mut rest)?;
        left |= width < 0;
        spec.width = limited(width.unsigned_abs())?;
        if rest.peek() == Some(&'.') {
            rest.next();
            spec.precision = Some(limited(number(&mut rest)?.max(0).unsigned_abs())?);
        }
        while rest.peek().is_some_and(|c| "hlL".contains(*c)) {
            rest.next();
        }
        let Some(kind) = rest.next() else { return Err(Failure::error("the format is incomplete")) };
        if left {
            spec.align = Some('<');
            spec.zero = false;
        }
        if kind == '%' {
            result.push('%');
            continue;
        }
        let value = argument()?;
        result.push_str(&percent_one(kind, &value, spec)?);
    }
    let whole =
        matches!(arguments, Value::Dict(_) | Value::List(_) | Value::Range(_) | Value::Undefined(_) | Value::View(..));
    if next.next().is_some() && !whole {
        return Err(Failure::error("more arguments than the format takes"));
    }
    Ok(result)
}

fn percent_one(kind: char, value: &Value, mut spec: Spec) -> Result<String> {
    let text = |text: &str, spec: &Spec| {
        let cut: String = text.chars().take(spec.precision.unwrap_or(usize::MAX)).collect();
        pad(&cut, spec.width, ' ', if spec.align == Some('<') { Side::Right } else { Side::Left })
    };
    match kind {
        's' => Ok(text(&value.to_text()?, &spec)),
        'r' => Ok(text(&value.repr()?, &spec)),
        'c' => match value {
            Value::Str(one) if one.text.chars().count() == 1 => Ok(text(&one.text, &spec)),
            _ => {
                let code = value.as_int().and_then(|code| u32::try_from(code).ok()).and_then(char::from_u32);
                let code = code.ok_or_else(|| Failure::error("`%c` needs an int or a character"))?;
                Ok(text(&code.to_string(), &spec))
            }
        },
        'd' | 'i' | 'u' | 'x' | 'X' | 'o' => {
            let number = match value {
                Value::Float(number) if matches!(kind, 'd' | 'i' | 'u') => truncated(*number)?,
                _ => value
                    .as_int()
                    .ok_or_else(|| Failure::error(format!("`%{kind}` needs a number, not a {}", value.type_name())))?,
            };
            let least_digits = spec.precision.take().unwrap_or(0);
            spec.kind = Some(if matches!(kind, 'i' | 'u') { 'd' } else { kind });
            let mut digits = integer_digits(number.unsigned_abs(), spec.kind);
            digits = pad(&digits, least_digits, '0', Side::Left);
            Ok(assemble(number < 0, prefix(&spec), &digits, "", &spec))
        }
        'e' | 'E' | 'f' | 'F' | 'g' | 'G' => {
            spec.kind = Some(kind);
            let number = value
                .as_float()
                .ok_or_else(|| Failure::error(format!("`%{kind}` needs a number, not a {}", value.type_name())))?;
            float(number, &spec)
        }
        'a' => Err(Failure::unsupported("`%a` in a format")),
        _ => Err(Failure::error(format!("`%{kind}` is no format"))),
    }
}

/// `format.format(*positional, **keyword)`.
pub(super) fn format(format: &str, positional: &[Value], keyword: &[(Arc<str>, Value)]) -> Result<String> {
    Fields { positional, keyword, automatic: 0 }.fill(format, 0)
}

struct Fields<'a> {
    positional: &'a [Value],
    keyword: &'a [(Arc<str>, Value)],
    automatic: usize,
}

impl Fields<'_> {
    fn fill(&mut self, format: &str, depth: usize) -> Result<String> {
        if depth > 2 {
            return Err(Failure::error("the format is nested too deeply"));
        }
        let mut result = String::new();
        let mut rest = format;
        while let Some(at) = rest.find(['{', '}']) {
            result.push_str(&rest[..at]);
            let brace = &rest[at..=at];
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix(brace) {
                result.push_str(brace);
                rest = after;
                continue;
            }
            if brace == "}" {
                return Err(Failure::error("the format has a single `}`"));
            }
            let mut open = 1;
            let end = rest.find(|c| {
                open += i32::from(c == '{') - i32::from(c == '}');
                open == 0
            });
            let Some(end) = end else { return Err(Failure::error("a field of the format has no `}`")) };
            result.push_str(&self.field(&rest[..end], depth)?);
            rest = &rest[end + 1..];
        }
        result.push_str(rest);
        Ok(result)
    }

    /// `name!conversion:spec`.
    fn field(&mut self, field: &str, depth: usize) -> Result<String> {
        let mut brackets = 0;
        let name_end = field.find(|c| {
            brackets += i32::from(c == '[') - i32::from(c == ']');
            brackets == 0 && matches!(c, '!' | ':')
        });
        let (name, rest) = field.split_at(name_end.unwrap_or(field.len()));
        let mut value = self.value(name)?;
        let mut spec = rest;
        if let Some(conversion) = rest.strip_prefix('!') {
            let mut characters = conversion.chars();
            value = match characters.next() {
                Some('s') => Value::text(value.to_text()?),
                Some('r') => Value::text(value.repr()?),
                _ => return Err(Failure::unsupported(format!("the conversion of the field {{{field}}}"))),
            };
            spec = characters.as_str();
        }
        let spec = self.fill(spec.strip_prefix(':').unwrap_or_default(), depth + 1)?;
        with_spec(&value, &spec)
    }

    fn value(&mut self, name: &str) -> Result<Value> {
        let end = name.find(['.', '[']).unwrap_or(name.len());
        let (first, mut rest) = name.split_at(end);
        let missing = |what: String| Failure::error(format!("the format names {what}, which is missing"));
        let mut value = if first.is_empty() || first.bytes().all(|byte| byte.is_ascii_digit()) {
            let index = if first.is_empty() {
                self.automatic += 1;
                self.automatic - 1
            } else {
                first.parse().unwrap_or(usize::MAX)
            };
            self.positional.get(index).cloned().ok_or_else(|| missing(format!("the argument {index}")))?
        } else {
            let found = self.keyword.iter().find(|(own, _)| **own == *first).map(|(_, value)| value.clone());
            found.ok_or_else(|| missing(format!("`{first}`")))?
        };
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix('.') {
                let end = after.find(['.', '[']).unwrap_or(after.len());
                value = members::attribute(&value, &Arc::from(&after[..end]))?;
                rest = &after[end..];
            } else {
                let inside = rest.strip_prefix('[').and_then(|inside| inside.split_once(']'));
                let Some((key, after)) = inside else { return Err(Failure::error("the format has a `[` without `]`")) };
                let key = key.parse().map_or_else(|_| Value::text(key), Value::Int);
                value = members::item(&value, &key)?;
                rest = after;
            }
        }
        Ok(value)
    }
}

/// `format(value, spec)`.
pub(super) fn with_spec(value: &Value, spec: &str) -> Result<String> {
    if spec.is_empty() {
        return Ok(value.to_text()?.to_string());
    }
    let refused = || Failure::error(format!("the format `{spec}` does not suit a {}", value.type_name()));
    let parsed = parse_spec(spec).ok_or_else(refused)??;
    match value {
        Value::Str(text) => {
            let suits = matches!(parsed.kind, None | Some('s')) && parsed.sign.is_none() && parsed.grouping.is_none();
            if !suits || parsed.align == Some('=') {
                return Err(refused());
            }
            let cut: String = text.text.chars().take(parsed.precision.unwrap_or(usize::MAX)).collect();
            let fill = parsed.fill.unwrap_or(if parsed.zero { '0' } else { ' ' });
            Ok(aligned(&cut, parsed.width, fill, parsed.align.unwrap_or('<')))
        }
        Value::Int(_) | Value::Bool(_) => {
            let number = value.as_int().unwrap_or_default();
            match parsed.kind {
                Some('e' | 'E' | 'f' | 'F' | 'g' | 'G' | '%') => float(value.as_float().unwrap_or_default(), &parsed),
                None | Some('d' | 'b' | 'o' | 'x' | 'X') if parsed.precision.is_none() => {
                    let digits = integer_digits(number.unsigned_abs(), parsed.kind);
                    Ok(assemble(number < 0, prefix(&parsed), &digits, "", &parsed))
                }
                Some('c') => {
                    let c = u32::try_from(number).ok().and_then(char::from_u32).ok_or_else(refused)?;
                    Ok(aligned(&c.to_string(), parsed.width, parsed.fill.unwrap_or(' '), parsed.align.unwrap_or('>')))
                }
                _ => Err(refused()),
            }
        }
        Value::Float(number) => match parsed.kind {
            None | Some('e' | 'E' | 'f' | 'F' | 'g' | 'G' | '%') => float(*number, &parsed),
            _ => Err(refused()),
        },
        _ => Err(refused()),
    }
}

/// A text of at least `width` characters: `<` fills the right side, `^` both (an odd one on the right), others the left.
fn aligned(text: &str, width: usize, fill: char, align: char) -> String {
    match align {
        '<' => pad(text, width, fill, Side::Right),
        '^' => {
            let length = text.chars().count();
            let left = pad(text, length + width.saturating_sub(length) / 2, fill, Side::Left);
            pad(&left, width, fill, Side::Right)
        }
        _ => pad(text, width, fill, Side::Left),
    }
}

/// `[[fill]align][sign][#][0][width][grouping][.precision][type]`; `None` if it is something else.
fn parse_spec(text: &str) -> Option<Result<Spec>> {
    let mut spec = Spec::default();
    let characters: Vec<char> = text.chars().collect();
    let is_align = |at: usize| characters.get(at).is_some_and(|c| "<>=^".contains(*c));
    let mut at = 0;
    if is_align(1) {
        spec.fill = Some(characters[0]);
        spec.align = Some(characters[1]);
        at = 2;
    } else if is_align(0) {
        spec.align = Some(characters[0]);
        at = 1;
    }
    let mut take = |accepted: &str| {
        let found = characters.get(at).copied().filter(|c| accepted.contains(*c));
        at += usize::from(found.is_some());
        found
    };
    spec.sign = take("+- ").filter(|sign| *sign != '-');
    spec.alternate = take("#").is_some();
    spec.zero = take("0").is_some();
    let number = |take: &mut dyn FnMut(&str) -> Option<char>| {
        let mut digits = String::new();
        while let Some(digit) = take("0123456789") {
            digits.push(digit);
        }
        digits
    };
    let width = number(&mut take);
    spec.grouping = take(",_");
    let precision = take(".").map(|_| number(&mut take));
    spec.kind = take("bcdeEfFgGnosxX%");
    if at != characters.len() || precision.as_deref() == Some("") {
        return None;
    }
    let parse = |digits: &str| digits.parse().map_err(|_| width_limit()).and_then(limited);
    if !width.is_empty() {
        match parse(&width) {
            Ok(width) => spec.width = width,
            Err(failure) => return Some(Err(failure)),
        }
    }
    match precision.map(|precision| parse(&precision)).transpose() {
        Ok(precision) => spec.precision = precision,
        Err(failure) => return Some(Err(failure)),
    }
    Some(Ok(spec))
}

fn limited(width: u128) -> Result<usize> {
    usize::try_from(width).ok().filter(|width| *width <= MAX_WIDTH).ok_or_else(width_limit)
}

fn width_limit() -> Failure {
    Failure::limit(format!("a format of at most {MAX_WIDTH} characters"))
}

/// `int(number)`.
#[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "the range is checked before")]
pub(super) fn truncated(number: f64) -> Result<i128> {
    if !number.is_finite() {
        return Err(Failure::error("an infinite number or NaN is no integer"));
    }
    if number.abs() >= i128::MAX as f64 {
        return Err(Failure::limit("an integer of at most 128 bits"));
    }
    Ok(number as i128)
}

fn integer_digits(number: u128, kind: Option<char>) -> String {
    match kind {
        Some('x') => format!("{number:x}"),
        Some('X') => format!("{number:X}"),
        Some('o') => format!("{number:o}"),
        Some('b') => format!("{number:b}"),
        _ => number.to_string(),
    }
}

fn prefix(spec: &Spec) -> &'static str {
    match spec.kind.filter(|_| spec.alternate) {
        Some('x') => "0x",
        Some('X') => "0X",
        Some('o') => "0o",
        Some('b') => "0b",
        _ => "",
    }
}

/// Sign, prefix, grouped digits and what follows them, padded.
fn assemble(negative: bool, prefix: &str, digits: &str, tail: &str, spec: &Spec) -> String {
    let sign = match spec.sign {
        _ if negative => "-",
        Some('+') => "+",
        Some(' ') => " ",
        _ => "",
    };
    let zeros = spec.zero && spec.fill.is_none() && matches!(spec.align, None | Some('>'));
    let around = sign.len() + prefix.len() + tail.len();
    let digits = match spec.grouping {
        None => digits.to_owned(),
        Some(separator) => {
            let size = if matches!(spec.kind, Some('b' | 'o' | 'x' | 'X')) { 4 } else { 3 };
            let mut digits = digits.to_owned();
            let grouped = |digits: &str| {
                let mut result = String::new();
                for (index, digit) in digits.chars().enumerate() {
                    if index > 0 && (digits.len() - index).is_multiple_of(size) {
                        result.push(separator);
                    }
                    result.push(digit);
                }
                result
            };
            // Zeros on the left are grouped too.
            while zeros && grouped(&digits).len() + around < spec.width {
                digits.insert(0, '0');
            }
            grouped(&digits)
        }
    };
    if zeros {
        let width = spec.width.saturating_sub(around);
        return format!("{sign}{prefix}{}{tail}", pad(&digits, width, '0', Side::Left));
    }
    let fill = spec.fill.unwrap_or(if spec.zero { '0' } else { ' ' });
    if spec.align == Some('=') {
        let width = spec.width.saturating_sub(around);
        return format!("{sign}{prefix}{}{tail}", pad(&digits, width, fill, Side::Left));
    }
    aligned(&format!("{sign}{prefix}{digits}{tail}"), spec.width, fill, spec.align.unwrap_or('>'))
}

fn float(number: f64, spec: &Spec) -> Result<String> {
    let upper = matches!(spec.kind, Some('E' | 'F' | 'G'));
    let negative = number.is_sign_negative() && !number.is_nan();
    let size = number.abs();
    let text = if size.is_finite() {
        match spec.kind.map(|kind| kind.to_ascii_lowercase()) {
            Some('f') => format!("{size:.*}", spec.precision.unwrap_or(6)),
            Some('%') => format!("{:.*}%", spec.precision.unwrap_or(6), size * 100.0),
            Some('e') => exponent(&format!("{size:.*e}", spec.precision.unwrap_or(6))),
            Some('g') => general(size, spec.precision.unwrap_or(6), spec.alternate, false),
            _ => match spec.precision {
                Some(precision) => general(size, precision, spec.alternate, true),
                None => text::float(size),
            },
        }
    } else {
        text::float(size) + if spec.kind == Some('%') { "%" } else { "" }
    };
    let text = if upper { text.to_uppercase() } else { text };
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, tail) = if size.is_finite() { text.split_at(end) } else { (text.as_str(), "") };
    Ok(assemble(negative, "", digits, tail, spec))
}

/// Python's exponent has a sign and two digits.
fn exponent(text: &str) -> String {
    let Some((digits, exponent)) = text.split_once('e') else { return text.to_owned() };
    let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
    format!("{digits}e{sign}{exponent:0>2}")
}

/// The format `g`: `precision` significant digits; `decimal` asks for a digit after the point.
fn general(size: f64, precision: usize, alternate: bool, decimal: bool) -> String {
    let precision = precision.max(1);
    let scientific = format!("{size:.*e}", precision - 1);
    let power: i64 = scientific.split_once('e').and_then(|(_, power)| power.parse().ok()).unwrap_or_default();
    let most = i64::try_from(precision).unwrap_or(i64::MAX) - i64::from(decimal);
    let (digits, tail) = if size != 0.0 && (power < -4 || power >= most) {
        let text = exponent(&scientific);
        text.split_once('e').map(|(digits, power)| (digits.to_owned(), format!("e{power}"))).unwrap_or_default()
    } else {
        let places = usize::try_from(i64::try_from(precision).unwrap_or(i64::MAX) - 1 - power).unwrap_or(0);
        (format!("{size:.places$}"), String::new())
    };
    let mut digits = digits;
    if !alternate && digits.contains('.') {
        digits.truncate(digits.trim_end_matches('0').trim_end_matches('.').len());
    }
    if decimal && tail.is_empty() && !digits.contains('.') {
        digits.push_str(".0");
    }
    digits + &tail
}
