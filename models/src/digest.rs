//! SHA-256 of files, remembered until they change: hashing costs about a second per gigabyte or two.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use sha2::{Digest, Sha256};

use crate::error::Error;
use crate::fetch::{Progress, Quiet, Work, cache_home};
use crate::units::Bytes;

/// Bytes from which on hashing is told and its digest remembered: smaller files take milliseconds.
const REMEMBERED: u64 = 8 << 20;

/// Where digests are remembered: `$XDG_CACHE_HOME/inferometer/verified`, `~/.cache/inferometer/verified` without it.
#[must_use]
pub fn cache_folder() -> PathBuf {
    cache_home().join("verified")
}

/// The digest of a checkpoint's files, 64 lowercase hexadecimal digits: of one file, its own; of several, that of the list of them
/// that `sha256sum` prints (`DIGEST  NAME`, a line each, sorted by name). `stamps` is the folder of remembered digests, if any are
/// to be used.
///
/// # Errors
/// [`Error::Io`] where a file cannot be read.
pub fn sha256(files: &[PathBuf], stamps: Option<&Path>, progress: &dyn Progress) -> Result<String, Error> {
    let one = |file: &PathBuf| remembered(file, stamps, progress).map_err(|error| Error::io("read", file, error));
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

/// The digest of one file, from its stamp where that is still true.
fn remembered(file: &Path, stamps: Option<&Path>, progress: &dyn Progress) -> io::Result<String> {
    // Taken before hashing: a file that changes meanwhile does not get the stamp of what it was.
    let is_small = fs::metadata(file)?.len() < REMEMBERED;
    let (stamps, progress): (_, &dyn Progress) = if is_small { (None, &Quiet) } else { (stamps, progress) };
    let stamp = stamps.map(|stamps| Stamp::of(file, stamps)).transpose()?;
    if let Some(digest) = stamp.as_ref().and_then(Stamp::read) {
        return Ok(digest);
    }
    let name = file.file_name().unwrap_or(file.as_os_str()).to_string_lossy();
    let digest = of_file(file, &name, progress)?;
    if let Some(stamp) = stamp {
        stamp.write(&digest);
    }
    Ok(digest)
}

/// The digest of a file that goes by `name`.
pub(crate) fn of_file(path: &Path, name: &str, progress: &dyn Progress) -> io::Result<String> {
    let mut opened = File::open(path)?;
    let total = opened.metadata()?.len();
    let work = Work::start(progress, &format!("checking {name}"), Some(Bytes(total)));
    let (mut hasher, mut buffer) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        let got = opened.read(&mut buffer)?;
        if got == 0 {
            return Ok(hex(&hasher.finalize()));
        }
        hasher.update(&buffer[..got]);
        work.advanced(got as u64);
    }
}

/// The digest of a few bytes.
pub(crate) fn of_bytes(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Lowercase hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether a text is a digest as it is written here.
pub(crate) fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The note that a file has been hashed: `bytes mtime_ns inode sha256`, in a folder of our own (a shared cache may be
/// read-only, and its other users list its files).
pub(crate) struct Stamp {
    path: PathBuf,
    state: String,
}

impl Stamp {
    /// The stamp of `file` as it is now, in the folder `stamps`.
    pub(crate) fn of(file: &Path, stamps: &Path) -> io::Result<Self> {
        use std::os::unix::fs::MetadataExt;
        let real = fs::canonicalize(file)?;
        let meta = fs::metadata(&real)?;
        let changed = meta.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
        let name = hex(&Sha256::digest(real.as_os_str().as_encoded_bytes())[..16]);
        Ok(Self { path: stamps.join(name), state: format!("{} {} {}", meta.len(), changed.as_nanos(), meta.ino()) })
    }

    /// The digest that was noted of the file in this state.
    pub(crate) fn read(&self) -> Option<String> {
        let text = fs::read_to_string(&self.path).ok()?;
        let digest = text.strip_prefix(&self.state)?.strip_prefix(' ')?.strip_suffix('\n')?;
        is_digest(digest).then(|| digest.to_owned())
    }

    /// Whether this digest was noted.
    pub(crate) fn says(&self, sha256: &str) -> bool {
        self.read().is_some_and(|noted| noted == sha256)
    }

    /// Best effort: without a stamp the file is hashed again next time.
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
    fn a_digest_is_remembered_until_the_file_changes() {
        let folder = tempfile::tempdir().unwrap();
        let (file, stamps) = (folder.path().join("x.gguf"), folder.path().join("stamps"));
        let digest = || sha256(std::slice::from_ref(&file), Some(&stamps), &Quiet).unwrap();
        let size = |bytes: u64| File::create(&file).unwrap().set_len(bytes).unwrap();
        size(REMEMBERED);
        let right = digest();
        // What the stamp says is believed, ...
        let lie = "0".repeat(64);
        Stamp::of(&file, &stamps).unwrap().write(&lie);
        assert_eq!(digest(), lie);
        // ... no longer when the file is another, and never when it is no digest.
        size(REMEMBERED + 1);
        assert!(![&lie, &right].contains(&&digest()));
        size(REMEMBERED);
        Stamp::of(&file, &stamps).unwrap().write("damaged");
        assert_eq!(digest(), right);
    }

    #[test]
    fn small_files_leave_no_stamp() {
        let folder = tempfile::tempdir().unwrap();
        let (file, stamps) = (folder.path().join("x.gguf"), folder.path().join("stamps"));
        fs::write(&file, b"abc").unwrap();
        assert_eq!(sha256(&[file], Some(&stamps), &Quiet).unwrap(), ABC);
        assert!(!stamps.exists());
    }

    #[test]
    fn several_files_are_a_list_in_any_order() {
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
