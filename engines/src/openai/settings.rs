//! What `--set openai.KEY=VALUE` can say.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde_json::{Map, Value};

use super::NAME;
use crate::EngineError;

/// The environment variable with the key, where no other is named.
const KEY_VARIABLE: &str = "OPENAI_API_KEY";

/// The settings, with what they are when nothing is said.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Settings {
    /// The model to ask for; `None` = the one that the server has.
    pub(super) model: Option<String>,
    /// How its prefix cache is kept out.
    pub(super) cache: Cache,
    /// Whether exo is asked through the endpoint that it has for benchmarks.
    pub(super) bench: Bench,
    /// The environment variable with the key, and whether it was named.
    pub(super) key_env: (String, bool),
    /// How long a server may send nothing, before the first byte and between two.
    pub(super) stall: Duration,
    /// How long a connection may take, and the answer to a small question.
    pub(super) connect: Duration,
    /// How long a server may take until it can serve.
    pub(super) ready: Duration,
    /// What is put into each request, over what is there.
    pub(super) body: Map<String, Value>,
    /// Where the output of a server that was started here goes; `None` = kept only for errors.
    pub(super) log: Option<PathBuf>,
    /// How exo is to place an instance.
    pub(super) placement: Vec<String>,
}

/// How a prefix cache is kept out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cache {
    /// By the server's switch, else by a nonce.
    Auto,
    /// Not at all.
    Keep,
    /// By a nonce, also where there is a switch.
    Nonce,
}

/// When exo's endpoint for benchmarks is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bench {
    /// For requests that go on past the end of the text: only there exo can.
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

/// Every key, with its form.
const KEYS: [(&str, &str); 10] = [
    ("bench", "auto|on|off"),
    ("body", "a JSON object"),
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
    /// Reads the settings; keys that do not exist and values that cannot be are refused by name.
    pub(super) fn new(given: &BTreeMap<String, String>) -> Result<Self, EngineError> {
        let mut settings = Self::default();
        for (key, value) in given {
            settings.set(key, value).ok_or_else(|| refused(key, value))?;
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

fn one_of<T: Copy>(value: &str, known: &[(&str, T)]) -> Option<T> {
    known.iter().find(|(name, _)| *name == value).map(|(_, known)| *known)
}

fn word(value: &str) -> Option<String> {
    let value = value.trim();
    (!value.is_empty()).then(|| value.to_owned())
}

/// A time that a system takes as a limit: not nothing, at most a week.
fn seconds(value: &str) -> Option<Duration> {
    f64::from_str(value).ok().filter(|s| (0.001..=604_800.0).contains(s)).map(Duration::from_secs_f64)
}

fn refused(key: &str, value: &str) -> EngineError {
    let (what, instead) = match KEYS.iter().find(|(known, _)| *known == key) {
        Some((key, form)) => (format!("the value `{value}` of `{key}`"), format!("give {form}")),
        None => {
            let near = super::nearest(key, KEYS.iter().map(|(key, _)| *key));
            let near = near.map_or_else(String::new, |near| format!("did you mean `{near}`? "));
            let keys = KEYS.iter().map(|(key, form)| format!("{key}={form}")).collect::<Vec<_>>().join(", ");
            (format!("the setting `{key}`"), format!("{near}its settings are {keys}"))
        }
    };
    EngineError::Unsupported { engine: NAME, what, instead }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Settings, EngineError> {
        Settings::new(&pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn every_key_is_understood() {
        for (key, form) in KEYS {
            let example = match form {
                "a JSON object" => r#"{"seed": 1}"#,
                "auto|keep|nonce" => "keep",
                "auto|on|off" => "on",
                _ => "7",
            };
            let read = read(&[(key, example)]).unwrap_or_else(|error| panic!("{key}: {error}"));
            assert_ne!(read, Settings::default(), "{key} changes nothing");
        }
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        insta::assert_snapshot!(read(&[("modle", "x")]).unwrap_err(), @"engine openai does not support the setting `modle`; did you mean `model`? its settings are bench=auto|on|off, body=a JSON object, cache=auto|keep|nonce, connect_s=seconds, key_env=the name of an environment variable, log=a file, model=a name, placement=words such as Pipeline,MlxRing,2, ready_s=seconds, stall_s=seconds");
        insta::assert_snapshot!(read(&[("stall_s", "0")]).unwrap_err(), @"engine openai does not support the value `0` of `stall_s`; give seconds");
        for (key, value) in [("body", "[1]"), ("cache", "maybe"), ("model", " "), ("ready_s", "inf"), ("bench", "1")] {
            assert!(read(&[(key, value)]).is_err(), "{key}={value}");
        }
    }
}
