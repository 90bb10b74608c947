//! Settings of fetching, from the environment variables of the hub's tools.

use std::path::PathBuf;
use std::time::Duration;

use redaction::{Secret, Url};

use crate::filesystem::{CACHE_NAME, user_cache};

/// The default hub; `HF_ENDPOINT` names another.
const ENDPOINT: &str = "https://huggingface.co";

/// Settings of fetching.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The hub's address, without a slash at the end. Its user information is sent to its host, in place of the token.
    pub endpoint: Url,
    /// The access token, sent only to the endpoint's host.
    pub token: Option<Secret>,
    /// Whether to use only caches, without any connection.
    pub offline: bool,
    /// The cache that all tools of the hub share (`models--owner--repo` folders).
    pub hub_cache: PathBuf,
    /// This tool's own cache: files from mirrors, and digests of verified files.
    pub own_cache: PathBuf,
    /// Whether the proxies of the environment are used (`HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`).
    pub proxies: bool,
    /// The time limit of connecting.
    pub connect_timeout: Duration,
    /// The time limit of waiting for data.
    pub stall_timeout: Duration,
    /// The maximum number of connections for a transfer that is interrupted or stalls.
    pub attempts: u32,
    /// Commands for pip, tried in order; none: no mirror is used.
    pub pip_commands: Vec<Vec<String>>,
}

impl Settings {
    /// Reads `HF_ENDPOINT`, `HF_TOKEN` (or the token file of a login), `HF_HUB_OFFLINE`, `HF_HUB_CACHE`, `HF_HOME`,
    /// `XDG_CACHE_HOME`; proxies are used.
    #[must_use]
    pub fn from_env() -> Self {
        Self::from_vars(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    /// The same with the variables looked up by `var`.
    fn from_vars(var: impl Fn(&str) -> Option<String>) -> Self {
        let own_cache = user_cache(&var).join(CACHE_NAME);
        let hub_cache = hub_cache(&var);
        let logged_in = hf_hub::Cache::new(hub_cache.clone());
        let token_file = var("HF_TOKEN_PATH").and_then(|path| std::fs::read_to_string(path).ok());
        Self {
            endpoint: Url::parse(var("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_owned()).trim_end_matches('/')),
            token: var("HF_TOKEN").or(token_file).or_else(|| logged_in.token()).and_then(|text| Secret::new(&text)),
            offline: ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"]
                .iter()
                .any(|name| var(name).is_some_and(|value| is_on(&value))),
            hub_cache,
            own_cache,
            proxies: true,
            connect_timeout: Duration::from_secs(5),
            stall_timeout: Duration::from_secs(30),
            attempts: 20,
            pip_commands: ["python3 -m pip", "pip3", "pip"]
                .map(|command| command.split(' ').map(str::to_owned).collect())
                .to_vec(),
        }
    }
}

/// The values for "yes" of the hub's own tools.
fn is_on(value: &str) -> bool {
    ["1", "on", "yes", "true"].contains(&value.to_ascii_lowercase().as_str())
}

fn hub_cache(var: &impl Fn(&str) -> Option<String>) -> PathBuf {
    if let Some(path) = var("HF_HUB_CACHE").or_else(|| var("HUGGINGFACE_HUB_CACHE")) {
        return PathBuf::from(path);
    }
    let home = var("HF_HOME").map(PathBuf::from);
    home.unwrap_or_else(|| user_cache(var).join("huggingface")).join("hub")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(vars: &[(&str, &str)]) -> Settings {
        Settings::from_vars(|name| vars.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn defaults() {
        let settings = with(&[("HOME", "/h")]);
        assert_eq!(settings.endpoint.expose(), "https://huggingface.co");
        assert_eq!(settings.hub_cache, PathBuf::from("/h/.cache/huggingface/hub"));
        assert_eq!(settings.own_cache, PathBuf::from("/h/.cache/inferometer"));
        assert!(!settings.offline && settings.token.is_none());
    }

    #[test]
    fn environment_variables_are_used() {
        let settings = with(&[
            ("HF_HOME", "/hf"),
            ("HF_ENDPOINT", "http://m:1/"),
            ("HF_HUB_OFFLINE", "ON"),
            ("HF_TOKEN", " t\n"),
            ("XDG_CACHE_HOME", "/x"),
        ]);
        assert_eq!(settings.endpoint.expose(), "http://m:1");
        assert_eq!(settings.hub_cache, PathBuf::from("/hf/hub"));
        assert_eq!(settings.own_cache, PathBuf::from("/x/inferometer"));
        assert!(settings.offline);
        assert_eq!(settings.token, Secret::new("t"));
        assert_eq!(with(&[("HF_HOME", "/hf"), ("HF_HUB_CACHE", "/c")]).hub_cache, PathBuf::from("/c"));
    }

    #[test]
    fn a_token_is_never_shown() {
        let settings = with(&[("HF_TOKEN", "hf_secret"), ("HF_ENDPOINT", "http://u:word@m:1/")]);
        let shown = format!("{settings:?}");
        assert!(!shown.contains("hf_secret") && !shown.contains("word"), "{shown}");
        assert_eq!(
            (settings.endpoint.expose(), settings.endpoint.to_string().as_str()),
            ("http://m:1", "http://***@m:1")
        );
    }
}
