//! [`Secret`]: a key, a token or a password.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::{MARK, known};

/// A key, a token or a password. Nothing shows it: `Debug`, `Display` and `Serialize` give [`MARK`].
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The secret without white space around it; `None` for a blank text.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        known::remember(text);
        (!text.is_empty()).then(|| Self(text.to_owned()))
    }

    /// The value itself, for the network.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MARK)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MARK)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(MARK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_shows_it() {
        let secret = Secret::new(" hf-alpha-1 \n").unwrap();
        assert_eq!(format!("{secret} {secret:?} {}", serde_json::to_string(&secret).unwrap()), r#"*** *** "***""#);
        assert_eq!(secret.expose(), "hf-alpha-1");
        assert_eq!(Secret::new(" \n"), None);
    }
}
