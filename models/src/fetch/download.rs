//! Bytes from a server into a part file: taken up again where they stopped, with limits on silence, length and patience.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ureq::http::{StatusCode, header};

use crate::disk;
use crate::units::Bytes;

use super::failure::Failure;
use super::http::{Answer, Http};
use super::progress::{Progress, Work};
use super::verify::Expected;

/// So many connections in a row that brought nothing end the transfer.
const FRUITLESS: u32 = 2;
/// Rest before the next try after one that brought nothing.
const PAUSE: Duration = Duration::from_millis(300);

/// One file on its way.
pub(super) struct Transfer<'a> {
    pub(super) http: &'a Http<'a>,
    pub(super) url: &'a str,
    /// What people call it.
    pub(super) label: &'a str,
    pub(super) expected: &'a Expected,
    /// Connections, all in all.
    pub(super) attempts: u32,
}

impl Transfer<'_> {
    /// Fills `part`, which may hold the beginning from an earlier time. It is complete when this returns, and still to be verified.
    pub(super) fn run(&self, part: &Path, progress: &dyn Progress) -> Result<(), Failure> {
        let mut target = Target::open(part, self.expected)?;
        self.check_space(&target)?;
        let work = Work::start(progress, &format!("fetching {}", self.label), self.expected.bytes);
        work.advanced(target.got);
        let mut fruitless = 0;
        let mut reason = "no connection was tried".to_owned();
        for _ in 0..self.attempts {
            if target.is_complete() {
                break;
            }
            let before = target.got;
            match self.connection(&mut target, &work)? {
                Ended::Complete => return target.finish(),
                Ended::Cut(why) => reason = why,
            }
            fruitless = if target.got > before { 0 } else { fruitless + 1 };
            if fruitless >= FRUITLESS {
                break;
            }
            progress.note(&format!("{}: {reason} at {}; taking it up again", self.label, Bytes(target.got)));
            if fruitless > 0 {
                std::thread::sleep(PAUSE);
            }
        }
        if target.is_complete() {
            return target.finish();
        }
        Err(Failure::Cut { got: Bytes(target.got), expected: self.expected.bytes, reason })
    }

    fn check_space(&self, target: &Target) -> Result<(), Failure> {
        let Some(total) = self.expected.bytes else { return Ok(()) };
        let needed = total - Bytes(target.got);
        let free =
            Bytes(disk::free_space(&target.path).map_err(Failure::disk("find the free space of", &target.path))?);
        if free < needed {
            return Err(Failure::NoSpace { path: target.path.clone(), needed, free });
        }
        Ok(())
    }

    /// One request, read to its end.
    fn connection(&self, target: &mut Target, work: &Work<'_>) -> Result<Ended, Failure> {
        let mut extra = Vec::new();
        if target.got > 0 {
            extra.push((header::RANGE, format!("bytes={}-", target.got)));
            extra.extend(target.etag().map(|etag| (header::IF_RANGE, etag)));
        }
        let answer = match self.http.get(self.url, &extra) {
            Ok(answer) => answer,
            // A connection that was refused after another had been good may be good again.
            Err(Failure::Unreachable { reason, .. }) if target.got > 0 => return Ok(Ended::Cut(reason)),
            Err(failure) => return Err(failure),
        };
        if answer.status == StatusCode::RANGE_NOT_SATISFIABLE {
            target.restart()?;
            return Ok(Ended::Cut("the server has fewer bytes than had arrived".to_owned()));
        }
        let answer = answer.expect_success()?;
        let total = self.place(&answer, target)?;
        self.receive(answer, total, target, work)
    }

    /// Makes `target` stand where the answer begins, and returns how long the whole file is, where that is known.
    fn place(&self, answer: &Answer, target: &mut Target) -> Result<Option<u64>, Failure> {
        let total = if answer.status == StatusCode::PARTIAL_CONTENT {
            let (start, total) = answer.header("content-range").and_then(content_range).unwrap_or((u64::MAX, None));
            if start != target.got {
                let found = format!("a range from {start} instead of {}", target.got);
                return Err(Failure::Protocol { host: answer.host.clone(), found });
            }
            total
        } else {
            target.restart()?;
            answer.number("content-length")
        };
        target.remember_etag(answer.header("etag"))?;
        if let (Some(expected), Some(total)) = (self.expected.bytes, total)
            && expected.get() != total
        {
            return Err(Failure::WrongSize { expected, found: Bytes(total) });
        }
        Ok(self.expected.bytes.map(Bytes::get).or(total))
    }

    fn receive(
        &self,
        answer: Answer,
        total: Option<u64>,
        target: &mut Target,
        work: &Work<'_>,
    ) -> Result<Ended, Failure> {
        let host = answer.host.clone();
        let (mut body, mut buffer) = (answer.reader(), vec![0; 256 << 10]);
        loop {
            let got = match body.read(&mut buffer) {
                Ok(0) if total.is_none_or(|total| total == target.got) => return Ok(Ended::Complete),
                Ok(0) => return Ok(Ended::Cut("the server closed the connection".to_owned())),
                Ok(got) => got,
                Err(error) => return Ok(Ended::Cut(error.to_string())),
            };
            if total.is_some_and(|total| target.got + got as u64 > total) {
                target.restart()?;
                return Err(Failure::Protocol { host, found: "more bytes than it announced".to_owned() });
            }
            target.append(&buffer[..got])?;
            work.advanced(got as u64);
        }
    }
}

/// How a connection ended.
enum Ended {
    Complete,
    Cut(String),
}

/// `bytes 100-199/200`: where it starts, and the length of the whole.
fn content_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    Some((range.split_once('-')?.0.parse().ok()?, total.parse().ok()))
}

/// The part file and what is known of it.
struct Target {
    file: File,
    path: PathBuf,
    /// Bytes in it.
    got: u64,
    expected: Option<u64>,
}

impl Target {
    /// Opens what there is. The beginning is kept only when something can tell that the rest belongs to it: the server's ETag of
    /// that time, or a digest of the whole.
    fn open(path: &Path, expected: &Expected) -> Result<Self, Failure> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(Failure::disk("create", path))?;
        let got = file.metadata().map_err(Failure::disk("look at", path))?.len();
        let mut target = Self { file, path: path.to_path_buf(), got, expected: expected.bytes.map(Bytes::get) };
        let joinable = expected.sha256.is_some() || target.etag().is_some();
        if !joinable || target.expected.is_some_and(|expected| got > expected) {
            target.restart()?;
        }
        target.file.seek(SeekFrom::End(0)).map_err(Failure::disk("read", path))?;
        Ok(target)
    }

    fn is_complete(&self) -> bool {
        self.expected == Some(self.got)
    }

    fn restart(&mut self) -> Result<(), Failure> {
        self.got = 0;
        let _ = fs::remove_file(self.etag_path());
        self.file.set_len(0).map_err(Failure::disk("empty", &self.path))?;
        self.file.rewind().map_err(Failure::disk("empty", &self.path))
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.file.write_all(bytes).map_err(Failure::disk("write", &self.path))?;
        self.got += bytes.len() as u64;
        Ok(())
    }

    fn finish(self) -> Result<(), Failure> {
        let _ = fs::remove_file(self.etag_path());
        self.file.sync_all().map_err(Failure::disk("write", &self.path))
    }

    fn etag_path(&self) -> PathBuf {
        disk::beside(&self.path, ".etag")
    }

    fn etag(&self) -> Option<String> {
        fs::read_to_string(self.etag_path()).ok().filter(|etag| is_strong(etag))
    }

    /// Keeps the ETag of the server that sends the bytes; it need not be the hub's.
    fn remember_etag(&self, etag: Option<&str>) -> Result<(), Failure> {
        match etag.filter(|etag| is_strong(etag)) {
            Some(etag) => fs::write(self.etag_path(), etag).map_err(Failure::disk("write", &self.etag_path())),
            None => Ok(()),
        }
    }
}

/// Only a strong validator promises the same bytes (RFC 9110, 8.8.1).
fn is_strong(etag: &str) -> bool {
    etag.len() > 2 && etag.len() < 256 && etag.starts_with('"') && etag.ends_with('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges() {
        assert_eq!(content_range("bytes 100-199/200"), Some((100, Some(200))));
        assert_eq!(content_range("bytes 0-9/*"), Some((0, None)));
        assert_eq!(content_range("bytes */200"), None);
        assert_eq!(content_range("items 1-2/3"), None);
    }

    #[test]
    fn a_beginning_that_nothing_vouches_for_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.part");
        let open = |expected: &Expected| Target::open(&path, expected).unwrap().got;
        let unknown = Expected { bytes: Some(Bytes(10)), sha256: None };
        let known = Expected { sha256: Some("0".repeat(64)), ..unknown.clone() };
        fs::write(&path, b"12345").unwrap();
        assert_eq!(open(&known), 5);
        assert_eq!(open(&unknown), 0);
        fs::write(&path, b"12345").unwrap();
        fs::write(disk::beside(&path, ".etag"), "\"v1\"").unwrap();
        assert_eq!(open(&unknown), 5);
        fs::write(&path, b"longer than ten bytes").unwrap();
        assert_eq!(open(&known), 0);
    }
}
