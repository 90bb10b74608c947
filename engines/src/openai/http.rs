//! HTTP requests to a server: short queries, and one connection for each stream. Nothing is retried.
//!
//! Only this module and the parser in `sse` handle bytes; other modules interpret them.

use std::io::{Cursor, Read};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redaction::{Secret, redact};
use serde_json::Value;
use ureq::http::{HeaderMap, Response, Version, header};
use ureq::{Agent, Body, BodyReader, Proxy, Timeout};

use super::address::{Redirect, ServerAddress};
use super::error::{Problem, RequestError, message_of};
use super::http_date;
use super::settings::Settings;

/// Maximum size of the response to a query: exo's state has an entry for each known model.
const LONGEST_RESPONSE: u64 = 64 << 20;
/// Maximum size of an error.
const LONGEST_ERROR: u64 = 64 << 10;
/// Bytes that decide whether a response of another type is a stream.
const FIRST_BYTES: usize = 4 << 10;
/// Timeout of a query that the run does not need, unless that of all queries is shorter.
const PROBE: Duration = Duration::from_secs(2);

/// A client of one server.
pub(super) struct Http {
    /// For queries that are answered immediately.
    queries: Agent,
    /// For queries that the run does not need.
    probes: Agent,
    /// For streams, which may pause for long.
    streams: Agent,
    limits: Limits,
    address: ServerAddress,
    socket: Option<SocketAddr>,
    /// The value of the header: user information of the address, or a key.
    authorization: Option<Secret>,
    /// Whether the paths of POST requests end with a slash, as a redirect of the server required.
    has_slash: AtomicBool,
}

/// Timeouts of a server.
#[derive(Debug, Clone, Copy)]
struct Limits {
    query: Duration,
    probe: Duration,
    stream: Duration,
}

/// The whole response to a query, of any status.
#[derive(Debug)]
pub(super) struct HttpResponse {
    pub(super) status: u16,
    pub(super) text: String,
    /// Whether it is a response of HTTP/1.0, as from the server of Python's standard library.
    pub(super) is_http_10: bool,
    /// Where a redirect leads.
    pub(super) redirect: Option<Redirect>,
}

impl HttpResponse {
    /// Its body as JSON; `None` if it is an error or not JSON, as from another kind of server.
    pub(super) fn json(&self) -> Option<Value> {
        if self.is_success() { serde_json::from_str(&self.text).ok() } else { None }
    }

    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The problem of a response that is no success.
    pub(super) fn problem(&self) -> Problem {
        match &self.redirect {
            Some(Redirect { url, address, .. }) => {
                let (url, address) = (redact(url), address.as_deref().map(redact));
                Problem::Redirect { status: self.status, url, address }
            }
            None => Problem::Status { status: self.status, message: message_of(&self.text) },
        }
    }
}

impl Http {
    /// A client of the server at `url`, which [`ServerAddress`] explains.
    pub(super) fn new(url: &str, settings: &Settings) -> Result<Self, RequestError> {
        let address = ServerAddress::new(url).map_err(|problem| RequestError::new(url, problem))?;
        let is_encrypted = address.is_encrypted();
        let socket = address_of(address.host(), address.port());
        // A connection to the unspecified address, which servers print when they listen, leads to this machine.
        let is_loopback = socket.is_some_and(|socket| socket.ip().is_loopback() || socket.ip().is_unspecified());
        let (variable, was_named) = &settings.key_env;
        // The key of the default variable is not sent unencrypted to another machine.
        let key = if is_encrypted || is_loopback || *was_named { std::env::var(variable).ok() } else { None };
        let key = key.and_then(|key| Secret::new(&key));
        let authorization = match (address.authorization(), key) {
            (Some(_), Some(_)) if *was_named => {
                let reason = "it has user information, and a setting names a key, but a request takes only one of them";
                return Err(RequestError::new(url, Problem::Address(reason.to_owned())));
            }
            (Some(user), _) => Some(user),
            (None, key) => key.and_then(|key| Secret::new(&format!("Bearer {}", key.expose()))),
        };
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
        let limits = Limits { query: settings.connect, probe: PROBE.min(settings.connect), stream: settings.stall };
        Ok(Self {
            queries: agent(limits.query),
            probes: agent(limits.probe),
            streams: agent(limits.stream),
            limits,
            address,
            socket,
            authorization,
            has_slash: AtomicBool::new(false),
        })
    }

    /// The address of the server.
    pub(super) fn address(&self) -> &ServerAddress {
        &self.address
    }

    /// Its address without the path of the OpenAI interface.
    pub(super) fn base(&self) -> String {
        self.address.base()
    }

    /// The socket address that the host name resolves to.
    pub(super) fn socket(&self) -> Option<SocketAddr> {
        self.socket
    }

    pub(super) fn get(&self, path: &str) -> Result<HttpResponse, RequestError> {
        self.query(&self.queries, (self.limits.query, "connect_s"), &self.url(path))
    }

    /// A query that the run does not need: its limit is short.
    pub(super) fn probe(&self, path: &str) -> Result<HttpResponse, RequestError> {
        self.query(&self.probes, (self.limits.probe, "connect_s"), &self.url(path))
    }

    /// The same with a whole URL.
    pub(super) fn probe_url(&self, url: &str) -> Result<HttpResponse, RequestError> {
        self.query(&self.probes, (self.limits.probe, "connect_s"), url)
    }

    fn query(&self, agent: &Agent, limit: TimeoutSetting, url: &str) -> Result<HttpResponse, RequestError> {
        let request = agent.get(url).header(header::CONNECTION, "close");
        let response = match &self.authorization {
            Some(value) => request.header(header::AUTHORIZATION, value.expose()).call(),
            None => request.call(),
        };
        self.response("GET", url, limit, response)
    }

    pub(super) fn delete(&self, path: &str) -> Result<HttpResponse, RequestError> {
        let url = self.url(path);
        let request = self.queries.delete(&url).header(header::CONNECTION, "close");
        let response = match &self.authorization {
            Some(value) => request.header(header::AUTHORIZATION, value.expose()).call(),
            None => request.call(),
        };
        self.response("DELETE", &url, (self.limits.query, "connect_s"), response)
    }

    pub(super) fn post(&self, path: &str, body: &Value) -> Result<HttpResponse, RequestError> {
        let url = self.post_url(path);
        self.response("POST", &url, (self.limits.query, "connect_s"), self.send(&self.queries, &url, body))
    }

    /// Sends a request with a streamed response; any other response is an error.
    pub(super) fn stream(&self, path: &str, body: &Value) -> Result<Stream, RequestError> {
        let url = self.post_url(path);
        let place = format!("POST {url}");
        let timeout = (self.limits.stream, "stall_s");
        let failed = |error: &ureq::Error| RequestError::new(&place, problem(error, timeout));
        let response = self.send(&self.streams, &url, body).map_err(|error| failed(&error))?;
        let status = response.status().as_u16();
        if let Some(encoding) = compression(&response) {
            return Err(RequestError::new(&place, Problem::Compressed(encoding)));
        }
        if (200..300).contains(&status) {
            let kind = kind_of(response.headers());
            let mut stream =
                Stream { reader: response.into_body().into_reader(), place, timeout, first: Cursor::default() };
            if kind != "application/json" && kind != "text/html" {
                return Ok(stream);
            }
            // Some servers and proxies give a stream this type: its first bytes decide.
            stream.read_first()?;
            if stream.begins_with_events() {
                return Ok(stream);
            }
            let text = stream.rest(LONGEST_ERROR)?;
            let message = message_of(&text);
            return Err(RequestError::new(&stream.place, Problem::NoStream { kind, message }));
        }
        let wait = retry_after(response.headers());
        let redirect = self.redirect(&url, status, response.headers());
        if let Some(has_slash) = redirect.as_ref().and_then(|redirect| redirect.slash) {
            self.has_slash.store(has_slash, Ordering::Relaxed);
        }
        let text = text_of(response, LONGEST_ERROR).map_err(|error| failed(&error))?;
        let response = HttpResponse { status, text, is_http_10: false, redirect };
        let is_moved = response.redirect.as_ref().is_some_and(|redirect| redirect.slash.is_some());
        let error = RequestError::new(&place, response.problem());
        Err(match (status, wait) {
            (429 | 503, Some(wait)) => error.repeat_after(wait),
            _ if is_moved => error.repeat_after(Duration::ZERO),
            _ => error,
        })
    }

    /// `METHOD http://host:port/path`, as errors name it.
    pub(super) fn place(&self, method: &str, path: &str) -> String {
        match method {
            "POST" => redact(&format!("{method} {}", self.post_url(path))),
            _ => redact(&format!("{method} {}", self.url(path))),
        }
    }

    /// For the network only: it may contain secrets.
    fn url(&self, path: &str) -> String {
        self.address.url(path)
    }

    fn post_url(&self, path: &str) -> String {
        match self.has_slash.load(Ordering::Relaxed) {
            true => self.url(&format!("{path}/")),
            false => self.url(path),
        }
    }

    fn redirect(&self, url: &str, status: u16, headers: &HeaderMap) -> Option<Redirect> {
        let location = headers.get(header::LOCATION).filter(|_| (300..400).contains(&status))?;
        self.address.redirect(url, location.to_str().ok()?)
    }

    fn send(&self, agent: &Agent, url: &str, body: &Value) -> Result<Response<Body>, ureq::Error> {
        let mut request = agent
            .post(url)
            .header(header::CONTENT_TYPE, "application/json")
            // Compression would delay pieces.
            .header(header::ACCEPT_ENCODING, "identity")
            .header(header::CONNECTION, "close");
        if let Some(value) = &self.authorization {
            request = request.header(header::AUTHORIZATION, value.expose());
        }
        request.send(body.to_string().as_bytes())
    }

    fn response(
        &self,
        method: &str,
        url: &str,
        limit: TimeoutSetting,
        response: Result<Response<Body>, ureq::Error>,
    ) -> Result<HttpResponse, RequestError> {
        let failure = |error: &ureq::Error| RequestError::new(&format!("{method} {url}"), problem(error, limit));
        let response = response.map_err(|error| failure(&error))?;
        let status = response.status().as_u16();
        let is_http_10 = response.version() == Version::HTTP_10;
        let redirect = self.redirect(url, status, response.headers());
        let text = text_of(response, LONGEST_RESPONSE).map_err(|error| failure(&error))?;
        Ok(HttpResponse { status, text, is_http_10, redirect })
    }
}

/// The compression of a response that is not decoded. gzip is, although it is not requested: pieces of its text then arrive together.
fn compression(response: &Response<Body>) -> Option<String> {
    let encoding = response.headers().get(header::CONTENT_ENCODING)?.to_str().unwrap_or("an unknown way").trim();
    (!encoding.is_empty() && !encoding.eq_ignore_ascii_case("identity")).then(|| encoding.to_owned())
}

/// A response that is still arriving.
pub(super) struct Stream {
    reader: BodyReader<'static>,
    place: String,
    timeout: TimeoutSetting,
    /// Bytes that were read to find out whether this is a stream.
    first: Cursor<Vec<u8>>,
}

impl Stream {
    /// Waits for more bytes and returns their number; 0 at the end of the response.
    pub(super) fn read(&mut self, portion: &mut [u8]) -> Result<usize, RequestError> {
        // Bytes in memory cannot fail.
        match self.first.read(portion).unwrap_or_default() {
            0 => self.read_more(portion),
            length => Ok(length),
        }
    }

    fn read_more(&mut self, portion: &mut [u8]) -> Result<usize, RequestError> {
        let read = self.reader.read(portion);
        read.map_err(|error| RequestError::new(&self.place, problem(&ureq::Error::from(error), self.timeout)))
    }

    /// Waits for the first bytes and keeps them.
    fn read_first(&mut self) -> Result<(), RequestError> {
        let mut portion = vec![0; FIRST_BYTES];
        let length = self.read_more(&mut portion)?;
        portion.truncate(length);
        self.first = Cursor::new(portion);
        Ok(())
    }

    /// Whether the first bytes are the beginning of an event or of a comment.
    fn begins_with_events(&self) -> bool {
        let text = self.first.get_ref().trim_ascii_start();
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        [&b"data:"[..], b"event:", b"id:", b"retry:", b":"].iter().any(|field| text.starts_with(field))
    }

    /// What arrives until the end, as text of limited length.
    fn rest(&mut self, longest: u64) -> Result<String, RequestError> {
        let (mut bytes, mut portion) = (Vec::new(), vec![0; FIRST_BYTES]);
        while (bytes.len() as u64) < longest {
            let length = self.read(&mut portion)?;
            if length == 0 {
                break;
            }
            bytes.extend_from_slice(&portion[..length]);
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
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
            _ => Problem::Unexpected(redact(&error.to_string())),
        },
        ureq::Error::Protocol(error) => Problem::Unexpected(format!("expected HTTP, found something else ({error})")),
        other => Problem::Unexpected(redact(&other.to_string())),
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

/// The type of a body, without its parameters.
fn kind_of(headers: &HeaderMap) -> String {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// How long a server asks to wait: seconds, or a date that is compared with the server's own.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: header::HeaderName| headers.get(name)?.to_str().ok().map(str::trim);
    let value = text(header::RETRY_AFTER)?;
    if let Ok(seconds) = value.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let (then, now) = (http_date::seconds(value)?, http_date::seconds(text(header::DATE)?)?);
    Some(Duration::from_secs(then.saturating_sub(now)))
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
    fn an_invalid_address_is_refused_by_name() {
        let refused = |url: &str| Http::new(url, &Settings::default()).err().expect("it is refused").to_string();
        insta::assert_snapshot!(refused("ftp://host"), @"ftp://host: it is neither http nor https");
        insta::assert_snapshot!(refused("http://"), @"http://: it is not an address");
    }

    #[test]
    fn the_time_to_wait_is_seconds_or_a_date() {
        let after = |retry: &str, date: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, retry.parse().expect("a header"));
            if let Some(date) = date {
                headers.insert(header::DATE, date.parse().expect("a header"));
            }
            retry_after(&headers)
        };
        assert_eq!(after("3", None), Some(Duration::from_secs(3)));
        assert_eq!(after("0.5", None), Some(Duration::from_millis(500)));
        let now = "Mon, 30 Nov 2026 23:59:50 GMT";
        assert_eq!(after("Tue, 01 Dec 2026 00:00:05 GMT", Some(now)), Some(Duration::from_secs(15)));
        assert_eq!(after("Mon, 30 Nov 2026 23:00:00 GMT", Some(now)), Some(Duration::ZERO), "a time that is over");
        assert_eq!(after("Tue, 01 Dec 2026 00:00:05 GMT", None), None, "the server's clock is unknown");
        assert_eq!((after("soon", Some(now)), after("-1", None)), (None, None));
    }

    #[test]
    fn user_information_is_a_header_and_is_not_shown() {
        let http =
            Http::new("http://bob:wx-41@127.0.0.1:9/v1?api_key=wx-42", &Settings::default()).expect("an address");
        assert_eq!(http.authorization.as_ref().map(Secret::expose), Some("Basic Ym9iOnd4LTQx"));
        assert_eq!(http.url("/v1/x"), "http://127.0.0.1:9/v1/x?api_key=wx-42");
        assert_eq!(http.place("GET", "/v1/x"), "GET http://127.0.0.1:9/v1/x?api_key=***");
        let message = message_of("bad header Basic Ym9iOnd4LTQx, bad key wx-42");
        assert_eq!(message, "bad header Basic ***, bad key ***");
    }

    #[test]
    fn user_information_and_a_named_key_exclude_each_other() {
        // A variable that every process has.
        let settings = Settings { key_env: ("PATH".to_owned(), true), ..Settings::default() };
        let error = Http::new("http://bob:wx-43@127.0.0.1:9", &settings).err().expect("it is refused").to_string();
        assert!(error.starts_with("http://***@127.0.0.1:9: it has user information"), "{error}");
    }
}
