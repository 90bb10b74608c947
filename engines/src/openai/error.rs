//! Errors between this process and a server.

use std::fmt;
use std::time::Duration;

use serde_json::Value;

use super::NAME;
use crate::EngineError;

/// Maximum number of characters of a server's message that an error repeats.
const LONGEST_QUOTE: usize = 300;

/// A request that failed.
#[derive(Debug)]
pub(super) struct RequestError {
    /// `METHOD URL`.
    place: Box<str>,
    pub(super) problem: Problem,
    /// Number of pieces of text that had arrived.
    pieces: usize,
    /// After how long the same request may be sent again, if the server says so or another form of it can succeed.
    repeat: Option<Duration>,
    /// What follows from it; empty where nothing has to be said.
    consequence: Box<str>,
}

/// Why a request failed.
#[derive(Debug, PartialEq)]
pub(super) enum Problem {
    /// The address is invalid.
    Address(String),
    /// There is no connection.
    Unreachable(String),
    /// Nothing arrived within the limit of this setting.
    Timeout(Duration, &'static str),
    /// The server does not use TLS, but the address begins with `https`.
    NoTls,
    /// The connection was closed before the response was complete.
    Closed,
    /// The response is not as expected, or the system reported an error.
    Unexpected(String),
    /// An HTTP error.
    Status {
        /// The status code.
        status: u16,
        /// The server's message.
        message: String,
    },
    /// The server's address is another one.
    Redirect {
        /// The status code.
        status: u16,
        /// Where the redirect leads.
        url: String,
        /// The address to give, if it is known.
        address: Option<String>,
    },
    /// The response is one document, not a stream.
    NoStream {
        /// Its content type.
        kind: String,
        /// The server's message.
        message: String,
    },
    /// The response is compressed in this way.
    Compressed(String),
    /// The stream contains an error message of the server.
    InStream(String),
}

impl RequestError {
    /// The place may be a URL with secrets: it is redacted.
    pub(super) fn new(place: &str, problem: Problem) -> Self {
        Self { place: redaction::redact(place).into(), problem, pieces: 0, repeat: None, consequence: Box::default() }
    }

    /// The same error after this number of pieces of text.
    pub(super) fn after(self, pieces: usize) -> Self {
        Self { pieces, ..self }
    }

    /// The same error of a request that may be sent again after this time.
    pub(super) fn repeat_after(self, time: Duration) -> Self {
        Self { repeat: Some(time), ..self }
    }

    /// The same error with what follows from it.
    pub(super) fn and(self, consequence: &str) -> Self {
        Self { consequence: consequence.into(), ..self }
    }

    /// The same error, which is final if the time to wait is longer than the limit.
    pub(super) fn within(self, limit: Duration) -> Self {
        Self { repeat: self.repeat.filter(|time| *time <= limit), ..self }
    }

    /// Whether the error is about the messages of the request: the chat template refuses one of them. Servers report that with various
    /// statuses, and in their streams.
    pub(super) fn is_about_messages(&self) -> bool {
        let message = match &self.problem {
            Problem::Status { status: 400 | 404 | 422 | 500, message } | Problem::InStream(message) => message,
            _ => return false,
        };
        let message = message.to_lowercase();
        self.pieces == 0 && ["role", "system message", "template", "jinja"].iter().any(|word| message.contains(word))
    }

    /// Whether a server that is still starting can cause this error.
    pub(super) fn is_transient(&self) -> bool {
        matches!(self.problem, Problem::Unreachable(_) | Problem::Timeout(..) | Problem::Closed)
    }
}

impl RequestError {
    /// Whether the server may answer other paths: a query that is not needed failed.
    pub(super) fn is_about_one_path(&self) -> bool {
        match &self.problem {
            Problem::Address(_) | Problem::Unreachable(_) | Problem::NoTls | Problem::Redirect { .. } => false,
            Problem::Status { status: 503, message } => !message.to_lowercase().contains("loading"),
            Problem::Timeout(..)
            | Problem::Closed
            | Problem::Unexpected(_)
            | Problem::Status { .. }
            | Problem::NoStream { .. }
            | Problem::Compressed(_)
            | Problem::InStream(_) => true,
        }
    }
}

impl From<RequestError> for EngineError {
    fn from(error: RequestError) -> Self {
        let advice = error.problem.advice();
        match error.problem {
            Problem::Address(reason) => Self::Unsupported {
                engine: NAME,
                what: format!("the address `{}`: {reason}", error.place),
                advice: ADDRESS.to_owned(),
            },
            problem => {
                if let Some(wait) = error.repeat.filter(|_| error.pieces == 0) {
                    let reason = match &*error.consequence {
                        "" if wait.is_zero() => problem.to_string(),
                        "" => format!("{problem}; it asks to wait {} s", wait.as_secs_f64()),
                        consequence => format!("{problem}; {consequence}"),
                    };
                    return Self::Repeat { engine: NAME, place: error.place.into(), reason, wait };
                }
                let before = match error.pieces {
                    0 => String::new(),
                    1 => " (after 1 piece of text)".to_owned(),
                    pieces => format!(" (after {pieces} pieces of text)"),
                };
                Self::Failed { engine: NAME, place: error.place.into(), reason: format!("{problem}{before}"), advice }
            }
        }
    }
}

/// The form of an address.
const ADDRESS: &str = "give an address such as http://HOST:PORT";

impl Problem {
    /// What to do about it, where that is known.
    fn advice(&self) -> Option<String> {
        match self {
            Self::Address(_) => Some(ADDRESS.to_owned()),
            Self::Unreachable(_) => Some("start the server, or give its address".to_owned()),
            Self::Timeout(_, setting) => Some(format!("increase the setting openai.{setting} to wait longer")),
            Self::NoTls => Some("give its address with http:// in place of https://".to_owned()),
            Self::Redirect { address: Some(address), .. } => Some(format!("give the address {address}")),
            Self::Redirect { .. } => Some("give the address of the server itself".to_owned()),
            Self::Status { status: 401 | 403, .. } => Some(
                "put the server's key into the environment variable that the setting openai.key_env names".to_owned(),
            ),
            // As servers with TLS answer to a request without it.
            Self::Status { status: 400, message } if message.contains("HTTPS") => {
                Some("give its address with https:// in place of http://".to_owned())
            }
            Self::Compressed(_) => {
                Some("turn compression off in the server, or in the proxy in front of it".to_owned())
            }
            Self::Closed | Self::Unexpected(_) | Self::Status { .. } | Self::NoStream { .. } | Self::InStream(_) => {
                None
            }
        }
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.problem)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(reason) | Self::Unexpected(reason) => f.write_str(reason),
            Self::Unreachable(reason) => write!(f, "no server answers: {reason}"),
            Self::Timeout(limit, _) => write!(f, "nothing arrived for {} s", limit.as_secs_f64()),
            Self::NoTls => f.write_str("the server does not use TLS"),
            Self::Closed => f.write_str("the server closed the connection before its response was complete"),
            Self::Status { status, message } => write!(f, "HTTP {status}{}", with_message(message)),
            Self::Redirect { status, url, .. } => write!(f, "HTTP {status}: it redirects to {url}"),
            Self::NoStream { kind, message } => {
                let kind = if kind.is_empty() { "something else" } else { kind };
                write!(f, "expected a stream of events, found {kind}{}", with_message(message))
            }
            Self::Compressed(encoding) => {
                write!(f, "the response is compressed ({encoding}), but the request allows no compression")
            }
            Self::InStream(message) => write!(f, "the server reported an error in its stream{}", with_message(message)),
        }
    }
}

fn with_message(message: &str) -> String {
    if message.is_empty() { " without a message".to_owned() } else { format!(": {message}") }
}

/// The message in the body of an error: a string or an object under `error`, `detail` or `message`, else the text itself.
pub(super) fn message_of(text: &str) -> String {
    match serde_json::from_str::<Value>(text) {
        Ok(document) => message_in(&document).unwrap_or_else(|| quote(text)),
        Err(_) if text.trim_start().starts_with('<') => "a web page; is this a model server?".to_owned(),
        Err(_) => quote(text),
    }
}

/// The message in an error document; `None` if it contains none.
pub(super) fn message_in(document: &Value) -> Option<String> {
    match document {
        Value::String(text) => Some(quote(text)),
        Value::Array(all) => all.iter().find_map(message_in),
        Value::Object(fields) => {
            let message = ["error", "detail", "message", "msg"].iter().find_map(|key| message_in(fields.get(*key)?))?;
            // FastAPI names the field apart from the message.
            let place = fields.get("loc").and_then(Value::as_array).map(|words| {
                let word = |word: &Value| word.as_str().map_or_else(|| word.to_string(), str::to_owned);
                words.iter().map(word).collect::<Vec<_>>().join(".")
            });
            Some(place.map_or_else(|| message.clone(), |place| format!("{message} ({place})")))
        }
        // A number or a bool is no message.
        _ => None,
    }
}

/// A text of a server on one line, without secrets and of limited length.
pub(super) fn quote(text: &str) -> String {
    let text = redaction::redact(text);
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(LONGEST_QUOTE) {
        Some((end, _)) => format!("{} ...", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Advice;

    #[test]
    fn messages_are_found_in_every_form() {
        for (body, message) in [
            (r#"{"error":{"message":"No instance found","code":404}}"#, "No instance found"),
            (r#"{"error": "generation thread died"}"#, "generation thread died"),
            (
                r#"{"detail":[{"type":"missing","loc":["body","model"],"msg":"Field required"}]}"#,
                "Field required (body.model)",
            ),
            (r#"{"detail": "Not Found"}"#, "Not Found"),
            (r#"{"object":"error","message":"too long"}"#, "too long"),
            ("busy,\n  try later", "busy, try later"),
            (r#"{"code": 5}"#, r#"{"code": 5}"#),
            ("\n<!DOCTYPE HTML><h1>404</h1>", "a web page; is this a model server?"),
            ("", ""),
        ] {
            assert_eq!(message_of(body), message);
        }
        assert_eq!(message_of(&"é".repeat(1000)).chars().count(), LONGEST_QUOTE + 4);
    }

    #[test]
    fn problems_and_their_advice() {
        let shown = |problem| EngineError::from(RequestError::new("POST http://h/x", problem)).with_advice();
        insta::assert_snapshot!(shown(Problem::Status { status: 500, message: String::new() }), @"engine openai failed in POST http://h/x: HTTP 500 without a message");
        insta::assert_snapshot!(shown(Problem::Timeout(Duration::from_millis(1500), "stall_s")), @"engine openai failed in POST http://h/x: nothing arrived for 1.5 s; increase the setting openai.stall_s to wait longer");
        insta::assert_snapshot!(shown(Problem::Address("it has no host".to_owned())), @"engine openai does not support the address `POST http://h/x`: it has no host; give an address such as http://HOST:PORT");
    }
}
