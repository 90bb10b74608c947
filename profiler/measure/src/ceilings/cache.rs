//! [`CeilingCache`]: measured ceilings in the cache folder of the user. One file per machine, because machines may share a home folder.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use record::{Ceilings, Error, Printable, write_atomically};

/// A folder with one file per machine.
#[derive(Debug, Clone)]
pub(super) struct CeilingCache {
    path: PathBuf,
}

impl CeilingCache {
    /// `$XDG_CACHE_HOME/inferometer/ceilings`, `~/.cache/inferometer/ceilings` without it.
    pub(super) fn of_user() -> Self {
        Self { path: models::fetch::cache_home().join("ceilings") }
    }

    #[cfg(test)]
    pub(super) fn at(path: &Path) -> Self {
        Self { path: path.to_path_buf() }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The stored ceilings of a machine. A file that cannot be read, or that belongs to another machine, counts as missing: the
    /// ceilings can be measured again.
    pub(super) fn read(&self, machine: &str) -> Option<Ceilings> {
        let text = fs::read(self.file(machine)).ok()?;
        serde_json::from_slice(&text).ok().filter(|ceilings: &Ceilings| ceilings.machine == machine)
    }

    pub(super) fn write(&self, ceilings: &Ceilings) -> Result<(), Error> {
        let path = self.file(&ceilings.machine);
        let text = Printable::json(ceilings).map_err(|error| Error::file(&path, "write")(error.into()))?;
        write_atomically(&path, &text)
    }

    /// Waits until no other process measures, because two at once would disturb each other. Closing the file releases the lock.
    pub(super) fn lock(&self, waiting: impl FnOnce()) -> Result<File, Error> {
        fs::create_dir_all(&self.path).map_err(Error::file(&self.path, "create"))?;
        let path = self.path.join("lock");
        let file = File::create(&path).map_err(Error::file(&path, "create"))?;
        if file.try_lock().is_err() {
            waiting();
            file.lock().map_err(Error::file(&path, "lock"))?;
        }
        Ok(file)
    }

    fn file(&self, machine: &str) -> PathBuf {
        self.path.join(format!("{machine}.json"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ceilings_are_found_for_their_machine_only() {
        let folder = tempfile::tempdir().unwrap();
        let cache = CeilingCache::at(&folder.path().join("deep/down"));
        assert_eq!(cache.read("abc"), None);
        let lock = cache.lock(|| panic!("no other process measures")).unwrap();
        let ceilings = Ceilings { machine: "abc".to_owned(), ..Ceilings::absent("not measured") };
        cache.write(&ceilings).unwrap();
        drop(lock);
        assert_eq!(cache.read("abc"), Some(ceilings));
        fs::copy(cache.file("abc"), cache.file("def")).unwrap();
        assert_eq!(cache.read("def"), None, "a file under another machine's name");
        fs::write(cache.file("abc"), "{").unwrap();
        assert_eq!(cache.read("abc"), None);
    }
}
