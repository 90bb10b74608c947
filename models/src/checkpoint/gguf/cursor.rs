//! Reads numbers and texts from a header without ever leaving it; each refusal names the byte.

use std::path::Path;

use crate::error::Fault;

/// The end of the file came too early, or its bytes make no sense.
pub(crate) const FETCH_AGAIN: &str = "the file is incomplete or damaged: fetch it again";
/// The file is whole but was made wrongly.
pub(crate) const CONVERT_AGAIN: &str =
    "the file was made wrongly: take another, or convert the model again with a current llama.cpp";

/// A place in the bytes of a file.
pub(crate) struct Cursor<'a> {
    file: &'a Path,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) const fn new(file: &'a Path, bytes: &'a [u8]) -> Self {
        Self { file, bytes, at: 0 }
    }

    /// Offset in bytes from the start of the file.
    pub(crate) const fn at(&self) -> usize {
        self.at
    }

    /// Bytes between here and the end of the file.
    pub(crate) const fn left(&self) -> u64 {
        (self.bytes.len() - self.at) as u64
    }

    /// A fault at byte `at`.
    pub(crate) fn fault(
        &self,
        at: usize,
        what: &str,
        expected: impl Into<String>,
        found: impl Into<String>,
        advice: &str,
    ) -> Box<Fault> {
        Fault::at(self.file, format!("byte {at}, {what}"), expected, found, advice)
    }

    /// The next `count` bytes.
    pub(crate) fn take(&mut self, count: u64, what: &str) -> Result<&'a [u8], Box<Fault>> {
        if count > self.left() {
            return Err(self.fault(
                self.at,
                what,
                format!("{count} more bytes"),
                format!("{} before the end of the file", self.left()),
                FETCH_AGAIN,
            ));
        }
        // Within the slice, so it fits usize.
        #[allow(clippy::cast_possible_truncation, reason = "count is at most the length of a slice")]
        let end = self.at + count as usize;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], Box<Fault>> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.take(N as u64, what)?);
        Ok(bytes)
    }

    pub(crate) fn u32(&mut self, what: &str) -> Result<u32, Box<Fault>> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    pub(crate) fn u64(&mut self, what: &str) -> Result<u64, Box<Fault>> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    /// A length and that many bytes of UTF-8, at most `limit`.
    pub(crate) fn text(&mut self, what: &str, limit: u64) -> Result<&'a str, Box<Fault>> {
        let start = self.at;
        let length = self.u64(what)?;
        if length > limit {
            return Err(self.fault(
                start,
                what,
                format!("a text of at most {limit} bytes"),
                format!("a length of {}", signed(length)),
                FETCH_AGAIN,
            ));
        }
        let bytes = self.take(length, what)?;
        std::str::from_utf8(bytes).map_err(|error| {
            self.fault(
                start + 8 + error.valid_up_to(),
                what,
                "UTF-8",
                format!("byte 0x{:02x}", bytes[error.valid_up_to()]),
                CONVERT_AGAIN,
            )
        })
    }
}

/// A count, with the negative number that it was meant as where its top bit is set.
pub(crate) fn signed(count: u64) -> String {
    match count.cast_signed() {
        negative @ ..0 => format!("{count} ({negative})"),
        _ => count.to_string(),
    }
}

/// A text of the file, fit to be shown: no control characters, at most 64 characters.
pub(crate) fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(64).flat_map(char::escape_debug).collect();
    if text.chars().nth(64).is_some() {
        shown.push_str("...");
    }
    shown
}
