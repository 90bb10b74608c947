//! [`FolderLock`]: one program at a time measures into a run folder.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{Error, Setting, files, name_of};

/// The lock of a run folder; removed when dropped. The system releases it when the process ends in any way.
#[derive(Debug)]
pub struct FolderLock {
    dir: PathBuf,
    path: PathBuf,
    file: File,
}

impl FolderLock {
    /// Locks a folder, which is created with its parents if it does not exist.
    ///
    /// # Errors
    /// When another program has it: its process id is in the text. When the folder cannot be written.
    pub fn acquire(dir: &Path) -> Result<Self, Error> {
        fs::create_dir_all(dir).map_err(Error::file(dir, "create"))?;
        let path = dir.join(files::LOCK);
        loop {
            let options = || OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
            let mut file = options().map_err(Error::file(&path, "create"))?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(taken(dir, &mut file)),
                Err(TryLockError::Error(error)) => return Err(Error::file(&path, "lock")(error)),
            }
            // The program that had it may have removed the file since it was opened here.
            if !is_at(&file, &path) {
                continue;
            }
            let written = file
                .set_len(0)
                .and_then(|()| file.seek(SeekFrom::Start(0)))
                .and_then(|_| file.write_all(format!("{}\n", std::process::id()).as_bytes()));
            written.map_err(Error::file(&path, "write"))?;
            return Ok(Self { dir: dir.to_path_buf(), path, file });
        }
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Drop for FolderLock {
    fn drop(&mut self) {
        // A file that stays is not locked: the next program takes it over.
        if is_at(&self.file, &self.path) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Whether an open file is the one of this path.
fn is_at(file: &File, path: &Path) -> bool {
    let id = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    file.metadata().ok().map(id) == fs::metadata(path).ok().map(id)
}

fn taken(dir: &Path, file: &mut File) -> Error {
    let mut text = String::new();
    // Between its lock and its first write the other program has no number there.
    let pid = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse::<u32>().ok());
    let by = pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"));
    Error::Content {
        path: dir.to_path_buf(),
        problem: format!("{by} measures run {} now", name_of(dir)),
        advice: format!("wait until it has ended, or choose another folder ({})", Setting::Out),
    }
}

#[cfg(test)]
mod tests {
    use engine_api::Advice as _;

    use super::*;

    #[test]
    fn a_second_program_is_refused_by_name_and_process() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("a/night");
        let lock = FolderLock::acquire(&dir).unwrap();
        let text = FolderLock::acquire(&dir).unwrap_err().with_advice();
        let expected = format!("process {} measures run night now", std::process::id());
        assert!(text.contains(&expected) && text.contains("`out`"), "{text}");
        drop(lock);
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 0, "nothing stays");
        FolderLock::acquire(&dir).unwrap();
    }

    #[test]
    fn the_lock_of_a_killed_program_is_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(files::LOCK), "99999999\n").unwrap();
        let lock = FolderLock::acquire(folder.path()).unwrap();
        let pid = fs::read_to_string(folder.path().join(files::LOCK)).unwrap();
        assert_eq!(pid.trim(), std::process::id().to_string());
        drop(lock);
    }
}
