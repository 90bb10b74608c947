//! Writing a GGUF header: keys with typed values, then the list of tensors. Reading is the business of `checkpoint`.

use super::plan::{ALIGNMENT, PlannedTensor};

/// A metadata value of the kinds that are written here.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    U32(u32),
    U64(u64),
    F32(f32),
    Bool(bool),
    Text(String),
    Texts(Vec<String>),
    I32s(Vec<i32>),
    F32s(Vec<f32>),
}

/// Key and value pairs in the order of the file.
pub(super) type Metadata = Vec<(String, Value)>;

// Numbers of `enum gguf_type` (gguf.h).
const TYPE_U32: u32 = 4;
const TYPE_I32: u32 = 5;
const TYPE_F32: u32 = 6;
const TYPE_BOOL: u32 = 7;
const TYPE_TEXT: u32 = 8;
const TYPE_ARRAY: u32 = 9;
const TYPE_U64: u32 = 10;

/// The header of a GGUF file of version 3, padded so that tensor data may follow at once.
///
/// ```text
/// "GGUF", u32 version, u64 tensors, u64 pairs
/// pair:    text key, u32 type, value                      text: u64 length, bytes
/// tensor:  text name, u32 dims, u64 per dim (columns first), u32 type, u64 offset in the data
/// ```
pub(super) fn header_bytes(metadata: &Metadata, tensors: &[PlannedTensor]) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 << 20);
    out.extend(b"GGUF");
    out.extend(3u32.to_le_bytes());
    out.extend((tensors.len() as u64).to_le_bytes());
    out.extend((metadata.len() as u64).to_le_bytes());
    for (key, value) in metadata {
        text(&mut out, key);
        write_value(&mut out, value);
    }
    for tensor in tensors {
        text(&mut out, &tensor.name);
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

fn array(out: &mut Vec<u8>, kind: u32, len: usize) {
    out.extend(TYPE_ARRAY.to_le_bytes());
    out.extend(kind.to_le_bytes());
    out.extend((len as u64).to_le_bytes());
}

fn write_value(out: &mut Vec<u8>, value: &Value) {
    let mut scalar = |kind: u32, bytes: &[u8]| {
        out.extend(kind.to_le_bytes());
        out.extend(bytes);
    };
    match value {
        Value::U32(number) => scalar(TYPE_U32, &number.to_le_bytes()),
        Value::U64(number) => scalar(TYPE_U64, &number.to_le_bytes()),
        Value::F32(number) => scalar(TYPE_F32, &number.to_le_bytes()),
        Value::Bool(flag) => scalar(TYPE_BOOL, &[u8::from(*flag)]),
        Value::Text(string) => {
            scalar(TYPE_TEXT, &[]);
            text(out, string);
        }
        Value::Texts(strings) => {
            array(out, TYPE_TEXT, strings.len());
            for string in strings {
                text(out, string);
            }
        }
        Value::I32s(numbers) => {
            array(out, TYPE_I32, numbers.len());
            out.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        }
        Value::F32s(numbers) => {
            array(out, TYPE_F32, numbers.len());
            out.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_header_is_24_bytes_and_padding() {
        let bytes = header_bytes(&Vec::new(), &[]);
        assert_eq!(bytes.len(), 32);
        assert_eq!(bytes[..8], *b"GGUF\x03\0\0\0");
        assert!(bytes[8..].iter().all(|&byte| byte == 0));
    }

    #[test]
    fn a_pair_is_key_type_value() {
        let bytes = header_bytes(&vec![("k".into(), Value::Texts(vec!["ab".into()]))], &[]);
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
}
