//! What can go wrong between this process and a server, in words.

use std::fmt;
use std::time::Duration;

use serde_json::Value;

use super::NAME;
use crate::EngineError;

/// So much of a server's own words is repeated.
const LONGEST_QUOTE: usize = 300;

/// A request that failed.
#[derive(Debug)]
pub(super) struct Failure {
    /// `METHOD URL`.
    place: String,
    pub(super) problem: Problem,
    /// Pieces of text that had come before.
    pieces: usize,
}

/// Why.
#[derive(Debug)]
pub(super) enum Problem {
    /// The address is none.
    Address(String),
    /// There is no connection.
    Unreachable(String),
    /// Nothing came for so long, which a setting allows.
    Silent(Duration, &'static str),
    /// There is no TLS behind an address that begins with `https`.
    NoTls,
    /// The connection was closed before the answer was complete.
    Closed,
    /// What arrived is not what was to be expected, or the system failed.
    Broken(String),
    /// An HTTP error.
    Status {
        /// Its number.
        status: u16,
        /// The server's words.
        message: String,
    },
    /// The answer is one document, not a stream.
    NoStream {
        /// What it is.
        kind: String,
        /// What it says.
        message: String,
    },
    /// The server says in its stream that it failed.
    Told(String),
}

impl Failure {
    pub(super) fn new(place: &str, problem: Problem) -> Self {
        Self { place: place.to_owned(), problem, pieces: 0 }
    }

    /// The same, where so many pieces of text had come before.
    pub(super) fn after(self, pieces: usize) -> Self {
        Self { pieces, ..self }
    }

    /// Whether a server that is just starting gives such an answer.
    pub(super) fn may_pass(&self) -> bool {
        matches!(self.problem, Problem::Unreachable(_) | Problem::Silent(..) | Problem::Closed)
    }
}

impl From<Failure> for EngineError {
    fn from(failure: Failure) -> Self {
        match failure.problem {
            Problem::Address(reason) => Self::Unsupported {
                engine: NAME,
                what: format!("the address `{}`: {reason}", failure.place),
                instead: "give --url http://HOST:PORT".to_owned(),
            },
            problem => {
                let before = match failure.pieces {
                    0 => String::new(),
                    1 => " (after 1 piece of text)".to_owned(),
                    pieces => format!(" (after {pieces} pieces of text)"),
                };
                Self::Failed { engine: NAME, place: failure.place, reason: format!("{problem}{before}") }
            }
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.problem {
            Problem::Address(reason) => {
                write!(f, "`{}` cannot be asked: {reason}; give --url http://HOST:PORT", self.place)
            }
            problem => write!(f, "{}: {problem}", self.place),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(reason) | Self::Broken(reason) => f.write_str(reason),
            Self::Unreachable(reason) => {
                write!(f, "nothing answers there: {reason}; start the server, or give its address with --url")
            }
            Self::Silent(limit, setting) => {
                write!(
                    f,
                    "nothing came for {} s; for a longer wait --set openai.{setting}=SECONDS",
                    limit.as_secs_f64()
                )
            }
            Self::NoTls => f.write_str("it does not speak TLS; give its address with http:// in place of https://"),
            Self::Closed => f.write_str("the server closed the connection before its answer was complete"),
            Self::Status { status, message } => write!(f, "HTTP {status}{}", spoken(message)),
            Self::NoStream { kind, message } => {
                let kind = if kind.is_empty() { "something else" } else { kind };
                write!(f, "expected a stream of events, found {kind}{}", spoken(message))
            }
            Self::Told(message) => write!(f, "the server failed in the middle of its answer{}", spoken(message)),
        }
    }
}

fn spoken(message: &str) -> String {
    if message.is_empty() { " with nothing in it".to_owned() } else { format!(": {message}") }
}

/// The message in an error document: an object or a string under `error`, `detail` or `message`, or the text as it is.
pub(super) fn message_of(text: &str) -> String {
    match serde_json::from_str::<Value>(text) {
        Ok(document) => message_in(&document).unwrap_or_else(|| quote(text)),
        Err(_) if text.trim_start().starts_with('<') => "a page for people; is this a server of models?".to_owned(),
        Err(_) => quote(text),
    }
}

/// The message of an error that is JSON already.
pub(super) fn message_in(document: &Value) -> Option<String> {
    match document {
        Value::String(text) => Some(quote(text)),
        Value::Array(all) => all.iter().find_map(message_in),
        Value::Object(fields) => {
            ["error", "detail", "message", "msg"].iter().find_map(|key| message_in(fields.get(*key)?))
        }
        _ => None,
    }
}

/// A text on one line and of sane length.
pub(super) fn quote(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(LONGEST_QUOTE) {
        Some((end, _)) => format!("{} ...", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_found_in_every_form() {
        for (body, message) in [
            (r#"{"error":{"message":"No instance found","code":404}}"#, "No instance found"),
            (r#"{"error": "generation thread died"}"#, "generation thread died"),
            (r#"{"detail":[{"type":"missing","loc":["body","model"],"msg":"Field required"}]}"#, "Field required"),
            (r#"{"detail": "Not Found"}"#, "Not Found"),
            (r#"{"object":"error","message":"too long"}"#, "too long"),
            ("busy,\n  try later", "busy, try later"),
            (r#"{"code": 5}"#, r#"{"code": 5}"#),
            ("\n<!DOCTYPE HTML><h1>404</h1>", "a page for people; is this a server of models?"),
            ("", ""),
        ] {
            assert_eq!(message_of(body), message);
        }
        assert_eq!(message_of(&"é".repeat(1000)).chars().count(), LONGEST_QUOTE + 4);
    }

    #[test]
    fn problems_are_told_in_words() {
        let told = |problem| Failure::new("POST http://h/x", problem).to_string();
        insta::assert_snapshot!(told(Problem::Status { status: 500, message: String::new() }), @"POST http://h/x: HTTP 500 with nothing in it");
        insta::assert_snapshot!(told(Problem::Silent(Duration::from_millis(1500), "stall_s")), @"POST http://h/x: nothing came for 1.5 s; for a longer wait --set openai.stall_s=SECONDS");
    }
}
