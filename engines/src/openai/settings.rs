//! The settings of this engine.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use redaction::Sensitive;
use serde_json::{Map, Value};

use super::NAME;
use crate::EngineError;
use crate::suggest::{did_you_mean, nearest};

/// The default environment variable of the key.
const KEY_VARIABLE: &str = "OPENAI_API_KEY";

/// The settings.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Settings {
    /// The model to use; `None` = the one of the server.
    pub(super) model: Option<String>,
    /// How the prefix cache is bypassed.
    pub(super) cache: Cache,
    /// Whether exo's endpoint for benchmarks is used.
    pub(super) bench: Bench,
    /// The environment variable of the key, and whether the user named it.
    pub(super) key_env: (String, bool),
    /// Timeout of a stream, before the first byte and between two bytes.
    pub(super) stall: Duration,
    /// Timeout of a connection, and of the response to a query.
    pub(super) connect: Duration,
    /// Time limit until a server is ready.
    pub(super) ready: Duration,
    /// Changes of each request: a JSON merge patch, in which `null` removes a field.
    pub(super) body: Map<String, Value>,
    /// Log file of a server that is started here; `None` = its output is kept only for errors.
    pub(super) log: Option<PathBuf>,
    /// Placement of an instance of exo.
    pub(super) placement: Vec<String>,
}

/// How a prefix cache is bypassed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cache {
    /// By the server's switch if it has one, else by a nonce.
    Auto,
    /// Not at all.
    Keep,
    /// By a nonce, even if there is a switch.
    Nonce,
}

/// When exo's endpoint for benchmarks is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bench {
    /// For requests that ignore the end of the text, which only this endpoint supports.
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            model: None,
            cache: Cache::Auto,
            bench: Bench::Auto,
            key_env: (KEY_VARIABLE.to_owned(), false),
            stall: Duration::from_secs(600),
            connect: Duration::from_secs(10),
            ready: Duration::from_secs(600),
            body: Map::new(),
            log: None,
            placement: Vec::new(),
        }
    }
}

/// Every key, with the form of its value.
const KEYS: [(&str, &str); 10] = [
    ("bench", "auto|on|off"),
    ("body", "a JSON object, in which null removes a field"),
    ("cache", "auto|keep|nonce"),
    ("connect_s", "seconds"),
    ("key_env", "the name of an environment variable"),
    ("log", "a file"),
    ("model", "a name"),
    ("placement", "words such as Pipeline,MlxRing,2"),
    ("ready_s", "seconds"),
    ("stall_s", "seconds"),
];

impl Settings {
    /// Parses the settings; unknown keys and invalid values are errors.
    pub(super) fn new(pairs: &BTreeMap<String, Sensitive>) -> Result<Self, EngineError> {
        let mut settings = Self::default();
        for (key, value) in pairs {
            settings.set(key, value.expose()).ok_or_else(|| refused(key, value))?;
        }
        Ok(settings)
    }

    fn set(&mut self, key: &str, value: &str) -> Option<()> {
        match key {
            "bench" => self.bench = one_of(value, &[("auto", Bench::Auto), ("on", Bench::On), ("off", Bench::Off)])?,
            "body" => self.body = serde_json::from_str(value).ok()?,
            "cache" => {
                self.cache = one_of(value, &[("auto", Cache::Auto), ("keep", Cache::Keep), ("nonce", Cache::Nonce)])?;
            }
            "connect_s" => self.connect = seconds(value)?,
            "key_env" => self.key_env = (word(value)?, true),
            "log" => self.log = Some(word(value)?.into()),
            "model" => self.model = Some(word(value)?),
            "placement" => self.placement = value.split(',').map(word).collect::<Option<_>>()?,
            "ready_s" => self.ready = seconds(value)?,
            "stall_s" => self.stall = seconds(value)?,
            _ => return None,
        }
        Some(())
    }
}

/// Applies a JSON merge patch (RFC 7386): `null` removes a field, an object changes fields of an object.
pub(super) fn merge(fields: &mut Map<String, Value>, patch: &Map<String, Value>) {
    for (key, value) in patch {
        match value {
            Value::Null => drop(fields.remove(key)),
            Value::Object(inner) => {
                let field = fields.entry(key.clone()).or_insert_with(|| Value::Object(Map::new()));
                if !field.is_object() {
                    *field = Value::Object(Map::new());
                }
                if let Value::Object(field) = field {
                    merge(field, inner);
                }
            }
            other => drop(fields.insert(key.clone(), other.clone())),
        }
    }
}

fn one_of<T: Copy>(value: &str, known: &[(&str, T)]) -> Option<T> {
    known.iter().find(|(name, _)| *name == value).map(|(_, known)| *known)
}

fn word(value: &str) -> Option<String> {
    let value = value.trim();
    (!value.is_empty()).then(|| value.to_owned())
}

/// A timeout: more than zero, at most a week.
fn seconds(value: &str) -> Option<Duration> {
    f64::from_str(value).ok().filter(|s| (0.001..=604_800.0).contains(s)).map(Duration::from_secs_f64)
}

fn refused(key: &str, value: &Sensitive) -> EngineError {
    let (what, advice) = match KEYS.iter().find(|(known, _)| *known == key) {
        Some((key, form)) => (format!("the value `{value}` of `{key}`"), format!("give {form}")),
        None => {
            let near = did_you_mean(nearest(key, KEYS.iter().map(|(key, _)| *key)));
            let keys = KEYS.iter().map(|(key, form)| format!("{key}={form}")).collect::<Vec<_>>().join(", ");
            (format!("the setting `{key}`"), format!("{near}its settings are {keys}"))
        }
    };
    EngineError::unsupported(NAME, what, advice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Advice;

    fn read(pairs: &[(&str, &str)]) -> Result<Settings, EngineError> {
        Settings::new(&pairs.iter().map(|(key, value)| ((*key).to_owned(), Sensitive::setting(key, value))).collect())
    }

    #[test]
    fn every_key_is_understood() {
        for (key, form) in KEYS {
            let example = match form {
                "a JSON object, in which null removes a field" => r#"{"seed": 1}"#,
                "auto|keep|nonce" => "keep",
                "auto|on|off" => "on",
                _ => "7",
            };
            let read = read(&[(key, example)]).unwrap_or_else(|error| panic!("{key}: {error}"));
            assert_ne!(read, Settings::default(), "{key} changes nothing");
        }
    }

    #[test]
    fn unknown_keys_and_invalid_values_are_refused_by_name() {
        insta::assert_snapshot!(read(&[("modle", "x")]).unwrap_err().with_advice(), @"engine openai does not support the setting `modle`; did you mean `model`? its settings are bench=auto|on|off, body=a JSON object, in which null removes a field, cache=auto|keep|nonce, connect_s=seconds, key_env=the name of an environment variable, log=a file, model=a name, placement=words such as Pipeline,MlxRing,2, ready_s=seconds, stall_s=seconds");
        insta::assert_snapshot!(read(&[("stall_s", "0")]).unwrap_err().with_advice(), @"engine openai does not support the value `0` of `stall_s`; give seconds");
        for (key, value) in [("body", "[1]"), ("cache", "maybe"), ("model", " "), ("ready_s", "inf"), ("bench", "1")] {
            assert!(read(&[(key, value)]).is_err(), "{key}={value}");
        }
    }

    #[test]
    fn a_patch_adds_changes_and_removes() {
        let merged = |fields: &str, patch: &str| {
            let object = |text: &str| serde_json::from_str::<Map<String, Value>>(text).expect("an object");
            let mut fields = object(fields);
            merge(&mut fields, &object(patch));
            Value::Object(fields).to_string()
        };
        let body = r#"{"a":1,"options":{"n":1,"t":0}}"#;
        assert_eq!(merged(body, r#"{"a":null,"b":2}"#), r#"{"options":{"n":1,"t":0},"b":2}"#);
        assert_eq!(merged(body, r#"{"options":{"t":null,"k":[1,null]}}"#), r#"{"a":1,"options":{"n":1,"k":[1,null]}}"#);
        assert_eq!(merged(body, r#"{"options":null,"absent":null}"#), r#"{"a":1}"#);
        assert_eq!(merged(body, r#"{"a":{"x":null,"y":1}}"#), r#"{"a":{"y":1},"options":{"n":1,"t":0}}"#);
    }
}
