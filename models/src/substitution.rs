//! What stands in for something that a model's files do not contain.

/// A value that stands in for one that a model's files do not contain. Whoever uses it says so: results depend on it.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Substitution {
    /// What is missing, such as `sliding window`.
    pub what: String,
    /// What is used in its place.
    pub used: String,
}

impl Substitution {
    /// `used` in place of `what`.
    pub fn new(what: impl Into<String>, used: impl Into<String>) -> Self {
        Self { what: what.into(), used: used.into() }
    }
}
