//! HTTP requests to the hub with time limits. Redirects are followed here, so that the token is sent only to its host.

use std::io::Read;

use redaction::{Secret, redact};
use ureq::http::header::{self, HeaderMap};
use ureq::http::{StatusCode, Uri};
use ureq::{Agent, Body, Proxy};

use crate::error::{OriginError, printable};

use super::settings::Settings;
use crate::container::{FileFormat, OtherFormat, identify};

/// The limit of redirects.
const MAX_REDIRECTS: usize = 8;
/// The size limit of a JSON response in bytes.
const MAX_JSON: u64 = 16 << 20;

/// An HTTP client for one hub.
#[derive(Debug)]
pub(super) struct Http<'a> {
    agent: Agent,
    settings: &'a Settings,
}

/// A response and the host that sent it.
#[derive(Debug)]
pub(super) struct Response {
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

    /// Requests the headers of `url` without following redirects: the hub sends size and digest with its first response.
    pub(super) fn head(&self, url: &str) -> Result<Response, OriginError> {
        self.request(Method::Head, &uri(url)?, &[])
    }

    /// Gets `url`, following redirects.
    pub(super) fn get(&self, url: &str, extra: &[(header::HeaderName, String)]) -> Result<Response, OriginError> {
        let mut target = uri(url)?;
        for _ in 0..=MAX_REDIRECTS {
            let response = self.request(Method::Get, &target, extra)?;
            if !response.status.is_redirection() {
                return Ok(response);
            }
            target = response.redirect(&target)?;
        }
        Err(OriginError::Protocol { host: host(&target), found: format!("more than {MAX_REDIRECTS} redirects") })
    }

    /// Gets a JSON document of limited size.
    pub(super) fn json(&self, url: &str) -> Result<serde_json::Value, OriginError> {
        let mut response = self.get(url, &[])?.expect_success()?;
        let mut text = Vec::new();
        let protocol = |host: &str, found: String| OriginError::Protocol { host: host.to_owned(), found };
        let read = response.body.as_reader().take(MAX_JSON).read_to_end(&mut text);
        read.map_err(|error| protocol(&response.host, redact(&error.to_string())))?;
        serde_json::from_slice(&text).map_err(|error| match identify(&text) {
            FileFormat::Other(OtherFormat { name, .. }) => {
                let cause = "the network asks for a login, or HF_ENDPOINT is no hub";
                protocol(&response.host, format!("{name} instead of JSON: {cause}"))
            }
            _ => protocol(&response.host, format!("invalid JSON: {error}")),
        })
    }

    fn request(
        &self,
        method: Method,
        target: &Uri,
        extra: &[(header::HeaderName, String)],
    ) -> Result<Response, OriginError> {
        let mut request = match method {
            Method::Head => self.agent.head(target),
            Method::Get => self.agent.get(target),
        };
        // With compression, ranges and sizes would not be those of the file.
        request = request.header(header::ACCEPT_ENCODING, "identity");
        let endpoint = &self.settings.endpoint;
        let bearer =
            || self.settings.token.as_ref().and_then(|token| Secret::new(&format!("Bearer {}", token.expose())));
        if let Some(authorization) = endpoint.authorization().or_else(bearer)
            && uri(endpoint.expose()).is_ok_and(|endpoint| same_origin(&endpoint, target))
        {
            request = request.header(header::AUTHORIZATION, authorization.expose());
        }
        for (name, value) in extra {
            request = request.header(name, value);
        }
        let response = request.call().map_err(|error| unreachable_host(target, &error))?;
        let (parts, body) = response.into_parts();
        Ok(Response { status: parts.status, headers: parts.headers, host: host(target), body })
    }
}

impl Response {
    /// A header as text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// A header as a number.
    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.header(name)?.trim().parse().ok()
    }

    /// A reader of the body.
    pub(super) fn reader(self) -> impl Read {
        self.body.into_reader()
    }

    /// The response itself, or the error of its status.
    pub(super) fn expect_success(self) -> Result<Self, OriginError> {
        if self.status.is_success() {
            Ok(self)
        } else {
            let code = self.header("x-error-code").map(printable);
            Err(OriginError::Status { status: self.status.as_u16(), code, host: self.host })
        }
    }

    /// The target of a redirect of a request to `from`.
    fn redirect(&self, from: &Uri) -> Result<Uri, OriginError> {
        let protocol = |found: String| OriginError::Protocol { host: self.host.clone(), found };
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

fn uri(text: &str) -> Result<Uri, OriginError> {
    let invalid = |found: String| OriginError::Protocol { host: redact(text), found };
    let parsed: Uri = text.parse().map_err(|error| invalid(format!("invalid address: {error}")))?;
    match (parsed.scheme_str(), parsed.host()) {
        (Some("http" | "https"), Some(_)) => Ok(parsed),
        _ => Err(invalid("not an http or https address (see HF_ENDPOINT)".to_owned())),
    }
}

/// The host, and the port if it is not the default.
pub(super) fn host(target: &Uri) -> String {
    match (target.host(), target.port_u16()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (Some(host), None) => host.to_owned(),
        (None, _) => redact(&target.to_string()),
    }
}

/// Whether scheme, host and port are the same: a token is sent only to the origin that it is for.
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

fn unreachable_host(target: &Uri, error: &ureq::Error) -> OriginError {
    OriginError::Unreachable { host: host(target), reason: redact(&error.to_string()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let same = |a: &str, b: &str| same_origin(&uri(a).unwrap(), &uri(b).unwrap());
        assert!(same("https://huggingface.co", "https://HuggingFace.co:443/x"));
        assert!(!same("https://huggingface.co", "http://huggingface.co/x"));
        assert!(!same("https://huggingface.co", "https://cdn.huggingface.co/x"));
        assert!(!same("http://127.0.0.1:1", "http://127.0.0.1:2"));
        assert!(!same("https://huggingface.co", "https://huggingface.co.evil.example/x"));
    }

    #[test]
    fn only_http_addresses_are_accepted() {
        assert!(uri("ftp://x/y").is_err());
        assert!(uri("huggingface.co").is_err());
        assert!(uri("file:///etc/passwd").is_err());
    }
}
