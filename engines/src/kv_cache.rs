//! Which types of a KV cache an engine supports.

use crate::{EngineError, KvType, KvTypes};

/// What the engine makes of the type of keys and values, out of its table of supported types.
///
/// # Errors
/// When keys and values have different types, or one that is not in the table.
pub(crate) fn choose<T: Copy>(
    engine: &'static str,
    types: KvTypes,
    supported: &[(KvType, T)],
) -> Result<T, EngineError> {
    let chosen = supported.iter().find(|(kv_type, _)| types.one() == Some(*kv_type));
    chosen.map(|(_, made)| *made).ok_or_else(|| {
        let names: Vec<&str> = supported.iter().map(|(kv_type, _)| kv_type.name()).collect();
        let advice =
            format!("take {} for keys and values, or the engine llama-cpp, which has all types", names.join(" or "));
        EngineError::unsupported(engine, format!("a KV cache of type {types}"), advice)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Advice;

    #[test]
    fn a_type_that_is_not_in_the_table_is_refused_by_name() {
        let table = [(KvType::F16, 16), (KvType::F32, 32)];
        let chosen = |text: &str| choose("engine", text.parse().unwrap(), &table).map_err(|error| error.with_advice());
        assert_eq!((chosen("f16"), chosen("f32,f32")), (Ok(16), Ok(32)));
        insta::assert_snapshot!(chosen("q4_0").unwrap_err(), @"engine engine does not support a KV cache of type q4_0; take f16 or f32 for keys and values, or the engine llama-cpp, which has all types");
        assert!(chosen("f16,f32").unwrap_err().contains("a KV cache of type f16 keys, f32 values"));
    }
}
