//! Requests to a server: small questions, and one connection for each stream. Nothing is tried twice.
//!
//! With `sse`'s parser this is all that knows of bytes; what they mean is said elsewhere.

use std::io::Read;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::time::Duration;

use serde_json::Value;
use ureq::http::{Response, Uri, header};
use ureq::{Agent, Body, BodyReader, Proxy, Timeout};

use super::failure::{Failure, Problem, message_of};
use super::settings::Settings;

/// Longest answer to a question that is read: exo's state has a line for each model that it knows.
const LONGEST_ANSWER: u64 = 64 << 20;
/// Longest error that is read.
const LONGEST_ERROR: u64 = 64 << 10;

/// Asks one server.
pub(super) struct Http {
    /// For questions that are answered at once.
    questions: Agent,
    /// For streams, which may be silent for long.
    streams: Agent,
    limits: Limits,
    base: String,
    address: Option<SocketAddr>,
    key: Option<String>,
}

/// How long a server may be silent.
#[derive(Debug, Clone, Copy)]
struct Limits {
    question: Duration,
    stream: Duration,
}

/// The whole answer to a question, whatever its status.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) text: String,
}

impl Answer {
    /// Its body as JSON, where it was a success.
    pub(super) fn json(&self) -> Option<Value> {
        if self.is_success() { serde_json::from_str(&self.text).ok() } else { None }
    }

    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// What it says, where it was an error.
    pub(super) fn message(&self) -> String {
        message_of(&self.text)
    }
}

impl Http {
    /// For the server at `url`: `http://host:port`, with or without `/v1`.
    pub(super) fn new(url: &str, settings: &Settings) -> Result<Self, Failure> {
        let base = base_of(url);
        let broken = |reason: &str| Failure::new(url, Problem::Address(reason.to_owned()));
        let parsed: Uri = base.parse().map_err(|_| broken("it is no address"))?;
        let is_safe = match parsed.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(broken("it is neither http nor https")),
        };
        let host = parsed.host().filter(|host| !host.is_empty()).ok_or_else(|| broken("it names no host"))?;
        let address = address_of(host, parsed.port_u16().unwrap_or(if is_safe { 443 } else { 80 }));
        let is_near = address.is_some_and(|address| address.ip().is_loopback());
        let (variable, was_named) = &settings.key_env;
        // A key that nobody spoke of goes to no stranger in clear text.
        let key = if is_safe || is_near || *was_named { std::env::var(variable).ok() } else { None };
        let key = key.map(|key| key.trim().to_owned()).filter(|key| !key.is_empty());
        let agent = |silence: Duration| {
            Agent::config_builder()
                .http_status_as_error(false)
                .proxy(if is_near { None } else { Proxy::try_from_env() })
                .max_redirects(0)
                .max_redirects_will_error(false)
                .max_idle_connections(0)
                .timeout_resolve(Some(settings.connect))
                .timeout_connect(Some(settings.connect))
                .timeout_recv_response(Some(silence))
                .timeout_per_read(Some(silence))
                .timeout_per_write(Some(silence))
                .user_agent(concat!("inferometer/", env!("CARGO_PKG_VERSION")))
                .build()
                .new_agent()
        };
        let limits = Limits { question: settings.connect, stream: settings.stall };
        Ok(Self { questions: agent(limits.question), streams: agent(limits.stream), limits, base, address, key })
    }

    pub(super) fn base(&self) -> &str {
        &self.base
    }

    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    pub(super) fn get(&self, path: &str) -> Result<Answer, Failure> {
        let place = self.place("GET", path);
        let request = self.questions.get(self.url(path)).header(header::CONNECTION, "close");
        let response = match &self.key {
            Some(key) => request.header(header::AUTHORIZATION, format!("Bearer {key}")).call(),
            None => request.call(),
        };
        self.answer(&place, response)
    }

    pub(super) fn delete(&self, path: &str) -> Result<Answer, Failure> {
        let place = self.place("DELETE", path);
        let request = self.questions.delete(self.url(path)).header(header::CONNECTION, "close");
        let response = match &self.key {
            Some(key) => request.header(header::AUTHORIZATION, format!("Bearer {key}")).call(),
            None => request.call(),
        };
        self.answer(&place, response)
    }

    pub(super) fn post(&self, path: &str, body: &Value) -> Result<Answer, Failure> {
        self.answer(&self.place("POST", path), self.send(&self.questions, path, body))
    }

    /// Sends a request whose answer comes piece by piece; an answer that is no stream is an error here.
    pub(super) fn stream(&self, path: &str, body: &Value) -> Result<Stream, Failure> {
        let place = self.place("POST", path);
        let silence = (self.limits.stream, "stall_s");
        let response = self.send(&self.streams, path, body);
        let response = response.map_err(|error| Failure::new(&place, problem(&error, silence)))?;
        let status = response.status().as_u16();
        let kind = response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim().to_owned();
        if (200..300).contains(&status) && kind != "application/json" && kind != "text/html" {
            return Ok(Stream { reader: response.into_body().into_reader(), place, silence });
        }
        let text = text_of(response, LONGEST_ERROR).map_err(|error| Failure::new(&place, problem(&error, silence)))?;
        let message = self.without_key(message_of(&text));
        let problem = match status {
            200..300 => Problem::NoStream { kind, message },
            _ => Problem::Status { status, message },
        };
        Err(Failure::new(&place, problem))
    }

    /// `METHOD http://host:port/path`, as errors name it.
    pub(super) fn place(&self, method: &str, path: &str) -> String {
        format!("{method} {}", self.url(path))
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    fn send(&self, agent: &Agent, path: &str, body: &Value) -> Result<Response<Body>, ureq::Error> {
        let mut request = agent
            .post(self.url(path))
            .header(header::CONTENT_TYPE, "application/json")
            // Compressed, pieces would wait for each other.
            .header(header::ACCEPT_ENCODING, "identity")
            .header(header::CONNECTION, "close");
        if let Some(key) = &self.key {
            request = request.header(header::AUTHORIZATION, format!("Bearer {key}"));
        }
        request.send(body.to_string().as_bytes())
    }

    fn answer(&self, place: &str, response: Result<Response<Body>, ureq::Error>) -> Result<Answer, Failure> {
        let failure = |error: &ureq::Error| Failure::new(place, problem(error, (self.limits.question, "connect_s")));
        let response = response.map_err(|error| failure(&error))?;
        let status = response.status().as_u16();
        let text = text_of(response, LONGEST_ANSWER).map_err(|error| failure(&error))?;
        let text = if (200..300).contains(&status) { text } else { self.without_key(text) };
        Ok(Answer { status, text })
    }

    /// Some servers repeat a key that they do not know.
    fn without_key(&self, text: String) -> String {
        match &self.key {
            Some(key) => text.replace(key.as_str(), "..."),
            None => text,
        }
    }
}

/// An answer that is still coming.
pub(super) struct Stream {
    reader: BodyReader<'static>,
    place: String,
    silence: Silence,
}

impl Stream {
    /// Waits for more, and gives what has arrived; nothing when the answer has ended.
    pub(super) fn read(&mut self, portion: &mut [u8]) -> Result<usize, Failure> {
        let read = self.reader.read(portion);
        read.map_err(|error| Failure::new(&self.place, problem(&ureq::Error::from(error), self.silence)))
    }

    pub(super) fn place(&self) -> &str {
        &self.place
    }
}

/// How long silence may be, and the setting that says so.
type Silence = (Duration, &'static str);

fn text_of(response: Response<Body>, longest: u64) -> Result<String, ureq::Error> {
    let mut bytes = Vec::new();
    response.into_body().into_reader().take(longest).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn problem(error: &ureq::Error, (limit, setting): Silence) -> Problem {
    use std::io::ErrorKind;
    match error {
        ureq::Error::HostNotFound => Problem::Unreachable("its host is not known".to_owned()),
        ureq::Error::Timeout(Timeout::Connect | Timeout::Resolve) => {
            Problem::Unreachable("no connection in time (openai.connect_s)".to_owned())
        }
        ureq::Error::Timeout(_) => Problem::Silent(limit, setting),
        ureq::Error::Io(error) => match error.kind() {
            ErrorKind::ConnectionRefused | ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => {
                Problem::Unreachable(plain(error.kind()).to_owned())
            }
            ErrorKind::UnexpectedEof
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe => Problem::Closed,
            _ if is_no_tls(error) => Problem::NoTls,
            _ => Problem::Broken(error.to_string()),
        },
        ureq::Error::Protocol(error) => Problem::Broken(format!("expected HTTP, found something else ({error})")),
        other => Problem::Broken(other.to_string()),
    }
}

/// Whether what came instead of a greeting in TLS was something else: HTTP without it, as most servers of models speak.
fn is_no_tls(error: &std::io::Error) -> bool {
    // The type of this error is the TLS library's own, which is no dependency of this crate.
    error.kind() == std::io::ErrorKind::InvalidData && error.to_string().contains("InvalidContentType")
}

/// The words of an error's kind, which are the same on every system.
fn plain(kind: std::io::ErrorKind) -> &'static str {
    match kind {
        std::io::ErrorKind::ConnectionRefused => "connection refused",
        _ => "no way leads there",
    }
}

/// Paths that clients put behind `http://host:port`, or that people copy from an example with it.
const TAILS: [&str; 4] = ["/chat/completions", "/completions", "/models", "/v1"];

/// `http://host:port` without what clients put behind it.
fn base_of(url: &str) -> String {
    let (scheme, rest) = url.trim().split_once("://").unwrap_or(("http", url.trim()));
    let without = |rest: &str, tail: &&str| rest.strip_suffix(*tail).unwrap_or(rest).trim_end_matches('/').to_owned();
    let rest = TAILS.iter().fold(rest.trim_end_matches('/').to_owned(), |rest, tail| without(&rest, tail));
    format!("{scheme}://{rest}")
}

/// The address that a name stands for: of this machine's two the one on which servers listen first.
fn address_of(host: &str, port: u16) -> Option<SocketAddr> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let mut addresses: Vec<SocketAddr> = (host, port).to_socket_addrs().ok()?.collect();
    addresses.sort_by_key(|address| match address.ip() {
        IpAddr::V4(address) => !address.is_loopback(),
        IpAddr::V6(_) => true,
    });
    addresses.first().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_as_people_write_them() {
        for (given, base) in [
            ("http://localhost:8080", "http://localhost:8080"),
            ("http://localhost:8080/", "http://localhost:8080"),
            ("localhost:8080", "http://localhost:8080"),
            ("http://host/v1", "http://host"),
            ("https://host/api/v1/", "https://host/api"),
            ("http://localhost:8080/v1/chat/completions", "http://localhost:8080"),
            ("http://localhost:8080/chat/completions/", "http://localhost:8080"),
            ("localhost:8080/v1/completions", "http://localhost:8080"),
            ("http://host/v1/models", "http://host"),
        ] {
            assert_eq!(base_of(given), base);
        }
        let refused = |url: &str| Http::new(url, &Settings::default()).err().expect("it is refused").to_string();
        insta::assert_snapshot!(refused("ftp://host"), @"`ftp://host` cannot be asked: it is neither http nor https; give --url http://HOST:PORT");
        insta::assert_snapshot!(refused("http://"), @"`http://` cannot be asked: it is no address; give --url http://HOST:PORT");
    }

    #[test]
    fn a_key_is_cut_out_of_what_a_server_says() {
        let mut http = Http::new("http://127.0.0.1:9", &Settings::default()).expect("an address");
        http.key = Some("sk-secret".to_owned());
        assert_eq!(http.without_key("bad key sk-secret!".to_owned()), "bad key ...!");
    }
}
