//! The address of a server: what the user gives, and where its requests go.
//!
//! ```text
//! given                                  chat completions                             other endpoints
//! http://host:8080                       http://host:8080/v1/chat/completions         http://host:8080/health
//! http://host/proxy/v1                   http://host/proxy/v1/chat/completions        http://host/proxy/health
//! http://host/api/v4                     http://host/api/v4/chat/completions          http://host/api/v4/health
//! http://host/deployments/m?version=1    .../deployments/m/chat/completions?version=1
//! ```
//! A path that does not end with `/v1` stands as it was given, unless the list of models is only found below `/v1`.

use std::sync::OnceLock;

use redaction::{Secret, Url};
use ureq::http::Uri;

use super::error::Problem;

/// Path of the OpenAI interface below the root of most servers.
pub(super) const V1: &str = "/v1";
/// Paths that users copy with the address.
const SUFFIXES: [&str; 3] = ["/chat/completions", "/completions", "/models"];

/// The address of a server.
#[derive(Clone)]
pub(super) struct ServerAddress {
    scheme: String,
    /// `host:port`.
    authority: String,
    host: String,
    port: Option<u16>,
    /// The path in front of every endpoint, such as `/proxy`; empty for most servers.
    root: String,
    /// The path of the OpenAI interface below the root: `/v1`, or empty where the given path has another form.
    api: OnceLock<&'static str>,
    /// The query of every request, without its question mark; empty for most servers. It may contain secrets.
    query: String,
    /// The value of the header for the user information of the address, which is not part of any URL.
    authorization: Option<Secret>,
}

impl ServerAddress {
    /// Reads an address; [`Problem::Address`] says what is wrong with it.
    pub(super) fn new(given: &str) -> Result<Self, Problem> {
        let wrong = |what: &str| Problem::Address(what.to_owned());
        let parsed = Url::parse(given);
        let given = parsed.expose();
        let (scheme, rest) = match given.split_once("://") {
            Some((scheme, rest)) => (scheme.to_ascii_lowercase(), rest),
            None if given.starts_with("http:") || given.starts_with("https:") => {
                return Err(wrong("it has no `//` after its scheme"));
            }
            None => ("http".to_owned(), given),
        };
        if scheme != "http" && scheme != "https" {
            return Err(wrong("it is neither http nor https"));
        }
        let rest = rest.split('#').next().unwrap_or_default();
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if authority.matches(':').count() > 1 && !authority.contains('[') {
            return Err(wrong("an IPv6 address needs brackets, as in http://[::1]:8080"));
        }
        if !authority.is_empty() && authority.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(wrong("it is a port without a host, which has the form http://localhost:8080"));
        }
        let path = path_of(path);
        let (root, api) = match path.strip_suffix(V1) {
            // A path that is given twice, as by a client that appends it, is meant once.
            Some(root) => (root.trim_end_matches(V1).to_owned(), Some(V1)),
            None if path.is_empty() => (path, Some(V1)),
            None => (path, None),
        };
        let text = format!("{scheme}://{authority}{root}");
        let authorization = parsed.authorization();
        let parsed: Uri = text.parse().map_err(|_| wrong("it is not an address"))?;
        let host = parsed.host().filter(|host| !host.is_empty()).ok_or_else(|| wrong("it has no host"))?.to_owned();
        let api = api.map_or_else(OnceLock::new, OnceLock::from);
        let port = parsed.port_u16();
        let (authority, query) = (authority.to_owned(), query.to_owned());
        Ok(Self { scheme, authority, host, port, root, api, query, authorization })
    }

    /// The value of the header `Authorization` for its user information.
    pub(super) fn authorization(&self) -> Option<Secret> {
        self.authorization.clone()
    }

    pub(super) fn is_encrypted(&self) -> bool {
        self.scheme == "https"
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }

    pub(super) fn port(&self) -> u16 {
        self.port.unwrap_or(if self.is_encrypted() { 443 } else { 80 })
    }

    /// The address without the path of the OpenAI interface and without a query: it contains no secret.
    pub(super) fn base(&self) -> String {
        format!("{}{}", self.origin(), self.root)
    }

    /// The URL of an endpoint, for the network: its query may contain secrets. A path of the OpenAI interface begins with `/v1/`.
    pub(super) fn url(&self, path: &str) -> String {
        self.url_below(self.api.get().copied().unwrap_or_default(), path)
    }

    /// The URL of an endpoint if the OpenAI interface were at this path.
    pub(super) fn url_below(&self, api: &str, path: &str) -> String {
        let path = match path.strip_prefix(V1).filter(|rest| rest.starts_with('/')) {
            Some(rest) => format!("{api}{rest}"),
            None => path.to_owned(),
        };
        let join = if path.contains('?') { '&' } else { '?' };
        let query = if self.query.is_empty() { String::new() } else { format!("{join}{}", self.query) };
        format!("{}{path}{query}", self.base())
    }

    /// Whether the path of the OpenAI interface is known; otherwise the given path stands.
    pub(super) fn has_known_api(&self) -> bool {
        self.api.get().is_some()
    }

    /// Sets the path of the OpenAI interface, unless it is known.
    pub(super) fn set_api(&self, api: &'static str) {
        self.api.get_or_init(|| api);
    }

    /// The URL that a redirect names, and the address that leads there; `None` if the header is no URL.
    pub(super) fn redirect(&self, requested: &str, location: &str) -> Option<Redirect> {
        let location = location.trim();
        let url = match location {
            "" => return None,
            absolute if absolute.contains("://") => absolute.to_owned(),
            relative if relative.starts_with("//") => format!("{}:{relative}", self.scheme),
            rooted if rooted.starts_with('/') => format!("{}{rooted}", self.origin()),
            relative => {
                let folder = requested.split('?').next().unwrap_or_default().rsplit_once('/')?.0;
                format!("{folder}/{relative}")
            }
        };
        let _: Uri = url.parse().ok()?;
        let without_query = |url: &str| url.split('?').next().unwrap_or_default().to_owned();
        let (from, to) = (without_query(requested), without_query(&url));
        let slash = match to.strip_suffix('/') {
            Some(bare) if bare == from => Some(true),
            _ if from.strip_suffix('/') == Some(to.as_str()) => Some(false),
            _ => None,
        };
        // The address is what remains without the path of the endpoint below the given address.
        let endpoint = from.strip_prefix(&self.base()).unwrap_or_default();
        let address = to.trim_end_matches('/').strip_suffix(endpoint).map(str::to_owned);
        Some(Redirect { url, address, slash })
    }

    fn origin(&self) -> String {
        format!("{}://{}", self.scheme, self.authority)
    }
}

/// Where a redirect leads.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Redirect {
    /// The whole URL.
    pub(super) url: String,
    /// The address of the server there, if the path of the endpoint is the same.
    pub(super) address: Option<String>,
    /// Whether it differs only by a slash at the end of the path: true if it has one.
    pub(super) slash: Option<bool>,
}

/// A path without slashes at its end and without the endpoints that users copy with it.
fn path_of(path: &str) -> String {
    let mut path = path.trim_end_matches('/');
    for suffix in SUFFIXES {
        path = path.strip_suffix(suffix).unwrap_or(path).trim_end_matches('/');
    }
    path.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(given: &str) -> String {
        let address = ServerAddress::new(given).unwrap_or_else(|problem| panic!("{given}: {problem}"));
        format!("{} {}", address.url("/v1/chat/completions"), address.url("/health"))
    }

    #[test]
    fn addresses_are_read_in_all_common_forms() {
        for (given, chat, health) in [
            ("http://localhost:8080", "http://localhost:8080/v1/chat/completions", "http://localhost:8080/health"),
            ("http://localhost:8080/", "http://localhost:8080/v1/chat/completions", "http://localhost:8080/health"),
            ("localhost:8080", "http://localhost:8080/v1/chat/completions", "http://localhost:8080/health"),
            ("[::1]:8080", "http://[::1]:8080/v1/chat/completions", "http://[::1]:8080/health"),
            ("http://host/v1", "http://host/v1/chat/completions", "http://host/health"),
            ("HTTP://host/v1/v1/", "http://host/v1/chat/completions", "http://host/health"),
            ("https://host/api/v1/", "https://host/api/v1/chat/completions", "https://host/api/health"),
            ("http://h:1/v1/chat/completions", "http://h:1/v1/chat/completions", "http://h:1/health"),
            ("h:1/v1/completions/", "http://h:1/v1/chat/completions", "http://h:1/health"),
            ("http://host/v1/models#list", "http://host/v1/chat/completions", "http://host/health"),
            ("http://h/api/paas/v4", "http://h/api/paas/v4/chat/completions", "http://h/api/paas/v4/health"),
            ("http://h/api/v4/chat/completions", "http://h/api/v4/chat/completions", "http://h/api/v4/health"),
        ] {
            assert_eq!(urls(given), format!("{chat} {health}"), "{given}");
        }
    }

    #[test]
    fn a_query_is_part_of_every_request() {
        let azure = "http://h/openai/deployments/gpt/chat/completions?api-version=2024-10-21";
        assert_eq!(
            urls(azure),
            "http://h/openai/deployments/gpt/chat/completions?api-version=2024-10-21 http://h/openai/deployments/gpt/health?api-version=2024-10-21"
        );
        let address = ServerAddress::new("http://h?k=1").expect("an address");
        assert_eq!(address.url("/v1/models?status=downloaded"), "http://h/v1/models?status=downloaded&k=1");
    }

    #[test]
    fn user_information_is_a_header_and_part_of_no_url() {
        let address = ServerAddress::new("http://bob:ad-41@h:1/v1?api_key=ad-42").expect("an address");
        assert_eq!(address.authorization().as_ref().map(Secret::expose), Some("Basic Ym9iOmFkLTQx"));
        assert_eq!((address.base().as_str(), address.host(), address.port()), ("http://h:1", "h", 1));
        assert_eq!(address.url("/v1/models"), "http://h:1/v1/models?api_key=ad-42");
        assert!(ServerAddress::new("http://h").expect("an address").authorization().is_none());
    }

    #[test]
    fn a_path_stands_until_the_interface_is_found_below_it() {
        let address = ServerAddress::new("http://h/proxy").expect("an address");
        assert!(!address.has_known_api());
        assert_eq!(address.url("/v1/models"), "http://h/proxy/models");
        address.set_api(V1);
        assert_eq!(address.url("/v1/models"), "http://h/proxy/v1/models");
    }

    #[test]
    fn what_is_no_address_is_refused_with_the_reason() {
        for (given, problem) in [
            ("ftp://host", "neither http nor https"),
            ("ws://host", "neither http nor https"),
            ("http:/localhost:8080", "no `//`"),
            ("::1", "brackets"),
            ("http://::1:8080/v1", "brackets"),
            ("8080", "a port without a host"),
            ("http://", "not an address"),
            ("http://:8080", "no host"),
            ("http://a b", "not an address"),
        ] {
            let found = ServerAddress::new(given).err().unwrap_or_else(|| panic!("{given} is refused")).to_string();
            assert!(found.contains(problem), "{given}: {found}");
        }
    }

    #[test]
    fn a_redirect_names_the_address_to_give() {
        let address = ServerAddress::new("http://h:1").expect("an address");
        let of = |path: &str, location: &str| address.redirect(&address.url(path), location);
        let found = of("/v1/models", "http://h:1/real/v1/models").expect("a redirect");
        assert_eq!((found.address.as_deref(), found.slash), (Some("http://h:1/real"), None));
        let found = of("/v1/models", "https://other/v1/models?x=1").expect("a redirect");
        assert_eq!(found.address.as_deref(), Some("https://other"));
        let found = of("/v1/chat/completions", "/v1/chat/completions/").expect("a redirect");
        assert_eq!((found.url.as_str(), found.slash), ("http://h:1/v1/chat/completions/", Some(true)));
        let found = of("/v1/models", "/login").expect("a redirect");
        assert_eq!((found.url.as_str(), found.address, found.slash), ("http://h:1/login", None, None));
        assert_eq!(of("/v1/models", "elsewhere").map(|found| found.url).as_deref(), Some("http://h:1/v1/elsewhere"));
        assert_eq!(of("/v1/models", ""), None);
    }
}
