//! Addresses as references to models: `https://` of the hub, `hf.co/owner/repo`, `hf://`, `file://`.

use std::path::PathBuf;

use super::hub_reference::{DEFAULT_REVISION, HubReference, not_a_reference};
use crate::error::Error;

/// Hosts of the hub. Their addresses name repositories, wherever `HF_ENDPOINT` fetches from.
const HUB_HOSTS: [&str; 4] = ["hf.co", "huggingface.co", "www.hf.co", "www.huggingface.co"];

/// What an address names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Address {
    /// A file or folder of this machine.
    File(PathBuf),
    /// A repository of the hub, or one of its files.
    Hub(HubReference),
}

/// What the address `text` names; `None` if it is no address. `endpoint` is the hub that files are fetched from.
pub(super) fn parse(text: &str, endpoint: &str) -> Option<Result<Address, Error>> {
    if let Some(path) = text.strip_prefix("file:") {
        return Some(file(text, path));
    }
    if let Some(rest) = strip_scheme(text, &["hf://", "huggingface://"]) {
        return Some(hub(text, rest));
    }
    if let Some(rest) = strip_scheme(text, &["https://", "http://"]) {
        let (host, path) = host_and_path(rest);
        let is_endpoint =
            strip_scheme(endpoint, &["https://", "http://"]).is_some_and(|own| host_and_path(own).0 == host);
        return Some(if is_hub(host) || is_endpoint { hub(text, path) } else { Err(other_host(text, host)) });
    }
    if let Some((scheme, _)) = text.split_once("://") {
        let expected = "an https address of the hub, or a path";
        let found = format!("an address of the scheme `{scheme}`");
        return Some(Err(not_a_reference(&shown(text), expected, &found, "fetch the file and give its path")));
    }
    let (host, path) = text.split_once('/')?;
    is_hub(host).then(|| hub(text, path))
}

fn is_hub(host: &str) -> bool {
    HUB_HOSTS.iter().any(|known| known.eq_ignore_ascii_case(host))
}

fn strip_scheme<'a>(text: &'a str, schemes: &[&str]) -> Option<&'a str> {
    schemes.iter().find_map(|scheme| {
        let start = text.get(..scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then(|| &text[scheme.len()..])
    })
}

/// The host without a user, and what follows the slash behind it.
fn host_and_path(rest: &str) -> (&str, &str) {
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    (host.rsplit_once('@').map_or(host, |(_, host)| host), path)
}

/// The address without user, query and fragment, which may contain secrets.
fn shown(text: &str) -> String {
    let text = text.split(['?', '#']).next().unwrap_or_default();
    match text.split_once("://") {
        Some((scheme, rest)) => {
            let (host, path) = host_and_path(rest);
            format!("{scheme}://{host}{}{path}", if path.is_empty() { "" } else { "/" })
        }
        None => text.to_owned(),
    }
}

fn other_host(text: &str, host: &str) -> Error {
    let is_hub_path = ["/resolve/", "/blob/"].iter().any(|part| text.contains(part));
    let advice = if is_hub_path {
        format!("set HF_ENDPOINT to https://{host} if it is a mirror of the hub, or fetch the file and give its path")
    } else {
        "fetch the file and give its path".to_owned()
    };
    not_a_reference(&shown(text), "an address of the hub (huggingface.co)", &format!("another host, {host}"), &advice)
}

/// `owner/repo`, `owner/repo:QUANT`, `owner/repo/tree/REVISION`, `owner/repo/blob/REVISION/FILE` (also `resolve` and `raw`), as in the
/// addresses of the hub; for `hf://` also `owner/repo/FILE`.
fn hub(text: &str, path: &str) -> Result<Address, Error> {
    let invalid = |expected: &str, found: &str| {
        let advice = "copy the address of the model's page, or give owner/repo[:file][@revision]";
        Err(not_a_reference(&shown(text), expected, found, advice))
    };
    let path = decoded(path.split(['?', '#']).next().unwrap_or_default());
    let path = path.strip_prefix("api/models/").or_else(|| path.strip_prefix("models/")).unwrap_or(&path);
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let (owner, repo, rest) = match &parts[..] {
        [kind @ ("datasets" | "spaces" | "collections" | "papers" | "docs" | "blog"), ..] => {
            return invalid("a model of the hub", &format!("a page of its {kind}"));
        }
        [owner, repo, rest @ ..] => (owner, repo, rest),
        _ => return invalid("a repository, owner/repo", &format!("`{path}`")),
    };
    let repository = format!("{owner}/{repo}");
    let plain = HubReference::parse(&repository)?;
    let (revision, file) = match rest {
        [] => (None, &[][..]),
        ["tree" | "blob" | "resolve" | "raw", "refs", kind, number, file @ ..] => {
            (Some(format!("refs/{kind}/{number}")), file)
        }
        ["tree", revision, ..] => (Some((*revision).to_owned()), &[][..]),
        ["blob" | "resolve" | "raw", revision, file @ ..] => (Some((*revision).to_owned()), file),
        file if !text.starts_with("http") => (None, file),
        [page, ..] => return invalid("a model's page, or one of its files", &format!("`{page}`")),
    };
    // `main` is what a reference without a revision means.
    let revision = revision.filter(|revision| revision != DEFAULT_REVISION).or(plain.revision);
    let file = (!file.is_empty()).then(|| file.join("/"));
    // Weights in safetensors are read with the other files of their repository.
    let file = file.filter(|file| !file.ends_with(".safetensors") && !file.ends_with("config.json")).or(plain.file);
    HubReference { repo: plain.repo, revision, file, quant: plain.quant }.checked(&shown(text)).map(Address::Hub)
}

/// `file:///path`, `file://localhost/path`, `file:/path`.
fn file(text: &str, path: &str) -> Result<Address, Error> {
    let path = match path.strip_prefix("//") {
        Some(rest) => rest.strip_prefix("localhost").filter(|rest| rest.starts_with('/')).unwrap_or(rest),
        None => path,
    };
    if !path.starts_with('/') {
        let (expected, found) = ("an absolute path after file://", format!("`{path}`"));
        return Err(not_a_reference(text, expected, &found, "give the path without file://"));
    }
    Ok(Address::File(PathBuf::from(decoded(path))))
}

/// The text with its percent-encoded bytes decoded, where they are UTF-8.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let hex = |at: usize| {
            after.get(at).and_then(|byte| char::from(*byte).to_digit(16)).and_then(|n| u8::try_from(n).ok())
        };
        match (first, hex(0), hex(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push(high << 4 | low);
                rest = &after[2..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> String {
        match parse(text, "https://user:word@mirror.example/") {
            None => "no address".to_owned(),
            Some(Ok(Address::File(path))) => path.display().to_string(),
            Some(Ok(Address::Hub(hub))) => hub.to_string(),
            Some(Err(error)) => error.with_advice(),
        }
    }

    #[test]
    fn addresses_of_the_hub_are_references() {
        let blob = "https://huggingface.co/o/r/blob/main/x.Q4_0.gguf";
        assert_eq!(parsed(blob), "o/r:x.Q4_0.gguf");
        for (address, reference) in [
            ("https://huggingface.co/o/r", "o/r"),
            ("https://huggingface.co/o/r/", "o/r"),
            ("HTTPS://HuggingFace.co/o/r/tree/main", "o/r"),
            ("https://huggingface.co/o/r/tree/v1.0/sub", "o/r@v1.0"),
            ("https://huggingface.co/o/r/resolve/main/x.gguf?download=true", "o/r:x.gguf"),
            ("https://huggingface.co/o/r/resolve/refs%2Fpr%2F3/x.gguf", "o/r:x.gguf@refs/pr/3"),
            ("https://huggingface.co/o/r/raw/abc/q4/x-00001-of-00002.gguf#L1", "o/r:q4/x-00001-of-00002.gguf@abc"),
            ("https://huggingface.co/o/r/blob/main/model.safetensors", "o/r"),
            ("https://huggingface.co/api/models/o/r", "o/r"),
            ("https://mirror.example/o/r/resolve/main/x.gguf", "o/r:x.gguf"),
            ("hf.co/o/r", "o/r"),
            ("hf.co/o/r:Q4_K_M", "o/r:Q4_K_M"),
            ("huggingface.co/o/r:latest", "o/r"),
            ("hf://o/r", "o/r"),
            ("hf://o/r/x.gguf", "o/r:x.gguf"),
            ("hf://o/r@v1", "o/r@v1"),
            ("file:///tmp/a%20b.gguf", "/tmp/a b.gguf"),
            ("file://localhost/tmp/x.gguf", "/tmp/x.gguf"),
            ("file:/tmp/100%.gguf", "/tmp/100%.gguf"),
            ("o/r", "no address"),
            ("hf.company/r", "no address"),
        ] {
            assert_eq!(parsed(address), reference, "{address}");
        }
    }

    #[test]
    fn other_addresses_are_refused_without_their_secrets() {
        let errors = [
            "https://user:secret@example.com/x.gguf?token=secret",
            "https://hf-mirror.com/o/r/resolve/main/x.gguf",
            "https://huggingface.co/datasets/o/d",
            "https://huggingface.co/gpt2",
            "https://huggingface.co/o/r/discussions/3?x=secret",
            "https://huggingface.co/o/r/resolve/main/../../x.gguf",
            "s3://bucket/x.gguf",
            "file://server/x.gguf/..",
        ]
        .map(parsed);
        assert!(!errors.concat().contains("secret"));
        insta::assert_snapshot!(errors.join("\n"));
    }
}
