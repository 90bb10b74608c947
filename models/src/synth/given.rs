//! The tokenizer of another GGUF file, taken over into a synthetic one: its keys as they stand.

use std::path::Path;

use crate::checkpoint::gguf::{self, Array, Pairs, Value};
use crate::error::Error;

/// All `tokenizer.*` keys of the file, in its order. Kinds of values that no tokenizer of the supported families uses are left out.
pub(crate) fn tokenizer_of(path: &Path) -> Result<Pairs, Error> {
    let file = gguf::File::open(path)?;
    let tokenizer = file.header.metadata.iter().filter(|(key, _)| key.starts_with("tokenizer."));
    Ok(tokenizer.filter_map(|(key, value)| Some((key.to_owned(), taken(value)?))).collect())
}

fn taken(value: &Value) -> Option<Value> {
    Some(match value {
        Value::U32(_) | Value::F32(_) | Value::Bool(_) | Value::String(_) => value.clone(),
        Value::I32(number) => Value::U32(u32::try_from(*number).ok()?),
        Value::Array(Array::String(_) | Array::I32(_) | Array::F32(_)) => value.clone(),
        Value::Array(Array::U32(numbers)) => {
            Value::Array(Array::I32(numbers.iter().map(|&n| i32::try_from(n)).collect::<Result<_, _>>().ok()?))
        }
        _ => return None,
    })
}
