//! The hub and the cache that its tools share. Layout, names and addresses are `hf-hub`'s; requests and checks are ours.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use hf_hub::{Cache, Repo, RepoType};
use serde_json::Value;

use crate::digest;
use crate::disk::{self, Lock};
use crate::units::Bytes;

use super::Wanted;
use super::choice::{self, Choice};
use super::download::Transfer;
use super::failure::Failure;
use super::http::{Answer, Http};
use super::progress::Progress;
use super::reference::is_safe_path;
use super::settings::Settings;
use super::verify::{self, Expected};

/// One hub and its cache.
pub(super) struct Hub<'a> {
    settings: &'a Settings,
    http: Http<'a>,
}

/// What the hub says of a file before it sends it.
struct Announced {
    /// Names the content in the cache.
    etag: String,
    commit: Option<String>,
    expected: Expected,
}

impl<'a> Hub<'a> {
    pub(super) fn new(settings: &'a Settings) -> Self {
        Self { settings, http: Http::new(settings) }
    }

    /// The folder of a revision in the cache, if it is there.
    pub(super) fn cached_snapshot(&self, repo: &str, revision: &str) -> Option<PathBuf> {
        let root = self.repo_folder(repo);
        // A commit may have been asked for by its own name, or through a branch that points to it.
        let by_ref = fs::read_to_string(root.join("refs").join(revision)).ok().map(|commit| commit.trim().to_owned());
        let commits = is_commit(revision)
            .then(|| revision.to_owned())
            .into_iter()
            .chain(by_ref.filter(|commit| is_safe_path(commit)));
        commits.map(|commit| root.join("snapshots").join(commit)).find(|folder| folder.is_dir())
    }

    /// A file of a revision in the cache, if it is there.
    pub(super) fn cached_file(&self, wanted: &Wanted) -> Option<PathBuf> {
        let path = self.cached_snapshot(&wanted.repo, &wanted.revision)?.join(&wanted.file);
        path.is_file().then_some(path)
    }

    /// What a repository offers, for a reference that names no file, and the commit that the answer belongs to.
    pub(super) fn choose(&self, repo: &str, revision: &str) -> Result<(Choice, String), Failure> {
        let address = Repo::with_revision(repo.to_owned(), RepoType::Model, revision.to_owned()).api_url();
        let info = self.http.json(&format!("{}/api/{address}", self.settings.endpoint))?;
        let names = info["siblings"].as_array().into_iter().flatten().filter_map(|file| file["rfilename"].as_str());
        // Names come from the server; those that could climb out of the cache are not for us.
        let names: Vec<&str> = names.filter(|name| is_safe_path(name)).collect();
        let commit = info["sha"].as_str().filter(|commit| is_commit(commit)).unwrap_or(revision).to_owned();
        choice::choose(&names).map(|choice| (choice, commit))
    }

    /// Fetches one file into the cache. Nothing has its name there before it is complete and verified.
    pub(super) fn fetch(&self, wanted: &Wanted, stamps: &Path, progress: &dyn Progress) -> Result<PathBuf, Failure> {
        let url = self.url(wanted)?;
        let announced = self.ask(&url, wanted)?;
        let blob = self.repo_folder(&wanted.repo).join("blobs").join(&announced.etag);
        let folder = blob.parent().unwrap_or(&blob).to_path_buf();
        fs::create_dir_all(&folder).map_err(Failure::disk("create", &folder))?;
        // The name and the kind of lock of hf-hub 0.5, so that its users wait for us and we for them.
        let lock_path = disk::beside(&blob, ".lock");
        let waiting = || progress.note(&format!("another process is fetching {}; waiting for it", wanted.file));
        let _lock = Lock::acquire(&lock_path, waiting).map_err(Failure::disk("lock", &lock_path))?;

        let is_good =
            blob.is_file() && verify::verify(&blob, &wanted.file, &announced.expected, Some(stamps), progress).is_ok();
        if !is_good {
            let part = disk::beside(&blob, ".part");
            let transfer = Transfer {
                http: &self.http,
                url: &url,
                label: &wanted.file,
                expected: &announced.expected,
                attempts: self.settings.attempts,
            };
            transfer.run(&part, progress)?;
            if let Err(failure) = verify::verify(&part, &wanted.file, &announced.expected, None, progress) {
                let _ = fs::remove_file(&part);
                return Err(failure);
            }
            File::open(&part)
                .and_then(|file| disk::publish(&file, &part, &blob))
                .map_err(Failure::disk("finish", &blob))?;
            verify::remember(&blob, &announced.expected, stamps);
        }
        self.link(wanted, &announced)
    }

    /// Asks for size, digest and commit, and compares them with what is known.
    fn ask(&self, url: &str, wanted: &Wanted) -> Result<Announced, Failure> {
        let answer = self.http.head(url)?;
        let answer = if answer.status.is_redirection() { answer } else { answer.expect_success()? };
        let announced = announced(&answer, wanted);
        let mut expected = wanted.expected.clone();
        if let (Some(known), Some(found)) = (expected.bytes, announced.expected.bytes)
            && known != found
        {
            return Err(Failure::WrongSize { expected: known, found });
        }
        if let (Some(known), Some(found)) = (&expected.sha256, &announced.expected.sha256)
            && known != found
        {
            return Err(Failure::WrongHash { expected: known.clone(), found: found.clone() });
        }
        expected.bytes = expected.bytes.or(announced.expected.bytes);
        expected.sha256 = expected.sha256.or_else(|| announced.expected.sha256.clone());
        Ok(Announced { expected, ..announced })
    }

    /// Gives a blob its name in the snapshot of its commit: a relative link, as all tools of the hub make it.
    fn link(&self, wanted: &Wanted, announced: &Announced) -> Result<PathBuf, Failure> {
        let root = self.repo_folder(&wanted.repo);
        let commit = announced.commit.as_deref().unwrap_or(&wanted.revision);
        let pointer = root.join("snapshots").join(commit).join(&wanted.file);
        let folder = pointer.parent().unwrap_or(&root);
        fs::create_dir_all(folder).map_err(Failure::disk("create", folder))?;
        // Up from the file's folder to the repository's: the commit's folder, `snapshots`, and the file's own folders. A
        // revision that is no commit may have slashes of its own.
        let depth = 2 + commit.matches('/').count() + wanted.file.matches('/').count();
        let target = PathBuf::from("../".repeat(depth)).join("blobs").join(&announced.etag);
        // A link is made under another name and moved, for there may be an old one that others read just now.
        let fresh = disk::beside(&pointer, &format!(".{}.link", std::process::id()));
        let _ = fs::remove_file(&fresh);
        std::os::unix::fs::symlink(&target, &fresh)
            .and_then(|()| fs::rename(&fresh, &pointer))
            .map_err(Failure::disk("link", &pointer))?;
        if commit != wanted.revision {
            let repo = self.cache().repo(repo(wanted));
            repo.create_ref(commit).map_err(Failure::disk("write the revision of", &root))?;
        }
        Ok(pointer)
    }

    fn url(&self, wanted: &Wanted) -> Result<String, Failure> {
        let builder =
            hf_hub::api::sync::ApiBuilder::from_cache(self.cache()).with_endpoint(self.settings.endpoint.clone());
        let api = builder
            .with_token(None)
            .build()
            .map_err(|error| Failure::Protocol { host: self.settings.endpoint.clone(), found: error.to_string() })?;
        Ok(api.repo(repo(wanted)).url(&wanted.file))
    }

    fn cache(&self) -> Cache {
        Cache::new(self.settings.hub_cache.clone())
    }

    fn repo_folder(&self, repo: &str) -> PathBuf {
        self.settings.hub_cache.join(Repo::model(repo.to_owned()).folder_name())
    }
}

fn repo(wanted: &Wanted) -> Repo {
    Repo::with_revision(wanted.repo.clone(), RepoType::Model, wanted.revision.clone())
}

/// Reads the hub's headers. For large files the first answer is a redirect whose own length and ETag mean nothing; the
/// `X-Linked-` headers carry those of the file, and the ETag of a large file is its sha256.
fn announced(answer: &Answer, wanted: &Wanted) -> Announced {
    let etag = answer.header("x-linked-etag").or_else(|| answer.header("etag")).unwrap_or_default();
    let etag = etag.trim_start_matches("W/").trim_matches('"').to_owned();
    let sha256 = digest::is_digest(&etag).then(|| etag.clone());
    let own_length = answer.status.is_success().then(|| answer.number("content-length")).flatten();
    let bytes = answer.number("x-linked-size").or(own_length).map(Bytes);
    let commit = answer.header("x-repo-commit").filter(|commit| is_commit(commit)).map(str::to_owned);
    // An ETag becomes a file name. One that cannot be is replaced by the name of what was asked for.
    let named = if !etag.is_empty() && etag.len() <= 128 && etag.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    {
        etag
    } else {
        digest::of_bytes(format!("{} {}", wanted.revision, wanted.file).as_bytes())
    };
    Announced { etag: named, commit, expected: Expected { bytes, sha256 } }
}

fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// The digest that a file of the cache says it has: tools of the hub name the content of large files by it.
pub(super) fn named_digest(path: &Path) -> Option<String> {
    let real = fs::canonicalize(path).ok()?;
    real.file_name()?.to_str().filter(|name| digest::is_digest(name)).map(str::to_owned)
}

/// Whether the folder of a revision holds all shards that its index names.
pub(super) fn has_all_shards(snapshot: &Path) -> bool {
    let Ok(text) = fs::read(snapshot.join(choice::INDEX)) else {
        return snapshot.join("model.safetensors").is_file();
    };
    let index: Value = serde_json::from_slice(&text).unwrap_or_default();
    let shards: Option<Vec<&str>> =
        index["weight_map"].as_object().map(|map| map.values().filter_map(Value::as_str).collect());
    shards.is_some_and(|shards| {
        !shards.is_empty() && shards.iter().all(|shard| is_safe_path(shard) && snapshot.join(shard).is_file())
    })
}
