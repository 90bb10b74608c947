//! Fetching from a hub that the tests run: transfers, errors, retries, and the secrecy of the token.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod mirror;
mod mock;
mod repository;
mod transfer;

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use models::fetch::{Fetcher, Located, Progress, Reference, Settings};
use models::{Bytes, Error};
use redaction::{Secret, Url};
use sha2::{Digest, Sha256};

use mock::{Mock, Reply, Request};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// Collects the notes.
#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

impl Notes {
    fn all(&self) -> String {
        self.0.lock().unwrap().join("\n")
    }
}

impl Progress for Notes {
    fn started(&self, _: &str, _: Option<Bytes>) {}
    fn advanced(&self, _: Bytes) {}
    fn finished(&self) {}
    fn note(&self, text: &str) {
        self.0.lock().unwrap().push(text.to_owned());
    }
}

/// Caches in a folder of the test, no proxy, no pip.
fn settings(folder: &Path, endpoint: &str) -> Settings {
    Settings {
        endpoint: Url::parse(endpoint),
        token: Secret::new("hf_secret"),
        offline: false,
        hub_cache: folder.join("hub"),
        own_cache: folder.join("own"),
        proxies: false,
        connect_timeout: Duration::from_secs(5),
        stall_timeout: Duration::from_secs(30),
        attempts: 5,
        pip_commands: Vec::new(),
    }
}

fn locate(settings: &Settings, reference: &str, notes: &Notes) -> Result<Located, Error> {
    Fetcher::new(settings.clone(), notes).locate(&Reference::parse(reference).unwrap())
}

/// The content of a file that begins like GGUF.
fn content() -> Vec<u8> {
    let mut bytes = b"GGUF".to_vec();
    bytes.extend((0..60_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8));
    bytes
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The hub's response with `body`, or the requested range of it.
fn whole(request: &Request, body: &[u8]) -> Reply {
    let reply = match request.range() {
        Some(start) => Reply::new(206, &body[start..])
            .with("Content-Range", format!("bytes {start}-{}/{}", body.len() - 1, body.len())),
        None => Reply::new(200, body),
    };
    reply.with("ETag", format!("\"{}\"", sha256(body))).with("X-Repo-Commit", COMMIT).with("Accept-Ranges", "bytes")
}

/// All files under `folder`, without locks and cached digests.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_none_or(|e| e != "lock") && !path.to_string_lossy().contains("/verified/") {
            found.push(path);
        }
    }
    found
}
