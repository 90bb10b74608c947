//! The hub, and the cache that all its tools share. `hf-hub` defines layout, names and addresses; requests and checks are here.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use hf_hub::{Cache, Repo, RepoType};
use serde_json::Value;

use crate::container::json;
use crate::digest;
use crate::error::OriginError;
use crate::filesystem::{self, Lock};
use crate::progress::Progress;
use crate::units::Bytes;

use super::download::Transfer;
use super::http::{Http, Response};
use super::hub_file::{ExpectedContent, HubFile};
use super::hub_reference::is_safe_path;
use super::repository_files::{self, ModelFiles};
use super::settings::Settings;
use super::verify;

/// The size limit in bytes of an index of shards.
const INDEX_LIMIT: u64 = 32 << 20;

/// One hub and its cache.
pub(super) struct Hub<'a> {
    settings: &'a Settings,
    http: Http<'a>,
}

/// The description of a file in the headers of the hub.
struct FileHeaders {
    /// The name of the content in the cache.
    etag: String,
    commit: Option<String>,
    expected: ExpectedContent,
}

impl<'a> Hub<'a> {
    pub(super) fn new(settings: &'a Settings) -> Self {
        Self { settings, http: Http::new(settings) }
    }

    /// The folder of a revision in the cache, if it exists.
    pub(super) fn cached_snapshot(&self, repo: &str, revision: &str) -> Option<PathBuf> {
        let root = self.repo_folder(repo);
        // The revision is a commit, or a branch that refers to one.
        let by_ref = fs::read_to_string(root.join("refs").join(revision)).ok().map(|commit| commit.trim().to_owned());
        let commits = is_commit(revision)
            .then(|| revision.to_owned())
            .into_iter()
            .chain(by_ref.filter(|commit| is_safe_path(commit)));
        commits.map(|commit| root.join("snapshots").join(commit)).find(|folder| folder.is_dir())
    }

    /// A file of a revision in the cache, if it exists.
    pub(super) fn cached_file(&self, wanted: &HubFile) -> Option<PathBuf> {
        let path = self.cached_snapshot(&wanted.repo, &wanted.revision)?.join(&wanted.file);
        path.is_file().then_some(path)
    }

    /// The model files of a repository, for a reference without a file, and their commit.
    pub(super) fn choose(
        &self,
        repo: &str,
        revision: &str,
        quant: Option<&str>,
    ) -> Result<(ModelFiles, String), OriginError> {
        let (names, commit) = self.names(repo, revision)?;
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        repository_files::choose(&names, quant).map(|files| (files, commit))
    }

    /// The names of all files of a repository, and their commit.
    pub(super) fn names(&self, repo: &str, revision: &str) -> Result<(Vec<String>, String), OriginError> {
        let address = Repo::with_revision(repo.to_owned(), RepoType::Model, revision.to_owned()).api_url();
        let info = self.http.json(&format!("{}/api/{address}", self.settings.endpoint.expose()))?;
        let names = info["siblings"].as_array().into_iter().flatten().filter_map(|file| file["rfilename"].as_str());
        // The server is not trusted: names that could leave the cache are ignored.
        let names = names.filter(|name| is_safe_path(name)).map(str::to_owned).collect();
        let commit = info["sha"].as_str().filter(|commit| is_commit(commit)).unwrap_or(revision).to_owned();
        Ok((names, commit))
    }

    /// Downloads a file to the cache. It gets its name there when it is complete and verified.
    pub(super) fn fetch(
        &self,
        wanted: &HubFile,
        digests: &Path,
        progress: &dyn Progress,
    ) -> Result<PathBuf, OriginError> {
        let url = self.url(wanted)?;
        let headers = self.headers(&url, wanted)?;
        let blob = self.repo_folder(&wanted.repo).join("blobs").join(&headers.etag);
        let folder = blob.parent().unwrap_or(&blob).to_path_buf();
        fs::create_dir_all(&folder).map_err(OriginError::disk("create", &folder))?;
        // The same lock file as in hf-hub 0.5, so that its users and this process wait for each other.
        let lock_path = filesystem::with_suffix(&blob, ".lock");
        let waiting = || progress.note(&format!("another process is fetching {}; waiting for it", wanted.file));
        let _lock = Lock::acquire(&lock_path, waiting).map_err(OriginError::disk("lock", &lock_path))?;

        let is_good =
            blob.is_file() && verify::verify(&blob, &wanted.file, &headers.expected, Some(digests), progress).is_ok();
        if !is_good {
            let part = filesystem::with_suffix(&blob, ".part");
            let transfer = Transfer {
                http: &self.http,
                url: &url,
                label: &wanted.file,
                expected: &headers.expected,
                attempts: self.settings.attempts,
            };
            transfer.run(&part, progress)?;
            if let Err(failure) = verify::verify(&part, &wanted.file, &headers.expected, None, progress) {
                let _ = fs::remove_file(&part);
                return Err(failure);
            }
            File::open(&part)
                .and_then(|file| filesystem::publish(&file, &part, &blob))
                .map_err(OriginError::disk("finish", &blob))?;
            verify::store_digest(&blob, &headers.expected, digests);
        }
        self.link(wanted, &headers)
    }

    /// Requests size, digest and commit, and compares them with the expected ones.
    fn headers(&self, url: &str, wanted: &HubFile) -> Result<FileHeaders, OriginError> {
        let response = self.http.head(url)?;
        let response = if response.status.is_redirection() { response } else { response.expect_success()? };
        let headers = read_headers(&response, wanted);
        let mut expected = wanted.expected.clone();
        if let (Some(known), Some(found)) = (expected.bytes, headers.expected.bytes)
            && known != found
        {
            return Err(OriginError::WrongSize { expected: known, found });
        }
        if let (Some(known), Some(found)) = (&expected.sha256, &headers.expected.sha256)
            && known != found
        {
            return Err(OriginError::WrongHash { expected: known.clone(), found: found.clone() });
        }
        expected.bytes = expected.bytes.or(headers.expected.bytes);
        expected.sha256 = expected.sha256.or_else(|| headers.expected.sha256.clone());
        Ok(FileHeaders { expected, ..headers })
    }

    /// Links the blob into the snapshot of its commit, by a relative link as in all tools of the hub.
    fn link(&self, wanted: &HubFile, headers: &FileHeaders) -> Result<PathBuf, OriginError> {
        let root = self.repo_folder(&wanted.repo);
        let commit = headers.commit.as_deref().unwrap_or(&wanted.revision);
        let pointer = root.join("snapshots").join(commit).join(&wanted.file);
        let folder = pointer.parent().unwrap_or(&root);
        fs::create_dir_all(folder).map_err(OriginError::disk("create", folder))?;
        // From the file's folder up to the repository's: the folders in the file name, the commit, `snapshots`. A revision that is
        // not a commit may contain slashes.
        let depth = 2 + commit.matches('/').count() + wanted.file.matches('/').count();
        let target = PathBuf::from("../".repeat(depth)).join("blobs").join(&headers.etag);
        // The link is created under another name and renamed, since other processes may be reading an old one.
        let fresh = filesystem::with_suffix(&pointer, &format!(".{}.link", std::process::id()));
        let _ = fs::remove_file(&fresh);
        std::os::unix::fs::symlink(&target, &fresh)
            .and_then(|()| fs::rename(&fresh, &pointer))
            .map_err(OriginError::disk("link", &pointer))?;
        if commit != wanted.revision {
            let repo = self.cache().repo(repo(wanted));
            repo.create_ref(commit).map_err(OriginError::disk("write the revision of", &root))?;
        }
        Ok(pointer)
    }

    fn url(&self, wanted: &HubFile) -> Result<String, OriginError> {
        let builder = hf_hub::api::sync::ApiBuilder::from_cache(self.cache())
            .with_endpoint(self.settings.endpoint.expose().to_owned());
        let api = builder.with_token(None).build().map_err(|error| OriginError::Protocol {
            host: self.settings.endpoint.to_string(),
            found: redaction::redact(&error.to_string()),
        })?;
        Ok(api.repo(repo(wanted)).url(&wanted.file))
    }

    fn cache(&self) -> Cache {
        Cache::new(self.settings.hub_cache.clone())
    }

    fn repo_folder(&self, repo: &str) -> PathBuf {
        self.settings.hub_cache.join(Repo::model(repo.to_owned()).folder_name())
    }
}

fn repo(wanted: &HubFile) -> Repo {
    Repo::with_revision(wanted.repo.clone(), RepoType::Model, wanted.revision.clone())
}

/// Reads the hub's headers. For large files the first response is a redirect with its own length and ETag; the `X-Linked-` headers
/// contain those of the file, and the ETag of a large file is its sha256.
fn read_headers(response: &Response, wanted: &HubFile) -> FileHeaders {
    let etag = response.header("x-linked-etag").or_else(|| response.header("etag")).unwrap_or_default();
    let etag = etag.trim_start_matches("W/").trim_matches('"').to_owned();
    let sha256 = digest::is_digest(&etag).then(|| etag.clone());
    let own_length = response.status.is_success().then(|| response.number("content-length")).flatten();
    let bytes = response.number("x-linked-size").or(own_length).map(Bytes);
    let commit = response.header("x-repo-commit").filter(|commit| is_commit(commit)).map(str::to_owned);
    // The ETag is used as a file name. If it is not a safe one, a digest of revision and file replaces it.
    let name = if !etag.is_empty() && etag.len() <= 128 && etag.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    {
        etag
    } else {
        digest::of_bytes(format!("{} {}", wanted.revision, wanted.file).as_bytes())
    };
    FileHeaders { etag: name, commit, expected: ExpectedContent { bytes, sha256 } }
}

fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// The names of the files in the folder of a revision that are complete, also in its folders.
pub(super) fn snapshot_names(snapshot: &Path) -> Vec<String> {
    fn add(names: &mut Vec<String>, root: &Path, folder: &Path) {
        for path in fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
            if path.is_dir() {
                add(names, root, &path);
            } else if path.is_file()
                && let Some(name) = path.strip_prefix(root).ok().and_then(Path::to_str)
            {
                names.push(name.to_owned());
            }
        }
    }
    let mut names = Vec::new();
    add(&mut names, snapshot, snapshot);
    names.sort();
    names
}

/// The digest in the name of a cached file: tools of the hub name the content of large files by it.
pub(super) fn digest_in_name(path: &Path) -> Option<String> {
    let real = fs::canonicalize(path).ok()?;
    real.file_name()?.to_str().filter(|name| digest::is_digest(name)).map(str::to_owned)
}

/// Whether the folder of a revision contains all shards of its index.
pub(super) fn has_all_shards(snapshot: &Path) -> bool {
    let index = snapshot.join(repository_files::INDEX);
    if !index.is_file() {
        return snapshot.join("model.safetensors").is_file();
    }
    let Ok(index) = json::read(&index, INDEX_LIMIT) else { return false };
    let shards: Option<Vec<&str>> =
        index["weight_map"].as_object().map(|map| map.values().filter_map(Value::as_str).collect());
    shards.is_some_and(|shards| {
        !shards.is_empty() && shards.iter().all(|shard| is_safe_path(shard) && snapshot.join(shard).is_file())
    })
}
