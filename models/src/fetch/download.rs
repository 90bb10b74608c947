//! Downloading a file to a part file: interrupted transfers are resumed, with limits on time, length and attempts.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ureq::http::{StatusCode, header};

use crate::error::OriginError;
use crate::filesystem;
use crate::progress::{Progress, Task};
use crate::units::Bytes;

use super::http::{Http, Response};
use super::hub_file::ExpectedContent;

/// This number of consecutive connections without data ends the transfer.
const MAX_WITHOUT_DATA: u32 = 2;
/// The pause after a connection without data.
const PAUSE: Duration = Duration::from_millis(300);

/// The download of one file.
pub(super) struct Transfer<'a> {
    pub(super) http: &'a Http<'a>,
    pub(super) url: &'a str,
    /// Its name in messages.
    pub(super) label: &'a str,
    pub(super) expected: &'a ExpectedContent,
    /// The maximum number of connections.
    pub(super) attempts: u32,
}

impl Transfer<'_> {
    /// Downloads to `part`, which may contain the beginning from an earlier attempt. On success it is complete, but not verified.
    pub(super) fn run(&self, part: &Path, progress: &dyn Progress) -> Result<(), OriginError> {
        let mut target = Target::open(part, self.expected)?;
        self.check_space(&target)?;
        let task = Task::start(progress, &format!("fetching {}", self.label), self.expected.bytes);
        task.advanced(target.got);
        let mut without_data = 0;
        let mut reason = "no connection was tried".to_owned();
        for _ in 0..self.attempts {
            if target.is_complete() {
                break;
            }
            let before = target.got;
            match self.connection(&mut target, &task)? {
                Ended::Complete => return target.finish(),
                Ended::Interrupted(why) => reason = why,
            }
            without_data = if target.got > before { 0 } else { without_data + 1 };
            if without_data >= MAX_WITHOUT_DATA {
                break;
            }
            progress.note(&format!("{}: {reason} at {}; resuming", self.label, Bytes(target.got)));
            if without_data > 0 {
                std::thread::sleep(PAUSE);
            }
        }
        if target.is_complete() {
            return target.finish();
        }
        Err(OriginError::Interrupted { got: Bytes(target.got), expected: self.expected.bytes, reason })
    }

    fn check_space(&self, target: &Target) -> Result<(), OriginError> {
        let Some(total) = self.expected.bytes else { return Ok(()) };
        let needed = total - Bytes(target.got);
        let free = Bytes(
            filesystem::free_space(&target.path).map_err(OriginError::disk("find the free space of", &target.path))?,
        );
        if free < needed {
            return Err(OriginError::NoSpace { path: target.path.clone(), needed, free });
        }
        Ok(())
    }

    /// Sends one request and reads its response to the end.
    fn connection(&self, target: &mut Target, task: &Task<'_>) -> Result<Ended, OriginError> {
        let mut extra = Vec::new();
        if target.got > 0 {
            extra.push((header::RANGE, format!("bytes={}-", target.got)));
            extra.extend(target.etag().map(|etag| (header::IF_RANGE, etag)));
        }
        let response = match self.http.get(self.url, &extra) {
            Ok(response) => response,
            // After a successful connection, a failed one may be temporary.
            Err(OriginError::Unreachable { reason, .. }) if target.got > 0 => return Ok(Ended::Interrupted(reason)),
            Err(failure) => return Err(failure),
        };
        if response.status == StatusCode::RANGE_NOT_SATISFIABLE {
            target.restart()?;
            return Ok(Ended::Interrupted("the file of the server is shorter than the part".to_owned()));
        }
        let response = response.expect_success()?;
        let total = self.align(&response, target)?;
        self.receive(response, total, target, task)
    }

    /// Positions `target` at the start of the response, and returns the length of the whole file, if it is known.
    fn align(&self, response: &Response, target: &mut Target) -> Result<Option<u64>, OriginError> {
        let total = if response.status == StatusCode::PARTIAL_CONTENT {
            let (start, total) = response.header("content-range").and_then(content_range).unwrap_or((u64::MAX, None));
            if start != target.got {
                let found = format!("a range from {start} instead of {}", target.got);
                return Err(OriginError::Protocol { host: response.host.clone(), found });
            }
            total
        } else {
            target.restart()?;
            response.number("content-length")
        };
        target.store_etag(response.header("etag"))?;
        if let (Some(expected), Some(total)) = (self.expected.bytes, total)
            && expected.get() != total
        {
            return Err(OriginError::WrongSize { expected, found: Bytes(total) });
        }
        Ok(self.expected.bytes.map(Bytes::get).or(total))
    }

    fn receive(
        &self,
        response: Response,
        total: Option<u64>,
        target: &mut Target,
        task: &Task<'_>,
    ) -> Result<Ended, OriginError> {
        let host = response.host.clone();
        let (mut body, mut buffer) = (response.reader(), vec![0; 256 << 10]);
        loop {
            let got = match body.read(&mut buffer) {
                Ok(0) if total.is_none_or(|total| total == target.got) => return Ok(Ended::Complete),
                Ok(0) => return Ok(Ended::Interrupted("the server closed the connection".to_owned())),
                Ok(got) => got,
                Err(error) => return Ok(Ended::Interrupted(redaction::redact(&error.to_string()))),
            };
            if total.is_some_and(|total| target.got + got as u64 > total) {
                target.restart()?;
                return Err(OriginError::Protocol { host, found: "more bytes than announced".to_owned() });
            }
            target.append(&buffer[..got])?;
            task.advanced(got as u64);
        }
    }
}

/// How a connection ended.
enum Ended {
    Complete,
    Interrupted(String),
}

/// `bytes 100-199/200`: the start of the range, and the length of the whole file.
fn content_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    Some((range.split_once('-')?.0.parse().ok()?, total.parse().ok()))
}

/// The part file and its state.
struct Target {
    file: File,
    path: PathBuf,
    /// Bytes in it.
    got: u64,
    expected: Option<u64>,
}

impl Target {
    /// Opens or creates the part file. Its content is kept only if the ETag of its server or a digest of the whole file can prove that the
    /// rest belongs to it.
    fn open(path: &Path, expected: &ExpectedContent) -> Result<Self, OriginError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(OriginError::disk("create", path))?;
        let got = file.metadata().map_err(OriginError::disk("read the metadata of", path))?.len();
        let mut target = Self { file, path: path.to_path_buf(), got, expected: expected.bytes.map(Bytes::get) };
        let can_resume = expected.sha256.is_some() || target.etag().is_some();
        if !can_resume || target.expected.is_some_and(|expected| got > expected) {
            target.restart()?;
        }
        target.file.seek(SeekFrom::End(0)).map_err(OriginError::disk("read", path))?;
        Ok(target)
    }

    fn is_complete(&self) -> bool {
        self.expected == Some(self.got)
    }

    fn restart(&mut self) -> Result<(), OriginError> {
        self.got = 0;
        let _ = fs::remove_file(self.etag_path());
        self.file.set_len(0).map_err(OriginError::disk("empty", &self.path))?;
        self.file.rewind().map_err(OriginError::disk("empty", &self.path))
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), OriginError> {
        self.file.write_all(bytes).map_err(OriginError::disk("write", &self.path))?;
        self.got += bytes.len() as u64;
        Ok(())
    }

    fn finish(self) -> Result<(), OriginError> {
        let _ = fs::remove_file(self.etag_path());
        self.file.sync_all().map_err(OriginError::disk("write", &self.path))
    }

    fn etag_path(&self) -> PathBuf {
        filesystem::with_suffix(&self.path, ".etag")
    }

    fn etag(&self) -> Option<String> {
        fs::read_to_string(self.etag_path()).ok().filter(|etag| is_strong(etag))
    }

    /// Stores the ETag of the server that sends the bytes, which need not be the hub.
    fn store_etag(&self, etag: Option<&str>) -> Result<(), OriginError> {
        match etag.filter(|etag| is_strong(etag)) {
            Some(etag) => fs::write(self.etag_path(), etag).map_err(OriginError::disk("write", &self.etag_path())),
            None => Ok(()),
        }
    }
}

/// Only a strong validator guarantees the same bytes (RFC 9110, 8.8.1).
fn is_strong(etag: &str) -> bool {
    etag.len() > 2 && etag.len() < 256 && etag.starts_with('"') && etag.ends_with('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges_are_parsed() {
        assert_eq!(content_range("bytes 100-199/200"), Some((100, Some(200))));
        assert_eq!(content_range("bytes 0-9/*"), Some((0, None)));
        assert_eq!(content_range("bytes */200"), None);
        assert_eq!(content_range("items 1-2/3"), None);
    }

    #[test]
    fn a_part_that_cannot_be_verified_is_discarded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.part");
        let open = |expected: &ExpectedContent| Target::open(&path, expected).unwrap().got;
        let unknown = ExpectedContent { bytes: Some(Bytes(10)), sha256: None };
        let known = ExpectedContent { sha256: Some("0".repeat(64)), ..unknown.clone() };
        fs::write(&path, b"12345").unwrap();
        assert_eq!(open(&known), 5);
        assert_eq!(open(&unknown), 0);
        fs::write(&path, b"12345").unwrap();
        fs::write(filesystem::with_suffix(&path, ".etag"), "\"v1\"").unwrap();
        assert_eq!(open(&unknown), 5);
        fs::write(&path, b"longer than ten bytes").unwrap();
        assert_eq!(open(&known), 0);
    }
}
