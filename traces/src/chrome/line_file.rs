//! [`LineFile`]: writes lines such that a process that is killed at any time leaves complete lines.
//!
//! The kernel copies a write page by page and checks between two pages whether the process is being killed, so a long write
//! can end at a page boundary. Therefore no write here crosses one. Lines are collected in a buffer of one page. A line that
//! does not fit into the rest of the page begins the next one, and spaces fill the gap (two or three per cent of the file).
//! A line longer than a page cannot be protected in this way and is written by itself.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

/// The smallest page of any system in use; larger ones are multiples of it.
const PAGE: usize = 4096;

#[derive(Debug)]
pub(super) struct LineFile {
    file: File,
    /// Bytes that are not written yet. They begin at `written` and end in the same page, except for a line longer than a page.
    buffer: Vec<u8>,
    written: u64,
}

impl LineFile {
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        Ok(Self { file: File::create(path)?, buffer: Vec::with_capacity(PAGE), written: 0 })
    }

    /// Appends a line, which ends with a newline.
    pub(super) fn line(&mut self, line: &[u8]) -> io::Result<()> {
        let used = self.used();
        if used > 0 && used + line.len() > PAGE {
            self.fill(PAGE - used);
            self.flush()?;
        }
        self.buffer.extend_from_slice(line);
        if self.used() == 0 || self.buffer.len() > PAGE {
            self.flush()?;
        }
        Ok(())
    }

    /// How much of the current page is used; 0 at a page boundary.
    fn used(&self) -> usize {
        (self.written as usize + self.buffer.len()) % PAGE
    }

    /// Fills the page with spaces: before the last newline of the buffer, or as a line of spaces if the buffer is empty. JSON
    /// allows white space between records.
    fn fill(&mut self, count: usize) {
        if self.buffer.pop().is_some() {
            self.buffer.resize(self.buffer.len() + count, b' ');
            self.buffer.push(b'\n');
        } else {
            self.buffer.resize(count.saturating_sub(1), b' ');
            self.buffer.push(b'\n');
        }
    }

    /// Writes the buffer. Written bytes survive the end of the process.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        if let Err(error) = self.file.write_all(&self.buffer) {
            // A full disk may have a part of a line: remove it, so that the file stays readable. If that fails too (a pipe, a
            // device), the first error is the one to report.
            let _ = self.file.set_len(self.written).and_then(|()| self.file.seek(SeekFrom::Start(self.written)));
            return Err(error);
        }
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// The number of written bytes.
    pub(super) fn written(&self) -> u64 {
        self.written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_crosses_a_page_and_no_line_changes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lines");
        let mut file = LineFile::create(&path).unwrap();
        let mut expected = Vec::new();
        for n in 0..2000_usize {
            let line = format!("{n}:{}\n", "x".repeat(n * 7919 % 331));
            expected.push(line.trim_end().to_owned());
            file.line(line.as_bytes()).unwrap();
            if n % 97 == 0 {
                file.flush().unwrap();
            }
        }
        file.flush().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.len() as u64, file.written());
        let (mut place, mut lines) = (0, Vec::new());
        for line in text.split_inclusive('\n') {
            let last = place + line.len() - 1;
            let content = line.trim_end();
            if !content.is_empty() {
                assert_eq!(place / PAGE, last / PAGE, "line {content:?} crosses a page");
                lines.push(content.to_owned());
            }
            place += line.len();
        }
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_line_longer_than_a_page_is_written_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("long");
        let mut file = LineFile::create(&path).unwrap();
        let long = format!("{}\n", "y".repeat(3 * PAGE));
        for line in ["short\n", &long, "short\n"] {
            file.line(line.as_bytes()).unwrap();
        }
        file.flush().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
        assert_eq!(lines, ["short", long.trim_end(), "short"]);
    }
}
