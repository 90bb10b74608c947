//! [`Parts`]: where the secrets of an address are.

use crate::encoding::percent_decoded;
use crate::{MARK, is_secret_name};

/// An address in three parts: `http://`, `user:password`, `host/path?query`.
pub(crate) struct Parts<'a> {
    pub(crate) scheme: &'a str,
    pub(crate) user: Option<&'a str>,
    pub(crate) rest: &'a str,
}

impl<'a> Parts<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        let (scheme, rest) = text.split_at(text.find("://").map_or(0, |at| at + 3));
        let authority = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let at = rest[..authority].rfind('@').or_else(|| {
            // A password with a `/` that is not escaped: what follows the colon is no port.
            let (_, port) = rest[..authority].split_once(':')?;
            let is_port = port.starts_with('{') || port.chars().all(|c| c.is_ascii_digit()) || rest.starts_with('[');
            let query = rest.find('?').unwrap_or(rest.len());
            if is_port { None } else { rest[..query].rfind('@') }
        });
        match at {
            Some(at) => Self { scheme, user: Some(&rest[..at]), rest: &rest[at + 1..] },
            None => Self { scheme, user: None, rest },
        }
    }

    /// The address with [`MARK`] in place of secrets, which are added to `secrets`.
    pub(crate) fn redacted(&self, secrets: &mut Vec<String>) -> String {
        let mut out = self.scheme.to_owned();
        if let Some(user) = self.user {
            out.push_str(MARK);
            out.push('@');
            // A name alone may be a token; with a password it is only a name.
            secrets.push(user.split_once(':').map_or(user, |(_, password)| password).to_owned());
            secrets.push(user.to_owned());
        }
        let Some((path, query)) = self.rest.split_once(['?', '#']) else {
            out.push_str(self.rest);
            return out;
        };
        out.push_str(path);
        let mut rest = &self.rest[path.len()..];
        debug_assert_eq!(rest.len(), query.len() + 1);
        while let Some(separator) = rest.chars().next() {
            out.push(separator);
            let after = &rest[separator.len_utf8()..];
            let end = after.find(['&', ';', '#', '?']).unwrap_or(after.len());
            match after[..end].split_once('=') {
                Some((name, value)) if !value.is_empty() && is_secret_name(&percent_decoded(name)) => {
                    secrets.push(value.to_owned());
                    out.push_str(name);
                    out.push('=');
                    out.push_str(MARK);
                }
                _ => out.push_str(&after[..end]),
            }
            rest = &after[end..];
        }
        out
    }
}
