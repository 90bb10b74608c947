//! Requests to the hub: an agent with time limits, redirects followed by hand so that the token stays with its host.

use std::io::Read;

use ureq::http::header::{self, HeaderMap};
use ureq::http::{StatusCode, Uri};
use ureq::{Agent, Body, Proxy};

use super::failure::Failure;
use super::settings::Settings;

/// More redirects than this are a loop.
const MAX_REDIRECTS: usize = 8;
/// Longest answer that is read as JSON.
const MAX_JSON: u64 = 16 << 20;

/// Speaks to one hub.
#[derive(Debug)]
pub(super) struct Http<'a> {
    agent: Agent,
    settings: &'a Settings,
}

/// An answer and where it came from.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) host: String,
    body: Body,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    Head,
    Get,
}

impl<'a> Http<'a> {
    pub(super) fn new(settings: &'a Settings) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .proxy(settings.proxies.then(Proxy::try_from_env).flatten())
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_resolve(Some(settings.connect_timeout))
            .timeout_connect(Some(settings.connect_timeout))
            .timeout_recv_response(Some(settings.stall_timeout))
            .timeout_per_read(Some(settings.stall_timeout))
            .timeout_per_write(Some(settings.stall_timeout))
            .user_agent(concat!("inferometer/", env!("CARGO_PKG_VERSION")))
            .build();
        Self { agent: config.new_agent(), settings }
    }

    /// Asks about `url` without following redirects: the hub tells size and digest in its own first answer.
    pub(super) fn head(&self, url: &str) -> Result<Answer, Failure> {
        self.one(Method::Head, &uri(url)?, &[])
    }

    /// Gets `url`, following redirects.
    pub(super) fn get(&self, url: &str, extra: &[(header::HeaderName, String)]) -> Result<Answer, Failure> {
        let mut target = uri(url)?;
        for _ in 0..=MAX_REDIRECTS {
            let answer = self.one(Method::Get, &target, extra)?;
            if !answer.status.is_redirection() {
                return Ok(answer);
            }
            target = answer.redirect(&target)?;
        }
        Err(Failure::Protocol { host: host(&target), found: format!("more than {MAX_REDIRECTS} redirects") })
    }

    /// Gets a JSON document of bounded size.
    pub(super) fn json(&self, url: &str) -> Result<serde_json::Value, Failure> {
        let mut answer = self.get(url, &[])?.expect_success()?;
        let mut text = Vec::new();
        let protocol = |host: &str, found: String| Failure::Protocol { host: host.to_owned(), found };
        let read = answer.body.as_reader().take(MAX_JSON).read_to_end(&mut text);
        read.map_err(|error| protocol(&answer.host, error.to_string()))?;
        serde_json::from_slice(&text).map_err(|error| protocol(&answer.host, format!("no JSON: {error}")))
    }

    fn one(&self, method: Method, target: &Uri, extra: &[(header::HeaderName, String)]) -> Result<Answer, Failure> {
        let mut request = match method {
            Method::Head => self.agent.head(target),
            Method::Get => self.agent.get(target),
        };
        // Compressed transfer would make ranges and sizes mean something else.
        request = request.header(header::ACCEPT_ENCODING, "identity");
        if let Some(token) = &self.settings.token
            && uri(&self.settings.endpoint).is_ok_and(|endpoint| same_origin(&endpoint, target))
        {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", token.secret()));
        }
        for (name, value) in extra {
            request = request.header(name, value);
        }
        let response = request.call().map_err(|error| unreachable_host(target, &error))?;
        let (parts, body) = response.into_parts();
        Ok(Answer { status: parts.status, headers: parts.headers, host: host(target), body })
    }
}

impl Answer {
    /// A header as text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// A header as a number.
    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.header(name)?.trim().parse().ok()
    }

    /// The body, to be read piece by piece.
    pub(super) fn reader(self) -> impl Read {
        self.body.into_reader()
    }

    /// The answer itself, unless its status says that it is not what was asked for.
    pub(super) fn expect_success(self) -> Result<Self, Failure> {
        if self.status.is_success() {
            Ok(self)
        } else {
            Err(Failure::Status { host: self.host, status: self.status.as_u16() })
        }
    }

    /// Where a redirect leads, seen from `from`.
    fn redirect(&self, from: &Uri) -> Result<Uri, Failure> {
        let protocol = |found: String| Failure::Protocol { host: self.host.clone(), found };
        let Some(location) = self.header("location") else {
            return Err(protocol(format!("{} without a location", self.status)));
        };
        let next = if location.starts_with("http://") || location.starts_with("https://") {
            uri(location)?
        } else if location.starts_with("//") {
            uri(&format!("{}:{location}", from.scheme_str().unwrap_or("https")))?
        } else {
            let authority = from.authority().map_or("", |authority| authority.as_str());
            let slash = if location.starts_with('/') { "" } else { "/" };
            uri(&format!("{}://{authority}{slash}{location}", from.scheme_str().unwrap_or("https")))?
        };
        if from.scheme_str() == Some("https") && next.scheme_str() != Some("https") {
            return Err(protocol("a redirect from https to http".to_owned()));
        }
        Ok(next)
    }
}

fn uri(text: &str) -> Result<Uri, Failure> {
    let invalid = |found: String| Failure::Protocol { host: text.to_owned(), found };
    let parsed: Uri = text.parse().map_err(|error| invalid(format!("no valid address: {error}")))?;
    match (parsed.scheme_str(), parsed.host()) {
        (Some("http" | "https"), Some(_)) => Ok(parsed),
        _ => Err(invalid("no http or https address (see HF_ENDPOINT)".to_owned())),
    }
}

/// Host and, where it is not the usual one, port.
pub(super) fn host(target: &Uri) -> String {
    match (target.host(), target.port_u16()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (Some(host), None) => host.to_owned(),
        (None, _) => target.to_string(),
    }
}

/// Whether both are the same scheme, host and port: only then may a secret for one be sent to the other.
fn same_origin(a: &Uri, b: &Uri) -> bool {
    let origin = |uri: &Uri| {
        let default = if uri.scheme_str() == Some("https") { 443 } else { 80 };
        (
            uri.scheme_str().map(str::to_owned),
            uri.host().map(str::to_ascii_lowercase),
            uri.port_u16().unwrap_or(default),
        )
    };
    origin(a) == origin(b)
}

fn unreachable_host(target: &Uri, error: &ureq::Error) -> Failure {
    Failure::Unreachable { host: host(target), reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_scheme_host_and_port() {
        let same = |a: &str, b: &str| same_origin(&uri(a).unwrap(), &uri(b).unwrap());
        assert!(same("https://huggingface.co", "https://HuggingFace.co:443/x"));
        assert!(!same("https://huggingface.co", "http://huggingface.co/x"));
        assert!(!same("https://huggingface.co", "https://cdn.huggingface.co/x"));
        assert!(!same("http://127.0.0.1:1", "http://127.0.0.1:2"));
        assert!(!same("https://huggingface.co", "https://huggingface.co.evil.example/x"));
    }

    #[test]
    fn only_web_addresses_are_taken() {
        assert!(uri("ftp://x/y").is_err());
        assert!(uri("huggingface.co").is_err());
        assert!(uri("file:///etc/passwd").is_err());
    }
}
