//! HTTP requests to a server: short queries, and one connection for each stream. Nothing is retried.
//!
//! Only this module and the parser in `sse` handle bytes; other modules interpret them.

use std::io::Read;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::time::Duration;

use serde_json::Value;
use ureq::http::{Response, Uri, header};
use ureq::{Agent, Body, BodyReader, Proxy, Timeout};

use super::error::{Problem, RequestError, message_of};
use super::settings::Settings;

/// Maximum size of the response to a query: exo's state has an entry for each known model.
const LONGEST_RESPONSE: u64 = 64 << 20;
/// Maximum size of an error.
const LONGEST_ERROR: u64 = 64 << 10;

/// A client of one server.
pub(super) struct Http {
    /// For queries that are answered immediately.
    queries: Agent,
    /// For streams, which may pause for long.
    streams: Agent,
    limits: Limits,
    base: String,
    address: Option<SocketAddr>,
    key: Option<String>,
}

/// Timeouts of a server.
#[derive(Debug, Clone, Copy)]
struct Limits {
    query: Duration,
    stream: Duration,
}

/// The whole response to a query, of any status.
#[derive(Debug)]
pub(super) struct HttpResponse {
    pub(super) status: u16,
    pub(super) text: String,
}

impl HttpResponse {
    /// Its body as JSON; `None` if it is an error or not JSON, as from another kind of server.
    pub(super) fn json(&self) -> Option<Value> {
        if self.is_success() { serde_json::from_str(&self.text).ok() } else { None }
    }

    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The message of an error.
    pub(super) fn message(&self) -> String {
        message_of(&self.text)
    }
}

impl Http {
    /// A client of the server at `url`: `http://host:port`, with or without `/v1`.
    pub(super) fn new(url: &str, settings: &Settings) -> Result<Self, RequestError> {
        let base = base_of(url);
        let broken = |reason: &str| RequestError::new(url, Problem::Address(reason.to_owned()));
        let parsed: Uri = base.parse().map_err(|_| broken("it is not an address"))?;
        let is_encrypted = match parsed.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(broken("it is neither http nor https")),
        };
        let host = parsed.host().filter(|host| !host.is_empty()).ok_or_else(|| broken("it has no host"))?;
        let address = address_of(host, parsed.port_u16().unwrap_or(if is_encrypted { 443 } else { 80 }));
        let is_loopback = address.is_some_and(|address| address.ip().is_loopback());
        let (variable, was_named) = &settings.key_env;
        // The key of the default variable is not sent unencrypted to another machine.
        let key = if is_encrypted || is_loopback || *was_named { std::env::var(variable).ok() } else { None };
        let key = key.map(|key| key.trim().to_owned()).filter(|key| !key.is_empty());
        let agent = |timeout: Duration| {
            Agent::config_builder()
                .http_status_as_error(false)
                .proxy(if is_loopback { None } else { Proxy::try_from_env() })
                .max_redirects(0)
                .max_redirects_will_error(false)
                .max_idle_connections(0)
                .timeout_resolve(Some(settings.connect))
                .timeout_connect(Some(settings.connect))
                .timeout_recv_response(Some(timeout))
                .timeout_per_read(Some(timeout))
                .timeout_per_write(Some(timeout))
                .user_agent(concat!("inferometer/", env!("CARGO_PKG_VERSION")))
                .build()
                .new_agent()
        };
        let limits = Limits { query: settings.connect, stream: settings.stall };
        Ok(Self { queries: agent(limits.query), streams: agent(limits.stream), limits, base, address, key })
    }

    pub(super) fn base(&self) -> &str {
        &self.base
    }

    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    pub(super) fn get(&self, path: &str) -> Result<HttpResponse, RequestError> {
        let place = self.place("GET", path);
        let request = self.queries.get(self.url(path)).header(header::CONNECTION, "close");
        let response = match &self.key {
            Some(key) => request.header(header::AUTHORIZATION, format!("Bearer {key}")).call(),
            None => request.call(),
        };
        self.response(&place, response)
    }

    pub(super) fn delete(&self, path: &str) -> Result<HttpResponse, RequestError> {
        let place = self.place("DELETE", path);
        let request = self.queries.delete(self.url(path)).header(header::CONNECTION, "close");
        let response = match &self.key {
            Some(key) => request.header(header::AUTHORIZATION, format!("Bearer {key}")).call(),
            None => request.call(),
        };
        self.response(&place, response)
    }

    pub(super) fn post(&self, path: &str, body: &Value) -> Result<HttpResponse, RequestError> {
        self.response(&self.place("POST", path), self.send(&self.queries, path, body))
    }

    /// Sends a request with a streamed response; any other response is an error.
    pub(super) fn stream(&self, path: &str, body: &Value) -> Result<Stream, RequestError> {
        let place = self.place("POST", path);
        let timeout = (self.limits.stream, "stall_s");
        let response = self.send(&self.streams, path, body);
        let response = response.map_err(|error| RequestError::new(&place, problem(&error, timeout)))?;
        let status = response.status().as_u16();
        let kind = response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim().to_owned();
        if (200..300).contains(&status) && kind != "application/json" && kind != "text/html" {
            return Ok(Stream { reader: response.into_body().into_reader(), place, timeout });
        }
        let text =
            text_of(response, LONGEST_ERROR).map_err(|error| RequestError::new(&place, problem(&error, timeout)))?;
        let message = self.without_key(message_of(&text));
        let problem = match status {
            200..300 => Problem::NoStream { kind, message },
            _ => Problem::Status { status, message },
        };
        Err(RequestError::new(&place, problem))
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
            // Compression would delay pieces.
            .header(header::ACCEPT_ENCODING, "identity")
            .header(header::CONNECTION, "close");
        if let Some(key) = &self.key {
            request = request.header(header::AUTHORIZATION, format!("Bearer {key}"));
        }
        request.send(body.to_string().as_bytes())
    }

    fn response(
        &self,
        place: &str,
        response: Result<Response<Body>, ureq::Error>,
    ) -> Result<HttpResponse, RequestError> {
        let failure = |error: &ureq::Error| RequestError::new(place, problem(error, (self.limits.query, "connect_s")));
        let response = response.map_err(|error| failure(&error))?;
        let status = response.status().as_u16();
        let text = text_of(response, LONGEST_RESPONSE).map_err(|error| failure(&error))?;
        let text = if (200..300).contains(&status) { text } else { self.without_key(text) };
        Ok(HttpResponse { status, text })
    }

    /// Removes the key, which some servers repeat in their error messages.
    fn without_key(&self, text: String) -> String {
        match &self.key {
            Some(key) => text.replace(key.as_str(), "..."),
            None => text,
        }
    }
}

/// A response that is still arriving.
pub(super) struct Stream {
    reader: BodyReader<'static>,
    place: String,
    timeout: TimeoutSetting,
}

impl Stream {
    /// Waits for more bytes and returns their number; 0 at the end of the response.
    pub(super) fn read(&mut self, portion: &mut [u8]) -> Result<usize, RequestError> {
        let read = self.reader.read(portion);
        read.map_err(|error| RequestError::new(&self.place, problem(&ureq::Error::from(error), self.timeout)))
    }

    pub(super) fn place(&self) -> &str {
        &self.place
    }
}

/// A timeout and the setting that defines it.
type TimeoutSetting = (Duration, &'static str);

fn text_of(response: Response<Body>, longest: u64) -> Result<String, ureq::Error> {
    let mut bytes = Vec::new();
    response.into_body().into_reader().take(longest).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn problem(error: &ureq::Error, (limit, setting): TimeoutSetting) -> Problem {
    use std::io::ErrorKind;
    match error {
        ureq::Error::HostNotFound => Problem::Unreachable("its host name cannot be resolved".to_owned()),
        ureq::Error::Timeout(Timeout::Connect | Timeout::Resolve) => {
            Problem::Unreachable("no connection within the time of openai.connect_s".to_owned())
        }
        ureq::Error::Timeout(_) => Problem::Timeout(limit, setting),
        ureq::Error::Io(error) => match error.kind() {
            ErrorKind::ConnectionRefused | ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => {
                Problem::Unreachable(describe(error.kind()).to_owned())
            }
            ErrorKind::UnexpectedEof
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe => Problem::Closed,
            _ if is_no_tls(error) => Problem::NoTls,
            _ => Problem::Unexpected(error.to_string()),
        },
        ureq::Error::Protocol(error) => Problem::Unexpected(format!("expected HTTP, found something else ({error})")),
        other => Problem::Unexpected(other.to_string()),
    }
}

/// Whether the response to the TLS handshake was plain HTTP, as from most model servers.
fn is_no_tls(error: &std::io::Error) -> bool {
    // The error's type belongs to the TLS library, which is not a dependency of this crate.
    error.kind() == std::io::ErrorKind::InvalidData && error.to_string().contains("InvalidContentType")
}

/// A description of an error kind that is the same on every system.
fn describe(kind: std::io::ErrorKind) -> &'static str {
    match kind {
        std::io::ErrorKind::ConnectionRefused => "connection refused",
        _ => "there is no route to it",
    }
}

/// Paths that clients append to `http://host:port`, or that users copy with it.
const SUFFIXES: [&str; 4] = ["/chat/completions", "/completions", "/models", "/v1"];

/// `http://host:port` without such a path.
fn base_of(url: &str) -> String {
    let (scheme, rest) = url.trim().split_once("://").unwrap_or(("http", url.trim()));
    let without =
        |rest: &str, suffix: &&str| rest.strip_suffix(*suffix).unwrap_or(rest).trim_end_matches('/').to_owned();
    let rest = SUFFIXES.iter().fold(rest.trim_end_matches('/').to_owned(), |rest, suffix| without(&rest, suffix));
    format!("{scheme}://{rest}")
}

/// The address of a host name; for this machine the IPv4 address, on which servers listen by default. `None` if it cannot be
/// resolved: the first request then fails with that reason.
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
    fn addresses_are_read_in_all_common_forms() {
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
        insta::assert_snapshot!(refused("ftp://host"), @"ftp://host: it is neither http nor https");
        insta::assert_snapshot!(refused("http://"), @"http://: it is not an address");
    }

    #[test]
    fn a_key_is_removed_from_a_servers_messages() {
        let mut http = Http::new("http://127.0.0.1:9", &Settings::default()).expect("an address");
        http.key = Some("sk-secret".to_owned());
        assert_eq!(http.without_key("bad key sk-secret!".to_owned()), "bad key ...!");
    }
}
