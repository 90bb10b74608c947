//! JSON files of a model: the one way to read them, and typed access to their fields.
//!
//! Files are read as people have them: with a byte order mark, in UTF-16, and with the `NaN` and `Infinity` that Python writes. Such a
//! number becomes a text of the same letters, so that only who needs the number refuses it. Comments, commas before a closing bracket
//! and other extensions of JSON are errors that name the place.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde_json::Value;

use super::file_format::{FileFormat, OtherFormat, identify};
use crate::error::{Cause, Error, Mismatch, printable};

/// The size limit in bytes of config.json and tokenizer_config.json. Real ones stay under 1 MB.
pub(crate) const CONFIG_LIMIT: u64 = 16 << 20;

/// Reads a JSON file of at most `limit` bytes.
pub(crate) fn read(path: &Path, limit: u64) -> Result<Value, Error> {
    parse(path, &read_text(path, limit)?)
}

/// Reads a JSON file of at most `limit` bytes; `null` if it does not exist.
pub(crate) fn read_if_there(path: &Path, limit: u64) -> Result<Value, Error> {
    // A link whose target is gone is an error, not an absent file.
    if path.is_symlink() || path.exists() { read(path, limit) } else { Ok(Value::Null) }
}

/// Reads a text file of at most `limit` bytes, in the forms that [`text_input`] reads, without its byte order mark.
pub(crate) fn read_text(path: &Path, limit: u64) -> Result<String, Error> {
    let refused = |place: String, expected: String, found: String, advice: String| {
        Err(Error::Config(Mismatch::at(path, place, expected, found, advice)))
    };
    text_input::read_up_to(path, limit).or_else(|error| match error {
        text_input::Error::Io(source) => Err(Error::io("read", path, source)),
        text_input::Error::TooLarge { limit } => {
            refused("size".to_owned(), format!("at most {limit} bytes"), "more".to_owned(), Cause::OverLimit.into())
        }
        text_input::Error::NotText { offset } => match other_format(path) {
            Some(OtherFormat { name, advice }) => {
                refused("the file".to_owned(), "a text".to_owned(), name, advice.to_owned())
            }
            None => {
                let found = "another byte".to_owned();
                refused(format!("byte {offset}"), "a text in UTF-8".to_owned(), found, Cause::WrongField.into())
            }
        },
        damaged @ text_input::Error::Damaged(_) => {
            let advice = damaged.advice().unwrap_or_else(|| Cause::Damaged.advice()).to_owned();
            refused("the file".to_owned(), "a text".to_owned(), damaged.to_string(), advice)
        }
    })
}

/// The format of a file that is no text, if its first bytes show it.
fn other_format(path: &Path) -> Option<OtherFormat> {
    let mut start = Vec::new();
    File::open(path).ok()?.take(512).read_to_end(&mut start).ok()?;
    match identify(&start) {
        FileFormat::Other(format) if !is_json_start(&start) => Some(format),
        _ => None,
    }
}

/// The document in `text`, that of the file `path`.
pub(crate) fn parse(path: &Path, text: &str) -> Result<Value, Error> {
    let strict = match serde_json::from_str(text) {
        Ok(document) => return Ok(document),
        Err(error) => Problem::of(&error),
    };
    let (quoted, moved) = quote_numbers(text).map_err(|problem| problem.error(path, text))?;
    if moved.is_empty() {
        return Err(strict.error(path, text));
    }
    serde_json::from_str(&quoted).map_err(|error| {
        let mut problem = Problem::of(&error);
        // Two quotation marks were added for each number before the place.
        let added = moved.iter().filter(|(line, column)| *line == problem.line && *column < problem.column).count() * 2;
        problem.column = problem.column.saturating_sub(added);
        problem.error(path, text)
    })
}

/// Whether `bytes`, the beginning of a file, are that of a JSON document, in any of the encodings that are read.
pub(crate) fn is_json_start(bytes: &[u8]) -> bool {
    let marks: [&[u8]; 3] = [b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff"];
    let text = marks.iter().find_map(|mark| bytes.strip_prefix(*mark)).unwrap_or(bytes);
    // In UTF-16, a zero stands beside each of these characters.
    let mut start = text.iter().filter(|byte| **byte != 0 && !byte.is_ascii_whitespace());
    matches!(start.next(), Some(b'{' | b'['))
}

/// Why a text is not JSON, and where: both count from 1.
struct Problem {
    line: usize,
    column: usize,
    found: String,
}

impl Problem {
    fn of(error: &serde_json::Error) -> Self {
        let found = error.to_string();
        // serde_json repeats the place at the end of its text.
        let found = found.split(" at line ").next().unwrap_or_default().to_owned();
        Self { line: error.line(), column: error.column(), found }
    }

    /// The error of the file. A web page or a Git LFS pointer under the file's name is named as such.
    fn error(self, path: &Path, text: &str) -> Error {
        if text.trim().is_empty() {
            return Error::Config(Mismatch::at(path, "the file", "JSON", "an empty file", Cause::Damaged));
        }
        let start = text.trim_start();
        let of_other =
            if start.starts_with(['{', '[', '/', '#']) { FileFormat::Unknown } else { identify(text.as_bytes()) };
        if let FileFormat::Other(OtherFormat { name, advice }) = of_other {
            return Error::Config(Mismatch::at(path, "the file", "JSON", name, advice));
        }
        let place = format!("line {}, column {}", self.line, self.column);
        let cause = if self.found.starts_with("EOF") { Cause::Damaged } else { Cause::WrongField };
        Error::Config(Mismatch::at(path, place, "JSON", self.found, cause))
    }
}

/// `text` with quotation marks around `NaN`, `Infinity` and `-Infinity`, and their lines and columns.
///
/// # Errors
/// The first comment, comma before a closing bracket, single quotation mark or word of Python outside of texts.
fn quote_numbers(text: &str) -> Result<(String, Vec<(usize, usize)>), Problem> {
    const NUMBERS: [&str; 3] = ["NaN", "Infinity", "-Infinity"];
    let mut quoted = String::with_capacity(text.len());
    let (mut moved, mut line, mut line_start) = (Vec::new(), 1, 0);
    let (mut in_text, mut escaped) = (false, false);
    let mut at = 0;
    while let Some(character) = text[at..].chars().next() {
        let rest = &text[at..];
        let mut length = character.len_utf8();
        if in_text {
            in_text = escaped || character != '"';
            escaped = !escaped && character == '\\';
        } else {
            let column = at - line_start + 1;
            let problem = |found: &str| Err(Problem { line, column, found: found.to_owned() });
            let word: &str = rest.split(|c: char| !(c.is_ascii_alphabetic() || c == '-')).next().unwrap_or_default();
            match character {
                '"' => in_text = true,
                '/' if rest.starts_with("//") || rest.starts_with("/*") => return problem("a comment"),
                '#' => return problem("a comment"),
                '\'' => return problem("a text in single quotation marks"),
                ',' if rest[1..].trim_start().starts_with(['}', ']']) => {
                    return problem("a comma before a closing bracket");
                }
                _ if ["True", "False", "None"].contains(&word) => {
                    return problem(&format!("`{word}`, as Python spells it"));
                }
                _ if NUMBERS.contains(&word) => {
                    moved.push((line, column));
                    quoted.push('"');
                    quoted.push_str(word);
                    quoted.push('"');
                    at += word.len();
                    continue;
                }
                // Other words are one step, so that the end of one is not taken for a number.
                _ if !word.is_empty() => length = word.len(),
                _ => {}
            }
        }
        if character == '\n' {
            (line, line_start) = (line + 1, at + 1);
        }
        quoted.push_str(&rest[..length]);
        at += length;
    }
    Ok((quoted, moved))
}

/// A JSON object of a file.
#[derive(Clone, Copy)]
pub(crate) struct Object<'a> {
    file: &'a Path,
    /// The path to the object, with a dot at its end; empty for the outermost object.
    prefix: &'static str,
    value: &'a Value,
}

impl<'a> Object<'a> {
    pub(crate) const fn new(file: &'a Path, value: &'a Value) -> Self {
        Self { file, prefix: "", value }
    }

    pub(crate) const fn file(&self) -> &'a Path {
        self.file
    }

    /// The value of a field; `null` is the same as no field.
    fn get(&self, name: &str) -> Option<&'a Value> {
        self.value.get(name).filter(|value| !value.is_null())
    }

    pub(crate) fn mismatch(&self, name: &str, expected: impl Into<String>, found: impl Into<String>) -> Error {
        let place = format!("field `{}{name}`", self.prefix);
        Error::Config(Mismatch::at(self.file, place, expected, found, Cause::WrongField))
    }

    /// The error of a valid value that asks for something that is not implemented.
    pub(crate) fn unsupported(&self, name: &str, expected: impl Into<String>, found: impl Into<String>) -> Error {
        let place = format!("field `{}{name}`", self.prefix);
        Error::Config(Mismatch::at(self.file, place, expected, found, Cause::Unsupported))
    }

    fn typed<T>(
        &self,
        name: &str,
        expected: &str,
        convert: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        self.get(name)
            .map(|value| convert(value).ok_or_else(|| self.mismatch(name, expected, brief(value))))
            .transpose()
    }

    pub(crate) fn text(&self, name: &str) -> Result<Option<&'a str>, Error> {
        self.typed(name, "a text", Value::as_str)
    }

    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>, Error> {
        self.typed(name, "true or false", Value::as_bool)
    }

    pub(crate) fn count(&self, name: &str) -> Result<Option<usize>, Error> {
        self.typed(name, "an integer that is not negative", |value| value.as_u64()?.try_into().ok())
    }

    #[allow(clippy::cast_possible_truncation, reason = "rounded to the precision that the model computes in")]
    pub(crate) fn number(&self, name: &str) -> Result<Option<f32>, Error> {
        self.typed(name, "a finite number", |value| {
            value.as_f64().map(|number| number as f32).filter(|number| number.is_finite())
        })
    }

    /// The first text of a list of texts; an empty list is the same as no field.
    pub(crate) fn first_text(&self, name: &str) -> Result<Option<&'a str>, Error> {
        let is_empty = |value: &Value| value.as_array().is_some_and(Vec::is_empty);
        if self.get(name).is_some_and(is_empty) {
            return Ok(None);
        }
        self.typed(name, "a list of texts", |value| value.as_array()?.first()?.as_str())
    }

    /// A list of texts.
    pub(crate) fn texts(&self, name: &str) -> Result<Option<Vec<&'a str>>, Error> {
        self.typed(name, "a list of texts", |value| value.as_array()?.iter().map(Value::as_str).collect())
    }

    /// A list of counts.
    pub(crate) fn counts(&self, name: &str) -> Result<Option<Vec<usize>>, Error> {
        let count = |value: &Value| value.as_u64()?.try_into().ok();
        self.typed(name, "a list of integers", |value| value.as_array()?.iter().map(count).collect())
    }

    /// A list of numbers.
    pub(crate) fn numbers(&self, name: &str) -> Result<Option<Vec<f32>>, Error> {
        #[allow(clippy::cast_possible_truncation, reason = "rounded once, as a single number")]
        let number = |value: &Value| value.as_f64().map(|number| number as f32).filter(|number| number.is_finite());
        self.typed(name, "a list of numbers", |value| value.as_array()?.iter().map(number).collect())
    }

    /// `value`, or the error of a missing field.
    pub(crate) fn required<T>(&self, name: &str, value: Option<T>) -> Result<T, Error> {
        value.ok_or_else(|| self.mismatch(name, "a value", "no such field"))
    }

    /// The object in a field; `prefix` is its path in errors.
    pub(crate) fn object(&self, name: &str, prefix: &'static str) -> Result<Option<Self>, Error> {
        let object = self.typed(name, "an object", |value| value.is_object().then_some(value))?;
        Ok(object.map(|value| Self { file: self.file, prefix, value }))
    }
}

/// A value in a few words.
fn brief(value: &Value) -> String {
    match value {
        Value::Array(values) => format!("a list of {}", values.len()),
        Value::Object(_) => "an object".to_owned(),
        Value::String(text) => format!("the text `{}`", printable(text)),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_bytes(bytes: &[u8]) -> Result<Value, Error> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        std::fs::write(&path, bytes).unwrap();
        read(&path, 1 << 10)
    }

    fn refused(bytes: &[u8]) -> String {
        let error = read_bytes(bytes).expect_err("this is not JSON").with_advice();
        error.split("config.json: ").nth(1).unwrap_or(&error).to_owned()
    }

    #[test]
    fn files_are_read_in_every_encoding_of_text() {
        let text = "{\n \"name\": \"Größe 🙂\"}";
        let units = |of: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(of).collect::<Vec<u8>>();
        for (name, bytes) in [
            ("UTF-8", text.as_bytes().to_vec()),
            ("UTF-8 with a mark", [b"\xef\xbb\xbf", text.as_bytes()].concat()),
            ("UTF-16, little-endian", [&b"\xff\xfe"[..], &units(u16::to_le_bytes)].concat()),
            ("UTF-16, big-endian", [&b"\xfe\xff"[..], &units(u16::to_be_bytes)].concat()),
            ("UTF-16 without a mark", units(u16::to_le_bytes)),
        ] {
            assert!(is_json_start(&bytes[..7]), "{name}");
            assert_eq!(read_bytes(&bytes).expect(name)["name"], "Größe 🙂", "{name}");
        }
        assert!(!is_json_start(b"<html>"));
        insta::assert_snapshot!(refused(b"{\n\"a\": \"caf\xe9\"}"), @"byte 11: expected a text in UTF-8, found another byte; correct the file, or take it from the model's source");
        insta::assert_snapshot!(refused(b"\x80\x02}q\0\xff"), @"the file: expected a text, found a Python pickle (an old PyTorch checkpoint); convert it to GGUF, or take the safetensors files of the same model");
    }

    #[test]
    fn numbers_of_python_are_texts() {
        let read = read_bytes(br#"{"a": NaN, "b": [-Infinity,Infinity], "c": "NaN, \" Infinity", "d": 1e-5}"#).unwrap();
        assert_eq!(read["a"], "NaN");
        assert_eq!(read["b"], serde_json::json!(["-Infinity", "Infinity"]));
        assert_eq!(read["c"], "NaN, \" Infinity");
        assert_eq!(read["d"], 1e-5);
        let file = Path::new("config.json");
        let error = Object::new(file, &read).number("a").unwrap_err().to_string();
        assert_eq!(error, "config config.json: field `a`: expected a finite number, found the text `NaN`");
    }

    #[test]
    fn what_is_not_json_is_named_with_its_place() {
        let errors = [
            &b"{\"a\": 1,\n \"b\": 2,\n}"[..],
            b"[1, 2, ]",
            b"{\n  // the width\n \"a\": 1}",
            b"{\"a\": 1 /* one */}",
            b"# config\n{}",
            b"{'a': 1}",
            b"{\"a\": True}",
            b"{\"a\": NaN, \"b\": oops}",
            b"{\"a\": 1",
            b"{\"a\": 1} x",
            b"",
            b" \n",
            b"<!doctype html><title>Login</title>",
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0",
            b"Entry not found",
        ]
        .map(refused);
        insta::assert_snapshot!(errors.join("\n"));
        assert!(refused(&[b' '; 2000]).contains("at most 1024 bytes, found more; this is a limit of this program"));
    }
}
