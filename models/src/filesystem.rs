//! Files and folders: the cache folder, free space, writing large files atomically, locks between processes.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// This tool's folder in the user's cache folder: `$XDG_CACHE_HOME/inferometer`, else `~/.cache/inferometer`.
#[must_use]
pub fn cache_home() -> PathBuf {
    user_cache(&|name| std::env::var(name).ok().filter(|value| !value.is_empty())).join(CACHE_NAME)
}

/// The name of this tool's folder in the user's cache folder.
pub(crate) const CACHE_NAME: &str = "inferometer";

/// The user's cache folder according to the environment variables that `var` looks up.
pub(crate) fn user_cache(var: &dyn Fn(&str) -> Option<String>) -> PathBuf {
    let xdg = var("XDG_CACHE_HOME").map(PathBuf::from);
    xdg.or_else(|| Some(PathBuf::from(var("HOME")?).join(".cache"))).unwrap_or_else(std::env::temp_dir)
}

/// The user's home folder.
pub(crate) fn home() -> Option<PathBuf> {
    std::env::var_os("HOME").filter(|home| !home.is_empty()).map(PathBuf::from)
}

/// The bytes that this process can still write to the file system of `path`, which need not exist yet.
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
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Renames `part` to `target` atomically, after its bytes have been written to the disk.
pub(crate) fn publish(file: &File, part: &Path, target: &Path) -> io::Result<()> {
    file.sync_all()?;
    std::fs::rename(part, target)?;
    // The folder contains the new name and has its own buffers. Some file systems cannot sync a folder; the rename is atomic
    // there too.
    if let Some(folder) = target.parent().filter(|p| !p.as_os_str().is_empty())
        && let Ok(folder) = File::open(folder)
    {
        let _ = folder.sync_all();
    }
    Ok(())
}

/// A file that is being written as `NAME.part`. [`PartFile::finish`] renames it; dropping it unfinished removes it.
#[derive(Debug)]
#[must_use = "an unfinished part file is removed when it is dropped"]
pub(crate) struct PartFile {
    file: File,
    part: PathBuf,
    target: PathBuf,
    finished: bool,
}

impl PartFile {
    /// Starts writing `target`. Fails with [`io::ErrorKind::ResourceBusy`] while another process writes the same file.
    pub(crate) fn create(target: &Path) -> io::Result<Self> {
        let part = with_suffix(target, ".part");
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&part)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(io::Error::new(io::ErrorKind::ResourceBusy, "another process is writing this file"));
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
        // An earlier writer may have been interrupted.
        file.set_len(0)?;
        Ok(Self { file, part, target: target.to_path_buf(), finished: false })
    }

    /// Where the file is until it is finished.
    pub(crate) fn part(&self) -> &Path {
        &self.part
    }

    /// The open file, for writing at offsets.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Writes the bytes to the disk and renames the file.
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

/// An advisory lock between processes, held until dropped (the kernel releases it when a process ends).
#[derive(Debug)]
#[must_use = "dropping it releases the lock"]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Acquires the lock file `path`. If another process holds it, calls `waiting` and waits.
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
    fn dropping_an_unfinished_part_file_removes_it() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("x.bin");
        let part = PartFile::create(&target).unwrap();
        part.file().write_all_at(b"half", 0).unwrap();
        assert!(with_suffix(&target, ".part").exists());
        drop(part);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn finishing_a_part_file_renames_it() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("x.bin");
        std::fs::write(with_suffix(&target, ".part"), b"a longer rest of an interrupted writer").unwrap();
        let part = PartFile::create(&target).unwrap();
        part.file().write_all_at(b"whole", 0).unwrap();
        part.finish().unwrap();
        assert_eq!(std::fs::read(&target).unwrap(), b"whole");
        assert!(!with_suffix(&target, ".part").exists());
    }

    #[test]
    fn a_second_writer_of_a_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("x.bin");
        let first = PartFile::create(&target).unwrap();
        let error = PartFile::create(&target).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ResourceBusy);
        drop(first);
        let _second = PartFile::create(&target).unwrap();
    }

    #[test]
    fn a_free_lock_is_acquired_without_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.lock");
        let waited = Cell::new(false);
        let lock = Lock::acquire(&path, || waited.set(true)).unwrap();
        drop(lock);
        let _again = Lock::acquire(&path, || waited.set(true)).unwrap();
        assert!(!waited.get());
    }
}
