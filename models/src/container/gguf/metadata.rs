//! The key-value part of a GGUF header: reading it, and typed access to it.
//!
//! A value that cannot be represented (over a limit, not UTF-8, an array of arrays) is skipped, and the reason is kept: reading
//! its key is an error. A file is refused only for a value that is read.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::reader::{Reader, limits, signed};
use super::value::{ARRAY, Array, BOOL, STRING, Strings, TYPES, Value};
use crate::error::{Cause, Error, Mismatch, printable};

/// All keys and values, in the order of the file.
#[derive(Clone, Debug, PartialEq)]
pub struct Metadata {
    file: PathBuf,
    entries: Vec<(String, Outcome)>,
}

/// A value, or why it was skipped.
type Outcome = Result<Value, Box<Mismatch>>;

impl Metadata {
    /// Reads `count` entries; `count` has been checked against the size of the file.
    pub(super) fn read(reader: &mut Reader<'_>, file: &Path, count: u64) -> Result<Self, Box<Mismatch>> {
        let mut entries = Vec::new();
        let mut seen = HashSet::new();
        let mut held = 0;
        for index in 0..count {
            let start = reader.at();
            let nth = format!("metadata key {} of {count}", index + 1);
            let bytes = reader.sized(&nth)?;
            if bytes.is_empty() {
                return Err(reader.mismatch(start, &nth, "a name", "an empty text", Cause::WrittenWrongly));
            }
            if bytes.len() as u64 > limits::KEY {
                let (expected, found) = (format!("a name of at most {} bytes", limits::KEY), bytes.len().to_string());
                return Err(reader.mismatch(start, &nth, expected, found, Cause::OverLimit));
            }
            // Nobody asks for a key that is not UTF-8: its form is only shown.
            let key = String::from_utf8_lossy(bytes);
            let key = key.trim_end_matches('\0');
            let what = format!("key `{}`", printable(key));
            if !seen.insert(bytes) {
                return Err(reader.mismatch(start, &what, "each key once", "it again", Cause::WrittenWrongly));
            }
            let type_at = reader.at();
            let id = reader.u32(&what)?;
            let value =
                if id == ARRAY { array(reader, &what, &mut held)? } else { scalar(reader, &what, type_at, id)? };
            entries.push((key.to_owned(), value));
        }
        Ok(Self { file: file.to_path_buf(), entries })
    }

    /// The file that this was read from.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The value of `key`, if the key exists.
    ///
    /// # Errors
    /// If the value could not be represented: it is over a limit, not UTF-8 or an array of arrays.
    pub fn get(&self, key: &str) -> Result<Option<&Value>, Error> {
        self.read_value(key).map_err(Error::Gguf)
    }

    pub(super) fn read_value(&self, key: &str) -> Result<Option<&Value>, Box<Mismatch>> {
        let found = self.entries.iter().find(|(name, _)| name == key);
        found.map(|(_, outcome)| outcome.as_ref().map_err(Clone::clone)).transpose()
    }

    /// Whether the file has the key, readable or not.
    #[must_use]
    pub fn contains(&self, key: &str) -> bool {
        self.entries.iter().any(|(name, _)| name == key)
    }

    /// All keys, readable or not, in the order of the file.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|(key, _)| key.as_str())
    }

    /// All keys whose values were read, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> + '_ {
        self.entries.iter().filter_map(|(key, outcome)| Some((key.as_str(), outcome.as_ref().ok()?)))
    }

    /// Checks that the values of all keys that begin with `prefix` are exactly those of the file, before they are copied.
    ///
    /// # Errors
    /// If one of them could not be represented, or one of its texts is not UTF-8.
    pub(crate) fn check_exact(&self, prefix: &str) -> Result<(), Error> {
        for (key, outcome) in self.entries.iter().filter(|(key, _)| key.starts_with(prefix)) {
            if let Value::Array(Array::String(texts)) =
                outcome.as_ref().map_err(|reason| Error::Gguf(reason.clone()))?
                && let Some(index) = texts.invalid().first()
            {
                return Err(self.mismatch(key, "texts in UTF-8", format!("other bytes in element {index}")));
            }
        }
        Ok(())
    }

    /// The text of `key`, if the key exists.
    pub fn text(&self, key: &str) -> Result<Option<&str>, Error> {
        self.typed(key, "a text", Value::as_str)
    }

    /// The integer of `key`, of any width and not negative, if the key exists.
    pub fn count(&self, key: &str) -> Result<Option<usize>, Error> {
        self.typed(key, COUNT, as_count)
    }

    /// The number of `key`, if the key exists.
    pub fn number(&self, key: &str) -> Result<Option<f32>, Error> {
        self.typed(key, NUMBER, as_number)
    }

    /// The integer of `key`, which may also be an array of one value per layer. All must be equal.
    ///
    /// # Errors
    /// [`Cause::Unsupported`] with the first layer that differs.
    pub fn count_of_layers(&self, key: &str, layers: usize) -> Result<Option<usize>, Error> {
        self.of_layers(key, layers, COUNT, as_count)
    }

    /// The integers of `key`, one per layer; one value in the file is that of all.
    ///
    /// # Errors
    /// If it is an array of another length.
    pub(crate) fn counts_of_layers(&self, key: &str, layers: usize) -> Result<Option<Vec<usize>>, Error> {
        let Some(Value::Array(array)) = self.get(key)? else {
            return Ok(self.count(key)?.map(|count| vec![count; layers]));
        };
        let counts: Option<Vec<usize>> = (0..array.len()).map(|layer| as_count(&array.get(layer)?)).collect();
        counts.filter(|counts| counts.len() == layers).map(Some).ok_or_else(|| {
            let expected = format!("{COUNT}, or an array of {layers}, one per layer");
            self.mismatch(key, expected, Value::Array(array.clone()).to_string())
        })
    }

    /// The number of `key`, which may also be an array of one value per layer. All must be equal.
    ///
    /// # Errors
    /// [`Cause::Unsupported`] with the first layer that differs.
    pub fn number_of_layers(&self, key: &str, layers: usize) -> Result<Option<f32>, Error> {
        self.of_layers(key, layers, NUMBER, as_number)
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
        self.error(key, expected, found, Cause::WrittenWrongly)
    }

    /// The error of a valid value of `key` that asks for something that is not implemented.
    pub(crate) fn unsupported(&self, key: &str, expected: impl Into<String>, found: impl Into<String>) -> Error {
        self.error(key, expected, found, Cause::Unsupported)
    }

    fn error(&self, key: &str, expected: impl Into<String>, found: impl Into<String>, cause: Cause) -> Error {
        Error::Gguf(Mismatch::at(&self.file, format!("key `{}`", printable(key)), expected, found, cause))
    }

    fn typed<'a, T>(
        &'a self,
        key: &str,
        expected: &str,
        convert: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        self.get(key)?
            .map(|value| convert(value).ok_or_else(|| self.mismatch(key, expected, value.to_string())))
            .transpose()
    }

    fn of_layers<T>(
        &self,
        key: &str,
        layers: usize,
        expected: &str,
        convert: fn(&Value) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let Some(Value::Array(array)) = self.get(key)? else { return self.typed(key, expected, convert) };
        let mut values = (0..array.len()).map_while(|layer| array.get(layer)).enumerate();
        let Some((_, first)) = values.next().filter(|_| array.len() == layers) else {
            let expected = format!("{expected}, or an array of {layers}, one per layer");
            return Err(self.mismatch(key, expected, Value::Array(array.clone()).to_string()));
        };
        if let Some((layer, other)) = values.find(|(_, value)| *value != first) {
            let expected = format!("the same value in all layers, {first} as in layer 0");
            return Err(self.unsupported(key, expected, format!("{other} in layer {layer}")));
        }
        convert(&first).map(Some).ok_or_else(|| self.mismatch(key, expected, format!("{first} in all layers")))
    }
}

const COUNT: &str = "an integer that is not negative";
const NUMBER: &str = "a finite number";

fn as_count(value: &Value) -> Option<usize> {
    value.as_u64()?.try_into().ok()
}

fn as_number(value: &Value) -> Option<f32> {
    value.as_f32().filter(|number| number.is_finite())
}

/// Reads a value. The outer error ends the reading of the file, the inner one is the reason why the value was skipped.
fn scalar(reader: &mut Reader<'_>, what: &str, type_at: usize, id: u32) -> Result<Outcome, Box<Mismatch>> {
    macro_rules! number {
        ($type:ty) => {{
            let mut bytes = [0; size_of::<$type>()];
            bytes.copy_from_slice(reader.take(size_of::<$type>() as u64, what)?);
            <$type>::from_le_bytes(bytes)
        }};
    }
    Ok(Ok(match id {
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
            return Ok(boolean(reader, what, at, byte).map(Value::Bool));
        }
        STRING => {
            let bytes = reader.sized(what)?;
            // Some writers count the closing zero of a C string.
            let text = reader.text(bytes, what, limits::STRING);
            return Ok(text.map(|text| Value::String(text.trim_end_matches('\0').to_owned())));
        }
        10 => Value::U64(number!(u64)),
        11 => Value::I64(number!(i64)),
        12 => Value::F64(number!(f64)),
        _ => return Err(unknown_type(reader, what, type_at, id)),
    }))
}

/// The type and the number of elements of an array, of which at least the smallest form is in the file.
struct ArrayHead {
    id: u32,
    count_at: usize,
    count: u64,
    /// Bytes of the elements in the file; of texts and arrays: of their lengths.
    bytes: u64,
}

impl ArrayHead {
    fn read(reader: &mut Reader<'_>, what: &str) -> Result<Self, Box<Mismatch>> {
        let type_at = reader.at();
        let id = reader.u32(what)?;
        let Some(&(name, size)) = TYPES.get(id as usize) else {
            return Err(unknown_type(reader, what, type_at, id));
        };
        let count_at = reader.at();
        let count = reader.u64(what)?;
        let bytes = count.checked_mul(size).filter(|bytes| *bytes <= reader.left());
        let Some(bytes) = bytes else {
            let expected = format!("at most {} {name} (the rest of the file)", reader.left() / size);
            let found = format!("a count of {}", signed(count));
            return Err(reader.mismatch(count_at, what, expected, found, Cause::Damaged));
        };
        Ok(Self { id, count_at, count, bytes })
    }

    /// Moves the reader behind the elements.
    fn skip(&self, reader: &mut Reader<'_>, what: &str, level: u32) -> Result<(), Box<Mismatch>> {
        match self.id {
            STRING => (0..self.count).try_for_each(|_| reader.sized(what).map(drop)),
            ARRAY if level == limits::NESTED_ARRAYS => {
                let expected = format!("arrays of at most {} levels", limits::NESTED_ARRAYS);
                Err(reader.mismatch(self.count_at, what, expected, "more", Cause::Unexpected))
            }
            ARRAY => (0..self.count).try_for_each(|_| Self::read(reader, what)?.skip(reader, what, level + 1)),
            _ => reader.take(self.bytes, what).map(drop),
        }
    }
}

/// Reads an array; see [`scalar`] for the two errors. `held` counts the bytes in memory of all arrays so far; the limit is checked
/// before an array is allocated.
fn array(reader: &mut Reader<'_>, what: &str, held: &mut u64) -> Result<Outcome, Box<Mismatch>> {
    let type_at = reader.at();
    let head = ArrayHead::read(reader, what)?;
    let ArrayHead { id, count_at, count, bytes } = head;
    let over = |reader: &Reader<'_>, expected: String, found: String| {
        reader.mismatch(count_at, what, expected, found, Cause::OverLimit)
    };
    let all = |reader: &Reader<'_>, held: u64| {
        let most = format!("at most {} bytes of arrays in the header", limits::ARRAYS);
        over(reader, most, format!("{held} or more"))
    };
    // A text takes its length and four bytes in memory, which is at most what it takes in the file.
    let refused = if id == ARRAY {
        let expected = "an array of numbers or texts";
        Some(reader.mismatch(type_at, what, expected, "an array of arrays", Cause::Unsupported))
    } else if id == STRING && count > limits::STRINGS {
        Some(over(reader, format!("at most {} texts", limits::STRINGS), count.to_string()))
    } else if *held + bytes > limits::ARRAYS {
        Some(all(reader, *held + bytes))
    } else {
        None
    };
    if let Some(reason) = refused {
        head.skip(reader, what, 1)?;
        return Ok(Err(reason));
    }
    macro_rules! numbers {
        ($variant:ident, $type:ty) => {{
            let (numbers, _) = reader.take(bytes, what)?.as_chunks::<{ size_of::<$type>() }>();
            Array::$variant(numbers.iter().map(|bytes| <$type>::from_le_bytes(*bytes)).collect())
        }};
    }
    let array = match id {
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
            match flags {
                Ok(flags) => Array::Bool(flags),
                Err(reason) => return Ok(Err(reason)),
            }
        }
        STRING => {
            #[allow(clippy::cast_possible_truncation, reason = "at most limits::STRINGS")]
            let mut strings = Strings::with_capacity(count as usize);
            let mut refused = None;
            let mut text_bytes = 0;
            for index in 0..count {
                let element = |mut mismatch: Box<Mismatch>| {
                    mismatch.place.push_str(&format!(", element {index}"));
                    mismatch
                };
                let bytes = reader.sized(what).map_err(element)?;
                text_bytes += bytes.len() as u64;
                if refused.is_some() {
                    continue;
                }
                if bytes.len() as u64 > limits::STRING {
                    refused = reader.text(bytes, what, limits::STRING).map_err(element).err();
                } else if *held + head.bytes + text_bytes > limits::ARRAYS || !strings.push_bytes(bytes) {
                    refused = Some(all(reader, *held + head.bytes + text_bytes));
                }
            }
            if let Some(reason) = refused {
                return Ok(Err(reason));
            }
            *held += text_bytes;
            Array::String(strings)
        }
        10 => numbers!(U64, u64),
        11 => numbers!(I64, i64),
        _ => numbers!(F64, f64),
    };
    *held += bytes;
    Ok(Ok(Value::Array(array)))
}

fn boolean(reader: &Reader<'_>, what: &str, at: usize, byte: u8) -> Result<bool, Box<Mismatch>> {
    match byte {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(reader.mismatch(at, what, "0 or 1 for a truth value", byte.to_string(), Cause::WrittenWrongly)),
    }
}

fn unknown_type(reader: &Reader<'_>, what: &str, at: usize, id: u32) -> Box<Mismatch> {
    let expected = format!("a value type from 0 to {}", TYPES.len() - 1);
    reader.mismatch(at, what, expected, id.to_string(), Cause::Unexpected)
}
