//! Metadata values in a compact representation: an array of bytes takes one byte per element, the texts of an array share a buffer.

use std::fmt;

use crate::error::printable;

/// A metadata value.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the variants are the types of the format")]
pub enum Value {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    String(String),
    Array(Array),
    U64(u64),
    I64(i64),
    F64(f64),
}

/// Many values of one type.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the variants are the types of the format")]
pub enum Array {
    U8(Vec<u8>),
    I8(Vec<i8>),
    U16(Vec<u16>),
    I16(Vec<i16>),
    U32(Vec<u32>),
    I32(Vec<i32>),
    F32(Vec<f32>),
    Bool(Vec<bool>),
    String(Strings),
    U64(Vec<u64>),
    I64(Vec<i64>),
    F64(Vec<f64>),
}

/// Many texts in one buffer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Strings {
    text: String,
    /// Where each text ends in `text`.
    ends: Vec<u32>,
    /// The texts that are not UTF-8 in the file, in order. U+FFFD replaces their invalid bytes.
    invalid: Vec<u32>,
}

/// The types by their number in the file, with the bytes of an element there (of a text: the bytes of its length).
pub(crate) const TYPES: [(&str, u64); 13] = [
    ("U8", 1),
    ("I8", 1),
    ("U16", 2),
    ("I16", 2),
    ("U32", 4),
    ("I32", 4),
    ("F32", 4),
    ("BOOL", 1),
    ("STRING", 8),
    ("ARRAY", 12),
    ("U64", 8),
    ("I64", 8),
    ("F64", 8),
];
/// Numbers of the types that are not plain numbers.
pub(crate) const BOOL: u32 = 7;
pub(crate) const STRING: u32 = 8;
pub(crate) const ARRAY: u32 = 9;

impl Value {
    /// An integer of any width, unless it is negative.
    #[must_use]
    pub fn as_u64(&self) -> Option<u64> {
        match *self {
            Self::U8(value) => Some(value.into()),
            Self::U16(value) => Some(value.into()),
            Self::U32(value) => Some(value.into()),
            Self::U64(value) => Some(value),
            Self::I8(value) => value.try_into().ok(),
            Self::I16(value) => value.try_into().ok(),
            Self::I32(value) => value.try_into().ok(),
            Self::I64(value) => value.try_into().ok(),
            _ => None,
        }
    }

    /// A number, rounded to single precision. Some writers store whole numbers as integers.
    #[must_use]
    #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "rounding is what is asked for")]
    pub fn as_f32(&self) -> Option<f32> {
        match *self {
            Self::F32(value) => Some(value),
            Self::F64(value) => Some(value as f32),
            Self::I8(value) => Some(value.into()),
            Self::I16(value) => Some(value.into()),
            Self::I32(value) => Some(value as f32),
            Self::I64(value) => Some(value as f32),
            _ => self.as_u64().map(|value| value as f32),
        }
    }

    /// A text.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// A boolean.
    #[must_use]
    pub const fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// An array.
    #[must_use]
    pub const fn as_array(&self) -> Option<&Array> {
        match self {
            Self::Array(array) => Some(array),
            _ => None,
        }
    }
}

/// The value in a few words, for messages.
impl fmt::Display for Value {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::U8(value) => write!(out, "{value}"),
            Self::I8(value) => write!(out, "{value}"),
            Self::U16(value) => write!(out, "{value}"),
            Self::I16(value) => write!(out, "{value}"),
            Self::U32(value) => write!(out, "{value}"),
            Self::I32(value) => write!(out, "{value}"),
            Self::F32(value) => write!(out, "{value:?}"),
            Self::Bool(value) => write!(out, "{value}"),
            Self::String(text) => write!(out, "the text `{}`", printable(text)),
            Self::Array(array) => write!(out, "an array of {} {}", array.len(), array.type_name()),
            Self::U64(value) => write!(out, "{value}"),
            Self::I64(value) => write!(out, "{value}"),
            Self::F64(value) => write!(out, "{value:?}"),
        }
    }
}

/// Evaluates `$body` with `$values` bound to the vector of the variant.
macro_rules! each {
    ($array:expr, $values:ident => $body:expr) => {
        match $array {
            Array::U8($values) => $body,
            Array::I8($values) => $body,
            Array::U16($values) => $body,
            Array::I16($values) => $body,
            Array::U32($values) => $body,
            Array::I32($values) => $body,
            Array::F32($values) => $body,
            Array::Bool($values) => $body,
            Array::String($values) => $body,
            Array::U64($values) => $body,
            Array::I64($values) => $body,
            Array::F64($values) => $body,
        }
    };
}

impl Array {
    /// Number of elements.
    #[must_use]
    pub const fn len(&self) -> usize {
        each!(self, values => values.len())
    }

    /// Whether there are no elements.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The element at `index`.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<Value> {
        macro_rules! element {
            ($($variant:ident),*) => {
                match self {
                    $(Self::$variant(values) => values.get(index).copied().map(Value::$variant),)*
                    Self::String(texts) => texts.get(index).map(|text| Value::String(text.to_owned())),
                }
            };
        }
        element!(U8, I8, U16, I16, U32, I32, F32, Bool, U64, I64, F64)
    }

    /// The name of the element type.
    #[must_use]
    pub const fn type_name(&self) -> &'static str {
        TYPES[self.type_id() as usize].0
    }

    /// The number of the element type in a file.
    pub(crate) const fn type_id(&self) -> u32 {
        match self {
            Self::U8(_) => 0,
            Self::I8(_) => 1,
            Self::U16(_) => 2,
            Self::I16(_) => 3,
            Self::U32(_) => 4,
            Self::I32(_) => 5,
            Self::F32(_) => 6,
            Self::Bool(_) => BOOL,
            Self::String(_) => STRING,
            Self::U64(_) => 10,
            Self::I64(_) => 11,
            Self::F64(_) => 12,
        }
    }
}

impl Strings {
    /// An empty list with capacity for `count` texts.
    pub(crate) fn with_capacity(count: usize) -> Self {
        Self { text: String::new(), ends: Vec::with_capacity(count), invalid: Vec::new() }
    }

    /// Adds a text; `false` if the buffer would exceed 4 GiB.
    pub(crate) fn push(&mut self, text: &str) -> bool {
        self.text.push_str(text);
        u32::try_from(self.text.len()).is_ok_and(|end| {
            self.ends.push(end);
            true
        })
    }

    /// Adds the text in `bytes`; `false` if the buffer would exceed 4 GiB.
    pub(crate) fn push_bytes(&mut self, bytes: &[u8]) -> bool {
        let index = self.ends.len();
        match std::str::from_utf8(bytes) {
            Ok(text) => self.push(text),
            Err(_) => {
                self.invalid.extend(u32::try_from(index));
                self.push(&String::from_utf8_lossy(bytes))
            }
        }
    }

    /// The indices of the texts that are not UTF-8 in the file, in order.
    #[must_use]
    pub fn invalid(&self) -> &[u32] {
        &self.invalid
    }

    /// Number of texts.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are no texts.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The text at `index`.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&str> {
        let start = match index.checked_sub(1) {
            Some(before) => *self.ends.get(before)? as usize,
            None => 0,
        };
        self.text.get(start..*self.ends.get(index)? as usize)
    }

    /// All texts in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> + '_ {
        (0..self.len()).map(|index| self.get(index).unwrap_or_default())
    }
}

/// For vocabularies, which stay far below 4 GiB.
impl<T: AsRef<str>> FromIterator<T> for Strings {
    fn from_iter<I: IntoIterator<Item = T>>(texts: I) -> Self {
        let mut strings = Self::default();
        texts.into_iter().all(|text| strings.push(text.as_ref()));
        strings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_back_from_the_shared_buffer() {
        let mut strings = Strings::with_capacity(3);
        for text in ["", "ab", "ü"] {
            assert!(strings.push(text));
        }
        assert_eq!(strings.iter().collect::<Vec<_>>(), ["", "ab", "ü"]);
        assert_eq!(strings.get(3), None);
        assert_eq!(Value::Array(Array::String(strings)).to_string(), "an array of 3 STRING");
    }

    #[test]
    fn integers_of_any_width_convert_unless_negative() {
        assert_eq!(Value::I8(5).as_u64(), Some(5));
        assert_eq!(Value::I32(-5).as_u64(), None);
        assert_eq!(Value::U64(u64::MAX).as_u64(), Some(u64::MAX));
        assert_eq!(Value::F32(1.0).as_u64(), None);
    }
}
