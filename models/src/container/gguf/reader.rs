//! Bounds-checked reading of numbers and texts from a header, and the limits of what a header may ask for. Errors name the byte.

use std::path::Path;

use crate::error::{Cause, Mismatch};

/// What a GGUF header may ask for. Memory is never allocated for more. A value over a limit is skipped; reading it
/// gets an error.
pub(super) mod limits {
    /// Bytes of a key. llama.cpp's longest is under 64.
    pub(in super::super) const KEY: u64 = 1 << 10;
    /// Bytes of a text value. Chat templates reach some 30 kB.
    pub(in super::super) const STRING: u64 = 1 << 20;
    /// Bytes in memory of all arrays together. The largest vocabularies (262,144 tokens, 500,000 merges) take 20 MB.
    pub(in super::super) const ARRAYS: u64 = 64 << 20;
    /// Elements of an array of texts.
    pub(in super::super) const STRINGS: u64 = 1 << 21;
    /// Levels of arrays in arrays.
    pub(in super::super) const NESTED_ARRAYS: u32 = 4;
    /// Bytes of a tensor name, less one: ggml keeps 64 with the closing zero.
    pub(in super::super) const TENSOR_NAME: u64 = 63;
    /// Dimensions of a tensor in ggml.
    pub(in super::super) const DIMENSIONS: u32 = 4;
    /// Alignment in bytes where the file does not set its own.
    pub(in super::super) const DEFAULT_ALIGNMENT: u32 = 32;
    /// The largest alignment in bytes; larger than any page in use for files.
    pub(in super::super) const ALIGNMENT: u32 = 1 << 20;
    /// Bytes of the smallest metadata entry: length and one byte of key, type, one byte of value.
    pub(in super::super) const SMALLEST_ENTRY: u64 = 8 + 1 + 4 + 1;
    /// Bytes of the smallest tensor entry: length and one byte of name, number of dimensions, one dimension, type, offset.
    pub(in super::super) const SMALLEST_TENSOR: u64 = 8 + 1 + 4 + 8 + 4 + 8;
}

/// A position in the bytes of a file.
pub(super) struct Reader<'a> {
    file: &'a Path,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) const fn new(file: &'a Path, bytes: &'a [u8]) -> Self {
        Self { file, bytes, at: 0 }
    }

    /// Offset in bytes from the start of the file.
    pub(super) const fn at(&self) -> usize {
        self.at
    }

    /// Bytes from here to the end of the file.
    pub(super) const fn left(&self) -> u64 {
        (self.bytes.len() - self.at) as u64
    }

    /// The error of `what` at byte `at`.
    pub(super) fn mismatch(
        &self,
        at: usize,
        what: &str,
        expected: impl Into<String>,
        found: impl Into<String>,
        cause: Cause,
    ) -> Box<Mismatch> {
        Mismatch::at(self.file, format!("byte {at}, {what}"), expected, found, cause)
    }

    /// The next `count` bytes.
    pub(super) fn take(&mut self, count: u64, what: &str) -> Result<&'a [u8], Box<Mismatch>> {
        if count > self.left() {
            return Err(self.mismatch(
                self.at,
                what,
                format!("{count} more bytes"),
                format!("{} before the end of the file", self.left()),
                Cause::Damaged,
            ));
        }
        // Within the slice, so it fits usize.
        #[allow(clippy::cast_possible_truncation, reason = "count is at most the length of a slice")]
        let end = self.at + count as usize;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], Box<Mismatch>> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.take(N as u64, what)?);
        Ok(bytes)
    }

    pub(super) fn u32(&mut self, what: &str) -> Result<u32, Box<Mismatch>> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    pub(super) fn u64(&mut self, what: &str) -> Result<u64, Box<Mismatch>> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    /// A length and that many bytes.
    pub(super) fn sized(&mut self, what: &str) -> Result<&'a [u8], Box<Mismatch>> {
        let start = self.at;
        let length = self.u64(what)?;
        if length > self.left() {
            let expected = format!("a text of at most {} bytes (the rest of the file)", self.left());
            return Err(self.mismatch(
                start,
                what,
                expected,
                format!("a length of {}", signed(length)),
                Cause::Damaged,
            ));
        }
        self.take(length, what)
    }

    /// The text in `bytes`, which end here: UTF-8 of at most `limit` bytes.
    pub(super) fn text(&self, bytes: &'a [u8], what: &str, limit: u64) -> Result<&'a str, Box<Mismatch>> {
        let start = self.at - bytes.len();
        let length = bytes.len() as u64;
        if length > limit {
            let found = format!("{length} bytes");
            return Err(self.mismatch(
                start,
                what,
                format!("a text of at most {limit} bytes"),
                found,
                Cause::OverLimit,
            ));
        }
        std::str::from_utf8(bytes).map_err(|error| {
            let at = start + error.valid_up_to();
            let found = format!("byte 0x{:02x}", bytes[error.valid_up_to()]);
            self.mismatch(at, what, "UTF-8", found, Cause::WrittenWrongly)
        })
    }
}

/// A count, followed by its value as a signed number if the top bit is set.
pub(super) fn signed(count: u64) -> String {
    match count.cast_signed() {
        negative @ ..0 => format!("{count} ({negative})"),
        _ => count.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_never_pass_the_end() {
        let mut reader = Reader::new(Path::new("m.gguf"), &[7, 0, 0, 0, 1]);
        assert_eq!(reader.u32("first").unwrap(), 7);
        let error = reader.u32("second").unwrap_err();
        assert_eq!((error.place.as_str(), error.found.as_str()), ("byte 4, second", "1 before the end of the file"));
        assert_eq!((reader.at(), reader.left()), (4, 1));
        assert_eq!(signed(u64::MAX), "18446744073709551615 (-1)");
    }
}
