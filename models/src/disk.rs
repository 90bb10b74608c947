//! Writing big files so that no partial file ever looks whole: free space, part files, locks between processes.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// The bytes that this process may still write on the file system of `path`, which need not exist yet.
pub(crate) fn free_space(path: &Path) -> io::Result<u64> {
    let existing = path.ancestors().find(|p| p.exists()).unwrap_or(Path::new("."));
    free_at(existing)
}

#[allow(unsafe_code, reason = "statvfs has no safe binding in the standard library")]
#[allow(clippy::unnecessary_cast, clippy::useless_conversion, reason = "the fields' widths differ between platforms")]
fn free_at(path: &Path) -> io::Result<u64> {
    use std::os::unix::ffi::OsStrExt;
    let c_path = std::ffi::CString::new(path.as_os_str().as_bytes())?;
    let mut stat = std::mem::MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: the path is a NUL-terminated string and `stat` is writable memory of the right type; both outlive the call.
    if unsafe { libc::statvfs(c_path.as_ptr(), stat.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: statvfs returned 0, so it has filled the whole structure.
    let stat = unsafe { stat.assume_init() };
    Ok((stat.f_bavail as u64).saturating_mul(stat.f_frsize as u64))
}

/// `path` with `suffix` added to its file name.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Makes `part` the file `target`: its bytes reach the disk before the name does, and the name appears in one step.
pub(crate) fn publish(file: &File, part: &Path, target: &Path) -> io::Result<()> {
    file.sync_all()?;
    std::fs::rename(part, target)?;
    // The new name lives in the folder, which has buffers of its own. Some file systems cannot sync a folder; the
    // rename is atomic there all the same.
    if let Some(folder) = target.parent().filter(|p| !p.as_os_str().is_empty())
        && let Ok(folder) = File::open(folder)
    {
        let _ = folder.sync_all();
    }
    Ok(())
}

/// A file that is being written as `NAME.part`. Dropped unfinished, it is removed; only [`PartFile::finish`] gives it its name.
#[derive(Debug)]
#[must_use = "an unfinished part file is removed when it is dropped"]
pub(crate) struct PartFile {
    file: File,
    part: PathBuf,
    target: PathBuf,
    finished: bool,
}

impl PartFile {
    /// Starts `target` anew. Fails with [`io::ErrorKind::ResourceBusy`] while another process writes the same file.
    pub(crate) fn create(target: &Path) -> io::Result<Self> {
        let part = beside(target, ".part");
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&part)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(io::Error::new(io::ErrorKind::ResourceBusy, "another process is writing this file"));
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
        // What an interrupted writer left is worth nothing here.
        file.set_len(0)?;
        Ok(Self { file, part, target: target.to_path_buf(), finished: false })
    }

    /// The open file, for writing at offsets.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Syncs the bytes and gives the file its name.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        publish(&self.file, &self.part, &self.target)?;
        self.finished = true;
        Ok(())
    }
}

impl Drop for PartFile {
    fn drop(&mut self) {
        if !self.finished {
            let _ = std::fs::remove_file(&self.part);
        }
    }
}

/// An advisory lock between processes, held until dropped (and let go by the kernel when a process dies).
#[derive(Debug)]
#[must_use = "the lock is let go when it is dropped"]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock file `path`, waiting for its holder; `waiting` is called once when there is one.
    pub(crate) fn acquire(path: &Path, waiting: impl FnOnce()) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                waiting();
                file.lock()?;
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::os::unix::fs::FileExt;

    #[test]
    fn free_space_of_a_path_that_does_not_exist_yet() {
        let folder = tempfile::tempdir().unwrap();
        assert!(free_space(&folder.path().join("a/b/c.gguf")).unwrap() > 0);
    }

    #[test]
    fn an_unfinished_part_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("x.bin");
        let part = PartFile::create(&target).unwrap();
        part.file().write_all_at(b"half", 0).unwrap();
        assert!(beside(&target, ".part").exists());
        drop(part);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_finished_part_becomes_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("x.bin");
        std::fs::write(beside(&target, ".part"), b"a longer rest of an interrupted writer").unwrap();
        let part = PartFile::create(&target).unwrap();
        part.file().write_all_at(b"whole", 0).unwrap();
        part.finish().unwrap();
        assert_eq!(std::fs::read(&target).unwrap(), b"whole");
        assert!(!beside(&target, ".part").exists());
    }

    #[test]
    fn two_writers_of_one_file_do_not_mix() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("x.bin");
        let first = PartFile::create(&target).unwrap();
        let error = PartFile::create(&target).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ResourceBusy);
        drop(first);
        let _second = PartFile::create(&target).unwrap();
    }

    #[test]
    fn a_free_lock_is_taken_without_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.lock");
        let waited = Cell::new(false);
        let lock = Lock::acquire(&path, || waited.set(true)).unwrap();
        drop(lock);
        let _again = Lock::acquire(&path, || waited.set(true)).unwrap();
        assert!(!waited.get());
    }
}
