//! Writing a GGUF header: keys with typed values, then the table of tensors. The caller writes the tensor data.

use super::value::{ARRAY, Array, BOOL, STRING, Value};
use crate::dtype::DType;

/// The alignment of tensor data in bytes, as in files that llama.cpp writes.
pub(crate) const ALIGNMENT: u64 = 32;

/// Keys and values in the order of the file.
pub(crate) type KeyValues = Vec<(String, Value)>;

/// A tensor's entry in the table.
pub(crate) struct NewTensor<'a> {
    pub(crate) name: &'a str,
    pub(crate) dtype: DType,
    /// Row-major.
    pub(crate) shape: &'a [usize],
    /// The start of its data, counted from the start of all tensor data.
    pub(crate) offset: u64,
}

/// The header of a GGUF file of version 3, padded to the alignment of the tensor data that follows.
///
/// ```text
/// "GGUF", u32 version, u64 tensors, u64 keys
/// key:      text key, u32 type, value                      text: u64 length, bytes
/// tensor:  text name, u32 dims, u64 per dim (columns first), u32 type, u64 offset in the data
/// ```
pub(crate) fn header<'a>(keys: &[(String, Value)], tensors: impl ExactSizeIterator<Item = NewTensor<'a>>) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 << 20);
    out.extend(b"GGUF");
    out.extend(3u32.to_le_bytes());
    out.extend((tensors.len() as u64).to_le_bytes());
    out.extend((keys.len() as u64).to_le_bytes());
    for (key, value) in keys {
        text(&mut out, key);
        write_value(&mut out, value);
    }
    for tensor in tensors {
        text(&mut out, tensor.name);
        #[allow(clippy::cast_possible_truncation, reason = "four dimensions at most")]
        out.extend((tensor.shape.len() as u32).to_le_bytes());
        for &size in tensor.shape.iter().rev() {
            out.extend((size as u64).to_le_bytes());
        }
        out.extend(tensor.dtype.ggml_id().to_le_bytes());
        out.extend(tensor.offset.to_le_bytes());
    }
    out.resize(out.len().next_multiple_of(ALIGNMENT as usize), 0);
    out
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

fn write_value(out: &mut Vec<u8>, value: &Value) {
    let mut scalar = |kind: u32, bytes: &[u8]| {
        out.extend(kind.to_le_bytes());
        out.extend(bytes);
    };
    match value {
        Value::U8(number) => scalar(0, &number.to_le_bytes()),
        Value::I8(number) => scalar(1, &number.to_le_bytes()),
        Value::U16(number) => scalar(2, &number.to_le_bytes()),
        Value::I16(number) => scalar(3, &number.to_le_bytes()),
        Value::U32(number) => scalar(4, &number.to_le_bytes()),
        Value::I32(number) => scalar(5, &number.to_le_bytes()),
        Value::F32(number) => scalar(6, &number.to_le_bytes()),
        Value::Bool(flag) => scalar(BOOL, &[u8::from(*flag)]),
        Value::String(string) => {
            scalar(STRING, &[]);
            text(out, string);
        }
        Value::Array(array) => {
            scalar(ARRAY, &[]);
            write_array(out, array);
        }
        Value::U64(number) => scalar(10, &number.to_le_bytes()),
        Value::I64(number) => scalar(11, &number.to_le_bytes()),
        Value::F64(number) => scalar(12, &number.to_le_bytes()),
    }
}

/// The type of the elements, their number, and the elements.
fn write_array(out: &mut Vec<u8>, array: &Array) {
    out.extend(array.type_id().to_le_bytes());
    out.extend((array.len() as u64).to_le_bytes());
    // A loop for each type compiles faster than `flat_map`.
    macro_rules! numbers {
        ($values:expr) => {
            for value in $values {
                out.extend_from_slice(&value.to_le_bytes());
            }
        };
    }
    match array {
        Array::U8(values) => out.extend(values),
        Array::I8(values) => numbers!(values),
        Array::U16(values) => numbers!(values),
        Array::I16(values) => numbers!(values),
        Array::U32(values) => numbers!(values),
        Array::I32(values) => numbers!(values),
        Array::F32(values) => numbers!(values),
        Array::Bool(flags) => out.extend(flags.iter().map(|flag| u8::from(*flag))),
        Array::String(strings) => {
            for string in strings.iter() {
                text(out, string);
            }
        }
        Array::U64(values) => numbers!(values),
        Array::I64(values) => numbers!(values),
        Array::F64(values) => numbers!(values),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{Header, Metadata};
    use super::*;

    fn read(pairs: &[(String, Value)]) -> Metadata {
        Header::parse(Path::new("made"), &header(pairs, [].into_iter())).unwrap().metadata
    }

    #[test]
    fn an_empty_header_is_24_bytes_and_padding() {
        let bytes = header(&[], [].into_iter());
        assert_eq!(bytes.len(), 32);
        assert_eq!(bytes[..8], *b"GGUF\x03\0\0\0");
        assert!(bytes[8..].iter().all(|&byte| byte == 0));
    }

    #[test]
    fn an_entry_is_key_type_value() {
        let value = Value::Array(Array::String(["ab"].into_iter().collect()));
        let bytes = header(&[("k".into(), value)], [].into_iter());
        let expected = [
            &1u64.to_le_bytes()[..],
            b"k",
            &9u32.to_le_bytes(),
            &8u32.to_le_bytes(),
            &1u64.to_le_bytes(),
            &2u64.to_le_bytes(),
            b"ab",
        ];
        assert!(bytes[24..].starts_with(&expected.concat()));
        assert_eq!(bytes.len() % 32, 0);
    }

    #[test]
    fn every_kind_of_value_is_read_back() {
        let values = [
            Value::U8(1),
            Value::I8(-1),
            Value::U16(2),
            Value::I16(-2),
            Value::U32(3),
            Value::I32(-3),
            Value::F32(0.5),
            Value::Bool(true),
            Value::String("text".into()),
            Value::U64(1 << 40),
            Value::I64(-4),
            Value::F64(0.25),
            Value::Array(Array::U8(vec![1, 2])),
            Value::Array(Array::I8(vec![-1])),
            Value::Array(Array::U16(vec![300])),
            Value::Array(Array::I16(vec![-300])),
            Value::Array(Array::U32(vec![70_000])),
            Value::Array(Array::I32(vec![-70_000])),
            Value::Array(Array::F32(vec![1.5, -2.5])),
            Value::Array(Array::Bool(vec![true, false])),
            Value::Array(Array::String(["", "ü"].into_iter().collect())),
            Value::Array(Array::U64(vec![1 << 50])),
            Value::Array(Array::I64(vec![-1])),
            Value::Array(Array::F64(vec![0.125])),
        ];
        let pairs: KeyValues = values.into_iter().enumerate().map(|(at, value)| (format!("key.{at}"), value)).collect();
        let found = read(&pairs);
        assert_eq!(found.iter().count(), pairs.len());
        for ((key, value), (found_key, found)) in pairs.iter().zip(found.iter()) {
            assert_eq!((key.as_str(), value), (found_key, found));
        }
    }
}
