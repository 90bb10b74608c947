//! JSON files of a checkpoint's folder: reading them within a size limit, and typed access to their fields.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde_json::Value;

use crate::error::{Error, Mismatch, printable};

/// The size limit in bytes of config.json and tokenizer_config.json. Real ones stay under 1 MB.
pub(crate) const CONFIG_LIMIT: u64 = 16 << 20;

/// Reads a JSON file of at most `limit` bytes.
pub(crate) fn read(path: &Path, limit: u64) -> Result<Value, Error> {
    let text = read_text(path, limit)?;
    serde_json::from_str(&text).map_err(|error| {
        let place = format!("line {}, column {}", error.line(), error.column());
        let found = error.to_string();
        // serde_json repeats the place at the end of its text.
        let found = found.split(" at line ").next().unwrap_or_default();
        Error::Config(Mismatch::at(path, place, "JSON", found, "correct the file, or fetch it again"))
    })
}

/// Reads a text file of at most `limit` bytes.
pub(crate) fn read_text(path: &Path, limit: u64) -> Result<String, Error> {
    let io = |source| Error::io("read", path, source);
    let mut text = String::new();
    File::open(path).map_err(io)?.take(limit + 1).read_to_string(&mut text).map_err(io)?;
    if text.len() as u64 > limit {
        let advice = "this is not the expected file: fetch it again";
        return Err(Error::Config(Mismatch::at(path, "size", format!("at most {limit} bytes"), "more", advice)));
    }
    Ok(text)
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
        Error::Config(Mismatch::at(self.file, place, expected, found, "correct the file, or fetch the model's again"))
    }

    /// The error of a valid value that asks for something that is not implemented.
    pub(crate) fn unsupported(&self, name: &str, expected: impl Into<String>, found: impl Into<String>) -> Error {
        let place = format!("field `{}{name}`", self.prefix);
        let advice = "this variant is not supported: take another model";
        Error::Config(Mismatch::at(self.file, place, expected, found, advice))
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

    /// The first text of a list of texts.
    pub(crate) fn first_text(&self, name: &str) -> Result<Option<&'a str>, Error> {
        self.typed(name, "a list of texts", |value| value.as_array()?.first()?.as_str())
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
