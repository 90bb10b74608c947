//! The tokenizer of another GGUF file, taken over into a synthetic one: its keys as they stand.

use std::path::Path;

use crate::checkpoint::gguf;
use crate::error::Error;

use super::header::{Metadata, Value};

/// All `tokenizer.*` keys of the file, in its order. Kinds of values that no tokenizer of the supported families uses are left out.
pub(super) fn tokenizer_of(path: &Path) -> Result<Metadata, Error> {
    let file = gguf::File::open(path)?;
    let tokenizer = file.header.metadata.iter().filter(|(key, _)| key.starts_with("tokenizer."));
    Ok(tokenizer.filter_map(|(key, value)| Some((key.to_owned(), taken(value)?))).collect())
}

fn taken(value: &gguf::Value) -> Option<Value> {
    use gguf::Array;
    Some(match value {
        gguf::Value::U32(number) => Value::U32(*number),
        gguf::Value::I32(number) => Value::U32(u32::try_from(*number).ok()?),
        gguf::Value::F32(number) => Value::F32(*number),
        gguf::Value::Bool(flag) => Value::Bool(*flag),
        gguf::Value::String(text) => Value::Text(text.clone()),
        gguf::Value::Array(Array::String(texts)) => Value::Texts(texts.iter().map(String::from).collect()),
        gguf::Value::Array(Array::I32(numbers)) => Value::I32s(numbers.clone()),
        gguf::Value::Array(Array::U32(numbers)) => {
            Value::I32s(numbers.iter().map(|&n| i32::try_from(n)).collect::<Result<_, _>>().ok()?)
        }
        gguf::Value::Array(Array::F32(numbers)) => Value::F32s(numbers.clone()),
        _ => return None,
    })
}
