//! What an engine is called in a run: `-e ENGINE`, or `-e NAME=ENGINE` where one engine takes part twice.

use engines::registry::ENGINES;

use super::EngineChoice;
use record::Error;

/// An engine as it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked<'a> {
    /// What it is called in this run: in ids of cases, in results, in reports.
    pub label: &'a str,
    /// What is opened: `name` or `name:variant`.
    pub engine: &'a str,
}

impl<'a> Asked<'a> {
    /// Reads `ENGINE` or `NAME=ENGINE`.
    ///
    /// # Errors
    /// When the name could be mistaken for something else. Whether there is such an engine is not asked here.
    pub fn new(text: &'a str) -> Result<Self, Error> {
        let Some((label, engine)) = text.split_once('=') else { return Ok(Self { label: text, engine: text }) };
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-');
        let begins_well = label.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
        if !begins_well || !label.chars().all(inner) {
            return Err(Error::usage(
                format!(
                    "-e {text}: the name `{label}` is used in ids and names of files: expected small letters, digits, `.`, `_` and `-`, a letter or digit first"
                ),
                "write it like -e again=candle",
            ));
        }
        if label != engine && ENGINES.iter().any(|entry| entry.name == label) {
            return Err(Error::usage(
                format!(
                    "-e {text}: `{label}` is an engine itself, so results under this name would be read as its own"
                ),
                format!("choose another name, such as -e {label}-2={engine}"),
            ));
        }
        Ok(Self { label, engine })
    }
}

/// Whose setting it is and which: `given` was cut at the first dot, and a name may hold dots itself.
pub(crate) fn owner<'c>(choices: &'c [EngineChoice], given: (&str, &str)) -> Option<(&'c str, String)> {
    let whole = format!("{}.{}", given.0, given.1);
    let names = choices.iter().flat_map(|choice| [choice.label.as_str(), choice.identity.name.as_str()]);
    let fits = |name: &&str| whole.strip_prefix(name).is_some_and(|rest| rest.starts_with('.') && rest.len() > 1);
    let name = names.filter(fits).max_by_key(|name| name.len())?;
    Some((name, whole.get(name.len() + 1..)?.to_owned()))
}

#[cfg(test)]
mod tests {
    use engine_api::Advice as _;

    use super::*;

    fn refused(text: &str) -> String {
        Asked::new(text).unwrap_err().with_advice()
    }

    #[test]
    fn an_engine_is_called_what_it_is_or_what_it_is_named() {
        assert_eq!(Asked::new("candle:tensor").unwrap(), Asked { label: "candle:tensor", engine: "candle:tensor" });
        assert_eq!(Asked::new("again=candle").unwrap(), Asked { label: "again", engine: "candle" });
        assert_eq!(Asked::new("v1.2_a-b=candle:tensor").unwrap().engine, "candle:tensor");
        assert!(Asked::new("candle=candle").is_ok() && Asked::new("2nd=mock").is_ok());
    }

    #[test]
    fn names_that_could_be_mistaken_are_refused() {
        insta::assert_snapshot!(refused("A=candle"), @"-e A=candle: the name `A` is used in ids and names of files: expected small letters, digits, `.`, `_` and `-`, a letter or digit first; write it like -e again=candle");
        insta::assert_snapshot!(refused("mock=candle"), @"-e mock=candle: `mock` is an engine itself, so results under this name would be read as its own; choose another name, such as -e mock-2=candle");
        for text in ["=candle", "a/b=candle", "a:b=candle", ".a=candle", "-=candle", "é=candle"] {
            assert!(refused(text).contains("expected small letters"), "{text}");
        }
        assert!(refused("candle=candle:tensor").contains("-e candle-2=candle:tensor"));
    }
}
