//! The key-value part of a GGUF header: reading it, and typed access to it.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::reader::{CONVERT_AGAIN, FETCH_AGAIN, Reader, limits, signed};
use super::value::{ARRAY, Array, BOOL, STRING, Strings, TYPES, Value};
use crate::error::{Error, Mismatch, printable};

/// All keys and values, in the order of the file.
#[derive(Clone, Debug, PartialEq)]
pub struct Metadata {
    file: PathBuf,
    entries: Vec<(String, Value)>,
}

impl Metadata {
    /// Reads `count` entries; `count` has been checked against the size of the file.
    pub(super) fn read(reader: &mut Reader<'_>, file: &Path, count: u64) -> Result<Self, Box<Mismatch>> {
        let mut entries = Vec::new();
        let mut seen = HashSet::new();
        let mut arrays = 0;
        for index in 0..count {
            let start = reader.at();
            let nth = format!("metadata key {} of {count}", index + 1);
            let key = reader.text(&nth, limits::KEY)?;
            let what = format!("key `{}`", printable(key));
            if key.is_empty() {
                return Err(reader.mismatch(start, &nth, "a name", "an empty text", CONVERT_AGAIN));
            }
            if !seen.insert(key) {
                return Err(reader.mismatch(start, &what, "each key once", "it again", CONVERT_AGAIN));
            }
            let type_at = reader.at();
            let id = reader.u32(&what)?;
            let value = if id == ARRAY {
                Value::Array(array(reader, &what, &mut arrays)?)
            } else {
                scalar(reader, &what, type_at, id)?
            };
            entries.push((key.to_owned(), value));
        }
        Ok(Self { file: file.to_path_buf(), entries })
    }

    /// The file that this was read from.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The value of `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.entries.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// All keys and values, in the order of the file.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> + '_ {
        self.entries.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// The text of `key`, if the key exists.
    pub fn text(&self, key: &str) -> Result<Option<&str>, Error> {
        self.typed(key, "a text", Value::as_str)
    }

    /// The integer of `key`, of any width and not negative, if the key exists.
    pub fn count(&self, key: &str) -> Result<Option<usize>, Error> {
        self.typed(key, "an integer that is not negative", |value| value.as_u64()?.try_into().ok())
    }

    /// The floating-point number of `key`, if the key exists.
    pub fn number(&self, key: &str) -> Result<Option<f32>, Error> {
        self.typed(key, "a finite floating-point number", |value| value.as_f32().filter(|number| number.is_finite()))
    }

    /// The truth value of `key`, if the key exists.
    pub fn flag(&self, key: &str) -> Result<Option<bool>, Error> {
        self.typed(key, "true or false", Value::as_bool)
    }

    /// The texts of `key`, if the key exists.
    pub fn texts(&self, key: &str) -> Result<Option<&Strings>, Error> {
        self.typed(key, "an array of texts", |value| match value.as_array()? {
            Array::String(strings) => Some(strings),
            _ => None,
        })
    }

    /// The single-precision numbers of `key`, if the key exists.
    pub fn numbers(&self, key: &str) -> Result<Option<&[f32]>, Error> {
        self.typed(key, "an array of F32", |value| match value.as_array()? {
            Array::F32(numbers) => Some(numbers.as_slice()),
            _ => None,
        })
    }

    /// The 32-bit integers of `key`, if the key exists. (Token types; unsigned ones below 2^31 are taken too.)
    pub fn integers(&self, key: &str) -> Result<Option<Vec<i32>>, Error> {
        self.typed(key, "an array of I32", |value| match value.as_array()? {
            Array::I32(numbers) => Some(numbers.clone()),
            Array::U32(numbers) => numbers.iter().map(|&number| number.try_into().ok()).collect(),
            _ => None,
        })
    }

    /// `value`, or the error of a missing key.
    pub fn required<T>(&self, key: &str, value: Option<T>) -> Result<T, Error> {
        value.ok_or_else(|| self.mismatch(key, "a value", "no such key"))
    }

    /// The error of an invalid value of `key`.
    #[must_use]
    pub fn mismatch(&self, key: &str, expected: impl Into<String>, found: impl Into<String>) -> Error {
        Error::Gguf(Mismatch::at(&self.file, format!("key `{}`", printable(key)), expected, found, CONVERT_AGAIN))
    }

    /// The error of a valid value of `key` that asks for something that is not implemented.
    pub(crate) fn unsupported(&self, key: &str, expected: impl Into<String>, found: impl Into<String>) -> Error {
        let advice = "this variant is not supported: take another model";
        Error::Gguf(Mismatch::at(&self.file, format!("key `{}`", printable(key)), expected, found, advice))
    }

    fn typed<'a, T>(
        &'a self,
        key: &str,
        expected: &str,
        convert: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        self.get(key)
            .map(|value| convert(value).ok_or_else(|| self.mismatch(key, expected, value.to_string())))
            .transpose()
    }
}

fn scalar(reader: &mut Reader<'_>, what: &str, type_at: usize, id: u32) -> Result<Value, Box<Mismatch>> {
    macro_rules! number {
        ($type:ty) => {{
            let mut bytes = [0; size_of::<$type>()];
            bytes.copy_from_slice(reader.take(size_of::<$type>() as u64, what)?);
            <$type>::from_le_bytes(bytes)
        }};
    }
    Ok(match id {
        0 => Value::U8(number!(u8)),
        1 => Value::I8(number!(i8)),
        2 => Value::U16(number!(u16)),
        3 => Value::I16(number!(i16)),
        4 => Value::U32(number!(u32)),
        5 => Value::I32(number!(i32)),
        6 => Value::F32(number!(f32)),
        BOOL => {
            let at = reader.at();
            let byte = number!(u8);
            Value::Bool(boolean(reader, what, at, byte)?)
        }
        STRING => Value::String(reader.text(what, limits::STRING)?.to_owned()),
        10 => Value::U64(number!(u64)),
        11 => Value::I64(number!(i64)),
        12 => Value::F64(number!(f64)),
        _ => return Err(unknown_type(reader, what, type_at, id)),
    })
}

/// An array. `held` counts the bytes in memory of all arrays so far; the limit is checked before an array is allocated.
fn array(reader: &mut Reader<'_>, what: &str, held: &mut u64) -> Result<Array, Box<Mismatch>> {
    let type_at = reader.at();
    let id = reader.u32(what)?;
    if id == ARRAY {
        return Err(reader.mismatch(
            type_at,
            what,
            "an array of numbers or texts",
            "an array of arrays",
            CONVERT_AGAIN,
        ));
    }
    let Some(&(name, size)) = TYPES.get(id as usize) else {
        return Err(unknown_type(reader, what, type_at, id));
    };
    let count_at = reader.at();
    let count = reader.u64(what)?;
    let bytes = count.checked_mul(size).filter(|bytes| *bytes <= reader.left());
    let Some(bytes) = bytes else {
        let fitting = reader.left() / size;
        return Err(reader.mismatch(
            count_at,
            what,
            format!("at most {fitting} {name} (the rest of the file)"),
            format!("a count of {}", signed(count)),
            FETCH_AGAIN,
        ));
    };
    if id == STRING && count > limits::STRINGS {
        return Err(reader.mismatch(
            count_at,
            what,
            format!("at most {} texts", limits::STRINGS),
            count.to_string(),
            CONVERT_AGAIN,
        ));
    }
    // A text takes its length and four bytes in memory, which is at most what it takes in the file.
    *held += bytes;
    let too_much = |reader: &Reader<'_>, held: u64| {
        let most = format!("at most {} bytes of arrays in the header", limits::ARRAYS);
        reader.mismatch(count_at, what, most, format!("{held} or more"), CONVERT_AGAIN)
    };
    if *held > limits::ARRAYS {
        return Err(too_much(reader, *held));
    }
    macro_rules! numbers {
        ($variant:ident, $type:ty) => {{
            let (numbers, _) = reader.take(bytes, what)?.as_chunks::<{ size_of::<$type>() }>();
            Array::$variant(numbers.iter().map(|bytes| <$type>::from_le_bytes(*bytes)).collect())
        }};
    }
    Ok(match id {
        0 => Array::U8(reader.take(bytes, what)?.to_vec()),
        1 => numbers!(I8, i8),
        2 => numbers!(U16, u16),
        3 => numbers!(I16, i16),
        4 => numbers!(U32, u32),
        5 => numbers!(I32, i32),
        6 => numbers!(F32, f32),
        BOOL => {
            let at = reader.at();
            let flags = reader.take(bytes, what)?;
            let flags: Result<Vec<bool>, _> =
                flags.iter().enumerate().map(|(index, byte)| boolean(reader, what, at + index, *byte)).collect();
            Array::Bool(flags?)
        }
        STRING => {
            #[allow(clippy::cast_possible_truncation, reason = "at most limits::STRINGS")]
            let mut strings = Strings::with_capacity(count as usize);
            for index in 0..count {
                let text = reader.text(what, limits::STRING).map_err(|mut mismatch| {
                    mismatch.place.push_str(&format!(", element {index}"));
                    mismatch
                })?;
                *held += text.len() as u64;
                if *held > limits::ARRAYS || !strings.push(text) {
                    return Err(too_much(reader, *held));
                }
            }
            Array::String(strings)
        }
        10 => numbers!(U64, u64),
        11 => numbers!(I64, i64),
        _ => numbers!(F64, f64),
    })
}

fn boolean(reader: &Reader<'_>, what: &str, at: usize, byte: u8) -> Result<bool, Box<Mismatch>> {
    match byte {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(reader.mismatch(at, what, "0 or 1 for a truth value", byte.to_string(), CONVERT_AGAIN)),
    }
}

fn unknown_type(reader: &Reader<'_>, what: &str, at: usize, id: u32) -> Box<Mismatch> {
    reader.mismatch(at, what, format!("a value type from 0 to {}", TYPES.len() - 1), id.to_string(), FETCH_AGAIN)
}
