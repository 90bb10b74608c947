//! Is a file what it should be: size, digest, first bytes. A digest once computed is remembered until the file changes.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use crate::digest::{self, Stamp};
use crate::units::Bytes;

use super::failure::Failure;
use super::progress::Progress;

/// What is known of a file before it is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Expected {
    pub(super) bytes: Option<Bytes>,
    /// 64 lowercase hexadecimal digits.
    pub(super) sha256: Option<String>,
}

/// Checks `path`, whose content goes by the name `file`. `stamps` is the folder of remembered digests, if any are to be used.
///
/// A file whose size and time of change are those of its stamp is not hashed again.
pub(super) fn verify(
    path: &Path,
    file: &str,
    expected: &Expected,
    stamps: Option<&Path>,
    progress: &dyn Progress,
) -> Result<(), Failure> {
    let found = fs::metadata(path).map_err(Failure::disk("look at", path))?.len();
    if let Some(bytes) = expected.bytes
        && bytes.get() != found
    {
        return Err(Failure::WrongSize { expected: bytes, found: Bytes(found) });
    }
    check_content(path, file)?;
    let Some(wanted) = &expected.sha256 else { return Ok(()) };
    // Taken before hashing: a file that changes meanwhile does not get the stamp of what it was.
    let stamp = stamps.map(|stamps| Stamp::of(path, stamps)).transpose().map_err(Failure::disk("look at", path))?;
    if stamp.as_ref().is_some_and(|stamp| stamp.says(wanted)) {
        return Ok(());
    }
    let found = digest::of_file(path, file, progress).map_err(Failure::disk("read", path))?;
    if found != *wanted {
        return Err(Failure::WrongHash { expected: wanted.clone(), found });
    }
    if let Some(stamp) = stamp {
        stamp.write(wanted);
    }
    Ok(())
}

/// Notes that `path` has just been verified under another name.
pub(super) fn remember(path: &Path, expected: &Expected, stamps: &Path) {
    if let Some(sha256) = &expected.sha256
        && let Ok(stamp) = Stamp::of(path, stamps)
    {
        stamp.write(sha256);
    }
}

/// Refuses error pages and other things under a model's name.
fn check_content(path: &Path, file: &str) -> Result<(), Failure> {
    let mut start = [0; 64];
    let mut opened = File::open(path).map_err(Failure::disk("open", path))?;
    let mut len = 0;
    while len < start.len() {
        match opened.read(&mut start[len..]).map_err(Failure::disk("read", path))? {
            0 => break,
            got => len += got,
        }
    }
    let start = &start[..len];
    let not = |expected| Err(Failure::NotThat { expected, found: shown(start) });
    let extension = Path::new(file).extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
    match extension.as_str() {
        "gguf" if !start.starts_with(b"GGUF") => not("a GGUF file"),
        "json" if !matches!(start.trim_ascii_start().first(), Some(b'{' | b'[')) => not("a JSON document"),
        // The header's length, little-endian, and the header, which is JSON.
        "safetensors" if start.get(8) != Some(&b'{') => not("a safetensors file"),
        _ => Ok(()),
    }
}

/// The first bytes in words.
fn shown(start: &[u8]) -> String {
    let text = start.trim_ascii_start();
    if text.is_empty() {
        "nothing".to_owned()
    } else if text.starts_with(b"<") {
        "a web page".to_owned()
    } else if text.starts_with(b"version https://git-lfs") {
        "a Git LFS pointer".to_owned()
    } else {
        format!("`{}`", text[..text.len().min(24)].escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::super::progress::Quiet;
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Counts how often something was begun: once per hashing.
    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Progress for Count {
        fn started(&self, _: &str, _: Option<Bytes>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
        fn advanced(&self, _: Bytes) {}
        fn finished(&self) {}
        fn note(&self, _: &str) {}
    }

    fn expected(content: &[u8]) -> Expected {
        Expected { bytes: Some(Bytes(content.len() as u64)), sha256: Some(digest::of_bytes(content)) }
    }

    #[test]
    fn a_verified_file_is_hashed_once_until_it_changes() {
        let folder = tempfile::tempdir().unwrap();
        let (path, stamps) = (folder.path().join("x.gguf"), folder.path().join("stamps"));
        fs::write(&path, b"GGUF one").unwrap();
        let count = Count::default();
        let check = |content: &[u8]| verify(&path, "x.gguf", &expected(content), Some(&stamps), &count);
        check(b"GGUF one").unwrap();
        check(b"GGUF one").unwrap();
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        // Same size, other content, written under another inode.
        fs::remove_file(&path).unwrap();
        fs::write(&path, b"GGUF two").unwrap();
        assert!(matches!(check(b"GGUF one"), Err(Failure::WrongHash { .. })));
        assert_eq!(count.0.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn wrong_sizes_and_contents_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let check = |content: &[u8], file: &str, bytes: Option<u64>| {
            fs::write(&path, content).unwrap();
            verify(&path, file, &Expected { bytes: bytes.map(Bytes), sha256: None }, None, &Quiet)
        };
        assert!(matches!(check(b"GGUF", "x.gguf", Some(5)), Err(Failure::WrongSize { .. })));
        assert!(matches!(check(b"<html>503</html>", "x.gguf", None), Err(Failure::NotThat { .. })));
        assert!(matches!(check(b"", "x.gguf", None), Err(Failure::NotThat { .. })));
        assert!(matches!(check(b"not json", "config.json", None), Err(Failure::NotThat { .. })));
        check(b"  {\"a\": 1}", "config.json", None).unwrap();
        check(b"\x10\0\0\0\0\0\0\0{\"a\":1}", "m.safetensors", None).unwrap();
    }
}
