//! [`LineFile`]: whole lines into a file, such that a kill at any moment leaves whole lines.
//!
//! The kernel copies a write page by page and looks between two pages whether the process is being killed: a long write
//! can be cut at a page's edge. So a write here never crosses one. Lines are gathered in a buffer of one page; a line that
//! does not fit into what is left of the page begins the next one, and spaces fill the gap (two or three per cent of the
//! file). A line longer than a page cannot be protected in this way and is written by itself.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

/// The smallest page of any system in use; larger ones are multiples of it.
const PAGE: usize = 4096;

#[derive(Debug)]
pub(super) struct LineFile {
    file: File,
    /// What is not written yet; it begins at `written` and, but for a line longer than a page, ends in the same page.
    buffer: Vec<u8>,
    written: u64,
}

impl LineFile {
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        Ok(Self { file: File::create(path)?, buffer: Vec::with_capacity(PAGE), written: 0 })
    }

    /// Takes a line, which ends in a newline.
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

    /// How much of the current page is used; 0 at a page's edge.
    fn used(&self) -> usize {
        (self.written as usize + self.buffer.len()) % PAGE
    }

    /// Fills the page: in front of the buffer's last newline, so that lines end in their newline, or, where the buffer is
    /// empty, as a line of spaces. White space between records is legal.
    fn fill(&mut self, count: usize) {
        if self.buffer.pop().is_some() {
            self.buffer.resize(self.buffer.len() + count, b' ');
            self.buffer.push(b'\n');
        } else {
            self.buffer.resize(count.saturating_sub(1), b' ');
            self.buffer.push(b'\n');
        }
    }

    /// Hands everything to the system. What it has survives the process.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        if let Err(error) = self.file.write_all(&self.buffer) {
            // A full disk may have taken half of a line: take it back, so that what stays is readable. Where that fails too
            // (a pipe, a device) the first error is the one to tell.
            let _ = self.file.set_len(self.written).and_then(|()| self.file.seek(SeekFrom::Start(self.written)));
            return Err(error);
        }
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Bytes handed to the system.
    pub(super) fn written(&self) -> u64 {
        self.written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_crosses_a_page_and_no_content_changes() {
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
