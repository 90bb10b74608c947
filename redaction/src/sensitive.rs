//! [`Sensitive`]: a text of the user's that may contain secrets.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::text::{Syntax, scan};
use crate::{MARK, Url, is_secret_name, known};

/// A text of the user's that may contain secrets: a command, the value of a setting, an address. `Display`, `Debug` and `Serialize`
/// show it with [`MARK`] in their place.
#[derive(Clone, PartialEq, Eq)]
pub struct Sensitive {
    raw: String,
    shown: String,
    secrets: Vec<String>,
}

impl Sensitive {
    fn new(raw: &str, shown: String, secrets: Vec<String>) -> Self {
        secrets.iter().for_each(|secret| known::remember(secret));
        Self { raw: raw.to_owned(), shown, secrets }
    }

    /// A command of a shell: its secrets are the values of options and variables with names of secrets, of headers, and in addresses.
    #[must_use]
    pub fn command(text: &str) -> Self {
        let mut secrets = Vec::new();
        let shown = scan(text, Syntax::Shell, &mut secrets);
        Self::new(text, shown, secrets)
    }

    /// The value of a setting of this name. If the name is that of a secret, the whole value is; in a JSON document, the values of
    /// fields with such names are.
    #[must_use]
    pub fn setting(name: &str, value: &str) -> Self {
        let mut secrets = Vec::new();
        let shown = if is_secret_name(name) && !value.is_empty() {
            secrets.push(value.to_owned());
            MARK.to_owned()
        } else {
            match serde_json::from_str(value) {
                Ok(mut document @ (Value::Object(_) | Value::Array(_))) => {
                    let is_changed = redact_document(&mut document, &mut secrets);
                    if is_changed { document.to_string() } else { value.to_owned() }
                }
                _ => scan(value, Syntax::Message, &mut secrets),
            }
        };
        Self::new(value, shown, secrets)
    }

    /// The address of a server, with or without a scheme.
    #[must_use]
    pub fn address(text: &str) -> Self {
        let mut secrets = Vec::new();
        crate::parts::Parts::new(text.trim()).redacted(&mut secrets);
        Self::new(text, Url::parse(text).to_string(), secrets)
    }

    /// The text itself, for what runs or sends it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.raw
    }

    /// Whether the text has this part.
    #[must_use]
    pub fn contains(&self, part: &str) -> bool {
        self.raw.contains(part)
    }

    /// The text with a placeholder replaced.
    #[must_use]
    pub fn replace(&self, placeholder: &str, value: &str) -> Self {
        Self {
            raw: self.raw.replace(placeholder, value),
            shown: self.shown.replace(placeholder, value),
            secrets: self.secrets.clone(),
        }
    }
}

/// Replaces the values of fields with names of secrets, and secrets in texts. Returns whether there were any.
fn redact_document(document: &mut Value, secrets: &mut Vec<String>) -> bool {
    match document {
        Value::Object(fields) => {
            let mut is_changed = false;
            for (name, value) in fields.iter_mut() {
                let is_empty = matches!(value, Value::Null | Value::Bool(_)) || *value == "";
                if is_secret_name(name) && !is_empty {
                    texts(value, secrets);
                    *value = MARK.into();
                    is_changed = true;
                } else {
                    is_changed |= redact_document(value, secrets);
                }
            }
            is_changed
        }
        Value::Array(values) => {
            let mut is_changed = false;
            for value in values {
                is_changed |= redact_document(value, secrets);
            }
            is_changed
        }
        Value::String(text) => {
            let shown = scan(text, Syntax::Message, secrets);
            let is_changed = shown != *text;
            *text = shown;
            is_changed
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// The texts in a secret value.
fn texts(value: &Value, secrets: &mut Vec<String>) {
    match value {
        Value::String(text) => {
            secrets.push(text.clone());
            // The credential of `Bearer VALUE`.
            secrets.extend(text.split_once(' ').map(|(_, rest)| rest.to_owned()));
        }
        Value::Array(values) => values.iter().for_each(|value| texts(value, secrets)),
        Value::Object(fields) => fields.values().for_each(|value| texts(value, secrets)),
        Value::Number(number) => secrets.push(number.to_string()),
        Value::Null | Value::Bool(_) => {}
    }
}

impl fmt::Display for Sensitive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.shown)
    }
}

impl fmt::Debug for Sensitive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.shown, f)
    }
}

impl Serialize for Sensitive {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.shown)
    }
}

/// What a process of this program sends to another one, over a private socket: the only form that contains the secrets.
#[derive(Serialize, Deserialize)]
struct Exposed {
    raw: String,
    shown: String,
    secrets: Vec<String>,
}

impl From<&Sensitive> for Exposed {
    fn from(text: &Sensitive) -> Self {
        Self { raw: text.raw.clone(), shown: text.shown.clone(), secrets: text.secrets.clone() }
    }
}

impl From<Exposed> for Sensitive {
    fn from(text: Exposed) -> Self {
        Self::new(&text.raw, text.shown, text.secrets)
    }
}

fn read<'de, T: DeserializeOwned, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    T::deserialize(deserializer)
}

/// For `#[serde(with = ...)]`: sends the text itself to another process of this program.
pub mod exposed_option {
    use super::{Deserializer, Exposed, Sensitive, Serialize, Serializer, read};

    /// # Errors
    /// Those of the format.
    pub fn serialize<S: Serializer>(text: &Option<Sensitive>, serializer: S) -> Result<S::Ok, S::Error> {
        text.as_ref().map(Exposed::from).serialize(serializer)
    }

    /// # Errors
    /// Those of the format.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Sensitive>, D::Error> {
        read::<Option<Exposed>, D>(deserializer).map(|text| text.map(Sensitive::from))
    }
}

/// For `#[serde(with = ...)]`: sends texts by name to another process of this program.
pub mod exposed_map {
    use super::{BTreeMap, Deserializer, Exposed, Sensitive, Serialize, Serializer, read};

    /// # Errors
    /// Those of the format.
    pub fn serialize<S: Serializer>(texts: &BTreeMap<String, Sensitive>, serializer: S) -> Result<S::Ok, S::Error> {
        let texts: BTreeMap<&String, Exposed> = texts.iter().map(|(name, text)| (name, text.into())).collect();
        texts.serialize(serializer)
    }

    /// # Errors
    /// Those of the format.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, Sensitive>, D::Error> {
        let texts: BTreeMap<String, Exposed> = read(deserializer)?;
        Ok(texts.into_iter().map(|(name, text)| (name, text.into())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::without_known;

    fn shown(text: &Sensitive) -> String {
        let (display, debug) = (text.to_string(), format!("{text:?}"));
        assert_eq!(debug, format!("{display:?}"));
        assert_eq!(serde_json::to_value(text).unwrap(), display);
        display
    }

    #[test]
    fn commands_settings_and_addresses_hide_their_secrets() {
        let command = Sensitive::command("srv --api-key se-cmd-1 --port {port}").replace("{port}", "80");
        assert_eq!(command.expose(), "srv --api-key se-cmd-1 --port 80");
        assert_eq!(shown(&command), "srv --api-key *** --port 80");
        let address = Sensitive::address("http://bob:se-adr-2@h:{port}/v1?key=se-adr-3");
        assert_eq!(shown(&address.replace("{port}", "80")), "http://***@h:80/v1?key=***");
        assert_eq!(shown(&Sensitive::setting("token", "se-set-4")), "***");
        assert_eq!(shown(&Sensitive::setting("kernel", "tile")), "tile");
        assert_eq!(without_known("se-cmd-1 se-adr-2 se-adr-3 se-set-4"), "*** *** *** ***");
    }

    #[test]
    fn documents_hide_the_values_of_secret_fields() {
        let of = |value: &str| shown(&Sensitive::setting("body", value));
        assert_eq!(
            of(
                r#"{"seed": 1, "api_key": "se-doc-1", "headers": {"Authorization": "Bearer se-doc-2"}, "u": "http://a:se-doc-3@h"}"#
            ),
            r#"{"seed":1,"api_key":"***","headers":{"Authorization":"***"},"u":"http://***@h"}"#
        );
        assert_eq!(of(r#"{"seed": 1}"#), r#"{"seed": 1}"#);
        assert_eq!(of(r#"{"api_key": "se-doc-4""#), r#"{"api_key": "***""#);
        assert_eq!(of(r#"{"token": null, "auth": ["se-doc-5", {"x": "se-doc-6"}]}"#), r#"{"token":null,"auth":"***"}"#);
        assert_eq!(without_known("se-doc-1 se-doc-2 se-doc-5 se-doc-6"), "*** *** *** ***");
    }

    #[test]
    fn another_process_gets_the_text_and_its_secrets() {
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        struct Message {
            #[serde(with = "exposed_option")]
            url: Option<Sensitive>,
            #[serde(with = "exposed_map")]
            settings: BTreeMap<String, Sensitive>,
        }
        let message = Message {
            url: Some(Sensitive::address("http://a:se-msg-1@h")),
            settings: [("key".to_owned(), Sensitive::setting("key", "se-msg-2"))].into(),
        };
        let line = serde_json::to_string(&message).unwrap();
        assert!(line.contains("se-msg-1"), "{line}");
        assert_eq!(serde_json::from_str::<Message>(&line).unwrap(), message);
    }
}
