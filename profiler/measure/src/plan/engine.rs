//! The engines of a run, and their labels: `ENGINE`, or `LABEL=ENGINE` where one engine takes part twice.

use engine_api::{Caps, Identity};
use engines::registry::ENGINES;

use super::option_error::OptionError;

/// An engine that takes part.
#[derive(Debug, Clone)]
pub struct EngineChoice {
    /// Its name in this run: the engine as the user typed it, or the label that the user gave it.
    pub label: String,
    /// The engine: `name` or `name:variant`.
    pub engine: String,
    /// Its identity.
    pub identity: Identity,
    /// Its capabilities.
    pub caps: Caps,
    /// Whether it runs the last block, after its attention, for the last token alone.
    pub prunes_last_block: bool,
    /// The architectures in whose models it does not.
    pub whole_last_blocks: &'static [&'static str],
}

/// An engine as users write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineArgument<'a> {
    /// The name of the engine in this run: in ids of cases, in results, in reports.
    pub label: &'a str,
    /// The engine: `name` or `name:variant`.
    pub engine: &'a str,
}

impl<'a> EngineArgument<'a> {
    /// Parses `ENGINE` or `LABEL=ENGINE`.
    ///
    /// # Errors
    /// When the label could be mistaken for something else. Whether the engine exists is not checked here.
    pub fn new(text: &'a str) -> Result<Self, OptionError> {
        let Some((label, engine)) = text.split_once('=') else { return Ok(Self { label: text, engine: text }) };
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-');
        let begins_well = label.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
        if !begins_well || !label.chars().all(inner) {
            return Err(OptionError::Label { argument: text.to_owned(), label: label.to_owned() });
        }
        if label != engine && ENGINES.iter().any(|entry| entry.name == label) {
            return Err(OptionError::LabelIsEngine { label: label.to_owned(), engine: engine.to_owned() });
        }
        Ok(Self { label, engine })
    }
}

/// The engine or label that a setting belongs to, and its key. `given` was split at the first dot, but a label may contain dots.
pub(crate) fn setting_owner<'c>(choices: &'c [EngineChoice], given: (&str, &str)) -> Option<(&'c str, String)> {
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
        EngineArgument::new(text).unwrap_err().with_advice()
    }

    #[test]
    fn the_label_is_the_engine_unless_one_is_given() {
        assert_eq!(
            EngineArgument::new("candle:tensor").unwrap(),
            EngineArgument { label: "candle:tensor", engine: "candle:tensor" }
        );
        assert_eq!(EngineArgument::new("again=candle").unwrap(), EngineArgument { label: "again", engine: "candle" });
        assert_eq!(EngineArgument::new("v1.2_a-b=candle:tensor").unwrap().engine, "candle:tensor");
        assert!(EngineArgument::new("candle=candle").is_ok() && EngineArgument::new("2nd=mock").is_ok());
    }

    #[test]
    fn ambiguous_labels_are_refused() {
        insta::assert_snapshot!(refused("A=candle"), @"`engines` A=candle: the name `A` is used in ids and names of files: expected small letters, digits, `.`, `_` and `-`, a letter or digit first; write it like `engines` again=candle");
        insta::assert_snapshot!(refused("mock=candle"), @"`engines` mock=candle: `mock` is an engine itself, so results under this name would be read as its own; choose another name, such as `engines` mock-2=candle");
        for text in ["=candle", "a/b=candle", "a:b=candle", ".a=candle", "-=candle", "é=candle"] {
            assert!(refused(text).contains("expected small letters"), "{text}");
        }
        assert!(refused("candle=candle:tensor").contains("`engines` candle-2=candle:tensor"));
    }
}
