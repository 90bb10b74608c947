//! Text files as people have them: compressed with gzip, with a byte order mark, in UTF-16 (which PowerShell's `>` writes), or in
//! plain UTF-8. Every text file that a user names is read through this crate.
//!
//! [`Reader`] gives the UTF-8 text as a stream, for files of any size; [`read`] gives a whole file, within a size limit. Both decide by
//! the first bytes, never by the name of the file.

mod json;
mod reader;

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

pub use json::{excerpt, with_null_for_not_a_number};
pub use reader::Reader;

/// The largest text that [`read`] accepts, in bytes of UTF-8. The records of long runs are below 100 MB.
pub const LIMIT: u64 = 1 << 30;

/// Why a file is not a readable text. The name of the file is not part of the error.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system refuses the file.
    #[error("{0}")]
    Io(io::Error),
    /// The compressed data end early or are damaged.
    #[error("its gzip data are damaged: {0}")]
    Damaged(io::Error),
    /// The bytes are not text.
    #[error("is not text: byte {offset} is not UTF-8")]
    NotText {
        /// The offset of the first byte that is not UTF-8, from 0, in the unpacked text.
        offset: usize,
    },
    /// The text is larger than [`LIMIT`].
    #[error("has more than {limit} bytes of text, which is the limit")]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
}

/// The UTF-8 text of a file, without a byte order mark.
///
/// # Errors
/// When the file cannot be read or unpacked, is not text, or is larger than [`LIMIT`].
pub fn read(path: &Path) -> Result<String, Error> {
    read_limited(File::open(path)?, LIMIT)
}

/// The same for a file of at most `limit` bytes of text.
///
/// # Errors
/// As of [`read`].
pub fn read_up_to(path: &Path, limit: u64) -> Result<String, Error> {
    read_limited(File::open(path)?, limit)
}

fn read_limited(source: impl Read, limit: u64) -> Result<String, Error> {
    let mut bytes = Vec::new();
    Reader::new(source)?.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(Error::TooLarge { limit });
    }
    String::from_utf8(bytes).map_err(|error| Error::NotText { offset: error.utf8_error().valid_up_to() })
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        use io::ErrorKind as Io;
        // These kinds come from the decompression, not from the system.
        match error.kind() {
            Io::UnexpectedEof | Io::InvalidData | Io::InvalidInput => Self::Damaged(error),
            _ => Self::Io(error),
        }
    }
}

impl Error {
    /// What to do about it; `None` for an error of the system.
    pub fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Damaged(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Some("the file is truncated: copy or write it again")
            }
            Self::Damaged(_) => Some("check the file with `gzip -t`, and copy or write it again"),
            Self::Io(_) => None,
            Self::NotText { .. } => {
                Some("save the file as UTF-8; gzip and UTF-16 with a byte order mark are read, too")
            }
            Self::TooLarge { .. } => Some("give a smaller file"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn text(bytes: &[u8]) -> Result<String, Error> {
        read_limited(bytes, 1000)
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn utf16(text: &str, little: bool) -> Vec<u8> {
        let unit = |unit: u16| if little { unit.to_le_bytes() } else { unit.to_be_bytes() };
        std::iter::once(0xfeff).chain(text.encode_utf16()).flat_map(unit).collect()
    }

    #[test]
    fn every_form_gives_the_same_text() {
        let expected = "{\"a\": \"é 😀\"}\r\n";
        let with_mark = [b"\xef\xbb\xbf".as_slice(), expected.as_bytes()].concat();
        let twice = [gzip(b"{\"a\": "), gzip("\"é 😀\"}\r\n".as_bytes())].concat();
        for bytes in [
            expected.as_bytes().to_vec(),
            with_mark.clone(),
            utf16(expected, true),
            utf16(expected, false),
            gzip(expected.as_bytes()),
            gzip(&with_mark),
            gzip(&utf16(expected, true)),
            gzip(&gzip(expected.as_bytes())),
            twice,
        ] {
            assert_eq!(text(&bytes).unwrap(), expected, "{bytes:?}");
        }
        assert_eq!(text(b"").unwrap(), "");
    }

    #[test]
    fn utf16_without_a_mark_is_recognised_by_its_zeros() {
        let bytes: Vec<u8> = "[{\"a\": 1}]".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(text(&bytes).unwrap(), "[{\"a\": 1}]");
    }

    #[test]
    fn what_is_not_text_is_an_error_with_its_place() {
        assert!(matches!(text(b"ab\xff"), Err(Error::NotText { offset: 2 })));
        assert!(matches!(text(&[b'a'; 1001]), Err(Error::TooLarge { limit: 1000 })));
        assert!(matches!(text(&gzip(&[b'a'; 100_000])), Err(Error::TooLarge { .. })));
        let mut damaged = gzip(b"some text that is compressed");
        damaged.truncate(damaged.len() - 9);
        let error = text(&damaged).unwrap_err();
        assert!(error.advice().is_some_and(|advice| advice.contains("truncated")), "{error:?}");
        let mut damaged = gzip(b"some text that is compressed");
        let end = damaged.len();
        damaged[end - 6] ^= 0xff;
        let error = text(&damaged).unwrap_err();
        assert!(error.advice().is_some_and(|advice| advice.contains("gzip -t")), "{error:?}");
    }

    #[test]
    fn half_a_character_of_utf16_is_replaced() {
        let mut bytes = utf16("ab", true);
        bytes.extend([0x00, 0xd8, b'c', 0]);
        assert_eq!(text(&bytes).unwrap(), "ab\u{fffd}c");
        bytes.push(b'x');
        assert_eq!(text(&bytes).unwrap(), "ab\u{fffd}c\u{fffd}");
    }

    #[test]
    fn a_file_is_read_by_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.json");
        std::fs::write(&path, gzip(b"[]")).unwrap();
        assert_eq!(read(&path).unwrap(), "[]");
        assert!(matches!(read_up_to(&path, 1), Err(Error::TooLarge { limit: 1 })));
        assert!(matches!(read(&folder.path().join("absent")), Err(Error::Io(_))));
    }
}
