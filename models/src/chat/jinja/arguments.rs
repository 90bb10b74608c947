//! The arguments of a call, bound to the names of parameters as Python does it.

use std::sync::Arc;

use super::failure::{Failure, Result};
use super::value::Value;

/// Evaluated arguments.
#[derive(Debug, Default)]
pub(super) struct Call {
    pub(super) positional: Vec<Value>,
    pub(super) keyword: Vec<(Arc<str>, Value)>,
}

impl Call {
    /// The arguments in the order of `names`; the first `required` ones must be there.
    pub(super) fn bind<const N: usize>(
        self,
        function: &str,
        names: [&str; N],
        required: usize,
    ) -> Result<[Option<Value>; N]> {
        if self.positional.len() > N {
            return Err(Failure::error(format!("{function} takes at most {N} arguments")));
        }
        let mut bound = [const { None }; N];
        for (slot, value) in bound.iter_mut().zip(self.positional) {
            *slot = Some(value);
        }
        for (name, value) in self.keyword {
            let slot = names.iter().position(|own| *own == &*name).map(|at| &mut bound[at]);
            match slot {
                Some(slot @ None) => *slot = Some(value),
                Some(_) => return Err(Failure::error(format!("{function} got two values for `{name}`"))),
                None => return Err(Failure::error(format!("{function} has no argument `{name}`"))),
            }
        }
        if let Some(missing) = bound.iter().take(required).position(Option::is_none) {
            return Err(Failure::error(format!("{function} needs the argument `{}`", names[missing])));
        }
        Ok(bound)
    }

    /// Arguments without names.
    pub(super) fn only_positional<const N: usize>(self, function: &str, required: usize) -> Result<[Option<Value>; N]> {
        if let Some((name, _)) = self.keyword.first() {
            return Err(Failure::error(format!("{function} takes no argument by name, such as `{name}`")));
        }
        if self.positional.len() < required {
            return Err(Failure::error(format!("{function} needs {required} arguments")));
        }
        self.bind(function, [""; N], 0)
    }
}

/// A text argument.
pub(super) fn text(value: &Value, function: &str) -> Result<Arc<str>> {
    match value {
        Value::Str(text) => Ok(Arc::clone(&text.text)),
        _ => Err(Failure::error(format!("{function} needs a str, not a {}", value.type_name()))),
    }
}

/// An integer argument.
pub(super) fn int(value: &Value, function: &str) -> Result<i128> {
    value.as_int().ok_or_else(|| Failure::error(format!("{function} needs an int, not a {}", value.type_name())))
}

/// An integer argument that counts something; negative ones count as 0.
pub(super) fn count(value: &Value, function: &str) -> Result<usize> {
    Ok(usize::try_from(int(value, function)?.max(0)).unwrap_or(usize::MAX))
}

/// An integer argument that is no limit where it is negative.
pub(super) fn limit(value: Option<Value>, function: &str) -> Result<Option<usize>> {
    match value {
        None => Ok(None),
        Some(value) => Ok(usize::try_from(int(&value, function)?).ok()),
    }
}
