//! SHA-256 of files, cached until a file changes: hashing takes about a second for one or two gigabytes.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use sha2::{Digest, Sha256};

use crate::error::Error;
use crate::filesystem::cache_home;
use crate::progress::{Progress, Quiet, Task};
use crate::units::Bytes;

/// The size in bytes from which hashing reports progress and its result is cached: smaller files take milliseconds.
const CACHED_SIZE: u64 = 8 << 20;

/// The folder of cached digests: `$XDG_CACHE_HOME/inferometer/verified`, else `~/.cache/inferometer/verified`.
#[must_use]
pub fn cache_folder() -> PathBuf {
    cache_home().join("verified")
}

/// The digest of a checkpoint's files as 64 lowercase hexadecimal digits. Of several files it is the digest of the list that
/// `sha256sum` prints for them (lines `DIGEST  NAME`, sorted by name). `cache` is the folder of cached digests, if they are to be used.
///
/// # Errors
/// [`Error::Io`] if a file cannot be read.
pub fn sha256(files: &[PathBuf], cache: Option<&Path>, progress: &dyn Progress) -> Result<String, Error> {
    let one = |file: &PathBuf| cached(file, cache, progress).map_err(|error| Error::io("read", file, error));
    if let [file] = files {
        return one(file);
    }
    let mut lines = Vec::with_capacity(files.len());
    for file in files {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        lines.push((name, one(file)?));
    }
    lines.sort();
    let list: String = lines.iter().map(|(name, digest)| format!("{digest}  {name}\n")).collect();
    Ok(of_bytes(list.as_bytes()))
}

/// The digest of one file, from the cache if the file has not changed.
fn cached(file: &Path, cache: Option<&Path>, progress: &dyn Progress) -> io::Result<String> {
    // The state is read before hashing, so that a file that changes meanwhile is hashed again next time.
    let is_small = fs::metadata(file)?.len() < CACHED_SIZE;
    let (cache, progress): (_, &dyn Progress) = if is_small { (None, &Quiet) } else { (cache, progress) };
    let entry = cache.map(|cache| CacheEntry::of(file, cache)).transpose()?;
    if let Some(digest) = entry.as_ref().and_then(CacheEntry::read) {
        return Ok(digest);
    }
    let name = file.file_name().unwrap_or(file.as_os_str()).to_string_lossy();
    let digest = of_file(file, &name, progress)?;
    if let Some(entry) = entry {
        entry.write(&digest);
    }
    Ok(digest)
}

/// The digest of a file; `name` is its name in progress reports.
pub(crate) fn of_file(path: &Path, name: &str, progress: &dyn Progress) -> io::Result<String> {
    let mut opened = File::open(path)?;
    let total = opened.metadata()?.len();
    let task = Task::start(progress, &format!("checking {name}"), Some(Bytes(total)));
    let (mut hasher, mut buffer) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        let got = opened.read(&mut buffer)?;
        if got == 0 {
            return Ok(hex(&hasher.finalize()));
        }
        hasher.update(&buffer[..got]);
        task.advanced(got as u64);
    }
}

/// The digest of bytes in memory.
pub(crate) fn of_bytes(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Lowercase hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether a text is a SHA-256 digest: 64 lowercase hexadecimal digits.
pub(crate) fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The cache entry of a file: `bytes mtime_ns inode sha256`. Entries are in this tool's own folder: the hub's cache may be read-only,
/// and other tools list its files.
pub(crate) struct CacheEntry {
    path: PathBuf,
    state: String,
}

impl CacheEntry {
    /// The entry of `file` in its present state, in the folder `cache`.
    pub(crate) fn of(file: &Path, cache: &Path) -> io::Result<Self> {
        use std::os::unix::fs::MetadataExt;
        let real = fs::canonicalize(file)?;
        let meta = fs::metadata(&real)?;
        let changed = meta.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
        let name = hex(&Sha256::digest(real.as_os_str().as_encoded_bytes())[..16]);
        Ok(Self { path: cache.join(name), state: format!("{} {} {}", meta.len(), changed.as_nanos(), meta.ino()) })
    }

    /// The cached digest of the file in this state.
    pub(crate) fn read(&self) -> Option<String> {
        let text = fs::read_to_string(&self.path).ok()?;
        let digest = text.strip_prefix(&self.state)?.strip_prefix(' ')?.strip_suffix('\n')?;
        is_digest(digest).then(|| digest.to_owned())
    }

    /// Whether this digest is cached for the file in this state.
    pub(crate) fn contains(&self, sha256: &str) -> bool {
        self.read().is_some_and(|cached| cached == sha256)
    }

    /// Stores the digest. Errors are ignored: without an entry the file is hashed again next time.
    pub(crate) fn write(&self, sha256: &str) {
        if let Some(folder) = self.path.parent() {
            let _ = fs::create_dir_all(folder);
        }
        let _ = fs::write(&self.path, format!("{} {sha256}\n", self.state));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of `abc`. Source: FIPS 180-2, appendix B.1.
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn a_digest_is_cached_until_the_file_changes() {
        let folder = tempfile::tempdir().unwrap();
        let (file, cache) = (folder.path().join("x.gguf"), folder.path().join("cache"));
        let digest = || sha256(std::slice::from_ref(&file), Some(&cache), &Quiet).unwrap();
        let size = |bytes: u64| File::create(&file).unwrap().set_len(bytes).unwrap();
        size(CACHED_SIZE);
        let right = digest();
        // The cached digest is used ...
        let wrong = "0".repeat(64);
        CacheEntry::of(&file, &cache).unwrap().write(&wrong);
        assert_eq!(digest(), wrong);
        // ... unless the file has changed, or the entry is no digest.
        size(CACHED_SIZE + 1);
        assert!(![&wrong, &right].contains(&&digest()));
        size(CACHED_SIZE);
        CacheEntry::of(&file, &cache).unwrap().write("damaged");
        assert_eq!(digest(), right);
    }

    #[test]
    fn small_files_are_not_cached() {
        let folder = tempfile::tempdir().unwrap();
        let (file, cache) = (folder.path().join("x.gguf"), folder.path().join("cache"));
        fs::write(&file, b"abc").unwrap();
        assert_eq!(sha256(&[file], Some(&cache), &Quiet).unwrap(), ABC);
        assert!(!cache.exists());
    }

    #[test]
    fn the_digest_of_several_files_does_not_depend_on_their_order() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("1.safetensors"), folder.path().join("2.safetensors"));
        fs::write(&one, b"abc").unwrap();
        fs::write(&two, b"abc").unwrap();
        let digest = |files: &[&PathBuf]| {
            sha256(&files.iter().map(|file| (*file).clone()).collect::<Vec<_>>(), None, &Quiet).unwrap()
        };
        assert_eq!(digest(&[&one, &two]), digest(&[&two, &one]));
        assert_eq!(digest(&[&one, &two]), of_bytes(format!("{ABC}  1.safetensors\n{ABC}  2.safetensors\n").as_bytes()));
        let error = sha256(&[folder.path().join("none")], None, &Quiet).unwrap_err();
        assert!(matches!(error, Error::Io { action: "read", .. }), "{error}");
    }
}
