//! The filter `tojson`: Python's `json.dumps(value, ensure_ascii=False)`. The one of minijinja escapes for HTML.

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Error, ErrorKind, Value};

/// The limit of nested containers; that of Python is of the same order.
const MAX_DEPTH: usize = 64;

/// The filter; `indent` as in Python, other arguments are not supported.
#[allow(clippy::needless_pass_by_value, reason = "minijinja passes arguments by value")]
pub(super) fn tojson(value: &Value, arguments: Kwargs) -> Result<String, Error> {
    let indent: Option<usize> = arguments.get("indent")?;
    arguments.assert_all_used()?;
    let mut text = String::new();
    write(value, indent, 0, &mut text)?;
    Ok(text)
}

fn write(value: &Value, indent: Option<usize>, depth: usize, text: &mut String) -> Result<(), Error> {
    if depth > MAX_DEPTH {
        return Err(Error::new(ErrorKind::InvalidOperation, "tojson: the value is nested too deeply"));
    }
    match value.kind() {
        ValueKind::None => text.push_str("null"),
        ValueKind::Bool => text.push_str(if value.is_true() { "true" } else { "false" }),
        ValueKind::Number => text.push_str(&value.to_string()),
        ValueKind::String => quote(value.as_str().unwrap_or_default(), text),
        ValueKind::Seq | ValueKind::Iterable => {
            list('[', ']', value.try_iter()?, indent, depth, text, |item, text| write(&item, indent, depth + 1, text))?;
        }
        ValueKind::Map => {
            list('{', '}', value.try_iter()?, indent, depth, text, |key, text| {
                quote(&key.to_string(), text);
                text.push_str(": ");
                write(&value.get_item(&key)?, indent, depth + 1, text)
            })?;
        }
        kind => {
            let detail = format!("tojson: {kind} has no JSON representation");
            return Err(Error::new(ErrorKind::InvalidOperation, detail));
        }
    }
    Ok(())
}

fn list(
    open: char,
    close: char,
    items: impl Iterator<Item = Value>,
    indent: Option<usize>,
    depth: usize,
    text: &mut String,
    mut item: impl FnMut(Value, &mut String) -> Result<(), Error>,
) -> Result<(), Error> {
    let line = |text: &mut String, depth: usize| {
        if let Some(indent) = indent {
            text.push('\n');
            text.extend(std::iter::repeat_n(' ', indent.min(16) * depth));
        }
    };
    text.push(open);
    let mut empty = true;
    for value in items {
        if !empty {
            text.push_str(if indent.is_some() { "," } else { ", " });
        }
        empty = false;
        line(text, depth + 1);
        item(value, text)?;
    }
    if !empty {
        line(text, depth);
    }
    text.push(close);
    Ok(())
}

fn quote(string: &str, text: &mut String) {
    text.push('"');
    for character in string.chars() {
        match character {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            '\u{8}' => text.push_str("\\b"),
            '\u{C}' => text.push_str("\\f"),
            control if control < ' ' => text.push_str(&format!("\\u{:04x}", u32::from(control))),
            other => text.push(other),
        }
    }
    text.push('"');
}

#[cfg(test)]
mod tests {
    use minijinja::Environment;

    fn render(template: &str) -> String {
        let mut environment = Environment::new();
        environment.add_filter("tojson", super::tojson);
        environment.render_str(template, ()).unwrap_or_else(|error| error.to_string())
    }

    #[test]
    fn values_are_written_as_in_python() {
        assert_eq!(
            render("{{ {'a': [1, 2.5, none, true], 'b': {}} | tojson }}"),
            r#"{"a": [1, 2.5, null, true], "b": {}}"#
        );
        assert_eq!(render("{{ '<é&\"\\n\\u0001>' | tojson }}"), "\"<é&\\\"\\n\\u0001>\"");
        assert_eq!(render("{{ {'a': [1]} | tojson(indent=2) }}"), "{\n  \"a\": [\n    1\n  ]\n}");
        assert!(render("{{ nothing | tojson }}").contains("undefined has no JSON representation"));
    }

    #[test]
    fn nesting_is_limited() {
        let template =
            "{% set n = namespace(x=1) %}{% for i in range(100) %}{% set n.x = [n.x] %}{% endfor %}{{ n.x | tojson }}";
        assert!(render(template).contains("nested too deeply"));
    }
}
