//! Measured ceilings, kept in the user's cache folder: one file a machine, because home folders travel.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use record::Error;
use record::{Ceilings, write_atomically};

/// The folder of measured ceilings.
#[derive(Debug, Clone)]
pub(super) struct Folder {
    path: PathBuf,
}

impl Folder {
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

    /// What is known of a machine. A file that cannot be read, or is another machine's, is as good as none: it can be
    /// measured again.
    pub(super) fn read(&self, machine: &str) -> Option<Ceilings> {
        let text = fs::read(self.file(machine)).ok()?;
        serde_json::from_slice(&text).ok().filter(|ceilings: &Ceilings| ceilings.machine == machine)
    }

    pub(super) fn write(&self, ceilings: &Ceilings) -> Result<(), Error> {
        let path = self.file(&ceilings.machine);
        let text = serde_json::to_vec_pretty(ceilings)
            .map_err(|error| Error::file(&path, "write")(std::io::Error::other(error)))?;
        write_atomically(&path, &text)
    }

    /// Waits until nobody else measures: two at once would measure each other. The lock ends with the file.
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
    fn ceilings_are_found_again_for_their_machine_only() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Folder::at(&folder.path().join("deep/down"));
        assert_eq!(cache.read("abc"), None);
        let lock = cache.lock(|| panic!("nobody else measures")).unwrap();
        let ceilings = Ceilings { machine: "abc".to_owned(), ..Ceilings::default() };
        cache.write(&ceilings).unwrap();
        drop(lock);
        assert_eq!(cache.read("abc"), Some(ceilings));
        fs::copy(cache.file("abc"), cache.file("def")).unwrap();
        assert_eq!(cache.read("def"), None, "a file under another machine's name");
        fs::write(cache.file("abc"), "{").unwrap();
        assert_eq!(cache.read("abc"), None);
    }
}
