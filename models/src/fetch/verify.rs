//! Verifying a file: its size, digest and first bytes. Digests are cached until the file changes.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use crate::container::{FileFormat, OtherFormat, identify, json};
use crate::digest::{self, CacheEntry};
use crate::error::OriginError;
use crate::progress::Progress;
use crate::units::Bytes;

use super::hub_file::ExpectedContent;

/// Verifies `path`, the content of the file `file`. `digests` is the folder of cached digests, if they are to be used: a file that has
/// not changed since is not hashed again.
pub(super) fn verify(
    path: &Path,
    file: &str,
    expected: &ExpectedContent,
    digests: Option<&Path>,
    progress: &dyn Progress,
) -> Result<(), OriginError> {
    let found = fs::metadata(path).map_err(OriginError::disk("read the metadata of", path))?.len();
    if let Some(bytes) = expected.bytes
        && bytes.get() != found
    {
        return Err(OriginError::WrongSize { expected: bytes, found: Bytes(found) });
    }
    check_content(path, file)?;
    let Some(wanted) = &expected.sha256 else { return Ok(()) };
    // The state is read before hashing, so that a file that changes meanwhile is hashed again next time.
    let entry = digests
        .map(|digests| CacheEntry::of(path, digests))
        .transpose()
        .map_err(OriginError::disk("read the metadata of", path))?;
    if entry.as_ref().is_some_and(|entry| entry.contains(wanted)) {
        return Ok(());
    }
    let found = digest::of_file(path, file, progress).map_err(OriginError::disk("read", path))?;
    if found != *wanted {
        return Err(OriginError::WrongHash { expected: wanted.clone(), found });
    }
    if let Some(entry) = entry {
        entry.write(wanted);
    }
    Ok(())
}

/// Stores the digest of `path`, which has just been verified under another name.
pub(super) fn store_digest(path: &Path, expected: &ExpectedContent, digests: &Path) {
    if let Some(sha256) = &expected.sha256
        && let Ok(entry) = CacheEntry::of(path, digests)
    {
        entry.write(sha256);
    }
}

/// Refuses error pages and other content under a model's name.
fn check_content(path: &Path, file: &str) -> Result<(), OriginError> {
    let mut start = [0; 64];
    let mut opened = File::open(path).map_err(OriginError::disk("open", path))?;
    let mut len = 0;
    while len < start.len() {
        match opened.read(&mut start[len..]).map_err(OriginError::disk("read", path))? {
            0 => break,
            got => len += got,
        }
    }
    let start = &start[..len];
    let not = |expected| Err(OriginError::WrongContent { expected, found: describe(start) });
    let extension = Path::new(file).extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
    match extension.as_str() {
        "gguf" if !start.starts_with(b"GGUF") => not("a GGUF file"),
        "json" if !json::is_json_start(start) => not("a JSON document"),
        // The header's length, little-endian, and the header, which is JSON.
        "safetensors" if start.get(8) != Some(&b'{') => not("a safetensors file"),
        _ => Ok(()),
    }
}

/// A description of the first bytes.
fn describe(start: &[u8]) -> String {
    let text = start.trim_ascii_start();
    if text.is_empty() {
        "nothing".to_owned()
    } else if let FileFormat::Other(OtherFormat { name, .. }) = identify(start) {
        name
    } else {
        format!("`{}`", text[..text.len().min(24)].escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Quiet;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Counts the tasks: one per hashing.
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

    fn expected(content: &[u8]) -> ExpectedContent {
        ExpectedContent { bytes: Some(Bytes(content.len() as u64)), sha256: Some(digest::of_bytes(content)) }
    }

    #[test]
    fn a_verified_file_is_hashed_once_until_it_changes() {
        let folder = tempfile::tempdir().unwrap();
        let (path, digests) = (folder.path().join("x.gguf"), folder.path().join("digests"));
        fs::write(&path, b"GGUF one").unwrap();
        let count = Count::default();
        let check = |content: &[u8]| verify(&path, "x.gguf", &expected(content), Some(&digests), &count);
        check(b"GGUF one").unwrap();
        check(b"GGUF one").unwrap();
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        // Same size, other content, written under another inode.
        fs::remove_file(&path).unwrap();
        fs::write(&path, b"GGUF two").unwrap();
        assert!(matches!(check(b"GGUF one"), Err(OriginError::WrongHash { .. })));
        assert_eq!(count.0.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn wrong_sizes_and_contents_are_reported() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let check = |content: &[u8], file: &str, bytes: Option<u64>| {
            fs::write(&path, content).unwrap();
            verify(&path, file, &ExpectedContent { bytes: bytes.map(Bytes), sha256: None }, None, &Quiet)
        };
        assert!(matches!(check(b"GGUF", "x.gguf", Some(5)), Err(OriginError::WrongSize { .. })));
        assert!(matches!(check(b"<html>503</html>", "x.gguf", None), Err(OriginError::WrongContent { .. })));
        assert!(matches!(check(b"", "x.gguf", None), Err(OriginError::WrongContent { .. })));
        assert!(matches!(check(b"not json", "config.json", None), Err(OriginError::WrongContent { .. })));
        check(b"  {\"a\": 1}", "config.json", None).unwrap();
        check(b"\x10\0\0\0\0\0\0\0{\"a\":1}", "m.safetensors", None).unwrap();
    }
}
