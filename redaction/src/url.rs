//! [`Url`]: an address whose user information is kept apart.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::encoding::{base64, percent_decoded};
use crate::parts::Parts;
use crate::{Secret, known};

/// An address, parsed once. User information is not part of [`Url::expose`]; it is sent as a header.
///
/// `Display`, `Debug` and `Serialize` show [`MARK`](crate::MARK) in place of user information and of the values of secret parameters:
/// `http://***@host/path?api_key=***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    address: String,
    shown: String,
    user: Option<Secret>,
}

impl Url {
    /// Takes the user information out of an address, with or without a scheme. Whether the rest is an address is not checked.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let text = text.trim();
        let parts = Parts::new(text);
        let mut secrets = Vec::new();
        let shown = parts.redacted(&mut secrets);
        secrets.iter().for_each(|secret| known::remember(secret));
        let user = parts.user.and_then(|user| Secret::new(&percent_decoded(user)));
        if let Some(user) = &user {
            known::remember(&base64(user.expose().as_bytes()));
        }
        Self { address: format!("{}{}", parts.scheme, parts.rest), shown, user }
    }

    /// The address without user information, for the network: its parameters may contain secrets.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.address
    }

    /// The value of the header `Authorization` for its user information (RFC 7617): `Basic ...`.
    #[must_use]
    pub fn authorization(&self) -> Option<Secret> {
        let user = self.user.as_ref()?.expose();
        // A user without a password has an empty one.
        let pair = if user.contains(':') { user.to_owned() } else { format!("{user}:") };
        Secret::new(&format!("Basic {}", base64(pair.as_bytes())))
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.shown)
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.shown, f)
    }
}

impl Serialize for Url {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_information_is_kept_apart() {
        for (text, address, shown) in [
            ("http://h:1/v1", "http://h:1/v1", "http://h:1/v1"),
            ("http://alice:w0rd-1@h:1/v1", "http://h:1/v1", "http://***@h:1/v1"),
            ("alice:w0rd-2@h:1", "h:1", "***@h:1"),
            ("http://hf-tok-3@h", "http://h", "http://***@h"),
            ("http://alice:p/w-4@h/x", "http://h/x", "http://***@h/x"),
            ("http://a@b:c@h", "http://h", "http://***@h"),
            ("http://h:{port}/@x", "http://h:{port}/@x", "http://h:{port}/@x"),
            ("http://[::1]:80/a@b", "http://[::1]:80/a@b", "http://[::1]:80/a@b"),
            ("h:8080/a@b", "h:8080/a@b", "h:8080/a@b"),
        ] {
            let url = Url::parse(text);
            assert_eq!((url.expose(), url.to_string().as_str()), (address, shown), "{text}");
            assert_eq!(format!("{url:?} {}", serde_json::to_string(&url).unwrap()), format!("{shown:?} {shown:?}"));
        }
    }

    #[test]
    fn user_information_becomes_a_header() {
        let header = |text: &str| Url::parse(text).authorization().map(|header| header.expose().to_owned());
        assert_eq!(header("http://Aladdin:open%20sesame@h").as_deref(), Some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="));
        assert_eq!(header("http://tok@h").as_deref(), Some("Basic dG9rOg=="));
        assert_eq!(header("http://h"), None);
    }

    #[test]
    fn secret_parameters_are_sent_and_not_shown() {
        let text = "https://h/x?api-version=2&api_key=k-9&X-Amz-Signature=ab%20c&max_tokens=5#access_token=zz-1";
        let url = Url::parse(text);
        assert_eq!(url.expose(), text);
        assert_eq!(
            url.to_string(),
            "https://h/x?api-version=2&api_key=***&X-Amz-Signature=***&max_tokens=5#access_token=***"
        );
    }
}
